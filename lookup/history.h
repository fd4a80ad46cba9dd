/*
 * The history of messages: takes events as they come, and keeps them in a thread of its own, so that
 * nothing here ever waits for the disk. Events that come faster than they can be kept are dropped and
 * counted.
 */
#ifndef LOOKUP_HISTORY_H
#define LOOKUP_HISTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/config.h"
#include "common/ipc_control.h"
#include "common/ipc_history.h"

struct event_base;
struct history;

struct history_calls {
	/* An event of the answer to who asked, and its end. */
	void (*event)(uint32_t id, const struct buf *event);
	void (*done)(uint32_t id, const struct ipc_result *);
};

/* Never NULL. Nothing is opened or kept before history_configure(). */
struct history *history_new(struct event_base *, const struct history_calls *);
/* Keeps what has come, and ends. NULL is allowed. */
void history_free(struct history *);
void history_configure(struct history *, const struct config *);
/* Events of the queue's. False when they aren't such. */
bool history_add(struct history *, const void *payload, size_t length);
/* Answered by the calls, later or at once. */
void history_ask(struct history *, uint32_t id, const struct ipc_trace *);
/* Nobody waits for answers any more. */
void history_forget_asker(struct history *);

#endif
