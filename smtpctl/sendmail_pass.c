/*
 * Bytes in both directions. A client whose first line ends in a bare LF, somebody at a terminal, is
 * taken to mean CRLF by each LF; from any other they are passed as they are.
 */
#include <sys/socket.h>
#include <err.h>
#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "common/write.h"
#include "smtpctl/sendmail_pass.h"

#define CHUNK 32768

enum line_ends {
	ENDS_UNKNOWN,
	ENDS_CRLF,
	ENDS_LF,
};

struct pass {
	int fd;
	enum line_ends ends;
	char last; /* byte of the client's */
};

static bool
pass_on(struct pass *pass, const char *bytes, size_t count)
{
	char translated[2 * CHUNK];
	size_t length = 0;

	for (size_t i = 0; i < count; i++) {
		char before = i == 0 ? pass->last : bytes[i - 1];

		if (bytes[i] == '\n' && pass->ends == ENDS_UNKNOWN)
			pass->ends = before == '\r' ? ENDS_CRLF : ENDS_LF;
		if (bytes[i] == '\n' && pass->ends == ENDS_LF && before != '\r')
			translated[length++] = '\r';
		translated[length++] = bytes[i];
	}
	pass->last = bytes[count - 1];
	return write_all(pass->fd, translated, length);
}

int
sendmail_pass(int fd)
{
	struct pollfd wait[2] = { { .fd = fd, .events = POLLIN }, { .fd = -1, .events = POLLIN } };
	struct pass pass = { .fd = fd };
	char chunk[CHUNK];
	bool greeted = false;
	ssize_t count;

	for (;;) {
		if (poll(wait, 2, -1) == -1) {
			if (errno == EINTR)
				continue;
			warn("poll");
			return EX_OSERR;
		}
		if (wait[0].revents != 0) {
			count = read(fd, chunk, sizeof(chunk));
			if (count <= 0)
				return count == 0 ? EX_OK : EX_TEMPFAIL;
			/* A client must not speak before it is greeted; this one may have begun. */
			if (!greeted)
				wait[1].fd = STDIN_FILENO;
			greeted = true;
			if (!write_all(STDOUT_FILENO, chunk, (size_t)count))
				return EX_IOERR;
		}
		if (wait[1].revents != 0) {
			count = read(STDIN_FILENO, chunk, sizeof(chunk));
			if (count > 0 && !pass_on(&pass, chunk, (size_t)count))
				return EX_TEMPFAIL;
			if (count <= 0) {
				wait[1].fd = -1;
				(void)shutdown(fd, SHUT_WR);
			}
		}
	}
}
