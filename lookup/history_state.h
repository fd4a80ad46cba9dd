/* The inside of a history store, for history_store.c, which writes, and history_find.c. */
#ifndef LOOKUP_HISTORY_STATE_H
#define LOOKUP_HISTORY_STATE_H

#include "common/store.h"
#include "lookup/history_store.h"

#define HISTORY_KEY_MAX   17 /* "00000013.0001" */
#define HISTORY_LIST_HEAD 12 /* of a list of hashes: u32 bytes of events, u64 time of the newest */
#define HISTORY_LIST_MAX  (512 * 1024)

struct block {
	uint32_t number;
	uint32_t size;   /* of events and keys */
	uint32_t pieces; /* 0: it is whole */
	int64_t last_us;
};

struct history_store {
	char *directory;
	struct store *store; /* NULL while it can't be used */
	struct store_table *events;
	struct store_table *keys;
	int64_t retry_at_ms;
	bool is_damaged;   /* to be begun anew */
	bool is_recovered; /* it had to be, at `recovered_ms` */
	int64_t recovered_ms;
	int64_t keep_us;
	uint64_t max_size;
	struct block *blocks; /* oldest first; the last one may be in pieces */
	size_t block_count;
	size_t block_capacity;
	size_t first; /* of them: those before are gone */
	uint64_t size;
	struct history_batch open; /* what the pieces have together */
};

/* It can be used, perhaps after it has been opened. */
bool history_store_is_open(struct history_store *);
/* Closes it, which is logged. It is opened again at once when that may mend it, begun anew when it is
 * damaged, else tried again later. */
void history_store_give_up(struct history_store *);
/* A block's key, or that of one of its pieces (from 1). */
void history_store_key(char key[HISTORY_KEY_MAX + 1], uint32_t number, uint32_t piece);

#endif
