/*
 * Empty segments: one that is taken next and one that stays, for a disk that is full. What is
 * missing of the two is made ahead of need, a step at a time between two turns of the event loop. An
 * append makes one itself, all at once, only when it finds none: mail came faster than it could be
 * made.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bsd/stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "queue/journal_private.h"

#define EMPTY_KEPT     2
#define AGAIN_MS       1000      /* after there was no room for one */
#define AGAIN_AFTER_MS 10 * 1000 /* after it failed when much had been written */

size_t
journal_count_empty(const struct journal *journal, uint32_t *slot)
{
	size_t count = 0;

	for (size_t i = 0; i < journal->segment_count; i++) {
		if (journal->segments[i] != NULL && journal->segments[i]->state == SEGMENT_EMPTY) {
			*slot = (uint32_t)i;
			count++;
		}
	}
	return count;
}

static bool
failed(struct journal *journal, int64_t pause_ms)
{
	if (!journal->no_more)
		log_error("spool: can't make another segment of %" PRIu32
		          " bytes: %s; free or add disk space for the spool",
		    journal_segment_size(journal), strerror(errno));
	journal->no_more = true;
	journal->make_after_ms = clock_monotonic_ms() + pause_ms;
	return false;
}

static bool
begin(struct journal *journal)
{
	char name[SEGMENT_NAME_SIZE];

	for (unsigned tries = 0; tries < 100; tries++) {
		snprintf(name, sizeof(name), "%08" PRIu32, ++journal->last_name % 100000000);
		if (segment_make_begin(&journal->maker, journal->spool->segments_fd, name,
		        journal_segment_size(journal)))
			return true;
		if (errno != EEXIST)
			break;
	}
	return failed(journal, AGAIN_MS);
}

static bool
step(struct journal *journal)
{
	struct record_key key = { .sequence = 0 };
	struct segment *segment;
	uint32_t slot;

	if (journal->maker.phase == MAKE_HEADER) {
		key.sequence = ++journal->last_sequence;
		arc4random_buf(&key.salt, sizeof(key.salt));
	}
	if (!segment_make_step(&journal->maker, &key, journal->last_batch))
		return failed(journal, AGAIN_AFTER_MS);
	if (journal->maker.phase != MAKE_DONE)
		return true;
	segment = segment_make_take(&journal->maker);
	if (!journal_add_segment(journal, segment, &slot)) {
		unlinkat(journal->spool->segments_fd, segment->name, 0);
		segment_free(segment);
		errno = ENOMEM;
		return failed(journal, AGAIN_AFTER_MS);
	}
	journal->no_more = false;
	return true;
}

bool
journal_make_now(struct journal *journal)
{
	if (journal->maker.phase == MAKE_NOTHING && !begin(journal))
		return false;
	while (journal->maker.phase != MAKE_NOTHING) {
		if (!step(journal))
			return false;
	}
	return true;
}

bool
journal_is_short(const struct journal *journal)
{
	int64_t now = clock_monotonic_ms();

	return journal->maker.phase == MAKE_NOTHING && now >= journal->make_after_ms &&
	    now >= journal->broken_until_ms &&
	    journal_count_empty(journal, &(uint32_t){ 0 }) < EMPTY_KEPT;
}

bool
journal_prepare(struct journal *journal)
{
	if (journal->maker.phase == MAKE_NOTHING)
		return journal_is_short(journal) && begin(journal);
	if (!step(journal))
		return false;
	if (journal->maker.phase != MAKE_NOTHING)
		return true;
	journal_look_at_room(journal);
	return journal_is_short(journal);
}
