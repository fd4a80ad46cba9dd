/*
 * Messages that come from a client: written to tmp/ while they come, put in place together.
 *
 * CRLF becomes LF, as in all that the mda stores. The size as sent is counted while writing and
 * goes into the name, so that no reader has to count it again.
 */
#include <sys/inotify.h>
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/write.h"
#include "mailbox/folder_place.h"

#define BUFFER_SIZE 32768

struct append {
	struct folder *folder;
	int fd;
	char temporary[NAME_SIZE]; /* "" when it isn't there any more */
	enum mail_result result;
	uint32_t bits;
	int64_t internal_date;
	uint64_t size;
	uint32_t added;
	bool pending_cr; /* the last byte taken was a CR that isn't written yet */
	char last;       /* written */
	size_t used;
	char buffer[BUFFER_SIZE];
};

enum mail_result
append_begin(struct folder *folder, uint64_t expected, struct append **made)
{
	/* Every second byte may be a CR that isn't stored. */
	enum mail_result result = maildir_has_room(folder->maildir, expected - expected / 2, 1);
	struct append *append;

	*made = NULL;
	if (folder->detached)
		return MAIL_ABSENT;
	if (result != MAIL_OK)
		return result;
	append = malloc(sizeof(*append));
	if (append == NULL)
		return MAIL_FAILED;
	memset(append, 0, offsetof(struct append, buffer));
	append->folder = folder;
	maildir_temporary_name(folder->maildir, append->temporary);
	append->fd = openat(folder->tmp, append->temporary,
	    O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (append->fd == -1) {
		free(append);
		return folder_failed(folder, "make a file in", "tmp");
	}
	*made = append;
	return MAIL_OK;
}

static void
flush(struct append *append)
{
	if (append->result == MAIL_OK && append->used > 0 &&
	    !write_all(append->fd, append->buffer, append->used))
		append->result = folder_failed(append->folder, "write to", "tmp");
	append->used = 0;
}

static void
put(struct append *append, const char *data, size_t length)
{
	while (length > 0) {
		size_t part = BUFFER_SIZE - append->used;

		if (part > length)
			part = length;
		memcpy(append->buffer + append->used, data, part);
		append->used += part;
		append->size += part;
		append->last = data[part - 1];
		data += part;
		length -= part;
		if (append->used == BUFFER_SIZE)
			flush(append);
	}
}

/* Text without a CR in it. */
static void
put_lines(struct append *append, const char *data, size_t length)
{
	const char *at = data, *end = data + length, *line_end;

	for (; (line_end = memchr(at, '\n', (size_t)(end - at))) != NULL; at = line_end + 1) {
		char before = line_end > data ? line_end[-1] : append->last;

		if (before != '\r' && append->added < UINT32_MAX - 1)
			append->added++;
	}
	put(append, data, length);
}

void
append_write(struct append *append, const void *bytes, size_t length)
{
	const char *data = bytes, *end = data + length;

	if (append->result != MAIL_OK)
		return;
	while (data < end) {
		const char *cr;

		if (append->pending_cr) {
			append->pending_cr = false;
			if (*data != '\n')
				put(append, "\r", 1);
		}
		cr = memchr(data, '\r', (size_t)(end - data));
		put_lines(append, data, (size_t)((cr == NULL ? end : cr) - data));
		if (cr == NULL)
			break;
		append->pending_cr = true;
		data = cr + 1;
	}
}

void
append_set(struct append *append, uint32_t bits, int64_t internal_date)
{
	append->bits = bits & (MESSAGE_FLAGS | MESSAGE_KEYWORDS);
	append->internal_date = internal_date;
}

void
append_free(struct append *append)
{
	if (append == NULL)
		return;
	/* What stays is removed by the mda's tidying some day. */
	if (append->temporary[0] != '\0')
		(void)unlinkat(append->folder->tmp, append->temporary, 0);
	close(append->fd);
	free(append);
}

/* All of it is on the disk, with its date. */
static enum mail_result
finish(struct append *append)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_NOW } };

	if (append->pending_cr && append->result == MAIL_OK)
		put(append, "\r", 1);
	append->pending_cr = false;
	flush(append);
	if (append->result != MAIL_OK)
		return append->result;
	if (append->internal_date != 0)
		times[1] = (struct timespec){ .tv_sec = append->internal_date };
	/* fdatasync() needn't write the date. */
	if (futimens(append->fd, times) == -1 || fsync(append->fd) == -1)
		append->result = folder_failed(append->folder, "sync a file in", "tmp");
	return append->result;
}

static enum mail_result
place_all(
    struct folder *folder, struct append *const *appends, struct placing *placing, size_t count)
{
	enum mail_result result = place_give_uids(folder, placing, count);
	char name[512];
	size_t i;

	if (result != MAIL_OK)
		return result;
	for (i = 0; i < count; i++) {
		place_disk_name(&placing[i], name);
		if (renameat(folder->tmp, appends[i]->temporary, folder->cur, name) == -1) {
			result = folder_failed(folder, "move to cur", name);
			place_undo(folder, placing, i);
			return result;
		}
		appends[i]->temporary[0] = '\0';
		placing[i].placed = true;
		maildir_expect(folder->maildir, folder, true, IN_MOVED_TO, name);
	}
	if (fsync(folder->cur) == -1) {
		result = folder_failed(folder, "sync", "cur");
		place_undo(folder, placing, count);
	}
	return result;
}

enum mail_result
folder_append(struct folder *folder, struct append *const *appends, size_t count, uint32_t *uids)
{
	struct placing *placing = calloc(count + 1, sizeof(*placing));
	enum mail_result result = MAIL_OK;
	struct lock lock;
	uint64_t bytes = 0;
	size_t i;

	if (placing == NULL)
		return MAIL_FAILED;
	for (i = 0; i < count && result == MAIL_OK; i++) {
		struct append *append = appends[i];

		result = finish(append);
		placing[i].size = append->size;
		placing[i].added = append->added;
		placing[i].bits = append->bits;
		if (append->internal_date > 0)
			placing[i].internal_date = append->internal_date > UINT32_MAX
			    ? UINT32_MAX
			    : (uint32_t)append->internal_date;
		folder_usual_info(append->bits, placing[i].info);
		bytes += append->size;
	}
	if (result == MAIL_OK)
		result = maildir_has_room(folder->maildir, bytes, count);
	if (result == MAIL_OK)
		result = place_lock(folder, &lock);
	if (result == MAIL_OK) {
		result = place_all(folder, appends, placing, count);
		if (result == MAIL_OK)
			place_take(folder, placing, count);
		folder_unlock(folder, &lock);
	}
	for (i = 0; result == MAIL_OK && i < count; i++) {
		uids[i] = placing[i].uid;
		if ((placing[i].bits & MESSAGE_DELETED) == 0)
			folder_account(folder, (int64_t)placing[i].size, 1);
	}
	free(placing);
	return result;
}
