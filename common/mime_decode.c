/*
 * Decoders keep only what isn't complete at the end of a piece. What they make is gathered to some
 * KiB, so that a sink is called seldom.
 */
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "common/hex.h"
#include "common/mime_decode.h"
#include "common/mime_header.h"

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */
#define WORD_MAX    1024           /* bytes of an encoded word; RFC 2047 2 has 75 */
#define CHARSET_MAX 64

/* --- transfer encodings --- */

void
mime_decoder_init(
    struct mime_decoder *decoder, enum mime_encoding encoding, mime_sink sink, void *arg)
{
	memset(decoder, 0, offsetof(struct mime_decoder, out));
	decoder->encoding = encoding;
	decoder->sink = sink;
	decoder->arg = arg;
	decoder->out_length = 0;
}

static void
flush(struct mime_decoder *decoder)
{
	if (decoder->out_length > 0 && !decoder->is_over)
		decoder->is_over = !decoder->sink(decoder->out, decoder->out_length, decoder->arg);
	decoder->out_length = 0;
}

static void
put(struct mime_decoder *decoder, char byte)
{
	if (decoder->out_length == MIME_DECODED_MAX)
		flush(decoder);
	decoder->out[decoder->out_length++] = byte;
}

static int
base64_value(char byte)
{
	if (byte >= 'A' && byte <= 'Z')
		return byte - 'A';
	if (byte >= 'a' && byte <= 'z')
		return byte - 'a' + 26;
	if (byte >= '0' && byte <= '9')
		return byte - '0' + 52;
	return byte == '+' ? 62 : byte == '/' ? 63 : -1;
}

/* RFC 2045 6.8: other bytes are passed over; padding ends a run of four. */
static void
put_base64(struct mime_decoder *decoder, char byte)
{
	int value = base64_value(byte);

	if (byte == '=') {
		decoder->bit_count = 0;
		decoder->bits = 0;
	}
	if (value == -1)
		return;
	decoder->bits = decoder->bits << 6 | (uint32_t)value;
	decoder->bit_count += 6;
	if (decoder->bit_count >= 8) {
		decoder->bit_count -= 8;
		put(decoder, (char)(decoder->bits >> decoder->bit_count & 0xff));
	}
}

/* What was held back is text after all. */
static void
give_held(struct mime_decoder *decoder)
{
	for (size_t i = 0; i < decoder->held_length; i++)
		put(decoder, decoder->held[i]);
	decoder->held_length = 0;
}

/* RFC 2045 6.7. Held is either "=…" as far as it came, or blanks. */
static void
put_quoted(struct mime_decoder *decoder, char byte)
{
	bool is_escape = decoder->held_length > 0 && decoder->held[0] == '=';

	if (is_escape && decoder->held_length == 1 && hex_digit(byte) != -1) {
		decoder->held[decoder->held_length++] = byte;
		return;
	}
	if (is_escape && decoder->held_length == 2 && hex_digit(decoder->held[1]) != -1 &&
	    hex_digit(byte) != -1) {
		put(decoder, (char)(hex_digit(decoder->held[1]) << 4 | hex_digit(byte)));
		decoder->held_length = 0;
		return;
	}
	/* A soft line break, with blanks before its end. */
	if (is_escape && (decoder->held_length == 1 || hex_digit(decoder->held[1]) == -1) &&
	    strchr(" \t\r\n", byte) != NULL && byte != '\0') {
		if (byte == '\n')
			decoder->held_length = 0;
		else if (decoder->held_length < sizeof(decoder->held))
			decoder->held[decoder->held_length++] = byte;
		return;
	}
	if (is_escape)
		give_held(decoder);
	if (byte == '=' || byte == ' ' || byte == '\t') {
		if (byte == '=' || decoder->held_length == sizeof(decoder->held))
			give_held(decoder);
		decoder->held[decoder->held_length++] = byte;
		return;
	}
	/* Blanks at a line's end were put there on the way. */
	if (byte == '\n' || byte == '\r')
		decoder->held_length = 0;
	give_held(decoder);
	put(decoder, byte);
}

/* What needs no decoding goes on as it is. */
static void
pass(struct mime_decoder *decoder, const char *bytes, size_t length)
{
	flush(decoder);
	while (length > 0 && !decoder->is_over) {
		size_t count = length < MIME_DECODED_MAX ? length : MIME_DECODED_MAX;

		decoder->is_over = !decoder->sink(bytes, count, decoder->arg);
		bytes += count;
		length -= count;
	}
}

bool
mime_decoder_feed(struct mime_decoder *decoder, const char *bytes, size_t length)
{
	switch (decoder->encoding) {
	case MIME_BASE64:
		for (size_t i = 0; i < length && !decoder->is_over; i++)
			put_base64(decoder, bytes[i]);
		break;
	case MIME_QUOTED_PRINTABLE:
		for (size_t i = 0; i < length && !decoder->is_over; i++)
			put_quoted(decoder, bytes[i]);
		break;
	case MIME_IDENTITY:
	case MIME_ENCODING_UNKNOWN:
		pass(decoder, bytes, length);
		break;
	}
	return !decoder->is_over;
}

bool
mime_decoder_finish(struct mime_decoder *decoder)
{
	/* "=" at the very end is a soft line break without its line end. */
	if (decoder->held_length != 1 || decoder->held[0] != '=')
		give_held(decoder);
	decoder->held_length = 0;
	flush(decoder);
	return !decoder->is_over;
}

/* --- charsets --- */

static iconv_t
open_iconv(const char *name)
{
	/* No "//TRANSLIT" and the like by way of a message's own words. */
	if (name[0] == '\0' || strlen(name) > CHARSET_MAX || strpbrk(name, "/,") != NULL)
		return (iconv_t)-1;
	/* So does much mail call what Windows writes. */
	if (strcasecmp(name, "iso-8859-1") == 0 || strcasecmp(name, "us-ascii") == 0)
		name = "windows-1252";
	if (strcasecmp(name, "ks_c_5601-1987") == 0)
		name = "cp949";
	return iconv_open("UTF-8", name);
}

bool
mime_charset_is_known(const char *name)
{
	iconv_t found = open_iconv(name);

	if (found == (iconv_t)-1)
		return false;
	(void)iconv_close(found);
	return true;
}

bool
mime_charset_open(struct mime_charset *charset, const char *name, mime_sink sink, void *arg)
{
	memset(charset, 0, sizeof(*charset));
	charset->sink = sink;
	charset->arg = arg;
	charset->is_utf8 = strcasecmp(name, "utf-8") == 0;
	charset->is_ascii = charset->is_utf8 || strcasecmp(name, "us-ascii") == 0 ||
	    strncasecmp(name, "iso-8859-", 9) == 0 || strncasecmp(name, "windows-125", 11) == 0;
	charset->iconv = (iconv_t)-1;
	if (charset->is_utf8)
		return true;
	charset->iconv = open_iconv(name);
	if (charset->iconv != (iconv_t)-1)
		return true;
	charset->iconv = iconv_open("UTF-8", "US-ASCII");
	return false;
}

static void
give(struct mime_charset *charset, const char *bytes, size_t length)
{
	if (length > 0 && !charset->is_over)
		charset->is_over = !charset->sink(bytes, length, charset->arg);
}

/* Converts what is complete; returns how many bytes were taken. */
static size_t
convert(struct mime_charset *charset, const char *bytes, size_t length)
{
	char out[MIME_DECODED_MAX], *to, *from = (char *)(uintptr_t)bytes;
	size_t left = length, room, result;

	if (charset->iconv == (iconv_t)-1) {
		give(charset, bytes, length);
		return length;
	}
	while (left > 0 && !charset->is_over) {
		to = out;
		room = sizeof(out);
		result = iconv(charset->iconv, &from, &left, &to, &room);
		give(charset, out, sizeof(out) - room);
		if (result != (size_t)-1 || errno == E2BIG)
			continue;
		if (errno == EINVAL) /* the last character isn't complete */
			break;
		give(charset, REPLACEMENT, sizeof(REPLACEMENT) - 1);
		from++;
		left--;
	}
	return length - left;
}

/* How many bytes of ASCII these begin with. */
static size_t
ascii_length(const char *bytes, size_t length)
{
	size_t at = 0;
	uint64_t eight;

	for (; at + sizeof(eight) <= length; at += sizeof(eight)) {
		memcpy(&eight, bytes + at, sizeof(eight));
		if ((eight & 0x8080808080808080ULL) != 0)
			break;
	}
	while (at < length && (unsigned char)bytes[at] < 0x80)
		at++;
	return at;
}

bool
mime_charset_feed(struct mime_charset *charset, const char *bytes, size_t length)
{
	size_t used;

	/* The character that the last piece ended in, byte by byte. */
	while (charset->held_length > 0 && length > 0 && !charset->is_over) {
		if (charset->held_length == sizeof(charset->held)) {
			give(charset, REPLACEMENT, sizeof(REPLACEMENT) - 1);
			charset->held_length = 0;
			break;
		}
		charset->held[charset->held_length++] = *bytes++;
		length--;
		used = convert(charset, charset->held, charset->held_length);
		charset->held_length -= used;
		memmove(charset->held, charset->held + used, charset->held_length);
	}
	if (charset->is_ascii && charset->held_length == 0) {
		size_t left = ascii_length(bytes, length);

		length -= left;
		for (; left > 0 && !charset->is_over; left -= used, bytes += used) {
			used = left < MIME_DECODED_MAX ? left : MIME_DECODED_MAX;
			give(charset, bytes, used);
		}
	}
	if (length == 0 || charset->is_over)
		return !charset->is_over;
	if (charset->is_utf8) {
		charset->iconv = iconv_open("UTF-8", "UTF-8");
		charset->is_utf8 = false;
	}
	used = convert(charset, bytes, length);
	if (length - used <= sizeof(charset->held)) {
		charset->held_length = length - used;
		memcpy(charset->held, bytes + used, charset->held_length);
	}
	return !charset->is_over;
}

void
mime_charset_close(struct mime_charset *charset)
{
	if (charset->held_length > 0)
		give(charset, REPLACEMENT, sizeof(REPLACEMENT) - 1);
	if (charset->iconv != (iconv_t)-1)
		(void)iconv_close(charset->iconv);
	charset->iconv = (iconv_t)-1;
}

bool
mime_part_is_text(const struct mime *mime, uint32_t part, char *subtype, char *charset)
{
	const char *field = mime_field(mime, part, MIME_CONTENT_TYPE);
	char type[MIME_TOKEN_MAX + 1], name[MIME_TOKEN_MAX + 1];
	struct mime_value value;
	struct buf text;

	strcpy(subtype, "plain");
	strcpy(charset, "utf-8"); /* as much mail is that says nothing */
	if (field == NULL)
		return true;
	mime_value_init(&value, field);
	if (!mime_value_type(&value, type, subtype)) {
		strcpy(subtype, "plain");
		return true;
	}
	buf_init(&text, MIME_FIELD_MAX);
	while (mime_value_parameter(&value, name, &text)) {
		if (strcmp(name, "charset") == 0 && text.length > 0 &&
		    text.length <= MIME_TOKEN_MAX) {
			memcpy(charset, text.data, text.length);
			charset[text.length] = '\0';
		}
	}
	buf_free(&text);
	return strcmp(type, "text") == 0;
}

/* --- encoded words --- */

static bool
add_to_buf(const char *bytes, size_t length, void *arg)
{
	struct buf *to = arg;

	buf_add(to, bytes, length);
	return buf_ok(to);
}

static bool
add_to_charset(const char *bytes, size_t length, void *arg)
{
	return mime_charset_feed(arg, bytes, length);
}

/* "=?charset*language?B?text?=" at `at`. */
struct word {
	const char *charset;
	size_t charset_length;
	char encoding;
	const char *text;
	const char *text_end;
	const char *end;
};

static bool
find_word(const char *at, struct word *word)
{
	const char *question, *star;

	if (at[0] != '=' || at[1] != '?')
		return false;
	word->charset = at + 2;
	question = strchr(word->charset, '?');
	if (question == NULL || question[1] == '\0' || question[2] != '?')
		return false;
	word->charset_length = (size_t)(question - word->charset);
	star = memchr(word->charset, '*', word->charset_length); /* RFC 2231 5 */
	if (star != NULL)
		word->charset_length = (size_t)(star - word->charset);
	word->encoding = (char)tolower((unsigned char)question[1]);
	word->text = question + 3;
	word->text_end = strchr(word->text, '?');
	if (word->text_end == NULL || word->text_end[1] != '=' || word->charset_length == 0 ||
	    word->charset_length > CHARSET_MAX || word->text_end - at > WORD_MAX ||
	    (word->encoding != 'b' && word->encoding != 'q') ||
	    memchr(at, ' ', (size_t)(word->text_end - at)) != NULL)
		return false;
	word->end = word->text_end + 2;
	return true;
}

static void
decode_word(const struct word *word, struct buf *to)
{
	char name[CHARSET_MAX + 1], byte;
	struct mime_decoder decoder;
	struct mime_charset charset;

	memcpy(name, word->charset, word->charset_length);
	name[word->charset_length] = '\0';
	(void)mime_charset_open(&charset, name, add_to_buf, to);
	mime_decoder_init(&decoder, word->encoding == 'b' ? MIME_BASE64 : MIME_QUOTED_PRINTABLE,
	    add_to_charset, &charset);
	for (const char *at = word->text; at < word->text_end; at++) {
		byte = *at == '_' && word->encoding == 'q' ? ' ' : *at; /* RFC 2047 4.2 */
		/* A blank that was "_" isn't one at a line's end. */
		if (byte == ' ')
			(void)mime_decoder_feed(&decoder, "=20", 3);
		else
			(void)mime_decoder_feed(&decoder, &byte, 1);
	}
	(void)mime_decoder_finish(&decoder);
	mime_charset_close(&charset);
}

void
mime_decode_words(const char *field, struct buf *to)
{
	struct mime_charset plain;
	struct word word;
	const char *at = field, *next;

	(void)mime_charset_open(&plain, "UTF-8", add_to_buf, to);
	while (*at != '\0' && buf_ok(to)) {
		next = strstr(at, "=?");
		while (next != NULL && !find_word(next, &word))
			next = strstr(next + 2, "=?");
		if (next == NULL) {
			(void)mime_charset_feed(&plain, at, strlen(at));
			break;
		}
		(void)mime_charset_feed(&plain, at, (size_t)(next - at));
		/* Words that only blanks separate belong together (RFC 2047 6.2). */
		for (;;) {
			decode_word(&word, to);
			at = word.end;
			next = at + strspn(at, " \t\r\n");
			if (next == at || !find_word(next, &word))
				break;
		}
	}
	mime_charset_close(&plain);
}
