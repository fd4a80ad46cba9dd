/*
 * From a line with work to what came of it.
 *
 * Nothing here waits: lines that can't be served now stand in no ring, and whatever they wait for
 * (an answer, a free mda, a window) puts them into one again. Results change the envelope's state
 * through mail.c or hand it to bounce.c.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/stats.h"
#include "queue/bounce.h"
#include "queue/delivery.h"
#include "queue/history.h"
#include "queue/mail.h"
#include "queue/mailbox.h"
#include "queue/mda.h"
#include "queue/relay.h"
#include "queue/relay_memory.h"
#include "queue/retry.h"

#define BROKEN_OFF_MAX 3    /* times an envelope's mda may die before it is put off */
#define DUE_MAX        512  /* envelopes looked at in one turn */
#define REFUSED_MAX    2000 /* envelopes of a line that is refused, in one turn */

static bool
may_run(const struct queue *queue, const struct line *line)
{
	if (queue->phase != QUEUE_RUNNING)
		return false;
	return line->kind == ENVELOPE_RELAY ? relay_may_run(queue, line)
	                                    : !queue->mda_paused && line_may_run(line);
}

/* Why nothing of a line is tried now. */
static void
trace_stopped(const struct queue *queue, const struct line *line)
{
	struct log_line text;

	if (line->waiting == 0 || !log_trace_begin(&text, LOG_TRACE_SCHEDULER, "scheduler-stopped"))
		return;
	log_text(&text, "to", line->text);
	log_number(&text, "waiting", line->waiting);
	log_text(&text, "reason",
	    queue->phase != QUEUE_RUNNING      ? "the queue isn't running"
	        : line->kind == ENVELOPE_RELAY ? relay_stop_words(relay_line_stop(queue, line))
	        : queue->mda_paused            ? "pause mda"
	                                       : "as many are in flight as the window allows");
	log_end(&text);
}

void
delivery_line_ready(struct queue *queue, struct line *line)
{
	if (!may_run(queue, line)) {
		trace_stopped(queue, line);
		return;
	}
	if (line->ring != NULL)
		return;
	if (line->kind == ENVELOPE_RELAY) {
		relay_add_line(queue, line);
		queue_run_soon(queue);
	} else if (mailbox_is_known(queue, line))
		delivery_line_routed(queue, line);
}

void
delivery_line_routed(struct queue *queue, struct line *line)
{
	if (!may_run(queue, line))
		return;
	mda_add_line(queue, line);
	queue_run_soon(queue);
}

void
delivery_line_refused(struct queue *queue, struct line *line, const struct reply *reply)
{
	struct entry *entry;
	uint32_t count = line->waiting < REFUSED_MAX ? line->waiting : REFUSED_MAX;

	while (count-- > 0 && (entry = scheduler_take_any(queue->scheduler, line)) != NULL)
		delivery_failed(queue, entry, reply, "");
}

static void
look_at_line(struct line *line, void *arg)
{
	if (line->waiting > 0)
		delivery_line_ready(arg, line);
}

void
delivery_look_again(struct queue *queue)
{
	if (scheduler_waiting(queue->scheduler) > 0)
		scheduler_each_line(queue->scheduler, look_at_line, queue);
	queue_run_soon(queue);
}

void
delivery_run(struct queue *queue)
{
	mda_run(queue);
	relay_run(queue);
}

/* In all, and of those here or to other hosts. */
static void
count(const struct entry *entry, enum stats_key all, enum stats_key here, enum stats_key elsewhere)
{
	stats_add(all, 1);
	stats_add(entry->kind == ENVELOPE_RELAY ? elsewhere : here, 1);
}

static void
count_delivered(const struct transaction *transaction, enum stats_key bytes, int64_t delay_ms)
{
	stats_add(bytes, (int64_t)transaction->size);
	stats_add_duration(STATS_DELIVERING, delay_ms);
}

/* Log lines. */

static void
begin_line(struct log_line *line, enum log_level level, const char *event, struct entry *entry,
    const struct transaction *transaction, const struct envelope *envelope)
{
	char text[ADDRESS_TEXT_MAX + 1];

	log_begin(line, level, event);
	log_hex32(line, "message", entry_message(entry)->id);
	log_hex64(line, "envelope", entry_id(entry));
	if (transaction == NULL)
		return;
	address_format(&transaction->sender, text, sizeof(text));
	log_text(line, "from", text);
	address_format(&envelope->dest, text, sizeof(text));
	log_text(line, "to", text);
	if (!address_equal(&envelope->dest, &envelope->rcpt)) {
		address_format(&envelope->rcpt, text, sizeof(text));
		log_text(line, "rcpt", text);
	}
}

static void
log_reply(struct log_line *line, const struct reply *reply)
{
	char text[REPLY_TEXT_MAX + 32];

	reply_format(reply, text, sizeof(text));
	log_text(line, "reply", text);
}

/* Its path as far as it is known. */
static void
format_place(const struct ipc_delivered *result, char *text, size_t size)
{
	snprintf(text, size, "%s%s%s", result->place,
	    *result->place != '\0' && *result->file != '\0' ? "/" : "", result->file);
}

static void
log_delivered(struct queue *queue, struct entry *entry, const struct ipc_delivered *result,
    const char *user, int64_t started_ms)
{
	struct transaction transaction;
	struct envelope envelope;
	struct log_line line;
	bool loaded = mail_load(queue, entry, &transaction, &envelope);
	char place[sizeof(result->place) + sizeof(result->file) + 8];
	int64_t delay_ms;

	format_place(result, place, sizeof(place));

	begin_line(
	    &line, LOG_LEVEL_INFO, "delivered", entry, loaded ? &transaction : NULL, &envelope);
	log_text(&line, "user", user);
	if (*place == '|')
		log_text(&line, "command", place + 1);
	else if (*place != '\0')
		log_text(&line, "file", place);
	if (result->was_there)
		log_text(&line, "note", "already there");
	else if (*place == '\0')
		log_text(&line, "note", result->reply.text);
	log_number(&line, "tries", entry->tries);
	log_number(&line, "delivery_ms", clock_monotonic_ms() - started_ms);
	if (loaded) {
		delay_ms = (clock_wall_us() - transaction.created_us) / 1000;
		log_number(&line, "delay_ms", delay_ms);
		count_delivered(&transaction, STATS_MDA_BYTES, delay_ms);
	}
	log_end(&line);
	history_delivered(queue, entry, &transaction, loaded ? &envelope : NULL, &result->reply,
	    user, place, clock_monotonic_ms() - started_ms);
}

static void
log_relayed(struct queue *queue, struct entry *entry, const struct ipc_relay_result *result,
    int64_t started_ms)
{
	struct transaction transaction;
	struct envelope envelope;
	struct log_line line;
	bool loaded = mail_load(queue, entry, &transaction, &envelope);
	int64_t delay_ms;

	begin_line(
	    &line, LOG_LEVEL_INFO, "delivered", entry, loaded ? &transaction : NULL, &envelope);
	log_text(&line, "host", result->host);
	log_text(&line, "address", result->address);
	if (*result->tls != '\0')
		log_text(&line, "tls", result->tls);
	log_reply(&line, &result->reply);
	log_number(&line, "tries", entry->tries);
	log_number(&line, "delivery_ms", clock_monotonic_ms() - started_ms);
	if (loaded) {
		delay_ms = (clock_wall_us() - transaction.created_us) / 1000;
		log_number(&line, "delay_ms", delay_ms);
		count_delivered(&transaction, STATS_MTA_BYTES, delay_ms);
	}
	log_end(&line);
	history_relayed(queue, entry, &transaction, loaded ? &envelope : NULL, result,
	    clock_monotonic_ms() - started_ms);
}

/* What a try has ended with; of what isn't known "". */
struct refusal {
	const struct reply *reply;
	const char *host; /* whose reply that is */
	const char *address;
	const char *tls;
};

static void
log_failure(
    struct queue *queue, enum history_kind kind, struct entry *entry, const struct refusal *refusal)
{
	const char *event = kind == HISTORY_DEFERRED ? "delivery-deferred"
	    : kind == HISTORY_EXPIRED                ? "delivery-expired"
	                                             : "delivery-failed";
	struct transaction transaction;
	struct envelope envelope;
	struct log_line line;
	bool loaded = mail_load(queue, entry, &transaction, &envelope);

	begin_line(&line, LOG_LEVEL_INFO, event, entry, loaded ? &transaction : NULL, &envelope);
	if (*refusal->host != '\0')
		log_text(&line, "host", refusal->host);
	if (*refusal->address != '\0')
		log_text(&line, "address", refusal->address);
	if (*refusal->tls != '\0')
		log_text(&line, "tls", refusal->tls);
	log_reply(&line, refusal->reply);
	log_number(&line, "tries", entry->tries);
	if (entry->state == ENTRY_WAITING)
		log_number(&line, "next_try", (int64_t)entry->next_try - (int64_t)retry_now());
	log_end(&line);
	history_failed(queue, kind, entry, &transaction, loaded ? &envelope : NULL, refusal->reply,
	    refusal->host, refusal->address, refusal->tls);
}

/* Results. */

/* What a message's recipients have in common, so that those that fail together are tried together
 * again; other messages differ in it (MurmurHash3's last step). */
static uint32_t
jitter(struct entry *entry)
{
	uint32_t hash = entry_message(entry)->id + entry->tries * 0x9e3779b9U;

	hash = (hash ^ hash >> 16) * 0x85ebca6bU;
	hash = (hash ^ hash >> 13) * 0xc2b2ae35U;
	return hash ^ hash >> 16;
}

/* Waits in the heap while as much is being told as memory is kept for. */
static void
wait_to_be_told(struct queue *queue, struct entry *entry)
{
	uint32_t due = retry_now() + BOUNCE_WAIT;

	if (entry->state == ENTRY_READY || entry->state == ENTRY_BOUNCING)
		scheduler_watch(queue->scheduler, entry, due);
	else
		scheduler_wait(queue->scheduler, entry, due);
}

static void
expire_in_turn(struct queue *queue, struct entry *entry)
{
	if (bounce_is_full(queue))
		wait_to_be_told(queue, entry);
	else
		delivery_expire(queue, entry);
}

static void
defer(struct queue *queue, struct entry *entry, const struct refusal *refusal)
{
	const struct config *config = queue->config;
	struct message *message = entry_message(entry);
	uint32_t due;

	count(entry, STATS_DELIVERY_TEMPFAIL, STATS_MDA_TEMPFAIL, STATS_MTA_TEMPFAIL);
	mail_drop_first_try(message);
	entry->next_try = retry_now() +
	    retry_delay(
	        entry->tries, config->queue_retry_first, config->queue_retry_max, jitter(entry));
	if (entry->after == AFTER_HOLD) {
		entry->after = AFTER_NOTHING;
		scheduler_unset(queue->scheduler, entry);
		entry->state = ENTRY_HELD;
		mail_update(queue, entry, refusal->reply, refusal->host);
		log_failure(queue, HISTORY_DEFERRED, entry, refusal);
		return;
	}
	if (retry_now() >= entry->expires || entry->after == AFTER_EXPIRE) {
		mail_update(queue, entry, refusal->reply, refusal->host);
		expire_in_turn(queue, entry);
		return;
	}
	mail_wait(queue, entry);
	mail_update(queue, entry, refusal->reply, refusal->host);
	log_failure(queue, HISTORY_DEFERRED, entry, refusal);
	due = retry_warnings_due(
	    mail_age(queue, message), config->bounce_warn, config->bounce_warn_count);
	/* Else it is found due for that once more. */
	if (due > entry->warned && !bounce_is_full(queue))
		bounce_warn(queue, entry, due);
}

/* It ends by the reply that is recorded of it, as one that expires now. */
static void
fail_in_turn(struct queue *queue, struct entry *entry, const struct reply *reply, const char *host)
{
	if (!bounce_is_full(queue)) {
		bounce_failed(queue, entry, reply, host, STATE_BOUNCED);
		return;
	}
	entry->expires = retry_now();
	entry->after = AFTER_EXPIRE;
	scheduler_wait(queue->scheduler, entry, retry_now() + BOUNCE_WAIT);
	mail_update(queue, entry, reply, host);
}

static void
fail(struct queue *queue, struct entry *entry, const struct refusal *refusal)
{
	entry->tries++;
	entry->last_try = (uint32_t)clock_wall();
	if (entry->after == AFTER_REMOVE) {
		stats_add(STATS_ENVELOPE_REMOVED, 1);
		mail_done(queue, entry, STATE_REMOVED);
		return;
	}
	/* Anything unclear is tried again. */
	if (!reply_is_permanent(refusal->reply)) {
		defer(queue, entry, refusal);
		return;
	}
	count(entry, STATS_DELIVERY_PERMFAIL, STATS_MDA_PERMFAIL, STATS_MTA_PERMFAIL);
	scheduler_unset(queue->scheduler, entry);
	log_failure(queue, HISTORY_FAILED, entry, refusal);
	fail_in_turn(queue, entry, refusal->reply, refusal->host);
}

void
delivery_failed(
    struct queue *queue, struct entry *entry, const struct reply *reply, const char *host)
{
	fail(queue, entry, &(struct refusal){ reply, host, "", "" });
}

void
delivery_expire(struct queue *queue, struct entry *entry)
{
	struct transaction transaction;
	struct envelope envelope;
	struct reply reply;
	const char *host = "";
	bool loaded = mail_load(queue, entry, &transaction, &envelope);

	scheduler_unset(queue->scheduler, entry);
	/* It failed for good before, and waited to be told of. */
	if (loaded && reply_is_permanent(&envelope.last_reply)) {
		bounce_failed(
		    queue, entry, &envelope.last_reply, envelope.last_host, STATE_BOUNCED);
		return;
	}
	stats_add(STATS_ENVELOPE_EXPIRED, 1);
	/* RFC 3463 3.5: X.4.7 delivery time expired */
	reply_set(&reply, 554, "5.4.7", "Could not be delivered in time");
	if (loaded && envelope.last_reply.code != 0) {
		host = envelope.last_host;
		reply_set(&reply, 554, "5.4.7",
		    "Could not be delivered in time; the last answer was: %u %s%s%s",
		    envelope.last_reply.code, envelope.last_reply.enhanced,
		    *envelope.last_reply.enhanced != '\0' ? " " : "", envelope.last_reply.text);
	}
	log_failure(queue, HISTORY_EXPIRED, entry, &(struct refusal){ &reply, host, "", "" });
	bounce_failed(queue, entry, &reply, host, STATE_EXPIRED);
}

void
delivery_unreadable(struct queue *queue, struct entry *entry)
{
	log_error("envelope %016" PRIx64 " is held: its record in the spool can't be read",
	    entry_id(entry));
	scheduler_unset(queue->scheduler, entry);
	entry->state = ENTRY_HELD;
}

/* It isn't in flight any more. */
static void
land(struct queue *queue)
{
	queue->in_flight--;
	stats_set(STATS_SCHEDULER_INFLIGHT, (int64_t)queue->in_flight);
}

void
delivery_ended(struct queue *queue, struct entry *entry, const struct ipc_delivered *result,
    const char *user, int64_t started_ms)
{
	struct line *line = entry->line;

	land(queue);
	entry->maybe_delivered = false;
	entry->broken_off = 0;
	if (reply_is_success(&result->reply)) {
		scheduler_done(line, LINE_SUCCESS);
		count(entry, STATS_DELIVERY_OK, STATS_MDA_OK, STATS_MTA_OK);
		entry->tries++;
		log_delivered(queue, entry, result, user, started_ms);
		if ((entry->notify & DSN_NOTIFY_SUCCESS) == 0 ||
		    !bounce_succeeded(queue, entry, &result->reply, ""))
			mail_done(queue, entry, STATE_DELIVERED);
	} else {
		scheduler_done(
		    line, reply_is_temporary(&result->reply) ? LINE_FAILURE : LINE_NEUTRAL);
		delivery_failed(queue, entry, &result->reply, "");
	}
	delivery_line_ready(queue, line);
}

void
delivery_relayed(struct queue *queue, struct entry *entry, const struct ipc_relay_result *result,
    int64_t started_ms)
{
	land(queue);
	entry->maybe_delivered = false;
	entry->broken_off = 0;
	if (!reply_is_success(&result->reply)) {
		fail(queue, entry,
		    result->remote ? &(struct refusal){ &result->reply, result->host,
		                         result->address, result->tls }
		                   : &(struct refusal){ &result->reply, "", "", "" });
		return;
	}
	count(entry, STATS_DELIVERY_OK, STATS_MDA_OK, STATS_MTA_OK);
	if (*result->tls != '\0')
		stats_add(STATS_MTA_TLS, 1);
	entry->tries++;
	log_relayed(queue, entry, result, started_ms);
	/* RFC 3461 5.2.2: the sender hears from us unless the next host reports itself. */
	if ((entry->notify & DSN_NOTIFY_SUCCESS) == 0 || result->dsn_taken ||
	    !bounce_succeeded(queue, entry, &result->reply, result->host))
		mail_done(queue, entry, STATE_DELIVERED);
}

void
delivery_given_back(struct queue *queue, struct entry *entry)
{
	struct reply reply;

	land(queue);
	if (entry->after != AFTER_NOTHING) {
		reply_set(&reply, 451, "4.3.0", "The delivery was not begun, trying again later");
		delivery_failed(queue, entry, &reply, "");
	} else
		mail_ready(queue, entry);
}

void
delivery_broken_off(struct queue *queue, struct entry *entry)
{
	struct reply reply;

	land(queue);
	entry->maybe_delivered = true;
	if (++entry->broken_off >= BROKEN_OFF_MAX || entry->after != AFTER_NOTHING) {
		entry->broken_off = 0;
		reply_set(&reply, 451, "4.3.0", "The delivery was broken off, trying again later");
		delivery_failed(queue, entry, &reply, "");
	} else
		mail_ready(queue, entry);
}

/* What was left by an earlier run may be delivered already, and is tried by this one at least once:
 * when that fails, too, it expires. To another host that would take as many tries as there are
 * messages, of which none gets through while it is down. */
static bool
may_expire(const struct entry *entry)
{
	return !entry->maybe_delivered || entry->kind == ENVELOPE_RELAY ||
	    entry->after == AFTER_EXPIRE;
}

void
delivery_owed(struct queue *queue, struct entry *entry)
{
	struct transaction transaction;
	struct envelope envelope;

	if (bounce_is_full(queue))
		wait_to_be_told(queue, entry);
	else if (mail_load(queue, entry, &transaction, &envelope))
		bounce_owed(queue, entry, &envelope.last_reply, envelope.last_host);
	else
		delivery_unreadable(queue, entry);
}

/* Its sender is warned, and it waits on; or it waits for that, too. */
static void
warn_in_turn(struct queue *queue, struct entry *entry)
{
	const struct config *config = queue->config;
	uint32_t warnings = retry_warnings_due(
	    mail_age(queue, entry_message(entry)), config->bounce_warn, config->bounce_warn_count);

	if (warnings > entry->warned && bounce_is_full(queue)) {
		wait_to_be_told(queue, entry);
		return;
	}
	if (warnings > entry->warned)
		bounce_warn(queue, entry, warnings);
	if (entry->state == ENTRY_READY)
		mail_watch(queue, entry);
	else
		mail_wait(queue, entry);
}

void
delivery_due(struct queue *queue)
{
	uint32_t now = retry_now();
	struct entry *entry;

	for (unsigned i = 0; i < DUE_MAX; i++) {
		entry = scheduler_take_due(queue->scheduler, now);
		if (entry == NULL)
			break;
		if (entry->state == ENTRY_BOUNCING) {
			delivery_owed(queue, entry);
			continue;
		}
		if (now >= entry->expires && may_expire(entry)) {
			expire_in_turn(queue, entry);
			continue;
		}
		if (entry->state != ENTRY_READY &&
		    (now >= entry->next_try || now >= entry->expires)) {
			mail_ready(queue, entry);
			delivery_line_ready(queue, entry->line);
			continue;
		}
		warn_in_turn(queue, entry);
	}
	queue_set_timer(queue);
}
