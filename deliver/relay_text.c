/*
 * The text goes in pieces between line ends: what needs no change, and that is nearly all, is found
 * by memchr() and copied as it is. A CR or LF that stands alone becomes a CRLF: no server on the
 * way may take it for a line end where the next doesn't.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/read.h"
#include "deliver/relay_text.h"

void
relay_text_begin(
    struct relay_text *text, int fd, uint64_t length, bool stuffed, const struct relay_lines *lines)
{
	*text = (struct relay_text){
		.fd = fd, .length = length, .stuffed = stuffed, .line_begins = true, .lines = lines
	};
}

void
relay_text_put_before(struct relay_text *text, const char *fields)
{
	text->fields = fields;
}

bool
relay_text_is_done(const struct relay_text *text)
{
	return text->fields == NULL && text->offset == text->length;
}

static void
end_line(struct relay_text *text, struct buf *buf)
{
	buf_add(buf, "\r\n", 2);
	text->line_begins = true;
}

/* A piece without line ends. */
static void
add_piece(struct relay_text *text, struct buf *buf, const uint8_t *data, size_t length)
{
	if (length == 0)
		return;
	if (text->line_begins && text->stuffed && *data == '.')
		buf_add(buf, ".", 1);
	buf_add(buf, data, length);
	text->line_begins = false;
}

/* A line, without its LF (`has_end`: there is one behind it); CRs in it end lines too. */
static void
add_line(struct relay_text *text, struct buf *buf, const uint8_t *data, size_t length, bool has_end)
{
	const uint8_t *cr;
	size_t piece;

	if (text->after_cr && length > 0)
		end_line(text, buf);
	if (length > 0)
		text->after_cr = false;
	while (length > 0) {
		cr = memchr(data, '\r', length);
		piece = cr == NULL ? length : (size_t)(cr - data);
		add_piece(text, buf, data, piece);
		if (cr == NULL)
			break;
		data += piece + 1;
		length -= piece + 1;
		if (length == 0)
			text->after_cr = true;
		else
			end_line(text, buf);
	}
	if (has_end) {
		text->after_cr = false;
		end_line(text, buf);
	}
}

/* Where the next fold is, or `end` when it is behind that. */
static uint64_t
next_fold(const struct relay_text *text, uint64_t end)
{
	const struct relay_lines *lines = text->lines;

	return text->folded < lines->fold_count && lines->folds[text->folded] < end
	    ? lines->folds[text->folded]
	    : end;
}

/* Bytes between folds. */
static void
add_lines(struct relay_text *text, struct buf *buf, const uint8_t *data, size_t count)
{
	const uint8_t *end;
	size_t at = 0, span;

	while (at < count) {
		end = memchr(data + at, '\n', count - at);
		span = end == NULL ? count - at : (size_t)(end - (data + at));
		add_line(text, buf, data + at, span, end != NULL);
		at += span + (end != NULL);
	}
}

bool
relay_text_read(struct relay_text *text, struct buf *buf)
{
	uint8_t chunk[RELAY_TEXT_CHUNK];
	uint64_t left = text->length - text->offset;
	size_t size = left < sizeof(chunk) ? (size_t)left : sizeof(chunk);
	uint64_t begin = text->offset, end, stop;
	ssize_t count;

	if (text->fields != NULL)
		buf_add_text(buf, text->fields);
	text->fields = NULL;
	if (size == 0)
		return true;
	count = read_some_at(text->fd, chunk, size, (off_t)text->offset);
	if (count == -1)
		return false;
	end = begin + (uint64_t)count;
	for (stop = next_fold(text, end); text->offset < end; stop = next_fold(text, end)) {
		add_lines(text, buf, chunk + (text->offset - begin), (size_t)(stop - text->offset));
		text->offset = stop;
		if (stop < end) {
			end_line(text, buf);
			text->folded++;
		}
	}
	if (relay_text_is_done(text) && (text->after_cr || !text->line_begins)) {
		text->after_cr = false;
		end_line(text, buf);
	}
	if (!buf_ok(buf))
		errno = ENOMEM;
	return buf_ok(buf);
}
