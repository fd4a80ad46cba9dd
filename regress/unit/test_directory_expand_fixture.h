/*
 * One site for each test of expanding, and the mailboxes that it has.
 */
#ifndef TEST_DIRECTORY_EXPAND_FIXTURE_H
#define TEST_DIRECTORY_EXPAND_FIXTURE_H

#include "regress/unit/test_directory_fixture.h"

static UNUSED struct config *config;
static UNUSED struct site *site;
static UNUSED struct ipc_result result;

static UNUSED void
ready(void)
{
	site = site_new(config, accounts_new(test_path("accounts")), false);
}

static UNUSED void
finish(void)
{
	struct accounts *accounts = site->accounts;

	site_free(site);
	accounts_free(accounts);
}

/* As the smtpd.conf of the benchmark: virtual and userbase tables from files. */
static UNUSED struct action_config *
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

static UNUSED const char users[] = "bob 5000:5000:/var/vmail\ncarol 5000:5000:/var/vmail\n"
                                   "dave 5001:5001:/home/dave\n";

static UNUSED struct ipc_mailbox
mailbox_of(const char *action, const char *address)
{
	struct ipc_mailbox_request request = { .kind = ENVELOPE_MAILDIR };
	struct ipc_mailbox mailbox;

	snprintf(request.action, sizeof(request.action), "%s", action);
	assert_int_equal(address_parse(address, ADDRESS_ALLOW_UTF8, &request.dest), ADDRESS_OK);
	mailbox_answer(site, &request, &mailbox);
	return mailbox;
}

#endif
