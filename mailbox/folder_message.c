/*
 * One message of an open folder: its file, and what only the file can say. A file is opened by the
 * name it had when the directory was last read; if it isn't there any more the directory is read
 * again, once.
 */
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mailbox/folder_state.h"

#define CHUNK 65536

/* When a message was read last is of no use: noting it would cost as much as reading it. */
static int
open_file(struct folder *folder, const struct message *message)
{
	int directory = (message->bits & MESSAGE_IN_NEW) != 0 ? folder->new : folder->cur, fd;
	int flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
	char name[512];

	folder_disk_name(folder, message, name);
	fd = openat(directory, name, flags | O_NOATIME);
	if (fd == -1 && errno == EPERM) /* somebody else's file */
		fd = openat(directory, name, flags);
	return fd;
}

enum mail_result
folder_message_open(struct folder *folder, uint32_t uid, int *fd, uint64_t *size)
{
	struct message *message = folder_find(folder, uid);
	enum mail_result result;
	struct stat st;
	bool again = true;

	for (;;) {
		if (message == NULL)
			return MAIL_EXPUNGED;
		*fd = open_file(folder, message);
		if (*fd != -1)
			break;
		if (errno != ENOENT)
			return folder_failed(folder, "open", folder_message_name(folder, message));
		if (!again)
			return MAIL_EXPUNGED;
		again = false;
		folder->new_changed = folder->cur_changed = true;
		result = folder_sync(folder);
		if (result != MAIL_OK)
			return result == MAIL_ABSENT ? MAIL_EXPUNGED : result;
		message = folder_find(folder, uid);
	}
	if (fstat(*fd, &st) == -1 || !S_ISREG(st.st_mode)) {
		close(*fd);
		*fd = -1;
		return MAIL_EXPUNGED;
	}
	*size = (uint64_t)st.st_size;
	/* The file counts, not what its name says. */
	if (message->size != *size) {
		if (message->size != UINT64_MAX) {
			message->added = UINT32_MAX;
			message->cached = 0;
		}
		message->size = *size;
		folder->unsaved = true;
	}
	return MAIL_OK;
}

/* How many line ends lack their CR. */
static bool
count_added(int fd, uint32_t *added)
{
	char *chunk = malloc(CHUNK);
	bool after_cr = false;
	uint64_t count = 0;
	ssize_t got = -1;

	while (chunk != NULL && (got = read(fd, chunk, CHUNK)) != 0) {
		const char *at = chunk, *end = chunk + got, *line_end;

		if (got == -1 && errno == EINTR)
			continue;
		if (got == -1)
			break;
		for (; (line_end = memchr(at, '\n', (size_t)(end - at))) != NULL; at = line_end + 1)
			count += line_end == chunk ? !after_cr : line_end[-1] != '\r';
		after_cr = end[-1] == '\r';
	}
	free(chunk);
	*added = count < UINT32_MAX ? (uint32_t)count : UINT32_MAX - 1;
	return got == 0;
}

enum mail_result
folder_message_size(struct folder *folder, struct message *message, uint64_t *size)
{
	uint32_t uid = message->uid, added;
	enum mail_result result;
	uint64_t bytes;
	bool good;
	int fd;

	*size = 0;
	if (message->added == UINT32_MAX || message->size == UINT64_MAX) {
		result = folder_message_open(folder, uid, &fd, &bytes);
		if (result != MAIL_OK)
			return result;
		good = count_added(fd, &added);
		/* Opening may have moved it. */
		message = folder_find(folder, uid);
		if (message == NULL)
			result = MAIL_EXPUNGED;
		else if (!good)
			result =
			    folder_failed(folder, "read", folder_message_name(folder, message));
		close(fd);
		if (result != MAIL_OK)
			return result;
		message->size = bytes;
		message->added = added;
		folder->unsaved = true;
	}
	*size = message->size + message->added;
	return MAIL_OK;
}

uint64_t
folder_file_size(struct folder *folder, const struct message *message)
{
	char name[512];
	struct stat st;

	if (message->size != UINT64_MAX)
		return message->size;
	folder_disk_name(folder, message, name);
	return fstatat((message->bits & MESSAGE_IN_NEW) != 0 ? folder->new : folder->cur, name, &st,
	           AT_SYMLINK_NOFOLLOW) == 0
	    ? (uint64_t)st.st_size
	    : 0;
}

static uint32_t
stored_time(int64_t time)
{
	return time < 1 ? 1 : time > UINT32_MAX ? UINT32_MAX : (uint32_t)time;
}

enum mail_result
folder_message_dates(
    struct folder *folder, struct message *message, int64_t *internal, int64_t *saved)
{
	uint32_t uid = message->uid;
	enum mail_result result;
	struct stat st;
	uint64_t size;
	int fd;

	if (message->internal_date == 0 || message->save_date == 0) {
		result = folder_message_open(folder, uid, &fd, &size);
		if (result != MAIL_OK)
			return result;
		message = folder_find(folder, uid);
		if (fstat(fd, &st) == -1 || message == NULL) {
			close(fd);
			return MAIL_EXPUNGED;
		}
		close(fd);
		if (message->internal_date == 0)
			message->internal_date = stored_time(st.st_mtime);
		if (message->save_date == 0)
			message->save_date = stored_time(st.st_ctime);
		folder->unsaved = true;
	}
	*internal = message->internal_date;
	*saved = message->save_date;
	return MAIL_OK;
}

/* FNV-1a, 128 bits: names are ours or the mailbox owner's own, nobody gains by two alike. */
void
folder_message_email_id(struct folder *folder, const struct message *message, char id[34])
{
	const unsigned __int128 prime = (unsigned __int128)1 << 88 | 0x13b;
	unsigned __int128 hash =
	    (unsigned __int128)0x6c62272e07bb0142ULL << 64 | 0x62b821756295c58dULL;
	const char *guid = folder_guid(folder, message);

	if (*guid == '\0')
		guid = folder_message_name(folder, message);
	for (; *guid != '\0'; guid++)
		hash = (hash ^ (uint8_t)*guid) * prime;
	snprintf(id, 34, "M%016" PRIx64 "%016" PRIx64, (uint64_t)(hash >> 64), (uint64_t)hash);
}

/* --- removals, for QRESYNC --- */

static int
compare_numbers(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return left < right ? -1 : left > right;
}

struct ranges {
	struct uid_range *ranges;
	size_t count;
	size_t capacity;
};

static bool
add_range(struct ranges *ranges, uint32_t first, uint32_t last)
{
	struct uid_range *before = ranges->count == 0 ? NULL : &ranges->ranges[ranges->count - 1];

	if (before != NULL && before->last + 1 == first) {
		before->last = last;
		return true;
	}
	if (ranges->count == ranges->capacity) {
		size_t capacity = ranges->capacity * 2 + 16;
		struct uid_range *grown = reallocarray(ranges->ranges, capacity, sizeof(*grown));

		if (grown == NULL)
			return false;
		ranges->ranges = grown;
		ranges->capacity = capacity;
	}
	ranges->ranges[ranges->count++] = (struct uid_range){ first, last };
	return true;
}

/* The part of first to last that is known to the client. */
static bool
add_known(struct ranges *ranges, uint32_t first, uint32_t last, const struct uid_range *known,
    size_t known_count, size_t *at)
{
	if (known == NULL)
		return add_range(ranges, first, last);
	while (*at < known_count && known[*at].last < first)
		++*at;
	for (size_t i = *at; i < known_count && known[i].first <= last; i++) {
		if (!add_range(ranges, known[i].first > first ? known[i].first : first,
		        known[i].last < last ? known[i].last : last))
			return false;
	}
	return true;
}

/* All uids that are no message's. */
static bool
add_gaps(
    struct folder *folder, struct ranges *ranges, const struct uid_range *known, size_t known_count)
{
	const struct folder_content *content = &folder->content;
	uint32_t next = 1;
	size_t at = 0, i;

	for (i = 0; i < content->count; i++) {
		const struct message *message = &content->messages[i];

		if (message->expunged != 0)
			continue;
		if (message->uid > next &&
		    !add_known(ranges, next, message->uid - 1, known, known_count, &at))
			return false;
		next = message->uid + 1;
	}
	return content->header.uid_next <= next ||
	    add_known(ranges, next, content->header.uid_next - 1, known, known_count, &at);
}

bool
folder_vanished(struct folder *folder, uint64_t modseq, const struct uid_range *known,
    size_t known_count, struct uid_range **ranges, size_t *count)
{
	const struct folder_content *content = &folder->content;
	struct ranges result = { .ranges = NULL };
	uint32_t *uids;
	size_t i, n = 0, at = 0;
	bool good = true;

	*ranges = NULL;
	*count = 0;
	if (modseq < content->vanished_since) {
		good = add_gaps(folder, &result, known, known_count);
	} else {
		uids = calloc(content->vanished_count + 1, sizeof(*uids));
		if (uids == NULL)
			return false;
		for (i = content->vanished_count; i-- > 0 && content->vanished[i].modseq > modseq;)
			uids[n++] = content->vanished[i].uid;
		qsort(uids, n, sizeof(*uids), compare_numbers);
		for (i = 0; good && i < n; i++)
			good = add_known(&result, uids[i], uids[i], known, known_count, &at);
		free(uids);
	}
	if (!good) {
		free(result.ranges);
		return false;
	}
	*ranges = result.ranges;
	*count = result.count;
	return true;
}
