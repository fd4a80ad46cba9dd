/*
 * The cache file, postern.cache: what was found out about messages, appended as it is found out.
 * A record says which message and what it is, and where the message's record before it lies; the
 * message itself says where its last one lies. A record has a checksum of its own, and the file an
 * id that the index must know: with anything odd there is nothing cached, and it is found out again.
 *
 *	file:   magic, id
 *	record: crc32c of all that follows, uid, length, where the one before it is, kind; data
 *
 * Records begin at multiples of 8, so that four bytes a message say where within 32 GiB.
 */
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/stdlib.h>

#include "common/crc32c.h"
#include "common/write.h"
#include "mailbox/folder_state.h"

#define CACHE_FILE "postern.cache"
#define CACHE_MAX  (8ULL * 1024 * 1024 * 1024)
#define CHAIN_MAX  16
#define GUESS      1024 /* most records are read in one go */
#define TIDY_FROM  (4 * 1024 * 1024)

static const char magic[8] = "PSTNCCH\n";

struct file_header {
	char magic[8];
	uint64_t id;
};

struct record {
	uint32_t crc;
	uint32_t uid;
	uint32_t length;
	uint32_t before; /* in units of 8 bytes; 0 none */
	uint32_t kind;
	uint32_t unused;
};

void
cache_close(struct folder *folder)
{
	if (folder->cache != -1)
		close(folder->cache);
	folder->cache = -1;
}

static void
forget_all(struct folder *folder)
{
	size_t i;

	cache_close(folder);
	for (i = 0; i < folder->content.count; i++)
		folder->content.messages[i].cached = 0;
	folder->content.cache_id = folder->content.cache_size = folder->content.cache_dead = 0;
	folder->unsaved = true;
}

/* The file that the index knows. */
static bool
cache_open(struct folder *folder)
{
	struct folder_content *content = &folder->content;
	struct file_header header;
	struct stat st;

	if (folder->cache != -1)
		return true;
	if (content->cache_id == 0)
		return false;
	folder->cache =
	    openat(folder->directory, CACHE_FILE, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (folder->cache != -1 && fstat(folder->cache, &st) == 0 && S_ISREG(st.st_mode) &&
	    (uint64_t)st.st_size >= content->cache_size &&
	    pread(folder->cache, &header, sizeof(header), 0) == sizeof(header) &&
	    memcmp(header.magic, magic, sizeof(magic)) == 0 && header.id == content->cache_id)
		return true;
	forget_all(folder);
	return false;
}

static bool
cache_create(struct folder *folder)
{
	struct folder_content *content = &folder->content;
	struct file_header header;
	int fd;

	forget_all(folder);
	(void)unlinkat(folder->directory, CACHE_FILE, 0);
	fd = openat(folder->directory, CACHE_FILE,
	    O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd == -1)
		return false;
	memcpy(header.magic, magic, sizeof(magic));
	header.id = (uint64_t)arc4random() << 32 | arc4random() | 1;
	if (!write_all(fd, &header, sizeof(header))) {
		(void)unlinkat(folder->directory, CACHE_FILE, 0);
		close(fd);
		return false;
	}
	folder->cache = fd;
	content->cache_id = header.id;
	content->cache_size = sizeof(header);
	return true;
}

/* Reads a record whole into folder->cached; false when it isn't sound. */
static bool
read_record(struct folder *folder, uint32_t at, uint32_t uid, struct record *record)
{
	off_t offset = (off_t)at * 8;
	ssize_t got;
	size_t whole;

	if (folder->cached == NULL &&
	    (folder->cached = malloc(sizeof(*record) + CACHED_MAX)) == NULL)
		return false;
	got = pread(folder->cache, folder->cached, GUESS, offset);
	if (got < (ssize_t)sizeof(*record))
		return false;
	memcpy(record, folder->cached, sizeof(*record));
	if (record->uid != uid || record->length > CACHED_MAX || record->kind >= CACHED_KINDS ||
	    record->before >= at)
		return false;
	whole = sizeof(*record) + record->length;
	if (whole > (size_t)got &&
	    pread(folder->cache, folder->cached + got, whole - (size_t)got, offset + got) !=
	        (ssize_t)(whole - (size_t)got))
		return false;
	return crc32c(0, folder->cached + sizeof(record->crc), whole - sizeof(record->crc)) ==
	    record->crc;
}

bool
folder_cache_get(struct folder *folder, const struct message *message, enum folder_cached kind,
    const void **data, size_t *length)
{
	uint32_t at = message->cached;
	struct record record;
	unsigned i;

	if (at == 0 || !cache_open(folder))
		return false;
	for (i = 0; i < CHAIN_MAX && at != 0; i++) {
		if (!read_record(folder, at, message->uid, &record))
			return false;
		if (record.kind == (uint32_t)kind) {
			*data = folder->cached + sizeof(record);
			*length = record.length;
			return true;
		}
		at = record.before;
	}
	return false;
}

void
folder_cache_put(struct folder *folder, struct message *message, enum folder_cached kind,
    const void *data, size_t length)
{
	struct folder_content *content = &folder->content;
	uint64_t at;
	struct record *record;
	size_t whole = sizeof(*record) + length, padded = (whole + 7) / 8 * 8;

	if (length > CACHED_MAX || folder->detached ||
	    (!cache_open(folder) && !cache_create(folder)))
		return;
	at = (content->cache_size + 7) / 8 * 8;
	if (at + padded > CACHE_MAX)
		return;
	record = calloc(1, padded);
	if (record == NULL)
		return;
	record->uid = message->uid;
	record->length = (uint32_t)length;
	record->before = message->cached;
	record->kind = (uint32_t)kind;
	memcpy(record + 1, data, length);
	record->crc =
	    crc32c(0, (uint8_t *)record + sizeof(record->crc), whole - sizeof(record->crc));
	if (pwrite(folder->cache, record, padded, (off_t)at) == (ssize_t)padded) {
		content->cache_size = at + padded;
		message->cached = (uint32_t)(at / 8);
		folder->unsaved = true;
	}
	free(record);
}

/* Copies the message's records to the end of `fd`, oldest kinds last; where the chain then begins,
 * in units of 8. */
static uint32_t
copy_chain(struct folder *folder, const struct message *message, int fd, uint64_t *size)
{
	uint32_t at = message->cached, last = 0;
	bool done[CACHED_KINDS] = { false };
	struct record record;
	unsigned i;

	for (i = 0; i < CHAIN_MAX && at != 0; i++) {
		size_t whole, padded;

		if (!read_record(folder, at, message->uid, &record))
			break;
		at = record.before;
		if (done[record.kind])
			continue;
		done[record.kind] = true;
		whole = sizeof(record) + record.length;
		padded = (whole + 7) / 8 * 8;
		record.before = last;
		memcpy(folder->cached, &record, sizeof(record));
		record.crc =
		    crc32c(0, folder->cached + sizeof(record.crc), whole - sizeof(record.crc));
		memcpy(folder->cached, &record.crc, sizeof(record.crc));
		if (pwrite(fd, folder->cached, whole, (off_t)*size) != (ssize_t)whole)
			break;
		last = (uint32_t)(*size / 8);
		*size += padded;
	}
	return last;
}

void
cache_tidy(struct folder *folder)
{
	struct folder_content *content = &folder->content;
	struct file_header header;
	uint64_t size = sizeof(header);
	uint32_t *moved;
	char name[NAME_SIZE];
	size_t i;
	int fd;

	if (content->cache_size < TIDY_FROM || content->cache_dead < content->cache_size / 2 ||
	    !cache_open(folder))
		return;
	moved = calloc(content->count + 1, sizeof(*moved));
	maildir_temporary_name(folder->maildir, name);
	fd = moved == NULL
	    ? -1
	    : openat(folder->tmp, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	memcpy(header.magic, magic, sizeof(magic));
	header.id = content->cache_id + 2;
	if (fd == -1 || !write_all(fd, &header, sizeof(header))) {
		forget_all(folder);
	} else {
		for (i = 0; i < content->count; i++) {
			if (content->messages[i].expunged == 0)
				moved[i] = copy_chain(folder, &content->messages[i], fd, &size);
		}
		forget_all(folder);
		if (ftruncate(fd, (off_t)size) == 0 &&
		    renameat(folder->tmp, name, folder->directory, CACHE_FILE) == 0) {
			for (i = 0; i < content->count; i++)
				content->messages[i].cached = moved[i];
			content->cache_id = header.id;
			content->cache_size = size;
		}
	}
	if (fd != -1) {
		(void)unlinkat(folder->tmp, name, 0);
		close(fd);
	}
	free(moved);
}
