/*
 * A message is read once; what is too long in its header is read again for its white space. Whatever
 * becomes a line end on the way counts as one: CRLF, LF, and CR alone (relay_text.h).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/read.h"
#include "deliver/relay_lines.h"

#define CHUNK (64 * 1024)

struct scan {
	struct relay_lines *lines;
	int fd;
	uint64_t line_begin;
	bool in_header;
	bool after_cr; /* which has ended the line: an LF belongs to it */
};

static bool
add_fold(struct relay_lines *lines, uint64_t offset)
{
	size_t capacity = lines->fold_count;
	uint64_t *folds;

	/* Grown at 0, 8, 16, 32 and so on. */
	if (capacity == 0 || (capacity >= 8 && (capacity & (capacity - 1)) == 0)) {
		folds = reallocarray(
		    lines->folds, capacity == 0 ? 8 : 2 * capacity, sizeof(*lines->folds));
		if (folds == NULL)
			return false;
		lines->folds = folds;
	}
	lines->folds[lines->fold_count++] = offset;
	return true;
}

/* Where a line of the header is folded: as late as may be, and so that no part is all white space. */
struct folding {
	uint64_t begin;     /* of the part */
	uint64_t candidate; /* white space with text on both sides; 0: none in this part yet */
	uint64_t space;     /* where the white space before the next byte began; 0: there is none */
	bool has_text;      /* the line has begun with it */
};

/* What stands before `end` has to be in parts that aren't too long. False when there is nowhere to
 * fold, or no memory. */
static bool
fold_before(struct folding *folding, struct relay_lines *lines, uint64_t end)
{
	while (end - folding->begin > RELAY_LINE_MAX) {
		if (folding->candidate == 0 || !add_fold(lines, folding->candidate))
			return false;
		folding->begin = folding->candidate;
		folding->candidate = 0;
	}
	return true;
}

static bool
fold_byte(struct folding *folding, struct relay_lines *lines, uint64_t offset, uint8_t byte)
{
	uint64_t latest = folding->begin + RELAY_LINE_MAX;

	if (byte == ' ' || byte == '\t') {
		if (folding->space == 0)
			folding->space = offset;
		return true;
	}
	/* Of much white space a part may stay with what is before it. */
	if (folding->space != 0 && folding->has_text && folding->space <= latest)
		folding->candidate = offset - 1 < latest ? offset - 1 : latest;
	folding->has_text = true;
	folding->space = 0;
	return fold_before(folding, lines, offset + 1);
}

static bool
fold_line(struct scan *scan, uint64_t end)
{
	struct folding folding = { .begin = scan->line_begin };
	uint64_t offset = scan->line_begin;
	size_t before = scan->lines->fold_count;
	uint8_t chunk[CHUNK];
	bool good = true;
	ssize_t count;

	while (offset < end && good) {
		count = read_some_at(scan->fd, chunk,
		    end - offset < sizeof(chunk) ? (size_t)(end - offset) : sizeof(chunk),
		    (off_t)offset);
		if (count <= 0)
			return false;
		errno = 0;
		for (ssize_t i = 0; i < count && good; i++)
			good = fold_byte(&folding, scan->lines, offset + (uint64_t)i, chunk[i]);
		offset += (uint64_t)count;
	}
	if (good && fold_before(&folding, scan->lines, end))
		return true;
	if (errno == ENOMEM)
		return false;
	scan->lines->fold_count = before;
	if (end - scan->line_begin > scan->lines->longest_field)
		scan->lines->longest_field = end - scan->line_begin;
	return true;
}

static bool
line_ends(struct scan *scan, uint64_t end)
{
	uint64_t length = end - scan->line_begin;

	if (length == 0)
		scan->in_header = false;
	if (length <= RELAY_LINE_MAX)
		return true;
	if (scan->in_header)
		return fold_line(scan, end);
	if (length > scan->lines->longest_line)
		scan->lines->longest_line = length;
	return true;
}

static bool
scan_chunk(struct scan *scan, const uint8_t *chunk, size_t count, uint64_t offset)
{
	const uint8_t *end, *cr;
	size_t at = 0, span;

	while (at < count) {
		if (scan->after_cr && chunk[at] == '\n') {
			scan->after_cr = false;
			scan->line_begin = offset + ++at;
			continue;
		}
		scan->after_cr = false;
		end = memchr(chunk + at, '\n', count - at);
		span = end == NULL ? count - at : (size_t)(end - (chunk + at));
		cr = memchr(chunk + at, '\r', span);
		if (cr != NULL)
			end = cr;
		if (end == NULL)
			return true;
		at = (size_t)(end - chunk);
		if (!line_ends(scan, offset + at))
			return false;
		scan->after_cr = *end == '\r';
		scan->line_begin = offset + ++at;
	}
	return true;
}

bool
relay_lines_find(struct relay_lines *lines, int fd, uint64_t length)
{
	struct scan scan = { .lines = lines, .fd = fd, .in_header = true };
	uint8_t chunk[CHUNK];
	uint64_t offset = 0;
	ssize_t count;

	*lines = (struct relay_lines){ .folds = NULL };
	if (length <= RELAY_LINE_MAX)
		return true;
	while (offset < length) {
		count = read_some_at(fd, chunk,
		    length - offset < sizeof(chunk) ? (size_t)(length - offset) : sizeof(chunk),
		    (off_t)offset);
		if (count <= 0 || !scan_chunk(&scan, chunk, (size_t)count, offset))
			return false;
		offset += (uint64_t)count;
	}
	return line_ends(&scan, length);
}

void
relay_lines_free(struct relay_lines *lines)
{
	free(lines->folds);
	*lines = (struct relay_lines){ .folds = NULL };
}
