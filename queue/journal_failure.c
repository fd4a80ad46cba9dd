/*
 * What becomes of a batch that can't be written.
 *
 * Nothing is tried again on its segment: which of its pages the kernel still holds is unknown. The
 * states that were staged are carried over to another segment; for the messages there is a
 * RECORD_VOID, and only then are they refused.
 *
 * Where the next segment can't be had either, all that stays in memory, and goes before anything
 * newer as soon as there is one.
 */
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "queue/journal_private.h"

#define BROKEN_PAUSE_MS 2000

bool
journal_is_staging_carried(const struct journal *journal)
{
	switch (journal->phase) {
	case JOURNAL_SOUND:
	case JOURNAL_SALVAGES:
		return false;
	case JOURNAL_STAGES_CARRIED:
	case JOURNAL_SALVAGES_STAGING:
		return true;
	}
	return false;
}

bool
journal_is_salvaging(const struct journal *journal)
{
	switch (journal->phase) {
	case JOURNAL_SOUND:
	case JOURNAL_STAGES_CARRIED:
		return false;
	case JOURNAL_SALVAGES:
	case JOURNAL_SALVAGES_STAGING:
		return true;
	}
	return false;
}

void
journal_carry(struct journal *journal, enum record_type type, const uint8_t *payload, size_t length,
    uint64_t target, uint64_t envelope_id)
{
	struct carried *list = journal->carried, one = { type, target, envelope_id, length, NULL };
	size_t capacity;

	if (journal->carried_count == journal->carried_capacity) {
		capacity = journal->carried_capacity == 0 ? 64 : 2 * journal->carried_capacity;
		list = reallocarray(list, capacity, sizeof(*list));
		if (list == NULL)
			fatalx("out of memory");
		journal->carried = list;
		journal->carried_capacity = capacity;
	}
	one.payload = malloc(length);
	if (one.payload == NULL)
		fatalx("out of memory");
	memcpy(one.payload, payload, length);
	list[journal->carried_count++] = one;
}

/* What waited for a segment goes before anything newer. */
static void
stage_carried(struct journal *journal)
{
	static const struct location nowhere;
	struct carried *list = journal->carried;
	size_t count = journal->carried_count, i;
	struct location to;

	journal->carried = NULL;
	journal->carried_count = journal->carried_capacity = 0;
	for (i = 0; i < count; i++) {
		const struct carried *one = &list[i];

		/* One about a segment that is gone by now has no object any more. */
		if (!journal_has_object(journal, one->target))
			;
		else if (journal_append_copy(journal, JOURNAL_FIRST, one->type, one->payload,
		             one->length, one->target, &to) != JOURNAL_OK)
			journal_carry(journal, one->type, one->payload, one->length, one->target,
			    one->envelope_id);
		else if (one->envelope_id != 0)
			journal->handler.state_moved(
			    journal->handler.arg, one->envelope_id, &nowhere, &to);
		free(one->payload);
	}
	free(list);
}

bool
journal_stage_carried(struct journal *journal)
{
	enum journal_phase before = journal->phase;

	if (journal->carried_count == 0 || journal_is_staging_carried(journal))
		return false;
	journal->phase =
	    before == JOURNAL_SOUND ? JOURNAL_STAGES_CARRIED : JOURNAL_SALVAGES_STAGING;
	stage_carried(journal);
	journal->phase = before;
	return true;
}

/* Keeps the states and voids of a batch that was not written. */
static void
carry_batch(struct journal *journal, struct head *head)
{
	static const struct location nowhere;
	struct buf_reader reader;
	struct record record;
	struct state state;
	struct void_range range;
	const uint8_t *payload;
	uint32_t offset = head->start == 0 ? SEGMENT_DATA : 0;
	struct location at;

	while (offset < head->length &&
	    record_parse(head->data + offset, &head->segment->key, head->start + offset, &record)) {
		payload = head->data + offset + RECORD_HEADER_SIZE;
		buf_reader_init(&reader, payload, record.length);
		at = (struct location){ head->slot, record.offset, record.length };
		if (record.type == RECORD_STATE && state_decode(&reader, &state)) {
			journal_carry(journal, record.type, payload, record.length, state.target,
			    state.change == STATE_UPDATE ? state.envelope_id : 0);
			if (state.change == STATE_UPDATE)
				journal->handler.state_moved(
				    journal->handler.arg, state.envelope_id, &at, &nowhere);
		} else if (record.type == RECORD_VOID && void_decode(&reader, &range))
			journal_carry(
			    journal, record.type, payload, record.length, range.sequence, 0);
		offset += (uint32_t)record_size(record.length);
	}
}

/* The batch that failed may be there or not: it must not count. */
static void
carry_void(struct journal *journal, const struct head *head)
{
	struct void_range range = { head->segment->key.sequence, head->start };
	struct buf buf;

	buf_init(&buf, 64);
	void_encode(&buf, &range);
	if (!buf_ok(&buf))
		fatalx("out of memory");
	journal_carry(journal, RECORD_VOID, buf.data, buf.length, range.sequence, 0);
	buf_free(&buf);
}

/* Stages what is carried and writes it, in a batch with nothing else. */
static void
write_carried(struct journal *journal)
{
	enum journal_phase before = journal->phase;
	uint8_t *payload;

	journal->phase =
	    journal_is_staging_carried(journal) ? JOURNAL_SALVAGES_STAGING : JOURNAL_SALVAGES;
	if (journal_begin(journal, JOURNAL_FIRST, 0, true, &payload) == JOURNAL_OK) {
		journal_cancel(journal, JOURNAL_FIRST);
		(void)journal_commit(journal, JOURNAL_FIRST);
	}
	journal->phase = before;
}

void
journal_salvage(struct journal *journal, enum journal_head which)
{
	struct head *head = &journal->heads[which];

	journal->failures++;
	carry_batch(journal, head);
	carry_void(journal, head);
	journal_close_segment(head, SEGMENT_FAILED);
	if (journal_is_salvaging(journal)) {
		journal->broken_until_ms = clock_monotonic_ms() + BROKEN_PAUSE_MS;
		return;
	}
	/* With a batch in hand it goes together with that. */
	if (journal->heads[JOURNAL_FIRST].segment == NULL)
		write_carried(journal);
}

void
journal_withdraw(struct journal *journal)
{
	struct head *head = &journal->heads[JOURNAL_FIRST];

	carry_batch(journal, head);
	/* The header of a segment just taken. */
	head->length = head->start == 0 ? SEGMENT_DATA : 0;
	head->has_records = false;
	head->begun = NULL;
	write_carried(journal);
}
