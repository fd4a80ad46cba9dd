/*
 * Configurations for the tests of the directory, made by hand, and what the tests ask of them.
 */
#ifndef TEST_DIRECTORY_FIXTURE_H
#define TEST_DIRECTORY_FIXTURE_H

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/config.h"
#include "lookup/accounts.h"
#include "lookup/accounts_admin.h"
#include "lookup/expand.h"
#include "lookup/mailbox.h"
#include "lookup/site.h"

#define UNUSED __attribute__((unused))

static char test_directory[64];

static UNUSED int
make_test_directory(void **state)
{
	(void)state;
	strcpy(test_directory, "/tmp/test-directory-XXXXXX");
	return mkdtemp(test_directory) == NULL ? -1 : 0;
}

static UNUSED int
remove_test_directory(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", test_directory);
	return system(command);
}

static UNUSED const char *
test_path(const char *name)
{
	static char path[256];

	snprintf(path, sizeof(path), "%s/%s", test_directory, name);
	return path;
}

/* Replaces the file by a rename, so that it is another one whatever the clock says. */
static UNUSED void
write_file(const char *name, const char *text)
{
	char temporary[256];
	FILE *file;

	snprintf(temporary, sizeof(temporary), "%s/temporary", test_directory);
	file = fopen(temporary, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(rename(temporary, test_path(name)), 0);
}

static UNUSED void
set(char **field, const char *value)
{
	free(*field);
	*field = strdup(value);
	assert_non_null(*field);
}

static UNUSED struct config *
new_config(void)
{
	struct config *config = config_new();

	assert_non_null(config);
	set(&config->hostname, "mx.example.test");
	set(&config->subaddress_delimiters, "+");
	set(&config->mail_directory, "/var/mail-test");
	set(&config->state_directory, test_directory);
	return config;
}

static UNUSED struct table_config *
add_table(struct config *config, const char *name, enum table_backend backend, const char *path)
{
	struct table_config *table;

	config->tables =
	    reallocarray(config->tables, config->table_count + 1, sizeof(*config->tables));
	assert_non_null(config->tables);
	table = &config->tables[config->table_count++];
	memset(table, 0, sizeof(*table));
	set(&table->name, name);
	table->backend = backend;
	set(&table->path, path);
	return table;
}

static UNUSED void
add_entry(struct table_config *table, const char *key, const char *value)
{
	table->entries =
	    reallocarray(table->entries, table->entry_count + 1, sizeof(*table->entries));
	assert_non_null(table->entries);
	memset(&table->entries[table->entry_count], 0, sizeof(*table->entries));
	set(&table->entries[table->entry_count].key, key);
	set(&table->entries[table->entry_count].value, value);
	table->entry_count++;
}

/* Keys and values in turn, ended by NULL. */
static UNUSED void
add_static_table(struct config *config, const char *name, ...)
{
	struct table_config *table = add_table(config, name, TABLE_STATIC, "");
	const char *key;
	va_list ap;

	va_start(ap, name);
	while ((key = va_arg(ap, const char *)) != NULL)
		add_entry(table, key, va_arg(ap, const char *));
	va_end(ap);
}

static UNUSED struct action_config *
add_action(struct config *config, const char *name, enum action_method method)
{
	struct action_config *action;

	config->actions =
	    reallocarray(config->actions, config->action_count + 1, sizeof(*config->actions));
	assert_non_null(config->actions);
	action = &config->actions[config->action_count++];
	memset(action, 0, sizeof(*action));
	set(&action->name, name);
	action->method = method;
	config_complete_action(action);
	return action;
}

/* `for_table` "": for any. */
static UNUSED struct rule_config *
add_rule(struct config *config, enum match_from from, const char *for_table, const char *action)
{
	struct rule_config *rule;

	config->rules = reallocarray(config->rules, config->rule_count + 1, sizeof(*config->rules));
	assert_non_null(config->rules);
	rule = &config->rules[config->rule_count++];
	memset(rule, 0, sizeof(*rule));
	rule->from = from;
	rule->for_ = *for_table == '\0' ? MATCH_FOR_ANY : MATCH_FOR_DOMAIN;
	set(&rule->for_table, for_table);
	set(&rule->from_table, "");
	set(&rule->tag_table, "");
	set(&rule->helo_table, "");
	set(&rule->mail_from_table, "");
	set(&rule->rcpt_to_table, "");
	set(&rule->auth_table, "");
	set(&rule->action, action);
	set(&rule->file, "");
	rule->line = (uint32_t)config->rule_count;
	return rule;
}

/* A recipient, from a client at this address ("" the queue itself, "local" a socket). */
static UNUSED struct ipc_rcpt
make_rcpt(const char *client, const char *rcpt)
{
	struct ipc_rcpt request;

	memset(&request, 0, sizeof(request));
	if (*client == '\0')
		request.client_family = CLIENT_INTERNAL;
	else if (strcmp(client, "local") == 0)
		request.client_family = CLIENT_LOCAL;
	else if (inet_pton(AF_INET, client, request.client_address) == 1)
		request.client_family = CLIENT_INET4;
	else {
		assert_int_equal(inet_pton(AF_INET6, client, request.client_address), 1);
		request.client_family = CLIENT_INET6;
	}
	assert_int_equal(address_parse("sender@elsewhere.test", 0, &request.sender), ADDRESS_OK);
	assert_int_equal(
	    address_parse(rcpt, ADDRESS_ALLOW_UTF8 | ADDRESS_ALLOW_BARE_LOCAL, &request.rcpt),
	    ADDRESS_OK);
	return request;
}

/* The reply, and then each target: "250 2.1.5 recipient ok; maildir:bob@example.test". */
static UNUSED const char *
describe(struct site *site, const struct ipc_rcpt *request)
{
	static const char *const kinds[] = { "maildir", "pipe", "relay" };
	static char text[20000];
	char address[ADDRESS_TEXT_MAX + 1];
	struct expanded expanded;

	expand_recipient(site, request, NULL, &expanded);
	reply_format(&expanded.reply, text, sizeof(text));
	if (reply_is_success(&expanded.reply))
		text[3] = '\0';
	for (size_t i = 0; reply_is_success(&expanded.reply) && i < expanded.count; i++) {
		size_t length = strlen(text);

		address_format(&expanded.targets[i].dest, address, sizeof(address));
		snprintf(text + length, sizeof(text) - length, " %s:%s%s%s",
		    kinds[expanded.targets[i].kind], address,
		    *expanded.targets[i].command == '\0' ? "" : "|", expanded.targets[i].command);
	}
	expanded_free(&expanded);
	return text;
}

static UNUSED const char *
ask(struct site *site, const char *rcpt)
{
	struct ipc_rcpt request = make_rcpt("192.0.2.1", rcpt);

	return describe(site, &request);
}

/* An accounts verb; the exit code. */
static UNUSED unsigned
run_verb(struct site *site, struct ipc_result *result, enum account_verb verb, ...)
{
	struct ipc_account account = { .verb = verb, .caller_uid = 1000 };
	const char *word;
	va_list ap;
	bool changed;

	va_start(ap, verb);
	while ((word = va_arg(ap, const char *)) != NULL)
		account.words[account.word_count++] = strdup(word);
	va_end(ap);
	changed = accounts_admin_change(site, &account, result);
	assert_int_equal(changed, result->exit_code == 0);
	ipc_account_free(&account);
	return result->exit_code;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_test_directory, remove_test_directory)

#endif
