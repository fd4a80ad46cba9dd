/*
 * A submitted header comes out the same whatever pieces it comes in, and no Bcc is in it.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/buf.h"
#include "smtpd/submission.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
store(void *arg, const void *data, size_t length)
{
	buf_add(arg, data, length);
}

/* Lines end with LF here. */
static void
pass(const uint8_t *data, size_t size, size_t piece, bool masquerade, struct buf *out)
{
	const struct address sender = { "ann", "example.org" };
	const struct submission_options options = { "mx.test", 42, 0, masquerade, &sender };
	struct submission *submission = submission_new(&options, store, out);

	if (submission == NULL)
		abort();
	while (size > 0 && !submission_is_over(submission)) {
		const uint8_t *end = memchr(data, '\n', size);
		size_t length = end == NULL ? size : (size_t)(end - data), count;

		if (length == 0) {
			submission_line_end(submission);
			count = 1;
		} else {
			count = length < piece ? length : piece;
			submission_text(submission, (const char *)data, count);
			/* What is behind the header's end in the same line is body. */
			while (submission_is_over(submission) && count < length)
				store(out, data + count++, 1);
		}
		data += count;
		size -= count;
	}
	submission_finish(submission);
	submission_free(submission);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf whole, bytes;

	if (size == 0)
		return 0;
	buf_init(&whole, 1 << 20);
	buf_init(&bytes, 1 << 20);
	pass(data + 1, size - 1, SIZE_MAX, data[0] & 1, &whole);
	pass(data + 1, size - 1, 1, data[0] & 1, &bytes);
	if (whole.length != bytes.length ||
	    (whole.length > 0 && memcmp(whole.data, bytes.data, whole.length) != 0))
		abort();
	if (whole.length > 4 && strncasecmp((const char *)whole.data, "bcc:", 4) == 0)
		abort();
	buf_free(&whole);
	buf_free(&bytes);
	return 0;
}
