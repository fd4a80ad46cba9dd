/*
 * Three kinds of mailboxes: of the accounts database (owned by mail_user, below mail_directory), of
 * a userbase table's users, and of system users. Each ends in an owner, a home and a path made from
 * the action's template.
 */
#include <sys/stat.h>
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bsd/string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/template.h"
#include "lookup/mailbox.h"
#include "lookup/path.h"

#define USERBASE_VALUE_MAX 65536
#define PEOPLE_UID_MIN     1000 /* below are accounts of the system's own */

static void
no_such_user(struct ipc_mailbox *mailbox)
{
	reply_set(&mailbox->reply, 550, "5.1.1", "no such user here");
}

static void
not_now(struct ipc_mailbox *mailbox)
{
	reply_set(
	    &mailbox->reply, 451, "4.3.0", "the user can't be looked up now, try again later");
}

static void
wrong_config(struct ipc_mailbox *mailbox, const char *user, const char *why)
{
	struct log_line line;

	log_begin(&line, LOG_LEVEL_ERROR, "mailbox-unusable");
	log_text(&line, "user", user);
	log_text(&line, "reason", why);
	log_end(&line);
	reply_set(
	    &mailbox->reply, 451, "4.3.5", "the mailbox is not set up rightly, try again later");
}

static bool
set_mail_owner(struct site *site, struct ipc_mailbox *mailbox)
{
	if (!site->mail_user_found) {
		wrong_config(
		    mailbox, site->config->mail_user, "the owner of mailboxes doesn't exist");
		return false;
	}
	mailbox->uid = site->mail_uid;
	mailbox->gid = site->mail_gid;
	return true;
}

/* Files there are made by members of the group "mail" only, as Debian has it. */
static bool
is_in_mail_spool(const char *path)
{
	return strncmp(path, "/var/mail/", 10) == 0 || strncmp(path, "/var/spool/mail/", 16) == 0;
}

/* The action's command, in its wrapper, or for those that store the mail the wrapper's, which the mda puts
 * its own into. False when that doesn't fit. */
static bool
set_command(struct site *site, const struct action_config *action, char *command, size_t size)
{
	const struct wrapper_config *wrapper;
	const char *at, *mda;

	if (*action->wrapper == '\0')
		return strlcpy(command, action->command, size) < size;
	wrapper = config_find_wrapper(site->config, action->wrapper);
	if (wrapper == NULL)
		return false;
	if (action->method != ACTION_MDA)
		return strlcpy(command, wrapper->command, size) < size;
	*command = '\0';
	for (at = wrapper->command; (mda = template_find_mda(at)) != NULL;
	     at = mda + strlen(TEMPLATE_MDA)) {
		size_t length = strlen(command) + (size_t)(mda - at);

		/* Cut where the command begins. */
		if (strlcat(command, at, size) < length || length >= size)
			return false;
		command[length] = '\0';
		if (strlcat(command, action->command, size) >= size)
			return false;
	}
	return strlcat(command, at, size) < size;
}

static bool
set_form(struct site *site, const struct action *action, struct ipc_mailbox *mailbox)
{
	mailbox->junk = action->config->junk;
	switch (action->config->method) {
	case ACTION_MBOX:
		mailbox->form = MAILBOX_MBOX;
		break;
	case ACTION_MDA:
		mailbox->form = MAILBOX_COMMAND;
		break;
	case ACTION_MAILDIR:
	case ACTION_RELAY:
	case ACTION_EXPAND_ONLY:
	case ACTION_LMTP:
	case ACTION_FORWARD_ONLY:
	case ACTION_METHOD_COUNT:
		mailbox->form = MAILBOX_MAILDIR;
		break;
	}
	return set_command(site, action->config, mailbox->command, sizeof(mailbox->command));
}

/* The path of the action's template, or `fallback`'s. */
static void
set_path(struct site *site, const struct action *action, const struct address *dest,
    const char *directory, const char *fallback, struct ipc_mailbox *mailbox)
{
	const struct path_values values = {
		.dest_user = dest->local,
		.dest_domain = dest->domain,
		.user_name = *action->config->user != '\0' ? action->config->user : dest->local,
		.user_directory = directory,
		.delimiters = site->config->subaddress_delimiters,
	};
	const char *format = *action->config->path != '\0' ? action->config->path : fallback;
	const char *why;

	if (!set_form(site, action, mailbox)) {
		wrong_config(mailbox, dest->local, "its command's wrapper is gone or too long");
		return;
	}
	if (path_expand(format, &values, mailbox->path, sizeof(mailbox->path), &why))
		reply_set(&mailbox->reply, 250, "2.1.5", "ok");
	else
		wrong_config(mailbox, dest->local, why);
	mailbox->mail_group =
	    site->privileged && mailbox->form == MAILBOX_MBOX && is_in_mail_spool(mailbox->path);
	if (mailbox->mail_group && *mailbox->command != '\0') {
		mailbox->mail_group = false;
		wrong_config(mailbox, dest->local,
		    "who writes to /var/mail runs no commands: it can't have a wrapper");
	}
}

/* Where mail for users of the system is by an action without a path. */
static const char *
path_of_users(const struct action *action)
{
	switch (action->config->method) {
	case ACTION_MBOX:
		return "/var/mail/%{user.username}";
	case ACTION_MDA:
		return "~";
	case ACTION_MAILDIR:
	case ACTION_RELAY:
	case ACTION_EXPAND_ONLY:
	case ACTION_LMTP:
	case ACTION_FORWARD_ONLY:
	case ACTION_METHOD_COUNT:
		break;
	}
	return "~/Maildir";
}

static void
find_account(struct site *site, const struct action *action, const struct address *dest,
    struct ipc_mailbox *mailbox)
{
	char domain[ADDRESS_DOMAIN_MAX + 1], directory[PATH_TEXT_MAX + 1];
	struct account_user user;
	struct address address = *dest;
	enum account_result result = ACCOUNT_NONE;
	const char *why;

	if (address_domain_key(dest->domain, domain, sizeof(domain)))
		result = accounts_find_user(site->accounts, domain, dest->local, &user);
	mailbox->quota_bytes = result == ACCOUNT_FOUND ? user.quota_bytes : 0;
	mailbox->quota_messages = result == ACCOUNT_FOUND ? user.quota_messages : 0;
	explicit_bzero(&user, sizeof(user));
	if (result == ACCOUNT_NONE)
		no_such_user(mailbox);
	else if (result == ACCOUNT_BROKEN)
		not_now(mailbox);
	if (result != ACCOUNT_FOUND || !set_mail_owner(site, mailbox))
		return;
	strlcpy(address.domain, domain, sizeof(address.domain));
	text_lower(address.local);
	address_format(&address, mailbox->user, sizeof(mailbox->user));
	if (!path_expand("~/%{dest.domain}/%{dest.user:raw}",
	        &(struct path_values){ .dest_user = address.local,
	            .dest_domain = address.domain,
	            .user_name = address.local,
	            .user_directory = site->config->mail_directory,
	            .delimiters = "" },
	        directory, sizeof(directory), &why))
		wrong_config(mailbox, mailbox->user, why);
	else
		set_path(site, action, &address, directory,
		    action->config->method == ACTION_MBOX ? "~/mbox" : "~", mailbox);
}

/* A system user. False with the reply set when there is none. */
static bool
find_system_user(const char *name, struct ipc_mailbox *mailbox)
{
	const struct passwd *passwd;
	int64_t since = log_is_traced(LOG_TRACE_LOOKUP) ? clock_monotonic_us() : 0;
	struct log_line line;

	errno = 0;
	passwd = getpwnam(name);
	if (log_trace_begin(&line, LOG_TRACE_LOOKUP, "system-user-looked-up")) {
		log_text(&line, "user", name);
		log_text(&line, "result", passwd != NULL ? "found" : "none");
		log_number(&line, "time_us", clock_monotonic_us() - since);
		log_end(&line);
	}
	if (passwd == NULL) {
		if (errno == 0 || errno == ENOENT || errno == ESRCH || errno == EPERM)
			no_such_user(mailbox);
		else
			not_now(mailbox);
		return false;
	}
	if (passwd->pw_uid == 0 || passwd->pw_gid == 0) {
		reply_set(&mailbox->reply, 550, "5.1.1",
		    "nothing is delivered as root: %s needs an alias", passwd->pw_name);
		return false;
	}
	/* Who has no home has no mailbox. */
	if (*passwd->pw_dir != '/' || strcmp(passwd->pw_dir, "/nonexistent") == 0 ||
	    strlcpy(mailbox->home, passwd->pw_dir, sizeof(mailbox->home)) >=
	        sizeof(mailbox->home)) {
		no_such_user(mailbox);
		return false;
	}
	mailbox->uid = passwd->pw_uid;
	mailbox->gid = passwd->pw_gid;
	return true;
}

static bool
find_userbase_user(
    struct site *site, struct table *userbase, const char *name, struct ipc_mailbox *mailbox)
{
	struct table_user user;
	struct buf value;
	enum table_result result;
	bool valid;

	buf_init(&value, USERBASE_VALUE_MAX);
	result = table_get(userbase, name, &value);
	valid = result == TABLE_FOUND && table_user_parse((const char *)value.data, &user);
	buf_free(&value);
	switch (result) {
	case TABLE_FOUND:
		break;
	case TABLE_NONE:
		no_such_user(mailbox);
		return false;
	case TABLE_BROKEN:
		not_now(mailbox);
		return false;
	}
	if (!valid) {
		wrong_config(mailbox, name, "its userbase entry is not UID:GID:/HOME");
		return false;
	}
	if (site->privileged && (user.uid == 0 || user.gid == 0)) {
		wrong_config(
		    mailbox, name, "its userbase entry says root, as whom nothing is delivered");
		return false;
	}
	mailbox->uid = user.uid;
	mailbox->gid = user.gid;
	strlcpy(mailbox->home, user.home, sizeof(mailbox->home));
	return true;
}

/* Accounts of the system's own share its directories ("daemon" has /usr/sbin), or name some that never
 * were: the mail would wait there in vain. Others' homes, which may hang, aren't looked at here. */
static bool
is_homeless(const struct ipc_mailbox *mailbox)
{
	size_t length = strlen(mailbox->home);
	struct stat st;

	return mailbox->uid < PEOPLE_UID_MIN &&
	    strncmp(mailbox->path, mailbox->home, length) == 0 &&
	    (stat(mailbox->home, &st) == -1 ? errno == ENOENT : st.st_uid != mailbox->uid);
}

/* Whether its users' .forward counts: the home of a userbase table's user may be everybody's. */
static bool
may_forward(const struct action *action)
{
	if (action->userbase != NULL || *action->config->user != '\0')
		return false;
	switch (action->config->method) {
	case ACTION_MAILDIR:
	case ACTION_MBOX:
	case ACTION_MDA:
	case ACTION_FORWARD_ONLY:
		return true;
	case ACTION_RELAY:
	case ACTION_EXPAND_ONLY:
	case ACTION_LMTP:
	case ACTION_METHOD_COUNT:
		break;
	}
	return false;
}

void
mailbox_find(struct site *site, const struct action *action, const struct address *dest,
    struct ipc_mailbox *mailbox)
{
	const char *owner = dest->local;
	bool found;

	memset(mailbox, 0, sizeof(*mailbox));
	switch (site_uses_accounts(site, action, dest->domain)) {
	case ACCOUNT_FOUND:
		find_account(site, action, dest, mailbox);
		return;
	case ACCOUNT_BROKEN:
		not_now(mailbox);
		return;
	case ACCOUNT_NONE:
		break;
	}
	/* With "user" a virtual table's users need no entry of their own. */
	if (*action->config->user != '\0' && action->virtuals != NULL)
		owner = action->config->user;
	if (action->userbase != NULL)
		found = find_userbase_user(site, action->userbase, owner, mailbox);
	else
		found = find_system_user(owner, mailbox);
	if (found && *action->config->user != '\0' && owner == dest->local)
		found = find_system_user(action->config->user, mailbox);
	if (!found)
		return;
	mailbox->forwards = may_forward(action);
	strlcpy(mailbox->user, dest->local, sizeof(mailbox->user));
	set_path(site, action, dest, mailbox->home, path_of_users(action), mailbox);
	if (site->privileged && reply_is_success(&mailbox->reply) && mailbox->forwards &&
	    is_homeless(mailbox))
		reply_set(&mailbox->reply, 550, "5.1.1",
		    "%s is an account of the system's without a home of its own: it needs an alias",
		    mailbox->user);
}

void
mailbox_set_detail(struct ipc_mailbox *mailbox, const char *detail)
{
	if (mailbox->forwards && ipc_forward_detail_is_sound(detail))
		strlcpy(mailbox->detail, detail, sizeof(mailbox->detail));
}

/* One with its "+detail" is that of a user of the system whose .forward for it couldn't be used. */
static void
find_again(struct site *site, const struct action *action, const struct address *dest,
    struct ipc_mailbox *mailbox)
{
	struct ipc_mailbox other;
	struct address plain;

	mailbox_find(site, action, dest, mailbox);
	if (!reply_is_permanent(&mailbox->reply) || !site_without_detail(site, dest, &plain))
		return;
	mailbox_find(site, action, &plain, &other);
	if (!other.forwards && !reply_is_temporary(&other.reply))
		return;
	*mailbox = other;
	mailbox_set_detail(mailbox, dest->local + strlen(plain.local));
}

/* Whose .forward couldn't be read. With "forward-only" there is no mailbox below it. */
static void
find_unread(struct site *site, const struct action *action, const struct address *dest,
    struct ipc_mailbox *mailbox)
{
	find_again(site, action, dest, mailbox);
	if (action->config->method == ACTION_FORWARD_ONLY)
		mailbox->path[0] = '\0';
}

/* As login programs do: it is one of /etc/shells. */
static bool
has_login_shell(uid_t uid)
{
	const struct passwd *passwd = getpwuid(uid);
	char wanted[PATH_TEXT_MAX + 1];
	const char *shell;
	bool found = false;

	if (passwd == NULL ||
	    strlcpy(wanted, *passwd->pw_shell == '\0' ? "/bin/sh" : passwd->pw_shell,
	        sizeof(wanted)) >= sizeof(wanted))
		return false;
	setusershell();
	while (!found && (shell = getusershell()) != NULL)
		found = strcmp(shell, wanted) == 0;
	endusershell();
	return found;
}

void
mailbox_find_own(struct site *site, const struct action *action, const struct address *dest,
    enum envelope_kind kind, struct ipc_mailbox *mailbox)
{
	mailbox_find(site, action, dest, mailbox);
	if (!reply_is_success(&mailbox->reply))
		return;
	if (!mailbox->forwards)
		no_such_user(mailbox);
	else if (envelope_is_pipe(kind) && !has_login_shell(mailbox->uid))
		reply_set(&mailbox->reply, 550, "5.7.1",
		    "a command of %s's isn't run: no login shell", mailbox->user);
	/* That is for his file in /var/mail alone. */
	mailbox->mail_group = false;
	if (kind != ENVELOPE_USER_FILE)
		return;
	/* The envelope has the path. */
	mailbox->form = MAILBOX_MBOX;
	*mailbox->path = *mailbox->command = '\0';
	mailbox->junk = false;
	mailbox->quota_bytes = mailbox->quota_messages = 0;
}

void
mailbox_find_pipe(struct site *site, const struct action *action, struct ipc_mailbox *mailbox)
{
	memset(mailbox, 0, sizeof(*mailbox));
	strlcpy(mailbox->user, site->config->mail_user, sizeof(mailbox->user));
	strlcpy(mailbox->path, site->config->mail_directory, sizeof(mailbox->path));
	if (*action->config->user != '\0') {
		if (!find_system_user(action->config->user, mailbox)) {
			wrong_config(mailbox, action->config->user, "no such user");
			return;
		}
		strlcpy(mailbox->user, action->config->user, sizeof(mailbox->user));
	} else if (!set_mail_owner(site, mailbox))
		return;
	reply_set(&mailbox->reply, 250, "2.1.5", "ok");
}

void
mailbox_find_postmaster(struct site *site, struct ipc_mailbox *mailbox)
{
	memset(mailbox, 0, sizeof(*mailbox));
	strlcpy(mailbox->user, MAILBOX_POSTMASTER, sizeof(mailbox->user));
	if (snprintf(mailbox->path, sizeof(mailbox->path), "%s/" MAILBOX_POSTMASTER,
	        site->config->mail_directory) >= (int)sizeof(mailbox->path))
		wrong_config(mailbox, MAILBOX_POSTMASTER, "the path of its directory is too long");
	else if (set_mail_owner(site, mailbox))
		reply_set(&mailbox->reply, 250, "2.1.5", "ok");
}

void
mailbox_answer(
    struct site *site, const struct ipc_mailbox_request *request, struct ipc_mailbox *mailbox)
{
	const struct action *action = site_find_action(site, request->action);

	memset(mailbox, 0, sizeof(*mailbox));
	if (*request->action == '\0' && request->kind == ENVELOPE_MAILDIR &&
	    strcmp(request->dest.local, MAILBOX_POSTMASTER) == 0)
		mailbox_find_postmaster(site, mailbox);
	else if (action == NULL || action->broken)
		wrong_config(mailbox, request->dest.local, "its action is no longer in smtpd.conf");
	else if (request->kind == ENVELOPE_FORWARD && may_forward(action))
		find_unread(site, action, &request->dest, mailbox);
	else if (request->kind == ENVELOPE_MAILDIR && action_is_local(action->config) &&
	    action->config->method != ACTION_LMTP)
		find_again(site, action, &request->dest, mailbox);
	else if (request->kind == ENVELOPE_MAILDIR && action->config->method == ACTION_FORWARD_ONLY)
		reply_set(&mailbox->reply, 451, "4.2.0",
		    "the user's .forward couldn't be used when the mail came, and there is no "
		    "mailbox");
	else if ((request->kind == ENVELOPE_USER_PIPE || request->kind == ENVELOPE_USER_FILE) &&
	    action->config->method != ACTION_RELAY)
		mailbox_find_own(site, action, &request->dest, request->kind, mailbox);
	else if (request->kind == ENVELOPE_PIPE && action->config->allow_pipes)
		mailbox_find_pipe(site, action, mailbox);
	else if (request->kind == ENVELOPE_PIPE)
		reply_set(&mailbox->reply, 550, "5.7.1", "commands are not allowed any more");
	else
		wrong_config(mailbox, request->dest.local, "its action delivers elsewhere now");
}
