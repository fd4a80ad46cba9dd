/*
 * A message's text on its way from the queue's descriptor to another server: lines end in CRLF
 * whatever they ended in, and the last one does too (RFC 5321 2.3.8, 4.1.1.4).
 */
#ifndef DELIVER_RELAY_TEXT_H
#define DELIVER_RELAY_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "deliver/relay_lines.h"

/* What one read takes; the text that it makes may be twice as long, and two bytes. */
#define RELAY_TEXT_CHUNK (64 * 1024)

struct relay_text {
	int fd;             /* borrowed; read with pread(), since its offset may be shared */
	const char *fields; /* go before; borrowed; NULL: none, or gone already */
	uint64_t offset;
	uint64_t length;
	bool stuffed;  /* a dot at the begin of a line is doubled (RFC 5321 4.5.2) */
	bool after_cr; /* the last byte read was a CR */
	bool line_begins;
	const struct relay_lines *lines; /* borrowed: where lines of the header are folded */
	size_t folded;                   /* how many of those */
};

void relay_text_begin(
    struct relay_text *, int fd, uint64_t length, bool stuffed, const struct relay_lines *);
/* Before the first read: whole lines of a header, with CRLF, that go in front; borrowed, or NULL. */
void relay_text_put_before(struct relay_text *, const char *fields);
/* Appends the text of the next read to `buf`. False, with errno, when it can't be read: EIO also
 * when the descriptor holds less than `length`, ENOMEM when the buffer doesn't take it. */
bool relay_text_read(struct relay_text *, struct buf *) __attribute__((warn_unused_result));
/* All has been read, and the last line has its end. */
bool relay_text_is_done(const struct relay_text *);

#endif
