/*
 * How smtpctl shows text that strangers chose: addresses, names, errors. Into a pipe nothing may
 * end its field or its line, in JSON everything is valid UTF-8, and on a terminal no byte is an
 * escape sequence and every cell has its width.
 */
#ifndef SMTPCTL_TEXT_H
#define SMTPCTL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

/* Tells the C library that text is UTF-8, for the width of characters; call once. */
void text_use_utf8(void);
/* The length in bytes of the character at `text` and the character, or 0 when it is not valid
 * UTF-8 (or the end). */
size_t text_next(const char *text, uint32_t *character);
/* A field of a "|"-separated line: control characters, those that change a line's direction, "|" and
 * what is not UTF-8 as \ooo, and "\" doubled, as vis(3) does: unvis(1) gives the text back. */
void text_add_field(struct buf *, const char *text);
/* A JSON string, quotes included; what is not UTF-8 becomes U+FFFD, and no character is there that a
 * terminal would obey. */
void text_add_json(struct buf *, const char *text);
/* At least (padded with blanks) and at most `width` columns of the text; a longer one is cut and
 * ends in "..". What a terminal would not print, or would obey, becomes "?". */
void text_add_cell(struct buf *, const char *text, size_t width);
/* The same without padding. */
void text_add_clean(struct buf *, const char *text, size_t width);
/* "1d2h3m4s"; "0s". */
void text_format_duration(char *text, size_t size, uint64_t seconds);
/* At most four columns: "59s", "2m", "47h", "12d", "99w". */
void text_format_age(char *text, size_t size, int64_t seconds);
/* "1.5G", "500M", "0". */
void text_format_size(char *text, size_t size, uint64_t bytes);
/* "90", "10m", "1h30m", "4d", "2w": seconds, false when it is none or over 2^32. */
bool text_parse_duration(const char *text, uint32_t *seconds);
/* "1G", "500M", "100k", "123": bytes, false when it is none or over 2^63. */
bool text_parse_size(const char *text, uint64_t *bytes);
bool text_parse_number(const char *text, uint64_t limit, uint64_t *number);

#endif
