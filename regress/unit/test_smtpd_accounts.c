/* Mail is delivered as its owner: never as root, as a program of the suite, or with a group that
 * isn't his. */
#include <grp.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "smtpd/supervisor_accounts.h"

/* As accounts_find() leaves it for root; the mail user is the last of the suite's. */
static const struct accounts privileged = {
	.privileged = true,
	.programs = { [PROGRAM_QUEUE] = { 901, 951 }, [PROGRAM_DIRECTORY] = { 902, 952 } },
	.mail = { 905, 955 },
	.own = { { 901, 951 }, { 902, 952 }, { 905, 955 } },
	.own_count = 3,
};

static bool
may(const struct accounts *accounts, unsigned uid, unsigned gid)
{
	char why[200] = "";
	bool result = accounts_may_deliver(accounts, uid, gid, why, sizeof(why));

	/* A refusal has words. */
	assert_true(result == (why[0] == '\0'));
	return result;
}

/* A number that is neither a user's nor a group's. */
static unsigned
unused(void)
{
	unsigned id = 5000;

	while (getpwuid(id) != NULL || getgrgid(id) != NULL)
		id++;
	return id;
}

/* One that isn't root's. */
static struct passwd
some_user(void)
{
	const struct passwd *entry;

	setpwent();
	while ((entry = getpwent()) != NULL && (entry->pw_uid == 0 || entry->pw_gid == 0))
		;
	assert_non_null(entry);
	return *entry;
}

static void
a_system_user_gets_his_mail_with_his_own_group(void **state)
{
	struct passwd user = some_user();

	(void)state;
	assert_true(may(&privileged, user.pw_uid, user.pw_gid));
	assert_false(may(&privileged, user.pw_uid, user.pw_gid + 1));
	assert_false(may(&privileged, user.pw_uid, unused()));
}

/* Groups as the system has them, but none that opens what is root's or the suite's. */
static void
a_system_user_keeps_his_groups_but_not_those_of_the_suite(void **state)
{
	struct accounts accounts = privileged;
	struct passwd user = some_user();
	gid_t all[64], groups[64];
	int count = 64;
	size_t expected = 0;
	char *name = strdup(user.pw_name);

	(void)state;
	assert_non_null(name);
	assert_true(getgrouplist(name, user.pw_gid, all, &count) > 0);
	for (int i = 0; i < count; i++)
		expected += all[i] != user.pw_gid && all[i] != 0;
	assert_int_equal(
	    accounts_groups(&accounts, user.pw_uid, user.pw_gid, groups, 64), expected);
	/* Asked about with another group, his own one is among them; unless it is the suite's. */
	assert_int_equal(accounts_groups(&accounts, user.pw_uid, 60001, groups, 64), expected);
	accounts.own[0].gid = 60001;
	assert_int_equal(accounts_groups(&accounts, user.pw_uid, user.pw_gid, groups, 0), 0);
	assert_int_equal(accounts_groups(&accounts, unused(), 60001, groups, 64), 0);
	accounts.mail = (struct account){ user.pw_uid, user.pw_gid };
	assert_int_equal(accounts_groups(&accounts, user.pw_uid, user.pw_gid, groups, 64), 0);
	accounts.privileged = false;
	assert_int_equal(accounts_groups(&accounts, user.pw_uid, user.pw_gid, groups, 64), 0);
	free(name);
}

static void
a_user_without_an_account_gets_no_group_of_the_system(void **state)
{
	const struct group *group;
	unsigned id = unused();

	(void)state;
	assert_true(may(&privileged, id, id));
	setgrent();
	while ((group = getgrent()) != NULL)
		assert_false(may(&privileged, id, group->gr_gid));
}

static void
root_gets_none(void **state)
{
	(void)state;
	assert_false(may(&privileged, 0, 0));
	assert_false(may(&privileged, 0, 1000));
	assert_false(may(&privileged, 1000, 0));
}

static void
no_change_is_no_user(void **state)
{
	(void)state;
	assert_false(may(&privileged, UINT32_MAX, 1000));
	assert_false(may(&privileged, 1000, UINT32_MAX));
}

static void
programs_of_the_suite_get_none(void **state)
{
	(void)state;
	assert_false(may(&privileged, 901, 951));
	assert_false(may(&privileged, 902, 1000));
	/* Their groups open what is theirs. */
	assert_false(may(&privileged, 1000, 951));
}

static void
the_mail_user_does_but_only_with_its_own_group(void **state)
{
	(void)state;
	assert_true(may(&privileged, 905, 955));
	assert_false(may(&privileged, 905, 951));
	assert_false(may(&privileged, 905, 1000));
	assert_false(may(&privileged, 1000, 955));
}

static void
an_unused_mail_account_of_the_suite_gets_none(void **state)
{
	struct accounts accounts = privileged;

	(void)state;
	accounts.mail = (struct account){ 2000, 2000 };
	assert_true(may(&accounts, 2000, 2000));
	assert_false(may(&accounts, 2000, unused()));
	assert_false(may(&accounts, 905, 955));
}

static void
without_root_only_the_caller_gets_mail(void **state)
{
	struct accounts accounts = { .privileged = false };

	(void)state;
	assert_true(may(&accounts, geteuid(), getegid()));
	assert_false(may(&accounts, geteuid() + 1, getegid()));
	assert_false(may(&accounts, geteuid(), getegid() + 1));
}

static void
a_mail_user_that_is_missing_or_root_is_named(void **state)
{
	struct accounts accounts;
	char why[300] = "";

	(void)state;
	if (geteuid() != 0)
		skip(); /* the caller's own account is used */
	assert_false(accounts_find(&accounts, "no-such-user", why, sizeof(why)));
	/* Or, before `make install`, the first of the suite's. */
	assert_true(strstr(why, "no-such-user") != NULL || strstr(why, "_smtpd") != NULL);
	if (strstr(why, "no-such-user") == NULL)
		return;
	assert_false(accounts_find(&accounts, "root", why, sizeof(why)));
	assert_non_null(strstr(why, "root"));
	assert_false(accounts_find(&accounts, "_smtpq", why, sizeof(why)));
	assert_non_null(strstr(why, "queue"));
	assert_true(accounts_find(&accounts, "_vmail", why, sizeof(why)));
	assert_true(accounts.mail.uid != 0);
	assert_true(
	    accounts.programs[PROGRAM_QUEUE].uid != accounts.programs[PROGRAM_LISTENER].uid);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_system_user_gets_his_mail_with_his_own_group),
		cmocka_unit_test(a_system_user_keeps_his_groups_but_not_those_of_the_suite),
		cmocka_unit_test(a_user_without_an_account_gets_no_group_of_the_system),
		cmocka_unit_test(root_gets_none),
		cmocka_unit_test(no_change_is_no_user),
		cmocka_unit_test(programs_of_the_suite_get_none),
		cmocka_unit_test(the_mail_user_does_but_only_with_its_own_group),
		cmocka_unit_test(an_unused_mail_account_of_the_suite_gets_none),
		cmocka_unit_test(without_root_only_the_caller_gets_mail),
		cmocka_unit_test(a_mail_user_that_is_missing_or_root_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
