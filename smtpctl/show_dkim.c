/*
 * A record is longer than a string in DNS may be (255 bytes): it is written as several, which who
 * looks it up puts together again (RFC 6376 3.6.2.2).
 */
#include <stddef.h>
#include <string.h>

#include "smtpctl/show_dkim.h"
#include "smtpctl/text.h"

#define FIELDS      5
#define STRING_LINE 250
#define NAME_COLUMN 16

enum field {
	FIELD_DOMAIN,
	FIELD_SELECTOR,
	FIELD_ALGORITHM,
	FIELD_STATE,
	FIELD_RECORD,
};

void
show_dkim_head(struct output *output)
{
	struct buf *buf = &output->buf;

	if (output->format != OUTPUT_TABLE)
		return;
	text_add_cell(buf, "SELECTOR", NAME_COLUMN);
	buf_add_text(buf, " ALGORITHM STATE    DOMAIN\n");
}

static void
add_row(struct output *output, const char *const *fields)
{
	struct buf *buf = &output->buf;

	text_add_cell(buf, fields[FIELD_SELECTOR], NAME_COLUMN);
	buf_add_text(buf, " ");
	text_add_cell(buf, fields[FIELD_ALGORITHM], 9);
	buf_add_text(buf, " ");
	text_add_cell(buf, fields[FIELD_STATE], 8);
	buf_add_text(buf, " ");
	text_add_clean(buf, fields[FIELD_DOMAIN], output->width - NAME_COLUMN - 20);
	buf_add_text(buf, "\n");
}

static void
add_fields(struct buf *buf, const char *const *fields)
{
	for (size_t i = 0; i < FIELD_RECORD; i++) {
		text_add_field(buf, fields[i]);
		buf_add_text(buf, i + 1 < FIELD_RECORD ? "|" : "\n");
	}
}

static void
add_json(struct buf *buf, const char *const *fields)
{
	static const char *const names[FIELDS] = { "domain", "selector", "algorithm", "state",
		"record" };

	for (size_t i = 0; i < FIELDS; i++) {
		buf_printf(buf, "%c\"%s\":", i == 0 ? '{' : ',', names[i]);
		text_add_json(buf, fields[i]);
	}
	buf_add_text(buf, "}\n");
}

static void
add_record(struct buf *buf, const char *const *fields)
{
	const char *record = fields[FIELD_RECORD];
	size_t length;

	if (*record == '\0') {
		buf_printf(
		    buf, "; %s of %s is unusable\n", fields[FIELD_SELECTOR], fields[FIELD_DOMAIN]);
		return;
	}
	if (strcmp(fields[FIELD_STATE], "active") != 0)
		buf_printf(buf, "; not active: smtpctl dkim activate %s %s\n", fields[FIELD_DOMAIN],
		    fields[FIELD_SELECTOR]);
	buf_printf(buf, "%s._domainkey.%s. IN TXT (", fields[FIELD_SELECTOR], fields[FIELD_DOMAIN]);
	for (; *record != '\0'; record += length) {
		length = strlen(record);
		if (length > STRING_LINE)
			length = STRING_LINE;
		buf_printf(buf, "%s\"%.*s\"", record == fields[FIELD_RECORD] ? " " : "\n\t",
		    (int)length, record);
	}
	buf_add_text(buf, " )\n");
}

/* What isn't one of these can't be in a name or a record. */
static bool
is_plain(const char *text)
{
	return text[strspn(text,
	           "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._=;+/ ")] ==
	    '\0';
}

bool
show_dkim(struct output *output, bool as_row, char *line)
{
	const char *fields[FIELDS];
	size_t count = 0;

	while (line != NULL && count < FIELDS) {
		fields[count] = strsep(&line, "\t");
		if (!is_plain(fields[count++]))
			return false;
	}
	if (count < FIELDS || line != NULL)
		return false;
	if (output->format == OUTPUT_JSON)
		add_json(&output->buf, fields);
	else if (!as_row)
		add_record(&output->buf, fields);
	else if (output->format == OUTPUT_TABLE)
		add_row(output, fields);
	else
		add_fields(&output->buf, fields);
	return true;
}
