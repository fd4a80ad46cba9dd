/*
 * The text of delivery status notifications: multipart/report (RFC 6522) with a part for people, a
 * message/delivery-status part (RFC 3464) and what is returned of the message. For a message that
 * needed SMTPUTF8, the types of RFC 6533.
 *
 * Everything in it that a client or another server said is made printable and kept to its line.
 */
#ifndef QUEUE_DSN_H
#define QUEUE_DSN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/envelope.h"

enum dsn_kind {
	DSN_FAILED,
	DSN_DELAYED,
	DSN_DELIVERED,
	DSN_RELAYED, /* to a host that doesn't report itself (RFC 3461 5.2.2) */
	DSN_HELD,    /* to the postmaster, about mail over a user's hourly limit */
};

struct dsn_recipient {
	const struct envelope *envelope;
	const struct reply *reply; /* the last answer; NULL without one */
	const char *host;          /* the other host that gave it; NULL or "" none did */
};

struct dsn {
	enum dsn_kind kind;
	const char *hostname; /* Reporting-MTA */
	const struct address *to;
	bool is_double;       /* to the postmaster, about mail that could not be returned */
	uint32_t message_id;  /* the DSN's own */
	int64_t now;          /* wall */
	const char *boundary; /* random: it may not occur in the text */
	const struct transaction *original;
	const struct dsn_recipient *recipients;
	size_t recipient_count;
	const char *dialogue; /* with the other host, its lines ended by LF; NULL: none is told */
	/* What is returned: bytes of the original from its start. */
	const uint8_t *text;
	size_t text_length;
	bool is_full; /* all of it; otherwise its headers are cut out of `text` */
};

/* Appends the DSN with CRLF line ends. */
void dsn_build(struct buf *, const struct dsn *);
/* The length of the header section with its last line end, at most `length`. */
size_t dsn_header_length(const uint8_t *text, size_t length);

#endif
