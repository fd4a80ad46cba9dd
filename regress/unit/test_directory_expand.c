/*
 * From recipients to mailboxes: virtual tables, aliases, accounts, loops, limits, postmaster.
 */
#include <time.h>

#include "common/srs.h"
#include "regress/unit/test_directory_fixture.h"

#define HASH ""

static struct config *config;
static struct site *site;
static struct ipc_result result;

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

/* As the smtpd.conf of the benchmark: virtual and userbase tables from files. */
static struct action_config *
start_virtual(const char *virtuals, const char *userbase)
{
	struct action_config *action;

	config = new_config();
	add_static_table(config, "ours", "example.test", "", "second.test", "", NULL);
	write_file("vusers", virtuals);
	add_table(config, "vusers", TABLE_FILE, test_path("vusers"));
	write_file("vbase", userbase);
	add_table(config, "vbase", TABLE_FILE, test_path("vbase"));
	action = add_action(config, "in", ACTION_MAILDIR);
	set(&action->path, "/var/vmail/%{dest.user:lowercase}");
	set(&action->virtual_table, "vusers");
	set(&action->userbase_table, "vbase");
	add_action(config, "out", ACTION_RELAY);
	add_rule(config, MATCH_FROM_ANY, "ours", "in");
	return &config->actions[0];
}

static const char users[] = "bob 5000:5000:/var/vmail\ncarol 5000:5000:/var/vmail\n"
                            "dave 5001:5001:/home/dave\n";

static struct ipc_mailbox
mailbox_of(const char *action, const char *address)
{
	struct ipc_mailbox_request request = { .kind = ENVELOPE_MAILDIR };
	struct ipc_mailbox mailbox;

	snprintf(request.action, sizeof(request.action), "%s", action);
	assert_int_equal(address_parse(address, ADDRESS_ALLOW_UTF8, &request.dest), ADDRESS_OK);
	mailbox_answer(site, &request, &mailbox);
	return mailbox;
}

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
lists_in_lists_end(void **state)
{
	char name[20], text[500];

	(void)state;
	for (unsigned i = 0; i < 30; i++) {
		snprintf(name, sizeof(name), "list%u", i);
		snprintf(text, sizeof(text), "%s\n:include:%s/list%u\n", i == 15 ? "bob" : "",
		    test_directory, i + 1);
		write_file(name, text);
	}
	write_file("list30", "carol\n");
	write_file("self", "");
	snprintf(text, sizeof(text), "dave\n:include:%s/self\n", test_directory);
	write_file("self", text);
	snprintf(text, sizeof(text),
	    "a@example.test :include:%s/list0\nb@example.test "
	    ":include:%s/list20\nc@example.test :include:%s/self\nd@example.test bob\n",
	    test_directory, test_directory, test_directory);
	start_virtual(text, users);
	ready();
	assert_string_equal(ask(site, "a@example.test"), "250 maildir:bob@example.test");
	assert_string_equal(ask(site, "b@example.test"), "250 maildir:carol@example.test");
	assert_string_equal(ask(site, "c@example.test"), "250 maildir:dave@example.test");
	finish();
}

static void
loops_of_any_length_are_found(void **state)
{
	struct buf text;

	(void)state;
	buf_init(&text, 1 << 20);
	buf_add_text(&text,
	    "one@example.test one@example.test\n"
	    "a@example.test b@example.test\nb@example.test a@example.test\n"
	    "c@example.test d@example.test\nd@example.test c@example.test, bob\n");
	for (unsigned i = 0; i < 100; i++)
		buf_printf(&text, "n%u@example.test n%u@example.test\n", i, (i + 1) % 100);
	buf_add_u8(&text, '\0');
	start_virtual((const char *)text.data, users);
	buf_free(&text);
	ready();
	assert_string_equal(
	    ask(site, "one@example.test"), "550 5.4.6 the alias leads back to itself");
	assert_string_equal(
	    ask(site, "a@example.test"), "550 5.4.6 the alias leads back to itself");
	assert_string_equal(
	    ask(site, "n0@example.test"), "550 5.4.6 the alias leads back to itself");
	assert_string_equal(
	    ask(site, "n57@example.test"), "550 5.4.6 the alias leads back to itself");
	assert_string_equal(ask(site, "c@example.test"), "250 maildir:bob@example.test");
	finish();
}

static void
a_chain_that_never_ends_is_cut_at_the_limit(void **state)
{
	struct buf text;

	(void)state;
	buf_init(&text, 1 << 20);
	for (unsigned i = 0; i < 10000; i++)
		buf_printf(&text, "n%u@example.test n%u@example.test\n", i, i + 1);
	buf_add_u8(&text, '\0');
	start_virtual((const char *)text.data, users);
	buf_free(&text);
	ready();
	assert_string_equal(
	    ask(site, "n9990@example.test"), "550 5.1.1 no mailbox behind this alias");
	assert_memory_equal(ask(site, "n0@example.test"), "550 5.5.3", 9);
	finish();
}

static void
a_hundred_thousand_targets_are_refused_in_linear_time(void **state)
{
	struct timespec start, end;
	struct buf text;

	(void)state;
	buf_init(&text, 16 << 20);
	buf_add_text(&text, "all@example.test u0");
	for (unsigned i = 1; i < 100000; i++)
		buf_printf(&text, ", u%u", i);
	buf_add_text(&text, "\nsame@example.test bob");
	for (unsigned i = 1; i < 100000; i++)
		buf_add_text(&text, ",bob");
	buf_add_text(&text, "\n");
	buf_add_u8(&text, '\0');
	start_virtual((const char *)text.data, users);
	buf_free(&text);
	ready();
	clock_gettime(CLOCK_MONOTONIC, &start);
	for (unsigned i = 0; i < 10; i++) {
		assert_string_equal(ask(site, "all@example.test"),
		    "550 5.5.3 the alias leads to more than 1000 mailboxes");
		assert_string_equal(ask(site, "same@example.test"), "250 maildir:bob@example.test");
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	assert_true(end.tv_sec - start.tv_sec < 10);
	finish();
}

static void
exactly_as_many_targets_as_the_limit_are_taken(void **state)
{
	struct buf virtuals, base;

	(void)state;
	buf_init(&virtuals, 1 << 20);
	buf_init(&base, 1 << 20);
	buf_add_text(&virtuals, "max@example.test u0");
	for (unsigned i = 0; i < 1001; i++)
		buf_printf(&base, "u%u 5000:5000:/v\n", i);
	for (unsigned i = 1; i < 1000; i++)
		buf_printf(&virtuals, ",u%u", i);
	buf_add_text(&virtuals, "\nover@example.test max@example.test, u1000\n");
	buf_add_u8(&virtuals, '\0');
	buf_add_u8(&base, '\0');
	start_virtual((const char *)virtuals.data, (const char *)base.data);
	config->limits.targets = 1000;
	buf_free(&virtuals);
	buf_free(&base);
	ready();
	{
		struct ipc_rcpt rcpt = make_rcpt("192.0.2.1", "max@example.test");
		struct expanded expanded;

		expand_recipient(site, &rcpt, NULL, &expanded);
		assert_int_equal(expanded.reply.code, 250);
		assert_int_equal(expanded.count, 1000);
		assert_int_equal(expanded.mailbox.reply.code, 0);
		expanded_free(&expanded);
	}
	assert_memory_equal(ask(site, "over@example.test"), "550 5.5.3", 9);
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
system_users_have_a_maildir_at_home(void **state)
{
	struct ipc_mailbox mailbox;

	(void)state;
	config = new_config();
	add_action(config, "local", ACTION_MAILDIR);
	add_rule(config, MATCH_FROM_ANY, "", "local")->for_ = MATCH_FOR_LOCAL;
	ready();
	assert_string_equal(ask(site, "games@localhost"), "250 maildir:games@localhost");
	mailbox = mailbox_of("local", "games@localhost");
	assert_int_equal(mailbox.reply.code, 250);
	assert_string_equal(mailbox.home, "/usr/games");
	assert_string_equal(mailbox.path, "/usr/games/Maildir");
	assert_int_not_equal(mailbox.uid, 0);
	/* Root is no mailbox, nor is who has no home. */
	assert_string_equal(ask(site, "root@localhost"),
	    "550 5.1.1 nothing is delivered as root: root needs an alias");
	assert_string_equal(ask(site, "nobody@localhost"), "550 5.1.1 no such user here");
	assert_string_equal(ask(site, "\"x:y\"@localhost"), "550 5.1.1 no such user here");
	finish();
}

static void
lmtp_is_for_users_by_their_names(void **state)
{
	struct action_config *action;

	(void)state;
	action = start_virtual("bob@example.test bob\nrobert@example.test bob@example.test\n"
	                       "@second.test bob\nteam@example.test bob, carol, x@far.test\n"
	                       "who@example.test nobody-here\n",
	    users);
	action->method = ACTION_LMTP;
	set(&action->relay_hosts, LMTP_URL "/run/lmtp");
	set(&action->path, "");
	add_rule(config, MATCH_FROM_LOCAL, "", "out");
	ready();
	assert_string_equal(ask(site, "robert@example.test"), "250 relay:bob@example.test");
	assert_string_equal(ask(site, "x+y@second.test"), "250 relay:bob@second.test");
	assert_string_equal(ask(site, "team@example.test"),
	    "250 relay:bob@example.test relay:carol@example.test relay:x@far.test");
	assert_memory_equal(ask(site, "who@example.test"), "550 5.1.1", 9);
	/* By the addresses instead. */
	action->lmtp_rcpt_to = true;
	assert_string_equal(ask(site, "robert@example.test"), "250 relay:bob@example.test");
	assert_string_equal(ask(site, "x+y@second.test"), "250 relay:x+y@second.test");
	assert_string_equal(
	    ask(site, "team@example.test"), "250 relay:team@example.test relay:x@far.test");
	finish();
}

static void
srs_addresses_lead_to_senders(void **state)
{
	const struct srs_keys keys = { "secret", "", 86400 };
	struct address sender, made;
	char text[ADDRESS_TEXT_MAX + 1];

	(void)state;
	(void)start_virtual("bob@example.test bob\n", users);
	free(config->srs_key);
	config->srs_key = strdup("secret");
	config->srs_ttl = 86400;
	add_rule(config, MATCH_FROM_ANY, "", "out");
	ready();
	assert_int_equal(address_parse("joe@far.test", 0, &sender), ADDRESS_OK);
	assert_true(srs_encode(&keys, &sender, "example.test", time(NULL), &made));
	address_format(&made, text, sizeof(text));
	assert_string_equal(ask(site, text), "250 relay:joe@far.test");
	text[5] = text[5] == 'a' ? 'b' : 'a';
	assert_string_equal(ask(site, text), "550 5.7.1 this SRS address was not made here");
	assert_true(srs_encode(&keys, &sender, "example.test", time(NULL) - 3 * 86400, &made));
	address_format(&made, text, sizeof(text));
	assert_string_equal(ask(site, text), "550 5.7.1 this SRS address has expired");
	/* Of a domain that isn't ours they are like any other. */
	assert_string_equal(ask(site, "SRS0=x@other.test"), "250 relay:SRS0=x@other.test");
	/* One that leads to a user of ours, too. */
	assert_int_equal(address_parse("bob@example.test", 0, &sender), ADDRESS_OK);
	assert_true(srs_encode(&keys, &sender, "example.test", time(NULL), &made));
	address_format(&made, text, sizeof(text));
	assert_string_equal(ask(site, text), "250 maildir:bob@example.test");
	finish();
}

static void
expand_only_delivers_nothing_here(void **state)
{
	struct action_config *action;

	(void)state;
	config = new_config();
	add_static_table(config, "ours", "example.test", "", NULL);
	add_static_table(config, "aliases", "far", "x@else.test", "near", "games", NULL);
	action = add_action(config, "forward", ACTION_EXPAND_ONLY);
	set(&action->alias_table, "aliases");
	add_action(config, "out", ACTION_RELAY);
	add_rule(config, MATCH_FROM_ANY, "ours", "forward");
	add_rule(config, MATCH_FROM_LOCAL, "", "out");
	ready();
	assert_string_equal(ask(site, "far@example.test"), "250 relay:x@else.test");
	assert_memory_equal(ask(site, "near@example.test"), "550 5.1.1", 9);
	assert_memory_equal(ask(site, "games@example.test"), "550 5.1.1", 9);
	finish();
}

static void
action_user_owns_the_mailboxes_of_virtual_users(void **state)
{
	struct action_config *action;
	struct ipc_mailbox mailbox;

	(void)state;
	config = new_config();
	add_static_table(config, "ours", "example.test", "", NULL);
	add_static_table(config, "vusers", "bob@example.test", "bob", NULL);
	action = add_action(config, "in", ACTION_MAILDIR);
	set(&action->virtual_table, "vusers");
	set(&action->user, "games");
	set(&action->path, "/var/v/%{dest.domain}/%{dest.user}");
	add_rule(config, MATCH_FROM_ANY, "ours", "in");
	ready();
	assert_string_equal(ask(site, "bob@example.test"), "250 maildir:bob@example.test");
	assert_memory_equal(ask(site, "eve@example.test"), "550 5.1.1", 9);
	mailbox = mailbox_of("in", "bob@example.test");
	assert_string_equal(mailbox.path, "/var/v/example.test/bob");
	/* The queue is trusted less: a name that it makes up stays where the template puts it. */
	mailbox = mailbox_of("in", "\"../../etc\"@example.test");
	assert_string_equal(mailbox.path, "/var/v/example.test/:.:..:etc");
	finish();
}

static void
forward_only_takes_who_has_an_alias(void **state)
{
	(void)state;
	config = new_config();
	add_static_table(config, "ours", "example.test", "", NULL);
	add_static_table(config, "aliases", "games", "x@else.test", NULL);
	set(&add_action(config, "forward", ACTION_FORWARD_ONLY)->alias_table, "aliases");
	add_action(config, "out", ACTION_RELAY);
	add_rule(config, MATCH_FROM_ANY, "ours", "forward");
	add_rule(config, MATCH_FROM_LOCAL, "", "out");
	ready();
	assert_string_equal(ask(site, "games@example.test"), "250 relay:x@else.test");
	assert_memory_equal(ask(site, "mail@example.test"), "550 5.1.1", 9);
	finish();
}

static void
users_of_the_database_have_no_mailbox_where_mail_is_only_forwarded(void **state)
{
	static const enum action_method methods[] = { ACTION_FORWARD_ONLY, ACTION_EXPAND_ONLY };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		config = new_config();
		add_table(config, "accounts", TABLE_ACCOUNTS, "");
		set(&add_action(config, "in", methods[i])->virtual_table, "accounts");
		add_action(config, "out", ACTION_RELAY);
		add_rule(config, MATCH_FROM_ANY, "accounts", "in");
		add_rule(config, MATCH_FROM_LOCAL, "", "out");
		ready();
		/* The second time they are there already. */
		(void)run_verb(site, &result, ACCOUNT_DOMAIN_ADD, "example.org", NULL);
		(void)run_verb(site, &result, ACCOUNT_USER_ADD, "bob@example.org", HASH, NULL);
		(void)run_verb(
		    site, &result, ACCOUNT_ALIAS_ADD, "info@example.org", "x@else.test", NULL);
		assert_string_equal(ask(site, "info@example.org"), "250 relay:x@else.test");
		assert_memory_equal(ask(site, "bob@example.org"), "550 5.1.1", 9);
		finish();
	}
}

/* Users of one home: an mbox file each, and a command for each. */
static void
mailboxes_are_what_the_action_makes_of_them(void **state)
{
	struct action_config *action;
	struct ipc_mailbox mailbox;

	(void)state;
	config = new_config();
	add_static_table(config, "ours", "example.test", "", NULL);
	add_static_table(
	    config, "vbase", "bob", "5000:5000:/home", "carol", "5000:5000:/home", NULL);
	add_static_table(config, "vusers", "both@example.test", "bob, carol", "bob@example.test",
	    "bob", "carol@example.test", "carol", NULL);
	action = add_action(config, "in", ACTION_MBOX);
	set(&action->userbase_table, "vbase");
	action = add_action(config, "run", ACTION_MDA);
	set(&action->userbase_table, "vbase");
	set(&action->virtual_table, "vusers");
	set(&action->command, "x %{dest.user}");
	set(&action->wrapper, "w");
	config->wrapper_count = 1;
	config->wrappers = calloc(1, sizeof(*config->wrappers));
	set(&config->wrappers[0].name, "w");
	set(&config->wrappers[0].command, "a %{mda}; %{mda} b %%{mda}");
	action = add_action(config, "filtered", ACTION_MAILDIR);
	set(&action->userbase_table, "vbase");
	set(&action->wrapper, "w");
	action = add_action(config, "spool", ACTION_MBOX);
	set(&action->userbase_table, "vbase");
	set(&action->path, "/var/mail/x");
	set(&action->wrapper, "w");
	add_rule(config, MATCH_FROM_ANY, "ours", "run");
	ready();
	site->privileged = true;
	mailbox = mailbox_of("in", "bob@example.test");
	assert_int_equal(mailbox.form, MAILBOX_MBOX);
	assert_string_equal(mailbox.path, "/var/mail/bob");
	assert_true(mailbox.mail_group);
	mailbox = mailbox_of("run", "bob@example.test");
	assert_int_equal(mailbox.form, MAILBOX_COMMAND);
	assert_string_equal(mailbox.path, "/home");
	assert_string_equal(mailbox.command, "a x %{dest.user}; x %{dest.user} b %%{mda}");
	assert_false(mailbox.mail_group);
	mailbox = mailbox_of("filtered", "bob@example.test");
	assert_int_equal(mailbox.form, MAILBOX_MAILDIR);
	assert_string_equal(mailbox.command, "a %{mda}; %{mda} b %%{mda}");
	mailbox = mailbox_of("spool", "bob@example.test");
	assert_int_equal(mailbox.reply.code, 451);
	assert_false(mailbox.mail_group);
	assert_string_equal(ask(site, "both@example.test"),
	    "250 maildir:bob@example.test maildir:carol@example.test");
	finish();
}

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
		TEST(lists_in_lists_end),
		TEST(loops_of_any_length_are_found),
		TEST(a_chain_that_never_ends_is_cut_at_the_limit),
		TEST(a_hundred_thousand_targets_are_refused_in_linear_time),
		TEST(exactly_as_many_targets_as_the_limit_are_taken),
		TEST(alias_tables_are_for_users_of_this_host),
		TEST(system_users_have_a_maildir_at_home),
		TEST(lmtp_is_for_users_by_their_names),
		TEST(srs_addresses_lead_to_senders),
		TEST(expand_only_delivers_nothing_here),
		TEST(forward_only_takes_who_has_an_alias),
		TEST(users_of_the_database_have_no_mailbox_where_mail_is_only_forwarded),
		TEST(mailboxes_are_what_the_action_makes_of_them),
		TEST(action_user_owns_the_mailboxes_of_virtual_users),
		TEST(accounts_have_users_details_aliases_and_a_catch_all),
		TEST(accounts_are_the_default_of_an_action_without_tables),
		TEST(a_user_deleted_after_rcpt_is_unknown_at_delivery),
		TEST(account_aliases_loop_forward_and_keep_copies),
		TEST(international_names_are_found_in_both_forms),
		TEST(postmaster_is_always_taken_for_our_domains),
		TEST(double_bounces_are_never_refused),
		TEST(a_postmaster_rule_for_local_clients_serves_strangers_too),
		TEST(what_cant_be_looked_up_is_temporary),
		TEST(a_name_that_is_too_long_is_only_unknown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
