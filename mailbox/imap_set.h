/*
 * Sets of message numbers or UIDs (RFC 9051 9: sequence-set): ranges in ascending order that neither
 * overlap nor touch. A client's set may hold "*", the largest number in use, which is known only
 * when the set is used.
 */
#ifndef MAILBOX_IMAP_SET_H
#define MAILBOX_IMAP_SET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

struct imap_range {
	uint32_t first;
	uint32_t last; /* included */
};

#define IMAP_SET_STAR UINT32_MAX /* in a client's set: "*"; no UID and no number is as large */

struct imap_set {
	bool is_saved; /* "$" (RFC 5182): what the last SEARCH found; no ranges */
	size_t count;
	struct imap_range *ranges;
};

/* Puts the largest number in use in the place of "*", and the ranges in order; parts beyond `largest`
 * stay, since a UID may not be there yet. With largest 0, "*" is nothing. The set is changed in
 * place and may be used again only with the same `largest`. */
void imap_set_resolve(struct imap_set *, uint32_t largest);
/* Of a resolved set. */
bool imap_set_has(const struct imap_set *, uint32_t number);

/* Numbers that come one by one in ascending order, written as a set: "1:4,7". */
struct imap_set_writer {
	struct buf *to;
	bool is_begun;
	struct imap_range open;
};
void imap_set_begin(struct imap_set_writer *, struct buf *to);
void imap_set_add(struct imap_set_writer *, uint32_t number);
void imap_set_add_range(struct imap_set_writer *, uint32_t first, uint32_t last);
/* False when there was no number. */
bool imap_set_end(struct imap_set_writer *);

#endif
