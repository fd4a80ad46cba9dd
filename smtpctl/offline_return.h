/* Mail that was refused goes back to who sent it: what was kept, and what is sent by who doesn't look
 * at what sendmail says. */
#ifndef SMTPCTL_OFFLINE_RETURN_H
#define SMTPCTL_OFFLINE_RETURN_H

#include "smtpctl/post.h"

/* Submits a message to the sender, or the author where that is null, that says `reasons` (lines) and
 * holds the refused one, which `was_kept`. POST_LATER also when it can't be made now. */
enum post_result offline_return(struct dialogue *, const struct post *refused, bool was_kept,
    const char *reasons) __attribute__((warn_unused_result));

#endif
