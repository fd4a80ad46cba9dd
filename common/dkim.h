/*
 * Signing one message by DKIM (RFC 6376, RFC 8463), while its text arrives: the header as a whole
 * when it is over, the body in pieces. Of the text nothing is kept but hashes. How long the
 * signatures' fields will be is known when the header is over; the signatures themselves are the
 * keeper's.
 */
#ifndef COMMON_DKIM_H
#define COMMON_DKIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/ipc_keeper.h"
#include "common/dkim_keys.h"

struct dkim;

#define DKIM_SIGNATURES_MAX 4 /* on one message */

/* Who is signed for: the author (From), with a key of that domain, or else the envelope's sender; or
 * nobody but the sender. */
struct dkim_who {
	const char *sender_domain; /* "": the null sender */
	bool sender_only;
};

/* `keys` and the sender's domain are used until dkim_header() returns. NULL when memory is out. */
struct dkim *dkim_new(const struct dkim_keys *, const struct dkim_who *, int64_t wall);
void dkim_free(struct dkim *);

enum dkim_verdict {
	DKIM_SIGNS,
	DKIM_NO_KEY,   /* of its author or sender: it goes unsigned */
	DKIM_TOO_MANY, /* fields to sign, and memory or the field itself would grow without a limit */
	DKIM_FAILED,   /* no memory */
};
/* The header, with line ends, without the empty line behind it. */
enum dkim_verdict dkim_header(struct dkim *, const char *header, size_t length);
/* Bytes that dkim_fields() will write. */
size_t dkim_fields_length(const struct dkim *);
/* Bytes of the body, after dkim_header() said DKIM_SIGNS. */
void dkim_feed(struct dkim *, const void *data, size_t length);
/* The text is over. False when the hashes failed. */
bool dkim_end(struct dkim *) __attribute__((warn_unused_result));

/* What the keeper is to be asked for, after dkim_end(); the data lives as long as the signer. */
size_t dkim_count(const struct dkim *);
void dkim_request(const struct dkim *, size_t index, struct ipc_sign *);
/* False when it isn't a signature by that key. */
bool dkim_take_signature(struct dkim *, size_t index, const uint8_t *, size_t length)
    __attribute__((warn_unused_result));
const struct ipc_dkim_key *dkim_key(const struct dkim *, size_t index);
/* The DKIM-Signature fields, with line ends; every signature has come. NULL without memory. The
 * signer's own. */
const char *dkim_fields(struct dkim *);

/* The domain of the first address in a From field's value, or "". */
void dkim_author_domain(const char *value, size_t length, char *domain, size_t size);

#endif
