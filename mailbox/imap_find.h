/*
 * The messages that a search finds, for SEARCH, SORT and THREAD.
 */
#ifndef MAILBOX_IMAP_FIND_H
#define MAILBOX_IMAP_FIND_H

#include "mailbox/imap_match.h"
#include "mailbox/imap_session_state.h"

struct imap_found {
	uint32_t uid;
	uint32_t sequence;
};

struct imap_find {
	struct imap_matcher *matcher;
	uint32_t sequence; /* the last one looked at */
	uint32_t last;
	size_t count;
	size_t capacity;
	struct imap_found *found; /* in order */
	uint64_t modseq;          /* the highest among them */
	void *extra;              /* of who goes on with them; freed with this */
	size_t at;
	enum imap_progress (*done)(struct imap_session *, struct imap_find *);
};

/* Finds what the command's search asks for; then `done` is called, again while it says IMAP_MORE, and
 * answers at last. */
void imap_find(
    struct imap_session *, enum imap_progress (*done)(struct imap_session *, struct imap_find *));

#endif
