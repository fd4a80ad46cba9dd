/*
 * The Maildir, and the watch on its open folders. The watch is one inotify descriptor for the
 * process. What this process does itself comes back as events, too: each is noted when it is done,
 * and since events come in the order of what caused them, an event that is the next one noted is
 * our own and any other is somebody else's.
 */
#include <sys/inotify.h>
#include <sys/stat.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/write.h"
#include "mailbox/folder_state.h"
#include "mailbox/maildir.h"

#define WATCHED_NEW (IN_CREATE | IN_MOVED_TO | IN_ONLYDIR | IN_DONT_FOLLOW)
#define WATCHED_CUR                                                                            \
	(IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF | \
	    IN_ONLYDIR | IN_DONT_FOLLOW)
#define EXPECTED_MAX 65536

struct maildir *
maildir_new(int root, const char *path, const char *hostname, const struct quota_limits *limits)
{
	static const char *const parts[] = { "cur", "new", "tmp" };
	struct maildir *maildir = calloc(1, sizeof(*maildir));
	size_t i;

	if (maildir == NULL || (maildir->path = strdup(path)) == NULL) {
		free(maildir);
		close(root);
		return NULL;
	}
	maildir->root = root;
	maildir->limits = *limits;
	maildir->watch = -1;
	maildir->unique = (uint64_t)arc4random() << 32 | arc4random();
	name_host(hostname, maildir->host);
	if (gethostname(maildir->lock_host, sizeof(maildir->lock_host) - 1) == -1)
		strcpy(maildir->lock_host, "localhost");
	for (i = 0; i < 3; i++) {
		if (mkdirat(root, parts[i], 0700) == -1 && errno != EEXIST) {
			(void)maildir_failed(maildir, "make", ".", parts[i]);
			maildir_free(maildir);
			return NULL;
		}
	}
	/* Watches are set by path. */
	if (fchdir(root) == 0)
		maildir->watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	return maildir;
}

void
maildir_free(struct maildir *maildir)
{
	if (maildir == NULL)
		return;
	if (maildir->watch != -1)
		close(maildir->watch);
	close(maildir->root);
	free(maildir->expected);
	free(maildir->path);
	free(maildir);
}

enum mail_result
maildir_failed(struct maildir *maildir, const char *doing, const char *folder, const char *name)
{
	struct log_line line;
	int error = errno;
	char path[1200];

	snprintf(path, sizeof(path), "%s/%s/%s", maildir->path, folder, name);
	log_begin(&line, LOG_LEVEL_WARNING, "mailbox-failed");
	log_text(&line, "path", path);
	log_text(&line, "doing", doing);
	log_text(&line, "reason", strerror(error));
	log_end(&line);
	errno = error;
	switch (error) {
	case ENOSPC:
	case EDQUOT:
		return MAIL_NO_SPACE;
	case EROFS:
		return MAIL_READ_ONLY;
	case EBUSY:
		return MAIL_BUSY;
	case ENAMETOOLONG:
		return MAIL_BAD_NAME;
	default:
		return MAIL_FAILED;
	}
}

/* --- the watch --- */

static uint64_t
event_hash(int watch, uint32_t event, const char *name)
{
	uint64_t hash = 0xcbf29ce484222325ULL ^ (uint64_t)watch << 32 ^ event;

	for (; *name != '\0'; name++)
		hash = (hash ^ (uint8_t)*name) * 0x100000001b3ULL;
	return hash == 0 ? 1 : hash;
}

void
maildir_expect(
    struct maildir *maildir, struct folder *folder, bool in_cur, uint32_t event, const char *name)
{
	int watch = in_cur ? folder->watch_cur : folder->watch_new;
	size_t capacity;
	uint64_t *grown;

	if (watch == -1 || (!in_cur && (event & WATCHED_NEW) == 0))
		return;
	if (maildir->expected_count - maildir->expected_first >= EXPECTED_MAX)
		maildir_watch_read(maildir);
	if (maildir->expected_count == maildir->expected_capacity) {
		capacity = maildir->expected_capacity == 0 ? 64 : maildir->expected_capacity * 2;
		grown = reallocarray(maildir->expected, capacity, sizeof(*grown));
		/* Then the event is taken for another's, and the folder read again. */
		if (grown == NULL)
			return;
		maildir->expected = grown;
		maildir->expected_capacity = capacity;
	}
	maildir->expected[maildir->expected_count++] = event_hash(watch, event, name);
}

static void
all_changed(struct maildir *maildir)
{
	struct folder *folder;

	for (folder = maildir->open; folder != NULL; folder = folder->next)
		folder->new_changed = folder->cur_changed = true;
}

static void
take_event(struct maildir *maildir, const struct inotify_event *event)
{
	const char *name = event->len > 0 ? event->name : "";
	struct folder *folder;

	if ((event->mask & IN_Q_OVERFLOW) != 0) {
		all_changed(maildir);
		return;
	}
	if (maildir->expected_first < maildir->expected_count &&
	    maildir->expected[maildir->expected_first] ==
	        event_hash(event->wd, event->mask & IN_ALL_EVENTS, name)) {
		maildir->expected_first++;
		return;
	}
	for (folder = maildir->open; folder != NULL; folder = folder->next) {
		if (event->wd == folder->watch_new)
			folder->new_changed = true;
		if (event->wd == folder->watch_cur)
			folder->cur_changed = true;
	}
}

int
maildir_watch_fd(const struct maildir *maildir)
{
	return maildir->watch;
}

void
maildir_watch_read(struct maildir *maildir)
{
	char buffer[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
	ssize_t length;

	if (maildir->watch == -1)
		return;
	while ((length = read(maildir->watch, buffer, sizeof(buffer))) > 0) {
		const char *at = buffer;

		while (at < buffer + length) {
			const struct inotify_event *event = (const struct inotify_event *)at;

			take_event(maildir, event);
			at += sizeof(*event) + event->len;
		}
	}
	/* All that happened has been read, so nothing is expected any more. */
	maildir->expected_first = maildir->expected_count = 0;
}

void
maildir_watch_folder(struct maildir *maildir, struct folder *folder)
{
	char path[FOLDER_DISK_MAX + 16];

	folder->watch_new = folder->watch_cur = -1;
	if (maildir->watch == -1)
		return;
	snprintf(path, sizeof(path), "%s/new", folder->disk);
	folder->watch_new = inotify_add_watch(maildir->watch, path, WATCHED_NEW);
	snprintf(path, sizeof(path), "%s/cur", folder->disk);
	folder->watch_cur = inotify_add_watch(maildir->watch, path, WATCHED_CUR);
	if (folder->watch_new == -1 || folder->watch_cur == -1)
		maildir_unwatch_folder(maildir, folder);
}

void
maildir_unwatch_folder(struct maildir *maildir, struct folder *folder)
{
	/* Gone with its directory, perhaps. */
	if (folder->watch_new != -1)
		(void)inotify_rm_watch(maildir->watch, folder->watch_new);
	if (folder->watch_cur != -1)
		(void)inotify_rm_watch(maildir->watch, folder->watch_cur);
	folder->watch_new = folder->watch_cur = -1;
}

/* --- quota --- */

enum mail_result
maildir_quota(struct maildir *maildir, struct quota *quota)
{
	char unique[NAME_SIZE];

	maildir_temporary_name(maildir, unique);
	if (!quota_load(maildir->root, &maildir->limits, unique, quota))
		return maildir_failed(maildir, "count the mail in", ".", "");
	return MAIL_OK;
}

static bool
is_over(const struct quota *quota, uint64_t bytes, uint64_t messages)
{
	const struct quota_limits *limits = &quota->limits;

	if (limits->bytes != 0 && (bytes > limits->bytes || quota->bytes > limits->bytes - bytes))
		return true;
	return limits->messages != 0 &&
	    (messages > limits->messages || quota->messages > limits->messages - messages);
}

enum mail_result
maildir_has_room(struct maildir *maildir, uint64_t bytes, uint64_t messages)
{
	enum mail_result result;
	struct quota quota;
	char unique[NAME_SIZE];

	if (!quota_is_limited(&maildir->limits))
		return MAIL_OK;
	result = maildir_quota(maildir, &quota);
	if (result != MAIL_OK || !is_over(&quota, bytes, messages))
		return result;
	maildir_temporary_name(maildir, unique);
	if (!quota_refresh(maildir->root, unique, &quota))
		return maildir_failed(maildir, "count the mail in", ".", "");
	return is_over(&quota, bytes, messages) ? MAIL_OVER_QUOTA : MAIL_OK;
}

/* --- names and small files --- */

void
maildir_temporary_name(struct maildir *maildir, char name[NAME_SIZE])
{
	char prefix[NAME_SIZE];

	name_prefix(clock_wall_us(), maildir->unique++, prefix);
	snprintf(name, NAME_SIZE, "%.60s%.64s", prefix, maildir->host);
}

void
maildir_unique_name(
    struct maildir *maildir, uint64_t size, uint64_t virtual_size, char name[NAME_SIZE])
{
	char prefix[NAME_SIZE];

	name_prefix(clock_wall_us(), maildir->unique++, prefix);
	name_final(prefix, maildir->host, size, virtual_size, name);
}

char *
maildir_read_file(int directory, const char *name, size_t limit, size_t *length)
{
	int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	char *text = NULL;
	struct stat st;
	ssize_t got;
	int error;

	*length = 0;
	if (fd == -1)
		return NULL;
	if (fstat(fd, &st) == -1) {
		error = errno;
	} else if (!S_ISREG(st.st_mode)) {
		error = EINVAL;
	} else if (st.st_size < 0 || (uint64_t)st.st_size > limit) {
		error = EFBIG;
	} else if ((text = malloc((size_t)st.st_size + 1)) == NULL) {
		error = ENOMEM;
	} else {
		error = 0;
		while (*length < (size_t)st.st_size) {
			got = read(fd, text + *length, (size_t)st.st_size - *length);
			if (got == -1 && errno == EINTR)
				continue;
			if (got == -1)
				error = errno;
			if (got <= 0)
				break;
			*length += (size_t)got;
		}
		text[*length] = '\0';
	}
	close(fd);
	if (error != 0) {
		free(text);
		errno = error;
		return NULL;
	}
	return text;
}

enum mail_result
maildir_replace_file(
    struct maildir *maildir, int directory, const char *name, const void *data, size_t length)
{
	enum mail_result result;
	char temporary[NAME_SIZE + 4] = "tmp/";
	int fd;

	maildir_temporary_name(maildir, temporary + 4);
	fd = openat(
	    maildir->root, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd == -1)
		return maildir_failed(maildir, "make a file in", ".", "tmp");
	if (!write_all(fd, data, length) || fsync(fd) == -1) {
		result = maildir_failed(maildir, "write", ".", temporary);
		(void)unlinkat(maildir->root, temporary, 0);
		close(fd);
		return result;
	}
	close(fd);
	if (renameat(maildir->root, temporary, directory, name) == -1) {
		result = maildir_failed(maildir, "put in place", ".", name);
		(void)unlinkat(maildir->root, temporary, 0);
		return result;
	}
	if (fsync(directory) == -1)
		return maildir_failed(maildir, "sync the directory of", ".", name);
	return MAIL_OK;
}

/* --- UIDVALIDITY --- */

/* Dovecot names the last one twice: in the file, and in the name of an empty one beside it, which is
 * renamed with each step. */
uint32_t
maildir_next_uid_validity(struct maildir *maildir)
{
	uint32_t last = 0, next = (uint32_t)clock_wall();
	char *text, marker[64], old[64];
	size_t length;

	text = maildir_read_file(maildir->root, "dovecot-uidvalidity", 16, &length);
	if (text != NULL && length >= 8)
		last = (uint32_t)strtoul(text, NULL, 16);
	free(text);
	if (next <= last && last < UINT32_MAX)
		next = last + 1;
	snprintf(marker, sizeof(marker), "%08" PRIx32, next);
	if (maildir_replace_file(maildir, maildir->root, "dovecot-uidvalidity", marker, 8) !=
	    MAIL_OK)
		return next;
	snprintf(old, sizeof(old), "dovecot-uidvalidity.%08" PRIx32, last);
	snprintf(marker, sizeof(marker), "dovecot-uidvalidity.%08" PRIx32, next);
	if (last == 0 || renameat(maildir->root, old, maildir->root, marker) == -1) {
		int fd = openat(
		    maildir->root, marker, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);

		if (fd != -1)
			close(fd);
	}
	return next;
}
