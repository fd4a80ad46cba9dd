/*
 * The steps of a job, one DSN in the making: it collects what happens to a message's envelopes
 * within a moment, asks the directory where its recipient's mail goes, has the DSN signed, and
 * commits it as one record together with the end of the envelopes that it reports. Until that is
 * durable they stay what they were, so that a crash at any point tells the sender once more and
 * never not at all.
 *
 * Only a bounded number of jobs asks or commits at once; the others wait their turn in order.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/stdlib.h>
#include <bsd/string.h>

#include "common/clock.h"
#include "common/header.h"
#include "common/log.h"
#include "common/stats.h"
#include "queue/bounce.h"
#include "queue/bounce_jobs.h"
#include "queue/commit.h"
#include "queue/history.h"
#include "queue/intake.h"
#include "queue/mail.h"
#include "queue/sign.h"

#define ACTIVE_MAX   64
#define ASK_MS       30000
#define RETRY_MS     5000
#define RETRY_MAX_MS (5 * 60 * 1000)
#define FULL_MAX     (512 * 1024)
#define HEADER_SIZE  (64 * 1024)
#define TARGETS_MAX  1000 /* of a DSN: it is one record */
#define ODD_MAX      5    /* answers of the directory that can't be understood */

/* A step of one that is made. */
static void
trace_job(const struct job *job, const char *event, const char *key, const char *value)
{
	char to[ADDRESS_TEXT_MAX + 1];
	struct log_line line;

	if (!log_trace_begin(&line, LOG_TRACE_BOUNCE, event))
		return;
	log_hex32(&line, "message", job->message_id);
	log_text(&line, "kind", dsn_kind_word(job->kind));
	address_format(&job->to, to, sizeof(to));
	log_text(&line, "to", to);
	log_number(&line, "recipients", (int64_t)job->member_count);
	log_text(&line, key, value);
	log_end(&line);
}

/* The job waits, and longer each time. */
static void
put_off(struct queue *queue, struct job *job, const char *why)
{
	int64_t pause = RETRY_MS;

	for (unsigned i = 0; i < job->failures && pause < RETRY_MAX_MS; i++)
		pause *= 2;
	job->failures++;
	if (job->state != JOB_COLLECTING)
		queue->bounces->active--;
	job->state = JOB_COLLECTING;
	buf_free(&job->text); /* it is made anew, as things are then */
	job->due_ms = clock_monotonic_ms() + pause;
	trace_job(job, "bounce-put-off", "reason", why);
	job_wake(queue, RETRY_MS);
}

static bool
is_success(enum dsn_kind kind)
{
	return kind == DSN_DELIVERED || kind == DSN_RELAYED;
}

/* Neither sender nor postmaster can be told: an administrator must look. */
static void
hold_all(struct queue *queue, struct job *job, const char *why)
{
	trace_job(job, "bounce-suppressed", "reason", why);
	for (size_t i = 0; i < job->member_count; i++) {
		struct entry *entry = index_find_entry(queue->index, job->members[i].envelope_id);

		if (entry == NULL || job->kind != DSN_FAILED)
			continue;
		log_error("envelope %016" PRIx64
		          " is held: it can't be delivered, and neither its sender nor the "
		          "postmaster can be told (%s): make the postmaster's address work, then "
		          "`smtpctl resume envelope`, or `smtpctl remove`",
		    entry_id(entry), why);
		entry->state = ENTRY_HELD;
		mail_update(queue, entry, &job->members[i].reply, job->members[i].host);
	}
	/* Successes that nobody can be told of. */
	for (size_t i = 0; i < job->member_count && is_success(job->kind);) {
		struct entry *entry = index_find_entry(queue->index, job->members[i].envelope_id);

		if (entry == NULL)
			i++;
		else
			mail_done(queue, entry, STATE_DELIVERED); /* leaves the job */
	}
	job_free(queue, job);
}

static void ask(struct queue *, struct job *);

/* Whoever is asked about can't be told, however often it is tried. */
static void
ask_next(struct queue *queue, struct job *job, const char *why)
{
	if (job->to_postmaster || job->kind != DSN_FAILED) {
		hold_all(queue, job, why);
		return;
	}
	job->to_postmaster = true;
	job->odd_answers = 0;
	ask(queue, job);
}

/* For a reason that an administrator can do away with. */
static void
give_up(struct queue *queue, struct job *job, const char *why, const char *what_to_do)
{
	char to[ADDRESS_TEXT_MAX + 1];

	address_format(&job->to, to, sizeof(to));
	log_warning("message %08" PRIx32 ": %s can't be told what became of it: %s; %s: %s",
	    job->message_id, to, why,
	    job->to_postmaster            ? "neither can the sender"
	        : job->kind == DSN_FAILED ? "the postmaster is told instead"
	                                  : "nobody is told instead",
	    what_to_do);
	ask_next(queue, job, why);
}

/* Committing. */

static void
log_sent(struct queue *queue, const struct job *job)
{
	struct message *message = index_find(queue->index, job->message_id);
	char to[ADDRESS_TEXT_MAX + 1];
	struct log_line line;

	log_begin(&line, LOG_LEVEL_INFO,
	    job->to_postmaster && job->kind != DSN_HELD ? "double-bounce" : "bounce-sent");
	log_hex32(&line, "message", job->message_id);
	log_hex32(&line, "bounce", job->dsn_id);
	log_text(&line, "kind", dsn_kind_word(job->kind));
	address_format(&job->to, to, sizeof(to));
	log_text(&line, "to", to);
	if (message != NULL)
		log_text(&line, "from", message->sender->text);
	log_number(&line, "recipients", (int64_t)job->member_count);
	log_end(&line);
}

static void
tell_history(struct queue *queue, const struct job *job)
{
	char to[ADDRESS_TEXT_MAX + 1];

	address_format(&job->to, to, sizeof(to));
	for (size_t i = 0; i < job->member_count; i++)
		history_notified(
		    queue, job->members[i].envelope_id, job->dsn_id, dsn_kind_word(job->kind), to);
}

static enum stats_key
counter_of(enum dsn_kind kind)
{
	switch (kind) {
	case DSN_FAILED:
		break;
	case DSN_DELAYED:
		return STATS_DSN_DELAYED;
	case DSN_DELIVERED:
	case DSN_RELAYED:
		return STATS_DSN_DELIVERED;
	case DSN_HELD:
		return STATS_DSN_HELD;
	}
	return STATS_DSN_FAILED;
}

static void
committed(struct queue *queue, struct commit_item *item, const struct reply *refusal)
{
	struct job *job = item->owner;
	size_t i;

	if (job == NULL)
		return;
	if (refusal != NULL) {
		put_off(queue, job, refusal->text);
		return;
	}
	stats_add(STATS_BOUNCE, 1);
	stats_add(counter_of(job->kind), 1);
	log_sent(queue, job);
	tell_history(queue, job);
	for (i = job->member_count; i > 0 && !job_is_notice(job);) {
		struct entry *entry =
		    index_find_entry(queue->index, job->members[i - 1].envelope_id);

		if (entry != NULL)
			mail_forget(queue, entry); /* leaves the job */
		i = i - 1 < job->member_count ? i - 1 : job->member_count;
	}
	job_free(queue, job);
}

/* The DSN first, then that it was sent: a crash between them warns twice and not never. The job may
 * be gone once the DSN is committed. */
static void
commit_warning(struct queue *queue, struct job *job, const struct commit_item *item)
{
	size_t count = job->member_count;
	bool of_held = job->kind == DSN_HELD;
	uint64_t *ids = calloc(count == 0 ? 1 : count, sizeof(*ids));
	struct entry *entry;

	if (ids == NULL)
		fatalx("out of memory");
	for (size_t i = 0; i < count; i++)
		ids[i] = job->members[i].envelope_id;
	commit_message(queue, item);
	for (size_t i = 0; i < count; i++) {
		entry = index_find_entry(queue->index, ids[i]);
		if (entry == NULL)
			continue;
		if (of_held)
			entry->limit = LIMIT_TOLD;
		mail_update(queue, entry, NULL, NULL);
	}
	free(ids);
}

/* Stages the DSN, behind the fields that sign it. */
static void
stage(struct queue *queue, struct job *job, const char *signature)
{
	struct report report;
	struct commit_item item = { .fd = -1, .file = -1, .done = committed, .owner = job };
	struct buf text, head;
	enum journal_result result = JOURNAL_TOO_LARGE;
	uint8_t *to;

	if (!report_load(queue, job, &report)) {
		report_unload(&report);
		put_off(queue, job, "its message can't be read");
		return;
	}
	buf_init(&text, 4 * 1024 * 1024);
	buf_init(&head, 4 * 1024 * 1024);
	buf_add_text(&text, signature);
	if (buf_ok(&job->text))
		buf_add(&text, job->text.data, job->text.length);
	/* A first begin makes sure that the effects' needs are noted in the segment that gets it.
	 */
	if (buf_ok(&job->text) && buf_ok(&text))
		result = journal_begin(queue->journal, JOURNAL_FIRST,
		    text.length + job->target_count * 3072 + job->member_count * 64 + 8192, true,
		    &to);
	if (result == JOURNAL_OK) {
		report_encode_head(queue, &report, &text, &head);
		if (!buf_ok(&head))
			fatalx("out of memory");
		commit_write(queue, to, &head, text.data, text.length, &item);
		item.message_id = job->dsn_id;
	}
	buf_free(&text);
	buf_free(&head);
	report_unload(&report);
	if (result == JOURNAL_TOO_LARGE) {
		give_up(queue, job,
		    "the report and the list of the mailboxes it goes to are larger than a segment "
		    "of the spool",
		    "set a larger \"queue segment-size\", or let its alias lead to fewer");
		return;
	}
	if (result != JOURNAL_OK) {
		put_off(queue, job, "the spool takes nothing now");
		return;
	}
	job->state = JOB_COMMITTING;
	buf_free(&job->text);
	trace_job(job, "bounce-created", "signature", *signature == '\0' ? "none" : "DKIM");
	if (job_is_notice(job))
		commit_warning(queue, job, &item);
	else
		commit_message(queue, &item);
}

static void
text_signed(struct queue *queue, struct signing *signing, const char *fields)
{
	struct job *job = (struct job *)((char *)signing - offsetof(struct job, signing));

	stage(queue, job, fields == NULL ? "" : fields);
}

/* Builds the DSN. Members that leave the job while it is signed are still told of. */
static void
build(struct queue *queue, struct job *job)
{
	struct report report;
	bool full;

	if (!report_load(queue, job, &report)) {
		report_unload(&report);
		put_off(queue, job, "its message can't be read");
		return;
	}
	buf_init(&job->text, 4 * 1024 * 1024);
	job->dsn_id = intake_new_id(queue);
	/* RFC 3461 4.3: the whole message only for failures, and only when asked for. RFC 8689 5:
	 * and not of one that needs TLS. */
	full = job->kind == DSN_FAILED && report.transaction.dsn_return == DSN_RETURN_FULL &&
	    report.transaction.size <= FULL_MAX && !report.transaction.require_tls;
	report_build(queue, &report, &job->text, full);
	report_unload(&report);
	trace_job(job, "bounce-built", "returns", full ? "the whole message" : "its header");
	job->state = JOB_SIGNING;
	job->signing.done = text_signed;
	if (!buf_ok(&job->text) || !sign_begin(queue, &job->signing, job->dsn_id, &job->text))
		stage(queue, job, "");
}

/* Where to. */

static void
answered(struct queue *queue, struct question *question, struct imsg *imsg)
{
	struct job *job = (struct job *)question;
	struct ipc_target *targets;
	struct buf_reader reader;
	struct reply reply;
	char text[REPLY_TEXT_MAX + 32];

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (imsg->type == DIRECTORY_TARGET) {
		targets = reallocarray(job->targets, job->target_count + 1, sizeof(*targets));
		if (targets == NULL)
			fatalx("out of memory");
		job->targets = targets;
		if (job->target_count == TARGETS_MAX)
			job->too_many = true;
		else if (ipc_target_decode(&reader, &targets[job->target_count]) &&
		    buf_reader_done(&reader))
			job->target_count++;
		else
			job->bad_target = true;
		return;
	}
	if (!reply_decode(&reader, &reply) || !buf_reader_done(&reader) || job->bad_target) {
		if (++job->odd_answers < ODD_MAX)
			put_off(queue, job, "the directory's answer can't be understood");
		else
			give_up(queue, job, "the directory's answers can't be understood",
			    "are all programs of the same version?");
		return;
	}
	job->odd_answers = 0;
	if (reply_is_temporary(&reply)) {
		put_off(queue, job, "the directory can't tell now");
		return;
	}
	if (reply_is_success(&reply) && job->too_many) {
		snprintf(
		    text, sizeof(text), "the address leads to more than %d mailboxes", TARGETS_MAX);
		give_up(queue, job, text, "let its alias lead to fewer");
		return;
	}
	if (reply_is_success(&reply) && job->target_count > 0) {
		build(queue, job);
		return;
	}
	reply_format(&reply, text, sizeof(text));
	ask_next(queue, job, text);
}

static void
ask_failed(struct queue *queue, struct question *question, const char *why)
{
	put_off(queue, (struct job *)question, why);
}

static void
ask(struct queue *queue, struct job *job)
{
	struct ipc_rcpt rcpt;

	if (job->to_postmaster)
		report_get_postmaster(queue, &job->to);
	job->target_count = 0;
	job->bad_target = job->too_many = false;
	memset(&rcpt, 0, sizeof(rcpt));
	rcpt.client_family = CLIENT_INTERNAL;
	strlcpy(rcpt.client_name, queue->config->hostname, sizeof(rcpt.client_name));
	strlcpy(rcpt.helo, queue->config->hostname, sizeof(rcpt.helo));
	rcpt.rcpt = job->to;
	job->question.answer = answered;
	job->question.failed = ask_failed;
	trace_job(job, "bounce-asks", "for", job->to_postmaster ? "the postmaster" : "the sender");
	buf_clear(&queue->payload);
	ipc_rcpt_encode(&queue->payload, &rcpt);
	queue_ask_directory(queue, &job->question, DIRECTORY_RCPT, ASK_MS);
}

static bool
is_automatic(struct queue *queue, const struct job *job)
{
	struct message *message = index_find(queue->index, job->message_id);
	char *text = malloc(HEADER_SIZE);
	ssize_t length;
	bool found;

	if (text == NULL)
		fatalx("out of memory");
	length = mail_read(queue, message, text, HEADER_SIZE);
	found = length > 0 && header_is_automatic(text, (size_t)length);
	free(text);
	return found;
}

/* Nobody waits for mail that a list or a program has sent, and whoever gets its warnings did not
 * write it (RFC 3834 2): unless NOTIFY asks for them, there are none. */
static void
keep_those_who_asked(struct queue *queue, struct job *job, const struct report *report)
{
	size_t kept = 0;

	for (size_t i = 0; i < job->member_count; i++) {
		if (report->found[i] && report->envelopes[i].dsn_notify != 0)
			job->members[kept++] = job->members[i];
	}
	queue->bounces->member_count -= job->member_count - kept;
	job->member_count = kept;
}

/* A job whose time has come. */
static void
begin(struct queue *queue, struct job *job)
{
	struct report report;
	bool ok;

	job->closed = true;
	if (job->member_count == 0) {
		job_free(queue, job);
		return;
	}
	ok = report_load(queue, job, &report);
	if (ok && job->kind == DSN_DELAYED && is_automatic(queue, job))
		keep_those_who_asked(queue, job, &report);
	report_unload(&report);
	if (!ok) {
		put_off(queue, job, "its message can't be read");
		return;
	}
	if (job->member_count == 0) {
		trace_job(job, "bounce-suppressed", "reason", "nobody wrote its message");
		job_free(queue, job);
		return;
	}
	job->state = JOB_ASKING;
	queue->bounces->active++;
	if (job->kind == DSN_HELD)
		job->to_postmaster = true;
	else if (address_is_null(&report.transaction.sender)) {
		/* Mail without a sender that the postmaster himself doesn't get ends here: a
		 * report of it would go the same way (RFC 5321 6.1, 4.5.5). */
		if (report.failed_to_postmaster) {
			hold_all(queue, job, "it is itself mail for the postmaster");
			return;
		}
		job->to_postmaster = true;
	} else
		job->to = report.transaction.sender;
	ask(queue, job);
}

void
bounce_tick(struct queue *queue)
{
	int64_t now = clock_monotonic_ms();
	struct job *job, *next;
	bool more = false;

	/* There is no directory yet to ask; the first tick comes with the start. */
	if (queue->phase == QUEUE_READY)
		return;
	for (job = queue->bounces->first; job != NULL; job = next) {
		next = job->next;
		if (job->state != JOB_COLLECTING)
			continue;
		more = true;
		if (queue->bounces->active >= ACTIVE_MAX)
			break;
		if (job->due_ms <= now)
			begin(queue, job);
	}
	if (more)
		job_wake(queue, COLLECT_MS);
}
