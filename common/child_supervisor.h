/*
 * A child's end of its channel to the supervisor: what comes there (ipc_supervisor.h) is decoded,
 * handed to the program, and answered. The log's settings, and its new socket when the old one is
 * dead, are seen to here.
 */
#ifndef COMMON_CHILD_SUPERVISOR_H
#define COMMON_CHILD_SUPERVISOR_H

#include <stdbool.h>
#include <stdint.h>

#include "common/child.h"
#include "common/config.h"
#include "common/imsg.h"
#include "common/ipc_supervisor.h"

struct event;
struct event_base;

/*
 * What a program does with each frame. Where one may be NULL, that is said; another that is NULL
 * makes its frame unusable. Those that return bool take the descriptor over when they return true;
 * when false, the frame is unusable.
 */
struct child_orders {
	/* Takes the config over; CONFIGURED is sent when it returns. NULL: there is nothing in it
	 * for this program, which never reads it. */
	void (*config)(struct config *);
	/* NULL: the page is this program's own, and counted in from now on. */
	bool (*stats)(const struct ipc_peer *, int fd);
	bool (*peer)(const struct ipc_peer *, int fd);
	bool (*listen)(uint32_t index, int fd);
	/* READY is sent when it returns true. `listeners` is 0 when the frame doesn't say. NULL:
	 * the program is ready as it is. */
	bool (*start)(uint32_t listeners);
	/* PAUSE and RESUME. */
	void (*pause)(bool paused);
	void (*stop)(void);
	/* A frame that only this program gets; false when it is none such. May be NULL. */
	bool (*other)(struct channel *, struct imsg *);
	/* What isn't for this program, or can't be decoded: child_supervisor_fatal(), for one.
	 * NULL: the channel is rejected, and so the supervisor is gone. */
	void (*unusable)(struct channel *, const struct imsg *, const char *why);
	/* The channel is closed. It isn't freed before child_supervisor_close(). */
	void (*gone)(void);
	/* How often to look whether the log's socket is dead; 0: never. */
	unsigned log_check_seconds;
};

struct child_supervisor {
	struct channel *channel; /* for frames of the program's own */
	const struct child_orders *orders;
	struct event *log_check;
};

/* Begins to receive on the child's channel. Fatal without memory. */
void child_supervisor_open(struct child_supervisor *, struct event_base *, const struct child *,
    const struct child_orders *);
void child_supervisor_close(struct child_supervisor *);
/* Ends the process, which the supervisor starts again. */
void child_supervisor_fatal(struct channel *, const struct imsg *, const char *why);

#endif
