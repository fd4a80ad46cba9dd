/*
 * Counting by looking costs a fixed time a second and can't go wrong, however an envelope changes its
 * state.
 */
#include "common/stats.h"
#include "queue/census.h"
#include "queue/mail.h"

#define ENVELOPES_A_TICK 20000 /* a millisecond or two */

static struct {
	uint64_t next; /* number of the envelope to go on from */
	int64_t deferred;
	int64_t held;
	int64_t oldest; /* seconds */
} census;

static void
count(const struct queue *queue, const struct message *message)
{
	int64_t age = mail_age(queue, message);

	if (age > census.oldest)
		census.oldest = age;
	for (uint32_t i = 0; i < message->count; i++) {
		const struct entry *entry = &message->entries[i];

		switch ((enum entry_state)entry->state) {
		case ENTRY_NEW:
		case ENTRY_WAITING:
		case ENTRY_READY:
			census.deferred += entry->tries > 0;
			break;
		case ENTRY_HELD:
			census.held++;
			break;
		case ENTRY_INFLIGHT:
		case ENTRY_BOUNCING:
		case ENTRY_DONE:
			break;
		}
	}
}

void
census_tick(struct queue *queue)
{
	struct message *message = index_from(queue->index, census.next);
	uint32_t looked_at = 0;

	for (; message != NULL; message = index_next(queue->index, message)) {
		if (looked_at >= ENVELOPES_A_TICK) {
			census.next = index_number(queue->index, message);
			return;
		}
		count(queue, message);
		looked_at += message->count;
	}
	stats_set(STATS_ENVELOPE_DEFERRED, census.deferred);
	stats_set(STATS_ENVELOPE_HELD, census.held);
	stats_set(STATS_QUEUE_OLDEST, census.oldest);
	census.next = 0;
	census.deferred = census.held = census.oldest = 0;
}
