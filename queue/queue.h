/*
 * The queue's state, and the names of its parts' entry points. One struct, made in queue.c and
 * passed to all.
 *
 * A mail's way: intake.c (a listener's envelopes and COMMIT) -> commit.c (one sync for all) ->
 * scheduler.c -> mailbox.c (where is it?) -> mda.c (a process for its owner) -> delivery.c (what
 * came of it) -> gone, or retry.c, or bounce.c (sign.c signs what that sends). Mail to other hosts goes from scheduler.c to relay.c
 * and from there to delivery.c; relay_memory.c knows which of them can't be reached.
 */
#ifndef QUEUE_QUEUE_H
#define QUEUE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/config.h"
#include "common/imsg.h"
#include "common/pending.h"
#include "queue/index.h"
#include "queue/journal.h"
#include "queue/scheduler.h"
#include "queue/spool.h"

struct event;
struct event_base;
struct intake;
struct commit;
struct mailboxes;
struct mda_pool;
struct relays;
struct bounces;
struct signer;
struct acts;

enum queue_phase {
	QUEUE_STARTING, /* no config yet */
	QUEUE_READY,    /* spool open, not started */
	QUEUE_RUNNING,
	QUEUE_STOPPING, /* no new deliveries */
};

struct queue {
	enum queue_phase phase;
	struct event_base *base;
	struct config *config;
	bool mda_paused;
	bool mta_paused;
	struct spool spool;
	struct journal *journal;
	struct index *index;
	struct scheduler *scheduler;
	struct commit *commit;
	struct intake *intake;
	struct mailboxes *mailboxes;
	struct mda_pool *mdas;
	struct relays *relays;
	struct bounces *bounces;
	struct signer *signer; /* keys, and the keeper, of what the queue sends itself */
	struct acts *acts;     /* smtpctl's, under way */
	struct channel *supervisor;
	struct channel *directory; /* NULL while it is away */
	struct pending *questions; /* to the directory; owners are struct question */
	struct buf payload;        /* for frames on their way out */
	struct event *run_event;   /* low priority: deliveries that may begin */
	struct event *due_timer;   /* the next waiting envelope */
	size_t envelopes;
	size_t in_flight;
	int64_t last_wall; /* when the spool was last written before this start */
	int64_t lost;      /* seconds from then to this start that count for nobody's waiting */
	size_t kept_limit; /* messages that keep what their first try needs, and a descriptor */
};

/* Requests to the directory, by whom the answer is for. */
struct question {
	void (*answer)(struct queue *, struct question *, struct imsg *);
	void (*failed)(struct queue *, struct question *, const char *why);
};
/* Sends q->payload; the question is the caller's until one of the two is called. */
void queue_ask_directory(
    struct queue *, struct question *, enum ipc_directory_type, unsigned deadline_ms);

/* Lets deliveries begin at the end of this turn of the loop. */
void queue_run_soon(struct queue *);
/* Lets the journal make a segment ahead of need. */
void queue_prepare_soon(struct queue *);
/* The due timer follows the scheduler. */
void queue_set_timer(struct queue *);
/* The gauges of envelopes and messages. */
void queue_count(struct queue *);

#endif
