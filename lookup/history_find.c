/*
 * Twice through the blocks: from the newest one back, to find which messages are meant; and from the
 * oldest one on, for all that became of those. Of most blocks only the list of keys is read.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/clock.h"
#include "lookup/history_state.h"

#define FIND_MS      10000 /* of each of the two ways */
#define REFUSALS_MAX 100   /* of those that never had an id, in an answer */

struct search {
	struct history_store *history;
	const char *what;
	uint32_t id; /* 0: it isn't an id */
	uint32_t number;
	uint32_t keys[2 + HISTORY_MESSAGES_MAX]; /* to look for in the blocks */
	size_t key_count;
	uint32_t messages[HISTORY_MESSAGES_MAX];
	size_t message_count;
	size_t refusals; /* without an id */
	int64_t refused_since_us;
	int64_t since_us; /* what is older counts as gone */
	size_t from;      /* the oldest block that may have something */
	enum history_rest rest;
	bool is_failed;
	int64_t until_ms;
	struct buf value;
	struct buf *events;
	size_t *count;
	struct history_scratch scratch;
};

static bool
has_key(const struct search *search, const uint8_t *list, size_t count)
{
	for (size_t k = 0; k < search->key_count; k++) {
		size_t low = 0, high = count;

		while (low < high) {
			size_t middle = low + (high - low) / 2;
			const uint8_t *at = list + middle * 4;
			uint32_t key = (uint32_t)at[0] | (uint32_t)at[1] << 8 |
			    (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;

			if (key == search->keys[k])
				return true;
			if (key < search->keys[k])
				low = middle + 1;
			else
				high = middle;
		}
	}
	return false;
}

/* A value that is there, unless the tables are damaged. */
static bool
get(struct search *search, struct store_table *table, const char *key)
{
	enum store_result result = store_get(table, NULL, key, &search->value);

	if (result == STORE_OK && search->value.length >= HISTORY_LIST_HEAD)
		return true;
	search->is_failed = true;
	if (result != STORE_ERROR)
		search->history->is_damaged = true;
	return false;
}

/* The events of a block, in search->value; false when none of them is wanted. */
static bool
read_block(struct search *search, const struct block *block)
{
	struct history_store *history = search->history;
	char key[HISTORY_KEY_MAX + 1];

	if (block->pieces > 0) {
		buf_clear(&search->value);
		buf_add(&search->value, history->open.events.data, history->open.events.length);
		return buf_ok(&search->value);
	}
	history_store_key(key, block->number, 0);
	if (!get(search, history->keys, key))
		return false;
	if (!has_key(search, search->value.data + HISTORY_LIST_HEAD,
	        (search->value.length - HISTORY_LIST_HEAD) / sizeof(uint32_t)))
		return false;
	return get(search, history->events, key);
}

static bool
matches_text(const struct search *search, const struct history_event *event)
{
	const char *id = event->fields[HISTORY_HEADER_ID];
	size_t wanted_length, length;
	const char *wanted = history_bare_id(search->what, &wanted_length);

	if (id != NULL) {
		id = history_bare_id(id, &length);
		if (length == wanted_length && length > 0 && strncasecmp(id, wanted, length) == 0)
			return true;
	}
	wanted = history_bare(search->what, &wanted_length);
	for (size_t i = 0; i < HISTORY_ADDRESS_FIELDS; i++) {
		const char *address = event->fields[history_address_fields[i]];

		if (address != NULL && strlen(address) == wanted_length && wanted_length > 0 &&
		    strncasecmp(address, wanted, wanted_length) == 0)
			return true;
	}
	return false;
}

static bool
is_wanted_message(const struct search *search, uint32_t id)
{
	for (size_t i = 0; i < search->message_count; i++)
		if (search->messages[i] == id)
			return true;
	return false;
}

/* What says of which other message a wanted one was made. */
static bool
is_origin(const struct search *search, const struct history_event *event)
{
	uint32_t made_id = history_made_id(event);

	return made_id != 0 && is_wanted_message(search, made_id);
}

/* Notes the messages of a block that are meant. */
static void
note_messages(struct search *search, size_t block)
{
	struct history_event event;
	struct buf_reader reader;

	buf_reader_init(&reader, search->value.data, search->value.length);
	while (reader.left > 0 && history_event_decode(&reader, &event, &search->scratch)) {
		if (event.time_us < search->since_us || !matches_text(search, &event))
			continue;
		search->from = block;
		if (event.message_id == 0) {
			if (search->refusals++ == 0 || event.time_us < search->refused_since_us)
				search->refused_since_us = event.time_us;
		} else if (is_wanted_message(search, event.message_id))
			continue;
		else if (search->message_count < HISTORY_MESSAGES_MAX)
			search->messages[search->message_count++] = event.message_id;
		else
			search->rest = HISTORY_REST_OLDER;
	}
}

static void
take_events(struct search *search)
{
	struct history_event event;
	struct buf_reader reader;

	buf_reader_init(&reader, search->value.data, search->value.length);
	while (reader.left > 0 && history_event_decode(&reader, &event, &search->scratch)) {
		if (event.message_id == 0
		        ? search->id != 0 || event.time_us < search->refused_since_us ||
		            !matches_text(search, &event)
		        : !is_wanted_message(search, event.message_id) &&
		            !is_origin(search, &event))
			continue;
		if (event.time_us < search->since_us)
			continue;
		if (search->number != 0 && event.number != 0 && event.number != search->number &&
		    event.message_id == search->id)
			continue;
		if (*search->count >= HISTORY_ANSWER_MAX ||
		    search->events->length > HISTORY_ANSWER_SIZE - HISTORY_EVENT_MAX) {
			search->rest = HISTORY_REST_LONG;
			return;
		}
		history_event_encode(search->events, &event);
		++*search->count;
	}
}

static bool
has_time(struct search *search)
{
	if (clock_monotonic_ms() < search->until_ms)
		return true;
	search->rest = HISTORY_REST_LATE;
	return false;
}

/* From the newest block on: which messages are meant? Nothing is told of a message before the event
 * that brings it in, which has its addresses and its Message-ID. */
static void
find_messages(struct search *search)
{
	struct history_store *history = search->history;

	search->keys[0] = history_key_header_id(search->what);
	search->keys[1] = history_key_address(search->what);
	search->key_count = 2;
	search->from = history->block_count;
	for (size_t i = history->block_count; i-- > history->first && !search->is_failed;) {
		if (search->message_count == HISTORY_MESSAGES_MAX ||
		    search->refusals >= REFUSALS_MAX) {
			search->rest = HISTORY_REST_OLDER;
			break;
		}
		if (!has_time(search))
			break;
		if (read_block(search, &history->blocks[i]))
			note_messages(search, i);
	}
	if (search->refusals == 0)
		search->key_count = 0; /* then ids alone are looked for */
}

static void
parse_id(struct search *search)
{
	size_t length = strlen(search->what);
	uint64_t id;

	if ((length != 8 && length != 16) ||
	    strspn(search->what, "0123456789abcdefABCDEF") != length)
		return;
	id = strtoull(search->what, NULL, 16);
	search->id = (uint32_t)(length == 16 ? id >> 32 : id);
	search->number = length == 16 ? (uint32_t)id : 0;
	search->messages[search->message_count++] = search->id;
}

bool
history_store_find(struct history_store *history, const char *what, struct buf *events,
    size_t *count, enum history_rest *rest)
{
	static struct search search;

	*count = 0;
	*rest = HISTORY_REST_NONE;
	if (!history_store_is_open(history))
		return false;
	memset(&search, 0, offsetof(struct search, scratch));
	search.history = history;
	search.what = what;
	search.from = history->first;
	search.events = events;
	search.count = count;
	search.refused_since_us = INT64_MAX;
	search.since_us = clock_wall_us() - history->keep_us;
	buf_init(&search.value, HISTORY_LIST_MAX);
	parse_id(&search);
	search.until_ms = clock_monotonic_ms() + FIND_MS;
	if (search.id == 0)
		find_messages(&search);
	/* What was found is told, however long that took. */
	search.until_ms = clock_monotonic_ms() + FIND_MS;
	for (size_t i = 0; i < search.message_count; i++)
		search.keys[search.key_count++] = history_key_id(search.messages[i]);
	for (size_t i = search.from;
	     i < history->block_count && search.key_count > 0 && !search.is_failed; i++) {
		if (!has_time(&search))
			break;
		if (read_block(&search, &history->blocks[i]))
			take_events(&search);
	}
	buf_free(&search.value);
	*rest = search.rest;
	if (search.is_failed)
		history_store_give_up(history);
	return !search.is_failed && buf_ok(events);
}
