/*
 * Appending: records are built in place in a head's staging buffer, at the offsets that they will
 * have, and leave with one pwrite() and one fdatasync(). A record of type RECORD_BATCH ends each
 * batch, so that damage to the last real record's header is found as a gap before it.
 *
 * What follows a batch that can't be written is in journal_failure.c.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/stdlib.h>
#include <bsd/string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/stats.h"
#include "queue/journal_private.h"

#define STAGED_KEEP (4 * 1024 * 1024) /* a larger staging buffer is given back */

struct segment *
journal_find_sequence(const struct journal *journal, uint64_t sequence)
{
	for (size_t i = 0; i < journal->segment_count; i++) {
		struct segment *segment = journal->segments[i];

		if (segment != NULL && segment->state != SEGMENT_EMPTY &&
		    segment->key.sequence == sequence)
			return segment;
	}
	return NULL;
}

bool
journal_has_object(const struct journal *journal, uint64_t sequence)
{
	const struct segment *segment = journal_find_sequence(journal, sequence);

	return segment != NULL && !segment->done;
}

bool
journal_add_segment(struct journal *journal, struct segment *segment, uint32_t *slot)
{
	struct segment **segments;
	size_t i;

	for (i = 0; i < journal->segment_count && journal->segments[i] != NULL; i++)
		;
	if (i == journal->segment_count) {
		segments = reallocarray(journal->segments, i + 1, sizeof(struct segment *));
		if (segments == NULL)
			return false;
		journal->segments = segments;
		journal->segment_count++;
	}
	journal->segments[i] = segment;
	*slot = (uint32_t)i;
	return true;
}

uint32_t
journal_segment_size(const struct journal *journal)
{
	uint64_t size = journal->options.segment_size;

	/* A small disk has room for some, too. */
	if (journal->disk_size != 0 && size > journal->disk_size / 20)
		size = journal->disk_size / 20;
	if (size < SEGMENT_SIZE_MIN)
		size = SEGMENT_SIZE_MIN;
	if (size > SEGMENT_SIZE_MAX)
		size = SEGMENT_SIZE_MAX;
	return (uint32_t)(size / SEGMENT_DATA * SEGMENT_DATA);
}

static void
update_gauge(const struct journal *journal)
{
	size_t used, all;

	journal_count(journal, &used, &all);
	stats_set(STATS_QUEUE_SEGMENT, (int64_t)all);
}

/* Gives the head an empty segment, whose header is the first thing staged. */
static enum journal_result
take_segment(struct journal *journal, enum journal_head which, bool may_use_reserve)
{
	struct head *head = &journal->heads[which];
	struct segment_header header;
	struct segment *segment;
	uint32_t slot = 0;
	size_t empty;

	if (clock_monotonic_ms() < journal->broken_until_ms)
		return JOURNAL_BROKEN;
	empty = journal_count_empty(journal, &slot);
	if (empty == 0 || (empty == 1 && !may_use_reserve)) {
		/* One to use, beside the one that stays. */
		if (!journal_make_now(journal) && (empty == 0 || !may_use_reserve)) {
			journal->full = true;
			return JOURNAL_FULL;
		}
		journal_count_empty(journal, &slot);
	}
	if (head->capacity < SEGMENT_DATA) {
		head->data = malloc(STAGED_KEEP);
		if (head->data == NULL)
			return JOURNAL_BROKEN;
		head->capacity = STAGED_KEEP;
	}
	segment = journal->segments[slot];
	segment->key.sequence = ++journal->last_sequence;
	arc4random_buf(&segment->key.salt, sizeof(segment->key.salt));
	segment->state = SEGMENT_OPEN;
	segment->use = which == JOURNAL_FIRST ? SEGMENT_FIRST : SEGMENT_SECOND;
	segment->live_bytes = 0;
	segment->live_count = 0;
	segment->need_count = 0;
	segment->done = segment->voided = segment->superseded = false;
	segment->end = 0;
	header = (struct segment_header){ SEGMENT_VERSION, segment->use, segment->key,
		segment->size, journal->last_batch };
	segment_header_encode(head->data, &header);
	head->segment = segment;
	head->slot = slot;
	head->start = 0;
	head->length = SEGMENT_DATA;
	head->has_records = false;
	update_gauge(journal);
	return JOURNAL_OK;
}

void
journal_close_segment(struct head *head, enum segment_state state)
{
	head->segment->state = state;
	head->segment->closed_ms = clock_monotonic_ms();
	head->segment = NULL;
	head->length = 0;
	head->has_records = false;
	head->begun = NULL;
}

static bool
make_staging(struct head *head, size_t size)
{
	size_t capacity = head->capacity == 0 ? STAGED_KEEP : head->capacity;
	uint8_t *data;

	while (capacity < head->length + size)
		capacity *= 2;
	if (capacity == head->capacity)
		return true;
	data = realloc(head->data, capacity);
	if (data == NULL)
		return false;
	head->data = data;
	head->capacity = capacity;
	return true;
}

static size_t
room(const struct head *head)
{
	size_t used = (size_t)head->start + head->length + record_size(BATCH_END_SIZE);

	return used > head->segment->size ? 0 : head->segment->size - used;
}

enum journal_result
journal_begin(struct journal *journal, enum journal_head which, size_t payload_length,
    bool may_use_reserve, uint8_t **payload)
{
	struct head *head = &journal->heads[which];
	size_t size;
	enum journal_result result;

	if (payload_length > journal_segment_size(journal))
		return JOURNAL_TOO_LARGE;
	size = record_size(payload_length);
	if (head->segment != NULL && size > room(head)) {
		/* Whether it is durable its own waiters are told; this one goes elsewhere. */
		(void)journal_commit(journal, which);
		if (head->segment != NULL && size > room(head))
			journal_close_segment(head, SEGMENT_CLOSED);
	}
	if (head->segment == NULL) {
		if (size + SEGMENT_DATA + record_size(BATCH_END_SIZE) >
		    journal_segment_size(journal))
			return JOURNAL_TOO_LARGE;
		result = take_segment(journal, which, may_use_reserve);
		if (result != JOURNAL_OK)
			return result;
	}
	if (which == JOURNAL_FIRST && journal_stage_carried(journal))
		return journal_begin(journal, which, payload_length, may_use_reserve, payload);
	/* A free segment of an earlier, smaller size. */
	if (size > room(head))
		return JOURNAL_BROKEN;
	if (!make_staging(head, size + record_size(BATCH_END_SIZE)))
		return JOURNAL_BROKEN;
	if (!head->has_records)
		head->batch = ++journal->last_batch;
	head->begun = head->data + head->length;
	*payload = head->begun + RECORD_HEADER_SIZE;
	return JOURNAL_OK;
}

void
journal_end(struct journal *journal, enum journal_head which, enum record_type type,
    size_t payload_length, struct location *location)
{
	struct head *head = &journal->heads[which];
	struct record record = { type, (uint32_t)payload_length, 0, head->segment->key, head->batch,
		head->start + (uint32_t)head->length };

	record_seal(head->begun, &record);
	head->length += record_size(payload_length);
	head->has_records = true;
	head->begun = NULL;
	*location = (struct location){ head->slot, record.offset, record.length };
}

void
journal_cancel(struct journal *journal, enum journal_head which)
{
	journal->heads[which].begun = NULL;
}

void
journal_needs(struct journal *journal, enum journal_head which, uint64_t target)
{
	struct segment *segment = journal->heads[which].segment;

	if (segment != NULL && !segment_add_need(segment, target))
		fatalx("out of memory");
}

enum journal_result
journal_append_copy(struct journal *journal, enum journal_head which, enum record_type type,
    const uint8_t *payload, size_t length, uint64_t target, struct location *location)
{
	enum journal_result result;
	uint8_t *to;

	*location = (struct location){ 0, 0, 0 };
	result = journal_begin(journal, which, length, true, &to);
	if (result != JOURNAL_OK)
		return result;
	memcpy(to, payload, length);
	journal_needs(journal, which, target);
	journal_end(journal, which, type, length, location);
	return JOURNAL_OK;
}

void
journal_state(struct journal *journal, enum journal_head which, const struct state *state,
    struct location *location)
{
	struct buf buf;

	buf_init(&buf, 4096);
	state_encode(&buf, state);
	if (!buf_ok(&buf))
		fatalx("out of memory");
	if (journal_append_copy(journal, which, RECORD_STATE, buf.data, buf.length, state->target,
	        location) != JOURNAL_OK)
		journal_carry(journal, RECORD_STATE, buf.data, buf.length, state->target,
		    state->change == STATE_UPDATE ? state->envelope_id : 0);
	buf_free(&buf);
}

static void
end_batch(struct journal *journal, struct head *head)
{
	struct record record = { RECORD_BATCH, BATCH_END_SIZE, 0, head->segment->key, head->batch,
		head->start + (uint32_t)head->length };
	struct batch_end end;
	uint8_t *at = head->data + head->length;

	if (!journal->keep_wall && journal->carried_count == 0 &&
	    !journal_is_staging_carried(journal))
		journal->last_wall = clock_wall();
	end = (struct batch_end){ head->start, journal->last_wall };
	batch_end_encode(at + RECORD_HEADER_SIZE, &end);
	record_seal(at, &record);
	head->length += record_size(BATCH_END_SIZE);
}

/* Writes the batch that is staged. */
static bool
write_batch(struct head *head)
{
	struct segment *segment = head->segment;
	bool durable = segment_write(segment, head->data, head->length, head->start) &&
	    fdatasync(segment->fd) == 0;

	stats_add(STATS_QUEUE_SYNC, 1);
	stats_add(STATS_QUEUE_BYTES, (int64_t)head->length);
	if (!durable) {
		log_error("spool: segment %s: can't write or sync: %s; the messages in hand are "
		          "refused, the segment is not written again: look at the disk",
		    segment->name, strerror(errno));
		return false;
	}
	head->start += (uint32_t)head->length;
	segment->end = head->start;
	head->length = 0;
	head->has_records = false;
	if (head->capacity > STAGED_KEEP) {
		free(head->data);
		head->data = NULL;
		head->capacity = 0;
	}
	return true;
}

bool
journal_commit(struct journal *journal, enum journal_head which)
{
	struct head *head = &journal->heads[which];
	bool durable = false;

	if (head->segment == NULL || !head->has_records)
		return journal->carried_count == 0;
	end_batch(journal, head);
	if (which == JOURNAL_FIRST && !journal_is_salvaging(journal) &&
	    !journal->handler.batch_files(journal->handler.arg, which))
		journal_withdraw(journal);
	else if (write_batch(head))
		durable = true;
	else
		journal_salvage(journal, which);
	/* What is written after a failure has nobody waiting for it. */
	if (!journal_is_salvaging(journal))
		journal->handler.batch_done(journal->handler.arg, which, durable);
	return durable;
}

size_t
journal_staged(const struct journal *journal, enum journal_head which)
{
	const struct head *head = &journal->heads[which];

	return head->has_records ? head->length : 0;
}

void
journal_hold(struct journal *journal, const struct location *location)
{
	struct segment *segment = journal->segments[location->slot];

	segment->live_bytes += record_size(location->length);
	segment->live_count++;
}

void
journal_drop(struct journal *journal, const struct location *location)
{
	struct segment *segment = journal->segments[location->slot];

	segment->live_bytes -= record_size(location->length);
	segment->live_count--;
}

void
journal_supersede(struct journal *journal, const struct location *location)
{
	journal->segments[location->slot]->superseded = true;
	journal_drop(journal, location);
}

uint64_t
journal_sequence(const struct journal *journal, uint32_t slot)
{
	return journal->segments[slot]->key.sequence;
}

/* A batch in hand is read from memory, everything else from the disk. */
bool
journal_read(const struct journal *journal, const struct location *location, uint32_t from,
    void *data, size_t length)
{
	const struct segment *segment;

	if (location->offset == 0 || location->slot >= journal->segment_count ||
	    (segment = journal->segments[location->slot]) == NULL || from > location->length ||
	    length > location->length - from) {
		errno = EINVAL;
		return false;
	}
	for (unsigned i = 0; i < JOURNAL_HEAD_COUNT; i++) {
		const struct head *head = &journal->heads[i];

		if (head->segment == segment && location->offset >= head->start &&
		    head->length > 0) {
			memcpy(data,
			    head->data + (location->offset - head->start) + RECORD_HEADER_SIZE +
			        from,
			    length);
			return true;
		}
	}
	return segment_read(segment, data, length, location->offset + RECORD_HEADER_SIZE + from);
}

uint8_t *
journal_read_head(const struct journal *journal, const struct location *location, size_t *length)
{
	struct buf_reader reader;
	size_t first = location->length < 4096 ? location->length : 4096;
	uint8_t *data = malloc(4096), *larger;

	if (data == NULL || first < 4 || !journal_read(journal, location, 0, data, first))
		goto fail;
	buf_reader_init(&reader, data, first);
	*length = buf_get_u32(&reader);
	if (*length > location->length)
		goto fail;
	if (*length <= first)
		return data;
	larger = realloc(data, *length);
	if (larger == NULL)
		goto fail;
	data = larger;
	if (journal_read(journal, location, (uint32_t)first, data + first, *length - first))
		return data;
fail:
	log_error("spool: can't read the record at %" PRIu32 " of segment %s: %s", location->offset,
	    location->slot < journal->segment_count && journal->segments[location->slot] != NULL
	        ? journal->segments[location->slot]->name
	        : "?",
	    strerror(errno));
	free(data);
	return NULL;
}

bool
journal_read_state(
    const struct journal *journal, const struct location *location, struct state *state)
{
	uint8_t data[1024];
	struct buf_reader reader;

	if (location->length > sizeof(data) ||
	    !journal_read(journal, location, 0, data, location->length))
		return false;
	buf_reader_init(&reader, data, location->length);
	return state_decode(&reader, state) && buf_reader_done(&reader);
}

enum journal_result
journal_accepts(const struct journal *journal)
{
	if (journal->full || journal->low)
		return JOURNAL_FULL;
	if (clock_monotonic_ms() < journal->broken_until_ms)
		return JOURNAL_BROKEN;
	return JOURNAL_OK;
}

/* More than one in four free segments goes back to the file system. */
static void
trim(struct journal *journal)
{
	uint32_t slot = 0;
	size_t used, all, empty;

	for (;;) {
		journal_count(journal, &used, &all);
		empty = journal_count_empty(journal, &slot);
		if (empty <= 2 || empty <= used / 4)
			return;
		if (unlinkat(journal->spool->segments_fd, journal->segments[slot]->name, 0) == -1)
			return;
		segment_free(journal->segments[slot]);
		journal->segments[slot] = NULL;
	}
}

static void
look_at_disk(struct journal *journal)
{
	int permille = spool_free_permille(journal->spool);
	int floor = (int)journal->options.free_percent * 10;
	bool low = permille != -1 && permille < (journal->low ? floor + 5 : floor);

	if (low && !journal->low)
		log_error("spool: %d.%d%% of the disk are free, less than the %u%% that stay so: "
		          "new mail is put off (452 4.3.1); free or add disk space",
		    permille / 10, permille % 10, journal->options.free_percent);
	else if (!low && journal->low)
		log_info("spool: disk space is back, mail is taken again");
	journal->low = low;
}

/* Mail is taken while there is room for it beside the reserve. */
void
journal_look_at_room(struct journal *journal)
{
	struct head *first = &journal->heads[JOURNAL_FIRST];
	size_t empty = journal_count_empty(journal, &(uint32_t){ 0 });
	/* While one can be made, whoever needs it makes it. */
	bool full = journal->no_more && empty < 2 &&
	    (empty == 0 || first->segment == NULL || room(first) < first->segment->size / 4);

	/* The segment in hand may be all that can be emptied. */
	if (full && first->segment != NULL && !first->has_records &&
	    first->segment->live_count == 0 && first->start > SEGMENT_DATA)
		journal_close_segment(first, SEGMENT_CLOSED);
	if (journal->full && !full)
		log_info("spool: there is room again, mail is taken again");
	journal->full = full;
}

void
journal_tick(struct journal *journal)
{
	uint8_t *payload;

	look_at_disk(journal);
	trim(journal);
	if (clock_monotonic_ms() >= journal->broken_until_ms) {
		journal_look_at_room(journal);
		/* Takes a segment where there is none, and stages what is carried. */
		if (journal->carried_count > 0 &&
		    journal_begin(journal, JOURNAL_FIRST, 0, true, &payload) == JOURNAL_OK)
			journal_cancel(journal, JOURNAL_FIRST);
	}
	update_gauge(journal);
}

void
journal_count(const struct journal *journal, size_t *used, size_t *all)
{
	*used = *all = 0;
	for (size_t i = 0; i < journal->segment_count; i++) {
		if (journal->segments[i] == NULL)
			continue;
		(*all)++;
		if (journal->segments[i]->state != SEGMENT_EMPTY)
			(*used)++;
	}
}

void
journal_set_options(struct journal *journal, const struct journal_options *options)
{
	uint32_t size = journal_segment_size(journal);

	journal->options = *options;
	if (journal_segment_size(journal) != size)
		segment_make_cancel(&journal->maker);
}

bool
journal_was_damaged(const struct journal *journal)
{
	return journal->damaged;
}

int64_t
journal_last_wall(const struct journal *journal)
{
	return journal->last_wall;
}

void
journal_keep_wall(struct journal *journal, bool keep)
{
	journal->keep_wall = keep;
}

enum journal_open_result
journal_open(struct journal **result, const struct spool *spool,
    const struct journal_options *options, const struct journal_handler *handler)
{
	struct journal *journal = calloc(1, sizeof(*journal));
	enum journal_open_result opened;

	if (journal == NULL)
		fatalx("out of memory");
	journal->spool = spool;
	journal->options = *options;
	journal->handler = *handler;
	journal->disk_size = spool_disk_size(spool);
	/* Recovery's callbacks use it. */
	*result = journal;
	opened = journal_recover(journal);
	if (opened != JOURNAL_OPENED) {
		journal_close(journal);
		*result = NULL;
		return opened;
	}
	/* Nobody waits yet. */
	while (journal_is_short(journal) && journal_make_now(journal))
		;
	journal_tick(journal);
	return JOURNAL_OPENED;
}

void
journal_close(struct journal *journal)
{
	if (journal == NULL)
		return;
	segment_make_abandon(&journal->maker);
	for (size_t i = 0; i < journal->segment_count; i++)
		segment_free(journal->segments[i]);
	free(journal->segments);
	for (unsigned i = 0; i < JOURNAL_HEAD_COUNT; i++)
		free(journal->heads[i].data);
	for (size_t i = 0; i < journal->carried_count; i++)
		free(journal->carried[i].payload);
	free(journal->carried);
	free(journal->reclaim.data);
	free(journal->reclaim.copies);
	free(journal);
}
