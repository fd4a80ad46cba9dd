/*
 * The index file, postern.index: a header, the array of messages, their names, the removals, a
 * checksum; as they are in memory, since it never leaves this machine. It saves reading the
 * directories and the uidlist, and is believed only while both are as they were when it was
 * written. It isn't synced: what a crash leaves of it has a wrong checksum or is just old.
 *
 * It is written to a temporary file and renamed, so a reader sees all of one or all of the other.
 */
#include <sys/mman.h>
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/crc32c.h"
#include "common/log.h"
#include "common/write.h"
#include "mailbox/folder_state.h"

#define INDEX_FILE    "postern.index"
#define INDEX_VERSION 2
#define INDEX_MAX     (2048ULL * 1024 * 1024)
#define NAMES_END     3 /* NULs after the names */
#define POPULATE_FROM (1024 * 1024)

static const char magic[8] = "PSTNIDX\n";

struct index_header {
	char magic[8];
	uint32_t version;
	uint32_t order;        /* 0x01020304 on this machine */
	uint32_t message_size; /* sizeof(struct message) */
	uint32_t header_size;
	uint64_t count;
	uint64_t names_length;
	uint64_t vanished_count;
	uint64_t vanished_since;
	uint64_t highest_modseq;
	struct file_state uidlist;
	uint64_t uidlist_taken;
	uint64_t uidlist_records;
	uint32_t uidlist_crc;
	uint32_t uid_validity;
	uint32_t uid_next;
	uint32_t recent;
	int64_t new_ns;
	int64_t cur_ns;
	uint64_t cache_id;
	uint64_t cache_size;
	uint64_t cache_dead;
	uint64_t unseen;
	uint8_t guid[16];
	uint32_t unused;
	uint32_t checksum; /* of what stands before it, for those who read no more */
};

/* Where an index comes from: a file, or with -1 these bytes. */
struct source {
	int fd;
	const uint8_t *data;
	size_t length;
	uint32_t checksum;
};

void
index_content_free(struct folder_content *content)
{
	free(content->messages);
	free(content->names);
	free(content->vanished);
	memset(content, 0, sizeof(*content));
}

uint32_t
index_checksum(const uint8_t *data, size_t length)
{
	return crc32c(0, data, length);
}

static bool
header_is_sound(const struct index_header *header, size_t length)
{
	uint64_t left = length - sizeof(*header) - sizeof(uint32_t);

	if (memcmp(header->magic, magic, sizeof(magic)) != 0 || header->version != INDEX_VERSION ||
	    header->order != 0x01020304 || header->message_size != sizeof(struct message) ||
	    header->header_size != sizeof(*header))
		return false;
	if (header->count > left / sizeof(struct message))
		return false;
	left -= header->count * sizeof(struct message);
	if (header->names_length > left)
		return false;
	left -= header->names_length;
	if (header->vanished_count > VANISHED_MAX ||
	    left != header->vanished_count * sizeof(struct vanished))
		return false;
	return header->unseen <= header->count && header->uid_validity != 0 &&
	    header->uid_next != 0 && header->highest_modseq != 0 &&
	    header->highest_modseq <= INT64_MAX && header->vanished_since <= header->highest_modseq;
}

/*
 * Whatever the offsets are, three strings from there end within the names: the names end with three
 * NULs. And no name leads out of its directory.
 */
static bool
names_are_sound(const struct folder_content *content)
{
	size_t length = content->names_length;

	return length >= NAMES_END && length <= UINT32_MAX &&
	    memcmp(content->names + length - NAMES_END, "\0\0", NAMES_END) == 0 &&
	    memchr(content->names, '/', length) == NULL;
}

static bool
name_is_sound(const struct folder_content *content, uint32_t name)
{
	return name <= content->names_length - NAMES_END && content->names[name] != '\0' &&
	    content->names[name] != '.';
}

static bool
content_is_sound(const struct folder_content *content)
{
	uint64_t modseq = 0;
	uint32_t uid = 0;
	size_t i;

	if (!names_are_sound(content))
		return false;
	for (i = 0; i < content->count; i++) {
		const struct message *message = &content->messages[i];

		if (message->uid <= uid || message->uid >= content->header.uid_next ||
		    message->expunged != 0 || message->modseq == 0 ||
		    message->modseq > content->highest_modseq ||
		    !name_is_sound(content, message->name))
			return false;
		uid = message->uid;
	}
	for (i = 0; i < content->vanished_count; i++) {
		const struct vanished *vanished = &content->vanished[i];

		if (vanished->modseq < modseq || vanished->modseq > content->highest_modseq ||
		    vanished->uid == 0 || vanished->uid >= content->header.uid_next)
			return false;
		modseq = vanished->modseq;
	}
	return content->recent <= content->header.uid_next;
}

static void
take_header(struct folder_content *content, const struct index_header *header)
{
	content->count = header->count;
	content->names_length = header->names_length;
	content->vanished_count = header->vanished_count;
	content->vanished_since = header->vanished_since;
	content->highest_modseq = header->highest_modseq;
	content->uidlist = header->uidlist;
	content->uidlist_taken = header->uidlist_taken;
	content->uidlist_records = header->uidlist_records;
	content->uidlist_crc = header->uidlist_crc;
	content->header.version = 3;
	content->header.uid_validity = header->uid_validity;
	content->header.uid_next = header->uid_next;
	content->header.has_guid = true;
	memcpy(content->header.guid, header->guid, sizeof(header->guid));
	content->recent = header->recent;
	content->unseen = header->unseen;
	content->new_ns = header->new_ns;
	content->cur_ns = header->cur_ns;
	content->cache_id = header->cache_id;
	content->cache_size = header->cache_size;
	content->cache_dead = header->cache_dead;
}

/* Takes the next bytes, and the checksum along. */
static bool
take_part(struct source *source, void *data, size_t length)
{
	uint8_t *at = data;

	while (length > 0) {
		ssize_t got;

		if (source->fd == -1) {
			got = (ssize_t)(length < source->length ? length : source->length);
			if (got > 0)
				memcpy(at, source->data, (size_t)got);
			source->data += got;
			source->length -= (size_t)got;
		} else {
			got = read(source->fd, at, length);
			if (got == -1 && errno == EINTR)
				continue;
		}
		if (got <= 0)
			return false;
		source->checksum = crc32c(source->checksum, at, (size_t)got);
		at += got;
		length -= (size_t)got;
	}
	return true;
}

/* Memory that is filled at once: asked for in one go, it is had in half the time. */
static void *
filled_soon(size_t size)
{
	uint8_t *made = malloc(size);
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
	uintptr_t start = ((uintptr_t)made + page - 1) & ~(page - 1);
	uintptr_t end = ((uintptr_t)made + size) & ~(page - 1);

#ifdef MADV_POPULATE_WRITE
	if (made != NULL && size >= POPULATE_FROM && end > start)
		(void)madvise((void *)start, end - start, MADV_POPULATE_WRITE);
#else
	(void)start;
	(void)end;
#endif
	return made;
}

/* `length`: of all. Each part is read to where it stays, with some room for what comes. */
static bool
take_all(struct source *source, size_t length, struct folder_content *content)
{
	struct index_header header;
	uint32_t checksum, computed;

	memset(content, 0, sizeof(*content));
	if (length < sizeof(header) + sizeof(checksum) ||
	    !take_part(source, &header, sizeof(header)) || !header_is_sound(&header, length))
		return false;
	content->capacity = header.count + 256;
	content->messages = filled_soon(content->capacity * sizeof(struct message));
	content->names_capacity = header.names_length + 32768;
	content->names = filled_soon(content->names_capacity);
	content->vanished = malloc(VANISHED_MAX * sizeof(struct vanished));
	if (content->messages == NULL || content->names == NULL || content->vanished == NULL)
		return false;
	if (!take_part(source, content->messages, header.count * sizeof(struct message)) ||
	    !take_part(source, content->names, header.names_length) ||
	    !take_part(source, content->vanished, header.vanished_count * sizeof(struct vanished)))
		return false;
	computed = source->checksum;
	if (!take_part(source, &checksum, sizeof(checksum)) || checksum != computed)
		return false;
	take_header(content, &header);
	return content_is_sound(content);
}

bool
index_parse(const uint8_t *data, size_t length, struct folder_content *content)
{
	struct source source = { .fd = -1, .data = data, .length = length };

	if (take_all(&source, length, content))
		return true;
	index_content_free(content);
	return false;
}

static void
log_rebuilt(struct folder *folder)
{
	struct log_line line;

	log_begin(&line, LOG_LEVEL_INFO, "mailbox-index-rebuilt");
	log_text(&line, "path", folder->maildir->path);
	log_text(&line, "folder", folder->disk);
	log_text(&line, "reason", "damaged, or of another version");
	log_end(&line);
}

bool
index_begin(struct folder *folder)
{
	struct index_header header;
	struct stat st;

	folder->index =
	    openat(folder->directory, INDEX_FILE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (folder->index == -1)
		return false;
	if (fstat(folder->index, &st) == 0 && S_ISREG(st.st_mode) &&
	    (uint64_t)st.st_size <= INDEX_MAX &&
	    (uint64_t)st.st_size >= sizeof(header) + sizeof(uint32_t) &&
	    pread(folder->index, &header, sizeof(header), 0) == sizeof(header) &&
	    header_is_sound(&header, (size_t)st.st_size) &&
	    header.checksum == crc32c(0, &header, offsetof(struct index_header, checksum))) {
		take_header(&folder->content, &header);
		return true;
	}
	log_rebuilt(folder);
	close(folder->index);
	folder->index = -1;
	return false;
}

bool
index_finish(struct folder *folder)
{
	struct source source = { .fd = folder->index };
	size_t count = folder->content.count;
	struct stat st;
	bool good;

	good = fstat(folder->index, &st) == 0 &&
	    take_all(&source, (size_t)st.st_size, &folder->content) &&
	    folder->content.count == count;
	close(folder->index);
	folder->index = -1;
	if (!good) {
		index_content_free(&folder->content);
		log_rebuilt(folder);
	}
	return good;
}

static bool
write_in_turn(int fd, uint32_t *checksum, const void *data, size_t length)
{
	*checksum = crc32c(*checksum, data, length);
	return write_all(fd, data, length);
}

/* Messages that are there. */
static bool
write_messages(struct folder *folder, int fd, uint32_t *checksum)
{
	const struct folder_content *content = &folder->content;
	size_t start = 0, i;

	for (i = 0; i <= content->count; i++) {
		if (i < content->count && content->messages[i].expunged == 0)
			continue;
		if (i > start &&
		    !write_in_turn(fd, checksum, content->messages + start,
		        (i - start) * sizeof(struct message)))
			return false;
		start = i + 1;
	}
	return true;
}

bool
index_store(struct folder *folder)
{
	struct folder_content *content = &folder->content;
	struct index_header header;
	char temporary[NAME_SIZE];
	uint32_t checksum = 0;
	bool good;
	int fd;

	folder_note_times(folder);
	folder_tidy_names(folder);
	memset(&header, 0, sizeof(header));
	memcpy(header.magic, magic, sizeof(magic));
	header.version = INDEX_VERSION;
	header.order = 0x01020304;
	header.message_size = sizeof(struct message);
	header.header_size = sizeof(header);
	header.count = content->count - folder->expunged;
	header.names_length = content->names_length + NAMES_END;
	header.vanished_count = content->vanished_count;
	header.vanished_since = content->vanished_since;
	header.highest_modseq = content->highest_modseq;
	header.uidlist = content->uidlist;
	header.uidlist_taken = content->uidlist_taken;
	header.uidlist_records = content->uidlist_records;
	header.uidlist_crc = content->uidlist_crc;
	header.uid_validity = content->header.uid_validity;
	header.uid_next = content->header.uid_next;
	memcpy(header.guid, content->header.guid, sizeof(header.guid));
	header.recent = content->recent;
	header.new_ns = content->new_ns;
	header.cur_ns = content->cur_ns;
	header.cache_id = content->cache_id;
	header.cache_size = content->cache_size;
	header.cache_dead = content->cache_dead;
	header.unseen = folder_first_unseen(folder);
	header.checksum = crc32c(0, &header, offsetof(struct index_header, checksum));
	maildir_temporary_name(folder->maildir, temporary);
	fd = openat(
	    folder->tmp, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd == -1) {
		(void)folder_failed(folder, "make a file in", "tmp");
		return false;
	}
	good = write_in_turn(fd, &checksum, &header, sizeof(header)) &&
	    write_messages(folder, fd, &checksum) &&
	    write_in_turn(fd, &checksum, content->names, content->names_length) &&
	    write_in_turn(fd, &checksum, "\0\0", NAMES_END) &&
	    write_in_turn(fd, &checksum, content->vanished,
	        content->vanished_count * sizeof(*content->vanished)) &&
	    write_all(fd, &checksum, sizeof(checksum));
	if (!good || renameat(folder->tmp, temporary, folder->directory, INDEX_FILE) == -1) {
		(void)folder_failed(folder, "write", INDEX_FILE);
		(void)unlinkat(folder->tmp, temporary, 0);
		good = false;
	}
	close(fd);
	return good;
}
