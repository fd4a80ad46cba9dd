/*
 * A report's way: where does it go (the directory is asked, as for any recipient), the signature,
 * the commit. Each step leads to the next or ends it with a reply. It isn't bounced: its envelopes
 * ask for no notification, and go after a day (RFC 8460 5.5).
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "common/clock.h"
#include "common/crc32c.h"
#include "common/ipc_directory.h"
#include "common/log.h"
#include "common/memory_file.h"
#include "queue/commit.h"
#include "queue/intake.h"
#include "queue/mail.h"
#include "queue/report.h"
#include "queue/sign.h"

#define REPORTS_MAX 4 /* at once */
#define TARGETS_MAX 20
#define ASK_MS      30000
#define TTL         86400

enum report_state {
	REPORT_FREE,
	REPORT_ASKING,
	REPORT_SIGNING,
	REPORT_COMMITTING,
};

struct mail_report {
	struct question question; /* first: the directory's answer finds the report by it */
	enum report_state state;
	bool is_orphan; /* who brought it has gone */
	uint32_t request;
	uint32_t message_id;
	struct ipc_report what;
	struct ipc_target targets[TARGETS_MAX];
	size_t target_count;
	bool bad_target;
	struct buf text;
	struct signing signing;
};

/* No part of struct queue: nobody else looks at them. */
static struct mail_report reports[REPORTS_MAX];

static void
answer(struct queue *queue, uint32_t request, const struct reply *reply)
{
	if (queue->directory == NULL)
		return;
	buf_clear(&queue->payload);
	reply_encode(&queue->payload, reply);
	channel_send(queue->directory, DIRECTORY_REPORT_DONE, request, 0, -1, &queue->payload);
}

static void
end(struct queue *queue, struct mail_report *report, const struct reply *reply)
{
	if (!report->is_orphan)
		answer(queue, report->request, reply);
	sign_cancel(queue, &report->signing);
	buf_free(&report->text);
	report->state = REPORT_FREE;
}

static void
end_words(struct queue *queue, struct mail_report *report, unsigned code, const char *enhanced,
    const char *words)
{
	struct reply reply;

	reply_set(&reply, code, enhanced, "%s", words);
	end(queue, report, &reply);
}

static void
committed(struct queue *queue, struct commit_item *item, const struct reply *refusal)
{
	struct mail_report *report = item->owner;

	if (report == NULL)
		return;
	if (refusal != NULL)
		end(queue, report, refusal);
	else
		end_words(queue, report, 250, "2.0.0", "queued");
}

static void
encode_head(
    struct queue *queue, const struct mail_report *report, const struct buf *text, struct buf *head)
{
	struct transaction transaction = { .message_id = report->message_id,
		.created_us = clock_wall_us(),
		.client_family = CLIENT_INTERNAL,
		.sender = report->what.from,
		.tls_optional = true, /* as its header says */
		.size = text->length,
		.body_crc32c = crc32c(0, text->data, text->length) };

	strlcpy(transaction.client, "local", sizeof(transaction.client));
	strlcpy(transaction.helo, queue->config->hostname, sizeof(transaction.helo));
	mail_encode_targets(head, &transaction, false, report->targets, report->target_count,
	    &report->what.to, DSN_NOTIFY_NEVER, TTL);
	message_encode_effects(head, NULL, 0);
	message_encode_finish(head);
}

/* Stages it, behind the fields that sign it. */
static void
stage(struct queue *queue, struct mail_report *report, const char *signature)
{
	struct commit_item item = { .fd = -1, .file = -1, .done = committed, .owner = report };
	enum journal_result result;
	struct reply refusal;
	struct buf text, head;
	uint8_t *to;

	buf_init(&text, (size_t)2 * IPC_REPORT_SIZE);
	buf_init(&head, 256 * 1024);
	buf_add_text(&text, signature);
	buf_add(&text, report->text.data, report->text.length);
	encode_head(queue, report, &text, &head);
	if (!buf_ok(&text) || !buf_ok(&head))
		fatalx("out of memory");
	result =
	    journal_begin(queue->journal, JOURNAL_FIRST, head.length + text.length + 64, true, &to);
	if (result == JOURNAL_OK) {
		commit_write(queue, to, &head, text.data, text.length, &item);
		item.message_id = report->message_id;
		report->state = REPORT_COMMITTING;
		commit_message(queue, &item);
	}
	buf_free(&text);
	buf_free(&head);
	if (result != JOURNAL_OK) {
		commit_refusal(result, &refusal);
		end(queue, report, &refusal);
	}
}

static void
text_signed(struct queue *queue, struct signing *signing, const char *fields)
{
	struct mail_report *report =
	    (struct mail_report *)((char *)signing - offsetof(struct mail_report, signing));

	/* RFC 8460 3 */
	if (fields == NULL)
		end_words(queue, report, 451, "4.7.0", "the keeper doesn't sign it");
	else
		stage(queue, report, fields);
}

static void
answered(struct queue *queue, struct question *question, struct imsg *imsg)
{
	struct mail_report *report = (struct mail_report *)question;
	struct buf_reader reader;
	struct reply reply;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (imsg->type == DIRECTORY_TARGET) {
		if (report->target_count == TARGETS_MAX ||
		    !ipc_target_decode(&reader, &report->targets[report->target_count]) ||
		    !buf_reader_done(&reader))
			report->bad_target = true;
		else
			report->target_count++;
		return;
	}
	if (!reply_decode(&reader, &reply) || !buf_reader_done(&reader)) {
		end_words(queue, report, 451, "4.3.0", "the directory's answer is none");
		return;
	}
	if (!reply_is_success(&reply)) {
		end(queue, report, &reply);
		return;
	}
	if (report->bad_target || report->target_count == 0) {
		end_words(queue, report, 550, "5.1.1", "it leads to no mailbox, or to too many");
		return;
	}
	report->state = REPORT_SIGNING;
	report->signing.done = text_signed;
	if (!sign_begin(queue, &report->signing, report->message_id, &report->text))
		end_words(
		    queue, report, 550, "5.7.0", "there is no DKIM key of its author's domain");
}

static void
ask_failed(struct queue *queue, struct question *question, const char *why)
{
	end_words(queue, (struct mail_report *)question, 451, "4.3.0", why);
}

static void
begin(struct queue *queue, struct mail_report *report)
{
	struct ipc_rcpt rcpt = { .client_family = CLIENT_INTERNAL,
		.sender = report->what.from,
		.rcpt = report->what.to };

	strlcpy(rcpt.client_name, queue->config->hostname, sizeof(rcpt.client_name));
	strlcpy(rcpt.helo, queue->config->hostname, sizeof(rcpt.helo));
	report->state = REPORT_ASKING;
	report->is_orphan = report->bad_target = false;
	report->target_count = 0;
	report->message_id = intake_new_id(queue);
	report->question.answer = answered;
	report->question.failed = ask_failed;
	buf_clear(&queue->payload);
	ipc_rcpt_encode(&queue->payload, &rcpt);
	queue_ask_directory(queue, &report->question, DIRECTORY_RCPT, ASK_MS);
}

bool
report_receive(struct queue *queue, struct imsg *imsg)
{
	struct mail_report *report = NULL;
	struct buf_reader reader;
	struct ipc_report what;
	struct reply reply;
	uint8_t *text;
	size_t length;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (imsg->fd == -1 || !ipc_report_decode(&reader, &what))
		return false;
	for (size_t i = 0; i < REPORTS_MAX && report == NULL; i++)
		if (reports[i].state == REPORT_FREE)
			report = &reports[i];
	if (report == NULL || queue->phase != QUEUE_RUNNING) {
		reply_set(&reply, 451, "4.3.2", "too many at once");
		answer(queue, imsg->id, &reply);
		return true;
	}
	text = memory_file_read(imsg->fd, IPC_REPORT_SIZE, &length);
	if (text == NULL)
		return false;
	buf_init(&report->text, IPC_REPORT_SIZE);
	buf_add(&report->text, text, length);
	free(text);
	report->request = imsg->id;
	report->what = what;
	if (!buf_ok(&report->text))
		end_words(queue, report, 451, "4.3.0", "out of memory");
	else
		begin(queue, report);
	return true;
}

void
report_forget_asker(struct queue *queue)
{
	(void)queue;
	for (size_t i = 0; i < REPORTS_MAX; i++)
		if (reports[i].state != REPORT_FREE)
			reports[i].is_orphan = true;
}

void
report_close(struct queue *queue)
{
	for (size_t i = 0; i < REPORTS_MAX; i++) {
		sign_cancel(queue, &reports[i].signing);
		buf_free(&reports[i].text);
		reports[i].state = REPORT_FREE;
	}
}
