/*
 * As whom users may send: their own addresses and aliases, or those of a table.
 */
#include "test_directory_fixture.h"

#include "lookup/senders.h"

#define HASH "$y$j9T$abcdefghijklmnop$0123456789012345678901234567890123456789012"

static struct site *site;

static int
start(void **state)
{
	struct ipc_result result;
	struct config *config;
	struct action_config *action;
	int failed = make_test_directory(state);

	if (failed != 0)
		return failed;
	config = new_config();
	(void)add_table(config, "accounts", TABLE_ACCOUNTS, "");
	add_static_table(
	    config, "aliases", "sales", "ann, bob", "loop", "loop2", "loop2", "loop", NULL);
	add_static_table(
	    config, "people", "ann", "1001:1001:/home/ann", "bob", "1002:1002:/home/bob", NULL);
	add_static_table(config, "host.test", "host.test", "", NULL);
	add_static_table(
	    config, "names", "ann", "ann@x.test, Boss@X.test, @y.test", "root", "@", NULL);
	(void)add_table(config, "missing", TABLE_FILE, "/nonexistent/file");
	action = add_action(config, "in", ACTION_MAILDIR);
	set(&action->virtual_table, "accounts");
	action = add_action(config, "local", ACTION_MAILDIR);
	set(&action->alias_table, "aliases");
	set(&action->userbase_table, "people");
	(void)add_action(config, "out", ACTION_RELAY);
	add_rule(config, MATCH_FROM_ANY, "accounts", "in");
	add_rule(config, MATCH_FROM_ANY, "host.test", "local");
	add_rule(config, MATCH_FROM_LOCAL, "", "out");
	site = site_new(config, accounts_new(test_path("accounts")), false);
	assert_int_equal(run_verb(site, &result, ACCOUNT_DOMAIN_ADD, "example.org", NULL), 0);
	assert_int_equal(run_verb(site, &result, ACCOUNT_DOMAIN_ADD, "example.net", NULL), 0);
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_USER_ADD, "ann@example.org", HASH, NULL), 0);
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_USER_ADD, "bob@example.org", HASH, NULL), 0);
	assert_int_equal(run_verb(site, &result, ACCOUNT_ALIAS_ADD, "info@example.org", "team",
	                     "x@elsewhere.test", NULL),
	    0);
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_ALIAS_ADD, "team@example.org", "ann", NULL), 0);
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_ALIAS_ADD, "@example.net", "ann@example.org", NULL), 0);
	return 0;
}

static int
end(void **state)
{
	struct accounts *accounts = site->accounts;

	site_free(site);
	accounts_free(accounts);
	return remove_test_directory(state);
}

/* 250, or the code of the refusal. */
static unsigned
allow(const char *user, const char *sender, const char *table)
{
	struct ipc_rcpt rcpt = make_rcpt("192.0.2.1", "x@elsewhere.test");
	struct reply reply;

	memset(&rcpt.sender, 0, sizeof(rcpt.sender));
	if (*sender != '\0')
		assert_int_equal(
		    address_parse(sender, ADDRESS_ALLOW_UTF8, &rcpt.sender), ADDRESS_OK);
	strcpy(rcpt.auth_user, user);
	strcpy(rcpt.senders_table, table);
	return senders_allow(site, &rcpt, &reply) ? 250 : reply.code;
}

static void
an_account_has_its_address_and_aliases(void **state)
{
	(void)state;
	assert_int_equal(allow("ann@example.org", "ann@example.org", ""), 250);
	assert_int_equal(allow("ann@example.org", "Ann+shop@EXAMPLE.org", ""), 250);
	assert_int_equal(allow("ann@example.org", "team@example.org", ""), 250);
	assert_int_equal(allow("ann@example.org", "info@example.org", ""), 250);
	assert_int_equal(allow("ann@example.org", "whatever@example.net", ""), 250);
	assert_int_equal(allow("ann@example.org", "", ""), 250);
	assert_int_equal(allow("ann@example.org", "bob@example.org", ""), 550);
	assert_int_equal(allow("bob@example.org", "info@example.org", ""), 550);
	assert_int_equal(allow("ann@example.org", "nobody@example.org", ""), 550);
	assert_int_equal(allow("ann@example.org", "ann@elsewhere.test", ""), 550);
	assert_int_equal(allow("ann@example.org", "x@elsewhere.test", ""), 550);
	assert_int_equal(allow("eve@example.org", "ann@example.org", ""), 550);
}

static void
a_user_of_the_system_has_its_name_and_aliases(void **state)
{
	(void)state;
	assert_int_equal(allow("ann", "ann@host.test", ""), 250);
	assert_int_equal(allow("ann", "ann+x@host.test", ""), 250);
	assert_int_equal(allow("ann", "sales@host.test", ""), 250);
	assert_int_equal(allow("bob", "sales@host.test", ""), 250);
	assert_int_equal(allow("ann", "bob@host.test", ""), 550);
	assert_int_equal(allow("ann", "loop@host.test", ""), 550);
	/* Somebody else, though of the same name. */
	assert_int_equal(allow("ann", "ann@example.org", ""), 550);
	assert_int_equal(allow("ann@example.org", "ann@host.test", ""), 550);
}

static void
a_table_says_it_instead(void **state)
{
	(void)state;
	assert_int_equal(allow("ann", "Ann@x.test", "names"), 250);
	assert_int_equal(allow("ann", "boss+1@x.test", "names"), 250);
	assert_int_equal(allow("ann", "any@Y.test", "names"), 250);
	assert_int_equal(allow("ann", "any@x.test", "names"), 550);
	assert_int_equal(allow("ann", "ann@host.test", "names"), 550);
	assert_int_equal(allow("root", "any@where.test", "names"), 250);
	assert_int_equal(allow("bob", "bob@host.test", "names"), 550);
	assert_int_equal(allow("bob", "", "names"), 250);
	assert_int_equal(allow("ann", "ann@x.test", "missing"), 451);
	assert_int_equal(allow("ann", "ann@x.test", "nonesuch"), 451);
}

int
main(void)
{
#define SENDERS_TEST(name) cmocka_unit_test_setup_teardown(name, start, end)
	const struct CMUnitTest tests[] = {
		SENDERS_TEST(an_account_has_its_address_and_aliases),
		SENDERS_TEST(a_user_of_the_system_has_its_name_and_aliases),
		SENDERS_TEST(a_table_says_it_instead),
	};
#undef SENDERS_TEST

	return cmocka_run_group_tests(tests, NULL, NULL);
}
