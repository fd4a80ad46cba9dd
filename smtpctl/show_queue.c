/*
 * The forms of an envelope. The words for a source, an agent, flags and states are OpenSMTPD's:
 * scripts read them.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "smtpctl/show_queue.h"
#include "smtpctl/text.h"

#define US_PER_SECOND  1000000
#define ADDRESS_BUFFER (ADDRESS_TEXT_MAX + 1)

static const char *
source_word(enum client_family family)
{
	switch (family) {
	case CLIENT_LOCAL:
	case CLIENT_INTERNAL:
		return "local";
	case CLIENT_INET4:
		return "inet4";
	case CLIENT_INET6:
		return "inet6";
	case CLIENT_COUNT:
		break;
	}
	return "?";
}

static const char *
agent_word(enum envelope_kind kind)
{
	switch (kind) {
	case ENVELOPE_MAILDIR:
	case ENVELOPE_PIPE:
	case ENVELOPE_USER_PIPE:
	case ENVELOPE_USER_FILE:
	case ENVELOPE_FORWARD:
		return "mda";
	case ENVELOPE_RELAY:
		return "mta";
	case ENVELOPE_KIND_COUNT:
		break;
	}
	return "?";
}

static const char *
state_word(enum envelope_state state)
{
	switch (state) {
	case ENVELOPE_PENDING:
		return "pending";
	case ENVELOPE_INFLIGHT:
		return "inflight";
	case ENVELOPE_HELD:
		return "held";
	case ENVELOPE_STATE_COUNT:
		break;
	}
	return "invalid";
}

struct flag {
	const char *word;
	bool set;
};
#define FLAG_COUNT 4

static void
list_flags(
    struct flag *flags, const struct transaction *transaction, const struct envelope *envelope)
{
	flags[0] = (struct flag){ "bounce", transaction->is_bounce };
	flags[1] = (struct flag){ "auth", transaction->auth_user[0] != '\0' };
	flags[2] = (struct flag){ "internal", transaction->client_family == CLIENT_INTERNAL };
	flags[3] = (struct flag){ "suspend", envelope->state == ENVELOPE_HELD };
}

/* The words of the flags that are set, quoted or not, with a comma between. */
static void
add_flags(struct buf *buf, const struct transaction *transaction, const struct envelope *envelope,
    const char *quote)
{
	struct flag flags[FLAG_COUNT];
	const char *comma = "";

	list_flags(flags, transaction, envelope);
	for (size_t i = 0; i < FLAG_COUNT; i++)
		if (flags[i].set) {
			buf_printf(buf, "%s%s%s%s", comma, quote, flags[i].word, quote);
			comma = ",";
		}
}

/* The null sender is "@" in lines, as OpenSMTPD prints an empty user and an empty domain. */
static void
format_address(const struct address *address, char *text, size_t size)
{
	if (address_is_null(address))
		memcpy(text, "@", size < 2 ? size : 2);
	else
		address_format(address, text, size);
}

static void
add_address(struct buf *buf, const struct address *address)
{
	char text[ADDRESS_BUFFER];

	format_address(address, text, sizeof(text));
	text_add_field(buf, text);
	buf_add_text(buf, "|");
}

static void
format_error(const struct envelope *envelope, char *text, size_t size)
{
	text[0] = '\0';
	if (envelope->last_reply.code != 0)
		reply_format(&envelope->last_reply, text, size);
}

void
show_queue_line(struct buf *buf, const struct transaction *transaction,
    const struct envelope *envelope, int64_t now)
{
	char error[REPLY_TEXT_MAX + 32];

	buf_printf(buf, "%016" PRIx64 "|%s|%s|", envelope->id,
	    source_word(transaction->client_family), agent_word(envelope->kind));
	add_flags(buf, transaction, envelope, "");
	buf_add_text(buf, "|");
	add_address(buf, &transaction->sender);
	add_address(buf, &envelope->rcpt);
	add_address(buf, &envelope->dest);
	buf_printf(buf, "%" PRId64 "|%" PRId64 "|%" PRId64 "|%" PRIu32 "|",
	    transaction->created_us / US_PER_SECOND, envelope->expires, envelope->last_try,
	    envelope->tries);
	/* A held envelope is a pending one with the flag "suspend". */
	switch (envelope->state) {
	case ENVELOPE_PENDING:
	case ENVELOPE_HELD:
		buf_printf(buf, "pending|%" PRId64 "|",
		    envelope->next_try > now ? envelope->next_try - now : 0);
		break;
	case ENVELOPE_INFLIGHT:
		buf_printf(buf, "inflight|%" PRId64 "|",
		    now > envelope->next_try ? now - envelope->next_try : 0);
		break;
	case ENVELOPE_STATE_COUNT:
		buf_add_text(buf, "invalid||");
		break;
	}
	format_error(envelope, error, sizeof(error));
	text_add_field(buf, error);
	buf_add_text(buf, "\n");
}

static void
add_json_text(struct buf *buf, const char *key, const char *value)
{
	buf_printf(buf, ",\"%s\":", key);
	text_add_json(buf, value);
}

static void
add_json_address(struct buf *buf, const char *key, const struct address *address)
{
	char text[ADDRESS_BUFFER];

	address_format(address, text, sizeof(text));
	add_json_text(buf, key, text);
}

static void
add_json_time(struct buf *buf, const char *key, int64_t time)
{
	if (time == 0)
		buf_printf(buf, ",\"%s\":null", key);
	else
		buf_printf(buf, ",\"%s\":%" PRId64, key, time);
}

void
show_queue_json(struct buf *buf, const struct transaction *transaction,
    const struct envelope *envelope, const char *dialogue)
{
	char error[REPLY_TEXT_MAX + 32];

	buf_printf(buf, "{\"id\":\"%016" PRIx64 "\",\"message\":\"%08" PRIx32 "\"", envelope->id,
	    transaction->message_id);
	add_json_text(buf, "source", source_word(transaction->client_family));
	add_json_text(buf, "agent", agent_word(envelope->kind));
	buf_add_text(buf, ",\"flags\":[");
	add_flags(buf, transaction, envelope, "\"");
	buf_add_text(buf, "]");
	add_json_text(buf, "client", transaction->client);
	add_json_text(buf, "client_name", transaction->client_name);
	add_json_text(buf, "helo", transaction->helo);
	add_json_text(buf, "tag", transaction->tag);
	add_json_text(buf, "user", transaction->auth_user);
	add_json_address(buf, "from", &transaction->sender);
	add_json_address(buf, "to", &envelope->rcpt);
	add_json_address(buf, "dest", &envelope->dest);
	add_json_text(buf, "command", envelope->command);
	add_json_text(buf, "action", envelope->action);
	buf_printf(buf, ",\"size\":%" PRIu64, transaction->size);
	add_json_time(buf, "created", transaction->created_us / US_PER_SECOND);
	add_json_time(buf, "expires", envelope->expires);
	add_json_time(buf, "last_try", envelope->last_try);
	add_json_time(buf, "next_try", envelope->next_try);
	buf_printf(buf, ",\"tries\":%" PRIu32, envelope->tries);
	add_json_text(buf, "state", state_word(envelope->state));
	format_error(envelope, error, sizeof(error));
	add_json_text(buf, "error", error);
	add_json_text(buf, "host", envelope->last_host);
	if (*dialogue != '\0')
		add_json_text(buf, "dialogue", dialogue);
	buf_add_text(buf, "}\n");
}

/* ENVELOPE STATE AGE TRIES NEXT FROM TO: 16+1+8+1+4+1+5+1+4+1 columns before the addresses. */
#define TABLE_FIXED  42
#define TABLE_INDENT 17

static void
address_widths(size_t width, size_t *from, size_t *to)
{
	*from = (width - TABLE_FIXED - 1) / 2;
	*to = width - TABLE_FIXED - 1 - *from;
}

void
show_queue_table_head(struct buf *buf, size_t width)
{
	size_t from, to;

	address_widths(width, &from, &to);
	buf_printf(buf, "%-16s %-8s %4s %5s %4s ", "ENVELOPE", "STATE", "AGE", "TRIES", "NEXT");
	text_add_cell(buf, "FROM", from);
	buf_add_text(buf, " TO\n");
}

void
show_queue_table_row(struct buf *buf, const struct transaction *transaction,
    const struct envelope *envelope, int64_t now, size_t width)
{
	char age[8], next[8] = "-", sender[ADDRESS_BUFFER], recipient[ADDRESS_BUFFER],
	             error[REPLY_TEXT_MAX + 32];
	size_t from, to;

	address_widths(width, &from, &to);
	text_format_age(age, sizeof(age), now - transaction->created_us / US_PER_SECOND);
	if (envelope->state == ENVELOPE_PENDING)
		text_format_age(next, sizeof(next), envelope->next_try - now);
	format_address(&transaction->sender, sender, sizeof(sender));
	format_address(&envelope->dest, recipient, sizeof(recipient));
	buf_printf(buf, "%016" PRIx64 " %-8s %4s %5" PRIu32 " %4s ", envelope->id,
	    state_word(envelope->state), age, envelope->tries < 99999 ? envelope->tries : 99999,
	    next);
	text_add_cell(buf, sender, from);
	buf_add_text(buf, " ");
	text_add_clean(buf, recipient, to);
	buf_add_text(buf, "\n");
	format_error(envelope, error, sizeof(error));
	if (error[0] != '\0') {
		buf_printf(buf, "%*s", TABLE_INDENT, "");
		text_add_clean(buf, error, width - TABLE_INDENT);
		buf_add_text(buf, "\n");
	}
}

static void
add_key_text(struct buf *buf, const char *key, const char *value)
{
	if (value[0] == '\0')
		return;
	buf_printf(buf, "%s: ", key);
	text_add_field(buf, value);
	buf_add_text(buf, "\n");
}

static void
add_key_address(struct buf *buf, const char *key, const struct address *address)
{
	char text[ADDRESS_BUFFER];

	format_address(address, text, sizeof(text));
	add_key_text(buf, key, text);
}

static void
add_key_number(struct buf *buf, const char *key, int64_t value)
{
	if (value != 0)
		buf_printf(buf, "%s: %" PRId64 "\n", key, value);
}

static void
add_dsn(struct buf *buf, const struct transaction *transaction, const struct envelope *envelope)
{
	static const struct {
		unsigned bit;
		const char *word;
	} notify[] = {
		{ DSN_NOTIFY_NEVER, "NEVER" },
		{ DSN_NOTIFY_SUCCESS, "SUCCESS" },
		{ DSN_NOTIFY_FAILURE, "FAILURE" },
		{ DSN_NOTIFY_DELAY, "DELAY" },
	};

	if (envelope->dsn_notify != 0) {
		const char *separator = "dsn-notify: ";

		for (size_t i = 0; i < sizeof(notify) / sizeof(notify[0]); i++)
			if ((envelope->dsn_notify & notify[i].bit) != 0) {
				buf_printf(buf, "%s%s", separator, notify[i].word);
				separator = ",";
			}
		buf_add_text(buf, "\n");
	}
	if (transaction->dsn_return != DSN_RETURN_UNSET)
		add_key_text(
		    buf, "dsn-ret", transaction->dsn_return == DSN_RETURN_FULL ? "FULL" : "HDRS");
	add_key_text(buf, "dsn-envid", transaction->dsn_envid);
	add_key_text(buf, "dsn-orcpt", envelope->dsn_orcpt);
}

static void
add_dialogue(struct buf *buf, const char *dialogue)
{
	char line[1024];
	size_t length;

	while (*dialogue != '\0') {
		length = strcspn(dialogue, "\n");
		(void)snprintf(line, sizeof(line), "%.*s", (int)length, dialogue);
		add_key_text(buf, "dialogue", line);
		dialogue += length;
		dialogue += *dialogue == '\n';
	}
}

void
show_envelope(struct buf *buf, const struct transaction *transaction,
    const struct envelope *envelope, const char *dialogue)
{
	char error[REPLY_TEXT_MAX + 32];
	const char *dot;

	format_error(envelope, error, sizeof(error));
	buf_add_text(buf, "version: 3\n");
	add_key_text(buf, "dispatcher", envelope->action);
	add_key_text(buf, "tag", transaction->tag);
	add_key_text(buf, "type", agent_word(envelope->kind));
	add_key_text(buf, "helo", transaction->helo);
	add_key_text(buf, "hostname", transaction->client_name);
	add_key_text(buf, "username", transaction->auth_user);
	add_key_text(buf, "errorline", error);
	add_key_text(buf, "errorhost", envelope->last_host);
	add_key_text(buf, "sockaddr", transaction->client);
	add_key_address(buf, "sender", &transaction->sender);
	add_key_address(buf, "rcpt", &envelope->rcpt);
	add_key_address(buf, "dest", &envelope->dest);
	add_key_text(buf, "mda-exec", envelope->command);
	add_key_number(buf, "ctime", transaction->created_us / US_PER_SECOND);
	add_key_number(buf, "last-try", envelope->last_try);
	add_key_number(buf, "next-try", envelope->next_try);
	add_key_number(buf, "expire", envelope->expires);
	add_key_number(buf, "retry", envelope->tries);
	add_dsn(buf, transaction, envelope);
	/* The class is the enhanced code's first number, the code its second and third. */
	dot = strchr(envelope->last_reply.enhanced, '.');
	if (dot != NULL) {
		buf_printf(buf, "esc-class: %.*s\n", (int)(dot - envelope->last_reply.enhanced),
		    envelope->last_reply.enhanced);
		add_key_text(buf, "esc-code", dot + 1);
	}
	buf_add_text(buf, "state: ");
	buf_add_text(buf, state_word(envelope->state));
	buf_printf(buf, "\nsize: %" PRIu64 "\nflags: ", transaction->size);
	add_flags(buf, transaction, envelope, "");
	buf_add_text(buf, "\n");
	if (transaction->require_tls)
		buf_add_text(buf, "require-tls: yes\n");
	if (transaction->tls_optional)
		buf_add_text(buf, "tls-required: no\n");
	add_dialogue(buf, dialogue);
}
