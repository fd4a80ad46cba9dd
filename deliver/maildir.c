/*
 * Maildirs (https://cr.yp.to/proto/maildir.html). All work goes through directory descriptors that
 * were opened without following symbolic links, so what the owner renames or links meanwhile can
 * only make a delivery fail, never lead it elsewhere.
 *
 * The lock on tmp/ keeps two mdas of one owner apart: after a restart of the queue the old one may
 * still be finishing its batch while the new one is given the same envelopes. With the lock, what
 * the old one delivered is seen by the new one.
 */
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bsd/string.h>

#include "common/clock.h"
#include "deliver/failure.h"
#include "deliver/maildir.h"
#include "deliver/place.h"

#define LOCK_WAIT_MS      5000
#define TIDY_AGE          (36 * 3600)
#define TIDY_EVERY_MS     (24 * 3600 * 1000LL)
#define DIRECTORY_FLAGS   (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define MAILDIR_PATH_TEXT (PATH_TEXT_MAX + MAILDIR_FOLDER_MAX + 400)

static void
fail_at(struct reply *why, const char *doing, const struct maildir *maildir, const char *rest)
{
	char path[MAILDIR_PATH_TEXT];
	int error = errno;

	snprintf(path, sizeof(path), "%s/%s", maildir->path, rest);
	failure_set(why, error, doing, path);
	errno = error;
}

/* Opens one of the three directories, made when missing. */
static int
open_part(struct maildir *maildir, const char *name, bool create, struct reply *why)
{
	char path[MAILDIR_PATH_TEXT];
	int fd = path_open_directory(maildir->root, name, O_RDONLY, create);

	if (fd == -1) {
		fail_at(why, create ? "open or make" : "open", maildir, name);
		return -1;
	}
	snprintf(path, sizeof(path), "%s/%s", maildir->path, name);
	if (!place_check_owner(fd, path, S_IWOTH, why)) {
		close(fd);
		errno = EPERM;
		return -1;
	}
	return fd;
}

static bool
identify(struct maildir *maildir, struct known *known, struct reply *why)
{
	struct statx st;

	if (statx(maildir->new, "", AT_EMPTY_PATH, STATX_BASIC_STATS | STATX_BTIME, &st) == -1) {
		fail_at(why, "look at", maildir, "new");
		return false;
	}
	maildir->device = makedev(st.stx_dev_major, st.stx_dev_minor);
	maildir->identity.device = maildir->device;
	maildir->identity.inode = st.stx_ino;
	maildir->identity.born_ns = (st.stx_mask & STATX_BTIME) == 0
	    ? 0
	    : st.stx_btime.tv_sec * 1000000000LL + st.stx_btime.tv_nsec;
	maildir->first_use = known_find(known, &maildir->identity) == NULL;
	return true;
}

/* Keeps those directories of the way open that this process could have made something in. */
static bool
keep_parents(struct maildir *maildir, const struct path_walk *walk, struct reply *why)
{
	size_t i;

	for (i = 0; i < walk->count; i++) {
		int fd;

		if (faccessat(walk->fds[i], ".", W_OK, AT_EACCESS) == -1)
			continue;
		fd = openat(walk->fds[i], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd == -1) {
			failure_set(why, errno, "open a directory of", maildir->path);
			return false;
		}
		maildir->parents[maildir->parent_count++] = fd;
	}
	return true;
}

static bool
open_parts(struct maildir *maildir, const struct path_walk *walk, bool create, struct known *known,
    struct reply *why)
{
	maildir->root = openat(walk->fds[walk->count - 1], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (maildir->root == -1) {
		failure_set(why, errno, "open", maildir->path);
		return false;
	}
	if (!place_check_owner(maildir->root, maildir->path, S_IWOTH, why)) {
		errno = EPERM;
		return false;
	}
	maildir->tmp = open_part(maildir, "tmp", create, why);
	if (maildir->tmp == -1)
		return false;
	maildir->new = open_part(maildir, "new", create, why);
	if (maildir->new == -1 || !identify(maildir, known, why))
		return false;
	if (maildir->first_use && create) {
		int cur = open_part(maildir, "cur", true, why);

		if (cur == -1 || !keep_parents(maildir, walk, why)) {
			if (cur != -1)
				close(cur);
			return false;
		}
		close(cur);
	}
	return true;
}

bool
maildir_open(struct maildir *maildir, const struct ipc_mailbox *mailbox, const char *mail_directory,
    bool create, struct known *known, bool *absent, struct reply *why)
{
	char above[PATH_TEXT_MAX + 1];
	struct path_walk walk;
	size_t length;
	int error;
	bool good;

	memset(maildir, 0, sizeof(*maildir));
	maildir->root = maildir->tmp = maildir->new = maildir->cur = -1;
	snprintf(maildir->path, sizeof(maildir->path), "%s", mailbox->path);
	length = strlen(maildir->path);
	while (length > 1 && maildir->path[length - 1] == '/')
		maildir->path[--length] = '\0';
	place_above(maildir->path, above);
	*absent = false;
	if (!place_walk(mailbox, maildir->path, mail_directory, above, create, &walk, why)) {
		*absent = errno == ENOENT;
		return false;
	}
	good = open_parts(maildir, &walk, create, known, why);
	error = errno;
	path_walk_close(&walk);
	if (!good) {
		*absent = !create && error == ENOENT;
		maildir_close(maildir);
	}
	return good;
}

bool
maildir_folder_is_sound(const char *folder)
{
	size_t length = strlen(folder);

	if (length == 0 || length > MAILDIR_FOLDER_MAX || strcasecmp(folder, "INBOX") == 0 ||
	    folder[0] == '.' || folder[length - 1] == '.' || strstr(folder, "..") != NULL)
		return false;
	for (; *folder != '\0'; folder++) {
		unsigned char byte = (unsigned char)*folder;

		if (byte < 0x20 || byte >= 0x7f || byte == '/')
			return false;
	}
	return true;
}

/* The folder's directory; -1 with errno. */
static int
open_folder_root(const struct maildir *inbox, const char *directory, bool create, bool *made)
{
	int fd = path_open_directory(inbox->root, directory, O_RDONLY, false);

	if (fd != -1 || errno != ENOENT || !create)
		return fd;
	*made = mkdirat(inbox->root, directory, 0700) == 0;
	if (!*made && errno != EEXIST)
		return -1;
	return path_open_directory(inbox->root, directory, O_RDONLY, false);
}

/* A directory that somebody keeps there for other things isn't a folder. */
static bool
looks_like_maildir(int fd)
{
	struct stat st;

	return fstatat(fd, "cur", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

/* Maildir++: this is a folder, not a Maildir of its own. */
static bool
mark_as_folder(const struct maildir *folder)
{
	int fd = openat(folder->root, "maildirfolder",
	    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd == -1)
		return errno == EEXIST;
	close(fd);
	return true;
}

static bool
open_folder_parts(
    struct maildir *folder, const struct maildir *inbox, struct known *known, struct reply *why)
{
	if (!place_check_owner(folder->root, folder->path, S_IWOTH, why))
		return false;
	folder->tmp = open_part(folder, "tmp", true, why);
	folder->new = folder->tmp == -1 ? -1 : open_part(folder, "new", true, why);
	folder->cur = folder->new == -1 ? -1 : open_part(folder, "cur", true, why);
	if (folder->cur == -1 || !identify(folder, known, why))
		return false;
	if (!folder->first_use)
		return true;
	if (!mark_as_folder(folder)) {
		fail_at(why, "make a file in", folder, "");
		return false;
	}
	/* What was made in them is to be synced. */
	for (int i = 0; i < 2; i++) {
		int fd = openat(
		    i == 0 ? folder->root : inbox->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (fd == -1) {
			fail_at(why, "open", folder, "");
			return false;
		}
		folder->parents[folder->parent_count++] = fd;
	}
	return true;
}

bool
maildir_open_folder(struct maildir *folder, const struct maildir *inbox, const char *name,
    bool create, struct known *known, bool *absent, bool *made, struct reply *why)
{
	char directory[MAILDIR_FOLDER_MAX + 2];

	memset(folder, 0, sizeof(*folder));
	folder->root = folder->tmp = folder->new = folder->cur = -1;
	*absent = *made = false;
	if (!maildir_folder_is_sound(name)) {
		*absent = !create;
		reply_set(why, 451, "4.2.0", "\"%.100s\" is no folder's name", name);
		return false;
	}
	snprintf(directory, sizeof(directory), ".%s", name);
	strlcpy(folder->path, inbox->path, sizeof(folder->path));
	strlcat(folder->path, "/", sizeof(folder->path));
	strlcat(folder->path, directory, sizeof(folder->path));
	folder->root = open_folder_root(inbox, directory, create, made);
	if (folder->root == -1) {
		*absent = !create && (errno == ENOENT || errno == ENOTDIR || errno == ELOOP);
		failure_set(why, errno, create ? "open or make" : "open", folder->path);
		return false;
	}
	if (!create && !looks_like_maildir(folder->root)) {
		*absent = true;
		reply_set(why, 451, "4.2.0", "%.220s is no folder", folder->path);
	} else if (open_folder_parts(folder, inbox, known, why))
		return true;
	maildir_close(folder);
	return false;
}

void
maildir_close(struct maildir *maildir)
{
	int *fds[] = { &maildir->root, &maildir->tmp, &maildir->new, &maildir->cur };
	size_t i;

	while (maildir->parent_count > 0)
		close(maildir->parents[--maildir->parent_count]);
	for (i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (*fds[i] != -1)
			close(*fds[i]);
		*fds[i] = -1;
	}
}

bool
maildir_lock(struct maildir *maildir, struct reply *why)
{
	const struct timespec pause = { .tv_nsec = 5 * 1000 * 1000 };
	int64_t until = clock_monotonic_ms() + LOCK_WAIT_MS;

	while (flock(maildir->tmp, LOCK_EX | LOCK_NB) == -1) {
		if (errno == EINTR)
			continue;
		/* A file system without locks has to do without. */
		if (errno != EWOULDBLOCK)
			return true;
		if (clock_monotonic_ms() > until) {
			reply_set(why, 451, "4.2.1",
			    "%.220s/tmp is locked by another process: tried again later",
			    maildir->path);
			return false;
		}
		nanosleep(&pause, NULL);
	}
	return true;
}

int
maildir_create(struct maildir *maildir, const char *temporary, struct reply *why)
{
	int fd = openat(
	    maildir->tmp, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);

	if (fd == -1)
		fail_at(why, "make a file in", maildir, "tmp");
	return fd;
}

void
maildir_remove_temporary(struct maildir *maildir, const char *temporary)
{
	/* What stays is removed by maildir_tidy() some day. */
	(void)unlinkat(maildir->tmp, temporary, 0);
}

static int
compare_prefixes(const void *a, const void *b)
{
	const struct maildir_wanted *left = a, *right = b;

	return strcmp(left->prefix, right->prefix);
}

/* No prefix begins another: each has the same fields, and ends in a dot. */
static int
compare_name(const void *name, const void *wanted)
{
	const char *prefix = ((const struct maildir_wanted *)wanted)->prefix;

	return strncmp(name, prefix, strlen(prefix));
}

/* Reads a directory for those that aren't found yet; false with errno. */
static bool
scan(int parent, const char *part, struct maildir_wanted *wanted, size_t count,
    enum maildir_found where)
{
	int error, fd;
	struct maildir_wanted *one;
	struct dirent *entry;
	DIR *directory;
	size_t left = 0;

	for (size_t i = 0; i < count; i++)
		left += *wanted[i].found == MAILDIR_ABSENT;
	if (left == 0)
		return true;
	fd = openat(parent, part, DIRECTORY_FLAGS);
	if (fd == -1)
		return errno == ENOENT;
	directory = fdopendir(fd);
	if (directory == NULL) {
		error = errno;
		close(fd);
		errno = error;
		return false;
	}
	while (left > 0 && (errno = 0, entry = readdir(directory)) != NULL) {
		one = bsearch(entry->d_name, wanted, count, sizeof(*wanted), compare_name);
		if (one == NULL)
			continue;
		/* An envelope may be there twice. */
		while (one > wanted && compare_prefixes(one - 1, one) == 0)
			one--;
		for (; one < wanted + count && compare_name(entry->d_name, one) == 0; one++) {
			if (*one->found != MAILDIR_ABSENT)
				continue;
			snprintf(one->name, 256, "%s", entry->d_name);
			*one->found = where;
			left--;
		}
	}
	error = left > 0 ? errno : 0;
	closedir(directory);
	errno = error;
	return error == 0;
}

/* The directory cur/, opened when it is first needed; -1 with the reason. */
static int
open_cur(struct maildir *maildir, struct reply *why)
{
	if (maildir->cur == -1)
		maildir->cur = openat(maildir->root, "cur", DIRECTORY_FLAGS);
	if (maildir->cur == -1)
		fail_at(why, "open", maildir, "cur");
	return maildir->cur;
}

/* A regular file of this size, or with `size` 0 of the size in its name. */
static bool
is_delivered_file(
    struct maildir *maildir, int directory, const char *name, uint64_t size, struct reply *why)
{
	char rest[300];
	struct stat st;

	snprintf(rest, sizeof(rest), "%s/%s", directory == maildir->new ? "new" : "cur", name);
	if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) == -1) {
		fail_at(why, "look at", maildir, rest);
		return false;
	}
	if (size == 0 && !name_size(name, &size))
		size = (uint64_t)st.st_size;
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != size) {
		errno = EEXIST;
		fail_at(why, "deliver to", maildir, rest);
		return false;
	}
	return true;
}

/* Whether what was found can be relied on. */
static bool
confirm(struct maildir *maildir, const struct maildir_wanted *one)
{
	if (*one->found == MAILDIR_IN_NEW)
		return is_delivered_file(maildir, maildir->new, one->name, 0, one->why);
	return open_cur(maildir, one->why) != -1;
}

void
maildir_find(struct maildir *maildir, struct maildir_wanted *wanted, size_t count)
{
	bool readable;
	int error;

	for (size_t i = 0; i < count; i++)
		*wanted[i].found = MAILDIR_ABSENT;
	qsort(wanted, count, sizeof(*wanted), compare_prefixes);
	readable = scan(maildir->root, "new", wanted, count, MAILDIR_IN_NEW) &&
	    scan(maildir->root, "cur", wanted, count, MAILDIR_IN_CUR);
	error = errno;
	for (size_t i = 0; i < count; i++) {
		if (*wanted[i].found != MAILDIR_ABSENT) {
			if (!confirm(maildir, &wanted[i]))
				*wanted[i].found = MAILDIR_UNREADABLE;
		} else if (!readable) {
			errno = error;
			fail_at(wanted[i].why, "read", maildir, "new and cur");
			*wanted[i].found = MAILDIR_UNREADABLE;
		}
	}
}

enum maildir_placed
maildir_place(struct maildir *maildir, const char *temporary, const char *name, bool to_cur,
    uint64_t size, struct reply *why)
{
	int directory = to_cur ? open_cur(maildir, why) : maildir->new;
	int result;

	if (directory == -1)
		return MAILDIR_FAILED;
	result = renameat2(maildir->tmp, temporary, directory, name, RENAME_NOREPLACE);
	/* Not every file system knows the flag; a link doesn't replace either. */
	if (result == -1 && (errno == EINVAL || errno == ENOSYS)) {
		result = linkat(maildir->tmp, temporary, directory, name, 0);
		if (result == 0)
			maildir_remove_temporary(maildir, temporary);
	}
	if (result == 0)
		return MAILDIR_PLACED;
	if (errno == EEXIST)
		return is_delivered_file(maildir, directory, name, size, why) ? MAILDIR_WAS_THERE
		                                                              : MAILDIR_FAILED;
	fail_at(why, "move a message from tmp to", maildir, to_cur ? "cur" : "new");
	return MAILDIR_FAILED;
}

bool
maildir_take_back(struct maildir *maildir, const char *name, bool from_cur)
{
	return unlinkat(from_cur ? maildir->cur : maildir->new, name, 0) == 0 || errno == ENOENT;
}

void
maildir_tidy(struct maildir *maildir, struct known *known)
{
	struct known_entry *entry = known_find(known, &maildir->identity);
	int64_t now_ms = clock_monotonic_ms();
	time_t old = time(NULL) - TIDY_AGE;
	struct dirent *file;
	DIR *directory;
	int fd;

	if (entry == NULL || (entry->tidied_ms != 0 && now_ms - entry->tidied_ms < TIDY_EVERY_MS))
		return;
	entry->tidied_ms = now_ms;
	fd = openat(maildir->root, "tmp", DIRECTORY_FLAGS);
	if (fd == -1)
		return;
	directory = fdopendir(fd);
	if (directory == NULL) {
		close(fd);
		return;
	}
	while ((file = readdir(directory)) != NULL) {
		struct stat st;

		if (file->d_name[0] == '.' ||
		    fstatat(fd, file->d_name, &st, AT_SYMLINK_NOFOLLOW) == -1)
			continue;
		if (S_ISREG(st.st_mode) && st.st_mtime < old && st.st_ctime < old)
			(void)unlinkat(fd, file->d_name, 0);
	}
	closedir(directory);
}
