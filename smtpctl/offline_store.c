/*
 * The one thing that needs smtpctl's group: making a file in the offline directory. It is a program
 * run of its own that looks at none of the bytes it keeps; the group is in use for single system
 * calls only. The file is made, with its full size, before it is counted, so that many at once can't
 * all find room for themselves.
 */
#include <sys/stat.h>
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include <bsd/stdlib.h>

#include "common/write.h"
#include "smtpctl/offline.h"
#include "smtpctl/privilege.h"

#define COPY_BYTES 65536

/* One that root, or the caller, made for this; the caller may have named any. */
static bool
is_offline_directory(int fd)
{
	struct stat info;

	if (fstat(fd, &info) != 0)
		return false;
	if ((info.st_mode & S_IRWXO) != 0 || (info.st_mode & S_ISVTX) == 0)
		return false;
	return info.st_uid == getuid() ||
	    (info.st_uid == 0 && info.st_gid == privilege_group() && info.st_gid != getgid());
}

/* Whether the caller has room there for what is there by now. */
static bool
is_within_bounds(int directory)
{
	long long bytes = 0;
	unsigned files = 0;
	struct dirent *entry;
	struct stat info;
	DIR *dir;
	int fd;

	privilege_raise();
	fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	dir = fd == -1 ? NULL : fdopendir(fd);
	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		if (fstatat(directory, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0 ||
		    !S_ISREG(info.st_mode) || info.st_uid != getuid())
			continue;
		files++;
		bytes += info.st_size;
	}
	privilege_lower();
	if (dir == NULL)
		return false;
	closedir(dir);
	return files <= OFFLINE_FILES_MAX && bytes <= OFFLINE_BYTES_MAX;
}

static bool
copy(int to, off_t size)
{
	char *chunk = malloc(COPY_BYTES);
	off_t at = 0;
	ssize_t count = 0;

	while (chunk != NULL && at < size) {
		size_t wanted = size - at < COPY_BYTES ? (size_t)(size - at) : COPY_BYTES;

		count = pread(STDIN_FILENO, chunk, wanted, at);
		if (count == 0)
			errno = EIO; /* it was cut meanwhile */
		if (count <= 0 || !write_all(to, chunk, (size_t)count))
			break;
		at += count;
	}
	free(chunk);
	return at == size;
}

/* Fills the file and makes it last. False with errno set. */
static bool
fill(int directory, int fd, const struct stat *input)
{
	/* The group of the directory is no business of who owns the file. */
	if (fchown(fd, (uid_t)-1, getgid()) != 0 || ftruncate(fd, input->st_size) != 0)
		return false;
	if (!is_within_bounds(directory)) {
		errno = EDQUOT;
		return false;
	}
	return copy(fd, input->st_size) && fsync(fd) == 0;
}

/* False with errno set. */
static bool
keep(int directory, const struct stat *input)
{
	char name[64], hidden[72];
	bool good;
	int fd, error;

	snprintf(name, sizeof(name), "%010llx-%08x%08x", (unsigned long long)time(NULL),
	    arc4random(), arc4random());
	snprintf(hidden, sizeof(hidden), ".new-%s", name);
	privilege_raise();
	fd = openat(directory, hidden, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	privilege_lower();
	if (fd == -1)
		return false;
	good = fill(directory, fd, input);
	error = errno;
	close(fd);
	privilege_raise();
	if (good) {
		good = renameat(directory, hidden, directory, name) == 0;
		error = errno;
		if (good && fsync(directory) != 0) {
			error = errno;
			good = false;
			(void)unlinkat(directory, name, 0);
		}
	}
	if (!good)
		(void)unlinkat(directory, hidden, 0);
	privilege_lower();
	errno = error;
	return good;
}

static int
store(const char *path)
{
	struct stat input;
	bool good;
	int directory;

	if (fstat(STDIN_FILENO, &input) != 0 || !S_ISREG(input.st_mode)) {
		warnx("this is no mail that can be kept");
		return EX_DATAERR;
	}
	if (input.st_size > OFFLINE_BYTES_MAX) {
		warnx("there is no mail server, and the mail is too large to be kept for one");
		return EX_TEMPFAIL;
	}
	privilege_raise();
	directory = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	privilege_lower();
	if (directory == -1 || !is_offline_directory(directory)) {
		warnx("there is no mail server, and no place to keep mail for one: %s: %s", path,
		    directory == -1 ? strerror(errno) : "not made for that");
		return EX_TEMPFAIL;
	}
	good = keep(directory, &input);
	if (!good && errno == EDQUOT)
		warnx("there is no mail server, and too much of your mail waits for one already");
	else if (!good)
		warn("there is no mail server, and the mail can't be kept for one: %s", path);
	close(directory);
	return good ? EX_OK : EX_TEMPFAIL;
}

int
offline_store(const char *path)
{
	int status;

	/* A limit of the caller's is an error to be told, not a death that leaves half a file. */
	(void)signal(SIGXFSZ, SIG_IGN);
	status = store(path);
	privilege_drop();
	return status;
}
