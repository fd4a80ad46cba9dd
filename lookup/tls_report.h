/*
 * A TLS report (RFC 8460): its JSON, and the mail that it may travel in. Nothing that
 * another server, its DNS or its certificate said can leave its place: strings are escaped, and made
 * valid UTF-8.
 */
#ifndef LOOKUP_TLS_REPORT_H
#define LOOKUP_TLS_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/address.h"
#include "common/buf.h"
#include "lookup/tls_sums.h"

#define TLS_REPORT_ID_MAX 128

struct tls_report {
	const struct tls_day *day;
	const struct address *from;     /* the author, and the contact */
	const struct address *to;       /* of a mail */
	char id[TLS_REPORT_ID_MAX + 1]; /* of this report: letters, digits, "-" and "." */
	int64_t now;                    /* wall clock */
};

/* Appends the JSON (RFC 8460 4.4). */
void tls_report_json(struct buf *, const struct tls_report *);
/* Appends it as a file of gzip (RFC 8460 5.1). False as below. */
bool tls_report_packed(struct buf *, const struct tls_report *) __attribute__((warn_unused_result));
/* Appends the mail (RFC 8460 5.3) with the JSON in it, compressed, and CRLF line ends. False without
 * memory, or when it doesn't fit into the buffer. */
bool tls_report_mail(struct buf *, const struct tls_report *) __attribute__((warn_unused_result));
#endif
