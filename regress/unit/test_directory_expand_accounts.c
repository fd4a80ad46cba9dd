/*
 * From recipients to mailboxes of the accounts database; and the postmaster.
 */
#include "regress/unit/test_directory_expand_fixture.h"

#define HASH ""

static void
start_accounts(void)
{
	config = new_config();
	add_table(config, "accounts", TABLE_ACCOUNTS, "");
	set(&add_action(config, "in", ACTION_MAILDIR)->virtual_table, "accounts");
	add_action(config, "out", ACTION_RELAY);
	add_rule(config, MATCH_FROM_ANY, "accounts", "in");
	ready();
	assert_int_equal(run_verb(site, &result, ACCOUNT_DOMAIN_ADD, "example.org", NULL), 0);
	assert_int_equal(run_verb(site, &result, ACCOUNT_DOMAIN_ADD, "example.net", NULL), 0);
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_USER_ADD, "bob@example.org", HASH, NULL), 0);
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_USER_ADD, "carol@example.org", HASH, NULL), 0);
	assert_int_equal(
	    run_verb(site, &result, ACCOUNT_USER_ADD, "bob+x@example.org", HASH, NULL), 0);
}

static void
alias(const char *name, const char *first, const char *second)
{
	assert_int_equal(run_verb(site, &result, ACCOUNT_ALIAS_ADD, name, first, second, NULL), 0);
}

static void
accounts_have_users_details_aliases_and_a_catch_all(void **state)
{
	struct ipc_mailbox mailbox;

	(void)state;
	start_accounts();
	alias("info@example.org", "bob", "carol");
	alias("info+sales@example.org", "carol", NULL);
	alias("@example.net", "bob@example.org", NULL);
	assert_string_equal(ask(site, "BOB@example.org"), "250 maildir:bob@example.org");
	assert_string_equal(ask(site, "bob+lists@example.org"), "250 maildir:bob@example.org");
	assert_string_equal(ask(site, "bob+x@example.org"), "250 maildir:bob+x@example.org");
	assert_string_equal(
	    ask(site, "info@example.org"), "250 maildir:bob@example.org maildir:carol@example.org");
	assert_string_equal(ask(site, "info+sales@example.org"), "250 maildir:carol@example.org");
	assert_string_equal(ask(site, "info+other@example.org"),
	    "250 maildir:bob@example.org maildir:carol@example.org");
	assert_string_equal(ask(site, "anyone@example.net"), "250 maildir:bob@example.org");
	assert_string_equal(ask(site, "eve@example.org"), "550 5.1.1 no such user here");
	assert_memory_equal(ask(site, "eve@example.com"), "550 5.7.1", 9);
	mailbox = mailbox_of("in", "Bob@Example.org");
	assert_string_equal(mailbox.path, "/var/mail-test/example.org/bob");
	assert_string_equal(mailbox.home, "");
	assert_string_equal(mailbox.user, "bob@example.org");
	assert_int_equal(mailbox.uid, getuid());
	finish();
}

static void
accounts_are_the_default_of_an_action_without_tables(void **state)
{
	(void)state;
	config = new_config();
	add_table(config, "accounts", TABLE_ACCOUNTS, "");
	add_static_table(config, "aliases", "office", "bob, nobody-here", NULL);
	set(&add_action(config, "in", ACTION_MAILDIR)->alias_table, "aliases");
	add_rule(config, MATCH_FROM_ANY, "accounts", "in");
	add_rule(config, MATCH_FROM_ANY, "", "in")->for_ = MATCH_FOR_LOCAL;
	ready();
	assert_int_equal(run_verb(site, &result, ACCOUNT_DOMAIN_ADD, "example.org", NULL), 0);
	assert_int_equal(run_verb(site, &result, ACCOUNT_USER_ADD, "bob@example.org", NULL), 0);
	assert_string_equal(ask(site, "bob+x@example.org"), "250 maildir:bob@example.org");
	assert_string_equal(ask(site, "office@example.org"), "250 maildir:bob@example.org");
	/* A system user's name is none in the database, and the other way round. */
	assert_memory_equal(ask(site, "games@example.org"), "550 5.1.1", 9);
	assert_string_equal(ask(site, "games@localhost"), "250 maildir:games@localhost");
	assert_memory_equal(ask(site, "bob@localhost"), "550 5.1.1", 9);
	assert_string_equal(
	    mailbox_of("in", "bob@example.org").path, "/var/mail-test/example.org/bob");
	assert_string_equal(mailbox_of("in", "games@localhost").path, "/usr/games/Maildir");
	finish();
}

static void
a_user_deleted_after_rcpt_is_unknown_at_delivery(void **state)
{
	(void)state;
	start_accounts();
	assert_int_equal(mailbox_of("in", "bob@example.org").reply.code, 250);
	assert_int_equal(run_verb(site, &result, ACCOUNT_USER_DELETE, "bob@example.org", NULL), 0);
	assert_int_equal(mailbox_of("in", "bob@example.org").reply.code, 550);
	assert_string_equal(mailbox_of("in", "bob@example.org").reply.enhanced, "5.1.1");
	/* An action that is gone may come back: the mail waits. */
	assert_int_equal(mailbox_of("gone", "bob@example.org").reply.code, 451);
	assert_int_equal(mailbox_of("out", "bob@example.org").reply.code, 451);
	finish();
}

static void
account_aliases_loop_forward_and_keep_copies(void **state)
{
	(void)state;
	start_accounts();
	alias("bob@example.org", "bob", "carol");
	alias("a@example.org", "b", NULL);
	alias("b@example.org", "a", NULL);
	alias("self@example.org", "self", NULL);
	alias("@example.net", "x@example.net", NULL);
	alias("dead@example.org", "nobody", NULL);
	assert_string_equal(
	    ask(site, "bob@example.org"), "250 maildir:bob@example.org maildir:carol@example.org");
	assert_string_equal(ask(site, "a@example.org"), "550 5.4.6 the alias leads back to itself");
	assert_memory_equal(ask(site, "self@example.org"), "550 5.", 6);
	assert_memory_equal(ask(site, "any@example.net"), "550 5.", 6);
	assert_string_equal(
	    ask(site, "dead@example.org"), "550 5.1.1 no mailbox behind this alias");
	finish();
}

static void
international_names_are_found_in_both_forms(void **state)
{
	struct ipc_rcpt rcpt;

	(void)state;
	start_accounts();
	assert_int_equal(run_verb(site, &result, ACCOUNT_DOMAIN_ADD,
	                     "b\xc3\xbc"
	                     "cher.example",
	                     NULL),
	    0);
	assert_int_equal(run_verb(site, &result, ACCOUNT_USER_ADD,
	                     "j\xc3\xbcrgen@b\xc3\xbc"
	                     "cher.example",
	                     HASH, NULL),
	    0);
	rcpt = make_rcpt("192.0.2.1", "J\xc3\xbcrgen@xn--bcher-kva.example");
	assert_string_equal(
	    describe(site, &rcpt), "250 maildir:j\xc3\xbcrgen@xn--bcher-kva.example");
	rcpt = make_rcpt("192.0.2.1",
	    "j\xc3\xbcrgen@b\xc3\xbc"
	    "cher.example");
	assert_string_equal(
	    describe(site, &rcpt), "250 maildir:j\xc3\xbcrgen@xn--bcher-kva.example");
	finish();
}

static void
postmaster_is_always_taken_for_our_domains(void **state)
{
	struct ipc_mailbox mailbox;

	(void)state;
	start_accounts();
	/* Nobody has the name: a mailbox of its own keeps it. */
	assert_string_equal(
	    ask(site, "postmaster@example.org"), "250 maildir:postmaster@mx.example.test");
	assert_string_equal(ask(site, "POSTMASTER"), "250 maildir:postmaster@mx.example.test");
	assert_string_equal(
	    ask(site, "postmaster@mx.example.test"), "250 maildir:postmaster@mx.example.test");
	assert_string_equal(
	    ask(site, "postmaster@[127.0.0.1]"), "250 maildir:postmaster@mx.example.test");
	assert_memory_equal(ask(site, "postmaster@else.test"), "550 5.7.1", 9);
	assert_memory_equal(ask(site, "postmaster@[192.0.2.1]"), "550 5.7.1", 9);
	mailbox = mailbox_of("", "postmaster@mx.example.test");
	assert_int_equal(mailbox.reply.code, 250);
	assert_string_equal(mailbox.path, "/var/mail-test/postmaster");
	assert_int_equal(mailbox_of("", "bob@mx.example.test").reply.code, 451);
	/* Whom the configuration names gets it instead, and an alias before that. */
	set(&site->config->postmaster, "bob@example.org");
	assert_string_equal(ask(site, "postmaster@example.org"), "250 maildir:bob@example.org");
	alias("postmaster@example.org", "carol", NULL);
	assert_string_equal(ask(site, "postmaster@example.org"), "250 maildir:carol@example.org");
	assert_string_equal(ask(site, "postmaster@example.net"), "250 maildir:bob@example.org");
	finish();
}

static void
double_bounces_are_never_refused(void **state)
{
	struct ipc_rcpt rcpt;

	(void)state;
	start_accounts();
	set(&site->config->postmaster, "admin@else.test");
	rcpt = make_rcpt("", "admin@else.test");
	assert_string_equal(describe(site, &rcpt), "250 maildir:postmaster@mx.example.test");
	rcpt = make_rcpt("192.0.2.1", "admin@else.test");
	assert_memory_equal(describe(site, &rcpt), "550 5.7.1", 9);
	finish();
}

static void
a_postmaster_rule_for_local_clients_serves_strangers_too(void **state)
{
	(void)state;
	config = new_config();
	add_static_table(config, "ours", "example.test", "", NULL);
	add_static_table(config, "vusers", "postmaster@example.test", "games", NULL);
	set(&add_action(config, "in", ACTION_MAILDIR)->virtual_table, "vusers");
	add_rule(config, MATCH_FROM_LOCAL, "ours", "in");
	ready();
	assert_string_equal(ask(site, "postmaster@example.test"), "250 maildir:games@example.test");
	assert_memory_equal(ask(site, "bob@example.test"), "550 5.7.1", 9);
	finish();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(accounts_have_users_details_aliases_and_a_catch_all),
		TEST(accounts_are_the_default_of_an_action_without_tables),
		TEST(a_user_deleted_after_rcpt_is_unknown_at_delivery),
		TEST(account_aliases_loop_forward_and_keep_copies),
		TEST(international_names_are_found_in_both_forms),
		TEST(postmaster_is_always_taken_for_our_domains),
		TEST(double_bounces_are_never_refused),
		TEST(a_postmaster_rule_for_local_clients_serves_strangers_too),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
