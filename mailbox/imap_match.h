/*
 * Does a message match a search (RFC 9051 6.4.4)? Cheap keys are looked at first; its header and text
 * are read only when they alone decide.
 */
#ifndef MAILBOX_IMAP_MATCH_H
#define MAILBOX_IMAP_MATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mailbox/folder.h"
#include "mailbox/imap_command.h"

struct imap_matcher;

enum imap_match_problem {
	IMAP_MATCH_READY,
	IMAP_MATCH_NO_MEMORY,
	IMAP_MATCH_BAD_CHARSET,
};

/*
 * For a search whose sets are resolved to sequence numbers. Texts are turned into UTF-8 here. NULL with
 * the reason.
 */
struct imap_matcher *imap_matcher_new(
    struct folder *, const struct imap_search *, enum imap_match_problem *);
void imap_matcher_free(struct imap_matcher *);
/* Whether the message with this number (of the caller's view) matches; one that can't be read
 * doesn't. */
bool imap_matches(struct imap_matcher *, uint32_t uid, uint32_t sequence);

#endif
