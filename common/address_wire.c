/*
 * Addresses between the suite's processes, and what a process needs that looks at none otherwise:
 * address.c draws in the library of international names.
 */
#include <ctype.h>
#include <string.h>

#include "common/address.h"

/* A character no address may hold though its UTF-8 is right: C1 controls, line and paragraph
 * separators, marks and overrides of direction, zero-width ones and noncharacters. */
static bool
is_deceptive(uint32_t character)
{
	return character < 0xa0 || (character >= 0x200b && character <= 0x200f) ||
	    (character >= 0x2028 && character <= 0x202e) ||
	    (character >= 0x2060 && character <= 0x206f) || character == 0xfeff ||
	    (character >= 0xfff9 && character <= 0xfffd) || (character & 0xfffe) == 0xfffe;
}

size_t
address_utf8_character(const char *text, size_t left, uint32_t *character)
{
	static const uint32_t smallest[] = { 0, 0, 0x80, 0x800, 0x10000 }; /* RFC 3629 3, 4 */
	const unsigned char *at = (const unsigned char *)text;
	size_t length, i;

	if (left == 0)
		return 0;
	if (*at >= 0xc2 && *at <= 0xdf)
		length = 2, *character = *at & 0x1f;
	else if (*at >= 0xe0 && *at <= 0xef)
		length = 3, *character = *at & 0x0f;
	else if (*at >= 0xf0 && *at <= 0xf4)
		length = 4, *character = *at & 0x07;
	else
		return 0;
	if (left < length)
		return 0;
	for (i = 1; i < length; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		*character = *character << 6 | (at[i] & 0x3f);
	}
	if (*character < smallest[length] || *character > 0x10ffff ||
	    (*character >= 0xd800 && *character <= 0xdfff) || is_deceptive(*character))
		return 0;
	return length;
}

bool
address_is_utf8(const char *text)
{
	const unsigned char *at = (const unsigned char *)text, *end = at + strlen(text);
	uint32_t character;
	size_t length;

	while (at < end) {
		length = isascii(*at)
		    ? 1
		    : address_utf8_character((const char *)at, (size_t)(end - at), &character);
		if (length == 0)
			return false;
		at += length;
	}
	return true;
}

bool
address_is_null(const struct address *address)
{
	return *address->local == '\0' && *address->domain == '\0';
}

void
address_encode(struct buf *buf, const struct address *address)
{
	buf_add_string(buf, address->local);
	buf_add_string(buf, address->domain);
}

bool
address_decode(struct buf_reader *reader, struct address *address)
{
	const char *at;

	buf_get_string(reader, address->local, sizeof(address->local));
	buf_get_string(reader, address->domain, sizeof(address->domain));
	for (at = address->local; *at != '\0'; at++) {
		if (iscntrl((unsigned char)*at))
			reader->failed = true;
	}
	for (at = address->domain; *at != '\0'; at++) {
		if (isascii((unsigned char)*at) && !isalnum((unsigned char)*at) &&
		    strchr("-._[]:", *at) == NULL)
			reader->failed = true;
	}
	if ((*address->local == '\0' && *address->domain != '\0') ||
	    !address_is_utf8(address->local) || !address_is_utf8(address->domain))
		reader->failed = true;
	if (reader->failed)
		memset(address, 0, sizeof(*address));
	return !reader->failed;
}
