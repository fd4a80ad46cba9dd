/*
 * Destinations. What another host said may be anything: it is shown as strangers' text is.
 */
#include <inttypes.h>
#include <stdio.h>

#include "smtpctl/show_relays.h"
#include "smtpctl/text.h"

/* TO ACTION STATE WAIT FLY WINDOW NEXT: 8+1+8+1+7+1+4+1+6+1+4 columns behind TO and a blank. */
#define TABLE_FIXED  43
#define TABLE_INDENT 4

static const char *
state_word(enum destination_state state)
{
	switch (state) {
	case DESTINATION_RUNNING:
		return "running";
	case DESTINATION_PUT_OFF:
		return "put-off";
	case DESTINATION_PAUSED:
		return "paused";
	case DESTINATION_NO_RELAY:
		return "no-relay";
	case DESTINATION_STATE_COUNT:
		break;
	}
	return "?";
}

static void
format_error(const struct ipc_destination *destination, char *text, size_t size)
{
	text[0] = '\0';
	if (destination->reply.code != 0)
		reply_format(&destination->reply, text, size);
}

void
show_relays_head(struct output *output)
{
	if (output->format != OUTPUT_TABLE)
		return;
	text_add_cell(&output->buf, "TO", output->width - TABLE_FIXED - 1);
	buf_printf(&output->buf, " %-8s %-8s %7s %4s %6s %4s\n", "ACTION", "STATE", "WAITING",
	    "SENT", "WINDOW", "NEXT");
}

static void
add_row(struct buf *buf, size_t width, const struct ipc_destination *destination, int64_t now)
{
	char next[8] = "-", error[REPLY_TEXT_MAX + 32];

	if (destination->next_try != 0)
		text_format_age(next, sizeof(next), destination->next_try - now);
	text_add_cell(buf, destination->to, width - TABLE_FIXED - 1);
	buf_add_text(buf, " ");
	text_add_cell(buf, destination->action, 8);
	buf_printf(buf, " %-8s %7" PRIu32 " %4" PRIu32 " %6" PRIu32 " %4s\n",
	    state_word(destination->state), destination->queued, destination->in_flight,
	    destination->window, next);
	format_error(destination, error, sizeof(error));
	if (error[0] == '\0')
		return;
	buf_printf(buf, "%*s", TABLE_INDENT, "");
	text_add_clean(buf, error, width - TABLE_INDENT);
	buf_add_text(buf, "\n");
}

static void
add_line(struct buf *buf, const struct ipc_destination *destination, int64_t now)
{
	char error[REPLY_TEXT_MAX + 32];

	text_add_field(buf, destination->to);
	buf_add_text(buf, "|");
	text_add_field(buf, destination->action);
	buf_printf(buf,
	    "|%s|%" PRIu32 "|%" PRIu32 "|%" PRIu32 "|%" PRIu32 "|%" PRId64 "|%" PRId64 "|",
	    state_word(destination->state), destination->queued, destination->in_flight,
	    destination->window, destination->failures,
	    destination->next_try > now ? destination->next_try - now : 0,
	    destination->last_failure);
	text_add_field(buf, destination->host);
	buf_add_text(buf, "|");
	format_error(destination, error, sizeof(error));
	text_add_field(buf, error);
	buf_add_text(buf, "\n");
}

static void
add_text(struct buf *buf, const char *key, const char *value)
{
	buf_printf(buf, ",\"%s\":", key);
	text_add_json(buf, value);
}

static void
add_time(struct buf *buf, const char *key, int64_t time)
{
	if (time == 0)
		buf_printf(buf, ",\"%s\":null", key);
	else
		buf_printf(buf, ",\"%s\":%" PRId64, key, time);
}

static void
add_json(struct buf *buf, const struct ipc_destination *destination)
{
	char error[REPLY_TEXT_MAX + 32];

	buf_add_text(buf, "{\"to\":");
	text_add_json(buf, destination->to);
	add_text(buf, "action", destination->action);
	add_text(buf, "state", state_word(destination->state));
	buf_printf(buf,
	    ",\"queued\":%" PRIu32 ",\"ready\":%" PRIu32 ",\"in_flight\":%" PRIu32
	    ",\"window\":%" PRIu32 ",\"failures\":%" PRIu32,
	    destination->queued, destination->waiting, destination->in_flight, destination->window,
	    destination->failures);
	add_time(buf, "next_try", destination->next_try);
	add_time(buf, "last_failure", destination->last_failure);
	add_text(buf, "host", destination->host);
	format_error(destination, error, sizeof(error));
	add_text(buf, "error", error);
	buf_add_text(buf, "}\n");
}

void
show_relays_row(struct output *output, const struct ipc_destination *destination, int64_t now)
{
	switch (output->format) {
	case OUTPUT_TABLE:
		add_row(&output->buf, output->width, destination, now);
		break;
	case OUTPUT_LINES:
		add_line(&output->buf, destination, now);
		break;
	case OUTPUT_JSON:
		add_json(&output->buf, destination);
		break;
	}
}
