/*
 * Accounts. What mail is delivered as is checked here by numbers, against root, all of the suite's
 * own and the system's users and groups: the queue, which asks, isn't trusted with that choice. A
 * user comes with no group but his own, and a number that is no user's with none that is a group's:
 * else any uid would do to become a member of disk or shadow.
 */
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "smtpd/supervisor_accounts.h"

#define GROUPS_LOOKED_AT 1024

/* Those of programs must exist. */
static const struct {
	const char *name;
	enum program program; /* PROGRAM_COUNT: of none that is started here */
} suite[] = {
	{ "_smtpd", PROGRAM_LISTENER },
	{ "_smtpq", PROGRAM_QUEUE },
	{ "_smtpt", PROGRAM_DIRECTORY },
	{ "_smtpl", PROGRAM_RESOLVER },
	{ "_smtpc", PROGRAM_CONTROL },
	{ "_smtpk", PROGRAM_KEEPER },
	{ "_smtpr", PROGRAM_RELAY },
	{ "_smtpa", PROGRAM_MAILACCESS },
	{ "_vmail", PROGRAM_COUNT },
};

_Static_assert(sizeof(suite) / sizeof(suite[0]) <= ACCOUNTS_OWN_MAX, "all accounts have a place");

/* Users of a userbase table need have no entry. */
static bool
is_group_of(uid_t uid, gid_t gid, char *why, size_t size)
{
	const struct passwd *user;
	const struct group *group = NULL;

	errno = 0;
	user = getpwuid(uid);
	if (user == NULL && (errno == 0 || errno == ENOENT || errno == ESRCH)) {
		errno = 0;
		group = getgrgid(gid);
		if (group == NULL && (errno == 0 || errno == ENOENT || errno == ESRCH))
			return true;
	}
	if (user != NULL && user->pw_gid == gid)
		return true;
	if (user != NULL)
		snprintf(why, size,
		    "mail isn't delivered as user %u, group %u: that user's group is %u", uid, gid,
		    user->pw_gid);
	else if (group != NULL)
		snprintf(why, size,
		    "mail isn't delivered as user %u, group %u: the system's group %s isn't for a "
		    "user without an account",
		    uid, gid, group->gr_name);
	else
		snprintf(
		    why, size, "can't look up user %u, group %u: %s", uid, gid, strerror(errno));
	return false;
}

static bool
find_suite(struct accounts *accounts, char *why, size_t size)
{
	const struct passwd *entry;
	struct account *account;
	size_t i;

	for (i = 0; i < sizeof(suite) / sizeof(suite[0]); i++) {
		entry = getpwnam(suite[i].name);
		if (entry == NULL && suite[i].program != PROGRAM_COUNT) {
			snprintf(why, size,
			    "the account %s doesn't exist: make the suite's accounts with "
			    "etc/make-accounts.sh, `make install` or systemd-sysusers",
			    suite[i].name);
			return false;
		}
		if (entry == NULL)
			continue;
		if (entry->pw_uid == 0 || entry->pw_gid == 0) {
			snprintf(why, size, "the account %s must not be root's", suite[i].name);
			return false;
		}
		account = &accounts->own[accounts->own_count++];
		account->uid = entry->pw_uid;
		account->gid = entry->pw_gid;
		if (suite[i].program != PROGRAM_COUNT)
			accounts->programs[suite[i].program] = *account;
	}
	return true;
}

bool
accounts_find(struct accounts *accounts, const char *mail_user, char *why, size_t size)
{
	const struct passwd *entry;
	size_t i;

	memset(accounts, 0, sizeof(*accounts));
	accounts->privileged = geteuid() == 0;
	if (!accounts->privileged) {
		for (i = 0; i < PROGRAM_COUNT; i++)
			accounts->programs[i] = (struct account){ geteuid(), getegid() };
		accounts->mail = accounts->programs[PROGRAM_QUEUE];
		return true;
	}
	if (!find_suite(accounts, why, size))
		return false;
	entry = getpwnam(mail_user);
	if (entry == NULL) {
		snprintf(why, size,
		    "the mail user %s doesn't exist: make that account (etc/make-accounts.sh or "
		    "systemd-sysusers make _vmail), or name another with \"mail user\"",
		    mail_user);
		return false;
	}
	if (entry->pw_uid == 0 || entry->pw_gid == 0) {
		snprintf(why, size, "the mail user %s must not be root", mail_user);
		return false;
	}
	for (i = 0; i < PROGRAM_COUNT; i++) {
		if (entry->pw_uid == accounts->programs[i].uid) {
			snprintf(why, size, "the mail user %s must not be that of %s", mail_user,
			    program_name((enum program)i));
			return false;
		}
	}
	accounts->mail = (struct account){ entry->pw_uid, entry->pw_gid };
	return true;
}

bool
accounts_may_deliver(const struct accounts *accounts, uid_t uid, gid_t gid, char *why, size_t size)
{
	size_t i;

	if (!accounts->privileged) {
		if (uid == geteuid() && gid == getegid())
			return true;
		snprintf(why, size,
		    "smtpd wasn't started as root and can't deliver as user %u, group %u", uid,
		    gid);
		return false;
	}
	if (uid == 0 || gid == 0) {
		snprintf(why, size, "mail isn't delivered as root: give root an alias");
		return false;
	}
	/* -1 means "leave it" to setresuid(). */
	if (uid == (uid_t)-1 || gid == (gid_t)-1) {
		snprintf(why, size, "no such user or group");
		return false;
	}
	if (uid == accounts->mail.uid) {
		if (gid == accounts->mail.gid)
			return true;
		snprintf(why, size, "mail isn't delivered as the mail user with group %u", gid);
		return false;
	}
	for (i = 0; i < accounts->own_count; i++) {
		if (uid == accounts->own[i].uid || gid == accounts->own[i].gid) {
			snprintf(why, size,
			    "mail isn't delivered as user %u, group %u: that is a program of the "
			    "mail server",
			    uid, gid);
			return false;
		}
	}
	return is_group_of(uid, gid, why, size);
}

static bool
may_have_group(const struct accounts *accounts, gid_t gid)
{
	if (gid == 0 || gid == accounts->mail.gid)
		return false;
	for (size_t i = 0; i < accounts->own_count; i++) {
		if (gid == accounts->own[i].gid)
			return false;
	}
	return true;
}

size_t
accounts_groups(const struct accounts *accounts, uid_t uid, gid_t gid, gid_t *groups, size_t max)
{
	const struct passwd *user;
	gid_t all[GROUPS_LOOKED_AT];
	int found = GROUPS_LOOKED_AT;
	size_t count = 0;

	if (!accounts->privileged || uid == accounts->mail.uid || (user = getpwuid(uid)) == NULL)
		return 0;
	/* Of more than fit, the first ones are there all the same. */
	if (getgrouplist(user->pw_name, gid, all, &found) == -1)
		found = GROUPS_LOOKED_AT;
	for (int i = 0; i < found && count < max; i++) {
		if (all[i] != gid && may_have_group(accounts, all[i]))
			groups[count++] = all[i];
	}
	return count;
}

gid_t
accounts_mail_group(const struct accounts *accounts, char *why, size_t size)
{
	const struct group *group;

	errno = 0;
	group = getgrnam("mail");
	if (group == NULL || group->gr_gid == 0 || group->gr_gid == (gid_t)-1) {
		snprintf(why, size, "the group \"mail\", who may write to /var/mail, can't be had");
		return 0;
	}
	if (!may_have_group(accounts, group->gr_gid)) {
		snprintf(why, size, "the group \"mail\" is one of the mail server's own");
		return 0;
	}
	return group->gr_gid;
}
