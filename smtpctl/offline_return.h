/* Mail that was kept and then refused goes back to who sent it. */
#ifndef SMTPCTL_OFFLINE_RETURN_H
#define SMTPCTL_OFFLINE_RETURN_H

#include <stdbool.h>

#include "smtpctl/post.h"

/* Submits a message to the sender, or the author where that is null, that says `reasons` (lines) and
 * holds the refused one. False when the server doesn't take it. */
bool offline_return(struct dialogue *, const struct post *refused, const char *reasons)
    __attribute__((warn_unused_result));

#endif
