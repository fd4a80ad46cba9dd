/*
 * Mailboxes: who owns one and where it is.
 */
#ifndef LOOKUP_MAILBOX_H
#define LOOKUP_MAILBOX_H

#include "lookup/site.h"

/* The name of the mailbox that is kept for mail to the postmaster when nobody else takes it; its
 * action is "". */
#define MAILBOX_POSTMASTER "postmaster"

/*
 * Finds the mailbox of a user: `dest->local` is its name (for the accounts database together with
 * dest->domain). The reply is 250, 550 5.1.1 when there is no such user, or 451 when it can't be
 * known now. Nothing in `dest` can lead the path out of where its template puts it.
 */
void mailbox_find(
    struct site *, const struct action *, const struct address *dest, struct ipc_mailbox *);
/* Its owner's .forward for this detail ("+list", as it stands in the address) counts first, where he may
 * have one and it can be part of a file's name. */
void mailbox_set_detail(struct ipc_mailbox *, const char *detail);
/* As mailbox_find(), for a command (ENVELOPE_USER_PIPE) or an mbox file (ENVELOPE_USER_FILE, whose path
 * is the envelope's) of that user's own, from his .forward or a list that he owns. For a command 550
 * when he has no login shell: who may not log in may not run commands by mail either. */
void mailbox_find_own(struct site *, const struct action *, const struct address *dest,
    enum envelope_kind, struct ipc_mailbox *);
/* Who runs the commands of aliases. */
void mailbox_find_pipe(struct site *, const struct action *, struct ipc_mailbox *);
void mailbox_find_postmaster(struct site *, struct ipc_mailbox *);
/* The answer to DIRECTORY_MAILBOX. */
void mailbox_answer(struct site *, const struct ipc_mailbox_request *, struct ipc_mailbox *);

#endif
