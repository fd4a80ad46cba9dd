/*
 * What a mailbox owner's script sends beside a delivery (struct ipc_effects): the message to other
 * addresses, and a reply to its sender. Both are new messages of their own, durable before the
 * delivery counts: until then its envelope is in flight. A crash between sends them twice and never
 * not at all.
 */
#ifndef QUEUE_FOLLOW_H
#define QUEUE_FOLLOW_H

#include "common/ipc_queue_mda.h"
#include "queue/queue.h"

/* A delivery by an mda has ended in success, and has effects, which are taken over. In the end
 * delivery_ended() is called for it, now or later: with that success, or with why not. */
void follow_begin(
    struct queue *, struct entry *, struct ipc_delivered *, const char *user, int64_t started_ms);
/* At the end of the process: what isn't durable will be done again. */
void follow_close(struct queue *);

#endif
