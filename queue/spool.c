/*
 * The spool's directory and all in it that isn't the journal.
 *
 * The lock is an flock() on a file of its own: it goes away with its process however that ends. Who
 * may own the spool is checked here once; inside it nothing but our own regular files is touched.
 */
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "queue/spool.h"

static int
open_directory(int at, const char *name, bool make)
{
	struct stat status;
	int fd;

	if (make && mkdirat(at, name, 0700) == -1 && errno != EEXIST) {
		log_error("spool: can't make %s: %s", name, strerror(errno));
		return -1;
	}
	fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1) {
		log_error("spool: can't open %s: %s", name, strerror(errno));
		return -1;
	}
	if (make && (fstat(fd, &status) == -1 || status.st_uid != geteuid())) {
		log_error("spool: %s belongs to uid %u, the queue runs as %u: give it to the queue "
		          "with chown",
		    name, status.st_uid, geteuid());
		close(fd);
		return -1;
	}
	return fd;
}

static enum spool_result
take_lock(struct spool *spool, bool exclusive)
{
	spool->lock_fd = openat(spool->fd, "lock",
	    (exclusive ? O_RDWR | O_CREAT : O_RDONLY) | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
	if (spool->lock_fd == -1) {
		if (!exclusive && errno == ENOENT)
			return SPOOL_OK; /* no queue ever ran here */
		log_error("spool: can't open lock: %s", strerror(errno));
		return SPOOL_ERROR;
	}
	if (flock(spool->lock_fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0)
		return SPOOL_OK;
	if (errno == EWOULDBLOCK)
		return SPOOL_BUSY;
	log_error("spool: can't lock: %s", strerror(errno));
	return SPOOL_ERROR;
}

static enum spool_result
open_all(struct spool *spool, const char *path, bool owner)
{
	enum spool_result result;
	struct stat status;

	spool->fd = spool->lock_fd = -1;
	spool->segments_fd = spool->large_fd = spool->quarantine_fd = -1;
	spool->fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (spool->fd == -1 || fstat(spool->fd, &status) == -1) {
		log_error("spool: can't open %s: %s", path, strerror(errno));
		return SPOOL_ERROR;
	}
	if (owner && status.st_uid != geteuid()) {
		log_error("spool: %s belongs to uid %u, the queue runs as %u: give it to the queue "
		          "with chown -R, or name another directory",
		    path, status.st_uid, geteuid());
		return SPOOL_ERROR;
	}
	result = take_lock(spool, owner);
	if (result != SPOOL_OK)
		return result;
	spool->segments_fd = open_directory(spool->fd, "segments", owner);
	spool->large_fd = open_directory(spool->fd, "large", owner);
	if (owner)
		spool->quarantine_fd = open_directory(spool->fd, "quarantine", true);
	if (spool->segments_fd == -1 || spool->large_fd == -1 ||
	    (owner && spool->quarantine_fd == -1))
		return SPOOL_ERROR;
	if (owner && fsync(spool->fd) == -1) {
		log_error("spool: can't sync %s: %s", path, strerror(errno));
		return SPOOL_ERROR;
	}
	return SPOOL_OK;
}

enum spool_result
spool_open(struct spool *spool, const char *path)
{
	enum spool_result result = open_all(spool, path, true);

	if (result != SPOOL_OK)
		spool_close(spool);
	return result;
}

enum spool_result
spool_open_read(struct spool *spool, const char *path)
{
	enum spool_result result = open_all(spool, path, false);

	if (result != SPOOL_OK)
		spool_close(spool);
	return result;
}

static void
close_one(int *fd)
{
	if (*fd != -1)
		close(*fd);
	*fd = -1;
}

void
spool_close(struct spool *spool)
{
	close_one(&spool->quarantine_fd);
	close_one(&spool->large_fd);
	close_one(&spool->segments_fd);
	close_one(&spool->lock_fd);
	close_one(&spool->fd);
}

int
spool_free_permille(const struct spool *spool)
{
	struct statvfs status;

	if (fstatvfs(spool->fd, &status) == -1 || status.f_blocks == 0)
		return -1;
	return (int)((uint64_t)status.f_bavail * 1000 / status.f_blocks);
}

uint64_t
spool_disk_size(const struct spool *spool)
{
	struct statvfs status;

	if (fstatvfs(spool->fd, &status) == -1)
		return 0;
	return (uint64_t)status.f_blocks * status.f_frsize;
}

void
spool_quarantine_file(
    const struct spool *spool, int directory_fd, const char *name, const char *why)
{
	char target[SPOOL_NAME_MAX + 32];

	for (unsigned i = 0; i < 1000; i++) {
		snprintf(target, sizeof(target), "%.60s.%u", name, i);
		/* link() and not rename(): what was kept earlier is never replaced. */
		if (linkat(directory_fd, name, spool->quarantine_fd, target, 0) == 0) {
			if (fsync(spool->quarantine_fd) == -1 ||
			    unlinkat(directory_fd, name, 0) == -1)
				log_error("spool: quarantine of %s: %s", name, strerror(errno));
			log_error("spool: %s: %s: kept as quarantine/%s, look at it with "
			          "`queue dump`",
			    name, why, target);
			return;
		}
		if (errno != EEXIST)
			break;
	}
	log_error("spool: %s: %s; it can't be moved to quarantine (%s) and is left alone", name,
	    why, strerror(errno));
}

bool
spool_quarantine_bytes(
    const struct spool *spool, const char *name, const void *data, size_t length, const char *why)
{
	const uint8_t *at = data;
	size_t left = length;
	ssize_t written;
	int fd;

	fd = openat(
	    spool->quarantine_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd == -1 && errno == EEXIST) {
		log_warning(
		    "spool: %s: %zu bytes, kept already as quarantine/%s", why, length, name);
		return true;
	}
	while (fd != -1 && left > 0) {
		written = write(fd, at, left);
		if (written <= 0)
			break;
		at += written;
		left -= (size_t)written;
	}
	if (fd == -1 || left > 0 || fsync(fd) == -1 || fsync(spool->quarantine_fd) == -1) {
		log_error("spool: %s: can't keep %zu bytes as quarantine/%s: %s", why, length, name,
		    strerror(errno));
		if (fd != -1) {
			unlinkat(spool->quarantine_fd, name, 0);
			close(fd);
		}
		return false;
	}
	close(fd);
	log_error("spool: %s: %zu bytes kept as quarantine/%s", why, length, name);
	return true;
}

static void
large_name(char *name, size_t size, uint32_t message_id)
{
	snprintf(name, size, "%08" PRIx32, message_id);
}

int
spool_large_create(const struct spool *spool, uint32_t message_id)
{
	char name[16];

	large_name(name, sizeof(name), message_id);
	return openat(
	    spool->large_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
}

int
spool_large_open(const struct spool *spool, uint32_t message_id)
{
	char name[16];

	large_name(name, sizeof(name), message_id);
	return openat(spool->large_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
}

bool
spool_large_remove(const struct spool *spool, uint32_t message_id)
{
	char name[16];

	large_name(name, sizeof(name), message_id);
	return unlinkat(spool->large_fd, name, 0) == 0;
}

bool
spool_large_stat(const struct spool *spool, uint32_t message_id, struct stat *status)
{
	char name[16];

	large_name(name, sizeof(name), message_id);
	return fstatat(spool->large_fd, name, status, AT_SYMLINK_NOFOLLOW) == 0;
}

void
spool_large_quarantine(const struct spool *spool, uint32_t message_id)
{
	char name[16];

	large_name(name, sizeof(name), message_id);
	spool_quarantine_file(spool, spool->large_fd, name, "the record of its message is damaged");
}

bool
spool_large_sync(const struct spool *spool)
{
	return fsync(spool->large_fd) == 0;
}

/* "0123abcd" and nothing else. */
static bool
parse_large_name(const char *name, uint32_t *message_id)
{
	if (strlen(name) != 8 || strspn(name, "0123456789abcdef") != 8)
		return false;
	*message_id = (uint32_t)strtoul(name, NULL, 16);
	return true;
}

void
spool_large_sweep(const struct spool *spool, bool (*is_known)(uint32_t message_id, void *arg),
    void *arg, bool keep)
{
	struct dirent *entry;
	uint32_t message_id;
	DIR *directory;
	int fd = openat(spool->fd, "large", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	directory = fd == -1 ? NULL : fdopendir(fd);
	if (directory == NULL) {
		log_error("spool: can't read large: %s", strerror(errno));
		if (fd != -1)
			close(fd);
		return;
	}
	while ((entry = readdir(directory)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (!parse_large_name(entry->d_name, &message_id))
			log_warning("spool: large/%s isn't ours and is left alone", entry->d_name);
		else if (is_known(message_id, arg))
			continue;
		else if (keep)
			spool_quarantine_file(
			    spool, spool->large_fd, entry->d_name, "no record tells of it");
		else if (unlinkat(spool->large_fd, entry->d_name, 0) == -1)
			log_warning(
			    "spool: can't remove large/%s: %s", entry->d_name, strerror(errno));
	}
	closedir(directory);
}
