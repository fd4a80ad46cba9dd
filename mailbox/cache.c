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

#define WINDOWS     4
#define WINDOW_SIZE 16384

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

struct cache_window {
	uint64_t at;
	size_t length;
	uint64_t used; /* when, by the count of readings */
	uint8_t bytes[WINDOW_SIZE];
};

struct cache_reading {
	struct cache_window windows[WINDOWS];
	uint64_t now;
	uint8_t *large;
};

void
cache_close(struct folder *folder)
{
	if (folder->cache != -1)
		close(folder->cache);
	folder->cache = -1;
	cache_rest(folder);
}

void
cache_rest(struct folder *folder)
{
	if (folder->reading != NULL)
		free(folder->reading->large);
	free(folder->reading);
	folder->reading = NULL;
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

/* A part of the file that was read. What is cached never changes, so it is valid while the file is open. */
static bool
fill_window(struct folder *folder, struct cache_window *window, uint64_t at, size_t size)
{
	uint64_t left = folder->content.cache_size - at;
	ssize_t got;

	window->length = 0;
	got = pread(folder->cache, window->bytes, left < size ? (size_t)left : size, (off_t)at);
	if (got <= 0)
		return false;
	window->at = at;
	window->length = (size_t)got;
	return true;
}

static bool
is_within(const struct cache_window *window, uint64_t at, size_t length)
{
	return at >= window->at && at + length <= window->at + window->length;
}

/*
 * Bytes of the file, from a window. Messages' records of a kind mostly follow each other, those of
 * another kind elsewhere, and each such row has its window: what comes next in it is read ahead. Where
 * nothing was read before, not much more is read than is asked for.
 */
static const uint8_t *
read_bytes(struct folder *folder, uint64_t at, size_t length)
{
	struct cache_reading *reading = folder->reading;
	struct cache_window *window, *oldest = &reading->windows[0];
	size_t size = length > GUESS ? length : GUESS;

	for (size_t i = 0; i < WINDOWS; i++) {
		window = &reading->windows[i];
		if (is_within(window, at, length)) {
			window->used = ++reading->now;
			return window->bytes + (at - window->at);
		}
		if (window->used < oldest->used)
			oldest = window;
	}
	for (size_t i = 0; i < WINDOWS; i++) {
		window = &reading->windows[i];
		if (window->length > 0 && at >= window->at &&
		    at < window->at + window->length + WINDOW_SIZE) {
			oldest = window;
			size = WINDOW_SIZE;
		}
	}
	if (length > WINDOW_SIZE || at + length > folder->content.cache_size)
		return NULL;
	oldest->used = ++reading->now;
	return fill_window(folder, oldest, at, size) && oldest->length >= length ? oldest->bytes
	                                                                         : NULL;
}

/* A large one, that no window holds. */
static const uint8_t *
read_large(struct folder *folder, uint64_t at, size_t length)
{
	struct cache_reading *reading = folder->reading;

	free(reading->large);
	reading->large = malloc(length);
	if (reading->large == NULL || at + length > folder->content.cache_size ||
	    pread(folder->cache, reading->large, length, (off_t)at) != (ssize_t)length)
		return NULL;
	return reading->large;
}

/* A record whole, lent until the next one is read; NULL when it isn't sound. */
static const uint8_t *
read_record(struct folder *folder, uint32_t at, uint32_t uid, struct record *record)
{
	uint64_t offset = (uint64_t)at * 8;
	const uint8_t *bytes;
	size_t whole;

	if (folder->reading == NULL &&
	    (folder->reading = calloc(1, sizeof(*folder->reading))) == NULL)
		return NULL;
	bytes = read_bytes(folder, offset, sizeof(*record));
	if (bytes == NULL)
		return NULL;
	memcpy(record, bytes, sizeof(*record));
	if (record->uid != uid || record->length > CACHED_MAX || record->kind >= CACHED_KINDS ||
	    record->before >= at)
		return NULL;
	whole = sizeof(*record) + record->length;
	bytes = whole <= WINDOW_SIZE ? read_bytes(folder, offset, whole)
	                             : read_large(folder, offset, whole);
	if (bytes == NULL ||
	    crc32c(0, bytes + sizeof(record->crc), whole - sizeof(record->crc)) != record->crc)
		return NULL;
	return bytes;
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
		const uint8_t *bytes = read_record(folder, at, message->uid, &record);

		if (bytes == NULL)
			return false;
		if (record.kind == (uint32_t)kind) {
			*data = bytes + sizeof(record);
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
		bool is_written;
		const uint8_t *bytes = read_record(folder, at, message->uid, &record);
		struct record *copy;

		if (bytes == NULL)
			break;
		at = record.before;
		if (done[record.kind])
			continue;
		done[record.kind] = true;
		whole = sizeof(record) + record.length;
		padded = (whole + 7) / 8 * 8;
		copy = calloc(1, padded);
		if (copy == NULL)
			break;
		memcpy(copy, bytes, whole);
		copy->before = last;
		copy->crc =
		    crc32c(0, (uint8_t *)copy + sizeof(copy->crc), whole - sizeof(copy->crc));
		is_written = pwrite(fd, copy, padded, (off_t)*size) == (ssize_t)padded;
		free(copy);
		if (!is_written)
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
