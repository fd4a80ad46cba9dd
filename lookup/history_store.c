/*
 * Events are kept as they come, in blocks of 64 KiB, each with a list of hashes of all that its events
 * can be found by. So an event costs next to nothing to keep, however many ways there are to find it,
 * and to find some, the lists of all blocks are looked through: 30 bytes a message.
 *
 * Two tables: "events" has a block's bytes, "keys" how many those are, the time of the newest, and the
 * sorted hashes. A block that isn't full yet is a row of pieces, one a batch, which a full block
 * replaces: keys "00000012" and "00000013.0001", "00000013.0002".
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "lookup/history_state.h"

#define BLOCK_SIZE HISTORY_BATCH_MAX
#define BLOCK_US   (INT64_C(86400) * 1000000) /* that one may span, so that time can be kept */
#define PIECES_MAX 1000
#define RETRY_MS   60000
/* Having to be recovered again within that is damage. */
#define RECOVERED_MS (INT64_C(86400) * 1000)
#define EXPIRED_MAX  8 /* blocks in one step */

/* Opening */

struct history_store *
history_store_new(const char *directory)
{
	struct history_store *history = calloc(1, sizeof(*history));

	if (history == NULL || (history->directory = strdup(directory)) == NULL)
		fatalx("out of memory");
	history_batch_init(&history->open);
	return history;
}

static void
close_store(struct history_store *history)
{
	store_close(history->store);
	history->store = NULL;
	free(history->blocks);
	history->blocks = NULL;
	history->block_count = history->block_capacity = history->first = 0;
	history->size = 0;
	history_batch_free(&history->open);
}

void
history_store_free(struct history_store *history)
{
	if (history == NULL)
		return;
	close_store(history);
	free(history->directory);
	free(history);
}

void
history_store_give_up(struct history_store *history)
{
	int64_t now_ms = clock_monotonic_ms();
	bool at_once = false;

	if (history->store != NULL && store_is_damaged(history->store))
		history->is_damaged = true;
	else if (history->store != NULL && store_needs_recovery(history->store)) {
		/* What opening doesn't mend is soon found again. */
		if (history->is_recovered && now_ms - history->recovered_ms < RECOVERED_MS)
			history->is_damaged = true;
		else
			at_once = true;
		history->is_recovered = at_once;
		history->recovered_ms = now_ms;
	}
	at_once = at_once || history->is_damaged;
	history->retry_at_ms = at_once ? 0 : now_ms + RETRY_MS;
	close_store(history);
	log_error("the history of messages in %s can't be used%s", history->directory,
	    at_once ? ": it is opened again" : ": it is tried again in a minute");
}

static struct block *
add_block(struct history_store *history, uint32_t number)
{
	struct block *blocks;
	size_t capacity;

	if (history->block_count == history->block_capacity) {
		capacity = history->block_capacity == 0 ? 64 : 2 * history->block_capacity;
		blocks = reallocarray(history->blocks, capacity, sizeof(*blocks));
		if (blocks == NULL)
			fatalx("out of memory");
		history->blocks = blocks;
		history->block_capacity = capacity;
	}
	history->blocks[history->block_count] = (struct block){ .number = number };
	return &history->blocks[history->block_count++];
}

static bool
read_list(const void *value, size_t length, uint32_t *events, int64_t *last_us)
{
	struct buf_reader reader;

	buf_reader_init(&reader, value, length);
	*events = buf_get_u32(&reader);
	*last_us = (int64_t)buf_get_u64(&reader);
	return !reader.failed && reader.left % sizeof(uint32_t) == 0 && *events <= BLOCK_SIZE * 2;
}

/* A key's block and piece (0: a whole block). */
static bool
read_key(const char *key, uint32_t *number, uint32_t *piece)
{
	char end;
	int fields = sscanf(key, "%8" SCNx32 ".%4" SCNx32 "%c", number, piece, &end);

	if (fields == 1)
		*piece = 0;
	return (fields == 1 && strlen(key) == 8) ||
	    (fields == 2 && strlen(key) == 13 && *piece > 0 && *piece <= PIECES_MAX);
}

struct loading {
	struct history_store *history;
	bool is_bad;
};

static bool
load_list(const char *key, const void *value, size_t length, void *arg)
{
	struct loading *loading = arg;
	struct history_store *history = loading->history;
	struct block *block =
	    history->block_count == 0 ? NULL : &history->blocks[history->block_count - 1];
	uint32_t number, piece, events;
	int64_t last_us;

	if (!read_key(key, &number, &piece) || !read_list(value, length, &events, &last_us)) {
		loading->is_bad = true;
		return false;
	}
	if (block == NULL || block->number != number)
		block = add_block(history, number);
	block->pieces = piece;
	block->size += (uint32_t)length + events;
	if (last_us > block->last_us)
		block->last_us = last_us;
	history->size += length + events;
	return true;
}

void
history_store_key(char key[HISTORY_KEY_MAX + 1], uint32_t number, uint32_t piece)
{
	if (piece == 0)
		(void)snprintf(key, HISTORY_KEY_MAX + 1, "%08" PRIx32, number);
	else
		(void)snprintf(key, HISTORY_KEY_MAX + 1, "%08" PRIx32 ".%04" PRIx32, number, piece);
}

static bool
load_piece(const char *key, const void *value, size_t length, void *arg)
{
	struct loading *loading = arg;

	(void)key;
	loading->is_bad = !history_batch_add(&loading->history->open, value, length);
	return !loading->is_bad;
}

/* What was written before is older, whatever a clock that was ahead has said of it. */
static void
lower_times(struct history_store *history, size_t count, int64_t last_us)
{
	for (size_t i = count; i-- > history->first && history->blocks[i].last_us > last_us;)
		history->blocks[i].last_us = last_us;
}

/* What was written of the last block, to go on with. */
static bool
load_open(struct history_store *history)
{
	struct block *last =
	    history->block_count == 0 ? NULL : &history->blocks[history->block_count - 1];
	struct loading loading = { .history = history };
	char prefix[HISTORY_KEY_MAX + 1];

	if (last == NULL || last->pieces == 0)
		return true;
	(void)snprintf(prefix, sizeof(prefix), "%08" PRIx32 ".", last->number);
	return store_each(history->events, prefix, load_piece, &loading) == STORE_OK &&
	    !loading.is_bad;
}

static bool
open_store(struct history_store *history)
{
	struct loading loading = { .history = history };

	history->store = store_open_expendable(history->directory, history->is_damaged);
	history->is_damaged = false;
	if (history->store == NULL)
		return false;
	history->events = store_table_open(history->store, "events");
	history->keys = store_table_open(history->store, "keys");
	if (history->events == NULL || history->keys == NULL ||
	    store_each(history->keys, "", load_list, &loading) != STORE_OK)
		return false;
	for (size_t i = history->block_count; i-- > 0;)
		lower_times(history, i, history->blocks[i].last_us);
	if (!loading.is_bad && load_open(history))
		return true;
	log_error("the history of messages in %s can't be understood: it begins anew",
	    history->directory);
	close_store(history);
	history->is_damaged = true;
	return false;
}

bool
history_store_is_open(struct history_store *history)
{
	if (history->store != NULL)
		return true;
	if (clock_monotonic_ms() < history->retry_at_ms)
		return false;
	/* Damage that opening finds is done away with by opening once more. */
	for (unsigned i = 0; i < 2; i++) {
		if (open_store(history))
			return true;
		if (history->store != NULL &&
		    (store_is_damaged(history->store) || store_needs_recovery(history->store))) {
			close_store(history);
			history->is_damaged = true;
		}
		if (!history->is_damaged)
			break;
	}
	close_store(history);
	history->retry_at_ms = clock_monotonic_ms() + RETRY_MS;
	log_error("the history of messages in %s can't be opened: it is tried again in a minute",
	    history->directory);
	return false;
}

void
history_store_limit(struct history_store *history, int64_t keep_us, uint64_t max_size)
{
	history->keep_us = keep_us;
	history->max_size = max_size;
}

uint64_t
history_store_size(const struct history_store *history)
{
	return history->size;
}

/* Writing */

static bool
put_block(struct history_store *history, struct store_transaction *transaction, const char *key,
    const struct history_batch *batch, uint32_t *size)
{
	struct buf list;
	bool good;

	buf_init(&list, HISTORY_LIST_MAX);
	buf_add_u32(&list, (uint32_t)batch->events.length);
	buf_add_u64(&list, (uint64_t)batch->last_us);
	for (size_t i = 0; i < batch->key_count; i++)
		buf_add_u32(&list, batch->keys[i]);
	good = buf_ok(&list) &&
	    store_put(history->events, transaction, key, batch->events.data, batch->events.length,
	        true) == STORE_OK &&
	    store_put(history->keys, transaction, key, list.data, list.length, true) == STORE_OK;
	*size = (uint32_t)(list.length + batch->events.length);
	buf_free(&list);
	return good;
}

static bool
delete_key(struct history_store *history, struct store_transaction *transaction, const char *key)
{
	return store_delete(history->events, transaction, key) != STORE_ERROR &&
	    store_delete(history->keys, transaction, key) != STORE_ERROR;
}

static bool
delete_pieces(
    struct history_store *history, struct store_transaction *transaction, const struct block *block)
{
	char key[HISTORY_KEY_MAX + 1];
	bool good = true;

	for (uint32_t piece = 1; piece <= block->pieces && good; piece++) {
		history_store_key(key, block->number, piece);
		good = delete_key(history, transaction, key);
	}
	return good;
}

/* The block that is being filled. */
static struct block *
open_block(struct history_store *history)
{
	struct block *last =
	    history->block_count == 0 ? NULL : &history->blocks[history->block_count - 1];

	if (last != NULL && (last->pieces > 0 || last->size == 0))
		return last;
	return add_block(history, last == NULL ? 1 : last->number + 1);
}

/* The batch as one more piece. */
static bool
put_piece(struct history_store *history, struct store_transaction *transaction, struct block *block,
    const struct history_batch *batch)
{
	char key[HISTORY_KEY_MAX + 1];
	uint32_t size;

	history_store_key(key, block->number, block->pieces + 1);
	if (!put_block(history, transaction, key, batch, &size))
		return false;
	block->pieces++;
	block->size += size;
	history->size += size;
	return true;
}

/* All pieces, and with them the batch, as a block. */
static bool
put_whole(struct history_store *history, struct store_transaction *transaction, struct block *block)
{
	char key[HISTORY_KEY_MAX + 1];
	uint32_t size;

	history_batch_sort(&history->open);
	history_store_key(key, block->number, 0);
	if (!delete_pieces(history, transaction, block) ||
	    !put_block(history, transaction, key, &history->open, &size))
		return false;
	history->size += size;
	history->size -= block->size;
	block->size = size;
	block->pieces = 0;
	history_batch_free(&history->open);
	return true;
}

static bool
write_batch(struct history_store *history, struct store_transaction *transaction,
    const struct history_batch *batch)
{
	struct block *block = open_block(history);

	if (!history_batch_reserve(&history->open, batch->key_count))
		return false;
	if (history->open.events.length + batch->events.length > BLOCK_SIZE &&
	    history->open.events.length > 0) {
		if (!put_whole(history, transaction, block))
			return false;
		block = open_block(history);
	}
	lower_times(history, history->block_count, batch->last_us);
	buf_add(&history->open.events, batch->events.data, batch->events.length);
	if (!buf_ok(&history->open.events) ||
	    !history_batch_reserve(&history->open, batch->key_count))
		return false;
	memcpy(history->open.keys + history->open.key_count, batch->keys,
	    batch->key_count * sizeof(*batch->keys));
	history->open.key_count += batch->key_count;
	if (batch->last_us > history->open.last_us)
		history->open.last_us = batch->last_us;
	if (history->open.first_us == 0)
		history->open.first_us = batch->first_us;
	if (batch->last_us > block->last_us)
		block->last_us = batch->last_us;
	if (history->open.events.length >= BLOCK_SIZE / 2 || block->pieces == PIECES_MAX ||
	    history->open.last_us - history->open.first_us > BLOCK_US)
		return put_whole(history, transaction, block);
	return put_piece(history, transaction, block, batch);
}

/* NULL, of which the log says why: a full disk may do later. */
static struct store_transaction *
begin(struct history_store *history)
{
	struct store_transaction *transaction = store_begin(history->store);

	if (transaction == NULL && store_needs_recovery(history->store))
		history_store_give_up(history);
	return transaction;
}

bool
history_store_append(struct history_store *history, const struct history_batch *batch)
{
	struct store_transaction *transaction;

	if (batch->events.length == 0)
		return true;
	if (!history_store_is_open(history))
		return false;
	transaction = begin(history);
	if (transaction == NULL)
		return false;
	if (!write_batch(history, transaction, batch)) {
		store_abort(transaction);
		history_store_give_up(history);
		return false;
	}
	if (!store_commit_later(transaction)) {
		history_store_give_up(history);
		return false;
	}
	return true;
}

static bool
is_any_due(const struct history_store *history, int64_t now_us)
{
	const struct block *block = &history->blocks[history->first];

	if (history->first == history->block_count)
		return false;
	return (history->size > history->max_size &&
	           block != &history->blocks[history->block_count - 1]) ||
	    block->last_us < now_us - history->keep_us;
}

/* The first block is let go of. */
static bool
drop_block(struct history_store *history, struct store_transaction *transaction)
{
	struct block *block = &history->blocks[history->first];
	char key[HISTORY_KEY_MAX + 1];
	bool good;

	history_store_key(key, block->number, 0);
	good = block->pieces > 0 ? delete_pieces(history, transaction, block)
	                         : delete_key(history, transaction, key);
	if (!good)
		return false;
	if (block->pieces > 0) { /* the one that was being filled */
		history_batch_free(&history->open);
		block->pieces = 0;
	}
	history->size -= block->size;
	history->first++;
	return true;
}

/* Forgets the blocks that are gone, when they are many. */
static void
shift_blocks(struct history_store *history)
{
	if (history->first < 1024 || history->first < history->block_count / 2)
		return;
	history->block_count -= history->first;
	memmove(history->blocks, history->blocks + history->first,
	    history->block_count * sizeof(*history->blocks));
	history->first = 0;
}

bool
history_store_expire(struct history_store *history, int64_t now_us)
{
	struct store_transaction *transaction = NULL;
	bool good = true;

	if (!history_store_is_open(history))
		return false;
	for (unsigned i = 0; i < EXPIRED_MAX && good && is_any_due(history, now_us); i++) {
		if (transaction == NULL)
			transaction = begin(history);
		if (transaction == NULL)
			return false;
		good = drop_block(history, transaction);
	}
	if (transaction == NULL)
		return false;
	if (!good)
		store_abort(transaction);
	if (!good || !store_commit_later(transaction)) {
		history_store_give_up(history);
		return false;
	}
	shift_blocks(history);
	return is_any_due(history, now_us);
}
