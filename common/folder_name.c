/*
 * Names of folders, in two encodings. UTF-8 is decoded code point by code point and modified UTF-7
 * character by character, both strictly, so that a folder has exactly one name in each: what isn't
 * canonical is refused, not repaired.
 */
#include <stdint.h>
#include <string.h>
#include <strings.h>

#include "common/folder_name.h"

/* RFC 3501 5.1.3: base64 with "," for "/", without padding. */
static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,";

/* Takes a code point off the front; false for bytes that aren't UTF-8 (RFC 3629). */
static bool
take_utf8(const char **at, uint32_t *point)
{
	static const uint32_t smallest[] = { 0, 0x80, 0x800, 0x10000 };
	const uint8_t *p = (const uint8_t *)*at;
	unsigned more, i;
	uint32_t value;

	if (p[0] < 0x80) {
		*point = p[0];
		*at += 1;
		return true;
	}
	if (p[0] >= 0xc2 && p[0] < 0xe0) {
		more = 1;
		value = p[0] & 0x1fu;
	} else if (p[0] >= 0xe0 && p[0] < 0xf0) {
		more = 2;
		value = p[0] & 0x0fu;
	} else if (p[0] >= 0xf0 && p[0] < 0xf5) {
		more = 3;
		value = p[0] & 0x07u;
	} else {
		return false;
	}
	for (i = 1; i <= more; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return false;
		value = value << 6 | (p[i] & 0x3fu);
	}
	if (value < smallest[more] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000))
		return false;
	*point = value;
	*at += 1 + more;
	return true;
}

struct output {
	char *to;
	size_t room; /* without the terminator */
};

static bool
put(struct output *output, char byte)
{
	if (output->room == 0)
		return false;
	*output->to++ = byte;
	output->room--;
	return true;
}

static bool
put_utf8(struct output *output, uint32_t point)
{
	if (point < 0x80)
		return put(output, (char)point);
	if (point < 0x800)
		return put(output, (char)(0xc0 | point >> 6)) &&
		    put(output, (char)(0x80 | (point & 0x3f)));
	if (point < 0x10000)
		return put(output, (char)(0xe0 | point >> 12)) &&
		    put(output, (char)(0x80 | (point >> 6 & 0x3f))) &&
		    put(output, (char)(0x80 | (point & 0x3f)));
	return put(output, (char)(0xf0 | point >> 18)) &&
	    put(output, (char)(0x80 | (point >> 12 & 0x3f))) &&
	    put(output, (char)(0x80 | (point >> 6 & 0x3f))) &&
	    put(output, (char)(0x80 | (point & 0x3f)));
}

static bool
is_direct(uint32_t point)
{
	return point >= 0x20 && point < 0x7f;
}

/* The text of one shift, from after "&" to the "-"; moves past it. */
static bool
decode_shift(const char **at, struct output *output)
{
	uint32_t bits = 0, unit, high = 0;
	unsigned count = 0;
	bool any = false;

	for (; **at != '-'; (*at)++) {
		const char *digit = **at == '\0' ? NULL : strchr(base64, **at);

		if (digit == NULL)
			return false;
		bits = bits << 6 | (uint32_t)(digit - base64);
		count += 6;
		if (count < 16)
			continue;
		count -= 16;
		unit = bits >> count & 0xffff;
		bits &= (1u << count) - 1;
		any = true;
		if (high != 0) {
			if (unit < 0xdc00 || unit > 0xdfff)
				return false;
			unit = 0x10000 + ((high - 0xd800) << 10) + (unit - 0xdc00);
			high = 0;
		} else if (unit >= 0xd800 && unit < 0xdc00) {
			high = unit;
			continue;
		} else if (unit >= 0xdc00 && unit < 0xe000) {
			return false;
		}
		if (is_direct(unit) || unit == 0 || !put_utf8(output, unit))
			return false;
	}
	(*at)++;
	/* What is left over is padding: less than a digit, and zeroes. */
	return any && high == 0 && count < 6 && bits == 0;
}

bool
folder_name_utf7_to_utf8(const char *from, char *to, size_t size)
{
	struct output output = { to, size - 1 };
	bool after_shift = false;

	if (size == 0)
		return false;
	while (*from != '\0') {
		if (!is_direct((uint8_t)*from))
			return false;
		if (*from != '&') {
			if (!put(&output, *from++))
				return false;
			after_shift = false;
			continue;
		}
		from++;
		if (*from == '-') {
			from++;
			if (!put(&output, '&'))
				return false;
			after_shift = false;
			continue;
		}
		/* Two shifts in a row could be one. */
		if (after_shift || !decode_shift(&from, &output))
			return false;
		after_shift = true;
	}
	*output.to = '\0';
	return true;
}

static bool
encode_shift(const char **at, struct output *output)
{
	uint32_t bits = 0, point;
	unsigned count = 0;
	const char *next;

	if (!put(output, '&'))
		return false;
	while (next = *at, **at != '\0') {
		uint32_t units[2];
		unsigned n = 0, i;

		if (!take_utf8(&next, &point))
			return false;
		if (is_direct(point))
			break;
		*at = next;
		if (point >= 0x10000) {
			units[n++] = 0xd800 + ((point - 0x10000) >> 10);
			units[n++] = 0xdc00 + ((point - 0x10000) & 0x3ff);
		} else {
			units[n++] = point;
		}
		for (i = 0; i < n; i++) {
			bits = bits << 16 | units[i];
			count += 16;
			while (count >= 6) {
				count -= 6;
				if (!put(output, base64[bits >> count & 0x3f]))
					return false;
			}
			bits &= (1u << count) - 1;
		}
	}
	if (count > 0 && !put(output, base64[bits << (6 - count) & 0x3f]))
		return false;
	return put(output, '-');
}

bool
folder_name_utf8_to_utf7(const char *from, char *to, size_t size)
{
	struct output output = { to, size - 1 };

	if (size == 0)
		return false;
	while (*from != '\0') {
		if (*from == '&') {
			if (!put(&output, '&') || !put(&output, '-'))
				return false;
			from++;
		} else if (is_direct((uint8_t)*from)) {
			if (!put(&output, *from++))
				return false;
		} else if (!encode_shift(&from, &output)) {
			return false;
		}
	}
	*output.to = '\0';
	return true;
}

/* Levels that aren't empty, no "/", no controls (RFC 9051 5.1), valid UTF-8. */
static bool
is_sound(const char *name)
{
	unsigned levels = 1;
	char before = FOLDER_SEPARATOR;
	uint32_t point;

	while (*name != '\0') {
		char first = *name;

		if (!take_utf8(&name, &point))
			return false;
		if (point == '/' || point < 0x20 || (point >= 0x7f && point < 0xa0))
			return false;
		if (first == FOLDER_SEPARATOR) {
			if (before == FOLDER_SEPARATOR || ++levels > FOLDER_DEPTH_MAX)
				return false;
		}
		before = first;
	}
	return before != FOLDER_SEPARATOR;
}

bool
folder_name_is_inbox(const char *name)
{
	return strcmp(name, "INBOX") == 0;
}

bool
folder_name_is_below(const char *name, const char *parent)
{
	size_t length = strlen(parent);

	return strncmp(name, parent, length) == 0 && name[length] == FOLDER_SEPARATOR;
}

bool
folder_name_clean(const char *given, char name[FOLDER_NAME_SIZE])
{
	char disk[FOLDER_DISK_MAX + 1];
	size_t length = strlen(given);

	if (length > 1 && given[length - 1] == FOLDER_SEPARATOR)
		length--;
	if (length >= FOLDER_NAME_SIZE)
		return false;
	memcpy(name, given, length);
	name[length] = '\0';
	if (strcasecmp(name, "INBOX") == 0)
		strcpy(name, "INBOX");
	return is_sound(name) && folder_name_utf8_to_utf7(name, disk, sizeof(disk));
}

void
folder_name_to_disk(const char *name, char directory[FOLDER_DISK_MAX + 2])
{
	directory[0] = '.';
	directory[1] = '\0';
	if (folder_name_is_inbox(name))
		return;
	/* It is a clean name: it fits. */
	if (!folder_name_utf8_to_utf7(name, directory + 1, FOLDER_DISK_MAX + 1))
		directory[1] = '\0';
}

bool
folder_name_from_disk(const char *directory, char name[FOLDER_NAME_SIZE])
{
	return directory[0] == '.' && strlen(directory + 1) <= FOLDER_DISK_MAX &&
	    folder_name_utf7_to_utf8(directory + 1, name, FOLDER_NAME_SIZE) && is_sound(name) &&
	    strcasecmp(name, "INBOX") != 0;
}
