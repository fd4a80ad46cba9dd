/*
 * A lock file's holder is found by the pid in it, where it is of this host; kill() with signal 0
 * tells whether it lives. When that can't be said (another host, not allowed), only age helps. A
 * stale lock is renamed away before it is removed, so that of two who find it stale none removes
 * the other's new one.
 */
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/lock.h"

/* The process that wrote the lock is gone. */
static bool
holder_is_dead(const char *text, const char *host)
{
	char *end;
	long pid;

	errno = 0;
	pid = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != ':' || pid <= 0 || pid > INT_MAX ||
	    strcmp(end + 1, host) != 0)
		return false;
	/* One thread never waits for itself: then the lock couldn't be removed. */
	return pid == getpid() || (kill((pid_t)pid, 0) == -1 && errno == ESRCH);
}

/* Whether `st`, the lock as it is now, can be broken. */
static bool
is_stale(int directory, const char *name, const char *host, unsigned seconds, const struct stat *st)
{
	char text[256];
	ssize_t length;
	int fd;

	if (!S_ISREG(st->st_mode))
		return false;
	if (st->st_ctime + (time_t)seconds < time(NULL) &&
	    st->st_mtime + (time_t)seconds < time(NULL))
		return true;
	fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd == -1)
		return false;
	length = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (length <= 0)
		return false;
	text[length] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return holder_is_dead(text, host);
}

/* Takes the stale lock away, if it is still the one that was looked at. */
static void
break_stale(int directory, const char *name, const struct stat *seen)
{
	char aside[LOCK_NAME_MAX + 32];
	struct stat st;

	snprintf(aside, sizeof(aside), "%s.stale.%d", name, (int)getpid());
	if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) == -1 || st.st_ino != seen->st_ino ||
	    st.st_dev != seen->st_dev || renameat(directory, name, directory, aside) == -1)
		return;
	/* Somebody was faster and this is his: give it back. */
	if (fstatat(directory, aside, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino != seen->st_ino &&
	    linkat(directory, aside, directory, name, 0) == -1 && errno != EEXIST)
		return;
	(void)unlinkat(directory, aside, 0);
}

/* Under a name of its own first, with the pid in it: a lock never lacks its holder's. */
static bool
try(struct lock *lock, const char *host)
{
	char text[128], made[LOCK_NAME_MAX + 32];
	struct stat st;
	ssize_t written;
	int length, error, fd;
	bool good;

	if (fstatat(lock->directory, lock->name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
		errno = EEXIST;
		return false;
	}
	snprintf(made, sizeof(made), "%s.%d", lock->name, (int)getpid());
	fd = openat(
	    lock->directory, made, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd == -1)
		return false;
	/* On a full disk it stays empty, and is a lock nevertheless: mail can still be removed. */
	length = snprintf(text, sizeof(text), "%d:%s", (int)getpid(), host);
	written = write(fd, text, (size_t)length);
	good = (written != -1 || errno == ENOSPC || errno == EDQUOT) && fstat(fd, &st) == 0;
	if (good &&
	    renameat2(lock->directory, made, lock->directory, lock->name, RENAME_NOREPLACE) == -1)
		/* Some file systems can't do that. */
		good = errno == EINVAL &&
		    linkat(lock->directory, made, lock->directory, lock->name, 0) == 0 &&
		    unlinkat(lock->directory, made, 0) == 0;
	error = errno;
	(void)close(fd);
	if (!good) {
		(void)unlinkat(lock->directory, made, 0);
		errno = error;
		return false;
	}
	lock->device = st.st_dev;
	lock->inode = st.st_ino;
	return true;
}

bool
lock_take(struct lock *lock, int directory, const char *name, const char *host)
{
	return lock_take_within(lock, directory, name, host, LOCK_STALE_SECONDS, LOCK_WAIT_MS);
}

bool
lock_take_within(struct lock *lock, int directory, const char *name, const char *host,
    unsigned stale_seconds, unsigned wait_ms)
{
	const struct timespec pause = { .tv_nsec = 2 * 1000 * 1000 };
	int64_t until = clock_monotonic_ms() + wait_ms;
	struct stat st;

	lock->directory = -1;
	if (strlen(name) > LOCK_NAME_MAX) {
		errno = ENAMETOOLONG;
		return false;
	}
	strcpy(lock->name, name);
	lock->directory = directory;
	while (!try(lock, host)) {
		if (errno != EEXIST || clock_monotonic_ms() > until) {
			if (errno == EEXIST)
				errno = EBUSY;
			lock->directory = -1;
			return false;
		}
		if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    is_stale(directory, name, host, stale_seconds, &st))
			break_stale(directory, name, &st);
		else
			nanosleep(&pause, NULL);
	}
	return true;
}

void
lock_drop(struct lock *lock)
{
	struct stat st;

	if (lock->directory != -1 &&
	    fstatat(lock->directory, lock->name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    st.st_ino == lock->inode && st.st_dev == lock->device)
		(void)unlinkat(lock->directory, lock->name, 0);
	lock->directory = -1;
}
