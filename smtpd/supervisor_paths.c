/*
 * Paths. Directories are opened without following a link in the last place and then changed by
 * descriptor, so that what is checked is what is changed.
 */
#include <sys/file.h>
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/string.h>

#include "smtpd/supervisor_paths.h"

/* Makes the directories above `path` that aren't there. */
static bool
make_parents(const char *path, char *why, size_t size)
{
	char part[PATH_MAX];
	char *slash;

	if (strlcpy(part, path, sizeof(part)) >= sizeof(part)) {
		snprintf(why, size, "%.100s...: too long a path", path);
		return false;
	}
	for (slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(part, 0755) == 0) {
			/* The umask is a strict one. */
			if (chmod(part, 0755) != 0) {
				snprintf(why, size, "%s: %s", part, strerror(errno));
				return false;
			}
		} else if (errno != EEXIST) {
			snprintf(
			    why, size, "%s: can't make this directory: %s", part, strerror(errno));
			return false;
		}
		*slash = '/';
	}
	return true;
}

/* Checks or sets owner and mode of an open directory. */
static bool
settle_directory(int fd, const char *path, struct stat *wanted, bool is_new, char *why, size_t size)
{
	struct stat info;

	if (fstat(fd, &info) != 0) {
		snprintf(why, size, "%s: %s", path, strerror(errno));
		return false;
	}
	if (is_new && info.st_uid != wanted->st_uid) {
		if (fchown(fd, wanted->st_uid, wanted->st_gid) != 0) {
			snprintf(why, size, "%s: can't give it to user %u: %s", path,
			    wanted->st_uid, strerror(errno));
			return false;
		}
	} else if (info.st_uid != wanted->st_uid) {
		snprintf(why, size,
		    "%s: belongs to user %u and not to %u, as it must: \"chown -R %u:%u\" it if "
		    "its content is this server's, or name another directory",
		    path, info.st_uid, wanted->st_uid, wanted->st_uid, wanted->st_gid);
		return false;
	}
	if ((info.st_mode & 07777) != wanted->st_mode && fchmod(fd, wanted->st_mode) != 0) {
		snprintf(why, size, "%s: can't set its mode: %s", path, strerror(errno));
		return false;
	}
	return true;
}

bool
paths_make_directory(
    const char *path, uid_t uid, gid_t gid, mode_t mode, bool keep, char *why, size_t size)
{
	struct stat wanted = { .st_uid = uid, .st_gid = gid, .st_mode = mode };
	bool is_new, good;
	int fd;

	if (path[0] != '/') {
		snprintf(why, size, "%s: not an absolute path", path);
		return false;
	}
	if (!make_parents(path, why, size))
		return false;
	is_new = mkdir(path, 0700) == 0;
	if (!is_new && errno != EEXIST) {
		snprintf(why, size, "%s: can't make this directory: %s", path, strerror(errno));
		return false;
	}
	if (!is_new && keep)
		return true;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1) {
		snprintf(why, size, "%s: %s", path,
		    errno == ELOOP ? "a symbolic link; name the directory itself"
		                   : strerror(errno));
		return false;
	}
	good = settle_directory(fd, path, &wanted, is_new, why, size);
	close(fd);
	return good;
}

static bool
has_programs(const char *directory)
{
	char path[PATH_MAX];
	int length = snprintf(path, sizeof(path), "%s/queue", directory);

	return length > 0 && (size_t)length < sizeof(path) && access(path, X_OK) == 0;
}

bool
paths_find_programs(char *directory, size_t size, char *why, size_t why_size)
{
	char self[PATH_MAX], candidate[PATH_MAX + 32];
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (length > 0) {
		self[length] = '\0';
		slash = strrchr(self, '/');
		if (slash != NULL)
			*slash = '\0';
		snprintf(candidate, sizeof(candidate), "%s/../libexec/postern", self);
		if (has_programs(candidate) && realpath(candidate, self) != NULL) {
			strlcpy(directory, self, size);
			return true;
		}
		if (has_programs(self)) {
			strlcpy(directory, self, size);
			return true;
		}
	}
	if (has_programs(LIBEXECDIR)) {
		strlcpy(directory, LIBEXECDIR, size);
		return true;
	}
	snprintf(
	    why, why_size, "the suite's other programs aren't in %s: is it installed?", LIBEXECDIR);
	return false;
}

static bool
say_who_has_it(const struct pid_file *file, const char *directory, char *why, size_t size)
{
	char text[16] = "";
	ssize_t length = pread(file->fd, text, sizeof(text) - 1, 0);

	if (length > 0)
		text[strcspn(text, "\n")] = '\0';
	snprintf(why, size,
	    "another smtpd (process %s) runs with %s: stop it, or give this one a "
	    "\"directory run\" of its own",
	    length > 0 ? text : "not known", directory);
	return false;
}

bool
pid_file_lock(struct pid_file *file, const char *directory, char *why, size_t size)
{
	struct stat ours, there;
	int tries;

	snprintf(file->path, sizeof(file->path), "%s/smtpd.pid", directory);
	for (tries = 0; tries < 10; tries++) {
		file->fd =
		    open(file->path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0644);
		if (file->fd == -1) {
			snprintf(why, size, "%s: %s", file->path, strerror(errno));
			return false;
		}
		if (flock(file->fd, LOCK_EX | LOCK_NB) != 0) {
			if (errno == EWOULDBLOCK)
				say_who_has_it(file, directory, why, size);
			else
				snprintf(why, size, "%s: %s", file->path, strerror(errno));
			close(file->fd);
			return false;
		}
		/* The one that had it may have removed it between our open and our lock. */
		if (fstat(file->fd, &ours) == 0 && stat(file->path, &there) == 0 &&
		    ours.st_ino == there.st_ino && ours.st_dev == there.st_dev) {
			file->stale = ours.st_size > 0;
			(void)fchmod(file->fd, 0644);
			return true;
		}
		close(file->fd);
	}
	snprintf(why, size, "%s: other instances come and go", file->path);
	return false;
}

bool
pid_file_write(struct pid_file *file)
{
	char text[16];
	int length = snprintf(text, sizeof(text), "%d\n", (int)getpid());

	return ftruncate(file->fd, 0) == 0 &&
	    pwrite(file->fd, text, (size_t)length, 0) == (ssize_t)length;
}

void
pid_file_remove(struct pid_file *file)
{
	(void)unlink(file->path);
	close(file->fd);
}
