/* One question for a line at a time, however much mail waits in it. */
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "queue/delivery.h"
#include "queue/mail.h"
#include "queue/mailbox.h"

#define DEADLINE_MS 10000
#define PAUSE_MS    1000

struct mailbox_question {
	struct question question;
	struct line *line; /* stays while it is asked for */
	int64_t asked_ms;
};

static void
trace_answer(const struct mailbox_question *asked, const char *result)
{
	struct log_line line;

	if (!log_trace_begin(&line, LOG_TRACE_LOOKUP, "mailbox-looked-up"))
		return;
	log_text(&line, "to", asked->line->text);
	log_text(&line, "action", asked->line->action);
	log_text(&line, "result", result);
	log_number(&line, "time_ms", clock_monotonic_ms() - asked->asked_ms);
	log_end(&line);
}

static void
answered(struct queue *queue, struct question *question, struct imsg *imsg)
{
	struct mailbox_question *asked = (struct mailbox_question *)question;
	struct line *line = asked->line;
	struct ipc_mailbox *mailbox = calloc(1, sizeof(*mailbox));
	struct buf_reader reader;
	struct reply reply;

	if (mailbox == NULL)
		fatalx("out of memory");
	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (imsg->type != DIRECTORY_MAILBOX_DONE || !ipc_mailbox_decode(&reader, mailbox) ||
	    !buf_reader_done(&reader)) {
		trace_answer(asked, "not an answer");
		free(asked);
		free(mailbox);
		line->route = ROUTE_PAUSED;
		line->route_ms = clock_monotonic_ms() + PAUSE_MS;
		channel_reject(queue->directory, imsg, "bad answer about a mailbox");
		return;
	}
	trace_answer(
	    asked, reply_is_success(&mailbox->reply) ? mailbox->path : mailbox->reply.text);
	free(asked);
	if (reply_is_success(&mailbox->reply)) {
		free(line->mailbox);
		line->mailbox = mailbox;
		line->route = ROUTE_KNOWN;
		line->route_ms = clock_monotonic_ms() + MAILBOX_KNOWN_MS;
		delivery_line_routed(queue, line);
		return;
	}
	line->route = ROUTE_UNKNOWN;
	line->route_ms = 0;
	reply = mailbox->reply;
	free(mailbox);
	delivery_line_refused(queue, line, &reply);
}

static void
failed(struct queue *queue, struct question *question, const char *why)
{
	struct mailbox_question *asked = (struct mailbox_question *)question;

	(void)queue;
	trace_answer(asked, why);
	asked->line->route = ROUTE_PAUSED;
	asked->line->route_ms = clock_monotonic_ms() + PAUSE_MS;
	free(asked);
}

static void
ask(struct queue *queue, struct line *line)
{
	struct ipc_mailbox_request request;
	struct mailbox_question *question;
	struct transaction transaction;
	struct envelope envelope;
	struct entry *entry = scheduler_first(line);

	if (entry == NULL)
		return;
	if (!mail_load(queue, entry, &transaction, &envelope)) {
		delivery_unreadable(queue, entry);
		return;
	}
	question = calloc(1, sizeof(*question));
	if (question == NULL)
		fatalx("out of memory");
	question->question.answer = answered;
	question->question.failed = failed;
	question->line = line;
	question->asked_ms = clock_monotonic_ms();
	memset(&request, 0, sizeof(request));
	request.kind = envelope.kind;
	request.dest = envelope.dest;
	memcpy(request.action, envelope.action, sizeof(request.action));
	buf_clear(&queue->payload);
	ipc_mailbox_request_encode(&queue->payload, &request);
	line->route = ROUTE_ASKED;
	queue_ask_directory(queue, &question->question, DIRECTORY_MAILBOX, DEADLINE_MS);
}

bool
mailbox_is_known(struct queue *queue, struct line *line)
{
	int64_t now = clock_monotonic_ms();

	switch (line->route) {
	case ROUTE_KNOWN:
		if (now < line->route_ms)
			return true;
		break;
	case ROUTE_ASKED:
		return false;
	case ROUTE_PAUSED:
		if (now < line->route_ms)
			return false;
		break;
	case ROUTE_UNKNOWN:
		break;
	}
	ask(queue, line);
	return false;
}

static void
forget(struct line *line, void *arg)
{
	(void)arg;
	if (line->route == ROUTE_KNOWN)
		line->route_ms = 0;
}

void
mailbox_forget_all(struct queue *queue)
{
	scheduler_each_line(queue->scheduler, forget, NULL);
}
