/*
 * Each component is opened in the one before, without following links, and looked at once it is
 * open: what is checked is what is read. Who could put another file in this one's place has the
 * rights of a list's owner no more than its writer has: the rights are those of the least trusted.
 */
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include "lookup/include.h"

struct walk {
	int fd; /* the directory that was reached */
	bool privileged;
	uint32_t by;
	uint32_t owner;
	bool is_closed; /* not everybody, nor who names it, can read it */
	const char *why;
};

/* A group's bits are those of an access control list's entries, too, which may be anybody's. A sticky
 * directory lets nobody touch what is another's. */
static bool
others_may_write(const struct stat *st)
{
	mode_t mode = st->st_mode;

	if (S_ISDIR(mode) && (mode & S_ISVTX) != 0)
		return false;
	return (mode & (S_IWGRP | S_IWOTH)) != 0;
}

static void
trust(struct walk *walk, const struct stat *st)
{
	uint32_t owner = st->st_uid;

	if ((st->st_mode & (S_ISDIR(st->st_mode) ? S_IXOTH : S_IROTH)) == 0 && owner != walk->by)
		walk->is_closed = true;
	if (!walk->privileged && owner == geteuid())
		owner = INCLUDE_OF_ADMIN;
	if (others_may_write(st) ||
	    (owner != INCLUDE_OF_ADMIN && walk->owner != INCLUDE_OF_ADMIN && owner != walk->owner))
		walk->owner = INCLUDE_OF_ANYONE;
	else if (walk->owner == INCLUDE_OF_ADMIN)
		walk->owner = owner;
}

/* What waiting, or an administrator, can put right isn't the list's fault. */
static enum include_result
failure(struct walk *walk, const char *words)
{
	if (errno == ELOOP || errno == ENOTDIR || errno == ENAMETOOLONG || errno == ENXIO) {
		walk->why = words;
		return INCLUDE_REFUSED;
	}
	walk->why = strerror(errno);
	return INCLUDE_BROKEN;
}

/* Goes on to the directory of this name. */
static enum include_result
enter(struct walk *walk, const char *name)
{
	int fd = openat(walk->fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd == -1)
		return failure(walk, "a directory on its way is none, or a symbolic link");
	close(walk->fd);
	walk->fd = fd;
	if (fstat(fd, &st) == -1)
		return failure(walk, "");
	trust(walk, &st);
	return INCLUDE_READ;
}

static enum include_result
open_file(struct walk *walk, const char *name, int *fd)
{
	struct stat st;

	/* Opening a device may already do something. */
	if (fstatat(walk->fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISREG(st.st_mode)) {
		walk->why = "it isn't a regular file";
		return INCLUDE_REFUSED;
	}
	*fd = openat(walk->fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (*fd == -1)
		return failure(walk, "it isn't a regular file");
	if (fstat(*fd, &st) == -1)
		return failure(walk, "");
	trust(walk, &st);
	if (S_ISREG(st.st_mode))
		return INCLUDE_READ;
	walk->why = "it isn't a regular file";
	return INCLUDE_REFUSED;
}

static enum include_result
walk_to(struct walk *walk, const char *path, int *fd)
{
	enum include_result result = enter(walk, "/");
	char name[NAME_MAX + 1];

	while (result == INCLUDE_READ) {
		size_t length;

		path += strspn(path, "/");
		length = strcspn(path, "/");
		if (length == 0 || length > NAME_MAX) {
			walk->why = "it isn't a file's name";
			return INCLUDE_REFUSED;
		}
		memcpy(name, path, length);
		name[length] = '\0';
		path += length;
		if (strcmp(name, "..") == 0) {
			walk->why = "\"..\" is in its name";
			return INCLUDE_REFUSED;
		}
		if (*path == '\0')
			return open_file(walk, name, fd);
		result = enter(walk, name);
	}
	return result;
}

/* Half a list would be mail that some of its members don't get. */
static bool
has_changed(const struct stat *before, const struct stat *after)
{
	return before->st_size != after->st_size ||
	    before->st_mtim.tv_sec != after->st_mtim.tv_sec ||
	    before->st_mtim.tv_nsec != after->st_mtim.tv_nsec;
}

static enum include_result
read_text(struct walk *walk, int fd, size_t limit, struct buf *text)
{
	struct stat before, after;
	char piece[16384];
	ssize_t got;

	if (fstat(fd, &before) == -1)
		return failure(walk, "");

	while ((got = read(fd, piece, sizeof(piece))) > 0) {
		if (text->length + (size_t)got > limit) {
			walk->why = "it is too large";
			return INCLUDE_REFUSED;
		}
		if (memchr(piece, '\0', (size_t)got) != NULL) {
			walk->why = "it isn't a text";
			return INCLUDE_REFUSED;
		}
		buf_add(text, piece, (size_t)got);
	}
	if (got == -1 || fstat(fd, &after) == -1)
		return failure(walk, "");
	if (has_changed(&before, &after) || text->length != (size_t)after.st_size) {
		walk->why = "it changed while it was read";
		return INCLUDE_BROKEN;
	}
	buf_add_u8(text, 0);
	return INCLUDE_READ;
}

enum include_result
include_read(const char *path, uint32_t by, bool privileged, size_t limit, struct buf *text,
    uint32_t *owner, const char **why)
{
	struct walk walk = {
		.fd = -1, .privileged = privileged, .by = by, .owner = INCLUDE_OF_ADMIN
	};
	enum include_result result;
	int fd = -1;

	result = walk_to(&walk, path, &fd);
	if (result == INCLUDE_READ && walk.is_closed && by != INCLUDE_OF_ADMIN) {
		walk.why = "who names it can't read it";
		result = INCLUDE_REFUSED;
	}
	if (result == INCLUDE_READ)
		result = read_text(&walk, fd, limit, text);
	if (fd != -1)
		close(fd);
	if (walk.fd != -1)
		close(walk.fd);
	*owner = walk.owner;
	*why = walk.why;
	return result;
}
