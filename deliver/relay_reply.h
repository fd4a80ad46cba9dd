/*
 * Replies of other servers (RFC 5321 4.2), read from whatever they send. The parser takes bytes as
 * they come, keeps no more than a reply's size of them, and never runs on: lines are cut, and a
 * reply that has too many is broken.
 */
#ifndef DELIVER_RELAY_REPLY_H
#define DELIVER_RELAY_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/reply.h"

#define REPLY_LINE_MAX  1024         /* of a line; what is behind is dropped */
#define REPLY_LINES_MAX 500          /* of a reply */
#define REPLY_BYTES_MAX (256 * 1024) /* of a reply, dropped ones counted */

enum reply_result {
	REPLY_MORE,     /* all bytes are used up, the reply isn't complete */
	REPLY_COMPLETE, /* `reply` holds it; bytes behind it aren't used */
	REPLY_BROKEN,   /* no SMTP, or without end: `why` says; the connection is of no use now */
};

/* For each line, as it is complete: text is what follows "250-", 8-bit and control bytes and all,
 * terminated, at most REPLY_LINE_MAX long. */
typedef void (*reply_line_fn)(unsigned code, const char *text, bool first, void *arg);

struct reply_parser {
	reply_line_fn line; /* NULL: nobody wants them */
	void *arg;
	char buffer[REPLY_LINE_MAX + 1];
	size_t length;      /* in `buffer` */
	size_t bytes;       /* of this reply */
	unsigned lines;     /* of this reply, complete */
	struct reply reply; /* code 1xx to 5xx as said; 3xx and 1xx too, unlike elsewhere */
	const char *why;
};

void reply_parser_init(struct reply_parser *, reply_line_fn, void *arg);
/* Takes bytes up to the end of a reply; *used of them. After REPLY_COMPLETE the next call begins
 * the next reply. */
enum reply_result reply_parser_feed(
    struct reply_parser *, const uint8_t *data, size_t length, size_t *used);

#endif
