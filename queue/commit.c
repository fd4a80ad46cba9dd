/*
 * The commit event has the low priority: it runs when the loop has nothing else to read, so that
 * under load a batch grows while the one before is being synced, and a lone message goes at once.
 * A batch that is large enough or WAIT_MS old goes earlier, by a timer of the high priority:
 * libevent serves the low one only in turns that bring nothing else, so steady input would put it
 * off.
 *
 * Where several clients send at once, a batch waits for about as many messages as the one before
 * had, WAIT_MS at most: their next ones are on the way, and the fewer flushes and turns are worth
 * more than the wait for one that doesn't come, after which fewer are expected. Few messages at a
 * time wait for nobody.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/log.h"
#include "common/stats.h"
#include "queue/commit.h"
#include "queue/delivery.h"
#include "queue/history.h"
#include "queue/mail.h"

#define BATCH_ITEMS_MAX 512
#define BATCH_BYTES_MAX (4 * 1024 * 1024)
#define BATCH_FILES_MAX (64 * 1024 * 1024) /* bytes */
#define STATES_MS       900
#define SOON_MS         20
#define WAIT_MS         5
#define GATHER_LEAST    6 /* messages of a batch: from here on the next one waits for as many, */
#define GATHER_MOST     16

struct commit {
	struct event *turn;   /* at the end of this turn */
	struct event *wait;   /* timer: steady input lets no turn end */
	struct event *states; /* timer */
	bool states_waiting;
	bool soon_waiting; /* the same timer, for SOON_MS */
	bool turn_waiting;
	bool wait_set;
	struct commit_item *items;
	size_t item_count;
	size_t item_capacity;
	size_t expected; /* messages of this batch */
	uint32_t *kept;  /* a ring: ids of the messages whose first try is kept */
	size_t kept_size;
	size_t kept_next;
	uint64_t file_bytes; /* of the items' files */
	uint32_t *removals;
	size_t removal_count;
	size_t removal_capacity;
	uint32_t
	    *fresh; /* ids of messages just made durable: their delivery begins after the turn */
	size_t fresh_count;
	size_t fresh_capacity;
};

bool
commit_now(struct queue *queue)
{
	return journal_commit(queue->journal, JOURNAL_FIRST);
}

/* What is staged from here on is a batch of its own. */
static void
begin_batch(struct commit *commit)
{
	commit->turn_waiting = commit->states_waiting = commit->soon_waiting = false;
	commit->wait_set = false;
	event_del(commit->turn);
	evtimer_del(commit->wait);
	evtimer_del(commit->states);
}

static void
commit_event(int fd, short what, void *arg)
{
	struct queue *queue = arg;

	(void)fd;
	(void)what;
	begin_batch(queue->commit);
	(void)commit_now(queue);
}

void
commit_open(struct queue *queue)
{
	struct commit *commit = calloc(1, sizeof(*commit));

	if (commit == NULL)
		fatalx("out of memory");
	queue->commit = commit;
	commit->kept_size = queue->kept_limit;
	commit->kept = calloc(commit->kept_size + 1, sizeof(*commit->kept));
	commit->turn = event_new(queue->base, -1, 0, commit_event, queue);
	commit->wait = evtimer_new(queue->base, commit_event, queue);
	commit->states = evtimer_new(queue->base, commit_event, queue);
	if (commit->kept == NULL || commit->turn == NULL || commit->wait == NULL ||
	    commit->states == NULL || event_priority_set(commit->turn, 1) == -1 ||
	    event_priority_set(commit->wait, 0) == -1 ||
	    event_priority_set(commit->states, 0) == -1)
		fatalx("out of memory");
}

void
commit_close(struct queue *queue)
{
	struct commit *commit = queue->commit;

	event_free(commit->turn);
	event_free(commit->wait);
	event_free(commit->states);
	free(commit->items);
	free(commit->kept);
	free(commit->removals);
	free(commit->fresh);
	free(commit);
	queue->commit = NULL;
}

static void
within_wait(struct commit *commit)
{
	static const struct timeval later = { 0, WAIT_MS * 1000 };

	if (!commit->wait_set)
		(void)evtimer_add(commit->wait, &later);
	commit->wait_set = true;
}

static void
at_end_of_turn(struct queue *queue)
{
	struct commit *commit = queue->commit;

	if (commit->turn_waiting)
		return;
	commit->turn_waiting = true;
	event_active(commit->turn, EV_TIMEOUT, 0);
	within_wait(commit);
}

/* At the end of the turn that brings as many messages as are expected, or when they don't come. */
static void
when_gathered(struct queue *queue)
{
	struct commit *commit = queue->commit;

	if (commit->item_count >= commit->expected)
		at_end_of_turn(queue);
	else
		within_wait(commit);
}

static void
expect_as_many(struct commit *commit)
{
	commit->expected = commit->item_count < GATHER_LEAST ? 0
	    : commit->item_count < GATHER_MOST               ? commit->item_count
	                                                     : GATHER_MOST;
}

void
commit_states(struct queue *queue, enum commit_when when)
{
	static const struct timeval later = { 0, STATES_MS * 1000 }, soon = { 0, SOON_MS * 1000 };
	struct commit *commit = queue->commit;

	/* Recovery changes states before there is anybody to wait. */
	if (commit == NULL)
		return;
	if (journal_staged(queue->journal, JOURNAL_FIRST) >= BATCH_BYTES_MAX)
		(void)commit_now(queue);
	else if (when == COMMIT_NOW)
		at_end_of_turn(queue);
	else if (when == COMMIT_SOON && !commit->soon_waiting) {
		commit->states_waiting = commit->soon_waiting = true;
		evtimer_add(commit->states, &soon);
	} else if (!commit->states_waiting) {
		commit->states_waiting = true;
		evtimer_add(commit->states, &later);
	}
}

void
commit_write(struct queue *queue, uint8_t *to, const struct buf *head, const void *text,
    size_t length, struct commit_item *item)
{
	memcpy(to, head->data, head->length);
	if (length > 0)
		memcpy(to + head->length, text, length);
	journal_end(
	    queue->journal, JOURNAL_FIRST, RECORD_MESSAGE, head->length + length, &item->location);
	item->head = malloc(head->length);
	if (item->head == NULL)
		fatalx("out of memory");
	memcpy(item->head, head->data, head->length);
	item->head_length = head->length;
}

void
commit_message(struct queue *queue, const struct commit_item *item)
{
	struct commit *commit = queue->commit;
	struct commit_item *items;
	size_t capacity;

	if (commit->item_count == commit->item_capacity) {
		capacity = commit->item_capacity == 0 ? 64 : 2 * commit->item_capacity;
		items = reallocarray(commit->items, capacity, sizeof(*items));
		if (items == NULL)
			fatalx("out of memory");
		commit->items = items;
		commit->item_capacity = capacity;
	}
	commit->items[commit->item_count++] = *item;
	commit->file_bytes += item->file_size;
	if (commit->item_count >= BATCH_ITEMS_MAX || commit->file_bytes >= BATCH_FILES_MAX ||
	    journal_staged(queue->journal, JOURNAL_FIRST) >= BATCH_BYTES_MAX)
		(void)commit_now(queue);
	else
		when_gathered(queue);
}

void
commit_forget_owner(struct queue *queue, const void *owner)
{
	for (size_t i = 0; i < queue->commit->item_count; i++) {
		if (queue->commit->items[i].owner == owner)
			queue->commit->items[i].owner = NULL;
	}
}

void
commit_remove_large(struct queue *queue, uint32_t message_id)
{
	struct commit *commit = queue->commit;
	uint32_t *removals;
	size_t capacity;

	/* During recovery: the sweep that follows finds it without a record. */
	if (commit == NULL)
		return;
	if (commit->removal_count == commit->removal_capacity) {
		capacity = commit->removal_capacity == 0 ? 64 : 2 * commit->removal_capacity;
		removals = reallocarray(commit->removals, capacity, sizeof(*removals));
		if (removals == NULL)
			return; /* so will the next start's */
		commit->removals = removals;
		commit->removal_capacity = capacity;
	}
	commit->removals[commit->removal_count++] = message_id;
}

/* The messages that came last: what waits for long keeps nothing from mail that comes. */
static void
keep_first_try(struct queue *queue, struct message *message, struct commit_item *item)
{
	struct commit *commit = queue->commit;
	struct message *oldest;

	if (commit->kept_size == 0)
		return;
	oldest = index_find(queue->index, commit->kept[commit->kept_next]);
	if (oldest != NULL)
		mail_drop_first_try(oldest);
	message->first = first_try_new(item->fd, item->head, item->head_length);
	if (message->first == NULL)
		return;
	item->fd = -1;
	commit->kept[commit->kept_next] = message->id;
	commit->kept_next = (commit->kept_next + 1) % commit->kept_size;
}

/* Not begun at once: the journal is in the middle of something. */
static void
note_fresh(struct commit *commit, uint32_t message_id)
{
	uint32_t *fresh;
	size_t capacity;

	if (commit->fresh_count == commit->fresh_capacity) {
		capacity = commit->fresh_capacity == 0 ? 64 : 2 * commit->fresh_capacity;
		fresh = reallocarray(commit->fresh, capacity, sizeof(*fresh));
		if (fresh == NULL)
			return; /* the tick finds it */
		commit->fresh = fresh;
		commit->fresh_capacity = capacity;
	}
	commit->fresh[commit->fresh_count++] = message_id;
}

void
commit_begin_deliveries(struct queue *queue)
{
	struct commit *commit = queue->commit;
	struct message *message;

	for (size_t k = 0; k < commit->fresh_count; k++) {
		uint32_t id = commit->fresh[k];

		/* Looked up each time: what can't be read back is taken out of the index. */
		for (uint32_t i = 0; (message = index_find(queue->index, id)) != NULL; i++) {
			if (i >= message->count)
				break;
			if (message->entries[i].state == ENTRY_READY)
				delivery_line_ready(queue, message->entries[i].line);
		}
	}
	commit->fresh_count = 0;
}

static void
item_durable(struct queue *queue, struct commit_item *item)
{
	struct message *message = mail_add(queue, &item->location, item->head, item->head_length);

	/* Its record counts as empty space while the index doesn't hold it: only a start helps. */
	if (message == NULL)
		fatalx("out of memory");
	stats_add(STATS_QUEUE_ENQUEUED, message->count);
	history_received(queue, item->head, item->head_length, item->facts, item->facts_length);
	keep_first_try(queue, message, item);
	mail_schedule(queue, message);
	note_fresh(queue->commit, item->message_id);
}

/* Their writing was begun when they came, so that one commit of the file system takes most. */
bool
commit_batch_files(void *arg, enum journal_head head)
{
	struct queue *queue = arg;
	struct commit *commit = queue->commit;
	bool any = false, good = true;

	if (head != JOURNAL_FIRST || commit == NULL)
		return true;
	for (size_t i = 0; i < commit->item_count; i++) {
		struct commit_item *item = &commit->items[i];

		if (item->file == -1)
			continue;
		any = true;
		if (good && fdatasync(item->file) == -1) {
			log_error("spool: can't sync the file of message %08x: %s; the messages in "
			          "hand are refused: look at the disk",
			    item->message_id, strerror(errno));
			good = false;
		}
		close(item->file);
		item->file = -1;
	}
	if (any && good && !spool_large_sync(&queue->spool)) {
		log_error("spool: can't sync the directory large: %s; the messages in hand are "
		          "refused: look at the disk",
		    strerror(errno));
		good = false;
	}
	return good;
}

void
commit_batch_done(void *arg, enum journal_head head, bool durable)
{
	struct queue *queue = arg;
	struct commit *commit = queue->commit;
	struct reply refusal;
	size_t i;

	if (head != JOURNAL_FIRST || commit == NULL)
		return;
	begin_batch(commit);
	/* Before the items' owners are told: what they end is recorded by the next batch. */
	for (i = 0; durable && i < commit->removal_count; i++)
		spool_large_remove(&queue->spool, commit->removals[i]);
	if (durable)
		commit->removal_count = 0;
	commit_refusal(JOURNAL_BROKEN, &refusal);
	for (i = 0; i < commit->item_count; i++) {
		struct commit_item *item = &commit->items[i];

		if (durable)
			item_durable(queue, item);
		else if (item->is_large)
			spool_large_remove(&queue->spool, item->message_id);
		item->done(queue, item, durable ? NULL : &refusal);
		if (item->fd != -1)
			close(item->fd);
		if (item->file != -1)
			close(item->file);
		free(item->head);
		free(item->facts);
	}
	if (commit->item_count > 0) {
		expect_as_many(commit);
		commit->item_count = 0;
		commit->file_bytes = 0;
		queue_run_soon(queue);
		queue_count(queue);
	}
}

void
commit_refusal(enum journal_result result, struct reply *reply)
{
	switch (result) {
	case JOURNAL_OK:
		reply_set(reply, 250, "2.0.0", "ok");
		break;
	case JOURNAL_FULL:
		reply_set(reply, 452, "4.3.1", "Not enough disk space, try again later");
		break;
	case JOURNAL_TOO_LARGE:
	case JOURNAL_BROKEN:
		reply_set(reply, 451, "4.3.0", "Can't store the message now, try again later");
		break;
	}
}
