/* Events of the history of messages, as they come and as they lie, and what they are found by. */
#ifndef LOOKUP_HISTORY_BATCH_H
#define LOOKUP_HISTORY_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/ipc_history.h"

/* Events as they are handed over: encoded, one behind the other, and what they are found by. */
#define HISTORY_BATCH_MAX (64 * 1024) /* bytes */
struct history_batch {
	struct buf events;
	uint32_t *keys; /* owned */
	size_t key_count;
	size_t key_capacity;
	size_t event_count;
	int64_t first_us; /* the oldest one's time, and the newest one's */
	int64_t last_us;
};
void history_batch_init(struct history_batch *);
void history_batch_free(struct history_batch *);
/* Takes the events of a frame over. False when they aren't such, or memory is out. */
bool history_batch_add(struct history_batch *, const void *payload, size_t length);
/* Room for so many keys more; false when memory is out. */
bool history_batch_reserve(struct history_batch *, size_t keys);
/* Sorts the keys, and leaves each once. */
void history_batch_sort(struct history_batch *);

/* The keys of a message's id, of a Message-ID, and of an address. */
uint32_t history_key_id(uint32_t id);
uint32_t history_key_header_id(const char *);
uint32_t history_key_address(const char *);
/* Without the angle brackets and blanks around it; a Message-ID as far as events have it. */
const char *history_bare(const char *text, size_t *length);
const char *history_bare_id(const char *text, size_t *length);
/* Those that an event is found by. */
extern const enum history_field history_address_fields[];
#define HISTORY_ADDRESS_FIELDS 3

#endif
