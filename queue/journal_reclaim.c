/*
 * Emptying segments, a few MiB at a time: what is still queued is copied to the second generation,
 * states that are still about something are appended there again, and then the segment is free.
 *
 * A step does all its work between two turns of the event loop: it commits the first head, so that
 * no state is newer than what it copies, copies, commits the second head, and moves the index to
 * the copies that are durable. Of what fails the original stays what it was.
 *
 * In the usual flow nothing is copied at all: mail is delivered, the oldest segment is found empty,
 * and what needed it becomes free in turn.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "queue/journal_private.h"

#define NEEDED_PATIENCE_MS (10 * 1000) /* how long an empty segment waits for those it needs */
#define STEP_PAUSE_MS      5000        /* after a step that failed */
#define READ_PAUSE_MS      (60 * 1000)
#define READ_TRIES         10

static void
drop_needs(struct journal *journal, uint64_t sequence)
{
	for (size_t i = 0; i < journal->segment_count; i++) {
		if (journal->segments[i] != NULL)
			segment_drop_need(journal->segments[i], sequence);
	}
}

void
journal_retire(struct journal *journal, uint32_t slot)
{
	struct segment *segment = journal->segments[slot];
	uint64_t sequence = segment->key.sequence;
	bool removed = false;

	if (segment->state == SEGMENT_FAILED || segment->size != journal_segment_size(journal) ||
	    !segment_release(segment, journal->last_batch)) {
		if (unlinkat(journal->spool->segments_fd, segment->name, 0) == -1 &&
		    errno != ENOENT) {
			log_error(
			    "spool: can't remove segment %s: %s", segment->name, strerror(errno));
			/* Its records are still there, and so must be what needs it. */
			segment->state = SEGMENT_FAILED;
			segment->closed_ms = clock_monotonic_ms();
			return;
		}
		if (fsync(journal->spool->segments_fd) == -1) {
			log_error("spool: can't sync segments: %s", strerror(errno));
			segment->state = SEGMENT_FAILED;
			segment->closed_ms = clock_monotonic_ms();
			return;
		}
		removed = true;
	}
	if (removed) {
		segment_free(segment);
		journal->segments[slot] = NULL;
	}
	drop_needs(journal, sequence);
}

/* Takes over `head`. */
static void
note_copy(struct reclaim *reclaim, const struct copy *copy)
{
	struct copy *copies;
	size_t capacity;

	if (reclaim->copy_count == reclaim->copy_capacity) {
		capacity = reclaim->copy_capacity == 0 ? 64 : 2 * reclaim->copy_capacity;
		copies = reallocarray(reclaim->copies, capacity, sizeof(*copies));
		if (copies == NULL)
			fatalx("out of memory");
		reclaim->copies = copies;
		reclaim->copy_capacity = capacity;
	}
	reclaim->copies[reclaim->copy_count++] = *copy;
}

static bool
copy_message(struct journal *journal, const struct record *record, const uint8_t *payload)
{
	struct reclaim *reclaim = &journal->reclaim;
	struct location from = { reclaim->slot, record->offset, record->length };
	struct copy copy = { .from = from };
	struct message_head head;
	size_t body, length;
	uint8_t *to;

	if (!message_decode(payload, record->length, &head))
		return true;
	buf_init(&copy.head, SEGMENT_SIZE_MAX);
	if (!journal->handler.survivor(journal->handler.arg, &from, &head, &copy.head)) {
		buf_free(&copy.head);
		return true;
	}
	body = record->length - head.length;
	length = copy.head.length + body;
	if (!buf_ok(&copy.head) ||
	    journal_begin(journal, JOURNAL_SECOND, length, true, &to) != JOURNAL_OK) {
		buf_free(&copy.head);
		return false;
	}
	memcpy(to, copy.head.data, copy.head.length);
	memcpy(to + copy.head.length, payload + head.length, body);
	copy.message_id = head.transaction.message_id;
	journal_end(journal, JOURNAL_SECOND, RECORD_MESSAGE, length, &copy.to);
	note_copy(reclaim, &copy);
	return true;
}

static bool
copy_state(struct journal *journal, const struct state *state, const struct location *from)
{
	struct location to;
	struct buf buf;
	bool copied;

	if (!journal_has_object(journal, state->target) ||
	    state->target == journal->segments[journal->reclaim.slot]->key.sequence)
		return true;
	if (state->change == STATE_UPDATE &&
	    !journal->handler.state_is_current(journal->handler.arg, state, from))
		return true;
	buf_init(&buf, 4096);
	state_encode(&buf, state);
	copied = buf_ok(&buf) &&
	    journal_append_copy(journal, JOURNAL_SECOND, RECORD_STATE, buf.data, buf.length,
	        state->target, &to) == JOURNAL_OK;
	buf_free(&buf);
	/* A copy of a state that isn't durable in the end does no harm: the original is, and stays
	 * until it is. */
	if (copied && state->change == STATE_UPDATE)
		journal->handler.state_moved(journal->handler.arg, state->envelope_id, from, &to);
	return copied;
}

static bool
copy_effects(struct journal *journal, const struct record *record, const uint8_t *payload)
{
	static const struct location nowhere;
	struct message_head head;
	struct envelope envelope;
	struct state state;
	uint32_t unused, i;

	if (!message_decode(payload, record->length, &head))
		return true;
	for (i = 0; i < head.envelope_count; i++) {
		if (!message_next_envelope(&head, &envelope, &unused, &unused))
			return true;
	}
	for (i = message_effect_count(&head); i > 0 && message_next_effect(&head, &state); i--) {
		if (!copy_state(journal, &state, &nowhere))
			return false;
	}
	return true;
}

static bool
copy_record(struct journal *journal, const struct record *record, const uint8_t *payload)
{
	struct location from = { journal->reclaim.slot, record->offset, record->length };
	struct void_range range;
	struct buf_reader reader;
	struct state state;
	struct location to;

	buf_reader_init(&reader, payload, record->length);
	switch (record->type) {
	case RECORD_MESSAGE:
		return copy_message(journal, record, payload) &&
		    copy_effects(journal, record, payload);
	case RECORD_STATE:
		return !state_decode(&reader, &state) || copy_state(journal, &state, &from);
	case RECORD_VOID:
		return !void_decode(&reader, &range) ||
		    !journal_has_object(journal, range.sequence) ||
		    journal_append_copy(journal, JOURNAL_SECOND, RECORD_VOID, payload,
		        record->length, range.sequence, &to) == JOURNAL_OK;
	case RECORD_BATCH:
	case RECORD_TYPE_END:
		break;
	}
	return true;
}

static void
stop(struct journal *journal)
{
	struct reclaim *reclaim = &journal->reclaim;

	free(reclaim->data);
	reclaim->data = NULL;
	reclaim->capacity = 0;
	reclaim->active = false;
}

/*
 * The end of a message that was copied forward names the copy's segment, and is kept as long as
 * that is. So a segment with copies stays until none is left with originals that they may have
 * replaced: those are of the first generation, or of the second and older.
 */
static bool
must_wait(const struct journal *journal, const struct segment *segment)
{
	if (segment->use != SEGMENT_SECOND)
		return false;
	for (size_t i = 0; i < journal->segment_count; i++) {
		const struct segment *other = journal->segments[i];

		if (other != NULL && other != segment && other->superseded &&
		    (other->use != SEGMENT_SECOND || other->key.sequence < segment->key.sequence))
			return true;
	}
	return false;
}

/* Lower is better; -1: not now. */
static int64_t
cost(const struct journal *journal, const struct segment *segment)
{
	uint64_t share = segment->live_bytes * 100 / (segment->size + 1);
	int64_t age = clock_monotonic_ms() - segment->closed_ms;
	bool pressed = journal->low || journal->full;

	if (must_wait(journal, segment))
		return -1;
	if (segment->state == SEGMENT_FAILED ||
	    (segment->state == SEGMENT_CLOSED && segment->superseded))
		return age > 1000 ? 0 : -1;
	if (segment->state != SEGMENT_CLOSED)
		return -1;
	if (segment->live_count == 0)
		return pressed || age > NEEDED_PATIENCE_MS ? 1 : -1;
	/* What is young may be delivered yet. */
	if (!pressed && age < NEEDED_PATIENCE_MS)
		return -1;
	if (share < (segment->use == SEGMENT_FIRST ? 50 : 25) || (pressed && share < 90))
		return 2 + (int64_t)share;
	return -1;
}

static bool
choose(struct journal *journal, uint32_t *chosen)
{
	int64_t best = -1, one;

	for (size_t i = 0; i < journal->segment_count; i++) {
		if (journal->segments[i] == NULL)
			continue;
		one = cost(journal, journal->segments[i]);
		if (one != -1 && (best == -1 || one < best)) {
			best = one;
			*chosen = (uint32_t)i;
		}
	}
	return best != -1;
}

/* Segments that are empty and needed by nothing that they hold cost nothing. */
static bool
retire_empty(struct journal *journal)
{
	bool any = false;

	for (size_t i = 0; i < journal->segment_count; i++) {
		struct segment *segment = journal->segments[i];

		if (segment != NULL && segment->live_count == 0 && segment->need_count == 0 &&
		    !must_wait(journal, segment) &&
		    (segment->state == SEGMENT_CLOSED ||
		        (segment->state == SEGMENT_FAILED &&
		            clock_monotonic_ms() - segment->closed_ms > 1000))) {
			journal_retire(journal, (uint32_t)i);
			any = any || journal->segments[i] == NULL ||
			    journal->segments[i]->state == SEGMENT_EMPTY;
		}
	}
	return any;
}

/*
 * Segments may hold states about each other's messages, so that none can go before some states are
 * copied, and a full disk has no room for that. So what is empty says so in its own header: then
 * nothing need be kept for it.
 */
static bool
finish_empty(struct journal *journal)
{
	bool any = false;

	if (!journal->no_more || journal_count_empty(journal, &(uint32_t){ 0 }) > 0)
		return false;
	for (size_t i = 0; i < journal->segment_count; i++) {
		struct segment *segment = journal->segments[i];

		if (segment == NULL || segment->state != SEGMENT_CLOSED || segment->done ||
		    segment->voided || segment->live_count > 0)
			continue;
		if (!segment_finish(segment, journal->last_batch)) {
			log_error("spool: segment %s: can't write or sync its header: %s",
			    segment->name, strerror(errno));
			segment->state = SEGMENT_FAILED;
			segment->closed_ms = clock_monotonic_ms();
			continue;
		}
		drop_needs(journal, segment->key.sequence);
		any = true;
	}
	return any;
}

static bool
start(struct journal *journal)
{
	struct reclaim *reclaim = &journal->reclaim;
	uint32_t slot = 0;

	if (clock_monotonic_ms() < journal->broken_until_ms || !choose(journal, &slot))
		return false;
	reclaim->active = true;
	reclaim->slot = slot;
	reclaim->offset = SEGMENT_DATA;
	/* Of one whose first write failed not even the header is there. */
	reclaim->end = journal->segments[slot]->end;
	if (reclaim->end < SEGMENT_DATA)
		reclaim->end = SEGMENT_DATA;
	return true;
}

bool
journal_set_aside(struct journal *journal, const struct location *location, uint32_t message_id)
{
	const struct segment *segment = journal->segments[location->slot];
	uint32_t length = RECORD_HEADER_SIZE + location->length;
	struct record record;
	uint8_t *data = malloc(length);
	char why[64];
	bool kept = false;

	if (data == NULL)
		return false;
	segment_read_blocks(segment, data, length, location->offset);
	if (!record_parse(data, &segment->key, location->offset, &record) ||
	    record.length != location->length ||
	    !record_payload_is_valid(&record, data + RECORD_HEADER_SIZE)) {
		snprintf(
		    why, sizeof(why), "the record of message %08" PRIx32 " is damaged", message_id);
		kept = journal_quarantine(journal, segment, location->offset, data, length, why);
	}
	free(data);
	return kept;
}

static void
finish(struct journal *journal)
{
	struct reclaim *reclaim = &journal->reclaim;
	struct segment *segment = journal->segments[reclaim->slot];

	stop(journal);
	segment->read_failures = 0;
	if (segment->live_count > 0)
		journal->handler.unreadable(journal->handler.arg, reclaim->slot);
	if (segment->live_count == 0) {
		journal_retire(journal, reclaim->slot);
		return;
	}
	log_error("spool: segment %s holds %" PRIu32 " queued messages that can't be copied; it is "
	          "kept: see `queue check`",
	    segment->name, segment->live_count);
	segment->closed_ms = clock_monotonic_ms() + 3600 * 1000LL;
}

/*
 * Every copy that is durable takes its original's place, also where the step as a whole failed:
 * recovery would find it, and what ends the original need not be kept as long as the copy is.
 */
static void
move_copies(struct journal *journal)
{
	struct reclaim *reclaim = &journal->reclaim;

	for (size_t i = 0; i < reclaim->copy_count; i++) {
		struct copy *copy = &reclaim->copies[i];

		/* A batch that failed stands behind the end. */
		if (copy->to.offset < journal->segments[copy->to.slot]->end)
			journal->handler.message_moved(journal->handler.arg, copy->message_id,
			    &copy->from, &copy->to, copy->head.data, copy->head.length);
		buf_free(&copy->head);
	}
	reclaim->copy_count = 0;
}

/*
 * Reads `length` bytes from reclaim->offset on. A disk that can't be read is given some time; then
 * the rest is read, as at a start, so that what it holds doesn't keep other segments for ever.
 */
static bool
read_part(struct journal *journal, uint32_t length)
{
	struct reclaim *reclaim = &journal->reclaim;
	struct segment *segment = journal->segments[reclaim->slot];

	if (length > reclaim->capacity) {
		free(reclaim->data);
		reclaim->capacity = 0;
		reclaim->data = malloc(length);
		if (reclaim->data == NULL)
			return false;
		reclaim->capacity = length;
	}
	reclaim->start = reclaim->offset;
	reclaim->length = length;
	if (segment->read_failures >= READ_TRIES) {
		segment_read_blocks(segment, reclaim->data, length, reclaim->start);
		return true;
	}
	if (segment_read(segment, reclaim->data, length, reclaim->start))
		return true;
	log_error("spool: can't read segment %s to empty it: %s", segment->name, strerror(errno));
	if (++segment->read_failures < READ_TRIES)
		segment->closed_ms = clock_monotonic_ms() + READ_PAUSE_MS;
	return false;
}

/* The next record in the part that was read; false at its end. */
static bool
find_record(struct reclaim *reclaim, const struct record_key *key, struct record *record)
{
	for (; reclaim->start + reclaim->length - reclaim->offset >= RECORD_HEADER_SIZE;
	     reclaim->offset += RECORD_ALIGNMENT) {
		if (record_parse(reclaim->data + (reclaim->offset - reclaim->start), key,
		        reclaim->offset, record))
			return true;
	}
	return false;
}

/* Copies what lies in the next part of the segment and is still wanted. */
static bool
copy_part(struct journal *journal)
{
	struct reclaim *reclaim = &journal->reclaim;
	const struct record_key *key = &journal->segments[reclaim->slot]->key;
	uint32_t left = reclaim->end - reclaim->offset, size;
	struct record record;
	const uint8_t *payload;

	if (!read_part(journal, left < RECLAIM_STEP_BYTES ? left : RECLAIM_STEP_BYTES))
		return false;
	while (find_record(reclaim, key, &record)) {
		if (record_size(record.length) > reclaim->end - reclaim->offset) {
			reclaim->offset = reclaim->end;
			break;
		}
		size = (uint32_t)record_size(record.length);
		if (size > reclaim->start + reclaim->length - reclaim->offset) {
			/* The next part begins with it. */
			if (reclaim->offset > reclaim->start)
				break;
			if (!read_part(journal, size))
				return false;
		}
		payload = reclaim->data + (reclaim->offset - reclaim->start) + RECORD_HEADER_SIZE;
		if (record_payload_is_valid(&record, payload) &&
		    !copy_record(journal, &record, payload))
			return false;
		reclaim->offset += size;
	}
	return true;
}

bool
journal_reclaim(struct journal *journal)
{
	struct reclaim *reclaim = &journal->reclaim;
	struct segment *segment;
	unsigned failures;
	bool ok;

	if (!reclaim->active) {
		if (retire_empty(journal) || finish_empty(journal))
			return true;
		if (!start(journal))
			return false;
	}
	ok = journal_commit(journal, JOURNAL_FIRST);
	failures = journal->failures;
	ok = ok && copy_part(journal);
	/* Also after a failure: nothing stays staged that a later commit would make durable. */
	ok = journal_commit(journal, JOURNAL_SECOND) && ok && failures == journal->failures;
	move_copies(journal);
	if (!ok) {
		segment = journal->segments[reclaim->slot];
		/* What could not be read waits longer already. */
		if (segment->closed_ms < clock_monotonic_ms() + STEP_PAUSE_MS)
			segment->closed_ms = clock_monotonic_ms() + STEP_PAUSE_MS;
		stop(journal);
		return false;
	}
	if (reclaim->end - reclaim->offset < RECORD_HEADER_SIZE)
		finish(journal);
	return true;
}
