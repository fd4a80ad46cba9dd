/*
 * Lines that are longer than SMTP lets them be: 998 bytes and the line end (RFC 5321 4.5.3.1.6, RFC
 * 5322 2.1.1). A server on the way may cut them, silently.
 *
 * A field of the header can be folded before white space (RFC 5322 2.2.3), which neither its meaning
 * nor a DKIM signature with relaxed canonicalization of it notices (RFC 6376 3.4.2). Nothing can be
 * done for a line of the body.
 */
#ifndef DELIVER_RELAY_LINES_H
#define DELIVER_RELAY_LINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RELAY_LINE_MAX 998

struct relay_lines {
	uint64_t *folds; /* offsets of the white space that a line end goes before, ascending */
	size_t fold_count;
	uint64_t longest_field; /* bytes of the longest line that can't be folded; 0: all can */
	uint64_t longest_line;  /* of the body; 0: none is too long */
};

/* Looks through the `length` bytes of a message. False with errno when they can't be read (EIO also
 * when there are fewer), or memory is out. */
bool relay_lines_find(struct relay_lines *, int fd, uint64_t length)
    __attribute__((warn_unused_result));
void relay_lines_free(struct relay_lines *);

#endif
