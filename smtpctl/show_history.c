/*
 * A line an event: when, what, which envelope, and then what is known, in words. Nearly all of it was
 * said by somebody else, and is printed as such.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "smtpctl/show_history.h"
#include "smtpctl/text.h"

#define WIDTH_MAX 2000 /* of a stranger's words on a terminal */

static void
add_words(struct output *output, const char *text)
{
	if (output->format == OUTPUT_TABLE)
		text_add_clean(&output->buf, text, WIDTH_MAX);
	else
		text_add_field(&output->buf, text);
}

void
show_history_head(struct output *output, uint32_t id)
{
	if (output->format == OUTPUT_JSON)
		return;
	if (id == 0)
		buf_add_text(&output->buf, "not accepted\n");
	else
		buf_printf(&output->buf, "message %08" PRIx32 "\n", id);
}

static void
add_time(struct buf *buf, int64_t time_us, bool utc)
{
	time_t seconds = (time_t)(time_us / 1000000);
	char text[40];
	struct tm parts;

	if ((utc ? gmtime_r(&seconds, &parts) : localtime_r(&seconds, &parts)) == NULL ||
	    strftime(text, sizeof(text), utc ? "%Y-%m-%dT%H:%M:%S" : "%Y-%m-%d %H:%M:%S", &parts) ==
	        0)
		text[0] = '\0';
	buf_printf(buf, "%s.%03d", text, (int)(time_us / 1000 % 1000));
}

/* Fields that are numbers. */
static bool
is_number(enum history_field field, const char *text)
{
	switch (field) {
	case HISTORY_SIZE:
	case HISTORY_RULE:
	case HISTORY_TRIES:
	case HISTORY_DELIVERY_MS:
	case HISTORY_DELAY_MS:
	case HISTORY_NEXT_TRY:
	case HISTORY_UID:
		/* JSON has no zeroes in front. */
		return strspn(text, "0123456789") == strlen(text) && strlen(text) < 19 &&
		    (*text != '0' || text[1] == '\0') && *text != '\0';
	case HISTORY_FROM:
	case HISTORY_RCPT:
	case HISTORY_DEST:
	case HISTORY_HEADER_ID:
	case HISTORY_CLIENT:
	case HISTORY_CLIENT_NAME:
	case HISTORY_HELO:
	case HISTORY_TLS:
	case HISTORY_USER:
	case HISTORY_TAG:
	case HISTORY_CHECKS:
	case HISTORY_METHOD:
	case HISTORY_ACTION:
	case HISTORY_REPLY:
	case HISTORY_HOST:
	case HISTORY_ADDRESS:
	case HISTORY_MAILBOX:
	case HISTORY_FILE:
	case HISTORY_BOUNCE:
	case HISTORY_ABOUT:
	case HISTORY_FIELD_COUNT:
		break;
	}
	return false;
}

static void
show_json(struct output *output, const struct history_event *event)
{
	struct buf *buf = &output->buf;

	buf_add_text(buf, "{\"time\":\"");
	add_time(buf, event->time_us, true);
	buf_printf(buf, "Z\",\"event\":\"%s\"", history_kind_name(event->kind));
	if (event->message_id != 0)
		buf_printf(buf, ",\"message\":\"%08" PRIx32 "\"", event->message_id);
	if (event->number != 0)
		buf_printf(buf, ",\"envelope\":\"%08" PRIx32 "%08" PRIx32 "\"", event->message_id,
		    event->number);
	for (int field = 0; field < HISTORY_FIELD_COUNT; field++) {
		const char *text = event->fields[field];

		if (text == NULL)
			continue;
		buf_printf(buf, ",\"%s\":", history_field_name((enum history_field)field));
		if (is_number((enum history_field)field, text))
			buf_add_text(buf, text);
		else
			text_add_json(buf, text);
	}
	buf_add_text(buf, "}\n");
}

/* A part of the line, when it is known. */
static void
add_part(struct output *output, const struct history_event *event, enum history_field field,
    const char *before, const char *behind)
{
	if (event->fields[field] == NULL)
		return;
	buf_add_text(&output->buf, before);
	add_words(output, event->fields[field]);
	buf_add_text(&output->buf, behind);
}

static void
add_sender(struct output *output, const struct history_event *event)
{
	const char *from = event->fields[HISTORY_FROM];

	if (from == NULL)
		return;
	buf_add_text(&output->buf, " from <");
	add_words(output, from);
	buf_add_text(&output->buf, ">");
}

/* Who brought it. */
static void
add_client(struct output *output, const struct history_event *event)
{
	add_sender(output, event);
	add_part(output, event, HISTORY_RCPT, " for <", ">");
	add_part(output, event, HISTORY_CLIENT, ", client ", "");
	add_part(output, event, HISTORY_CLIENT_NAME, " (", ")");
	add_part(output, event, HISTORY_HELO, ", helo ", "");
	add_part(output, event, HISTORY_TLS, ", ", "");
	add_part(output, event, HISTORY_USER, ", user ", "");
	add_part(output, event, HISTORY_TAG, ", tag ", "");
	add_part(output, event, HISTORY_SIZE, ", ", " bytes");
	add_part(output, event, HISTORY_HEADER_ID, ", Message-ID ", "");
	add_part(output, event, HISTORY_CHECKS, "; ", "");
}

/* A number of milliseconds or seconds, as people read it. */
static void
add_time_span(struct output *output, const struct history_event *event, enum history_field field,
    uint64_t each_second, const char *before, const char *behind)
{
	const char *text = event->fields[field];
	char span[32];
	uint64_t number;

	if (text == NULL)
		return;
	if (!text_parse_number(text, INT64_MAX, &number)) {
		add_part(output, event, field, before, behind);
		return;
	}
	if (number < 10 * each_second && each_second > 1)
		(void)snprintf(span, sizeof(span), "%llu ms", (unsigned long long)number);
	else
		text_format_duration(span, sizeof(span), number / each_second);
	buf_printf(&output->buf, "%s%s%s", before, span, behind);
}

/* What somebody was told, or is done with a message: the words of the event's in plain ones. */
static void
add_about(struct output *output, const struct history_event *event)
{
	static const struct {
		enum history_kind kind;
		const char *about;
		const char *words;
	} all[] = {
		{ HISTORY_NOTIFIED, "failed", " is told that it could not be delivered" },
		{ HISTORY_NOTIFIED, "delayed", " is told that it is delayed" },
		{ HISTORY_NOTIFIED, "delivered", " is told that it is delivered" },
		{ HISTORY_NOTIFIED, "relayed", " is told that it was handed on" },
		{ HISTORY_NOTIFIED, "held", " is told that it is held" },
		{ HISTORY_RECIPIENT, "held", ", held for its user's hourly limit" },
		{ HISTORY_RECEIVED, "bounce", ", made here: a report to who sent a message" },
	};
	const char *about = event->fields[HISTORY_ABOUT];

	for (size_t i = 0; about != NULL && i < sizeof(all) / sizeof(all[0]); i++) {
		if (event->kind == all[i].kind && strcmp(about, all[i].about) == 0) {
			buf_add_text(&output->buf, all[i].words);
			return;
		}
	}
	add_part(output, event, HISTORY_ABOUT, ", ", "");
}

static void
add_recipient(struct output *output, const struct history_event *event)
{
	const char *rcpt = event->fields[HISTORY_RCPT], *dest = event->fields[HISTORY_DEST];

	add_part(output, event, HISTORY_RCPT, " <", ">");
	if (rcpt == NULL || dest == NULL || strcmp(rcpt, dest) != 0)
		add_part(output, event, HISTORY_DEST, " to <", ">");
	add_part(output, event, HISTORY_METHOD, ", ", "");
	add_part(output, event, HISTORY_ACTION, " by action ", "");
	add_part(output, event, HISTORY_RULE, ", rule in line ", "");
	add_about(output, event);
}

/* Where it was delivered: whose mailbox and which file, or who ran which command. */
static void
add_place(struct output *output, const struct history_event *event)
{
	const char *file = event->fields[HISTORY_FILE];
	bool is_command = file != NULL && *file == '|';

	add_part(output, event, HISTORY_MAILBOX, is_command ? ", user " : ", mailbox ", "");
	if (file == NULL)
		return;
	buf_add_text(&output->buf, is_command ? ", command " : ", file ");
	add_words(output, is_command ? file + 1 : file);
}

static void
add_attempt(struct output *output, const struct history_event *event)
{
	add_part(output, event, HISTORY_DEST, " <", ">");
	add_place(output, event);
	add_part(output, event, HISTORY_HOST, ", host ", "");
	if (event->fields[HISTORY_HOST] == NULL || event->fields[HISTORY_ADDRESS] == NULL ||
	    strcmp(event->fields[HISTORY_HOST], event->fields[HISTORY_ADDRESS]) != 0)
		add_part(output, event, HISTORY_ADDRESS, " [", "]");
	add_part(output, event, HISTORY_TLS, ", ", "");
	add_part(output, event, HISTORY_REPLY, ", reply \"", "\"");
	add_part(output, event, HISTORY_TRIES, ", try ", "");
	add_time_span(output, event, HISTORY_DELIVERY_MS, 1000, ", took ", "");
	add_time_span(output, event, HISTORY_DELAY_MS, 1000, ", ", " after it came");
	add_time_span(output, event, HISTORY_NEXT_TRY, 1, ", next try in ", "");
}

void
show_history_event(struct output *output, const struct history_event *event)
{
	struct buf *buf = &output->buf;

	if (output->format == OUTPUT_JSON) {
		show_json(output, event);
		return;
	}
	buf_add_text(buf, "  ");
	add_time(buf, event->time_us, false);
	buf_printf(buf, " %-9s", history_kind_name(event->kind));
	if (event->number != 0)
		buf_printf(buf, " %08" PRIx32 "%08" PRIx32, event->message_id, event->number);
	switch (event->kind) {
	case HISTORY_RECEIVED:
		add_client(output, event);
		add_about(output, event);
		break;
	case HISTORY_REFUSED:
		add_client(output, event);
		add_part(output, event, HISTORY_REPLY, "; reply \"", "\"");
		break;
	case HISTORY_RECIPIENT:
		add_recipient(output, event);
		break;
	case HISTORY_DELIVERED:
	case HISTORY_DEFERRED:
	case HISTORY_FAILED:
	case HISTORY_EXPIRED:
		add_attempt(output, event);
		break;
	case HISTORY_NOTIFIED:
		add_part(output, event, HISTORY_DEST, " <", ">");
		add_about(output, event);
		add_part(output, event, HISTORY_BOUNCE, ", by message ", "");
		break;
	case HISTORY_SENT_ON:
		add_part(output, event, HISTORY_DEST, " <", ">");
		add_part(output, event, HISTORY_ABOUT, ", ", "");
		add_part(output, event, HISTORY_BOUNCE, " as message ", "");
		break;
	case HISTORY_HELD:
	case HISTORY_RELEASED:
	case HISTORY_REMOVED:
	case HISTORY_GIVEN_UP:
		add_part(output, event, HISTORY_UID, " by user ", "");
		break;
	case HISTORY_KIND_COUNT:
		break;
	}
	buf_add_text(buf, "\n");
}
