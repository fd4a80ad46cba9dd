/*
 * Mail that an alias, or a user, has go on to another host.
 */
#ifndef QUEUE_FORWARD_H
#define QUEUE_FORWARD_H

#include <stdbool.h>

#include "common/config.h"
#include "common/envelope.h"

/* Which of our addresses the envelope, of ENVELOPE_RELAY, was led away from; false when it wasn't: it
 * goes where its recipient says, or to a mailbox of ours that another program keeps. */
bool forward_find(const struct config *, const struct envelope *, struct address *from);
/* As whom it goes on: the sender, or by the action's `srs` for mail of others' an address of the domain
 * that it was forwarded from. `now`: wall clock, seconds. */
void forward_sender(const struct config *, const struct transaction *, const struct envelope *,
    const struct address *from, int64_t now, struct address *sender);

#endif
