/*
 * The listeners: message ids for them, what they say of a message, and its commit. They are the
 * less trusted side: whatever breaks the channel's rules costs the listener its channel.
 */
#ifndef QUEUE_INTAKE_H
#define QUEUE_INTAKE_H

#include "queue/queue.h"

void intake_open(struct queue *);
void intake_close(struct queue *);
/* A channel to a listener; an earlier one of that instance is replaced. */
void intake_set_listener(struct queue *, unsigned instance, int fd);
/* Once a second: looks at the files that listeners write, and tells them whether mail is taken. */
void intake_tick(struct queue *);
/* Tells all listeners whether mail is taken, when that has changed. */
void intake_tell_state(struct queue *);
/* Whether a listener was given this id and hasn't used it up. */
bool intake_knows_id(const struct queue *, uint32_t message_id);
/* An id that nothing has. */
uint32_t intake_new_id(const struct queue *);

#endif
