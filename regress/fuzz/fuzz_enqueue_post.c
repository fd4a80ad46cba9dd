/*
 * A message from a program of this machine, whatever it is: its header comes out as lines that end in
 * CRLF, and is then one that isn't changed any more; whom it names is the same before and after.
 */
#include <sys/mman.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "smtpctl/post.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static int
make_file(const void *data, size_t size)
{
	int fd = memfd_create("mail", MFD_CLOEXEC);

	if (fd == -1 || write(fd, data, size) != (ssize_t)size)
		abort();
	return fd;
}

static bool
compose(const void *data, size_t size, struct post *post, struct buf *out)
{
	char why[512];

	post_init(post);
	strcpy(post->author.local, "ann");
	strcpy(post->name, "Ann \"A.\"");
	post->fd = make_file(data, size);
	buf_init(out, 9 * POST_HEADER_MAX);
	return post_load_header(post, why, sizeof(why)) &&
	    post_compose_header(post, "mx.test", out);
}

static void
check_lines(const struct buf *out)
{
	for (size_t i = 0; i < out->length; i++) {
		if (out->data[i] == '\n' && (i == 0 || out->data[i - 1] != '\r'))
			abort();
		if (out->data[i] == '\r' && (i + 1 == out->length || out->data[i + 1] != '\n'))
			abort();
	}
	if (out->length < 4 || memcmp(out->data + out->length - 4, "\r\n\r\n", 4) != 0)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct post first, second;
	struct buf once, twice;
	char why[512];

	if (!compose(data, size, &first, &once)) {
		post_free(&first);
		buf_free(&once);
		return 0;
	}
	check_lines(&once);
	if (!compose(once.data, once.length, &second, &twice) ||
	    second.body != (off_t)once.length || twice.length != once.length ||
	    memcmp(twice.data, once.data, once.length) != 0)
		abort();
	if (post_add_named_recipients(&first, why, sizeof(why)) &&
	    (!post_add_named_recipients(&second, why, sizeof(why)) ||
	        second.recipient_count > first.recipient_count))
		abort();
	post_free(&first);
	post_free(&second);
	buf_free(&once);
	buf_free(&twice);
	return 0;
}
