/*
 * The mda processes: one for each owner of mailboxes with mail at hand, started by the supervisor,
 * kept while there is work and a while longer, replaced when it dies. An mda is the less trusted
 * side: an answer to anything but what it was given costs it its channel.
 */
#ifndef QUEUE_MDA_H
#define QUEUE_MDA_H

#include "common/ipc_directory.h"
#include "common/ipc_supervisor.h"
#include "queue/queue.h"

void mda_open(struct queue *);
void mda_close(struct queue *);
/* A line with a known mailbox waits for its owner's mda. */
void mda_add_line(struct queue *, struct line *);
/* Gives out what may be given out. */
void mda_run(struct queue *);
/* SUPERVISOR_QUEUE_MDA_STARTED */
void mda_started(struct queue *, struct imsg *);
/* The supervisor's channel is new or gone. */
void mda_supervisor_lost(struct queue *);
/* Dismisses idle ones, gives up on those that are stuck; once a second. */
void mda_tick(struct queue *);
/* Asks the mailbox's mda how full it is; answers the directory's request `id`. */
void mda_usage(struct queue *, uint32_t id, const struct ipc_mailbox *);
/* Asks the mailbox's mda what its owner's .forward says; likewise. */
void mda_forward(struct queue *, uint32_t id, const struct ipc_mailbox *);

#endif
