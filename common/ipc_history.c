/*
 * An event: u16 length of what follows | u8 kind | u64 time | u32 message | u32 envelope | u8 count |
 * count times (u8 field, u16 length, bytes). Fields come in their order, so that none comes twice.
 */
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "common/ipc_history.h"

const char *
history_kind_name(enum history_kind kind)
{
	static const char *const names[HISTORY_KIND_COUNT] = {
		[HISTORY_RECEIVED] = "received",
		[HISTORY_RECIPIENT] = "recipient",
		[HISTORY_REFUSED] = "refused",
		[HISTORY_DELIVERED] = "delivered",
		[HISTORY_DEFERRED] = "deferred",
		[HISTORY_FAILED] = "failed",
		[HISTORY_EXPIRED] = "expired",
		[HISTORY_NOTIFIED] = "notified",
		[HISTORY_SENT_ON] = "sent-on",
		[HISTORY_HELD] = "held",
		[HISTORY_RELEASED] = "released",
		[HISTORY_REMOVED] = "removed",
		[HISTORY_GIVEN_UP] = "given-up",
	};

	return names[kind];
}

const char *
history_field_name(enum history_field field)
{
	static const char *const names[HISTORY_FIELD_COUNT] = {
		[HISTORY_FROM] = "from",
		[HISTORY_RCPT] = "rcpt",
		[HISTORY_DEST] = "to",
		[HISTORY_HEADER_ID] = "message_id",
		[HISTORY_CLIENT] = "client",
		[HISTORY_CLIENT_NAME] = "client_name",
		[HISTORY_HELO] = "helo",
		[HISTORY_TLS] = "tls",
		[HISTORY_USER] = "user",
		[HISTORY_TAG] = "tag",
		[HISTORY_CHECKS] = "checks",
		[HISTORY_SIZE] = "size",
		[HISTORY_METHOD] = "method",
		[HISTORY_ACTION] = "action",
		[HISTORY_RULE] = "rule",
		[HISTORY_REPLY] = "reply",
		[HISTORY_HOST] = "host",
		[HISTORY_ADDRESS] = "address",
		[HISTORY_MAILBOX] = "mailbox",
		[HISTORY_FILE] = "file",
		[HISTORY_TRIES] = "tries",
		[HISTORY_DELIVERY_MS] = "delivery_ms",
		[HISTORY_DELAY_MS] = "delay_ms",
		[HISTORY_NEXT_TRY] = "next_try",
		[HISTORY_BOUNCE] = "by",
		[HISTORY_ABOUT] = "about",
		[HISTORY_UID] = "uid",
	};

	return names[field];
}

uint32_t
history_made_id(const struct history_event *event)
{
	const char *text = event->fields[HISTORY_BOUNCE];

	if (text == NULL || strlen(text) != HISTORY_ID_SIZE - 1 ||
	    strspn(text, "0123456789abcdef") != HISTORY_ID_SIZE - 1)
		return 0;
	return (uint32_t)strtoul(text, NULL, 16);
}

static bool
is_control(char byte)
{
	return (unsigned char)byte < ' ' || byte == 0x7f;
}

static void
add_words(struct buf *buf, const char *text, size_t length)
{
	size_t at;

	buf_add_u16(buf, (uint16_t)length);
	at = buf->length;
	buf_add(buf, text, length);
	for (; at < buf->length; at++) {
		if (is_control((char)buf->data[at]))
			buf->data[at] = '?';
	}
}

/* Into `text`, terminated; true when it is one that an honest side sends. */
static bool
get_words(struct buf_reader *reader, char *text, size_t size)
{
	buf_get_string(reader, text, size);
	for (const char *at = text; *at != '\0'; at++) {
		if (is_control(*at)) {
			reader->failed = true;
			*text = '\0';
		}
	}
	return !reader->failed;
}

void
history_event_encode(struct buf *buf, const struct history_event *event)
{
	size_t start = buf->length, count_at, length;
	uint8_t count = 0;

	buf_add_u16(buf, 0);
	buf_add_u8(buf, event->kind);
	buf_add_u64(buf, (uint64_t)event->time_us);
	buf_add_u32(buf, event->message_id);
	buf_add_u32(buf, event->number);
	count_at = buf->length;
	buf_add_u8(buf, 0);
	for (size_t field = 0; field < HISTORY_FIELD_COUNT; field++) {
		if (event->fields[field] == NULL)
			continue;
		length = strnlen(event->fields[field], HISTORY_VALUE_MAX);
		if (buf->length - start + 3 + length > HISTORY_EVENT_MAX)
			continue;
		buf_add_u8(buf, (uint8_t)field);
		add_words(buf, event->fields[field], length);
		count++;
	}
	if (!buf_ok(buf))
		return;
	length = buf->length - start - 2;
	buf->data[start] = (uint8_t)length;
	buf->data[start + 1] = (uint8_t)(length >> 8);
	buf->data[count_at] = count;
}

bool
history_event_decode(
    struct buf_reader *reader, struct history_event *event, struct history_scratch *scratch)
{
	struct buf_reader body;
	size_t length = buf_get_u16(reader), used = 0, least = 0;
	unsigned count, field;

	memset(event, 0, sizeof(*event));
	if (reader->failed || length > reader->left || length + 2 > HISTORY_EVENT_MAX) {
		reader->failed = true;
		return false;
	}
	buf_reader_init(&body, reader->data, length);
	reader->data += length;
	reader->left -= length;
	event->kind = buf_get_enum(&body, HISTORY_KIND_COUNT);
	event->time_us = (int64_t)buf_get_u64(&body);
	event->message_id = buf_get_u32(&body);
	event->number = buf_get_u32(&body);
	for (count = buf_get_u8(&body); count > 0 && !body.failed; count--) {
		size_t room = sizeof(scratch->text) - used;

		field = buf_get_enum(&body, HISTORY_FIELD_COUNT);
		if (room > HISTORY_VALUE_MAX + 1)
			room = HISTORY_VALUE_MAX + 1;
		if (field < least || !get_words(&body, scratch->text + used, room)) {
			body.failed = true;
			break;
		}
		event->fields[field] = scratch->text + used;
		used += strlen(scratch->text + used) + 1;
		least = field + 1;
	}
	if (!buf_reader_done(&body) || event->time_us < 0)
		reader->failed = true;
	return !reader->failed;
}

void
ipc_facts_encode(struct buf *buf, const struct ipc_facts *facts)
{
	add_words(buf, facts->tls, strlen(facts->tls));
	add_words(buf, facts->header_id, strlen(facts->header_id));
	add_words(buf, facts->checks, strlen(facts->checks));
	buf_add_u32(buf, facts->rule_count);
	for (uint32_t i = 0; i < facts->rule_count && i < FACTS_RULES_MAX; i++)
		buf_add_u32(buf, facts->rules[i]);
}

bool
ipc_facts_decode(struct buf_reader *reader, struct ipc_facts *facts)
{
	memset(facts, 0, offsetof(struct ipc_facts, rules));
	(void)get_words(reader, facts->tls, sizeof(facts->tls));
	(void)get_words(reader, facts->header_id, sizeof(facts->header_id));
	(void)get_words(reader, facts->checks, sizeof(facts->checks));
	facts->rule_count = buf_get_u32(reader);
	if (facts->rule_count > FACTS_RULES_MAX) {
		facts->rule_count = 0;
		reader->failed = true;
	}
	for (uint32_t i = 0; i < facts->rule_count; i++)
		facts->rules[i] = buf_get_u32(reader);
	return buf_reader_done(reader);
}

void
ipc_trace_encode(struct buf *buf, const struct ipc_trace *trace)
{
	add_words(buf, trace->what, strlen(trace->what));
}

bool
ipc_trace_decode(struct buf_reader *reader, struct ipc_trace *trace)
{
	return get_words(reader, trace->what, sizeof(trace->what)) && *trace->what != '\0' &&
	    buf_reader_done(reader);
}
