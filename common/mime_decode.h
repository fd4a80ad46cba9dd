/*
 * What a message says, for search and preview: transfer encodings taken off (RFC 2045 6), text turned
 * into UTF-8, encoded words in fields read (RFC 2047). Text streams through; pieces may be of any size.
 */
#ifndef COMMON_MIME_DECODE_H
#define COMMON_MIME_DECODE_H

#include <iconv.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/mime.h"

/* Takes what was decoded; false: enough, nothing more is wanted. */
typedef bool (*mime_sink)(const char *bytes, size_t length, void *arg);

#define MIME_DECODED_MAX 4096 /* bytes that a sink is given at once */

struct mime_decoder {
	enum mime_encoding encoding;
	mime_sink sink;
	void *arg;
	bool is_over; /* the sink has enough */
	/* Base64: bits not yet given on. Quoted-printable: what of "=41" there was; blanks that may
	 * stand at a line's end. */
	uint32_t bits;
	unsigned bit_count;
	char held[80];
	size_t held_length;
	char out[MIME_DECODED_MAX];
	size_t out_length;
};

/* Takes a transfer encoding off; what isn't of it is passed over (base64) or kept (quoted-printable).
 * An unknown encoding is left as it is. */
void mime_decoder_init(struct mime_decoder *, enum mime_encoding, mime_sink, void *arg);
/* False when the sink has enough. */
bool mime_decoder_feed(struct mime_decoder *, const char *bytes, size_t length);
bool mime_decoder_finish(struct mime_decoder *);

struct mime_charset {
	iconv_t iconv; /* (iconv_t)-1: bytes are taken as UTF-8; or it isn't open yet */
	bool is_ascii; /* its ASCII is ASCII */
	bool is_utf8;  /* opened when the first byte comes that isn't ASCII */
	mime_sink sink;
	void *arg;
	bool is_over;
	char held[16]; /* of a character that isn't complete */
	size_t held_length;
};

/* Turns text of a charset into valid UTF-8. Characters that aren't of it, and text of an unknown charset
 * but for its ASCII, become U+FFFD. False when the charset isn't known. */
bool mime_charset_open(struct mime_charset *, const char *name, mime_sink, void *arg);
bool mime_charset_feed(struct mime_charset *, const char *bytes, size_t length);
void mime_charset_close(struct mime_charset *);
/* Whether the charset is known. */
bool mime_charset_is_known(const char *name);

/*
 * Whether a part is text, by its type or because it has none that can be read; then its subtype and
 * charset, "plain" and "utf-8" where it doesn't say. Room for MIME_TOKEN_MAX + 1 bytes each.
 */
bool mime_part_is_text(const struct mime *, uint32_t part, char *subtype, char *charset);

/* Appends a field's text with its encoded words read (RFC 2047 6), as UTF-8. */
void mime_decode_words(const char *field, struct buf *);

#endif
