/*
 * What happens to envelopes, and whether somebody is told: if so it becomes a member of a job
 * (bounce_jobs.h), which the steps of bounce_steps.c make a DSN of.
 */
#include <inttypes.h>
#include <string.h>

#include <bsd/string.h>

#include "common/clock.h"
#include "common/log.h"
#include "queue/bounce.h"
#include "queue/bounce_jobs.h"
#include "queue/commit.h"
#include "queue/mail.h"
#include "queue/retry.h"

#define TOLD_MS (60 * 60 * 1000)

/* RFC 3461 4.1: without NOTIFY failures are told, and delays may be. */
static bool
wants(const struct entry *entry, uint8_t what)
{
	return entry->notify == 0 ? what != DSN_NOTIFY_SUCCESS : (entry->notify & what) != 0;
}

static bool
from_null_sender(struct entry *entry)
{
	return *entry_message(entry)->sender->text == '\0';
}

/* A bounce that might be: whether it will be, or why not. */
static void
trace_considered(struct entry *entry, enum dsn_kind kind, const char *suppressed_by)
{
	struct log_line line;

	if (!log_trace_begin(&line, LOG_TRACE_BOUNCE, "bounce-considered"))
		return;
	log_hex32(&line, "message", entry_message(entry)->id);
	log_hex64(&line, "envelope", entry_id(entry));
	log_text(&line, "kind", dsn_kind_word(kind));
	log_text(&line, "from", entry_message(entry)->sender->text);
	log_text(&line, "result", suppressed_by == NULL ? "wanted" : "suppressed");
	if (suppressed_by != NULL)
		log_text(&line, "reason", suppressed_by);
	log_end(&line);
}

void
bounce_failed(struct queue *queue, struct entry *entry, const struct reply *reply, const char *host,
    enum state_change change)
{
	struct member member = { .envelope_id = entry_id(entry), .change = change };

	scheduler_unset(queue->scheduler, entry);
	trace_considered(entry, DSN_FAILED,
	    wants(entry, DSN_NOTIFY_FAILURE) ? NULL : "NOTIFY doesn't ask for failures");
	if (!wants(entry, DSN_NOTIFY_FAILURE)) {
		log_info("envelope %016" PRIx64 ": its sender asked not to be told of the failure",
		    entry_id(entry));
		mail_done(queue, entry, change);
		return;
	}
	entry->state = ENTRY_BOUNCING;
	member.reply = *reply;
	strlcpy(member.host, host, sizeof(member.host));
	job_add_member(queue, entry, DSN_FAILED, &member);
}

static enum dsn_kind
success_kind(const struct entry *entry)
{
	return entry->kind == ENVELOPE_RELAY ? DSN_RELAYED : DSN_DELIVERED;
}

/* A second delivery would find the first and change nothing. */
static bool
is_found_again(const struct entry *entry)
{
	return entry->kind == ENVELOPE_MAILDIR && entry->line->mailbox != NULL &&
	    entry->line->mailbox->form == MAILBOX_MAILDIR;
}

bool
bounce_succeeded(
    struct queue *queue, struct entry *entry, const struct reply *reply, const char *host)
{
	trace_considered(
	    entry, success_kind(entry), from_null_sender(entry) ? "it has no sender" : NULL);
	if (from_null_sender(entry))
		return false;
	bounce_owed(queue, entry, reply, host);
	/* After a crash the report is still made, and the delivery not made again. */
	mail_update(queue, entry, reply, host);
	commit_states(queue, is_found_again(entry) ? COMMIT_LATER : COMMIT_NOW);
	return true;
}

void
bounce_owed(struct queue *queue, struct entry *entry, const struct reply *reply, const char *host)
{
	struct member member = { .envelope_id = entry_id(entry), .change = STATE_DELIVERED };

	entry->state = ENTRY_BOUNCING;
	if (bounce_is_full(queue)) {
		scheduler_watch(queue->scheduler, entry, retry_now() + BOUNCE_WAIT);
		return;
	}
	member.reply = *reply;
	strlcpy(member.host, host, sizeof(member.host));
	job_add_member(queue, entry, success_kind(entry), &member);
}

void
bounce_warn(struct queue *queue, struct entry *entry, uint32_t warnings)
{
	struct member member = { .envelope_id = entry_id(entry), .warnings = warnings };

	entry->warned = warnings > UINT8_MAX ? UINT8_MAX : (uint8_t)warnings;
	trace_considered(entry, DSN_DELAYED,
	    from_null_sender(entry)               ? "it has no sender"
	        : !wants(entry, DSN_NOTIFY_DELAY) ? "NOTIFY doesn't ask for delays"
	                                          : NULL);
	if (from_null_sender(entry) || !wants(entry, DSN_NOTIFY_DELAY))
		return;
	job_add_member(queue, entry, DSN_DELAYED, &member);
}

/* Whether it was told of this sender within an hour before; then it is, from `now_ms` on. Whoever
 * comes to be the oldest of many is forgotten. */
static bool
was_told(struct bounces *bounces, const char *sender, int64_t now_ms)
{
	struct told *told = bounces->told;

	for (size_t i = 0; i < TOLD_COUNT; i++) {
		if (told[i].is_used && now_ms - told[i].told_ms < TOLD_MS &&
		    strcmp(told[i].sender, sender) == 0)
			return true;
	}
	told += bounces->told_next;
	strlcpy(told->sender, sender, sizeof(told->sender));
	told->told_ms = now_ms;
	told->is_used = true;
	bounces->told_next = (bounces->told_next + 1) % TOLD_COUNT;
	return false;
}

/* After a restart it is as when the mail came: in the same order, each at its time. */
void
bounce_held(struct queue *queue, struct entry *entry)
{
	struct member member = { .envelope_id = entry_id(entry) };
	struct message *message = entry_message(entry);
	int64_t came_ms = clock_monotonic_ms() - mail_age(queue, message) * 1000;
	bool told = was_told(queue->bounces, message->sender->text, came_ms);

	if (entry->limit == LIMIT_TOLD)
		return;
	trace_considered(entry, DSN_HELD, told ? "it was told of this sender lately" : NULL);
	if (!told)
		job_add_member(queue, entry, DSN_HELD, &member);
}

void
bounce_forget(struct queue *queue, struct entry *entry)
{
	uint64_t id = entry_id(entry);
	struct job *job;

	for (job = *bounce_bucket(queue->bounces, envelope_id_message(id)); job != NULL;
	     job = job->hash_next) {
		if (job->message_id != envelope_id_message(id))
			continue;
		for (size_t i = 0; i < job->member_count; i++) {
			/* A job without members ends at its next step. */
			if (job->members[i].envelope_id != id)
				continue;
			if (job->state == JOB_COLLECTING)
				trace_considered(entry, job->kind, "its envelope is gone");
			job->members[i--] = job->members[--job->member_count];
			queue->bounces->member_count--;
		}
	}
}
