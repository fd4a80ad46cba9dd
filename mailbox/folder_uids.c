/*
 * dovecot-uidlist on the disk. It is read from where the last reading ended, as long as it is the
 * same file; whole, when somebody wrote it anew. What can't be believed (damage, a next uid lower
 * than one that was given out: a backup put back) ends the UIDVALIDITY, never in a uid that stands
 * for two messages.
 */
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/stdlib.h>

#include "common/clock.h"
#include "common/crc32c.h"
#include "common/log.h"
#include "common/write.h"
#include "mailbox/folder_state.h"

#define TEMPORARY     UIDLIST_FILE ".tmp"
#define SCAN_AGAIN_MS 30000

enum mail_result
folder_lock(struct folder *folder, struct lock *lock)
{
	if (folder->detached)
		return MAIL_ABSENT;
	if (!lock_take(lock, folder->directory, UIDLIST_FILE ".lock", folder->maildir->lock_host))
		return folder_failed(folder, "lock", UIDLIST_FILE);
	(void)folder_is_changed(folder);
	return MAIL_OK;
}

enum mail_result
folder_lock_if_possible(struct folder *folder, struct lock *lock)
{
	enum mail_result result = folder_lock(folder, lock);

	if (result != MAIL_NO_SPACE && result != MAIL_READ_ONLY)
		return result;
	folder->unlocked = result;
	(void)folder_is_changed(folder);
	return MAIL_OK;
}

void
folder_unlock(struct folder *folder, struct lock *lock)
{
	folder->unlocked = MAIL_OK;
	/* Without a watch what was changed here is told from what others change by time alone:
	 * nobody else is expected to have done anything under the lock, but that isn't sure. */
	if (folder->watch_cur == -1 && !folder->new_changed && !folder->cur_changed) {
		folder_note_times(folder);
		if (folder->scan_due_ms == 0)
			folder->scan_due_ms = clock_monotonic_ms() + SCAN_AGAIN_MS;
	}
	lock_drop(lock);
}

void
uidlist_news_free(struct uidlist_news *news)
{
	free(news->text);
	free(news->records);
	memset(news, 0, sizeof(*news));
}

static void
note_state(struct file_state *state, const struct stat *st)
{
	state->inode = st->st_ino;
	state->size = (uint64_t)st->st_size;
	state->changed_ns = folder_time_ns(&st->st_mtim);
}

bool
uidlist_is_known(struct folder *folder)
{
	const struct file_state *known = &folder->content.uidlist;
	struct stat st;

	return fstatat(folder->directory, UIDLIST_FILE, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    st.st_ino == known->inode && (uint64_t)st.st_size == known->size &&
	    folder_time_ns(&st.st_mtim) == known->changed_ns;
}

/* Reads exactly these bytes; false when they aren't there. */
static bool
read_at(int fd, void *data, size_t length, uint64_t offset)
{
	uint8_t *at = data;

	while (length > 0) {
		ssize_t got = pread(fd, at, length, (off_t)offset);

		if (got == -1 && errno == EINTR)
			continue;
		if (got <= 0)
			return false;
		at += got;
		offset += (uint64_t)got;
		length -= (size_t)got;
	}
	return true;
}

/* Of the first bytes, which tell N and V, and of the last ones before `taken`. */
static uint32_t
fingerprint(int fd, uint64_t taken)
{
	uint8_t data[768];
	size_t first = taken < 256 ? (size_t)taken : 256, last = taken < 512 ? (size_t)taken : 512;

	if (!read_at(fd, data, first, 0) || !read_at(fd, data + first, last, taken - last))
		return 0;
	return crc32c(0, data, first + last);
}

/* Puts a list of these records in place, synced; header and identity are then known. */
static enum mail_result
rewrite(struct folder *folder, const struct uidlist_record *records, size_t count)
{
	struct folder_content *content = &folder->content;
	enum mail_result result = MAIL_OK;
	struct buf text;
	struct stat st;
	size_t i;
	int fd;

	if (folder->unlocked != MAIL_OK)
		return folder->unlocked;
	content->header.version = 3;
	if (!content->header.has_guid) {
		arc4random_buf(content->header.guid, sizeof(content->header.guid));
		content->header.has_guid = true;
	}
	buf_init(&text, UIDLIST_MAX);
	uidlist_format_header(&text, &content->header);
	for (i = 0; i < count; i++)
		uidlist_format_record(&text, &records[i]);
	if (!buf_ok(&text)) {
		buf_free(&text);
		errno = ENOMEM;
		return folder_failed(folder, "write", UIDLIST_FILE);
	}
	(void)unlinkat(folder->directory, TEMPORARY, 0);
	fd = openat(
	    folder->directory, TEMPORARY, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd == -1 || !write_all(fd, text.data, text.length) || fsync(fd) == -1 ||
	    fstat(fd, &st) == -1 ||
	    renameat(folder->directory, TEMPORARY, folder->directory, UIDLIST_FILE) == -1 ||
	    fsync(folder->directory) == -1) {
		result = folder_failed(folder, "write", UIDLIST_FILE);
		(void)unlinkat(folder->directory, TEMPORARY, 0);
	} else {
		note_state(&content->uidlist, &st);
		content->uidlist_taken = text.length;
		content->uidlist_records = count;
		content->uidlist_crc = fingerprint(fd, text.length);
		folder->unsaved = true;
	}
	if (fd != -1)
		close(fd);
	buf_free(&text);
	return result;
}

/* The list is of no use: a new one, with a new UIDVALIDITY. MAIL_ABSENT when uids were known. */
static enum mail_result
begin_anew(struct folder *folder, const char *why)
{
	bool was_known = folder->content.header.uid_validity != 0;
	enum mail_result result;
	struct log_line line;

	if (was_known) {
		/* Nothing of this object is of use; whoever opens the folder next makes the list. */
		log_begin(&line, LOG_LEVEL_WARNING, "mailbox-uids-lost");
		log_text(&line, "path", folder->maildir->path);
		log_text(&line, "folder", folder->disk);
		log_text(&line, "reason", why);
		log_end(&line);
	}
	folder->content.header.uid_validity = maildir_next_uid_validity(folder->maildir);
	folder->content.header.uid_next = 1;
	result = rewrite(folder, NULL, 0);
	if (result != MAIL_OK)
		return result;
	if (strcmp(why, "absent") != 0 || was_known) {
		log_begin(&line, LOG_LEVEL_WARNING, "mailbox-uids-anew");
		log_text(&line, "path", folder->maildir->path);
		log_text(&line, "folder", folder->disk);
		log_text(&line, "reason", why);
		log_number(&line, "uidvalidity", folder->content.header.uid_validity);
		log_end(&line);
	}
	return was_known ? MAIL_ABSENT : MAIL_OK;
}

struct collector {
	struct uidlist_news *news;
	size_t capacity;
	bool failed;
};

static void
collect(void *arg, const struct uidlist_record *record)
{
	struct collector *collector = arg;
	struct uidlist_news *news = collector->news;

	if (news->count == collector->capacity && !collector->failed) {
		size_t capacity = collector->capacity == 0 ? 256 : collector->capacity * 2;
		struct uidlist_record *grown =
		    reallocarray(news->records, capacity, sizeof(*grown));

		if (grown == NULL) {
			collector->failed = true;
			return;
		}
		news->records = grown;
		collector->capacity = capacity;
	}
	if (!collector->failed)
		news->records[news->count++] = *record;
}

static bool
take_text(int fd, uint64_t from, uint64_t to, struct uidlist_news *news)
{
	news->text = malloc((size_t)(to - from) + 1);
	if (news->text == NULL || !read_at(fd, news->text, (size_t)(to - from), from)) {
		uidlist_news_free(news);
		return false;
	}
	news->text[to - from] = '\0';
	return true;
}

/* The same file, longer: only what is new. False when it has to be read whole. */
static bool
read_rest(struct folder *folder, int fd, const struct stat *st, struct uidlist_news *news)
{
	struct folder_content *content = &folder->content;
	struct collector collector = { .news = news };
	struct uidlist_header header = content->header;
	size_t taken;

	if (st->st_ino != content->uidlist.inode ||
	    (uint64_t)st->st_size < content->uidlist_taken || content->uidlist_taken == 0 ||
	    fingerprint(fd, content->uidlist_taken) != content->uidlist_crc ||
	    !take_text(fd, content->uidlist_taken, (uint64_t)st->st_size, news))
		return false;
	if (uidlist_parse_records(news->text, (size_t)st->st_size - content->uidlist_taken, &header,
	        collect, &collector, &taken) != UIDLIST_SOUND ||
	    collector.failed ||
	    (news->count > 0 && news->records[0].uid < content->header.uid_next)) {
		uidlist_news_free(news);
		return false;
	}
	content->header.uid_next = header.uid_next;
	content->uidlist_taken += taken;
	content->uidlist_records += news->count;
	return true;
}

static enum mail_result
read_whole(struct folder *folder, int fd, const struct stat *st, struct uidlist_news *news)
{
	struct folder_content *content = &folder->content;
	struct collector collector = { .news = news };
	struct uidlist_header header;
	enum uidlist_verdict verdict;
	size_t taken, header_length;

	news->whole = true;
	if (st->st_size > UIDLIST_MAX)
		return begin_anew(folder, "too large");
	if (!take_text(fd, 0, (uint64_t)st->st_size, news))
		return folder_failed(folder, "read", UIDLIST_FILE);
	header_length = uidlist_parse_header(news->text, (size_t)st->st_size, &header);
	if (header_length == 0)
		return begin_anew(folder, "its first line makes no sense");
	verdict = uidlist_parse_records(news->text + header_length,
	    (size_t)st->st_size - header_length, &header, collect, &collector, &taken);
	if (collector.failed) {
		errno = ENOMEM;
		return folder_failed(folder, "read", UIDLIST_FILE);
	}
	if (verdict == UIDLIST_DAMAGED) {
		news->count = 0;
		return begin_anew(folder, "a line makes no sense or its uid isn't above the last");
	}
	if (content->header.uid_validity != 0) {
		if (header.uid_validity != content->header.uid_validity) {
			news->count = 0;
			return MAIL_ABSENT;
		}
		if (header.uid_next < content->header.uid_next) {
			news->count = 0;
			return begin_anew(folder, "it is older than the uids given out");
		}
	}
	content->header = header;
	content->uidlist_taken = header_length + taken;
	content->uidlist_records = news->count;
	if (verdict == UIDLIST_TORN || header.version != 3 || !header.has_guid)
		return rewrite(folder, news->records, news->count);
	return MAIL_OK;
}

enum mail_result
uidlist_refresh(struct folder *folder, struct uidlist_news *news)
{
	struct folder_content *content = &folder->content;
	enum mail_result result = MAIL_OK;
	struct stat st;
	int fd;

	memset(news, 0, sizeof(*news));
	if (content->uidlist_taken != 0 && uidlist_is_known(folder))
		return MAIL_OK;
	fd =
	    openat(folder->directory, UIDLIST_FILE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd == -1 && errno == ENOENT) {
		news->whole = true;
		return begin_anew(folder, "absent");
	}
	if (fd == -1 || fstat(fd, &st) == -1 || !S_ISREG(st.st_mode)) {
		if (fd != -1)
			close(fd);
		/* It is in the way: what isn't a directory is replaced. */
		news->whole = true;
		return begin_anew(folder, "not a file that can be read");
	}
	if (!read_rest(folder, fd, &st, news))
		result = read_whole(folder, fd, &st, news);
	/* Where it was written anew, that noted its state. */
	if (result == MAIL_OK && st.st_ino != content->uidlist.inode &&
	    content->uidlist.inode != 0 && news->whole && uidlist_is_known(folder)) {
		close(fd);
		return MAIL_OK;
	}
	if (result == MAIL_OK) {
		note_state(&content->uidlist, &st);
		content->uidlist_crc = fingerprint(fd, content->uidlist_taken);
		folder->unsaved = true;
	}
	close(fd);
	return result;
}

enum mail_result
uidlist_append(struct folder *folder, const struct uidlist_record *records, size_t count)
{
	struct folder_content *content = &folder->content;
	enum mail_result result = MAIL_OK;
	struct buf text;
	struct stat st;
	size_t i;
	int fd;

	if (count == 0 || folder->unlocked != MAIL_OK)
		return count == 0 ? MAIL_OK : folder->unlocked;
	buf_init(&text, UIDLIST_MAX);
	for (i = 0; i < count; i++)
		uidlist_format_record(&text, &records[i]);
	fd = openat(folder->directory, UIDLIST_FILE, O_RDWR | O_APPEND | O_NOFOLLOW | O_CLOEXEC);
	if (fd == -1 || fstat(fd, &st) == -1 || !buf_ok(&text) ||
	    st.st_ino != content->uidlist.inode || (uint64_t)st.st_size != content->uidlist_taken) {
		errno = fd == -1 ? errno : ESTALE;
		result = folder_failed(folder, "append to", UIDLIST_FILE);
	} else if (!write_all(fd, text.data, text.length) || fdatasync(fd) == -1) {
		result = folder_failed(folder, "append to", UIDLIST_FILE);
		/* What stays is found torn by the next reader. */
		if (ftruncate(fd, st.st_size) == -1)
			(void)folder_failed(folder, "shorten", UIDLIST_FILE);
	} else {
		content->header.uid_next = records[count - 1].uid + 1;
		content->uidlist_taken += text.length;
		content->uidlist_records += count;
		if (fstat(fd, &st) == 0)
			note_state(&content->uidlist, &st);
		content->uidlist_crc = fingerprint(fd, content->uidlist_taken);
		folder->unsaved = true;
	}
	if (fd != -1)
		close(fd);
	buf_free(&text);
	return result;
}

void
uidlist_tidy(struct folder *folder)
{
	struct folder_content *content = &folder->content;
	size_t live = content->count - folder->expunged, kept = 0, i;
	struct collector collector;
	struct uidlist_news news;
	struct uidlist_header header;
	size_t length, header_length, taken;

	if (content->uidlist_records < 2 * live + 1000 || folder->unlocked != MAIL_OK ||
	    !uidlist_is_known(folder))
		return;
	memset(&news, 0, sizeof(news));
	news.text = maildir_read_file(folder->directory, UIDLIST_FILE, UIDLIST_MAX, &length);
	if (news.text == NULL)
		return;
	collector = (struct collector){ .news = &news };
	header_length = uidlist_parse_header(news.text, length, &header);
	if (header_length != 0 &&
	    uidlist_parse_records(news.text + header_length, length - header_length, &header,
	        collect, &collector, &taken) == UIDLIST_SOUND &&
	    !collector.failed) {
		for (i = 0; i < news.count; i++) {
			if (folder_find(folder, news.records[i].uid) != NULL)
				news.records[kept++] = news.records[i];
		}
		/* A failure leaves the old one, and was logged. */
		(void)rewrite(folder, news.records, kept);
	}
	uidlist_news_free(&news);
}
