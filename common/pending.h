/*
 * Requests that wait for an answer from another process, each with a deadline.
 *
 * No process ever waits blocking for another: it sends a frame with the id that pending_add() gave,
 * and goes on. When the answer's frame comes, pending_take() gives back the owner; when the
 * deadline passes first, or the other process dies (pending_fail_all()), `failed` is called with
 * the owner, who answers its own client with a temporary error. An id is never used twice within
 * 2^32 requests, and an answer to an id that isn't waiting (late, or invented) finds nothing.
 */
#ifndef COMMON_PENDING_H
#define COMMON_PENDING_H

#include <stddef.h>
#include <stdint.h>

struct event_base;
struct pending;
typedef void (*pending_failed_fn)(void *owner, uint32_t id, const char *why, void *arg);

struct pending *pending_new(struct event_base *, pending_failed_fn, void *arg);
void pending_free(struct pending *);
/* Registers `owner` and returns the request's id (never 0). */
uint32_t pending_add(struct pending *, void *owner, unsigned deadline_ms);
/* The owner of `id`, still waiting, or NULL. For answers of several frames. */
void *pending_get(struct pending *, uint32_t id);
/* The same, and no longer waiting. */
void *pending_take(struct pending *, uint32_t id);
/* The owner goes away: nothing will be called for `id`. */
void pending_cancel(struct pending *, uint32_t id);
/* The other process died: `failed` for every waiting request, oldest first. */
void pending_fail_all(struct pending *, const char *why);
size_t pending_count(const struct pending *);

#endif
