/*
 * The config's defaults, its memory and its encoding.
 *
 * Each struct is described once, as a list of fields; making, freeing, encoding and decoding all
 * walk that list, so that a new field is one line here and none of the four can forget it. Nothing
 * is encoded that isn't a field: no pointer, no padding.
 */
#include <sys/socket.h>
#include <sys/un.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/config.h"
#include "common/log.h"
#include "common/memory_file.h"

/* Changes with every change of the encoding: a child of another version must not guess. */
#define CONFIG_FORMAT     0x50430003
#define CONFIG_ENCODE_MAX (64 * 1024 * 1024)
#define STRING_MAX        65535

enum field_kind {
	FIELD_STRING,
	FIELD_BOOL,
	FIELD_U32,
	FIELD_U64,
	FIELD_ENUM
};

struct field {
	enum field_kind kind;
	size_t offset;
	unsigned count; /* FIELD_ENUM: values below it */
};

#define STRING(type, member)                                   \
	{                                                      \
		FIELD_STRING, offsetof(struct type, member), 0 \
	}
#define BOOL(type, member)                                   \
	{                                                    \
		FIELD_BOOL, offsetof(struct type, member), 0 \
	}
#define U32(type, member)                                   \
	{                                                   \
		FIELD_U32, offsetof(struct type, member), 0 \
	}
#define U64(type, member)                                   \
	{                                                   \
		FIELD_U64, offsetof(struct type, member), 0 \
	}
#define ENUM(type, member, max)                                \
	{                                                      \
		FIELD_ENUM, offsetof(struct type, member), max \
	}
#define FIELDS(list) list, sizeof(list) / sizeof((list)[0])

static const struct field config_fields[] = {
	STRING(config, hostname),
	STRING(config, postmaster),
	STRING(config, subaddress_delimiters),
	U64(config, max_message_size),
	ENUM(config, line_ends, LINE_ENDS_COUNT),
	U32(config, limits.sessions),
	U32(config, limits.sessions_per_address),
	U32(config, limits.sessions_per_network),
	U32(config, limits.transactions),
	U32(config, limits.recipients),
	U32(config, limits.targets),
	U32(config, limits.errors),
	U32(config, limits.unknown_users),
	U32(config, limits.noops),
	U32(config, limits.command_line),
	U32(config, limits.text_line),
	U32(config, limits.header_size),
	U32(config, limits.received),
	U32(config, limits.idle_time),
	U32(config, limits.session_time),
	U32(config, limits.resolver_time_ms),
	U32(config, limits.lookup_time),
	U32(config, limits.handshake_time),
	U32(config, queue_ttl),
	U32(config, queue_retry_first),
	U32(config, queue_retry_max),
	U32(config, queue_free_percent),
	U64(config, queue_segment_size),
	U32(config, mda_sessions),
	U32(config, mda_processes),
	U32(config, bounce_warn[0]),
	U32(config, bounce_warn[1]),
	U32(config, bounce_warn[2]),
	U32(config, bounce_warn[3]),
	U32(config, bounce_warn[4]),
	U32(config, bounce_warn[5]),
	U32(config, bounce_warn[6]),
	U32(config, bounce_warn[7]),
	STRING(config, spool_directory),
	STRING(config, state_directory),
	STRING(config, run_directory),
	STRING(config, mail_user),
	STRING(config, mail_directory),
	STRING(config, nameserver),
	STRING(config, trust_anchor),
	STRING(config, default_ca),
	U32(config, mta_sessions),
	U32(config, mta_sessions_per_host),
	U32(config, mta_messages_per_session),
	U32(config, mta_recipients),
	U32(config, mta_connect_time),
	U32(config, mta_idle_time),
	BOOL(config, mta_no_sts),
	BOOL(config, mta_no_line_limit),
	BOOL(config, mta_no_private_networks),
	STRING(config, srs_key),
	STRING(config, srs_key_backup),
	U32(config, srs_ttl),
	STRING(config, tls_reports_from),
	U32(config, auth_failures),
	U32(config, user_mails_per_hour),
	BOOL(config, user_mails_hold),
	BOOL(config, history_off),
	U32(config, history_keep),
	U64(config, history_max_size),
};

static const struct field listener_fields[] = {
	U32(listener_config, address_length),
	ENUM(listener_config, protocol, LISTEN_PROTOCOL_COUNT),
	BOOL(listener_config, proxy_v2),
	STRING(listener_config, proxy_trusted),
	STRING(listener_config, hostname),
	STRING(listener_config, tag),
	BOOL(listener_config, no_dsn),
	BOOL(listener_config, mask_source),
	ENUM(listener_config, tls, LISTEN_TLS_COUNT),
	BOOL(listener_config, tls_verify),
	STRING(listener_config, pkis),
	STRING(listener_config, ca),
	STRING(listener_config, tls_ciphers),
	BOOL(listener_config, tls_1_3_only),
	BOOL(listener_config, tls_no_tickets),
	ENUM(listener_config, auth, LISTEN_AUTH_COUNT),
	STRING(listener_config, auth_table),
	BOOL(listener_config, auth_without_tls),
	STRING(listener_config, senders_table),
	BOOL(listener_config, masquerade),
	BOOL(listener_config, received_auth),
};

static const struct field entry_fields[] = {
	STRING(table_entry, key),
	STRING(table_entry, value),
};

static const struct field table_fields[] = {
	STRING(table_config, name),
	ENUM(table_config, backend, TABLE_BACKEND_COUNT),
	STRING(table_config, path),
};

static const struct field action_fields[] = {
	STRING(action_config, name),
	ENUM(action_config, method, ACTION_METHOD_COUNT),
	STRING(action_config, path),
	STRING(action_config, command),
	STRING(action_config, wrapper),
	STRING(action_config, alias_table),
	STRING(action_config, virtual_table),
	STRING(action_config, userbase_table),
	STRING(action_config, user),
	BOOL(action_config, allow_pipes),
	BOOL(action_config, junk),
	U32(action_config, ttl),
	BOOL(action_config, lmtp_rcpt_to),
	STRING(action_config, relay_hosts),
	STRING(action_config, relay_domains),
	STRING(action_config, relay_auth),
	ENUM(action_config, relay_tls, RELAY_TLS_COUNT),
	STRING(action_config, relay_pki),
	STRING(action_config, relay_ca),
	STRING(action_config, relay_helo),
	STRING(action_config, relay_helo_table),
	STRING(action_config, relay_source),
	BOOL(action_config, relay_backup),
	STRING(action_config, relay_backup_name),
	STRING(action_config, relay_mail_from),
	BOOL(action_config, relay_srs),
};

static const struct field pki_fields[] = {
	STRING(pki_config, name),
	STRING(pki_config, certificate),
	STRING(pki_config, key),
};

static const struct field wrapper_fields[] = {
	STRING(wrapper_config, name),
	STRING(wrapper_config, command),
};

static const struct field ca_fields[] = {
	STRING(ca_config, name),
	STRING(ca_config, certificates),
};

static const struct field mta_limit_fields[] = {
	STRING(mta_limit_config, domain),
	STRING(mta_limit_config, mx),
	U32(mta_limit_config, sessions),
	U32(mta_limit_config, sessions_total),
	U32(mta_limit_config, messages),
	U32(mta_limit_config, recipients),
	U32(mta_limit_config, messages_per_minute),
	U32(mta_limit_config, pause_ms),
};

static const struct field rule_fields[] = {
	ENUM(rule_config, from, MATCH_FROM_COUNT),
	BOOL(rule_config, from_negated),
	BOOL(rule_config, from_regex),
	STRING(rule_config, from_table),
	ENUM(rule_config, for_, MATCH_FOR_COUNT),
	BOOL(rule_config, for_negated),
	BOOL(rule_config, for_regex),
	STRING(rule_config, for_table),
	STRING(rule_config, tag_table),
	BOOL(rule_config, tag_negated),
	BOOL(rule_config, tag_regex),
	STRING(rule_config, helo_table),
	BOOL(rule_config, helo_negated),
	BOOL(rule_config, helo_regex),
	STRING(rule_config, mail_from_table),
	BOOL(rule_config, mail_from_negated),
	BOOL(rule_config, mail_from_regex),
	STRING(rule_config, rcpt_to_table),
	BOOL(rule_config, rcpt_to_negated),
	BOOL(rule_config, rcpt_to_regex),
	BOOL(rule_config, auth),
	BOOL(rule_config, auth_negated),
	BOOL(rule_config, auth_regex),
	STRING(rule_config, auth_table),
	BOOL(rule_config, tls),
	BOOL(rule_config, tls_negated),
	STRING(rule_config, action),
	U32(rule_config, line),
	STRING(rule_config, file),
};

_Static_assert(sizeof(enum line_ends) == sizeof(uint32_t), "an enum is read as a uint32_t");
_Static_assert(sizeof(((struct config *)0)->bounce_warn) == 8 * sizeof(uint32_t),
    "every bounce_warn is a field");
_Static_assert(sizeof(struct limits_config) == 18 * sizeof(uint32_t), "every limit is a field");

static void *
member(void *base, const struct field *field)
{
	return (char *)base + field->offset;
}

static const void *
const_member(const void *base, const struct field *field)
{
	return (const char *)base + field->offset;
}

static void
fields_free(void *base, const struct field *fields, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (fields[i].kind == FIELD_STRING)
			free(*(char **)member(base, &fields[i]));
	}
}

static void
fields_encode(struct buf *buf, const void *base, const struct field *fields, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const void *value = const_member(base, &fields[i]);

		switch (fields[i].kind) {
		case FIELD_STRING:
			buf_add_string(buf, *(char *const *)value);
			break;
		case FIELD_BOOL:
			buf_add_u8(buf, *(const bool *)value);
			break;
		case FIELD_U32:
			buf_add_u32(buf, *(const uint32_t *)value);
			break;
		case FIELD_U64:
			buf_add_u64(buf, *(const uint64_t *)value);
			break;
		case FIELD_ENUM:
			buf_add_u8(buf, (uint8_t) * (const uint32_t *)value);
			break;
		}
	}
}

/* Fills `base`, which is all zero; after a failure its strings may be NULL. */
static void
fields_decode(struct buf_reader *reader, void *base, const struct field *fields, size_t count)
{
	for (size_t i = 0; i < count && !reader->failed; i++) {
		void *value = member(base, &fields[i]);

		switch (fields[i].kind) {
		case FIELD_STRING:
			*(char **)value = buf_get_string_alloc(reader, STRING_MAX);
			if (*(char **)value == NULL)
				reader->failed = true;
			break;
		case FIELD_BOOL:
			*(bool *)value = buf_get_bool(reader);
			break;
		case FIELD_U32:
			*(uint32_t *)value = buf_get_u32(reader);
			break;
		case FIELD_U64:
			*(uint64_t *)value = buf_get_u64(reader);
			break;
		case FIELD_ENUM:
			*(uint32_t *)value = buf_get_enum(reader, fields[i].count);
			break;
		}
	}
}

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
		fields_free(&table->entries[i], FIELDS(entry_fields));
	free(table->entries);
	fields_free(table, FIELDS(table_fields));
}

void
config_free(struct config *config)
{
	if (config == NULL)
		return;
	for (size_t i = 0; i < config->listener_count; i++)
		fields_free(&config->listeners[i], FIELDS(listener_fields));
	for (size_t i = 0; i < config->table_count; i++)
		table_free(&config->tables[i]);
	for (size_t i = 0; i < config->action_count; i++)
		fields_free(&config->actions[i], FIELDS(action_fields));
	for (size_t i = 0; i < config->rule_count; i++)
		fields_free(&config->rules[i], FIELDS(rule_fields));
	for (size_t i = 0; i < config->wrapper_count; i++)
		fields_free(&config->wrappers[i], FIELDS(wrapper_fields));
	free(config->wrappers);
	for (size_t i = 0; i < config->pki_count; i++)
		fields_free(&config->pkis[i], FIELDS(pki_fields));
	for (size_t i = 0; i < config->ca_count; i++)
		fields_free(&config->cas[i], FIELDS(ca_fields));
	for (size_t i = 0; i < config->mta_limit_count; i++)
		fields_free(&config->mta_limits[i], FIELDS(mta_limit_fields));
	free(config->pkis);
	free(config->cas);
	free(config->mta_limits);
	free(config->listeners);
	free(config->tables);
	free(config->actions);
	free(config->rules);
	fields_free(config, FIELDS(config_fields));
	free(config);
}

static void
complete(void *base, const struct field *fields, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		char **string = member(base, &fields[i]);

		if (fields[i].kind == FIELD_STRING && *string == NULL)
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
	complete(listener, FIELDS(listener_fields));
}

void
config_complete_action(struct action_config *action)
{
	complete(action, FIELDS(action_fields));
}

void
config_complete_rule(struct rule_config *rule)
{
	complete(rule, FIELDS(rule_fields));
}

void
config_complete_pki(struct pki_config *pki)
{
	complete(pki, FIELDS(pki_fields));
}

void
config_complete_ca(struct ca_config *ca)
{
	complete(ca, FIELDS(ca_fields));
}

void
config_complete_mta_limit(struct mta_limit_config *mta_limit)
{
	complete(mta_limit, FIELDS(mta_limit_fields));
}

const struct pki_config *
config_find_pki(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->pki_count; i++) {
		if (strcmp(config->pkis[i].name, name) == 0)
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

static void
encode(struct buf *buf, const struct config *config, bool with_values)
{
	buf_add_u32(buf, CONFIG_FORMAT);
	fields_encode(buf, config, FIELDS(config_fields));
	buf_add_u8(buf, (uint8_t)config->bounce_warn_count);
	buf_add_u32(buf, (uint32_t)config->listener_count);
	for (size_t i = 0; i < config->listener_count; i++) {
		fields_encode(buf, &config->listeners[i], FIELDS(listener_fields));
		buf_add(buf, &config->listeners[i].address, config->listeners[i].address_length);
	}
	buf_add_u32(buf, (uint32_t)config->table_count);
	for (size_t i = 0; i < config->table_count; i++) {
		const struct table_config *table = &config->tables[i];

		fields_encode(buf, table, FIELDS(table_fields));
		buf_add_u32(buf, (uint32_t)table->entry_count);
		for (size_t j = 0; j < table->entry_count; j++) {
			struct table_entry entry = table->entries[j];

			if (!with_values)
				entry.value = NULL;
			fields_encode(buf, &entry, FIELDS(entry_fields));
		}
	}
	buf_add_u32(buf, (uint32_t)config->action_count);
	for (size_t i = 0; i < config->action_count; i++)
		fields_encode(buf, &config->actions[i], FIELDS(action_fields));
	buf_add_u32(buf, (uint32_t)config->rule_count);
	for (size_t i = 0; i < config->rule_count; i++)
		fields_encode(buf, &config->rules[i], FIELDS(rule_fields));
	buf_add_u32(buf, (uint32_t)config->pki_count);
	for (size_t i = 0; i < config->pki_count; i++)
		fields_encode(buf, &config->pkis[i], FIELDS(pki_fields));
	buf_add_u32(buf, (uint32_t)config->ca_count);
	for (size_t i = 0; i < config->ca_count; i++)
		fields_encode(buf, &config->cas[i], FIELDS(ca_fields));
	buf_add_u32(buf, (uint32_t)config->mta_limit_count);
	for (size_t i = 0; i < config->mta_limit_count; i++)
		fields_encode(buf, &config->mta_limits[i], FIELDS(mta_limit_fields));
	buf_add_u32(buf, (uint32_t)config->wrapper_count);
	for (size_t i = 0; i < config->wrapper_count; i++)
		fields_encode(buf, &config->wrappers[i], FIELDS(wrapper_fields));
}

void
config_encode(struct buf *buf, const struct config *config)
{
	encode(buf, config, true);
}

/*
 * A number of elements that the bytes left can hold, each taking at least `least`; NULL with
 * `failed` set otherwise. So a short input can't ask for much memory.
 */
static void *
array_decode(struct buf_reader *reader, size_t size, size_t least, size_t *count)
{
	uint32_t wanted = buf_get_u32(reader);
	void *array;

	*count = 0;
	if (reader->failed || wanted > reader->left / least) {
		reader->failed = true;
		return NULL;
	}
	array = calloc(wanted > 0 ? wanted : 1, size);
	if (array == NULL) {
		reader->failed = true;
		return NULL;
	}
	*count = wanted;
	return array;
}

static void
listener_decode(struct buf_reader *reader, struct listener_config *listener)
{
	size_t wanted = 0;

	fields_decode(reader, listener, FIELDS(listener_fields));
	if (reader->failed || listener->address_length > sizeof(listener->address)) {
		reader->failed = true;
		return;
	}
	buf_get(reader, &listener->address, listener->address_length);
	switch (listener->address.ss_family) {
	case AF_INET:
		wanted = sizeof(struct sockaddr_in);
		break;
	case AF_INET6:
		wanted = sizeof(struct sockaddr_in6);
		break;
	case AF_UNIX:
		wanted = sizeof(struct sockaddr_un);
		break;
	}
	if (wanted == 0 || listener->address_length != wanted)
		reader->failed = true;
	if (!reader->failed && listener->address.ss_family == AF_UNIX) {
		const struct sockaddr_un *local = (const struct sockaddr_un *)&listener->address;

		/* Whoever prints the path may rely on its end. */
		if (memchr(local->sun_path, '\0', sizeof(local->sun_path)) == NULL)
			reader->failed = true;
	}
}

static void
table_decode(struct buf_reader *reader, struct table_config *table)
{
	fields_decode(reader, table, FIELDS(table_fields));
	/* An entry is two strings, each at least its length. */
	table->entries = array_decode(reader, sizeof(*table->entries), 4, &table->entry_count);
	for (size_t i = 0; i < table->entry_count && !reader->failed; i++)
		fields_decode(reader, &table->entries[i], FIELDS(entry_fields));
}

static void
arrays_decode(struct buf_reader *reader, struct config *config)
{
	config->listeners =
	    array_decode(reader, sizeof(*config->listeners), 16, &config->listener_count);
	for (size_t i = 0; i < config->listener_count && !reader->failed; i++)
		listener_decode(reader, &config->listeners[i]);
	config->tables = array_decode(reader, sizeof(*config->tables), 9, &config->table_count);
	for (size_t i = 0; i < config->table_count && !reader->failed; i++)
		table_decode(reader, &config->tables[i]);
	config->actions = array_decode(reader, sizeof(*config->actions), 20, &config->action_count);
	for (size_t i = 0; i < config->action_count && !reader->failed; i++)
		fields_decode(reader, &config->actions[i], FIELDS(action_fields));
	config->rules = array_decode(reader, sizeof(*config->rules), 26, &config->rule_count);
	for (size_t i = 0; i < config->rule_count && !reader->failed; i++)
		fields_decode(reader, &config->rules[i], FIELDS(rule_fields));
	config->pkis = array_decode(reader, sizeof(*config->pkis), 6, &config->pki_count);
	for (size_t i = 0; i < config->pki_count && !reader->failed; i++)
		fields_decode(reader, &config->pkis[i], FIELDS(pki_fields));
	config->cas = array_decode(reader, sizeof(*config->cas), 4, &config->ca_count);
	for (size_t i = 0; i < config->ca_count && !reader->failed; i++)
		fields_decode(reader, &config->cas[i], FIELDS(ca_fields));
	config->mta_limits =
	    array_decode(reader, sizeof(*config->mta_limits), 28, &config->mta_limit_count);
	for (size_t i = 0; i < config->mta_limit_count && !reader->failed; i++)
		fields_decode(reader, &config->mta_limits[i], FIELDS(mta_limit_fields));
	config->wrappers =
	    array_decode(reader, sizeof(*config->wrappers), 4, &config->wrapper_count);
	for (size_t i = 0; i < config->wrapper_count && !reader->failed; i++)
		fields_decode(reader, &config->wrappers[i], FIELDS(wrapper_fields));
}

struct config *
config_decode(const void *data, size_t length)
{
	struct buf_reader reader;
	struct config *config = calloc(1, sizeof(*config));

	if (config == NULL)
		return NULL;
	buf_reader_init(&reader, data, length);
	if (buf_get_u32(&reader) != CONFIG_FORMAT)
		reader.failed = true;
	fields_decode(&reader, config, FIELDS(config_fields));
	config->bounce_warn_count =
	    buf_get_enum(&reader, sizeof(config->bounce_warn) / sizeof(config->bounce_warn[0]) + 1);
	if (!reader.failed)
		arrays_decode(&reader, config);
	if (!buf_reader_done(&reader)) {
		config_free(config);
		return NULL;
	}
	return config;
}

static int
to_fd(const struct config *config, bool with_values)
{
	struct buf buf;
	int fd;

	buf_init(&buf, CONFIG_ENCODE_MAX);
	encode(&buf, config, with_values);
	fd = buf_ok(&buf) ? memory_file_make("config", buf.data, buf.length) : -1;
	buf_free(&buf);
	return fd;
}

int
config_to_fd(const struct config *config)
{
	return to_fd(config, true);
}

int
config_to_fd_without_values(const struct config *config, bool with_srs)
{
	struct config shown = *config;
	char nothing[] = "";

	if (!with_srs)
		shown.srs_key = shown.srs_key_backup = nothing;
	return to_fd(&shown, false);
}

/* Read into memory of our own: what is decoded can't change meanwhile, whoever else has `fd`. */
struct config *
config_from_fd(int fd)
{
	struct config *config = NULL;
	size_t length;
	uint8_t *data = memory_file_read(fd, CONFIG_ENCODE_MAX, &length);

	if (data != NULL)
		config = config_decode(data, length);
	free(data);
	return config;
}
