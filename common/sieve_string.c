/*
 * What stands in strings beside their text: encoded characters, and references to variables.
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "common/hex.h"
#include "common/sieve_script.h"

bool
sieve_is_identifier(const char *text)
{
	size_t i;

	for (i = 0; text[i] != '\0'; i++) {
		if (!isalpha((unsigned char)text[i]) && text[i] != '_' &&
		    (i == 0 || !isdigit((unsigned char)text[i])))
			return false;
	}
	return i > 0 && i <= SIEVE_IDENTIFIER_MAX;
}

/* Bytes of the UTF-8 character (RFC 3629) at `at`; 0: it is none, or NUL. */
static size_t
character_length(const unsigned char *at, size_t left)
{
	size_t length = at[0] < 0x80 ? 1 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;

	if (at[0] == 0 || (at[0] >= 0x80 && at[0] < 0xc2) || at[0] > 0xf4 || length > left)
		return 0;
	for (size_t i = 1; i < length; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) ||
	    (at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f))
		return 0;
	return length;
}

bool
sieve_is_utf8(const char *text, size_t length)
{
	size_t i, step;

	for (i = 0; i < length; i += step) {
		step = character_length((const unsigned char *)text + i, length - i);
		if (step == 0)
			return false;
	}
	return true;
}

void
sieve_mend_utf8(char *text)
{
	size_t left = strlen(text), step;

	for (; left > 0; text += step, left -= step) {
		step = character_length((const unsigned char *)text, left);
		if (step == 0) {
			*text = '?';
			step = 1;
		}
	}
}

size_t
sieve_cut(const char *text, size_t length, size_t most)
{
	if (length <= most)
		return length;
	while (most > 0 && ((unsigned char)text[most] & 0xc0) == 0x80)
		most--;
	return most;
}

static size_t
put_utf8(char *to, uint32_t point)
{
	if (point < 0x80) {
		to[0] = (char)point;
		return 1;
	}
	if (point < 0x800) {
		to[0] = (char)(0xc0 | point >> 6);
		to[1] = (char)(0x80 | (point & 0x3f));
		return 2;
	}
	if (point < 0x10000) {
		to[0] = (char)(0xe0 | point >> 12);
		to[1] = (char)(0x80 | (point >> 6 & 0x3f));
		to[2] = (char)(0x80 | (point & 0x3f));
		return 3;
	}
	to[0] = (char)(0xf0 | point >> 18);
	to[1] = (char)(0x80 | (point >> 12 & 0x3f));
	to[2] = (char)(0x80 | (point >> 6 & 0x3f));
	to[3] = (char)(0x80 | (point & 0x3f));
	return 4;
}

/*
 * What is between "${hex:" or "${unicode:" and "}", written to `to`, which may be the same place: it
 * is never longer than what it stands for. The number of bytes, 0 when it isn't of that form, and
 * then nothing is written; SIZE_MAX for a character that there isn't.
 */
static size_t
decode_one(const char *at, const char *end, const char **after, char *to)
{
	bool is_unicode = false, is_any = false;
	char bytes[1024];
	size_t length = 0;

	if (end - at >= 6 && strncasecmp(at, "${hex:", 6) == 0) {
		at += 6;
	} else if (end - at >= 10 && strncasecmp(at, "${unicode:", 10) == 0) {
		at += 10;
		is_unicode = true;
	} else {
		return 0;
	}
	for (;;) {
		uint32_t value = 0;
		unsigned digits = 0;

		while (at < end && isspace((unsigned char)*at))
			at++;
		if (at == end || length > sizeof(bytes) - 4)
			return 0;
		if (*at == '}')
			break;
		/* A character's number may have any number of zeroes before it. */
		for (; at < end && hex_digit(*at) != -1; at++) {
			if (value <= 0x10ffff)
				value = value << 4 | (uint32_t)hex_digit(*at);
			digits += digits < 3;
		}
		if (digits == 0 || (!is_unicode && digits > 2))
			return 0;
		is_any = true;
		if (value == 0 || value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
			return SIZE_MAX;
		if (is_unicode)
			length += put_utf8(bytes + length, value);
		else
			bytes[length++] = (char)value;
	}
	if (!is_any)
		return 0;
	*after = at + 1;
	memcpy(to, bytes, length);
	return length;
}

const char *
sieve_decode_characters(char *text, size_t *length)
{
	char *from = text, *to = text, *end = text + *length;
	const char *after;
	size_t decoded;

	while (from < end) {
		if (from[0] != '$') {
			*to++ = *from++;
			continue;
		}
		decoded = decode_one(from, end, &after, to);
		if (decoded == SIZE_MAX)
			return "an encoded character that there isn't";
		if (decoded == 0) {
			*to++ = *from++;
			continue;
		}
		to += decoded;
		from = text + (after - text);
	}
	*to = '\0';
	*length = (size_t)(to - text);
	return sieve_is_utf8(text, *length) ? NULL : "encoded characters that aren't UTF-8";
}

enum sieve_reference
sieve_read_reference(const char *at, const char *end, const char **after,
    char name[SIEVE_IDENTIFIER_MAX + 1], unsigned *number)
{
	size_t length = 0;
	bool has_namespace = false;

	at += 2;
	if (at < end && isdigit((unsigned char)*at)) {
		for (*number = 0; at < end && isdigit((unsigned char)*at); at++) {
			if (*number < 1000)
				*number = *number * 10 + (unsigned)(*at - '0');
		}
		if (at == end || *at != '}')
			return REFERENCE_NONE;
		*after = at + 1;
		return *number > 9 ? REFERENCE_BAD : REFERENCE_MATCH;
	}
	for (; at < end && *at != '}'; at++) {
		if (*at == '.' && length > 0) {
			has_namespace = true;
			length = 0;
			continue;
		}
		if (!isalpha((unsigned char)*at) && *at != '_' &&
		    (length == 0 || !isdigit((unsigned char)*at)))
			return REFERENCE_NONE;
		if (length == SIEVE_IDENTIFIER_MAX)
			return REFERENCE_NONE;
		name[length++] = (char)tolower((unsigned char)*at);
	}
	if (at == end || length == 0)
		return REFERENCE_NONE;
	name[length] = '\0';
	*after = at + 1;
	return has_namespace ? REFERENCE_BAD : REFERENCE_NAMED;
}
