/*
 * The queue's part of an explanation: what is in the line to a destination, and what it waits for.
 * The queue counts in portions; what it counts is told when the destination's part is over.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "smtpctl/show_explain_parts.h"

void
explain_line(struct show_explain *show, const struct ipc_destination *line)
{
	struct buf *buf = &show->output->buf;
	char error[REPLY_TEXT_MAX + 32] = "", time[32];

	if (line->reply.code != 0)
		reply_format(&line->reply, error, sizeof(error));
	if (explain_is_json(show)) {
		explain_begin(buf, "line");
		explain_text(buf, "to", line->to);
		explain_number(buf, "envelopes", line->queued);
		explain_number(buf, "in_flight", line->in_flight);
		explain_number(buf, "window", line->window);
		explain_number(buf, "failures", line->failures);
		explain_time(buf, "next_try", line->next_try);
		explain_text(buf, "error", error);
		explain_text(buf, "host", line->host);
		buf_add_text(buf, "}\n");
		return;
	}
	buf_printf(buf,
	    "queue: %" PRIu32 " envelopes in line, %" PRIu32
	    " messages are being sent of at most %" PRIu32 ": ",
	    line->queued, line->in_flight, line->window);
	explain_sentence(buf, "%s", line->to, NULL, NULL);
	if (line->next_try != 0) {
		clock_format_rfc5322(line->next_try, time, sizeof(time));
		buf_printf(buf,
		    "queue: not reached %" PRIu32 " times in a row: tried again at %s\n",
		    line->failures, time);
	}
	if (*error != '\0')
		explain_sentence(buf, "queue: what went wrong last: %s", error, NULL, NULL);
}

static const struct {
	const char *word;
	const char *sentence;
} stops[EXPLAIN_STOP_COUNT] = {
	[EXPLAIN_STOP_NOT] = { "nothing", "nothing: it is sent as soon as it comes" },
	[EXPLAIN_STOP_NO_RELAY] = { "no-relay", "the program relay, which is being started anew" },
	[EXPLAIN_STOP_PAUSED] = { "paused", "smtpctl resume mta" },
	[EXPLAIN_STOP_DOMAIN_PAUSED] = { "domain-paused", "smtpctl resume mta for this domain" },
	[EXPLAIN_STOP_PUT_OFF] = { "put-off",
	    "the next try, since the destination could not be reached" },
	[EXPLAIN_STOP_WINDOW] = { "window",
	    "others to be done: as many messages are being sent there as may be at once" },
};

static void
show_counts(struct buf *buf, const struct ipc_explain_queue *queue)
{
	char time[64];

	buf_printf(buf,
	    "queue: %" PRIu32 " envelopes go as soon as they may, %" PRIu32 " are being sent\n",
	    queue->ready, queue->in_flight);
	if (queue->waiting > 0) {
		clock_format_rfc5322(queue->next_try, time, sizeof(time));
		buf_printf(buf,
		    "queue: %" PRIu32 " envelopes wait for their next try, the first at %s\n",
		    queue->waiting, time);
	}
	if (queue->held > 0)
		buf_printf(buf,
		    "queue: %" PRIu32 " envelopes are held until they are released by smtpctl\n",
		    queue->held);
	if (queue->bouncing > 0)
		buf_printf(buf,
		    "queue: %" PRIu32 " envelopes are being returned to their senders\n",
		    queue->bouncing);
}

static void
show_stop(const struct show_explain *show)
{
	struct buf *buf = &show->output->buf;

	if (show->queue.stop != EXPLAIN_STOP_NOT || show->no_route == 0)
		buf_printf(buf, "mail to it waits for: %s\n", stops[show->queue.stop].sentence);
	else if (show->no_route < 500)
		buf_add_text(buf, "mail to it waits for: a mail server to be found\n");
	else
		buf_add_text(buf, "mail to it is returned to its sender\n");
}

void
explain_queue(struct show_explain *show)
{
	const struct ipc_explain_queue *queue = &show->queue;
	struct buf *buf = &show->output->buf;

	if (!show->has_queue)
		return;
	if (explain_is_json(show)) {
		explain_begin(buf, "queue");
		explain_text(buf, "waits_for", stops[queue->stop].word);
		explain_number(buf, "ready", queue->ready);
		explain_number(buf, "waiting", queue->waiting);
		explain_number(buf, "in_flight", queue->in_flight);
		explain_number(buf, "held", queue->held);
		explain_number(buf, "bouncing", queue->bouncing);
		explain_time(buf, "next_try", queue->next_try);
		buf_add_text(buf, "}\n");
	} else {
		if (show->has_line)
			show_counts(buf, queue);
		else
			buf_add_text(buf, "queue: nothing is queued for it\n");
		show_stop(show);
	}
	show->has_queue = show->has_line = false;
	show->no_route = 0;
	memset(&show->queue, 0, sizeof(show->queue));
}

void
explain_queue_add(struct show_explain *show, const struct ipc_explain_queue *portion)
{
	struct ipc_explain_queue *queue = &show->queue;

	show->has_queue = true;
	queue->stop = portion->stop;
	queue->ready += portion->ready;
	queue->waiting += portion->waiting;
	queue->in_flight += portion->in_flight;
	queue->held += portion->held;
	queue->bouncing += portion->bouncing;
	if (portion->next_try != 0 && (queue->next_try == 0 || portion->next_try < queue->next_try))
		queue->next_try = portion->next_try;
}
