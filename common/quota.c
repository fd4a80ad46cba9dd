/*
 * maildirsize is a cache of what counting the mailbox would give, shared with other programs that
 * know Maildir++. It is never synced: after a crash it may lack the last deliveries or be torn, and
 * the rules that make it anew heal both. Anything odd in its place (a symbolic link, a FIFO,
 * numbers that overflow) is treated as absent; the new file is renamed over it.
 */
#include <sys/stat.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/maildir_name.h"
#include "common/quota.h"

#define STALE_SECONDS (15 * 60)

/* Takes a decimal number off the front; false when there is none or it passes INT64_MAX. */
static bool
take_number(const char **at, const char *end, int64_t *value)
{
	const char *p = *at;
	bool negative = false;
	int64_t sum = 0;

	if (p < end && *p == '-') {
		negative = true;
		p++;
	}
	if (p == end || !isdigit((unsigned char)*p))
		return false;
	for (; p < end && isdigit((unsigned char)*p); p++) {
		int digit = *p - '0';

		if (sum > (INT64_MAX - digit) / 10)
			return false;
		sum = sum * 10 + digit;
	}
	*value = negative ? -sum : sum;
	*at = p;
	return true;
}

/* "1000S,10C": other letters are other programs' and skipped. */
static bool
parse_limits(const char *at, const char *end, struct quota_limits *limits)
{
	int64_t value;

	while (at < end) {
		if (!take_number(&at, end, &value) || value < 0 || at == end)
			return false;
		if (*at == 'S')
			limits->bytes = (uint64_t)value;
		else if (*at == 'C')
			limits->messages = (uint64_t)value;
		else if (!isalpha((unsigned char)*at))
			return false;
		at++;
		if (at < end && *at++ != ',')
			return false;
	}
	return true;
}

static bool
parse_change(const char *at, const char *end, int64_t *bytes, int64_t *messages)
{
	while (at < end && *at == ' ')
		at++;
	if (!take_number(&at, end, bytes) || at == end || *at != ' ')
		return false;
	while (at < end && *at == ' ')
		at++;
	if (!take_number(&at, end, messages))
		return false;
	while (at < end && *at == ' ')
		at++;
	return at == end;
}

bool
maildirsize_parse(const char *text, size_t length, struct maildirsize *size)
{
	const char *at = text, *end = text + length, *line_end;
	int64_t bytes = 0, messages = 0, more_bytes, more_messages;

	memset(size, 0, sizeof(*size));
	line_end = memchr(at, '\n', length);
	if (line_end == NULL || !parse_limits(at, line_end, &size->limits))
		return false;
	for (at = line_end + 1; at < end; at = line_end + 1) {
		/* A line without an end was torn. */
		line_end = memchr(at, '\n', (size_t)(end - at));
		if (line_end == NULL || !parse_change(at, line_end, &more_bytes, &more_messages) ||
		    __builtin_add_overflow(bytes, more_bytes, &bytes) ||
		    __builtin_add_overflow(messages, more_messages, &messages))
			return false;
		size->lines++;
	}
	if (bytes < 0 || messages < 0 || size->lines == 0)
		return false;
	size->bytes = (uint64_t)bytes;
	size->messages = (uint64_t)messages;
	return true;
}

bool
quota_is_limited(const struct quota_limits *limits)
{
	return limits->bytes != 0 || limits->messages != 0;
}

/* Counts new/ or cur/ of one folder. Absent ones are empty. */
static bool
count_directory(int folder, const char *name, struct quota *quota)
{
	int fd = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct dirent *entry;
	DIR *directory;

	if (fd == -1)
		return errno == ENOENT || errno == ENOTDIR || errno == ELOOP;
	directory = fdopendir(fd);
	if (directory == NULL) {
		close(fd);
		return false;
	}
	while (errno = 0, (entry = readdir(directory)) != NULL) {
		uint64_t size;

		if (entry->d_name[0] == '.' || name_is_trashed(entry->d_name))
			continue;
		if (!name_size(entry->d_name, &size)) {
			struct stat st;

			if (fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == -1 ||
			    !S_ISREG(st.st_mode))
				continue;
			size = (uint64_t)st.st_size;
		}
		if (__builtin_add_overflow(quota->bytes, size, &quota->bytes))
			quota->bytes = UINT64_MAX;
		quota->messages++;
	}
	if (errno != 0) {
		closedir(directory);
		return false;
	}
	closedir(directory);
	return true;
}

static bool
count_folder(int folder, struct quota *quota)
{
	return count_directory(folder, "new", quota) && count_directory(folder, "cur", quota);
}

/* The mailbox and each ".folder" in it, but the trash. */
static bool
count_mailbox(int root, struct quota *quota)
{
	int fd = openat(root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool good = fd != -1 && count_folder(root, quota);
	struct dirent *entry;
	DIR *directory;

	if (!good || (directory = fdopendir(fd)) == NULL) {
		int error = errno;

		if (fd != -1)
			close(fd);
		errno = error;
		return false;
	}
	while (good && (errno = 0, entry = readdir(directory)) != NULL) {
		int folder;

		if (entry->d_name[0] != '.' || strcmp(entry->d_name, ".") == 0 ||
		    strcmp(entry->d_name, "..") == 0 || strcmp(entry->d_name, ".Trash") == 0)
			continue;
		folder = openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (folder == -1)
			continue;
		good = count_folder(folder, quota);
		close(folder);
	}
	good = good && errno == 0;
	closedir(directory);
	return good;
}

/* Writes the counted usage to tmp/ and puts it in place. Not being able to isn't an error. */
static void
store(int root, const char *unique, const struct quota *quota)
{
	char text[128], path[NAME_SIZE + 64];
	size_t length = 0;
	int fd;

	if (quota->limits.bytes != 0)
		length += (size_t)snprintf(text, sizeof(text), "%" PRIu64 "S", quota->limits.bytes);
	if (quota->limits.messages != 0)
		length += (size_t)snprintf(text + length, sizeof(text) - length, "%s%" PRIu64 "C",
		    length > 0 ? "," : "", quota->limits.messages);
	length += (size_t)snprintf(text + length, sizeof(text) - length,
	    "\n%" PRIu64 " %" PRIu64 "\n", quota->bytes, quota->messages);
	snprintf(path, sizeof(path), "tmp/%s.maildirsize", unique);
	(void)unlinkat(root, path, 0);
	fd = openat(root, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd == -1)
		return;
	if (write(fd, text, length) != (ssize_t)length ||
	    renameat(root, path, root, "maildirsize") == -1)
		(void)unlinkat(root, path, 0);
	close(fd);
}

static bool
count_anew(int root, const char *unique, struct quota *quota)
{
	quota->bytes = 0;
	quota->messages = 0;
	if (!count_mailbox(root, quota))
		return false;
	quota->counted = true;
	quota->may_be_stale = false;
	store(root, unique, quota);
	return true;
}

bool
quota_load(int root, const struct quota_limits *limits, const char *unique, struct quota *quota)
{
	char text[MAILDIRSIZE_MAX + 1];
	struct maildirsize size;
	struct stat st;
	ssize_t length = -1;
	int fd;

	memset(quota, 0, sizeof(*quota));
	quota->limits = *limits;
	fd = openat(root, "maildirsize", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd != -1) {
		if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
			length = read(fd, text, sizeof(text));
		close(fd);
	}
	if (length <= 0 || length > MAILDIRSIZE_MAX ||
	    !maildirsize_parse(text, (size_t)length, &size) || size.limits.bytes != limits->bytes ||
	    size.limits.messages != limits->messages)
		return count_anew(root, unique, quota);
	quota->bytes = size.bytes;
	quota->messages = size.messages;
	quota->may_be_stale = size.lines > 1 || st.st_mtime < time(NULL) - STALE_SECONDS;
	return true;
}

bool
quota_refresh(int root, const char *unique, struct quota *quota)
{
	return !quota->may_be_stale || count_anew(root, unique, quota);
}

bool
quota_is_exceeded(const struct quota *quota, uint64_t size)
{
	const struct quota_limits *limits = &quota->limits;

	if (limits->bytes != 0 && (size > limits->bytes || quota->bytes > limits->bytes - size))
		return true;
	return limits->messages != 0 && quota->messages >= limits->messages;
}

void
quota_reply(const struct quota *quota, uint64_t size, const char *mailbox, struct reply *reply)
{
	const struct quota_limits *limits = &quota->limits;
	char bytes[64] = "", messages[64] = "", wanted[64] = "";

	if (limits->bytes != 0 && size > limits->bytes) {
		reply_set(reply, 552, "5.2.3",
		    "message of %" PRIu64
		    " bytes is larger than all of the quota of %.100s: %" PRIu64 " bytes",
		    size, mailbox, limits->bytes);
		return;
	}
	if (limits->bytes != 0)
		snprintf(bytes, sizeof(bytes), "; bytes used: %" PRIu64 " of %" PRIu64,
		    quota->bytes, limits->bytes);
	if (limits->messages != 0)
		snprintf(messages, sizeof(messages), "; messages: %" PRIu64 " of %" PRIu64,
		    quota->messages, limits->messages);
	if (size > 0)
		snprintf(wanted, sizeof(wanted), "; this message: %" PRIu64 " bytes", size);
	reply_set(
	    reply, 452, "4.2.2", "mailbox %.100s is full%s%s%s", mailbox, bytes, messages, wanted);
}

void
quota_append(int root, int64_t bytes, int64_t messages)
{
	char line[64];
	struct stat st;
	int length, fd;
	bool written = false;

	fd = openat(root, "maildirsize", O_WRONLY | O_APPEND | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd == -1)
		return;
	length = snprintf(line, sizeof(line), "%" PRId64 " %" PRId64 "\n", bytes, messages);
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		written = write(fd, line, (size_t)length) == length;
	close(fd);
	if (!written)
		(void)unlinkat(root, "maildirsize", 0);
}
