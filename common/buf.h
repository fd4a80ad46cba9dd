/*
 * A bounded byte buffer, and the encoding of integers and strings that all of the suite's
 * binary formats use (frames between processes, journal records, the configuration handed to
 * children).
 *
 * A struct buf owns its bytes. It grows up to the limit given to buf_init() and never beyond: what
 * doesn't fit sets `failed`, later appends do nothing, and buf_ok() tells. So a caller appends a
 * whole record and checks once.
 *
 * A struct buf_reader borrows bytes of somebody else's. Reading past the end, a string that is too
 * long or an invalid value sets `failed`, later reads give zeroes and empty strings, and
 * buf_reader_done() tells whether all was well and nothing is left over.
 *
 * Integers are little endian. A string is a u16 length and its bytes, without a NUL; a string
 * that holds a NUL is refused when read. Neither side recurses or trusts a length.
 */
#ifndef COMMON_BUF_H
#define COMMON_BUF_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
	uint8_t *data; /* owned; NULL until the first append */
	size_t length;
	size_t capacity;
	size_t limit;
	bool failed;    /* the limit was met or memory ran out */
	bool no_memory; /* it was memory */
};

/* An empty buffer that may hold at most `limit` bytes. Allocates nothing. */
void buf_init(struct buf *, size_t limit);
/* Frees the bytes; the buffer is then as after buf_init() with the same limit. */
void buf_free(struct buf *);
/* Forgets the content and `failed`, keeps the memory. */
void buf_clear(struct buf *);
/* True when every append so far has fitted. */
bool buf_ok(const struct buf *);
/* Makes room for `extra` more bytes; false (and failed) when that passes the limit. */
bool buf_reserve(struct buf *, size_t extra);
/* Drops `count` bytes from the front (at most length). */
void buf_drop(struct buf *, size_t count);

void buf_add(struct buf *, const void *data, size_t length);
void buf_add_u8(struct buf *, uint8_t);
void buf_add_u16(struct buf *, uint16_t);
void buf_add_u32(struct buf *, uint32_t);
void buf_add_u64(struct buf *, uint64_t);
/* u16 length and bytes; NULL is written as "". More than 65,535 bytes fails. */
void buf_add_string(struct buf *, const char *);
/* Text without a length, for messages and protocol replies. */
void buf_add_text(struct buf *, const char *);
/* The same for a number, in decimal digits. */
void buf_add_decimal(struct buf *, uint64_t);
void buf_printf(struct buf *, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_vprintf(struct buf *, const char *format, va_list) __attribute__((format(printf, 2, 0)));

struct buf_reader {
	const uint8_t *data;
	size_t left;
	bool failed;
};

void buf_reader_init(struct buf_reader *, const void *data, size_t length);
uint8_t buf_get_u8(struct buf_reader *);
uint16_t buf_get_u16(struct buf_reader *);
uint32_t buf_get_u32(struct buf_reader *);
uint64_t buf_get_u64(struct buf_reader *);
/* A byte that must be 0 or 1. */
bool buf_get_bool(struct buf_reader *);
/* A u8 that must be below `count` (the number of an enum's values). */
unsigned buf_get_enum(struct buf_reader *, unsigned count);
/* Copies `length` raw bytes out. */
void buf_get(struct buf_reader *, void *, size_t length);
/* Copies a string into `text` of `size` bytes and terminates it; one that doesn't fit fails. */
void buf_get_string(struct buf_reader *, char *text, size_t size);
/* A newly allocated string of at most `limit` bytes, "" on failure; the caller frees it. */
char *buf_get_string_alloc(struct buf_reader *, size_t limit);
/* True when no read failed and no byte is left over. */
bool buf_reader_done(const struct buf_reader *);

#endif
