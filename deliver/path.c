/*
 * One openat() a component, with O_NOFOLLOW: what is checked is what is used, whatever is renamed
 * meanwhile. ".." is refused, since a text compared with a base must not lead out of it.
 */
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "deliver/failure.h"
#include "deliver/path.h"

/* Its length without slashes at the end. */
static size_t
trimmed_length(const char *directory)
{
	size_t length = strlen(directory);

	while (length > 1 && directory[length - 1] == '/')
		length--;
	return length;
}

bool
path_is_below(const char *path, const char *directory)
{
	size_t length = trimmed_length(directory);

	if (length == 0 || strncmp(path, directory, length) != 0)
		return false;
	return length == 1 || path[length] == '\0' || path[length] == '/';
}

void
path_walk_close(struct path_walk *walk)
{
	while (walk->count > 0)
		close(walk->fds[--walk->count]);
}

/* Cuts the next component out of `*rest`; false at the end. Too long is left for openat() to say.
 */
static bool
next_component(const char **rest, char component[NAME_MAX + 2])
{
	size_t length;

	*rest += strspn(*rest, "/");
	length = strcspn(*rest, "/");
	if (length == 0)
		return false;
	snprintf(component, NAME_MAX + 2, "%.*s", (int)(length > NAME_MAX ? NAME_MAX + 1 : length),
	    *rest);
	*rest += length;
	return true;
}

int
path_open_directory(int parent, const char *name, int how, bool create)
{
	const int flags = how | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int fd = openat(parent, name, flags);
	struct stat st;

	if (fd == -1 && errno == ENOENT && create) {
		if (mkdirat(parent, name, 0700) == -1 && errno != EEXIST)
			return -1;
		fd = openat(parent, name, flags);
	}
	if (fd == -1 && errno == ENOTDIR)
		errno = fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode)
		    ? ELOOP
		    : ENOTDIR;
	return fd;
}

bool
path_walk(
    const char *base, const char *path, bool create, struct path_walk *walk, struct reply *why)
{
	char component[NAME_MAX + 2];
	const char *rest;
	int fd, error;

	walk->count = 0;
	if (!path_is_below(path, base)) {
		reply_set(
		    why, 451, "4.3.5", "%s is not below %s: check the configuration", path, base);
		errno = EINVAL;
		return false;
	}
	fd = open(base, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd == -1) {
		error = errno;
		failure_set(why, error, "open", base);
		errno = error;
		return false;
	}
	walk->fds[walk->count++] = fd;
	rest = path + trimmed_length(base);
	while (next_component(&rest, component)) {
		if (strcmp(component, ".") == 0)
			continue;
		if (strcmp(component, "..") == 0 || walk->count == PATH_DEPTH_MAX) {
			reply_set(why, 451, "4.3.5", "%s has \"..\" in it or is too deep", path);
			path_walk_close(walk);
			errno = EINVAL;
			return false;
		}
		fd = path_open_directory(walk->fds[walk->count - 1], component, O_PATH, create);
		if (fd == -1) {
			char at[1200];

			error = errno;
			snprintf(at, sizeof(at), "%.*s", (int)(rest - path), path);
			failure_set(why, error, create ? "open or make" : "open", at);
			path_walk_close(walk);
			errno = error;
			return false;
		}
		walk->fds[walk->count++] = fd;
	}
	return true;
}
