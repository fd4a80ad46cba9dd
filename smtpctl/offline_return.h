/* Mail that was kept and then refused goes back to who sent it. */
#ifndef SMTPCTL_OFFLINE_RETURN_H
#define SMTPCTL_OFFLINE_RETURN_H

#include "smtpctl/post.h"

/* Submits a message to the sender, or the author where that is null, that says `reasons` (lines) and
 * holds the refused one. POST_LATER also when it can't be made now. */
enum post_result offline_return(struct dialogue *, const struct post *refused, const char *reasons)
    __attribute__((warn_unused_result));

#endif
