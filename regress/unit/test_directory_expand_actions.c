/*
 * From recipients to mailboxes: what each kind of action makes of a user.
 */
#include <time.h>

#include "common/srs.h"
#include "regress/unit/test_directory_expand_fixture.h"

#define HASH ""

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

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(system_users_have_a_maildir_at_home),
		TEST(lmtp_is_for_users_by_their_names),
		TEST(srs_addresses_lead_to_senders),
		TEST(expand_only_delivers_nothing_here),
		TEST(action_user_owns_the_mailboxes_of_virtual_users),
		TEST(forward_only_takes_who_has_an_alias),
		TEST(users_of_the_database_have_no_mailbox_where_mail_is_only_forwarded),
		TEST(mailboxes_are_what_the_action_makes_of_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
