/*
 * The file is opened by its name in the home's descriptor and checked once it is open: what is
 * checked is what is read, whatever is renamed meanwhile. Before that its kind is looked at, since
 * opening a device may already do something.
 */
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "deliver/forward.h"

static void __attribute__((format(printf, 2, 3)))
fail(struct ipc_forward *forward, const char *format, ...)
{
	va_list ap;

	forward->state = FORWARD_FAILED;
	va_start(ap, format);
	vsnprintf(forward->text, sizeof(forward->text), format, ap);
	va_end(ap);
}

/* Only the user, or root for him, has made it what it is. */
static bool
is_own(const struct stat *st, const char *name, struct ipc_forward *forward)
{
	if (st->st_uid != geteuid() && st->st_uid != 0)
		fail(forward, "%s belongs to uid %u instead of %u", name, st->st_uid, geteuid());
	else if ((st->st_mode & (S_IWGRP | S_IWOTH)) != 0)
		fail(forward, "%s can be written by others (mode %04o)", name,
		    (unsigned)st->st_mode & 07777);
	else
		return true;
	return false;
}

static int
open_home(const char *home, struct ipc_forward *forward)
{
	int fd = open(home, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct stat st;

	if (fd == -1) {
		fail(forward, "home directory %s: %s", home, strerror(errno));
		return -1;
	}
	if (fstat(fd, &st) == -1)
		fail(forward, "home directory %s: %s", home, strerror(errno));
	else if (is_own(&st, home, forward))
		return fd;
	close(fd);
	return -1;
}

static bool
is_regular(const struct stat *st, struct ipc_forward *forward)
{
	if (S_ISREG(st->st_mode))
		return true;
	fail(forward, FORWARD_NAME " is %s instead of a file",
	    S_ISLNK(st->st_mode)        ? "a symbolic link"
	        : S_ISDIR(st->st_mode)  ? "a directory"
	        : S_ISFIFO(st->st_mode) ? "a pipe"
	                                : "a device or a socket");
	return false;
}

/* -1 when there is none (the state stays) or it can't be used. */
static int
open_file(int home, struct ipc_forward *forward)
{
	struct stat st;
	int fd;

	if (fstatat(home, FORWARD_NAME, &st, AT_SYMLINK_NOFOLLOW) == -1) {
		if (errno != ENOENT)
			fail(forward, FORWARD_NAME ": %s", strerror(errno));
		return -1;
	}
	if (!is_regular(&st, forward))
		return -1;
	fd = openat(home, FORWARD_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd == -1 || fstat(fd, &st) == -1)
		fail(forward, FORWARD_NAME ": %s", strerror(errno));
	else if (is_regular(&st, forward) && is_own(&st, FORWARD_NAME, forward)) {
		if (st.st_size <= FORWARD_TEXT_MAX)
			return fd;
		fail(forward, FORWARD_NAME " is larger than %d bytes", FORWARD_TEXT_MAX);
	}
	if (fd != -1)
		close(fd);
	return -1;
}

/* It may grow meanwhile. */
static void
read_text(int fd, struct ipc_forward *forward)
{
	size_t length = 0;
	ssize_t got;

	while ((got = read(fd, forward->text + length, sizeof(forward->text) - length)) > 0) {
		length += (size_t)got;
		if (length == sizeof(forward->text)) {
			fail(forward, FORWARD_NAME " is larger than %d bytes", FORWARD_TEXT_MAX);
			return;
		}
	}
	forward->text[length] = '\0';
	if (got == -1)
		fail(forward, FORWARD_NAME ": %s", strerror(errno));
	else if (strlen(forward->text) != length)
		fail(forward, FORWARD_NAME " is not a text");
	else
		forward->state = FORWARD_FOUND;
}

void
forward_read(const char *home, struct ipc_forward *forward)
{
	int directory, fd;

	memset(forward, 0, sizeof(*forward));
	forward->state = FORWARD_NONE;
	directory = open_home(home, forward);
	if (directory == -1)
		return;
	fd = open_file(directory, forward);
	if (fd != -1) {
		read_text(fd, forward);
		close(fd);
	}
	close(directory);
}

bool
forward_is_usable(const char *home, struct reply *why)
{
	static struct ipc_forward forward;

	forward_read(home, &forward);
	if (forward.state != FORWARD_FAILED)
		return true;
	reply_set(why, 451, "4.2.0", "%.300s", forward.text);
	return false;
}
