/*
 * Text for pipes, JSON and terminals, and the numbers that people write with units.
 *
 * The same walk over characters serves all three: text_next() is the only place that reads UTF-8,
 * strictly (no overlong forms, surrogates or values over U+10FFFF), so whatever it refuses is
 * escaped byte by byte.
 */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

#include "smtpctl/text.h"

#define CUT_MARK ".."

void
text_use_utf8(void)
{
	/* Without it, text_add_cell() shows what is not ASCII as "?". */
	(void)setlocale(LC_CTYPE, "C.UTF-8");
}

size_t
text_next(const char *text, uint32_t *character)
{
	const unsigned char *bytes = (const unsigned char *)text;
	size_t length;
	uint32_t value, least;

	*character = 0;
	if (bytes[0] == '\0')
		return 0;
	if (bytes[0] < 0x80) {
		*character = bytes[0];
		return 1;
	}
	if (bytes[0] >= 0xc2 && bytes[0] <= 0xdf) {
		length = 2;
		least = 0x80;
		value = bytes[0] & 0x1f;
	} else if ((bytes[0] & 0xf0) == 0xe0) {
		length = 3;
		least = 0x800;
		value = bytes[0] & 0x0f;
	} else if (bytes[0] >= 0xf0 && bytes[0] <= 0xf4) {
		length = 4;
		least = 0x10000;
		value = bytes[0] & 0x07;
	} else
		return 0;
	for (size_t i = 1; i < length; i++) {
		/* The terminating NUL is no continuation byte either. */
		if ((bytes[i] & 0xc0) != 0x80)
			return 0;
		value = value << 6 | (bytes[i] & 0x3f);
	}
	if (value < least || value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff))
		return 0;
	*character = value;
	return length;
}

static bool
is_control(uint32_t character)
{
	return character < 0x20 || (character >= 0x7f && character < 0xa0);
}

/* Characters that change the direction of what follows could make a line lie. */
static bool
is_direction(uint32_t character)
{
	return character == 0x061c || character == 0x200e || character == 0x200f ||
	    (character >= 0x202a && character <= 0x202e) ||
	    (character >= 0x2066 && character <= 0x2069);
}

void
text_add_field(struct buf *buf, const char *text)
{
	while (*text != '\0') {
		uint32_t character;
		size_t length = text_next(text, &character);

		if (length == 0 || is_control(character) || is_direction(character) ||
		    character == '|') {
			size_t bytes = length == 0 ? 1 : length;

			for (size_t i = 0; i < bytes; i++)
				buf_printf(buf, "\\%03o", (unsigned char)text[i]);
			text += bytes;
			continue;
		}
		if (character == '\\')
			buf_add_text(buf, "\\");
		buf_add(buf, text, length);
		text += length;
	}
}

void
text_add_json(struct buf *buf, const char *text)
{
	buf_add_text(buf, "\"");
	while (*text != '\0') {
		uint32_t character;
		size_t length = text_next(text, &character);

		if (length == 0) {
			buf_add_text(buf, "\\ufffd");
			text++;
			continue;
		}
		if (character == '"' || character == '\\') {
			buf_add_text(buf, "\\");
			buf_add(buf, text, 1);
		} else if (is_control(character) || is_direction(character) ||
		    character == 0x2028 || character == 0x2029)
			buf_printf(buf, "\\u%04x", (unsigned)character);
		else
			buf_add(buf, text, length);
		text += length;
	}
	buf_add_text(buf, "\"");
}

/* The columns that a character takes, or -1 when it must not be shown. */
static int
character_width(uint32_t character)
{
	if (is_control(character) || is_direction(character))
		return -1;
	return character < 0x7f ? 1 : wcwidth((wchar_t)character);
}

/* The bytes of `text` that fill at most `width` columns, one "?" for each unprintable; those
 * columns to `*used`. True when all of the text has fitted. */
static bool
add_columns(struct buf *buf, const char *text, size_t width, size_t *used)
{
	*used = 0;
	while (*text != '\0') {
		uint32_t character;
		size_t length = text_next(text, &character);
		int columns = length == 0 ? -1 : character_width(character);
		bool shown = columns >= 0;

		if (!shown)
			columns = 1;
		if (*used + (size_t)columns > width)
			return false;
		if (buf != NULL) {
			if (shown)
				buf_add(buf, text, length);
			else
				buf_add_text(buf, "?");
		}
		*used += (size_t)columns;
		text += length == 0 ? 1 : length;
	}
	return true;
}

static size_t
add_cut(struct buf *buf, const char *text, size_t width)
{
	size_t used;

	if (add_columns(NULL, text, width, &used) || width < sizeof(CUT_MARK)) {
		(void)add_columns(buf, text, width, &used);
		return used;
	}
	(void)add_columns(buf, text, width - strlen(CUT_MARK), &used);
	buf_add_text(buf, CUT_MARK);
	return used + strlen(CUT_MARK);
}

void
text_add_clean(struct buf *buf, const char *text, size_t width)
{
	(void)add_cut(buf, text, width);
}

void
text_add_cell(struct buf *buf, const char *text, size_t width)
{
	for (size_t used = add_cut(buf, text, width); used < width; used++)
		buf_add_text(buf, " ");
}

void
text_format_duration(char *text, size_t size, uint64_t seconds)
{
	static const struct {
		uint64_t seconds;
		char unit;
	} units[] = { { 86400, 'd' }, { 3600, 'h' }, { 60, 'm' }, { 1, 's' } };
	size_t length = 0;

	text[0] = '\0';
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		uint64_t count = seconds / units[i].seconds;
		int written;

		seconds %= units[i].seconds;
		if (count == 0 && !(units[i].unit == 's' && length == 0))
			continue;
		written = snprintf(text + length, size - length, "%llu%c",
		    (unsigned long long)count, units[i].unit);
		if (written < 0 || (size_t)written >= size - length)
			return;
		length += (size_t)written;
	}
}

void
text_format_age(char *text, size_t size, int64_t seconds)
{
	static const struct {
		int64_t below;
		int64_t unit;
		char letter;
	} units[] = { { 600, 1, 's' }, { 36000, 60, 'm' }, { 360000, 3600, 'h' },
		{ 86400LL * 1000, 86400, 'd' } };

	if (seconds < 0)
		seconds = 0;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (seconds < units[i].below) {
			(void)snprintf(text, size, "%lld%c", (long long)(seconds / units[i].unit),
			    units[i].letter);
			return;
		}
	(void)snprintf(text, size, ">3y");
}

void
text_format_size(char *text, size_t size, uint64_t bytes)
{
	static const char letters[] = "KMGTPE";
	uint64_t unit = 1;
	size_t letter = 0;

	while (bytes / unit >= 1024 && letter < strlen(letters)) {
		unit *= 1024;
		letter++;
	}
	if (letter == 0)
		(void)snprintf(text, size, "%llu", (unsigned long long)bytes);
	else if (bytes / unit < 10 && bytes % unit != 0)
		(void)snprintf(text, size, "%llu.%llu%c", (unsigned long long)(bytes / unit),
		    (unsigned long long)(bytes % unit * 10 / unit), letters[letter - 1]);
	else
		(void)snprintf(
		    text, size, "%llu%c", (unsigned long long)(bytes / unit), letters[letter - 1]);
}

/* Reads digits and moves `*text` behind them. */
static bool
read_digits(const char **text, uint64_t limit, uint64_t *number)
{
	const char *digit = *text;

	*number = 0;
	for (; *digit >= '0' && *digit <= '9'; digit++) {
		uint64_t value = (uint64_t)(*digit - '0');

		if (*number > (limit - value) / 10)
			return false;
		*number = *number * 10 + value;
	}
	if (digit == *text)
		return false;
	*text = digit;
	return true;
}

bool
text_parse_number(const char *text, uint64_t limit, uint64_t *number)
{
	return read_digits(&text, limit, number) && *text == '\0';
}

bool
text_parse_duration(const char *text, uint32_t *seconds)
{
	static const char letters[] = "smhdw";
	static const uint32_t units[] = { 1, 60, 3600, 86400, 7 * 86400 };
	uint64_t total = 0;

	do {
		uint64_t number;
		uint64_t unit = 1;

		if (!read_digits(&text, UINT32_MAX, &number))
			return false;
		if (*text != '\0') {
			const char *letter = strchr(letters, *text);

			if (letter == NULL)
				return false;
			unit = units[letter - letters];
			text++;
		}
		total += number * unit;
		if (total > UINT32_MAX)
			return false;
	} while (*text != '\0');
	*seconds = (uint32_t)total;
	return true;
}

bool
text_parse_size(const char *text, uint64_t *bytes)
{
	static const char letters[] = "KMGT";
	unsigned shift = 0;

	if (!read_digits(&text, INT64_MAX, bytes))
		return false;
	if (*text != '\0') {
		/* Upper case by hand: the locale has no say in it. */
		char upper = *text >= 'a' && *text <= 'z' ? (char)(*text - 'a' + 'A') : *text;
		const char *letter = strchr(letters, upper);

		if (letter == NULL || text[1] != '\0')
			return false;
		shift = 10 * (unsigned)(letter - letters + 1);
	}
	if (*bytes > (uint64_t)INT64_MAX >> shift)
		return false;
	*bytes <<= shift;
	return true;
}
