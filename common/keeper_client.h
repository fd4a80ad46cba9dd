/*
 * Asking the keeper for signatures (ipc_keeper.h). A request is answered exactly once, from the
 * event loop, unless it is cancelled: by the keeper, or by its time limit. A keeper that dies is
 * asked again when the next one is there, so that who waits notices nothing.
 */
#ifndef COMMON_KEEPER_CLIENT_H
#define COMMON_KEEPER_CLIENT_H

#include <sys/queue.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/ipc_keeper.h"

struct event_base;
struct keeper_client;
struct keeper_request;

/* The signature, or NULL and words why not. The request may be freed or used again by this. */
typedef void (*keeper_answered_fn)(
    struct keeper_request *, const uint8_t *signature, size_t length, const char *why);

/* In its owner's memory, which sets `answered`; the rest, zero at first, is the client's. */
struct keeper_request {
	keeper_answered_fn answered;
	TAILQ_ENTRY(keeper_request) link;
	uint32_t id; /* 0: not under way */
	unsigned tries;
	struct buf payload;
};

/* `limit_ms`: for each request. Never NULL. */
struct keeper_client *keeper_client_new(struct event_base *, unsigned limit_ms);
/* What still waits is forgotten. NULL is allowed. */
void keeper_client_free(struct keeper_client *);
/* The keeper, or its next life; the descriptor is owned from here on. */
void keeper_client_set_channel(struct keeper_client *, int fd);
/* Asks. The data is copied. False without memory, and then it is not under way. */
bool keeper_client_sign(struct keeper_client *, struct keeper_request *, const struct ipc_sign *)
    __attribute__((warn_unused_result));
/* Nothing will be called for it; harmless when it isn't under way. */
void keeper_client_cancel(struct keeper_client *, struct keeper_request *);

#endif
