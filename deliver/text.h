/*
 * A message's text on its way from the queue's descriptor to a mailbox or a command: the trace
 * fields of final delivery are put before it, and its CRLF line ends become the LF that local files
 * have. Nothing else is changed: a CR without LF stays, a missing last line end isn't added.
 */
#ifndef DELIVER_TEXT_H
#define DELIVER_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/address.h"
#include "common/buf.h"

#define TEXT_CHUNK (128 * 1024)

struct text {
	int fd; /* borrowed; read with pread(), since its offset may be shared */
	uint64_t offset;
	uint64_t length;
	bool pending_cr;       /* the last chunk ended with a CR */
	uint8_t last;          /* the last byte given out */
	uint64_t size;         /* bytes given out so far */
	uint64_t virtual_size; /* the same with CRLF line ends, for ",W=" */
};

/* Return-Path (RFC 5321 4.4) and Delivered-To, with LF line ends. */
void text_fields(struct buf *, const struct address *sender, const char *delivered_to);
void text_begin(struct text *, int fd, uint64_t length);
/*
 * Fills `chunk` of TEXT_CHUNK bytes, from `used` on (at most half of it), and returns how many
 * bytes it then holds: `used` when the text has ended. -1 with errno: EIO also when the descriptor
 * holds less than `length`. What is before `used` counts as given out too.
 */
ssize_t text_read(struct text *, uint8_t *chunk, size_t used);
/* Writes the fields, unless `sender` is NULL, and all of the text, which was begun, to a file. False with
 * errno. `chunk`: scratch of TEXT_CHUNK bytes. */
bool text_write(struct text *, int file, const struct address *sender, const char *delivered_to,
    uint8_t *chunk) __attribute__((warn_unused_result));

#endif
