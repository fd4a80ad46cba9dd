/*
 * Where the history of messages is kept, bounded in time and in size: oldest events first they go.
 *
 * Nothing here knows of other threads; one alone uses it, for it may wait for the disk. What can't be
 * kept is lost, and what is found damaged is given up as a whole: the log says so.
 */
#ifndef LOOKUP_HISTORY_STORE_H
#define LOOKUP_HISTORY_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/ipc_history.h"
#include "lookup/history_batch.h"

struct history_store;

/* Never NULL. Nothing is opened before it is needed; what can't be opened is tried again later. */
struct history_store *history_store_new(const char *directory);
void history_store_free(struct history_store *);
/* `keep_us`: how old an event may be; `max_size`: bytes in all. */
void history_store_limit(struct history_store *, int64_t keep_us, uint64_t max_size);
/* Keeps the events. False when they are lost. */
bool history_store_append(struct history_store *, const struct history_batch *);
/* Removes some of what is too old or too much; true when there is more to remove. */
bool history_store_expire(struct history_store *, int64_t now_us);
/* Bytes kept. */
uint64_t history_store_size(const struct history_store *);

#define HISTORY_MESSAGES_MAX 50   /* the newest ones that an answer is about */
#define HISTORY_ANSWER_MAX   5000 /* events */
#define HISTORY_ANSWER_SIZE  (4 * 1024 * 1024)
/* What an answer leaves out. */
enum history_rest {
	HISTORY_REST_NONE,
	HISTORY_REST_OLDER, /* messages, or refusals */
	HISTORY_REST_LONG,  /* events: an answer is full */
	HISTORY_REST_LATE,  /* what wasn't looked at when its time was up */
	HISTORY_REST_COUNT
};
/* Appends the events of the messages that `what` names (struct ipc_trace), in the order in which they
 * came. It takes no longer than some 20 seconds. False when nothing can be read. */
bool history_store_find(struct history_store *, const char *what, struct buf *events, size_t *count,
    enum history_rest *rest);

#endif
