/*
 * The match rules: each condition, negation, order, and what can't be decided.
 */
#include "regress/unit/test_directory_fixture.h"

#include "lookup/rules.h"

static struct config *config;
static struct site *site;

static void
start(void)
{
	config = new_config();
	add_static_table(config, "ours", "example.test", "", "*.wild.test", "", NULL);
	add_action(config, "in", ACTION_MAILDIR);
	add_action(config, "out", ACTION_RELAY);
}

static void
ready(void)
{
	site = site_new(config, accounts_new(test_path("accounts")), false);
}

static void
finish(void)
{
	struct accounts *accounts = site->accounts;

	site_free(site);
	accounts_free(accounts);
}

/* The deciding rule's line, negative when it rejects; 0 none, 1000 broken. */
static int
decide(const struct ipc_rcpt *rcpt)
{
	const struct rule *rule;

	switch (
	    rules_match(site, rcpt, &rcpt->rcpt, rcpt->client_family == CLIENT_INTERNAL, &rule)) {
	case RULES_ACTION:
		return (int)rule->config->line;
	case RULES_REJECT:
		return -(int)rule->config->line;
	case RULES_NONE:
		return 0;
	case RULES_BROKEN:
		break;
	}
	return 1000;
}

static int
rule_of(const char *client, const char *to)
{
	struct ipc_rcpt rcpt = make_rcpt(client, to);

	return decide(&rcpt);
}

static void
the_first_rule_that_fits_decides(void **state)
{
	(void)state;
	start();
	add_rule(config, MATCH_FROM_ANY, "ours", "in");
	add_rule(config, MATCH_FROM_LOCAL, "", "out");
	add_rule(config, MATCH_FROM_ANY, "ours", "");
	ready();
	assert_int_equal(rule_of("192.0.2.1", "bob@example.test"), 1);
	assert_int_equal(rule_of("127.0.0.1", "bob@example.test"), 1);
	assert_int_equal(rule_of("127.0.0.1", "bob@else.test"), 2);
	assert_int_equal(rule_of("192.0.2.1", "bob@else.test"), 0);
	assert_int_equal(rule_of("192.0.2.1", "bob@a.wild.test"), 1);
	finish();
}

static void
a_reject_rule_hides_the_later_ones(void **state)
{
	struct ipc_rcpt rcpt;

	(void)state;
	start();
	add_static_table(config, "bad", "@spam.test", "", NULL);
	set(&add_rule(config, MATCH_FROM_ANY, "ours", "")->mail_from_table, "bad");
	add_rule(config, MATCH_FROM_ANY, "ours", "in");
	ready();
	rcpt = make_rcpt("192.0.2.1", "bob@example.test");
	assert_int_equal(decide(&rcpt), 2);
	assert_int_equal(address_parse("x@spam.test", 0, &rcpt.sender), ADDRESS_OK);
	assert_int_equal(decide(&rcpt), -1);
	finish();
}

static void
local_is_this_machine_only(void **state)
{
	(void)state;
	start();
	add_rule(config, MATCH_FROM_LOCAL, "", "out");
	ready();
	assert_int_equal(rule_of("127.0.0.1", "x@else.test"), 1);
	assert_int_equal(rule_of("127.8.8.8", "x@else.test"), 1);
	assert_int_equal(rule_of("::1", "x@else.test"), 1);
	assert_int_equal(rule_of("::ffff:127.0.0.1", "x@else.test"), 1);
	assert_int_equal(rule_of("local", "x@else.test"), 1);
	assert_int_equal(rule_of("", "x@else.test"), 1);
	assert_int_equal(rule_of("192.0.2.1", "x@else.test"), 0);
	assert_int_equal(rule_of("2001:db8::1", "x@else.test"), 0);
	assert_int_equal(rule_of("::ffff:192.0.2.1", "x@else.test"), 0);
	assert_int_equal(rule_of("::127.0.0.1", "x@else.test"), 0);
	finish();
}

static void
for_local_is_the_host_itself(void **state)
{
	(void)state;
	start();
	add_rule(config, MATCH_FROM_ANY, "", "in")->for_ = MATCH_FOR_LOCAL;
	ready();
	assert_int_equal(rule_of("192.0.2.1", "bob@localhost"), 1);
	assert_int_equal(rule_of("192.0.2.1", "bob@MX.example.test"), 1);
	assert_int_equal(rule_of("192.0.2.1", "bob@[127.0.0.1]"), 1);
	assert_int_equal(rule_of("192.0.2.1", "bob@[IPv6:::1]"), 1);
	assert_int_equal(rule_of("192.0.2.1", "bob@[192.0.2.1]"), 0);
	assert_int_equal(rule_of("192.0.2.1", "bob@example.test"), 0);
	finish();
}

static void
sources_tags_helo_auth_and_sockets_are_compared(void **state)
{
	struct rule_config *rule;
	struct ipc_rcpt rcpt;

	(void)state;
	start();
	add_static_table(config, "nets", "192.0.2.0/24", "", "2001:db8::/32", "", NULL);
	add_static_table(config, "helos", "*.good.test", "", NULL);
	rule = add_rule(config, MATCH_FROM_SOURCE, "", "out");
	set(&rule->from_table, "nets");
	rule = add_rule(config, MATCH_FROM_ANY, "", "out");
	add_static_table(config, "tags", "submission", "", NULL);
	set(&rule->tag_table, "tags");
	rule = add_rule(config, MATCH_FROM_ANY, "", "out");
	set(&rule->helo_table, "helos");
	add_rule(config, MATCH_FROM_AUTH, "", "out");
	add_rule(config, MATCH_FROM_SOCKET, "", "out");
	ready();
	assert_int_equal(rule_of("192.0.2.200", "x@else.test"), 1);
	assert_int_equal(rule_of("2001:db8:5::1", "x@else.test"), 1);
	assert_int_equal(rule_of("198.51.100.1", "x@else.test"), 0);
	rcpt = make_rcpt("198.51.100.1", "x@else.test");
	strcpy(rcpt.tag, "submission");
	assert_int_equal(decide(&rcpt), 2);
	*rcpt.tag = '\0';
	strcpy(rcpt.helo, "mx.Good.test");
	assert_int_equal(decide(&rcpt), 3);
	strcpy(rcpt.helo, "*.good.test");
	assert_int_equal(decide(&rcpt), 0);
	strcpy(rcpt.auth_user, "bob");
	assert_int_equal(decide(&rcpt), 4);
	assert_int_equal(rule_of("local", "x@else.test"), 5);
	/* Nothing that comes from the queue itself is "from socket" or "from src". */
	assert_int_equal(rule_of("", "x@else.test"), 0);
	finish();
}

static void
names_and_encryption_are_asked_for(void **state)
{
	struct rule_config *rule;
	struct ipc_rcpt rcpt;

	(void)state;
	start();
	add_static_table(config, "good", "*.good.test", "", NULL);
	rule = add_rule(config, MATCH_FROM_RDNS, "", "out");
	set(&rule->from_table, "good");
	add_rule(config, MATCH_FROM_ANY, "", "out")->tls = true;
	rule = add_rule(config, MATCH_FROM_RDNS, "", "");
	rule->from_negated = true;
	rule = add_rule(config, MATCH_FROM_ANY, "", "out");
	rule->tls = rule->tls_negated = true;
	ready();
	rcpt = make_rcpt("192.0.2.1", "x@else.test");
	assert_int_equal(decide(&rcpt), -3);
	strcpy(rcpt.client_name, "mx.bad.test");
	assert_int_equal(decide(&rcpt), 4);
	strcpy(rcpt.client_name, "MX.good.test");
	assert_int_equal(decide(&rcpt), 1);
	*rcpt.client_name = '\0';
	rcpt.tls = true;
	assert_int_equal(decide(&rcpt), 2);
	/* A name that DNS hasn't told yet is neither there nor missing. */
	rcpt.name_unknown = true;
	assert_int_equal(decide(&rcpt), 1000);
	/* The queue's own mail is this machine's, which has a name, and crossed no network. */
	assert_int_equal(rule_of("", "x@else.test"), 2);
	finish();
}

static void
regular_expressions_take_the_place_of_tables(void **state)
{
	struct rule_config *rule;
	struct ipc_rcpt rcpt;

	(void)state;
	start();
	add_static_table(config, "r1", "^dyn[0-9]+\\.", "", NULL);
	add_static_table(config, "r2", "^198\\.51\\.", "", "^2001:db8:", "", NULL);
	add_static_table(config, "r3", "^\\[", "", "^localhost$", "", NULL);
	add_static_table(config, "r4", "^bounce\\+.*@lists\\.", "", "^<>$", "", NULL);
	add_static_table(config, "r5", "^[^@]{30,}@", "", NULL);
	add_static_table(config, "r6", "(^|\\.)xn--[a-z0-9-]+\\.test$", "", NULL);
	add_static_table(config, "r7", "^ann", "", NULL);
	add_static_table(config, "r8", "^sub", "", NULL);
	rule = add_rule(config, MATCH_FROM_RDNS, "", "");
	rule->from_regex = true;
	set(&rule->from_table, "r1");
	rule = add_rule(config, MATCH_FROM_SOURCE, "", "");
	rule->from_regex = true;
	set(&rule->from_table, "r2");
	rule = add_rule(config, MATCH_FROM_ANY, "", "");
	rule->helo_regex = true;
	set(&rule->helo_table, "r3");
	rule = add_rule(config, MATCH_FROM_ANY, "", "");
	rule->mail_from_regex = true;
	set(&rule->mail_from_table, "r4");
	rule = add_rule(config, MATCH_FROM_ANY, "", "");
	rule->rcpt_to_regex = true;
	set(&rule->rcpt_to_table, "r5");
	add_rule(config, MATCH_FROM_ANY, "r6", "in")->for_regex = true;
	rule = add_rule(config, MATCH_FROM_AUTH, "", "out");
	rule->from_regex = true;
	set(&rule->from_table, "r7");
	rule = add_rule(config, MATCH_FROM_ANY, "", "out");
	rule->tag_regex = true;
	set(&rule->tag_table, "r8");
	ready();
	rcpt = make_rcpt("192.0.2.1", "x@else.test");
	assert_int_equal(decide(&rcpt), 0);
	strcpy(rcpt.client_name, "Dyn12.isp.test");
	assert_int_equal(decide(&rcpt), -1);
	assert_int_equal(rule_of("198.51.100.1", "x@else.test"), -2);
	assert_int_equal(rule_of("2001:db8::1", "x@else.test"), -2);
	*rcpt.client_name = '\0';
	strcpy(rcpt.helo, "[192.0.2.1]");
	assert_int_equal(decide(&rcpt), -3);
	strcpy(rcpt.helo, "LOCALHOST");
	assert_int_equal(decide(&rcpt), -3);
	strcpy(rcpt.helo, "localhost.test");
	assert_int_equal(decide(&rcpt), 0);
	assert_int_equal(address_parse("Bounce+1@lists.test", 0, &rcpt.sender), ADDRESS_OK);
	assert_int_equal(decide(&rcpt), -4);
	memset(&rcpt.sender, 0, sizeof(rcpt.sender));
	assert_int_equal(decide(&rcpt), -4);
	assert_int_equal(rule_of("192.0.2.1", "a12345678901234567890123456789@else.test"), -5);
	assert_int_equal(rule_of("192.0.2.1",
	                     "x@a.b\xc3\xbc"
	                     "cher.test"),
	    6);
	rcpt = make_rcpt("192.0.2.1", "x@else.test");
	strcpy(rcpt.auth_user, "Anna");
	assert_int_equal(decide(&rcpt), 7);
	*rcpt.auth_user = '\0';
	strcpy(rcpt.tag, "submission");
	assert_int_equal(decide(&rcpt), 8);
	finish();
}

/* One with a mistake decides nothing: what comes after it might be more than is allowed. */
static void
files_of_regular_expressions_are_read_again(void **state)
{
	(void)state;
	start();
	write_file(
	    "expressions", "# what is ours\n\n^(www|mail)\\.[[:alpha:]]+\\.test$\r\n  x{2}  \n");
	add_table(config, "t", TABLE_FILE, test_path("expressions"));
	add_rule(config, MATCH_FROM_ANY, "t", "in")->for_regex = true;
	ready();
	assert_int_equal(rule_of("192.0.2.1", "x@mail.else.test"), 1);
	assert_int_equal(rule_of("192.0.2.1", "x@axxa.test"), 1);
	assert_int_equal(rule_of("192.0.2.1", "x@mail.else2.test"), 0);
	write_file("expressions", "^other\n");
	(void)site_refresh(site);
	assert_true(site_refresh(site));
	assert_int_equal(rule_of("192.0.2.1", "x@mail.else.test"), 0);
	assert_int_equal(rule_of("192.0.2.1", "x@other.test"), 1);
	/* What is wrong keeps what was right. */
	write_file("expressions", "^third\n(\n");
	(void)site_refresh(site);
	(void)site_refresh(site);
	assert_int_equal(rule_of("192.0.2.1", "x@other.test"), 1);
	finish();
	start();
	add_table(config, "t", TABLE_FILE, test_path("expressions"));
	add_rule(config, MATCH_FROM_ANY, "t", "in")->for_regex = true;
	ready();
	assert_int_equal(rule_of("192.0.2.1", "x@other.test"), 1000);
	finish();
}

static void
rules_can_name_the_users_that_have_logged_in(void **state)
{
	struct rule_config *rule;
	struct ipc_rcpt rcpt;

	(void)state;
	start();
	add_static_table(config, "some", "ann", "", "bob@x.test", "", NULL);
	rule = add_rule(config, MATCH_FROM_AUTH, "", "out");
	set(&rule->from_table, "some");
	rule = add_rule(config, MATCH_FROM_ANY, "x.test", "out");
	rule->auth = true;
	rule = add_rule(config, MATCH_FROM_ANY, "y.test", "out");
	rule->auth = rule->auth_negated = true;
	set(&rule->auth_table, "some");
	add_static_table(config, "x.test", "x.test", "", NULL);
	add_static_table(config, "y.test", "y.test", "", NULL);
	ready();
	rcpt = make_rcpt("198.51.100.1", "x@x.test");
	assert_int_equal(decide(&rcpt), 0);
	strcpy(rcpt.auth_user, "Bob@x.test");
	assert_int_equal(decide(&rcpt), 1);
	strcpy(rcpt.auth_user, "eve");
	assert_int_equal(decide(&rcpt), 2);
	rcpt = make_rcpt("198.51.100.1", "x@y.test");
	assert_int_equal(decide(&rcpt), 3);
	strcpy(rcpt.auth_user, "ann");
	assert_int_equal(decide(&rcpt), 1);
	finish();
}

static void
each_condition_can_be_negated(void **state)
{
	struct rule_config *rule;
	struct ipc_rcpt rcpt;

	(void)state;
	start();
	add_static_table(config, "nets", "192.0.2.0/24", "", NULL);
	add_static_table(config, "bob", "bob@example.test", "", NULL);
	rule = add_rule(config, MATCH_FROM_SOURCE, "ours", "in");
	set(&rule->from_table, "nets");
	rule->from_negated = true;
	rule = add_rule(config, MATCH_FROM_ANY, "ours", "in");
	rule->for_negated = true;
	rule = add_rule(config, MATCH_FROM_ANY, "", "in");
	add_static_table(config, "t", "t", "", NULL);
	set(&rule->tag_table, "t");
	rule->tag_negated = true;
	set(&rule->rcpt_to_table, "bob");
	rule->rcpt_to_negated = true;
	ready();
	assert_int_equal(rule_of("198.51.100.1", "bob@example.test"), 1);
	assert_int_equal(rule_of("192.0.2.1", "x@else.test"), 2);
	assert_int_equal(rule_of("192.0.2.1", "carol@example.test"), 3);
	assert_int_equal(rule_of("192.0.2.1", "bob@example.test"), 0);
	rcpt = make_rcpt("192.0.2.1", "carol@example.test");
	strcpy(rcpt.tag, "T");
	assert_int_equal(decide(&rcpt), 0);
	finish();
}

static void
for_rcpt_takes_a_list_of_mailboxes(void **state)
{
	struct rule_config *rule;

	(void)state;
	start();
	add_static_table(config, "people", "bob@example.test", "", "@all.test", "", NULL);
	rule = add_rule(config, MATCH_FROM_ANY, "people", "in");
	rule->for_ = MATCH_FOR_RCPT;
	ready();
	assert_int_equal(rule_of("192.0.2.1", "Bob+x@example.test"), 1);
	assert_int_equal(rule_of("192.0.2.1", "carol@example.test"), 0);
	assert_int_equal(rule_of("192.0.2.1", "x@all.test"), 1);
	finish();
}

static void
a_table_that_cant_be_read_decides_nothing(void **state)
{
	(void)state;
	start();
	add_table(config, "missing", TABLE_FILE, test_path("missing"));
	add_rule(config, MATCH_FROM_LOCAL, "missing", "");
	add_rule(config, MATCH_FROM_ANY, "ours", "in");
	ready();
	/* Not asked for, so it doesn't matter. */
	assert_int_equal(rule_of("192.0.2.1", "bob@example.test"), 2);
	/* It could be the rule that refuses this. */
	assert_int_equal(rule_of("127.0.0.1", "bob@example.test"), 1000);
	finish();
}

static void
percent_and_bang_addresses_are_never_relayed(void **state)
{
	(void)state;
	start();
	add_rule(config, MATCH_FROM_ANY, "ours", "in");
	add_rule(config, MATCH_FROM_LOCAL, "", "out");
	ready();
	/* Only the domain behind the "@" counts: these are names of ours, and there are none such.
	 */
	assert_memory_equal(ask(site, "u%else.test@example.test"), "550 5.1.1", 9);
	assert_memory_equal(ask(site, "else.test!u@example.test"), "550 5.1.1", 9);
	assert_memory_equal(ask(site, "\"u@else.test\"@example.test"), "550 5.1.1", 9);
	assert_memory_equal(ask(site, "u%example.test@else.test"), "550 5.7.1", 9);
	finish();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_first_rule_that_fits_decides),
		TEST(a_reject_rule_hides_the_later_ones),
		TEST(local_is_this_machine_only),
		TEST(for_local_is_the_host_itself),
		TEST(sources_tags_helo_auth_and_sockets_are_compared),
		TEST(names_and_encryption_are_asked_for),
		TEST(regular_expressions_take_the_place_of_tables),
		TEST(files_of_regular_expressions_are_read_again),
		TEST(rules_can_name_the_users_that_have_logged_in),
		TEST(each_condition_can_be_negated),
		TEST(for_rcpt_takes_a_list_of_mailboxes),
		TEST(a_table_that_cant_be_read_decides_nothing),
		TEST(percent_and_bang_addresses_are_never_relayed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
