/*
 * The config's defaults, its memory, and what is looked up in it.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/config_fields.h"
#include "common/log.h"

static char *
copy(const char *text)
{
	char *string = strdup(text);

	if (string == NULL)
		fatal("config: strdup");
	return string;
}

static char *
host_name(void)
{
	char name[256];

	if (gethostname(name, sizeof(name)) == -1 || *name == '\0')
		return copy("localhost");
	name[sizeof(name) - 1] = '\0';
	return copy(name);
}

struct config *
config_new(void)
{
	struct config *config = calloc(1, sizeof(*config));

	if (config == NULL)
		fatal("config: calloc");
	config->hostname = host_name();
	config->postmaster = copy("");
	config->subaddress_delimiters = copy("+");
	config->max_message_size = 35 * 1024 * 1024;
	config->line_ends = LINE_ENDS_STRICT;
	config->limits = (struct limits_config){
		.sessions = 20000,
		.sessions_per_address = 500,
		.sessions_per_network = 2000,
		.transactions = 1000,
		.recipients = 1000,
		.targets = 1000,
		.errors = 20,
		.unknown_users = 10,
		.noops = 1000,
		.command_line = 2048,
		.text_line = 1024 * 1024,
		.header_size = 1024 * 1024,
		.received = 100,
		.idle_time = 300,
		.session_time = 7200,
		.resolver_time_ms = 5000,
		.lookup_time = 30,
		.handshake_time = 30,
	};
	config->queue_ttl = 4 * 86400;
	config->queue_retry_first = 400;
	config->queue_retry_max = 4 * 3600;
	config->queue_free_percent = 5;
	config->queue_segment_size = 64 * 1024 * 1024;
	config->mda_sessions = 256;
	config->mda_processes = 32;
	config->bounce_warn[0] = 4 * 3600;
	config->bounce_warn_count = 1;
	config->spool_directory = copy(LOCALSTATEDIR "/spool/postern");
	config->state_directory = copy(LOCALSTATEDIR "/lib/postern");
	config->run_directory = copy(RUNSTATEDIR "/postern");
	config->mail_user = copy("_vmail");
	config->mail_directory = copy(LOCALSTATEDIR "/vmail");
	config->nameserver = copy("");
	config->trust_anchor = copy("");
	config->default_ca = copy("/etc/ssl/certs/ca-certificates.crt");
	config->mta_sessions = 256;
	config->mta_sessions_per_host = 10;
	config->mta_messages_per_session = 100;
	config->mta_recipients = 100;
	config->mta_connect_time = 30;
	config->mta_idle_time = 5;
	config->srs_key = copy("");
	config->srs_key_backup = copy("");
	config->srs_ttl = 4 * 86400;
	config->tls_reports_from = copy("");
	config->auth_failures = 10;
	config->history_keep = 14 * 86400;
	config->history_max_size = UINT64_C(256) * 1024 * 1024;
	return config;
}

static void
table_free(struct table_config *table)
{
	for (size_t i = 0; i < table->entry_count; i++)
		fields_free(&table->entries[i], &entry_fields);
	free(table->entries);
	fields_free(table, &table_fields);
}

void
config_free(struct config *config)
{
	if (config == NULL)
		return;
	for (size_t i = 0; i < config->listener_count; i++)
		fields_free(&config->listeners[i], &listener_fields);
	for (size_t i = 0; i < config->table_count; i++)
		table_free(&config->tables[i]);
	for (size_t i = 0; i < config->action_count; i++)
		fields_free(&config->actions[i], &action_fields);
	for (size_t i = 0; i < config->rule_count; i++)
		fields_free(&config->rules[i], &rule_fields);
	for (size_t i = 0; i < config->wrapper_count; i++)
		fields_free(&config->wrappers[i], &wrapper_fields);
	free(config->wrappers);
	for (size_t i = 0; i < config->pki_count; i++)
		fields_free(&config->pkis[i], &pki_fields);
	for (size_t i = 0; i < config->ca_count; i++)
		fields_free(&config->cas[i], &ca_fields);
	for (size_t i = 0; i < config->mta_limit_count; i++)
		fields_free(&config->mta_limits[i], &mta_limit_fields);
	free(config->pkis);
	free(config->cas);
	free(config->mta_limits);
	free(config->listeners);
	free(config->tables);
	free(config->actions);
	free(config->rules);
	fields_free(config, &config_fields);
	free(config);
}

static void
complete(void *base, const struct fields *fields)
{
	for (size_t i = 0; i < fields->count; i++) {
		char **string = field_of(base, &fields->list[i]);

		if (fields->list[i].kind == FIELD_STRING && *string == NULL)
			*string = copy("");
	}
}

bool
listener_is_access(const struct listener_config *listener)
{
	return listener->protocol == LISTEN_IMAP || listener->protocol == LISTEN_POP3 ||
	    listener->protocol == LISTEN_SIEVE;
}

bool
listener_is_metrics(const struct listener_config *listener)
{
	return listener->protocol == LISTEN_METRICS;
}

bool
config_has_access(const struct config *config)
{
	size_t i;

	for (i = 0; i < config->listener_count; i++)
		if (listener_is_access(&config->listeners[i]))
			return true;
	return false;
}

void
config_complete_listener(struct listener_config *listener)
{
	complete(listener, &listener_fields);
}

void
config_complete_action(struct action_config *action)
{
	complete(action, &action_fields);
}

void
config_complete_rule(struct rule_config *rule)
{
	complete(rule, &rule_fields);
}

void
config_complete_pki(struct pki_config *pki)
{
	complete(pki, &pki_fields);
}

void
config_complete_ca(struct ca_config *ca)
{
	complete(ca, &ca_fields);
}

void
config_complete_mta_limit(struct mta_limit_config *mta_limit)
{
	complete(mta_limit, &mta_limit_fields);
}

const struct pki_config *
config_find_pki(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->pki_count; i++) {
		if (strcasecmp(config->pkis[i].name, name) == 0)
			return &config->pkis[i];
	}
	return NULL;
}

bool
action_is_local(const struct action_config *action)
{
	switch (action->method) {
	case ACTION_MAILDIR:
	case ACTION_MBOX:
	case ACTION_MDA:
	case ACTION_LMTP:
		return true;
	case ACTION_RELAY:
	case ACTION_EXPAND_ONLY:
	case ACTION_FORWARD_ONLY:
	case ACTION_METHOD_COUNT:
		break;
	}
	return false;
}

const struct wrapper_config *
config_find_wrapper(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->wrapper_count; i++) {
		if (strcmp(config->wrappers[i].name, name) == 0)
			return &config->wrappers[i];
	}
	return NULL;
}

const struct ca_config *
config_find_ca(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->ca_count; i++) {
		if (strcmp(config->cas[i].name, name) == 0)
			return &config->cas[i];
	}
	return NULL;
}

const struct action_config *
config_find_action(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->action_count; i++) {
		if (strcmp(config->actions[i].name, name) == 0)
			return &config->actions[i];
	}
	return NULL;
}

const struct table_config *
config_find_table(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->table_count; i++) {
		if (strcmp(config->tables[i].name, name) == 0)
			return &config->tables[i];
	}
	return NULL;
}
