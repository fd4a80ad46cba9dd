/*
 * Bounded buffers and their readers. Both remember failure instead of reporting it at each call, so
 * that encoders and decoders read as plain lists of fields; a reader that has failed gives zeroes,
 * and a buffer that has failed takes nothing more.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"

#define CAPACITY_FIRST 64

void
buf_init(struct buf *buf, size_t limit)
{
	memset(buf, 0, sizeof(*buf));
	buf->limit = limit;
}

void
buf_free(struct buf *buf)
{
	free(buf->data);
	buf_init(buf, buf->limit);
}

void
buf_clear(struct buf *buf)
{
	buf->length = 0;
	buf->failed = false;
	buf->no_memory = false;
}

bool
buf_ok(const struct buf *buf)
{
	return !buf->failed;
}

bool
buf_reserve(struct buf *buf, size_t extra)
{
	size_t capacity;
	uint8_t *data;

	if (buf->failed)
		return false;
	if (buf->length > buf->limit || extra > buf->limit - buf->length) {
		buf->failed = true;
		return false;
	}
	if (extra <= buf->capacity - buf->length)
		return true;
	capacity = buf->capacity == 0 ? CAPACITY_FIRST : buf->capacity;
	while (capacity < buf->length + extra) {
		if (capacity > buf->limit / 2) {
			capacity = buf->limit;
			break;
		}
		capacity *= 2;
	}
	if (capacity > buf->limit)
		capacity = buf->limit;
	data = realloc(buf->data, capacity);
	if (data == NULL) {
		buf->failed = buf->no_memory = true;
		return false;
	}
	buf->data = data;
	buf->capacity = capacity;
	return true;
}

void
buf_drop(struct buf *buf, size_t count)
{
	if (count >= buf->length) {
		buf->length = 0;
		return;
	}
	if (count == 0)
		return;
	memmove(buf->data, buf->data + count, buf->length - count);
	buf->length -= count;
}

void
buf_add(struct buf *buf, const void *data, size_t length)
{
	if (!buf_reserve(buf, length) || length == 0)
		return;
	memcpy(buf->data + buf->length, data, length);
	buf->length += length;
}

static void
add_little_endian(struct buf *buf, uint64_t value, size_t width)
{
	uint8_t bytes[8];
	size_t i;

	for (i = 0; i < width; i++)
		bytes[i] = (uint8_t)(value >> (8 * i));
	buf_add(buf, bytes, width);
}

void
buf_add_u8(struct buf *buf, uint8_t value)
{
	buf_add(buf, &value, 1);
}

void
buf_add_u16(struct buf *buf, uint16_t value)
{
	add_little_endian(buf, value, 2);
}

void
buf_add_u32(struct buf *buf, uint32_t value)
{
	add_little_endian(buf, value, 4);
}

void
buf_add_u64(struct buf *buf, uint64_t value)
{
	add_little_endian(buf, value, 8);
}

void
buf_add_string(struct buf *buf, const char *text)
{
	size_t length = text == NULL ? 0 : strlen(text);

	if (length > UINT16_MAX) {
		buf->failed = true;
		return;
	}
	if (!buf_reserve(buf, 2 + length))
		return;
	buf_add_u16(buf, (uint16_t)length);
	buf_add(buf, text, length);
}

void
buf_add_text(struct buf *buf, const char *text)
{
	buf_add(buf, text, strlen(text));
}

void
buf_add_decimal(struct buf *buf, uint64_t value)
{
	char digits[20];
	size_t at = sizeof(digits);

	do
		digits[--at] = (char)('0' + value % 10);
	while ((value /= 10) > 0);
	buf_add(buf, digits + at, sizeof(digits) - at);
}

void
buf_vprintf(struct buf *buf, const char *format, va_list arguments)
{
	va_list again;
	size_t room;
	int length;

	if (buf->failed)
		return;
	va_copy(again, arguments);
	room = buf->capacity - buf->length;
	length =
	    vsnprintf(room == 0 ? NULL : (char *)buf->data + buf->length, room, format, arguments);
	if (length < 0) {
		buf->failed = true;
	} else if ((size_t)length < room) {
		buf->length += (size_t)length;
	} else {
		char *text;

		/* The terminator that vsnprintf() writes is not ours to keep. */
		if (buf_reserve(buf, (size_t)length)) {
			if (vasprintf(&text, format, again) < 0) {
				buf->failed = buf->no_memory = true;
			} else {
				buf_add(buf, text, (size_t)length);
				free(text);
			}
		}
	}
	va_end(again);
}

void
buf_printf(struct buf *buf, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	buf_vprintf(buf, format, arguments);
	va_end(arguments);
}

void
buf_reader_init(struct buf_reader *reader, const void *data, size_t length)
{
	reader->data = data;
	reader->left = length;
	reader->failed = false;
}

/* The next `length` bytes, passed over; NULL (and failed) when they aren't there. */
static const uint8_t *
take(struct buf_reader *reader, size_t length)
{
	const uint8_t *data = reader->data;

	if (reader->failed || length > reader->left) {
		reader->failed = true;
		return NULL;
	}
	if (length > 0)
		reader->data += length;
	reader->left -= length;
	return data;
}

static uint64_t
get_little_endian(struct buf_reader *reader, size_t width)
{
	const uint8_t *data = take(reader, width);
	uint64_t value = 0;
	size_t i;

	if (data == NULL)
		return 0;
	for (i = 0; i < width; i++)
		value |= (uint64_t)data[i] << (8 * i);
	return value;
}

uint8_t
buf_get_u8(struct buf_reader *reader)
{
	return (uint8_t)get_little_endian(reader, 1);
}

uint16_t
buf_get_u16(struct buf_reader *reader)
{
	return (uint16_t)get_little_endian(reader, 2);
}

uint32_t
buf_get_u32(struct buf_reader *reader)
{
	return (uint32_t)get_little_endian(reader, 4);
}

uint64_t
buf_get_u64(struct buf_reader *reader)
{
	return get_little_endian(reader, 8);
}

bool
buf_get_bool(struct buf_reader *reader)
{
	return buf_get_enum(reader, 2) == 1;
}

unsigned
buf_get_enum(struct buf_reader *reader, unsigned count)
{
	unsigned value = buf_get_u8(reader);

	if (value >= count) {
		reader->failed = true;
		return 0;
	}
	return value;
}

void
buf_get(struct buf_reader *reader, void *to, size_t length)
{
	const uint8_t *data = take(reader, length);

	if (length == 0)
		return;
	if (data == NULL)
		memset(to, 0, length);
	else
		memcpy(to, data, length);
}

/* A string's bytes, or NULL: cut short, holding a NUL, or over `limit` bytes. */
static const uint8_t *
take_string(struct buf_reader *reader, size_t limit, size_t *length)
{
	const uint8_t *data;

	*length = buf_get_u16(reader);
	if (*length > limit) {
		reader->failed = true;
		return NULL;
	}
	data = take(reader, *length);
	if (data == NULL)
		return NULL;
	if (*length > 0 && memchr(data, '\0', *length) != NULL) {
		reader->failed = true;
		return NULL;
	}
	return data;
}

void
buf_get_string(struct buf_reader *reader, char *text, size_t size)
{
	const uint8_t *data;
	size_t length;

	data = take_string(reader, size - 1, &length);
	if (data == NULL)
		length = 0;
	if (length > 0)
		memcpy(text, data, length);
	text[length] = '\0';
}

char *
buf_get_string_alloc(struct buf_reader *reader, size_t limit)
{
	const uint8_t *data;
	size_t length;
	char *text;

	data = take_string(reader, limit, &length);
	if (data == NULL)
		length = 0;
	text = malloc(length + 1);
	if (text == NULL) {
		/* Callers rely on a string: without memory for one byte nothing goes on. */
		abort();
	}
	if (length > 0)
		memcpy(text, data, length);
	text[length] = '\0';
	return text;
}

bool
buf_reader_done(const struct buf_reader *reader)
{
	return !reader->failed && reader->left == 0;
}
