/*
 * Domains come from mail and are shown as strangers' text is. In a table each kind of failure has a
 * line of its own.
 */
#include <inttypes.h>
#include <stdint.h>

#include "smtpctl/show_tls.h"
#include "smtpctl/text.h"

#define FIXED 5 /* fields before the kinds of failures */
/* DAY POLICY SUCCESSES FAILURES and blanks: 10+1+15+1+9+1+8+1 columns beside DOMAIN */
#define TABLE_FIXED  46
#define TABLE_INDENT 4

void
show_tls_head(struct output *output)
{
	struct buf *buf = &output->buf;

	if (output->format != OUTPUT_TABLE)
		return;
	buf_printf(buf, "%-10s ", "DAY");
	text_add_cell(buf, "DOMAIN", output->width - TABLE_FIXED);
	buf_printf(buf, " %-15s %9s %8s\n", "POLICY", "SUCCESSES", "FAILURES");
}

static void
add_table_row(struct output *output, const char *const *fields, size_t count)
{
	struct buf *buf = &output->buf;

	text_add_cell(buf, fields[0], 10);
	buf_add_text(buf, " ");
	text_add_cell(buf, fields[1], output->width - TABLE_FIXED);
	buf_add_text(buf, " ");
	text_add_cell(buf, fields[2], 15);
	buf_printf(buf, " %9s %8s\n", fields[3], fields[4]);
	for (size_t i = FIXED; i < count; i += 2) {
		buf_printf(buf, "%*s", TABLE_INDENT, "");
		text_add_clean(buf, fields[i], 40);
		buf_printf(buf, " %s\n", fields[i + 1]);
	}
}

static void
add_json(struct buf *buf, const char *const *fields, size_t count)
{
	buf_add_text(buf, "{\"day\":");
	text_add_json(buf, fields[0]);
	buf_add_text(buf, ",\"domain\":");
	text_add_json(buf, fields[1]);
	buf_add_text(buf, ",\"policy\":");
	text_add_json(buf, fields[2]);
	buf_printf(buf, ",\"successes\":%s,\"failures\":%s,\"kinds\":{", fields[3], fields[4]);
	for (size_t i = FIXED; i < count; i += 2) {
		if (i > FIXED)
			buf_add_text(buf, ",");
		text_add_json(buf, fields[i]);
		buf_printf(buf, ":%s", fields[i + 1]);
	}
	buf_add_text(buf, "}}\n");
}

bool
show_tls_row(struct output *output, const char *const *fields, size_t count)
{
	struct buf *buf = &output->buf;
	uint64_t number;

	if (count < FIXED || (count - FIXED) % 2 != 0)
		return false;
	for (size_t i = FIXED - 2; i < count; i += i < FIXED - 1 ? 1 : 2)
		if (!text_parse_number(fields[i], UINT64_MAX, &number))
			return false;
	if (output->format == OUTPUT_JSON)
		add_json(buf, fields, count);
	else if (output->format == OUTPUT_TABLE)
		add_table_row(output, fields, count);
	else {
		for (size_t i = 0; i < count; i++) {
			if (i > 0)
				buf_add_text(buf, "|");
			text_add_field(buf, fields[i]);
		}
		buf_add_text(buf, "\n");
	}
	return true;
}
