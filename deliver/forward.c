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
is_regular(const struct stat *st, const char *name, struct ipc_forward *forward)
{
	if (S_ISREG(st->st_mode))
		return true;
	fail(forward, "%s is %s instead of a file", name,
	    S_ISLNK(st->st_mode)        ? "a symbolic link"
	        : S_ISDIR(st->st_mode)  ? "a directory"
	        : S_ISFIFO(st->st_mode) ? "a pipe"
	                                : "a device or a socket");
	return false;
}

/* -1 when there is none (the state stays) or it can't be used. */
static int
open_file(int home, const char *name, struct ipc_forward *forward)
{
	struct stat st;
	int fd;

	if (fstatat(home, name, &st, AT_SYMLINK_NOFOLLOW) == -1) {
		if (errno != ENOENT)
			fail(forward, "%s: %s", name, strerror(errno));
		return -1;
	}
	if (!is_regular(&st, name, forward))
		return -1;
	fd = openat(home, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd == -1 || fstat(fd, &st) == -1)
		fail(forward, "%s: %s", name, strerror(errno));
	else if (is_regular(&st, name, forward) && is_own(&st, name, forward)) {
		if (st.st_size <= FORWARD_TEXT_MAX)
			return fd;
		fail(forward, "%s is larger than %d bytes", name, FORWARD_TEXT_MAX);
	}
	if (fd != -1)
		close(fd);
	return -1;
}

/* It may grow meanwhile. */
static void
read_text(int fd, const char *name, struct ipc_forward *forward)
{
	size_t length = 0;
	ssize_t got;

	while ((got = read(fd, forward->text + length, sizeof(forward->text) - length)) > 0) {
		length += (size_t)got;
		if (length == sizeof(forward->text)) {
			fail(forward, "%s is larger than %d bytes", name, FORWARD_TEXT_MAX);
			return;
		}
	}
	forward->text[length] = '\0';
	if (got == -1)
		fail(forward, "%s: %s", name, strerror(errno));
	else if (strlen(forward->text) != length)
		fail(forward, "%s is not a text", name);
	else
		forward->state = FORWARD_FOUND;
}

static void
read_file(int home, const char *name, struct ipc_forward *forward)
{
	int fd = open_file(home, name, forward);

	if (fd != -1) {
		read_text(fd, name, forward);
		close(fd);
	}
}

void
forward_read(const char *home, const char *detail, struct ipc_forward *forward)
{
	char name[sizeof(FORWARD_NAME) + FORWARD_DETAIL_MAX];
	int directory;

	memset(forward, 0, sizeof(*forward));
	forward->state = FORWARD_NONE;
	directory = open_home(home, forward);
	if (directory == -1)
		return;
	if (ipc_forward_detail_is_sound(detail)) {
		snprintf(name, sizeof(name), "%s%s", FORWARD_NAME, detail);
		read_file(directory, name, forward);
		forward->is_detailed = forward->state != FORWARD_NONE;
	}
	if (forward->state == FORWARD_NONE)
		read_file(directory, FORWARD_NAME, forward);
	close(directory);
}

bool
forward_is_usable(const char *home, const char *detail, struct reply *why)
{
	static struct ipc_forward forward;

	forward_read(home, detail, &forward);
	if (forward.state != FORWARD_FAILED)
		return true;
	reply_set(why, 451, "4.2.0", "%.300s", forward.text);
	return false;
}
