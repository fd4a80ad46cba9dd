/*
 * Unix sockets of other programs on this machine: the supervisor connects them, since there is
 * nothing in this process's directory (ipc_supervisor.h, RELAY_SUPERVISOR_CONNECT).
 */
#ifndef DELIVER_RELAY_LOCAL_H
#define DELIVER_RELAY_LOCAL_H

#include <sys/queue.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/imsg.h"

struct local_sockets;

/* Somebody who waits for one. All zero: for none. */
struct local_wait {
	TAILQ_ENTRY(local_wait) entry;
	struct local_sockets *sockets; /* NULL: it waits no more */
	uint32_t id;
	/* The socket, which doesn't block and is now its own; or -1 and why not. */
	void (*connected)(int fd, const char *why, void *arg);
	void *arg;
};

/* `supervisor` is borrowed. NULL without memory. */
struct local_sockets *local_sockets_new(struct channel *supervisor);
/* Nobody may wait any more. NULL is allowed. */
void local_sockets_free(struct local_sockets *);
/* `connected` is called once, later, unless local_wait_end() comes first. */
void local_sockets_ask(struct local_sockets *, const char *path, struct local_wait *);
void local_wait_end(struct local_wait *);
/* SUPERVISOR_RELAY_CONNECTED; takes the descriptor. False when it is unusable. */
bool local_sockets_receive(struct local_sockets *, struct imsg *)
    __attribute__((warn_unused_result));

#endif
