/*
 * Acts: one pass over what matches, each change recorded and logged with the caller's uid. It is
 * made in portions, since a queue may hold a million envelopes and mail is taken meanwhile. Messages
 * may go away under it, by what it does and between two portions: so it goes on by number and not by
 * pointer. What comes after its begin isn't meant.
 */
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/stats.h"
#include "queue/bounce.h"
#include "queue/control.h"
#include "queue/delivery.h"
#include "queue/history.h"
#include "queue/mail.h"
#include "queue/relay.h"
#include "queue/retry.h"

#define PORTION_ENVELOPES 1000  /* changed in one turn */
#define PORTION_LOOK      20000 /* messages looked at in one turn */
#define PORTION_MS        5     /* after which a turn looks at no further message */
#define MESSAGE_MS        20    /* after which it is done with the one in hand */

struct match {
	uint64_t id;
	uint64_t number;
};

/* Of one message, from act->next on. */
struct matches {
	const struct act *act;
	uint64_t first; /* number of the message's first envelope */
	struct match list[PORTION_ENVELOPES];
	size_t count;
	size_t most;
};

/* False when there is no room for more. */
static bool
add_match(struct matches *matches, struct entry *entry)
{
	uint64_t number = matches->first + entry->index;

	if (number < matches->act->next)
		return true;
	if (matches->count == matches->most)
		return false;
	matches->list[matches->count++] = (struct match){ entry_id(entry), number };
	return true;
}

static bool
match_envelope(void *arg, struct entry *entry, const struct transaction *transaction,
    const struct envelope *envelope)
{
	struct matches *matches = arg;
	const struct filter *filter = &matches->act->filter;

	(void)transaction;
	return !filter_entry(filter, entry) || !filter_envelope(filter, envelope) ||
	    add_match(matches, entry);
}

static void
find_matches(struct queue *queue, struct message *message, struct matches *matches)
{
	const struct filter *filter = &matches->act->filter;

	matches->count = 0;
	matches->first = index_number(queue->index, message);
	if (!filter_message(filter, message))
		return;
	if (filter_needs_envelope(filter)) {
		(void)mail_each(queue, message, match_envelope, matches);
		return;
	}
	for (uint32_t i = 0; i < message->count; i++) {
		if (filter_entry(filter, &message->entries[i]) &&
		    !add_match(matches, &message->entries[i]))
			return;
	}
}

static void
try_now(struct queue *queue, struct line *line)
{
	if (line->kind == ENVELOPE_RELAY)
		relay_retry(queue, line);
	else
		delivery_line_ready(queue, line);
}

static bool
schedule(struct queue *queue, struct entry *entry)
{
	switch ((enum entry_state)entry->state) {
	case ENTRY_NEW:
	case ENTRY_WAITING:
		entry->next_try = retry_now();
		mail_ready(queue, entry);
		try_now(queue, entry->line);
		return true;
	case ENTRY_READY:
		try_now(queue, entry->line);
		return true;
	case ENTRY_INFLIGHT:
		return true;
	case ENTRY_HELD:
	case ENTRY_BOUNCING:
	case ENTRY_DONE:
		break;
	}
	return false;
}

static bool
hold(struct queue *queue, struct entry *entry)
{
	switch ((enum entry_state)entry->state) {
	case ENTRY_NEW:
	case ENTRY_WAITING:
	case ENTRY_READY:
		scheduler_unset(queue->scheduler, entry);
		entry->state = ENTRY_HELD;
		mail_update(queue, entry, NULL, NULL);
		return true;
	case ENTRY_INFLIGHT:
		entry->after = AFTER_HOLD;
		mail_update(queue, entry, NULL, NULL);
		return true;
	case ENTRY_HELD:
	case ENTRY_BOUNCING:
	case ENTRY_DONE:
		break;
	}
	return false;
}

static bool
release(struct queue *queue, struct entry *entry)
{
	if (entry->state == ENTRY_INFLIGHT && entry->after == AFTER_HOLD) {
		entry->after = AFTER_NOTHING;
		mail_update(queue, entry, NULL, NULL);
		return true;
	}
	if (entry->state != ENTRY_HELD)
		return false;
	entry->state = ENTRY_WAITING;
	mail_update(queue, entry, NULL, NULL);
	return schedule(queue, entry);
}

static bool
drop(struct queue *queue, struct entry *entry)
{
	if (entry->state == ENTRY_INFLIGHT) {
		entry->after = AFTER_REMOVE;
		mail_update(queue, entry, NULL, NULL);
		return true;
	}
	stats_add(STATS_ENVELOPE_REMOVED, 1);
	mail_done(queue, entry, STATE_REMOVED);
	return true;
}

static bool
expire(struct queue *queue, struct entry *entry)
{
	if (entry->state == ENTRY_BOUNCING)
		return false;
	entry->expires = retry_now();
	if (entry->state == ENTRY_INFLIGHT) {
		entry->after = AFTER_EXPIRE;
		mail_update(queue, entry, NULL, NULL);
		return true;
	}
	/* Recorded, so that it expires also after a crash, and due at once. */
	entry->after = AFTER_EXPIRE;
	scheduler_unset(queue->scheduler, entry);
	entry->state = ENTRY_NEW;
	mail_update(queue, entry, NULL, NULL);
	mail_wait(queue, entry);
	return true;
}

static bool
act_on(struct queue *queue, enum queue_action action, struct entry *entry)
{
	switch (action) {
	case QUEUE_SCHEDULE:
	case QUEUE_DISCOVER:
		return schedule(queue, entry);
	case QUEUE_REMOVE:
		return drop(queue, entry);
	case QUEUE_EXPIRE:
		return expire(queue, entry);
	case QUEUE_HOLD:
		return hold(queue, entry);
	case QUEUE_UNHOLD:
		return release(queue, entry);
	case QUEUE_ACTION_COUNT:
		break;
	}
	return false;
}

static const char *
event_of(enum queue_action action)
{
	switch (action) {
	case QUEUE_SCHEDULE:
		return "envelope-scheduled";
	case QUEUE_REMOVE:
		return "envelope-removed";
	case QUEUE_EXPIRE:
		return "envelope-expired";
	case QUEUE_HOLD:
		return "envelope-held";
	case QUEUE_UNHOLD:
		return "envelope-released";
	case QUEUE_DISCOVER:
	case QUEUE_ACTION_COUNT:
		break;
	}
	return "envelope-discovered";
}

static void
log_act(struct queue *queue, const struct ipc_act *act, uint64_t id, const char *from)
{
	struct log_line line;

	log_begin(&line, LOG_LEVEL_INFO, event_of(act->action));
	log_hex64(&line, "envelope", id);
	log_text(&line, "from", from);
	log_number(&line, "uid", act->caller_uid);
	log_end(&line);
	if (act->action == QUEUE_REMOVE)
		history_acted(queue, HISTORY_REMOVED, id, act->caller_uid);
	else if (act->action == QUEUE_HOLD)
		history_acted(queue, HISTORY_HELD, id, act->caller_uid);
	else if (act->action == QUEUE_UNHOLD)
		history_acted(queue, HISTORY_RELEASED, id, act->caller_uid);
	else if (act->action == QUEUE_EXPIRE)
		history_acted(queue, HISTORY_GIVEN_UP, id, act->caller_uid);
}

void
act_begin(struct queue *queue, struct act *act, const struct ipc_act *wanted)
{
	memset(act, 0, sizeof(*act));
	act->wanted = *wanted;
	act->end = index_end(queue->index);
	filter_prepare(&act->filter, &wanted->filter);
}

/* Acts on what matches in one message. */
static void
change_matches(struct queue *queue, struct act *act, const struct matches *matches,
    const struct message *message)
{
	int64_t until_ms = clock_monotonic_ms() + MESSAGE_MS;
	uint64_t behind = matches->first + message->count;
	char from[ADDRESS_TEXT_MAX + 1];
	struct entry *entry;

	memcpy(from, message->sender->text, strlen(message->sender->text) + 1);
	for (size_t i = 0; i < matches->count; i++) {
		entry = index_find_entry(queue->index, matches->list[i].id);
		act->next = matches->list[i].number + 1;
		if (entry == NULL || !act_on(queue, act->wanted.action, entry))
			continue;
		log_act(queue, &act->wanted, matches->list[i].id, from);
		act->changed++;
		if (clock_monotonic_ms() >= until_ms)
			return;
	}
	if (matches->count < matches->most)
		act->next = behind;
}

bool
act_continue(struct queue *queue, struct act *act)
{
	int64_t until_ms = clock_monotonic_ms() + PORTION_MS;
	struct matches matches = { .act = act, .most = PORTION_ENVELOPES };
	struct message *message = filter_from(&act->filter, queue->index, act->next);

	for (unsigned looked = 0; message != NULL; looked++) {
		if (index_number(queue->index, message) >= act->end)
			return false;
		if (looked == PORTION_LOOK || matches.most == 0 ||
		    (looked > 0 && clock_monotonic_ms() >= until_ms)) {
			if (act->next < index_number(queue->index, message))
				act->next = index_number(queue->index, message);
			return true;
		}
		find_matches(queue, message, &matches);
		if (matches.count == 0) {
			message = filter_next(&act->filter, queue->index, message);
			continue;
		}
		change_matches(queue, act, &matches, message);
		matches.most -= matches.count;
		message = filter_from(&act->filter, queue->index, act->next);
	}
	return false;
}
