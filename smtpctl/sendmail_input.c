/*
 * The bytes are kept as they come. Whether a line is a lone dot is seen on the way, and what it adds
 * to the file is cut off again.
 */
#include <err.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "common/write.h"
#include "smtpctl/sendmail_input.h"
#include "smtpctl/temporary.h"

#define CHUNK 65536

enum line_state {
	LINE_START,
	LINE_DOT,    /* nothing but a dot so far */
	LINE_DOT_CR, /* and a CR */
	LINE_OTHER,
};

struct input {
	enum line_state state;
	off_t length;
	off_t line; /* where the line begins */
};

/* True when these bytes, of which `*used` count, end the input. */
static bool
find_dot(struct input *input, const char *bytes, size_t count, size_t *used)
{
	for (*used = 0; *used < count;) {
		char c = bytes[(*used)++];

		if (c == '\n') {
			if (input->state == LINE_DOT || input->state == LINE_DOT_CR)
				return true;
			input->state = LINE_START;
			input->line = input->length + (off_t)*used;
		} else if (input->state == LINE_START && c == '.') {
			input->state = LINE_DOT;
		} else if (input->state == LINE_DOT && c == '\r') {
			input->state = LINE_DOT_CR;
		} else {
			input->state = LINE_OTHER;
		}
	}
	return false;
}

static int
read_all(int fd, bool dot_ends, off_t limit, char *chunk)
{
	struct input input = { LINE_START, 0, 0 };
	bool ended = false;

	while (!ended) {
		ssize_t count = read(STDIN_FILENO, chunk, CHUNK);
		size_t used = count > 0 ? (size_t)count : 0;

		if (count == -1 && errno == EINTR)
			continue;
		if (count == -1) {
			warn("can't read the message");
			return EX_IOERR;
		}
		if (count == 0)
			break;
		if (dot_ends)
			ended = find_dot(&input, chunk, (size_t)count, &used);
		input.length += (off_t)used;
		if (input.length > limit) {
			warnx("the message has more than %lld bytes", (long long)limit);
			return EX_DATAERR;
		}
		if (!write_all(fd, chunk, used)) {
			warn("can't keep the message");
			return EX_OSERR;
		}
	}
	/* The dot may be the last byte of all. */
	if ((ended || input.state == LINE_DOT || input.state == LINE_DOT_CR) &&
	    ftruncate(fd, input.line) != 0) {
		warn("can't keep the message");
		return EX_OSERR;
	}
	return EX_OK;
}

int
sendmail_read_input(bool dot_ends, int *fd)
{
	char *chunk = malloc(CHUNK);
	off_t limit;
	int status;

	*fd = temporary_file(&limit);
	if (chunk == NULL || *fd == -1) {
		warn("can't make a temporary file");
		free(chunk);
		return EX_OSERR;
	}
	status = read_all(*fd, dot_ends, limit, chunk);
	free(chunk);
	return status;
}
