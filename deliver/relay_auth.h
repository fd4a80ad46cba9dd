/* Logging in to a smarthost: AUTH PLAIN (RFC 4616) and AUTH LOGIN, over TLS only. */
#ifndef DELIVER_RELAY_AUTH_H
#define DELIVER_RELAY_AUTH_H

#include <stdbool.h>

#include "common/buf.h"
#include "deliver/relay_extensions.h"

/* Appends the line of that step (*step 0: the command), and counts it. False when the mechanism
 * has no more, or the credentials don't fit. */
bool auth_say(struct buf *, enum auth_mechanism, unsigned *step, const char *user,
    const char *password) __attribute__((warn_unused_result));

#endif
