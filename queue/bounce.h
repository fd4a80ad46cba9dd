/*
 * Who is told of what: failures, delays and (asked for) successes go to the sender as one DSN a
 * message for all that comes together; what can't be told to the sender, to the postmaster; what
 * the postmaster can't be told is held, and logged as an error. Nothing goes to nowhere.
 */
#ifndef QUEUE_BOUNCE_H
#define QUEUE_BOUNCE_H

#include "queue/queue.h"

/* Seconds that what is to be told waits, in the scheduler's heap, while bounce_is_full(). */
#define BOUNCE_WAIT 5

void bounce_open(struct queue *);
void bounce_close(struct queue *);
/*
 * The envelope has failed for good. It is ENTRY_BOUNCING until its DSN is durable and gone with
 * that; at once where NOTIFY says that nobody is told (RFC 3461 4.1). `host` said so, "": none.
 */
void bounce_failed(
    struct queue *, struct entry *, const struct reply *, const char *host, enum state_change);
/* Delivered, or relayed to `host`, and the sender asked to be told: recorded as such, until its DSN
 * is durable. False when there is nobody to tell. */
bool bounce_succeeded(struct queue *, struct entry *, const struct reply *, const char *host);
/* The same for one that is recorded already, by an earlier run or when it had to wait. */
void bounce_owed(struct queue *, struct entry *, const struct reply *, const char *host);
/* As much is to be told as memory should be kept for: whoever has more waits with it. */
bool bounce_is_full(const struct queue *);
/* `warnings` of the warn intervals have passed. */
void bounce_warn(struct queue *, struct entry *, uint32_t warnings);
/* Taken, or found at the start, and held for its user's hourly limit: the postmaster is told, unless
 * he was; once an hour of each sender. */
void bounce_held(struct queue *, struct entry *);
/* The envelope goes away. */
void bounce_forget(struct queue *, struct entry *);
/* Sends what is being collected, now (at the end of the process). */
void bounce_tick(struct queue *);

#endif
