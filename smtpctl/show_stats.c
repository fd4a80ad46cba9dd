/*
 * Counters by OpenSMTPD's names, sorted as its tree keeps them, and the 13 columns of its monitor.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "smtpctl/show_stats.h"
#include "smtpctl/text.h"

/* The counters and then the two forms of the uptime. */
#define LINE_COUNT (STATS_COUNT + 2)

struct line {
	const char *name;
	const char *text; /* NULL: the number */
	int64_t number;
};

static int
compare_lines(const void *left, const void *right)
{
	return strcmp(((const struct line *)left)->name, ((const struct line *)right)->name);
}

bool
show_stats_decode(const void *payload, size_t length, struct show_stats *stats)
{
	struct buf_reader reader;

	buf_reader_init(&reader, payload, length);
	for (size_t i = 0; i < STATS_COUNT; i++)
		stats->values[i] = (int64_t)buf_get_u64(&reader);
	stats->uptime = buf_get_u64(&reader);
	return buf_reader_done(&reader);
}

void
show_stats(struct output *output, const struct show_stats *stats)
{
	struct line lines[LINE_COUNT];
	struct buf *buf = &output->buf;
	char uptime[40];

	for (size_t i = 0; i < STATS_COUNT; i++)
		lines[i] = (struct line){ stats_name((enum stats_key)i), NULL, stats->values[i] };
	text_format_duration(uptime, sizeof(uptime), stats->uptime);
	lines[STATS_COUNT] = (struct line){ "uptime", NULL, (int64_t)stats->uptime };
	lines[STATS_COUNT + 1] = (struct line){ "uptime.human", uptime, 0 };
	qsort(lines, LINE_COUNT, sizeof(lines[0]), compare_lines);

	for (size_t i = 0; i < LINE_COUNT; i++) {
		if (output->format == OUTPUT_JSON) {
			buf_add_text(buf, i == 0 ? "{" : ",");
			text_add_json(buf, lines[i].name);
			buf_add_text(buf, ":");
		} else if (output->format == OUTPUT_TABLE)
			buf_printf(buf, "%-40s ", lines[i].name);
		else
			buf_printf(buf, "%s=", lines[i].name);
		if (lines[i].text == NULL)
			buf_printf(buf, output->format == OUTPUT_TABLE ? "%20" PRId64 : "%" PRId64,
			    lines[i].number);
		else if (output->format == OUTPUT_JSON)
			text_add_json(buf, lines[i].text);
		else
			buf_printf(
			    buf, output->format == OUTPUT_TABLE ? "%20s" : "%s", lines[i].text);
		buf_add_text(buf, output->format == OUTPUT_JSON ? "" : "\n");
	}
	if (output->format == OUTPUT_JSON)
		buf_add_text(buf, "}\n");
}

/* The columns in their order, with the names that -j gives them. */
#define MONITOR_COLUMNS 13
static const struct {
	const char *json;
	enum stats_key key;
} columns[MONITOR_COLUMNS] = {
	{ "client_current", STATS_SMTP_SESSION },
	{ "client_connected", STATS_SMTP_CONNECTED },
	{ "client_disconnected", STATS_SMTP_DISCONNECTED },
	{ "envelope_current", STATS_QUEUE_ENVELOPE },
	{ "envelope_enqueued", STATS_QUEUE_ENQUEUED },
	{ "envelope_dequeued", STATS_QUEUE_DEQUEUED },
	{ "delivery_ok", STATS_DELIVERY_OK },
	{ "delivery_tempfail", STATS_DELIVERY_TEMPFAIL },
	{ "delivery_permfail", STATS_DELIVERY_PERMFAIL },
	{ "delivery_loop", STATS_DELIVERY_LOOP },
	{ "expired", STATS_ENVELOPE_EXPIRED },
	{ "removed", STATS_ENVELOPE_REMOVED },
	{ "bounced", STATS_BOUNCE },
};

void
show_monitor(struct output *output, const struct show_stats *before, const struct show_stats *now,
    unsigned long line)
{
	int64_t value[MONITOR_COLUMNS];
	struct buf *buf = &output->buf;

	for (size_t i = 0; i < MONITOR_COLUMNS; i++) {
		value[i] = now->values[columns[i].key];
		if ((int)columns[i].key >= (int)STATS_GAUGE_COUNT)
			value[i] -= before->values[columns[i].key];
	}
	if (output->format == OUTPUT_JSON) {
		for (size_t i = 0; i < MONITOR_COLUMNS; i++)
			buf_printf(buf, "%s\"%s\":%" PRId64, i == 0 ? "{" : ",", columns[i].json,
			    value[i]);
		buf_add_text(buf, "}\n");
		return;
	}
	if (line % MONITOR_HEAD_EVERY == 0)
		buf_printf(buf,
		    "%s--- client ---  -- envelope --   ---- relay/delivery --- "
		    "------- misc -------\n"
		    "curr conn disc  curr  enq  deq   ok tmpfail prmfail loop expire remove "
		    "bounce\n",
		    line == 0 ? "" : "\n");
	buf_printf(buf,
	    "%4" PRId64 " %4" PRId64 " %4" PRId64 "  %4" PRId64 " %4" PRId64 " %4" PRId64
	    " %4" PRId64 "    %4" PRId64 "    %4" PRId64 " %4" PRId64 "   %4" PRId64 "   %4" PRId64
	    "   %4" PRId64 "\n",
	    value[0], value[1], value[2], value[3], value[4], value[5], value[6], value[7],
	    value[8], value[9], value[10], value[11], value[12]);
}
