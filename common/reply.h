/*
 * What one side tells the other about a command, a recipient or a delivery: an SMTP reply code
 * (RFC 5321 4.2), an enhanced status code (RFC 3463) and one line of words. Used from the
 * listener's session to the mda's result and the DSN, so that a reason is written once and travels
 * unchanged.
 */
#ifndef COMMON_REPLY_H
#define COMMON_REPLY_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buf.h"

#define REPLY_TEXT_MAX 400

struct reply {
	unsigned code;                 /* 200..599 */
	char enhanced[12];             /* "5.1.1", or "" where none applies (RFC 2034 4) */
	char text[REPLY_TEXT_MAX + 1]; /* printable ASCII and blanks; see reply_set() */
};

/* Sets all three; control bytes and characters above ASCII in the formatted text become "?" each,
 * too long is cut: a reply line has 512 octets (RFC 5321 4.5.3.1.5), and not every client has
 * SMTPUTF8 (RFC 6531 3.7.4). */
void reply_set(struct reply *, unsigned code, const char *enhanced, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The length of the enhanced status code that the text begins with and that fits to the code, with a
 * blank or nothing behind it; 0: none. */
size_t reply_enhanced_length(const char *text, unsigned code);
bool reply_is_success(const struct reply *);   /* 2xx */
bool reply_is_temporary(const struct reply *); /* 4xx */
bool reply_is_permanent(const struct reply *); /* 5xx */
/* "550 5.1.1 no such user here", without a line end. */
void reply_format(const struct reply *, char *text, size_t size);
/* An enhanced status code (RFC 3463 2) of any class, or "". */
bool reply_enhanced_is_valid(const char *text);
void reply_encode(struct buf *, const struct reply *);
/* False when a field is out of range; the reader is then failed too. */
bool reply_decode(struct buf_reader *, struct reply *);

#endif
