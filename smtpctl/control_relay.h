/*
 * Requests on their way: passed on to the queue, the directory, the program relay or the supervisor,
 * each with a deadline, and their answers passed back. A request whose caller has gone is still seen
 * through and logged, except one that only shows something, which nobody needs any more.
 */
#ifndef SMTPCTL_CONTROL_RELAY_H
#define SMTPCTL_CONTROL_RELAY_H

#include <stdbool.h>

#include "common/imsg.h"
#include "common/ipc_control.h"
#include "common/ipc_supervisor.h"
#include "smtpctl/control_order.h"
#include "smtpctl/control_stats.h"

struct event_base;
struct relay;
struct relay_request;

/* What the relay needs of a caller's connection. */
struct relay_caller {
	/* One frame of the answer. */
	void (*frame)(void *caller, uint16_t type, const struct buf *payload);
	/* The answer's end; the request is over and must not be used again. Owns `fd` (or -1). */
	void (*done)(void *caller, const struct ipc_result *, int fd);
	/* Whether all that was sent has left for the caller. */
	bool (*has_read)(void *caller);
	/* A request is over, its caller gone or not. */
	void (*settled)(void *arg);
};

/* `arg` is for `settled`. */
struct relay *relay_new(
    struct event_base *, const struct relay_caller *, void *arg, struct control_stats *);
/* After all callers were freed. What is still waiting is logged as failed. */
void relay_free(struct relay *);
void relay_set_supervisor(struct relay *, struct channel *);
/* A new channel to the queue, the directory or the program relay; what waited on the old one fails. */
void relay_set_peer(struct relay *, enum program, int fd);
/*
 * Starts a request, whose order is taken over. Returns it; NULL when it was answered at once. The
 * caller's `done` comes in any case, perhaps before this returns.
 */
struct relay_request *relay_begin(struct relay *, struct control_order *, void *caller);
/* The caller has gone. */
void relay_abandon(struct relay_request *);
/* The caller has read what it was sent. */
void relay_continue(struct relay_request *);
/* SUPERVISOR_CONTROL_DONE and _LINE. */
void relay_receive_supervisor(struct relay *, struct channel *, struct imsg *);
/* SUPERVISOR_CONTROL_SESSION. */
void relay_receive_session(struct relay *, struct channel *, struct imsg *);
/* Requests that are not answered yet. */
size_t relay_count(const struct relay *);

#endif
