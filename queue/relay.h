/*
 * Mail to other hosts: what is ready in the lines of ENVELOPE_RELAY is given to program relay, the
 * envelopes of one message in one line as one task, and what it answers ends them. It is the less
 * trusted side: an answer to anything but what it was given costs it its channel.
 */
#ifndef QUEUE_RELAY_H
#define QUEUE_RELAY_H

#include "common/config.h"
#include "queue/queue.h"

void relay_open(struct queue *);
void relay_close(struct queue *);
/* The relay's new channel. */
void relay_set_channel(struct queue *, int fd);

/* The line that mail to a domain stands in by an action: the domain; or, for an action with
 * smarthosts, "via" and these (one line for all its domains), unless the domain is paused. */
void relay_line_text(
    const struct queue *, const char *action, const char *domain, char *text, size_t size);
/* Whether something of the line may be given out now. */
bool relay_may_run(const struct queue *, const struct line *);
/* What keeps it from that. */
enum relay_stop {
	RELAY_STOP_NOT,
	RELAY_STOP_AWAY, /* there is no relay now */
	RELAY_STOP_PAUSED,
	RELAY_STOP_DOMAIN_PAUSED,
	RELAY_STOP_PUT_OFF, /* its destination can't be reached */
	RELAY_STOP_WINDOW,
};
enum relay_stop relay_line_stop(const struct queue *, const struct line *);
/* The same of mail to that domain, which would stand in `line`; NULL: there is none yet. */
enum relay_stop relay_domain_stop(
    const struct queue *, const char *domain, const struct line *line);
const char *relay_stop_words(enum relay_stop);
/* A line with work waits for its turn. */
void relay_add_line(struct queue *, struct line *);
/* Gives out what may be given out. */
void relay_run(struct queue *);
/* Gives up on a relay that doesn't come to an end; once a second. */
void relay_tick(struct queue *);
/* What it hasn't begun to send is to come back (the queue stops). */
void relay_cancel_all(struct queue *);
/* The line's destination may be tried at once. */
void relay_retry(struct queue *, struct line *);
/* Mail to a domain isn't relayed until it is resumed, whichever way it goes: of what waits for
 * smarthosts, it is put into a line of its own when its turn comes. False when too many are paused.
 */
bool relay_pause_domain(struct queue *, const char *domain, bool paused);

#endif
