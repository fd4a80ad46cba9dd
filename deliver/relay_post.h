/*
 * TLS reports that go by HTTPS (RFC 8460 5.4): posted for the directory, which makes them, keeps what
 * they are made of, and decides on what failed. Here each is tried once. A few at once; whatever the
 * server does, an answer comes within a bounded time.
 */
#ifndef DELIVER_RELAY_POST_H
#define DELIVER_RELAY_POST_H

#include <stdbool.h>

#include "common/imsg.h"

struct https;
struct posts;

/* Never NULL. */
struct posts *posts_new(struct https *);
/* Nobody is told of what is still open. NULL is allowed. */
void posts_free(struct posts *);
/* The directory's channel, or NULL while there is none; not owned. What another one wanted is ended.
 */
void posts_set_channel(struct posts *, struct channel *);
/* DIRECTORY_RELAY_POST; answered by RELAY_DIRECTORY_POSTED. False when it isn't one. */
bool posts_receive(struct posts *, const struct imsg *) __attribute__((warn_unused_result));

#endif
