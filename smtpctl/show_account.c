/*
 * Lists of the accounts database, and of who is slowed down. In a table long addresses are cut, except the last column's,
 * which goes on in lines of its own.
 */
#include <string.h>

#include "smtpctl/show_account.h"
#include "smtpctl/show_tls.h"
#include "smtpctl/text.h"

#define FIELDS_MAX     ACCOUNT_WORDS_MAX
#define NUMBER_COLUMNS 10

/* The fields of the line, which gets NULs where its tabs were. */
static size_t
split(char *line, const char *fields[FIELDS_MAX])
{
	size_t count = 0;

	while (line != NULL && count < FIELDS_MAX)
		fields[count++] = strsep(&line, "\t");
	return count;
}

void
show_account_head(struct output *output, enum account_verb verb)
{
	struct buf *buf = &output->buf;

	if (output->format != OUTPUT_TABLE)
		return;
	if (verb == ACCOUNT_TLS_RESULT_LIST)
		show_tls_head(output);
	else if (verb == ACCOUNT_USER_LIST) {
		text_add_cell(buf, "USER", output->width - 2 * (NUMBER_COLUMNS + 1));
		buf_printf(buf, " %*s %*s\n", NUMBER_COLUMNS, "QUOTA", NUMBER_COLUMNS, "MESSAGES");
	} else if (verb == ACCOUNT_ALIAS_LIST) {
		text_add_cell(buf, "ALIAS", output->width / 2 - 1);
		buf_add_text(buf, " TARGET\n");
	} else if (verb == ACCOUNT_SLOW_LIST)
		buf_printf(buf, "%-8s %*s %*s %*s %s\n", "KIND", NUMBER_COLUMNS, "FAILURES",
		    NUMBER_COLUMNS, "APART", NUMBER_COLUMNS, "LAST", "NETWORK OR ACCOUNT");
}

static void
add_slow_row(struct buf *buf, size_t width, const char *const *fields)
{
	buf_printf(buf, "%-8s %*s %*sms %*ss ", fields[0], NUMBER_COLUMNS, fields[2],
	    NUMBER_COLUMNS - 2, fields[3], NUMBER_COLUMNS - 1, fields[4]);
	text_add_clean(buf, fields[1], width > 42 ? width - 42 : 1);
	buf_add_text(buf, "\n");
}

static void
add_user_row(struct buf *buf, size_t width, const char *const *fields)
{
	uint64_t number;
	char text[24] = "-";

	text_add_cell(buf, fields[0], width - 2 * (NUMBER_COLUMNS + 1));
	if (text_parse_number(fields[1], UINT64_MAX, &number) && number > 0)
		text_format_size(text, sizeof(text), number);
	buf_printf(buf, " %*s ", NUMBER_COLUMNS, text);
	if (!text_parse_number(fields[2], 9999999999, &number))
		buf_printf(buf, "%*s\n", NUMBER_COLUMNS, "many");
	else if (number == 0)
		buf_printf(buf, "%*s\n", NUMBER_COLUMNS, "-");
	else
		buf_printf(buf, "%*llu\n", NUMBER_COLUMNS, (unsigned long long)number);
}

static void
add_alias_rows(struct buf *buf, size_t width, const char *const *fields, size_t count)
{
	for (size_t i = 1; i < count; i++) {
		text_add_cell(buf, i == 1 ? fields[0] : "", width / 2 - 1);
		buf_add_text(buf, " ");
		text_add_clean(buf, fields[i], width - width / 2);
		buf_add_text(buf, "\n");
	}
}

static void
add_json(struct buf *buf, enum account_verb verb, const char *const *fields, size_t count)
{
	uint64_t bytes = 0, messages = 0;

	if (verb == ACCOUNT_SLOW_LIST) {
		buf_add_text(buf, "{\"kind\":");
		text_add_json(buf, fields[0]);
		buf_add_text(buf, ",\"name\":");
		text_add_json(buf, fields[1]);
		buf_printf(buf, ",\"failures\":%s,\"apart_ms\":%s,\"last_s\":%s}\n", fields[2],
		    fields[3], fields[4]);
		return;
	}
	buf_add_text(buf, verb == ACCOUNT_DOMAIN_LIST ? "{\"domain\":" : "{\"address\":");
	text_add_json(buf, fields[0]);
	if (verb == ACCOUNT_USER_LIST) {
		(void)text_parse_number(fields[1], UINT64_MAX, &bytes);
		(void)text_parse_number(fields[2], UINT64_MAX, &messages);
		buf_printf(buf, ",\"quota_bytes\":%llu,\"quota_messages\":%llu",
		    (unsigned long long)bytes, (unsigned long long)messages);
	} else if (verb == ACCOUNT_ALIAS_LIST) {
		buf_add_text(buf, ",\"targets\":[");
		for (size_t i = 1; i < count; i++) {
			if (i > 1)
				buf_add_text(buf, ",");
			text_add_json(buf, fields[i]);
		}
		buf_add_text(buf, "]");
	}
	buf_add_text(buf, "}\n");
}

static void
add_line(struct buf *buf, const char *const *fields, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (i > 0)
			buf_add_text(buf, "|");
		text_add_field(buf, fields[i]);
	}
	buf_add_text(buf, "\n");
}

bool
show_account_row(struct output *output, enum account_verb verb, char *line)
{
	const char *fields[FIELDS_MAX];
	struct buf *buf = &output->buf;
	size_t count = split(line, fields);
	uint64_t number;
	size_t least = verb == ACCOUNT_USER_LIST ? 3
	    : verb == ACCOUNT_ALIAS_LIST         ? 2
	    : verb == ACCOUNT_SLOW_LIST          ? 5
	                                         : 1;

	if (verb == ACCOUNT_TLS_RESULT_LIST)
		return show_tls_row(output, fields, count);
	if (count < least)
		return false;
	for (size_t i = 2; verb == ACCOUNT_SLOW_LIST && i < 5; i++) {
		if (!text_parse_number(fields[i], UINT64_MAX, &number))
			return false;
	}
	if (output->format == OUTPUT_LINES)
		add_line(buf, fields, count);
	else if (output->format == OUTPUT_JSON)
		add_json(buf, verb, fields, count);
	else if (verb == ACCOUNT_USER_LIST)
		add_user_row(buf, output->width, fields);
	else if (verb == ACCOUNT_ALIAS_LIST)
		add_alias_rows(buf, output->width, fields, count);
	else if (verb == ACCOUNT_SLOW_LIST)
		add_slow_row(buf, output->width, fields);
	else {
		text_add_clean(buf, fields[0], output->width);
		buf_add_text(buf, "\n");
	}
	return true;
}
