/*
 * Events come as they happened, of several messages in turn; they are printed message by message. What is
 * known of a message only because another was made of it stands before that one.
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "smtpctl/exchange.h"
#include "smtpctl/run_history.h"
#include "smtpctl/show_history.h"
#include "smtpctl/text.h"

#define EVENTS_MAX 100000 /* more than any answer has */

struct kept {
	uint32_t message_id;
	uint32_t made_id; /* the message that it tells to have been made; 0: none */
	size_t group;     /* place of the first event of the message that it is shown with */
	bool is_origin;   /* shown before that one */
	size_t place;
	size_t offset; /* in `bytes` */
	size_t length;
};

struct trace {
	struct kept *events;
	size_t count;
	struct buf bytes;
	struct history_event event;
	struct history_scratch scratch;
};

static size_t
group_of(const struct trace *trace, uint32_t id)
{
	for (size_t i = 0; i < trace->count; i++)
		if (trace->events[i].message_id == id)
			return trace->events[i].group;
	return trace->count;
}

static bool
take_event(const struct imsg *imsg, void *arg)
{
	struct trace *trace = arg;
	struct buf_reader reader;
	struct kept *events;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (imsg->type != CONTROL_HISTORY ||
	    !history_event_decode(&reader, &trace->event, &trace->scratch) ||
	    !buf_reader_done(&reader) || trace->count == EVENTS_MAX)
		return false;
	events = reallocarray(trace->events, trace->count + 1, sizeof(*events));
	if (events == NULL)
		err(EX_OSERR, "history");
	trace->events = events;
	events[trace->count] = (struct kept){
		.message_id = trace->event.message_id,
		.made_id = history_made_id(&trace->event),
		.group = group_of(trace, trace->event.message_id),
		.place = trace->count,
		.offset = trace->bytes.length,
		.length = imsg->length,
	};
	buf_add(&trace->bytes, imsg->payload, imsg->length);
	if (!buf_ok(&trace->bytes))
		errx(EX_OSERR, "history: out of memory");
	trace->count++;
	return true;
}

static int
compare(const void *left, const void *right)
{
	const struct kept *a = left, *b = right;

	if (a->group != b->group)
		return a->group < b->group ? -1 : 1;
	if (a->is_origin != b->is_origin)
		return a->is_origin ? -1 : 1;
	return a->place < b->place ? -1 : a->place > b->place;
}

/* Nothing else is known of it here. */
static bool
tells_of_another_only(const struct trace *trace, uint32_t id)
{
	for (size_t i = 0; i < trace->count; i++)
		if (trace->events[i].message_id == id && trace->events[i].made_id == 0)
			return false;
	return true;
}

static void
put_origins_before(struct trace *trace)
{
	for (size_t i = 0; i < trace->count; i++) {
		struct kept *kept = &trace->events[i];
		size_t group = kept->made_id == 0 ? trace->count : group_of(trace, kept->made_id);

		if (group == trace->count || !tells_of_another_only(trace, kept->message_id))
			continue;
		kept->group = group;
		kept->is_origin = true;
	}
}

static void
show(struct trace *trace, struct output *output)
{
	struct buf_reader reader;

	put_origins_before(trace);
	if (trace->count > 0)
		qsort(trace->events, trace->count, sizeof(*trace->events), compare);
	for (size_t i = 0; i < trace->count; i++) {
		const struct kept *kept = &trace->events[i];

		buf_reader_init(&reader, trace->bytes.data + kept->offset, kept->length);
		if (!history_event_decode(&reader, &trace->event, &trace->scratch))
			continue;
		if (i == 0 || trace->events[i - 1].message_id != kept->message_id)
			show_history_head(output, kept->message_id);
		show_history_event(output, &trace->event);
		output_flush_some(output);
	}
	output_flush(output);
}

int
run_trace_message(const struct command *command, struct client *client, struct output *output)
{
	struct trace *trace = calloc(1, sizeof(*trace));
	struct ipc_result result;
	struct buf payload;
	int status;

	if (trace == NULL)
		err(EX_OSERR, "history");
	buf_init(&trace->bytes, SIZE_MAX / 2);
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_trace_encode(&payload, &command->trace);
	status = exchange_encoded(
	    client, output, CONTROL_TRACE_MESSAGE, &payload, take_event, trace, &result, NULL);
	if (status == 0) {
		show(trace, output);
		if (*result.words != '\0') {
			text_add_clean(&output->buf, result.words, IPC_WORDS_MAX);
			warnx("%.*s", (int)output->buf.length, (const char *)output->buf.data);
			buf_clear(&output->buf);
		}
	}
	if (status == 0 && trace->count == 0) {
		warnx("command failed: nothing is known of such a message");
		status = EX_DATAERR;
	}
	free(trace->events);
	buf_free(&trace->bytes);
	free(trace);
	return status;
}
