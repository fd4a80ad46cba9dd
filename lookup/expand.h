/*
 * From a recipient to the places where its mail goes: rules, virtual tables, aliases, users.
 */
#ifndef LOOKUP_EXPAND_H
#define LOOKUP_EXPAND_H

#include <stddef.h>

#include "lookup/explain.h"
#include "lookup/forwards.h"
#include "lookup/site.h"

struct expanded {
	struct reply reply; /* for the client; targets count only when it is a success */
	struct ipc_target *targets;
	size_t count;
	/* With exactly one target, a Maildir: where it is and its quota. Else the reply's code
	 * is 0. */
	struct ipc_mailbox mailbox;
	/* Nothing is decided: a .forward must be known first that the set has noted. */
	bool waits;
};

/*
 * Decides about one recipient. Each mailbox is named once however many aliases lead to it; loops
 * end; more than limits.targets mailboxes, or four times as many steps, are refused. A recipient
 * whose targets are all dead is refused, and what is dead is logged. Postmaster (RFC 5321 4.5.1) of
 * a domain of ours is always taken.
 *
 * Without a set, each user's mail goes into his mailbox, whatever his .forward says. With one, of a
 * user whose .forward can't be used the mailbox is named too, as ENVELOPE_FORWARD (where his mda lets no
 * mail in as long, and asks again then); when that is all, the reply is temporary.
 */
void expand_recipient(
    struct site *, const struct ipc_rcpt *, struct forward_set *, struct expanded *);
/* The same for somebody who only wants to know: each step is told, and the log isn't. */
void expand_watched(struct site *, const struct ipc_rcpt *, struct forward_set *,
    struct explain_watch *, struct expanded *);
void expanded_free(struct expanded *);

#endif
