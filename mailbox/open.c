/*
 * One openat() a component, so that what is looked at is what is used. Mail may never have come for who
 * logs in the first time: the directories are made as a delivery would.
 */
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include <bsd/string.h>

#include "mailbox/open.h"

static int
open_below(int parent, const char *name, int how)
{
	const int flags = how | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(parent, name, flags);

	if (fd == -1 && errno == ENOENT && (mkdirat(parent, name, 0700) == 0 || errno == EEXIST))
		fd = openat(parent, name, flags);
	return fd;
}

int
open_directory(const char *base, const char *path)
{
	char rest[PATH_MAX], *at = rest, *name;
	size_t length = strlen(base);
	int fd, next, error;

	while (length > 0 && base[length - 1] == '/')
		length--;
	if (strncmp(path, base, length) != 0 || (path[length] != '/' && path[length] != '\0'))
		return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (strlcpy(rest, path + length, sizeof(rest)) >= sizeof(rest)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = open(base, O_PATH | O_DIRECTORY | O_CLOEXEC);
	while (fd != -1 && (name = strsep(&at, "/")) != NULL) {
		if (*name == '\0')
			continue;
		if (strcmp(name, "..") == 0) {
			next = -1;
			errno = EINVAL;
		} else
			next = open_below(fd, name, O_PATH);
		error = errno;
		(void)close(fd);
		errno = error;
		fd = next;
	}
	if (fd == -1)
		return -1;
	next = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	error = errno;
	(void)close(fd);
	errno = error;
	return next;
}
