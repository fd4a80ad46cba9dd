/*
 * The "relaxed" canonicalization of DKIM (RFC 6376 3.4.2, 3.4.4): what may happen to white space on
 * a message's way leaves no trace in what is hashed.
 */
#ifndef COMMON_DKIM_CANONICAL_H
#define COMMON_DKIM_CANONICAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

/* Appends a header field, given with its line ends or without: the name in lower case, a colon, and
 * the value unfolded. No line end is added. */
void dkim_relax_field(struct buf *, const char *field, size_t length);

struct dkim_body {
	void (*write)(void *arg, const void *data, size_t length); /* of the canonical body */
	void *arg;
	uint64_t lines; /* line ends held back: empty lines at the end don't count */
	bool blank;     /* white space held back */
	bool carriage;  /* a CR held back */
	bool has_text;  /* anything was written */
};

/* `write` gets the canonical body, in pieces. */
void dkim_body_init(struct dkim_body *, void (*write)(void *, const void *, size_t), void *arg);
/* Bytes of the body, cut anywhere. */
void dkim_body_feed(struct dkim_body *, const void *data, size_t length);
void dkim_body_end(struct dkim_body *);

#endif
