/*
 * Messages arrive with CRLF line ends and are stored with LF, as every Maildir reader expects. The
 * conversion works in place, line by line: one memchr() and one memmove() a line. A CR at the end
 * of a chunk is held back until the next byte tells whether it belongs to a line end.
 */
#include <sys/types.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/read.h"
#include "common/write.h"
#include "deliver/text.h"

/* No byte of an address or a name may begin another field. */
static void
add_safe(struct buf *buf, const char *text)
{
	for (; *text != '\0'; text++) {
		unsigned char byte = (unsigned char)*text;

		buf_add_u8(buf, byte < 0x20 || byte == 0x7f ? '?' : byte);
	}
}

void
text_fields(struct buf *buf, const struct address *sender, const char *delivered_to)
{
	char path[ADDRESS_TEXT_MAX + 1];

	address_format(sender, path, sizeof(path));
	buf_add_text(buf, "Return-Path: <");
	add_safe(buf, path);
	buf_add_text(buf, ">\nDelivered-To: ");
	add_safe(buf, delivered_to);
	buf_add_text(buf, "\n");
}

void
text_begin(struct text *text, int fd, uint64_t length)
{
	memset(text, 0, sizeof(*text));
	text->fd = fd;
	text->length = length;
}

/* Counts what is given out: a LF that has no CR before it would be two bytes with CRLF. */
static void
count(struct text *text, const uint8_t *data, size_t length)
{
	const uint8_t *end = data + length, *at = data, *line_end;

	while ((line_end = memchr(at, '\n', (size_t)(end - at))) != NULL) {
		if ((line_end == data ? text->last : line_end[-1]) != '\r')
			text->virtual_size++;
		at = line_end + 1;
	}
	if (length > 0)
		text->last = end[-1];
	text->size += length;
	text->virtual_size += length;
}

/* CRLF to LF in place; returns the new length. */
static size_t
convert(uint8_t *data, size_t length)
{
	uint8_t *to = data, *from = data, *end = data + length, *line_end;

	while ((line_end = memchr(from, '\n', (size_t)(end - from))) != NULL) {
		size_t line = (size_t)(line_end - from);

		if (line > 0 && line_end[-1] == '\r')
			line--;
		if (to != from)
			memmove(to, from, line);
		to += line;
		*to++ = '\n';
		from = line_end + 1;
	}
	if (to != from)
		memmove(to, from, (size_t)(end - from));
	return (size_t)(to - data) + (size_t)(end - from);
}

ssize_t
text_read(struct text *text, uint8_t *chunk, size_t used)
{
	uint8_t *start = chunk + used;
	size_t room = TEXT_CHUNK - used - 1, length = 0;

	count(text, chunk, used);
	while (length == 0 && (text->offset < text->length || text->pending_cr)) {
		uint64_t left = text->length - text->offset;
		ssize_t got = 0;

		if (text->pending_cr)
			start[length++] = '\r';
		if (left > 0) {
			got = read_some_at(text->fd, start + length,
			    left < room ? (size_t)left : room, (off_t)text->offset);
			if (got == -1)
				return -1;
			text->offset += (uint64_t)got;
			length += (size_t)got;
		}
		text->pending_cr = left > 0 && start[length - 1] == '\r';
		if (text->pending_cr)
			length--;
		length = convert(start, length);
	}
	count(text, start, length);
	return (ssize_t)(used + length);
}

bool
text_write(struct text *text, int file, const struct address *sender, const char *delivered_to,
    uint8_t *chunk)
{
	struct buf fields;
	ssize_t length;
	size_t used;
	bool good;

	buf_init(&fields, TEXT_CHUNK / 2);
	if (sender != NULL)
		text_fields(&fields, sender, delivered_to);
	good = buf_ok(&fields);
	used = good ? fields.length : 0;
	if (used > 0)
		memcpy(chunk, fields.data, used);
	buf_free(&fields);
	if (!good) {
		errno = ENOMEM;
		return false;
	}
	while ((length = text_read(text, chunk, used)) > 0) {
		if (!write_all(file, chunk, (size_t)length))
			return false;
		used = 0;
	}
	return length == 0;
}
