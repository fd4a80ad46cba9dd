/*
 * Deliveries: which may begin, and what came of each.
 */
#ifndef QUEUE_DELIVERY_H
#define QUEUE_DELIVERY_H

#include "common/ipc_queue_mda.h"
#include "common/ipc_queue_relay.h"
#include "queue/queue.h"

/* A line has work: at the end of this turn it is routed, and served when it may be. */
void delivery_line_ready(struct queue *, struct line *);
/* The line's mailbox is known, or why it isn't to be had: then the first of what waits in it fails,
 * and the rest when it is asked for again. */
void delivery_line_routed(struct queue *, struct line *);
void delivery_line_refused(struct queue *, struct line *, const struct reply *);
/* Everything that may begin now (the run event). */
void delivery_run(struct queue *);
/* Envelopes whose time has come: to be tried, warned about, or expired. */
void delivery_due(struct queue *);
/* Lines that wait for nothing but time (the directory away, a pause ended): looked at each second.
 */
void delivery_look_again(struct queue *);

/* How a delivery ended. `result` holds the mda's answer. */
void delivery_ended(struct queue *, struct entry *, const struct ipc_delivered *, const char *user,
    int64_t started_ms);
/* The same for what went to another host; its line hears of it when the task ends. */
void delivery_relayed(
    struct queue *, struct entry *, const struct ipc_relay_result *, int64_t started_ms);
/* Its mda or the relay died or was stopped: tried again at once, unless that happens to it again
 * and again. Its line's window is the caller's. */
void delivery_broken_off(struct queue *, struct entry *);
/* It comes back without having been tried. */
void delivery_given_back(struct queue *, struct entry *);
/* Fails for now or for good by this reply, as if an mda had said so; `host` said it, "" when none
 * did. */
void delivery_failed(struct queue *, struct entry *, const struct reply *, const char *host);
/* Its record can't be read: held, and said. */
void delivery_unreadable(struct queue *, struct entry *);
/* Delivered, as is recorded, and its sender is to be told. */
void delivery_owed(struct queue *, struct entry *);
/* Ends it now with a DSN that says so (expiry, smtpctl expire). */
void delivery_expire(struct queue *, struct entry *);

#endif
