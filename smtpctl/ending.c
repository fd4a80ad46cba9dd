/*
 * The file's lock would tell as well, but who looks by locking could be in a new server's way.
 */
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "smtpctl/ending.h"

#define LOOK_MS 20

void
ending_begin(struct ending *ending, const char *socket_path)
{
	const char *slash = strrchr(socket_path, '/');
	int directory = slash == NULL ? 0 : (int)(slash - socket_path) + 1;
	char text[16] = "", *end;
	struct stat info;
	ssize_t length;
	long pid = 0;
	int fd;

	memset(ending, 0, sizeof(*ending));
	if (asprintf(&ending->path, "%.*ssmtpd.pid", directory, socket_path) == -1) {
		ending->path = NULL;
		return;
	}
	fd = open(ending->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd != -1 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) {
		length = pread(fd, text, sizeof(text) - 1, 0);
		pid = length > 0 ? strtol(text, &end, 10) : 0;
	}
	if (fd != -1)
		close(fd);
	if (pid <= 0 || pid > INT_MAX) {
		free(ending->path);
		ending->path = NULL;
		return;
	}
	ending->device = info.st_dev;
	ending->inode = info.st_ino;
	ending->pid = (pid_t)pid;
}

/* The file goes in any case but that of a server that was killed. */
static bool
is_over(const struct ending *ending)
{
	struct stat info;

	if (stat(ending->path, &info) != 0)
		return true;
	return info.st_dev != ending->device || info.st_ino != ending->inode ||
	    (kill(ending->pid, 0) != 0 && errno == ESRCH);
}

bool
ending_wait(struct ending *ending, unsigned wait_ms)
{
	int64_t until = clock_monotonic_ms() + wait_ms;
	bool over = ending->path == NULL;

	while (!over && !(over = is_over(ending)) && clock_monotonic_ms() < until)
		(void)poll(NULL, 0, LOOK_MS);
	free(ending->path);
	ending->path = NULL;
	return over;
}
