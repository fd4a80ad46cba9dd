/*
 * A key is a hash of 32 bits: who looks for one compares the events themselves. So it costs four bytes
 * whatever the text. Only the events that bring a message in are found by addresses; all others by its
 * id, and those of a message that was made of another by that one's, too.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "lookup/history_batch.h"

/* Of a Message-ID an event has no more, with the bracket in front. */
#define BARE_ID_MAX (FACTS_TEXT_MAX - 1)

/* Hashes */

static uint32_t
hash_bytes(char kind, const void *data, size_t length)
{
	const unsigned char *at = data;
	uint32_t hash = 2166136261U ^ (unsigned char)kind;

	hash *= 16777619U;
	for (size_t i = 0; i < length; i++)
		hash = (hash ^ (unsigned char)tolower(at[i])) * 16777619U;
	return hash;
}

uint32_t
history_key_id(uint32_t id)
{
	return hash_bytes('m', &id, sizeof(id));
}

const char *
history_bare(const char *text, size_t *length)
{
	while (*text == ' ' || *text == '<')
		text++;
	*length = strlen(text);
	while (*length > 0 && (text[*length - 1] == ' ' || text[*length - 1] == '>'))
		--*length;
	return text;
}

const char *
history_bare_id(const char *text, size_t *length)
{
	text = history_bare(text, length);
	if (*length > BARE_ID_MAX)
		*length = BARE_ID_MAX;
	return text;
}

uint32_t
history_key_header_id(const char *text)
{
	size_t length;

	text = history_bare_id(text, &length);
	return hash_bytes('i', text, length);
}

uint32_t
history_key_address(const char *text)
{
	size_t length;

	text = history_bare(text, &length);
	return hash_bytes('a', text, length);
}

const enum history_field history_address_fields[HISTORY_ADDRESS_FIELDS] = { HISTORY_FROM,
	HISTORY_RCPT, HISTORY_DEST };

/* Batches */

void
history_batch_init(struct history_batch *batch)
{
	memset(batch, 0, sizeof(*batch));
	buf_init(&batch->events, 2 * HISTORY_BATCH_MAX);
}

void
history_batch_free(struct history_batch *batch)
{
	buf_free(&batch->events);
	free(batch->keys);
	history_batch_init(batch);
}

bool
history_batch_reserve(struct history_batch *batch, size_t extra)
{
	size_t capacity = batch->key_capacity == 0 ? 64 : batch->key_capacity;
	uint32_t *keys;

	while (capacity < batch->key_count + extra)
		capacity *= 2;
	if (capacity == batch->key_capacity)
		return true;
	keys = reallocarray(batch->keys, capacity, sizeof(*keys));
	if (keys == NULL)
		return false;
	batch->keys = keys;
	batch->key_capacity = capacity;
	return true;
}

static void
add_keys(struct history_batch *batch, const struct history_event *event)
{
	uint32_t made_id = history_made_id(event);

	if (event->message_id != 0)
		batch->keys[batch->key_count++] = history_key_id(event->message_id);
	if (made_id != 0)
		batch->keys[batch->key_count++] = history_key_id(made_id);
	if (event->fields[HISTORY_HEADER_ID] != NULL)
		batch->keys[batch->key_count++] =
		    history_key_header_id(event->fields[HISTORY_HEADER_ID]);
	/* Of what comes later the message's id is enough. */
	if (event->kind != HISTORY_RECEIVED && event->kind != HISTORY_RECIPIENT &&
	    event->kind != HISTORY_REFUSED)
		return;
	for (size_t i = 0; i < HISTORY_ADDRESS_FIELDS; i++) {
		const char *address = event->fields[history_address_fields[i]];

		if (address != NULL && *address != '\0')
			batch->keys[batch->key_count++] = history_key_address(address);
	}
}

bool
history_batch_add(struct history_batch *batch, const void *payload, size_t length)
{
	struct history_scratch scratch;
	struct history_event event;
	struct buf_reader reader;

	buf_reader_init(&reader, payload, length);
	while (reader.left > 0) {
		if (!history_event_decode(&reader, &event, &scratch) ||
		    !history_batch_reserve(batch, HISTORY_ADDRESS_FIELDS + 3))
			return false;
		add_keys(batch, &event);
		batch->event_count++;
		if (batch->first_us == 0 || event.time_us < batch->first_us)
			batch->first_us = event.time_us;
		if (event.time_us > batch->last_us)
			batch->last_us = event.time_us;
	}
	buf_add(&batch->events, payload, length);
	return length > 0 && buf_ok(&batch->events);
}

static int
compare(const void *left, const void *right)
{
	uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;

	return a < b ? -1 : a > b;
}

/* Sorted, each once. */
void
history_batch_sort(struct history_batch *batch)
{
	size_t count = 0;

	if (batch->key_count == 0)
		return;
	qsort(batch->keys, batch->key_count, sizeof(*batch->keys), compare);
	for (size_t i = 1; i < batch->key_count; i++)
		if (batch->keys[i] != batch->keys[count])
			batch->keys[++count] = batch->keys[i];
	batch->key_count = count + 1;
}
