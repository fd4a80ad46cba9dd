/*
 * Four characters are three bytes. The last four may end in one or two "=".
 */
#include <string.h>

#include "common/base64.h"

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* 0 to 63, or -1. */
static int
value_of(char character)
{
	const char *found = character == '\0' ? NULL : strchr(alphabet, character);

	return found == NULL ? -1 : (int)(found - alphabet);
}

bool
base64_decode(const char *text, size_t length, void *bytes, size_t size, size_t *decoded)
{
	uint8_t *out = bytes;
	size_t padding = 0;

	*decoded = 0;
	if (length % 4 != 0)
		return false;
	while (padding < 2 && padding < length && text[length - padding - 1] == '=')
		padding++;
	if (length / 4 * 3 - padding > size)
		return false;
	for (size_t at = 0; at < length; at += 4) {
		size_t missing = at + 4 == length ? padding : 0;
		uint32_t group = 0;

		for (size_t i = 0; i < 4; i++) {
			int value = i >= 4 - missing ? 0 : value_of(text[at + i]);

			if (value == -1)
				return false;
			group = group << 6 | (uint32_t)value;
		}
		if ((missing == 1 && (group & 0xff) != 0) ||
		    (missing == 2 && (group & 0xffff) != 0))
			return false;
		for (size_t i = 0; i < 3 - missing; i++)
			out[(*decoded)++] = (uint8_t)(group >> (16 - 8 * i));
	}
	return true;
}

void
base64_encode(const void *bytes, size_t length, char *text)
{
	const uint8_t *in = bytes;

	for (size_t at = 0; at < length; at += 3) {
		size_t count = length - at < 3 ? length - at : 3;
		uint32_t group = 0;

		for (size_t i = 0; i < 3; i++)
			group = group << 8 | (i < count ? in[at + i] : 0);
		for (size_t i = 0; i < 4; i++)
			*text++ = i <= count ? alphabet[group >> (18 - 6 * i) & 63] : '=';
	}
	*text = '\0';
}
