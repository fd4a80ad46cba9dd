/*
 * As whom a user who has logged in may send mail.
 */
#ifndef LOOKUP_SENDERS_H
#define LOOKUP_SENDERS_H

#include "lookup/site.h"

/*
 * True when the question's sender is one that its auth_user may use: listed in its senders_table,
 * or, without one, the user's own name or an address by which mail gets to the user's mailbox. The
 * null sender is everybody's. Otherwise the reply says why not: 550, or 451 when it can't be known
 * now.
 */
bool senders_allow(struct site *, const struct ipc_rcpt *, struct reply *)
    __attribute__((warn_unused_result));

#endif
