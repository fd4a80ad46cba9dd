/*
 * Commands, and files of users, come from aliases and .forward files, and only the directory knows those;
 * but an envelope comes from a listener, which talks to the network. So before a command is run, or a
 * file written, the directory is asked once more whether this recipient, for this client, leads to it.
 */
#ifndef QUEUE_PIPE_H
#define QUEUE_PIPE_H

#include "queue/queue.h"

/* True when the envelope's command may be run, or its file written. Otherwise the directory is asked, and the envelope
 * is ready again when it agrees, or fails. */
bool pipe_may_run(
    struct queue *, struct entry *, const struct transaction *, const struct envelope *);
/* The directory has just named all that this message leads to: nothing of it is asked again, as long as
 * this process lives. */
void pipe_is_known(struct queue *, uint32_t message_id);

#endif
