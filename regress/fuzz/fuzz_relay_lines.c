/* Messages with long lines: whatever they are, what is sent of a header that can be folded has no line
 * that is too long, and taking the folds out again gives what is sent without any. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/memory_file.h"
#include "deliver/relay_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
send_text(struct buf *buf, int fd, size_t length, const struct relay_lines *lines)
{
	struct relay_text text;

	buf_init(buf, 3 * length + 16);
	relay_text_begin(&text, fd, length, false, lines);
	while (!relay_text_is_done(&text))
		if (!relay_text_read(&text, buf))
			abort();
}

static void
check_header(const struct buf *buf)
{
	const uint8_t *line = buf->data, *end;
	size_t left = buf->length;

	while ((end = memmem(line, left, "\r\n", 2)) != NULL && end > line) {
		if (end - line > RELAY_LINE_MAX)
			abort();
		left -= (size_t)(end + 2 - line);
		line = end + 2;
	}
}

static void
check_same(const struct buf *folded, const struct buf *plain, size_t folds)
{
	size_t at = 0, i = 0, found = 0;

	while (i < folded->length) {
		if (at < plain->length && folded->data[i] == plain->data[at]) {
			i++, at++;
			continue;
		}
		if (folded->length - i < 3 || memcmp(folded->data + i, "\r\n", 2) != 0 ||
		    (folded->data[i + 2] != ' ' && folded->data[i + 2] != '\t'))
			abort();
		i += 2;
		found++;
	}
	if (at != plain->length || found != folds)
		abort();
}

/* Each byte stands for many: lines become long soon. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct relay_lines none;
	struct buf text, folded, plain;
	struct relay_lines lines;
	int fd;

	buf_init(&text, 64 * size + 1);
	for (size_t i = 0; i < size; i++)
		for (unsigned k = 0; k < (data[i] < 'A' ? 1U : data[i] % 64U); k++)
			buf_add(&text, &data[i], 1);
	if (!buf_ok(&text))
		abort();
	if (text.length == 0) {
		buf_free(&text);
		return 0;
	}
	fd = memory_file_make("text", text.data, text.length);
	if (fd == -1 || !relay_lines_find(&lines, fd, text.length))
		abort();
	send_text(&folded, fd, text.length, &lines);
	send_text(&plain, fd, text.length, &none);
	if (lines.longest_field == 0)
		check_header(&folded);
	check_same(&folded, &plain, lines.fold_count);
	relay_lines_free(&lines);
	buf_free(&text);
	buf_free(&folded);
	buf_free(&plain);
	close(fd);
	return 0;
}
