/*
 * From recipients to mailboxes by virtual and alias tables: which keys, which targets, what is dead.
 */
#include "regress/unit/test_directory_expand_fixture.h"

static void
virtual_users_and_userbase_lead_to_a_mailbox(void **state)
{
	struct ipc_mailbox mailbox;

	(void)state;
	start_virtual("bob@example.test bob\n", users);
	ready();
	assert_string_equal(ask(site, "Bob@Example.Test"), "250 maildir:bob@example.test");
	assert_string_equal(ask(site, "eve@example.test"), "550 5.1.1 no such user here");
	assert_string_equal(
	    ask(site, "bob@else.test"), "550 5.7.1 foreign domain: relaying denied");
	mailbox = mailbox_of("in", "bob@example.test");
	assert_int_equal(mailbox.reply.code, 250);
	assert_int_equal(mailbox.uid, 5000);
	assert_int_equal(mailbox.gid, 5000);
	assert_string_equal(mailbox.home, "/var/vmail");
	assert_string_equal(mailbox.path, "/var/vmail/bob");
	assert_string_equal(mailbox.user, "bob");
	finish();
}

static void
virtual_keys_are_tried_from_whole_address_to_catch_all(void **state)
{
	(void)state;
	start_virtual("bob+list@example.test dave\nbob@example.test bob\ncarol carol\n"
	              "@second.test dave\n",
	    users);
	ready();
	assert_string_equal(ask(site, "bob@example.test"), "250 maildir:bob@example.test");
	assert_string_equal(ask(site, "bob+list@example.test"), "250 maildir:dave@example.test");
	assert_string_equal(ask(site, "bob+other@example.test"), "250 maildir:bob@example.test");
	assert_string_equal(ask(site, "carol@example.test"), "250 maildir:carol@example.test");
	assert_string_equal(ask(site, "carol+x@second.test"), "250 maildir:carol@second.test");
	assert_string_equal(ask(site, "any@second.test"), "250 maildir:dave@second.test");
	assert_string_equal(ask(site, "any@example.test"), "550 5.1.1 no such user here");
	finish();
	start_virtual("@ carol\n", users);
	ready();
	assert_string_equal(ask(site, "any@example.test"), "250 maildir:carol@example.test");
	finish();
}

static void
a_mailbox_is_named_once_however_many_ways_lead_there(void **state)
{
	(void)state;
	start_virtual("all@example.test bob, carol, team@example.test, bob@second.test, BOB\n"
	              "team@example.test carol, dave\nbob@second.test bob\n",
	    users);
	ready();
	assert_string_equal(ask(site, "all@example.test"),
	    "250 maildir:bob@example.test maildir:carol@example.test maildir:dave@example.test");
	finish();
}

static struct ipc_target
only_target(const char *address)
{
	struct ipc_rcpt rcpt = make_rcpt("192.0.2.1", address);
	struct expanded expanded;
	struct ipc_target target;

	expand_recipient(site, &rcpt, NULL, &expanded);
	assert_int_equal(expanded.reply.code, 250);
	assert_int_equal(expanded.count, 1);
	target = expanded.targets[0];
	expanded_free(&expanded);
	return target;
}

/* Recipients are asked about one by one; the listener makes them unique by this number. */
static void
one_mailbox_has_one_number_whatever_its_address(void **state)
{
	(void)state;
	start_virtual(
	    "bob@example.test bob\nbob@second.test bob\ncarol@example.test carol\n", users);
	ready();
	assert_true(only_target("bob@example.test").mailbox != 0);
	assert_true(
	    only_target("bob@example.test").mailbox == only_target("bob@second.test").mailbox);
	assert_true(
	    only_target("bob@example.test").mailbox != only_target("carol@example.test").mailbox);
	assert_true(only_target("postmaster").mailbox != 0);
	finish();
}

static void
a_domain_target_keeps_the_local_part(void **state)
{
	(void)state;
	start_virtual("@second.test @example.test\nbob@example.test bob\n", users);
	ready();
	assert_string_equal(ask(site, "bob@second.test"), "250 maildir:bob@example.test");
	assert_memory_equal(ask(site, "eve@second.test"), "550 5.1.1", 9);
	finish();
}

static void
forwarding_to_other_hosts_needs_a_relay_rule(void **state)
{
	(void)state;
	start_virtual("bob@example.test bob, bob@else.test\nfar@example.test x@else.test\n", users);
	ready();
	assert_string_equal(ask(site, "bob@example.test"), "250 maildir:bob@example.test");
	assert_string_equal(
	    ask(site, "far@example.test"), "550 5.1.1 no mailbox behind this alias");
	finish();
	start_virtual("bob@example.test bob, Bob@else.test\nfar@example.test x@else.test\n", users);
	add_rule(config, MATCH_FROM_LOCAL, "", "out");
	ready();
	assert_string_equal(
	    ask(site, "bob@example.test"), "250 maildir:bob@example.test relay:Bob@else.test");
	assert_string_equal(ask(site, "far@example.test"), "250 relay:x@else.test");
	/* That rule is for this machine, not for strangers. */
	assert_memory_equal(ask(site, "x@else.test"), "550 5.7.1", 9);
	finish();
}

static void
dead_targets_are_refused_when_nothing_is_left(void **state)
{
	(void)state;
	start_virtual("a@example.test nobody\nb@example.test nobody, bob\n"
	              "c@example.test nobody@example.test\nd@example.test /etc/passwd\n"
	              "e@example.test :include:/etc\nf@example.test \"|/bin/sh\"\n"
	              "g@example.test x@y@z\nh@example.test error:550 moved away\n"
	              "i@example.test error:450 busy\nj@example.test :include:/etc/passwd, bob\n"
	              "k@example.test error:550 5.1.6 moved\nl@example.test error:450 5.1.6 x\n"
	              "m@example.test error:550 5.1.6\nn@example.test error:550 5.1.x y\n"
	              "o@example.test error:\nq@example.test error:55 z\n",
	    users);
	ready();
	assert_string_equal(ask(site, "a@example.test"), "550 5.1.1 no mailbox behind this alias");
	assert_string_equal(ask(site, "b@example.test"), "250 maildir:bob@example.test");
	for (char name = 'c'; name <= 'g'; name++) {
		char address[] = "?@example.test";

		*address = name;
		assert_string_equal(ask(site, address), "550 5.1.1 no mailbox behind this alias");
	}
	assert_string_equal(ask(site, "h@example.test"), "550 5.7.1 moved away");
	assert_string_equal(ask(site, "i@example.test"), "450 4.7.1 busy");
	assert_string_equal(ask(site, "j@example.test"), "250 maildir:bob@example.test");
	assert_string_equal(ask(site, "k@example.test"), "550 5.1.6 moved");
	assert_string_equal(ask(site, "l@example.test"), "450 4.7.1 5.1.6 x");
	assert_string_equal(ask(site, "m@example.test"), "550 5.1.6 not accepted");
	assert_string_equal(ask(site, "n@example.test"), "550 5.7.1 5.1.x y");
	assert_string_equal(ask(site, "o@example.test"), "550 5.7.1 not accepted");
	assert_string_equal(ask(site, "q@example.test"), "550 5.7.1 55 z");
	finish();
}

static void
commands_run_only_where_the_action_allows_them(void **state)
{
	struct ipc_mailbox_request request = {
		.kind = ENVELOPE_PIPE, .action = "in", .dest = { "list", "example.test" }
	};
	struct ipc_mailbox mailbox;

	(void)state;
	start_virtual("list@example.test \"|/usr/bin/list post, all\", bob\n", users)->allow_pipes =
	    true;
	ready();
	assert_string_equal(ask(site, "list@example.test"),
	    "250 pipe:list@example.test|/usr/bin/list post, all maildir:bob@example.test");
	/* What a client writes is never a command or a path. */
	assert_string_equal(ask(site, "|cmd@example.test"), "550 5.1.1 no such user here");
	assert_string_equal(ask(site, "/etc/passwd@example.test"), "550 5.1.1 no such user here");
	mailbox_answer(site, &request, &mailbox);
	assert_int_equal(mailbox.reply.code, 250);
	assert_int_equal(mailbox.uid, getuid());
	finish();
	start_virtual("list@example.test \"|/usr/bin/list\"\n", users);
	ready();
	mailbox_answer(site, &request, &mailbox);
	assert_int_equal(mailbox.reply.code, 550);
	finish();
}

/* It is for one recipient, whoever wrote it: no session ends for it. */
static void
an_error_target_has_code_enhanced_code_and_words(void **state)
{
	(void)state;
	start_virtual("a@example.test error:550 5.1.6 moved to x@else.test\nb@example.test error:\n"
	              "c@example.test error:421 4.3.2 go away\nd@example.test error:521 no\n"
	              "e@example.test error:450 5.1.1 x\nf@example.test error:550 5.1.x y\n"
	              "g@example.test \"error:552 5.2.2 full, sorry\"\nh@example.test error:gone\n"
	              "i@example.test error:550 5.1.1\nj@example.test error:354 go on\n",
	    users);
	ready();
	assert_string_equal(ask(site, "a@example.test"), "550 5.1.6 moved to x@else.test");
	assert_string_equal(ask(site, "b@example.test"), "550 5.7.1 not accepted");
	assert_string_equal(ask(site, "c@example.test"), "450 4.3.2 go away");
	assert_string_equal(ask(site, "d@example.test"), "550 5.7.1 no");
	assert_string_equal(ask(site, "e@example.test"), "450 4.7.1 5.1.1 x");
	assert_string_equal(ask(site, "f@example.test"), "550 5.7.1 5.1.x y");
	assert_string_equal(ask(site, "g@example.test"), "552 5.2.2 full, sorry");
	assert_string_equal(ask(site, "h@example.test"), "550 5.7.1 gone");
	assert_string_equal(ask(site, "i@example.test"), "550 5.1.1 not accepted");
	assert_string_equal(ask(site, "j@example.test"), "550 5.7.1 354 go on");
	finish();
}

/* It is a name like any other, and nobody's sender is changed for it. */
static void
an_owner_alias_is_only_a_name(void **state)
{
	(void)state;
	start_virtual("list@example.test bob, carol\nowner-list@example.test dave\n", users);
	ready();
	assert_string_equal(ask(site, "list@example.test"),
	    "250 maildir:bob@example.test maildir:carol@example.test");
	assert_string_equal(ask(site, "owner-list@example.test"), "250 maildir:dave@example.test");
	finish();
}

static void
aliases_above_ascii_are_found_as_they_are_written(void **state)
{
	(void)state;
	start_virtual("j\xc3\xbcrgen@b\xc3\xbc"
	              "cher.test bob\n\xe5\xb1\xb1: carol\n"
	              "umlaut@example.test j\xc3\xbcrgen@xn--bcher-kva.test, \xe5\xb1\xb1\n",
	    users);
	add_rule(config, MATCH_FROM_ANY, "", "in");
	ready();
	assert_string_equal(
	    ask(site, "J\xc3\xbcrgen@xn--bcher-kva.test"), "250 maildir:bob@xn--bcher-kva.test");
	assert_string_equal(
	    ask(site, "\xe5\xb1\xb1+x@example.test"), "250 maildir:carol@example.test");
	assert_string_equal(ask(site, "umlaut@example.test"), "250 maildir:bob@xn--bcher-kva.test");
	/* Other letters, though they look the same. */
	assert_memory_equal(ask(site, "ju\xcc\x88rgen@xn--bcher-kva.test"), "550 5.1.1", 9);
	finish();
}

static void
alias_tables_are_for_users_of_this_host(void **state)
{
	struct action_config *action;

	(void)state;
	config = new_config();
	write_file("aliases",
	    "# aliases\nroot: bob\nPostmaster: root\nteam: bob, carol\nbob: bob, dave\n"
	    "loop: loop\n\"first last\": carol\n50%: carol\n");
	add_table(config, "aliases", TABLE_FILE, test_path("aliases"));
	write_file("vbase", users);
	add_table(config, "vbase", TABLE_FILE, test_path("vbase"));
	action = add_action(config, "local", ACTION_MAILDIR);
	set(&action->alias_table, "aliases");
	set(&action->userbase_table, "vbase");
	add_rule(config, MATCH_FROM_ANY, "", "local")->for_ = MATCH_FOR_LOCAL;
	ready();
	assert_string_equal(ask(site, "carol@localhost"), "250 maildir:carol@localhost");
	assert_string_equal(
	    ask(site, "Carol+x@mx.example.test"), "250 maildir:carol@mx.example.test");
	/* An alias that names itself means the mailbox of that name. */
	assert_string_equal(
	    ask(site, "bob@localhost"), "250 maildir:dave@localhost maildir:bob@localhost");
	assert_string_equal(ask(site, "\"first last\"@localhost"), "250 maildir:carol@localhost");
	assert_string_equal(ask(site, "50%@localhost"), "250 maildir:carol@localhost");
	assert_memory_equal(ask(site, "loop@localhost"), "550 5.", 6);
	assert_memory_equal(ask(site, "nobody-here@localhost"), "550 5.1.1", 9);
	/* Postmaster without a domain (RFC 5321 4.1.1.3). */
	assert_string_equal(ask(site, "Postmaster"),
	    "250 maildir:bob@mx.example.test maildir:dave@mx.example.test");
	finish();
}

static void
what_cant_be_looked_up_is_temporary(void **state)
{
	(void)state;
	start_virtual("bob@example.test bob\n", users);
	add_table(config, "missing", TABLE_FILE, test_path("missing"));
	set(&config->actions[0].userbase_table, "missing");
	ready();
	assert_memory_equal(ask(site, "bob@example.test"), "451 4.3.0", 9);
	assert_int_equal(mailbox_of("in", "bob@example.test").reply.code, 451);
	assert_string_equal(ask(site, "eve@example.test"), "550 5.1.1 no such user here");
	finish();
}

static void
a_name_that_is_too_long_is_only_unknown(void **state)
{
	char address[100];

	(void)state;
	memset(address, 'u', 64);
	strcpy(address + 64, "@example.test");
	start_virtual("bob@example.test bob\n", users);
	ready();
	assert_string_equal(ask(site, address), "550 5.1.1 no such user here");
	finish();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(virtual_users_and_userbase_lead_to_a_mailbox),
		TEST(virtual_keys_are_tried_from_whole_address_to_catch_all),
		TEST(a_mailbox_is_named_once_however_many_ways_lead_there),
		TEST(one_mailbox_has_one_number_whatever_its_address),
		TEST(a_domain_target_keeps_the_local_part),
		TEST(forwarding_to_other_hosts_needs_a_relay_rule),
		TEST(dead_targets_are_refused_when_nothing_is_left),
		TEST(commands_run_only_where_the_action_allows_them),
		TEST(an_error_target_has_code_enhanced_code_and_words),
		TEST(an_owner_alias_is_only_a_name),
		TEST(aliases_above_ascii_are_found_as_they_are_written),
		TEST(alias_tables_are_for_users_of_this_host),
		TEST(what_cant_be_looked_up_is_temporary),
		TEST(a_name_that_is_too_long_is_only_unknown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
