/*
 * Acts: one pass over what matches, each change recorded and logged with the caller's uid. Messages
 * may go away under the pass when something is done, so that it goes on by number and not by
 * pointer from there.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/stats.h"
#include "queue/bounce.h"
#include "queue/control.h"
#include "queue/delivery.h"
#include "queue/mail.h"
#include "queue/relay.h"
#include "queue/retry.h"

struct matches {
	const struct filter *filter;
	uint64_t *ids;
	size_t count;
	size_t capacity;
};

static void
add_match(struct matches *matches, struct entry *entry)
{
	size_t capacity;
	uint64_t *ids;

	if (matches->count == matches->capacity) {
		capacity = matches->capacity == 0 ? 64 : 2 * matches->capacity;
		ids = reallocarray(matches->ids, capacity, sizeof(*ids));
		if (ids == NULL)
			fatalx("out of memory");
		matches->ids = ids;
		matches->capacity = capacity;
	}
	matches->ids[matches->count++] = entry_id(entry);
}

static bool
match_envelope(void *arg, struct entry *entry, const struct transaction *transaction,
    const struct envelope *envelope)
{
	struct matches *matches = arg;

	(void)transaction;
	if (filter_entry(matches->filter, entry) && filter_envelope(matches->filter, envelope))
		add_match(matches, entry);
	return true;
}

static void
find_matches(struct queue *queue, struct message *message, struct matches *matches)
{
	matches->count = 0;
	if (!filter_message(matches->filter, message))
		return;
	if (filter_needs_envelope(matches->filter)) {
		(void)mail_each(queue, message, match_envelope, matches);
		return;
	}
	for (uint32_t i = 0; i < message->count; i++) {
		if (filter_entry(matches->filter, &message->entries[i]))
			add_match(matches, &message->entries[i]);
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
log_act(const struct ipc_act *act, uint64_t id, const char *from)
{
	struct log_line line;

	log_begin(&line, LOG_LEVEL_INFO, event_of(act->action));
	log_hex64(&line, "envelope", id);
	log_text(&line, "from", from);
	log_number(&line, "uid", act->caller_uid);
	log_end(&line);
}

uint64_t
control_act(struct queue *queue, const struct ipc_act *act)
{
	struct filter filter;
	struct matches matches = { .filter = &filter };
	char from[ADDRESS_TEXT_MAX + 1];
	struct message *message;
	struct entry *entry;
	uint64_t next, changed = 0, id;

	filter_prepare(&filter, &act->filter);
	message = filter_from(&filter, queue->index, 0);
	while (message != NULL) {
		find_matches(queue, message, &matches);
		if (matches.count == 0) {
			message = filter_next(&filter, queue->index, message);
			continue;
		}
		next = index_number(queue->index, message) + message->count;
		memcpy(from, message->sender->text, strlen(message->sender->text) + 1);
		for (size_t i = 0; i < matches.count; i++) {
			id = matches.ids[i];
			entry = index_find_entry(queue->index, id);
			if (entry == NULL || !act_on(queue, act->action, entry))
				continue;
			log_act(act, id, from);
			changed++;
		}
		message = filter_from(&filter, queue->index, next);
	}
	free(matches.ids);
	return changed;
}
