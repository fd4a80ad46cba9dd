/*
 * Commands come from aliases, and only the directory knows aliases; but an envelope comes from a
 * listener, which talks to the network. So before a command is run the directory is asked once more
 * whether this recipient, for this client, leads to it.
 */
#ifndef QUEUE_PIPE_H
#define QUEUE_PIPE_H

#include "queue/queue.h"

/* True when the envelope's command may be run. Otherwise the directory is asked, and the envelope
 * is ready again when it agrees, or fails. */
bool pipe_may_run(
    struct queue *, struct entry *, const struct transaction *, const struct envelope *);

#endif
