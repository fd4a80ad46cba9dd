/*
 * What is to be tried when, and in which order.
 *
 * A line is a destination: a mailbox, a pipe, another host's domain, or the hosts that an action
 * relays by. It has a window, the number of deliveries (to other hosts: messages) that may be under
 * way to it at once, which grows by one for each success and is halved by each temporary failure.
 * What is due waits in its line, a lane for each sender, and leaves it sender by sender; only what an
 * earlier try may have put into a mailbox, or half of it, goes there before all others. Lines that
 * have work stand in a ring (of the mda that serves them, or the relay's) and are served in turn.
 * So neither a list of a million nor a dead destination holds up anybody else.
 *
 * What isn't due waits in a heap. What is due but may stand in its line for days, as mail to a host
 * that can't be reached does, is in the heap as well: it still expires in time.
 */
#ifndef QUEUE_SCHEDULER_H
#define QUEUE_SCHEDULER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/ipc_directory.h"
#include "queue/index.h"

#define LINE_WINDOW_FIRST 32
#define LINE_WINDOW_MAX   1024
/* Of messages to other hosts. */
#define RELAY_WINDOW_FIRST 5
#define RELAY_WINDOW_MAX   512

/* Lines that take turns. */
struct ring {
	struct line *head;
};

enum line_route {
	ROUTE_UNKNOWN, /* nobody has asked yet, or what was known is out of date */
	ROUTE_ASKED,   /* the directory is asked */
	ROUTE_KNOWN,
	ROUTE_PAUSED, /* the directory could not be asked; again at route_ms */
};

struct mda;
struct destination; /* relay_memory.h */

struct line {
	struct line *next; /* in the hash */
	uint32_t hash;
	uint32_t references; /* envelopes queued for it */
	enum envelope_kind kind;
	struct ring *ring; /* in which it stands, or NULL */
	struct line *ring_next;
	struct line *ring_previous;
	struct lane *lanes; /* a circle; the next to be served */
	struct lane *again; /* of it, the one that comes before all others, or NULL */
	uint32_t waiting;   /* envelopes ready in it */
	uint32_t in_flight;
	uint32_t window;
	/* Its mailbox, for mailbox.c and mda.c. */
	enum line_route route;
	int64_t route_ms; /* ROUTE_KNOWN: until then; ROUTE_PAUSED: from then */
	uint32_t route_request;
	struct ipc_mailbox *mailbox;
	struct mda *mda;
	struct destination *destination; /* ENVELOPE_RELAY: what is known of it, or NULL */
	char *action;                    /* points behind `text` */
	char text[]; /* "local@domain"; of ENVELOPE_RELAY see relay_line_text(); NUL; action; NUL */
};

struct scheduler;
struct scheduler *scheduler_new(void);
/* Lines must be empty of envelopes; `line_gone` is called for each. */
void scheduler_free(struct scheduler *);
/* Called when a line that nothing refers to any more goes. */
void scheduler_on_line_gone(struct scheduler *, void (*gone)(struct line *, void *arg), void *arg);

/* Puts an envelope into its line (made when it is new). False when memory is out. */
bool scheduler_attach(struct scheduler *, struct entry *, enum envelope_kind,
    const struct address *dest, const char *action) __attribute__((warn_unused_result));
/* The same by the line's text. */
bool scheduler_attach_text(struct scheduler *, struct entry *, enum envelope_kind, const char *text,
    const char *action) __attribute__((warn_unused_result));
/* The line that they would stand in; NULL: there is none. */
struct line *scheduler_find_line(
    struct scheduler *, enum envelope_kind, const char *text, const char *action);
/* Takes it out of line, lane and heap. */
void scheduler_detach(struct scheduler *, struct entry *);

/* The envelope is looked at again at `due` (ENTRY_WAITING). */
void scheduler_wait(struct scheduler *, struct entry *, uint32_t due);
/* It is due: it goes to the end of its sender's lane, or before all senders' (ENTRY_READY). */
void scheduler_ready(struct scheduler *, struct entry *);
/* One that is ready is looked at at `due`, should it still be. */
void scheduler_watch(struct scheduler *, struct entry *, uint32_t due);
/* Out of heap and lane; the caller sets its state. */
void scheduler_unset(struct scheduler *, struct entry *);
/* The next envelope whose time has come, taken out of the heap; a watched one stays ready. NULL
 * when there is none. */
struct entry *scheduler_take_due(struct scheduler *, uint32_t now);
/* When the next one is due; RETRY_NEVER without any. */
uint32_t scheduler_next_due(const struct scheduler *);

/* The envelope that is next in the line; NULL when nothing waits. */
struct entry *scheduler_first(const struct line *);
/* The next envelope of a line, sender by sender, as ENTRY_INFLIGHT; NULL when none may go. */
struct entry *scheduler_take(struct scheduler *, struct line *);
/* This one, which is ready, goes with the one just taken. */
void scheduler_take_along(struct scheduler *, struct entry *);
/* Any next envelope, window or not, in neither; NULL when the line is empty. */
struct entry *scheduler_take_any(struct scheduler *, struct line *);
enum line_result {
	LINE_SUCCESS,
	LINE_FAILURE, /* temporary: the destination's fault */
	LINE_NEUTRAL
};
/* A delivery taken by scheduler_take() has ended. */
void scheduler_done(struct line *, enum line_result);
bool line_may_run(const struct line *);

void ring_add(struct ring *, struct line *); /* at the end; does nothing when it is in one */
void ring_remove(struct line *);
struct line *ring_take(struct ring *); /* the first, taken out; or NULL */

/* Calls `each` for the lines of the hash's next part (from 0) until it says that it has had enough;
 * false when there are no more. A part may come twice while the hash grows. */
bool scheduler_some_lines(
    struct scheduler *, size_t *part, bool (*each)(struct line *, void *arg), void *arg);
/* Calls `each` for every line. */
void scheduler_each_line(struct scheduler *, void (*each)(struct line *, void *arg), void *arg);
/* Frees lines without envelopes whose route_ms has passed. */
void scheduler_sweep(struct scheduler *, int64_t now_ms);
/* Envelopes that are ready; of which for other hosts. */
size_t scheduler_waiting(const struct scheduler *);
size_t scheduler_waiting_relay(const struct scheduler *);

#endif
