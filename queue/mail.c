/*
 * The bridge between the index (who waits for what) and the journal (what was recorded). All
 * changes of an envelope's state go through here, so that what memory holds and what recovery would
 * find are the same thing.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/stats.h"
#include "queue/bounce.h"
#include "queue/commit.h"
#include "queue/delivery.h"
#include "queue/mail.h"
#include "queue/relay.h"
#include "queue/retry.h"

#define DAY 86400

struct first_try *
first_try_new(int fd, const uint8_t *head, size_t length)
{
	struct first_try *first = malloc(sizeof(*first) + length);

	if (first == NULL)
		return NULL;
	first->fd = fd;
	first->length = length;
	memcpy(first->head, head, length);
	return first;
}

void
mail_drop_first_try(struct message *message)
{
	if (message->first == NULL)
		return;
	if (message->first->fd != -1)
		close(message->first->fd);
	free(message->first);
	message->first = NULL;
}

static uint32_t
longest(const struct queue *queue)
{
	/* No envelope lives longer, whatever a clock says. */
	uint32_t longest = queue->config->queue_ttl;

	for (size_t i = 0; i < queue->config->action_count; i++) {
		if (queue->config->actions[i].ttl > longest)
			longest = queue->config->actions[i].ttl;
	}
	return longest;
}

/* A success as the last answer: it is delivered, and its sender is owed the report of that. */
static void
set_recorded_state(struct entry *entry, bool held, const struct reply *reply)
{
	if (held)
		entry->state = ENTRY_HELD;
	else
		entry->state = reply_is_success(reply) ? ENTRY_BOUNCING : ENTRY_NEW;
}

static void
set_recorded_warned(struct entry *entry, uint32_t warned)
{
	uint32_t count = warned & WARNED_COUNT;

	entry->warned = count > UINT8_MAX ? UINT8_MAX : (uint8_t)count;
	entry->limit = LIMIT_NOT;
	if ((warned & WARNED_LIMIT) != 0)
		entry->limit = (warned & WARNED_LIMIT_TOLD) != 0 ? LIMIT_TOLD : LIMIT_UNTOLD;
}

static uint32_t
warned_to_record(const struct entry *entry)
{
	switch ((enum entry_limit)entry->limit) {
	case LIMIT_NOT:
		break;
	case LIMIT_UNTOLD:
		return entry->warned | WARNED_LIMIT;
	case LIMIT_TOLD:
		return entry->warned | WARNED_LIMIT | WARNED_LIMIT_TOLD;
	}
	return entry->warned;
}

/* As wall times, until set_times(). */
static void
set_recorded_times(struct entry *entry, int64_t next_try, int64_t expires)
{
	entry->next_try = next_try > UINT32_MAX ? UINT32_MAX : (uint32_t)next_try;
	entry->expires = expires > UINT32_MAX ? UINT32_MAX : (uint32_t)expires;
}

/* From what is recorded to the scheduler's seconds. `lost`: seconds that don't count. */
static void
set_times(struct queue *queue, struct entry *entry, int64_t lost)
{
	entry->expires = retry_from_wall(entry->expires + lost, longest(queue));
	entry->next_try = entry->next_try == 0
	    ? retry_now()
	    : retry_from_wall(entry->next_try, queue->config->queue_retry_max);
}

static bool
fill_entry(struct queue *queue, struct entry *entry, const struct envelope *envelope,
    uint32_t warned, uint32_t offset)
{
	char text[ADDRESS_TEXT_MAX + 1];

	entry->number = (uint32_t)envelope->id;
	entry->offset = offset;
	entry->kind = (uint8_t)envelope->kind;
	entry->notify = envelope->dsn_notify;
	entry->tries = envelope->tries;
	entry->last_try = (uint32_t)envelope->last_try;
	set_recorded_warned(entry, warned);
	set_recorded_times(entry, envelope->next_try, envelope->expires);
	set_recorded_state(entry, envelope->state == ENVELOPE_HELD, &envelope->last_reply);
	if (envelope->kind != ENVELOPE_RELAY)
		return scheduler_attach(
		    queue->scheduler, entry, envelope->kind, &envelope->dest, envelope->action);
	relay_line_text(queue, envelope->action, envelope->dest.domain, text, sizeof(text));
	return scheduler_attach_text(
	    queue->scheduler, entry, envelope->kind, text, envelope->action);
}

static void
remove_message(struct queue *queue, struct message *message)
{
	journal_drop(queue->journal, &message->location);
	mail_drop_first_try(message);
	if (message->is_large)
		commit_remove_large(queue, message->id);
	index_remove(queue->index, message);
}

static struct message *
add_message(struct queue *queue, const struct location *location, struct message_head *head)
{
	struct message *message;
	struct envelope envelope;
	uint32_t warned, offset, i;

	message = index_add(
	    queue->index, &head->transaction, location, head->is_large, head->envelope_count);
	if (message == NULL)
		return NULL;
	journal_hold(queue->journal, location);
	for (i = 0; i < head->envelope_count; i++) {
		if (!message_next_envelope(head, &envelope, &warned, &offset) ||
		    !fill_entry(queue, &message->entries[i], &envelope, warned, offset))
			fatalx("a record that was just written or checked can't be read");
	}
	queue->envelopes += head->envelope_count;
	return message;
}

struct message *
mail_add(struct queue *queue, const struct location *location, const uint8_t *data, size_t length)
{
	struct message_head head;
	struct message *message;

	if (!message_decode(data, length, &head))
		return NULL;
	message = add_message(queue, location, &head);
	for (uint32_t i = 0; message != NULL && i < message->count; i++)
		set_times(queue, &message->entries[i], 0);
	return message;
}

int64_t
mail_age(const struct queue *queue, const struct message *message)
{
	int64_t age = clock_wall() - (int64_t)message->created;

	if (message->created <= queue->last_wall)
		age -= queue->lost;
	return age < 0 ? 0 : age;
}

void
mail_schedule(struct queue *queue, struct message *message)
{
	for (uint32_t i = 0; i < message->count; i++) {
		struct entry *entry = &message->entries[i];

		if (entry->state == ENTRY_HELD)
			bounce_held(queue, entry);
		if (entry->state != ENTRY_NEW)
			continue;
		if (entry->next_try <= retry_now())
			mail_ready(queue, entry);
		else
			mail_wait(queue, entry);
	}
}

/* When it expires or its sender is to be warned next. */
static uint32_t
deadline(const struct queue *queue, struct entry *entry)
{
	const struct config *config = queue->config;
	uint32_t warning, due = entry->expires, after;
	int64_t age;

	warning = retry_next_warning(entry->warned, config->bounce_warn, config->bounce_warn_count);
	if (warning != 0 && !entry_message(entry)->is_bounce) {
		age = mail_age(queue, entry_message(entry));
		after = retry_now() + (warning > age ? warning - (uint32_t)age : 0);
		if (after < due)
			due = after;
	}
	return due;
}

void
mail_wait(struct queue *queue, struct entry *entry)
{
	uint32_t due = deadline(queue, entry);

	scheduler_wait(queue->scheduler, entry, entry->next_try < due ? entry->next_try : due);
	queue_set_timer(queue);
}

void
mail_watch(struct queue *queue, struct entry *entry)
{
	scheduler_watch(queue->scheduler, entry, deadline(queue, entry));
}

void
mail_ready(struct queue *queue, struct entry *entry)
{
	scheduler_ready(queue->scheduler, entry);
	/* Its line may be put off for days. A mailbox's is served, or refused. */
	if (entry->kind == ENVELOPE_RELAY)
		mail_watch(queue, entry);
}

/* Recovery's callbacks. */

static void
recovered_message(void *arg, const struct location *location, struct message_head *head)
{
	struct queue *queue = arg;
	struct message *old = index_find(queue->index, head->transaction.message_id), *message;

	if (old != NULL) {
		/* The same message, copied forward: the copy says how it stood then. */
		for (uint32_t i = 0; i < old->count; i++) {
			if (old->entries[i].state != ENTRY_DONE) {
				scheduler_detach(queue->scheduler, &old->entries[i]);
				queue->envelopes--;
			}
		}
		journal_supersede(queue->journal, &old->location);
		index_remove(queue->index, old);
	}
	message = add_message(queue, location, head);
	if (message == NULL)
		fatalx("out of memory");
	for (uint32_t i = 0; i < message->count; i++)
		message->entries[i].maybe_delivered = true;
}

/* Takes an entry out; its message with the last one. */
static void
forget(struct queue *queue, struct entry *entry)
{
	struct message *message = entry_message(entry);

	scheduler_detach(queue->scheduler, entry);
	entry->state = ENTRY_DONE;
	queue->envelopes--;
	if (--message->left == 0)
		remove_message(queue, message);
}

static void
recovered_state(void *arg, const struct state *state, const struct location *location)
{
	struct queue *queue = arg;
	struct entry *entry = index_find_entry(queue->index, state->envelope_id);

	if (entry == NULL)
		return;
	if (state->change != STATE_UPDATE) {
		forget(queue, entry);
		return;
	}
	entry->tries = state->tries;
	set_recorded_warned(entry, state->warned);
	entry->last_try = (uint32_t)state->last_try;
	set_recorded_times(entry, state->next_try, state->expires);
	set_recorded_state(entry, state->held, &state->reply);
	entry->update_slot = location->slot;
	entry->update_offset = location->offset;
	entry->update_length = (uint16_t)location->length;
}

static void
resume_entry(struct queue *queue, struct entry *entry)
{
	set_times(queue, entry, queue->lost);
	switch ((enum entry_state)entry->state) {
	case ENTRY_NEW:
		mail_wait(queue, entry);
		if (queue->lost > 0)
			mail_update(queue, entry, NULL, NULL);
		return;
	case ENTRY_HELD:
		if (queue->lost > 0)
			mail_update(queue, entry, NULL, NULL);
		if (entry->limit != LIMIT_NOT)
			bounce_held(queue, entry);
		return;
	case ENTRY_BOUNCING:
		delivery_owed(queue, entry);
		return;
	case ENTRY_WAITING:
	case ENTRY_READY:
	case ENTRY_INFLIGHT:
	case ENTRY_DONE:
		break;
	}
}

static bool
is_any_waiting(const struct queue *queue)
{
	const struct message *message = index_from(queue->index, 0);

	for (; message != NULL; message = index_next(queue->index, message)) {
		for (uint32_t i = 0; i < message->count; i++) {
			if (message->entries[i].state == ENTRY_NEW)
				return true;
		}
	}
	return false;
}

/*
 * While the queue runs with mail to deliver, tries are recorded at least every queue_retry_max. A
 * clock that is much further ahead of the spool is wrong, or the machine was down: either way no
 * delivery was tried in that time, and what was queued gets as much as it had left. What is
 * recorded of it is moved on, so that the next start finds it so; one that comes before all is
 * moved does it again, by the same time.
 */
static void
look_for_lost_time(struct queue *queue)
{
	int64_t ahead;

	queue->lost = 0;
	queue->last_wall = journal_last_wall(queue->journal);
	ahead = clock_wall() - queue->last_wall;
	if (queue->last_wall == 0 || ahead <= DAY + (int64_t)queue->config->queue_retry_max ||
	    !is_any_waiting(queue))
		return;
	queue->lost = ahead;
	log_warning("the clock is %" PRId64 " hours ahead of what was last written to the spool; "
	            "queued mail expires that much later. If the queue was not down for so long, "
	            "set the clock and start again",
	    ahead / 3600);
}

void
mail_recovered(struct queue *queue)
{
	struct message *message = index_from(queue->index, 0), *next;

	look_for_lost_time(queue);
	journal_keep_wall(queue->journal, queue->lost > 0);
	for (; message != NULL; message = next) {
		next = index_next(queue->index, message);
		for (uint32_t i = 0; i < message->count; i++)
			resume_entry(queue, &message->entries[i]);
	}
	/* The last part of the change goes with the present time. */
	journal_keep_wall(queue->journal, false);
	(void)commit_now(queue);
}

/* Copying forward. */

static bool
is_here(const struct message *message, const struct location *location)
{
	return message != NULL && message->location.slot == location->slot &&
	    message->location.offset == location->offset;
}

static bool
survivor(void *arg, const struct location *location, struct message_head *head, struct buf *buf)
{
	struct queue *queue = arg;
	struct message *message = index_find(queue->index, head->transaction.message_id);
	struct envelope envelope;
	uint32_t warned, offset, i;
	struct entry *entry;

	if (!is_here(message, location))
		return false;
	message_encode_start(buf, &head->transaction, head->is_large, message->left);
	for (i = 0; i < head->envelope_count; i++) {
		if (!message_next_envelope(head, &envelope, &warned, &offset)) {
			buf->failed = true;
			return true;
		}
		entry = index_find_entry(queue->index, envelope.id);
		if (entry == NULL)
			continue;
		mail_apply_entry(queue, entry, &envelope);
		if (envelope.state == ENVELOPE_INFLIGHT)
			envelope.state = ENVELOPE_PENDING;
		message_encode_envelope(buf, &envelope, warned_to_record(entry));
	}
	message_encode_effects(buf, NULL, 0);
	message_encode_finish(buf);
	return true;
}

static void
message_moved(void *arg, uint32_t message_id, const struct location *from,
    const struct location *to, const uint8_t *data, size_t length)
{
	struct queue *queue = arg;
	struct message *message = index_find(queue->index, message_id);
	struct message_head head;
	struct envelope envelope;
	uint32_t warned, offset;
	struct entry *entry;

	if (!is_here(message, from))
		return;
	if (!message_decode(data, length, &head))
		fatalx("a copy that was just made can't be decoded");
	mail_drop_first_try(message);
	journal_supersede(queue->journal, from);
	journal_hold(queue->journal, to);
	message->location = *to;
	while (head.envelope_count-- > 0 &&
	    message_next_envelope(&head, &envelope, &warned, &offset)) {
		entry = index_find_entry(queue->index, envelope.id);
		if (entry == NULL)
			continue;
		entry->offset = offset;
		entry->update_offset = 0;
	}
}

static bool
state_is_current(void *arg, const struct state *state, const struct location *location)
{
	struct queue *queue = arg;
	struct entry *entry = index_find_entry(queue->index, state->envelope_id);

	return entry != NULL && location->offset != 0 && entry->update_slot == location->slot &&
	    entry->update_offset == location->offset;
}

static void
state_moved(void *arg, uint64_t envelope_id, const struct location *from, const struct location *to)
{
	struct queue *queue = arg;
	struct entry *entry = index_find_entry(queue->index, envelope_id);

	if (entry == NULL ||
	    (from->offset != 0 &&
	        (entry->update_slot != from->slot || entry->update_offset != from->offset)))
		return;
	entry->update_slot = to->slot;
	entry->update_offset = to->offset;
	entry->update_length = (uint16_t)to->length;
}

/* Somebody has its bytes. */
static bool
is_in_hand(const struct message *message)
{
	if (message->first != NULL)
		return true;
	for (uint32_t i = 0; i < message->count; i++) {
		if (message->entries[i].state == ENTRY_INFLIGHT)
			return true;
	}
	return false;
}

static void
give_up_message(struct queue *queue, struct message *message)
{
	uint32_t left = message->left;

	log_error("message %08" PRIx32 " from <%s> for %" PRIu32
	          " envelopes is lost from the queue: its record is damaged and was put into "
	          "quarantine; ask for it to be sent again",
	    message->id, message->sender->text, left);
	if (message->is_large) {
		spool_large_quarantine(&queue->spool, message->id);
		message->is_large = false;
	}
	for (uint32_t i = 0; left > 0; i++) {
		if (message->entries[i].state == ENTRY_DONE)
			continue;
		left--;
		mail_forget(queue, &message->entries[i]); /* with the last one the message goes */
	}
}

static void
unreadable(void *arg, uint32_t slot)
{
	struct queue *queue = arg;
	struct message *message = index_from(queue->index, 0), *next;

	for (; message != NULL; message = next) {
		next = index_next(queue->index, message);
		if (message->location.slot == slot && !is_in_hand(message) &&
		    journal_set_aside(queue->journal, &message->location, message->id))
			give_up_message(queue, message);
	}
}

void
mail_handler(struct queue *queue, struct journal_handler *handler)
{
	handler->message = recovered_message;
	handler->state = recovered_state;
	handler->survivor = survivor;
	handler->message_moved = message_moved;
	handler->state_is_current = state_is_current;
	handler->state_moved = state_moved;
	handler->unreadable = unreadable;
	handler->arg = queue;
}

/* Changes. */

struct state
mail_done_state(struct queue *queue, struct entry *entry, enum state_change change)
{
	struct state state = { .envelope_id = entry_id(entry), .change = change };

	state.target = journal_sequence(queue->journal, entry_message(entry)->location.slot);
	return state;
}

void
mail_forget(struct queue *queue, struct entry *entry)
{
	bounce_forget(queue, entry);
	forget(queue, entry);
	stats_add(STATS_QUEUE_DEQUEUED, 1);
	queue_count(queue);
}

static enum commit_when
when_of_mailbox(const struct line *line)
{
	if (line->mailbox == NULL)
		return COMMIT_NOW;
	switch (line->mailbox->form) {
	case MAILBOX_MAILDIR:
		return COMMIT_LATER;
	case MAILBOX_MBOX:
		return COMMIT_SOON;
	case MAILBOX_COMMAND:
	case MAILBOX_FORM_COUNT:
		break;
	}
	return COMMIT_NOW;
}

void
mail_done(struct queue *queue, struct entry *entry, enum state_change change)
{
	struct state state = mail_done_state(queue, entry, change);
	struct location location;
	enum commit_when when = COMMIT_NOW;

	/* A second delivery to a Maildir finds the first, one to an mbox file mostly; anything else
	 * would be done twice: what follows a .forward late, too. Of what is relayed there is much at a
	 * time. Whoever removes waits for a commit of his own. */
	if (change == STATE_REMOVED)
		when = COMMIT_LATER;
	else if (change == STATE_DELIVERED && entry->kind == ENVELOPE_MAILDIR)
		when = when_of_mailbox(entry->line);
	else if (change == STATE_DELIVERED && !envelope_is_pipe(entry->kind) &&
	    entry->kind != ENVELOPE_FORWARD)
		when = COMMIT_SOON;

	/* In this order: a large message's file is removed after the batch that has the record. */
	journal_state(queue->journal, JOURNAL_FIRST, &state, &location);
	mail_forget(queue, entry);
	commit_states(queue, when);
}

void
mail_update(struct queue *queue, struct entry *entry, const struct reply *reply, const char *host)
{
	struct state state = mail_done_state(queue, entry, STATE_UPDATE), old;
	struct transaction transaction;
	struct envelope envelope;
	struct location location = mail_update_location(entry);

	/* What is to be removed after its delivery is at least held after a crash. */
	state.held = entry->state == ENTRY_HELD || entry->after == AFTER_HOLD ||
	    entry->after == AFTER_REMOVE;
	state.tries = entry->tries;
	/* What was let go and is held again, an administrator holds. */
	if (entry->state != ENTRY_HELD)
		entry->limit = LIMIT_NOT;
	state.warned = warned_to_record(entry);
	state.last_try = entry->last_try;
	state.next_try = retry_to_wall(entry->next_try);
	state.expires = retry_to_wall(entry->expires);
	if (reply != NULL) {
		state.reply = *reply;
		strlcpy(state.host, host, sizeof(state.host));
	} else if (location.offset != 0) {
		if (journal_read_state(queue->journal, &location, &old)) {
			state.reply = old.reply;
			memcpy(state.host, old.host, sizeof(state.host));
		}
	} else if (entry->tries > 0 && mail_load(queue, entry, &transaction, &envelope)) {
		state.reply = envelope.last_reply;
		memcpy(state.host, envelope.last_host, sizeof(state.host));
	}
	journal_state(queue->journal, JOURNAL_FIRST, &state, &location);
	entry->update_slot = location.slot;
	entry->update_offset = location.offset;
	entry->update_length = (uint16_t)location.length;
	commit_states(queue, COMMIT_LATER);
}

void
mail_encode_targets(struct buf *head, const struct transaction *transaction, bool is_large,
    const struct ipc_target *targets, size_t count, const struct address *rcpt, uint8_t notify,
    int64_t ttl)
{
	struct envelope envelope;

	message_encode_start(head, transaction, is_large, (uint32_t)count);
	for (size_t i = 0; i < count; i++) {
		memset(&envelope, 0, sizeof(envelope));
		envelope.id = envelope_id_make(transaction->message_id, (uint32_t)i + 1);
		envelope.kind = targets[i].kind;
		envelope.rcpt = *rcpt;
		envelope.dest = targets[i].dest;
		envelope.dsn_notify = notify;
		strlcpy(envelope.action, targets[i].action, sizeof(envelope.action));
		strlcpy(envelope.command, targets[i].command, sizeof(envelope.command));
		envelope.expires = clock_wall() + ttl;
		message_encode_envelope(head, &envelope, 0);
	}
}
