/*
 * Replies: a code, an enhanced code and one line of words that is safe to send, store and log as it
 * is, because whatever reply_set() gets is reduced to printable ASCII and reply_decode() takes
 * nothing else.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <bsd/string.h>

#include "common/reply.h"

void
reply_set(struct reply *reply, unsigned code, const char *enhanced, const char *format, ...)
{
	bool has_high_bit = false;
	va_list arguments;
	char *c, *to;

	reply->code = code;
	strlcpy(reply->enhanced, enhanced, sizeof(reply->enhanced));
	va_start(arguments, format);
	if (vsnprintf(reply->text, sizeof(reply->text), format, arguments) < 0)
		reply->text[0] = '\0';
	va_end(arguments);
	for (c = to = reply->text; *c != '\0'; c++) {
		/* The rest of a character of UTF-8 that began before. */
		if (((unsigned char)*c & 0xc0) == 0x80 && has_high_bit)
			continue;
		has_high_bit = ((unsigned char)*c & 0x80) != 0;
		*to++ = (unsigned char)*c < ' ' || (unsigned char)*c > '~' ? '?' : *c;
	}
	*to = '\0';
}

bool
reply_is_success(const struct reply *reply)
{
	return reply->code / 100 == 2;
}

bool
reply_is_temporary(const struct reply *reply)
{
	return reply->code / 100 == 4;
}

bool
reply_is_permanent(const struct reply *reply)
{
	return reply->code / 100 == 5;
}

void
reply_format(const struct reply *reply, char *text, size_t size)
{
	snprintf(text, size, "%03u%s%s%s%s", reply->code, reply->enhanced[0] == '\0' ? "" : " ",
	    reply->enhanced, reply->text[0] == '\0' ? "" : " ", reply->text);
}

void
reply_encode(struct buf *buf, const struct reply *reply)
{
	buf_add_u16(buf, (uint16_t)reply->code);
	buf_add_string(buf, reply->enhanced);
	buf_add_string(buf, reply->text);
}

/* RFC 3463 2: class "." subject "." detail, the latter two of one to three digits. */
bool
reply_enhanced_is_valid(const char *text)
{
	size_t digits;
	int part;

	if (*text == '\0')
		return true;
	if (*text != '2' && *text != '4' && *text != '5')
		return false;
	text++;
	for (part = 0; part < 2; part++) {
		if (*text++ != '.')
			return false;
		digits = strspn(text, "0123456789");
		if (digits < 1 || digits > 3)
			return false;
		text += digits;
	}
	return *text == '\0';
}

bool
reply_decode(struct buf_reader *reader, struct reply *reply)
{
	const char *c;

	memset(reply, 0, sizeof(*reply));
	reply->code = buf_get_u16(reader);
	buf_get_string(reader, reply->enhanced, sizeof(reply->enhanced));
	buf_get_string(reader, reply->text, sizeof(reply->text));
	if (reply->code < 200 || reply->code > 599 || !reply_enhanced_is_valid(reply->enhanced))
		reader->failed = true;
	for (c = reply->text; *c != '\0'; c++)
		if ((unsigned char)*c < ' ' || (unsigned char)*c > '~')
			reader->failed = true;
	return !reader->failed;
}

size_t
reply_enhanced_length(const char *text, unsigned code)
{
	size_t length = strcspn(text, " ");
	char enhanced[sizeof(((struct reply *)NULL)->enhanced)];

	if (length == 0 || length >= sizeof(enhanced) || (unsigned)(*text - '0') != code / 100)
		return 0;
	memcpy(enhanced, text, length);
	enhanced[length] = '\0';
	return reply_enhanced_is_valid(enhanced) ? length : 0;
}
