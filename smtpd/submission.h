/*
 * What is put right in the header of a message that a user submits (RFC 6409 8), on its way through:
 * Date and Message-ID are added when they are missing, Bcc is taken out, and the From of who may
 * only be one sender becomes that sender.
 */
#ifndef SMTPD_SUBMISSION_H
#define SMTPD_SUBMISSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/address.h"

struct submission;

struct submission_options {
	const char *hostname; /* for Message-ID */
	uint32_t message_id;
	int64_t wall;
	bool masquerade;
	const struct address *sender; /* for masquerade; not when it is null */
};

typedef void (*submission_store_fn)(void *arg, const void *data, size_t length);

/* `store` gets what is to be stored, called from within the functions below. The options are
 * copied. NULL when memory is out. */
struct submission *submission_new(
    const struct submission_options *, submission_store_fn store, void *arg);
void submission_free(struct submission *);

/* Bytes of a line of the header, without its end, in pieces of any size; and its end. */
void submission_text(struct submission *, const char *data, size_t length);
void submission_line_end(struct submission *);
/* The text ends before its header has. */
void submission_finish(struct submission *);
/* The header is over and stored; what comes now is body and not for here. */
bool submission_is_over(const struct submission *);

#endif
