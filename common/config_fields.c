/*
 * The fields of each struct, and what walks them.
 */
#include <stdlib.h>

#include "common/config_fields.h"

#define STRING_MAX 65535

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

#define ALL(list)                                      \
	{                                              \
		list, sizeof(list) / sizeof((list)[0]) \
	}

static const struct field config_list[] = {
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
const struct fields config_fields = ALL(config_list);

static const struct field listener_list[] = {
	U32(listener_config, address_length),
	ENUM(listener_config, protocol, LISTEN_PROTOCOL_COUNT),
	BOOL(listener_config, proxy_v2),
	STRING(listener_config, proxy_trusted),
	STRING(listener_config, hostname),
	STRING(listener_config, hostnames),
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
const struct fields listener_fields = ALL(listener_list);

static const struct field entry_list[] = {
	STRING(table_entry, key),
	STRING(table_entry, value),
};
const struct fields entry_fields = ALL(entry_list);

static const struct field table_list[] = {
	STRING(table_config, name),
	ENUM(table_config, backend, TABLE_BACKEND_COUNT),
	STRING(table_config, path),
};
const struct fields table_fields = ALL(table_list);

static const struct field action_list[] = {
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
	STRING(action_config, relay_ciphers),
	BOOL(action_config, relay_tls_1_3_only),
	STRING(action_config, relay_ca),
	STRING(action_config, relay_helo),
	STRING(action_config, relay_helo_table),
	STRING(action_config, relay_source),
	BOOL(action_config, relay_backup),
	STRING(action_config, relay_backup_name),
	STRING(action_config, relay_mail_from),
	BOOL(action_config, relay_srs),
};
const struct fields action_fields = ALL(action_list);

static const struct field pki_list[] = {
	STRING(pki_config, name),
	STRING(pki_config, certificate),
	STRING(pki_config, key),
};
const struct fields pki_fields = ALL(pki_list);

static const struct field wrapper_list[] = {
	STRING(wrapper_config, name),
	STRING(wrapper_config, command),
};
const struct fields wrapper_fields = ALL(wrapper_list);

static const struct field ca_list[] = {
	STRING(ca_config, name),
	STRING(ca_config, certificates),
};
const struct fields ca_fields = ALL(ca_list);

static const struct field mta_limit_list[] = {
	STRING(mta_limit_config, domain),
	STRING(mta_limit_config, mx),
	U32(mta_limit_config, sessions),
	U32(mta_limit_config, sessions_total),
	U32(mta_limit_config, messages),
	U32(mta_limit_config, recipients),
	U32(mta_limit_config, messages_per_minute),
	U32(mta_limit_config, pause_ms),
	ENUM(mta_limit_config, family, RELAY_FAMILY_COUNT),
};
const struct fields mta_limit_fields = ALL(mta_limit_list);

static const struct field rule_list[] = {
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
const struct fields rule_fields = ALL(rule_list);

_Static_assert(sizeof(enum line_ends) == sizeof(uint32_t), "an enum is read as a uint32_t");
_Static_assert(sizeof(((struct config *)0)->bounce_warn) == 8 * sizeof(uint32_t),
    "every bounce_warn is a field");
_Static_assert(sizeof(struct limits_config) == 18 * sizeof(uint32_t), "every limit is a field");

void *
field_of(void *base, const struct field *field)
{
	return (char *)base + field->offset;
}

static const void *
const_field(const void *base, const struct field *field)
{
	return (const char *)base + field->offset;
}

void
fields_free(void *base, const struct fields *fields)
{
	for (size_t i = 0; i < fields->count; i++) {
		if (fields->list[i].kind == FIELD_STRING)
			free(*(char **)field_of(base, &fields->list[i]));
	}
}

void
fields_encode(struct buf *buf, const void *base, const struct fields *fields)
{
	for (size_t i = 0; i < fields->count; i++) {
		const void *value = const_field(base, &fields->list[i]);

		switch (fields->list[i].kind) {
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

void
fields_decode(struct buf_reader *reader, void *base, const struct fields *fields)
{
	for (size_t i = 0; i < fields->count && !reader->failed; i++) {
		void *value = field_of(base, &fields->list[i]);

		switch (fields->list[i].kind) {
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
			*(uint32_t *)value = buf_get_enum(reader, fields->list[i].count);
			break;
		}
	}
}
