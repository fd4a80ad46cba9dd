/*
 * The index file, postern.index: a header, the array of messages, their names, the removals, a
 * checksum; as they are in memory, since it never leaves this machine. It saves reading the
 * directories and the uidlist, and is believed only while both are as they were when it was
 * written. It isn't synced: what a crash leaves of it has a wrong checksum or is just old.
 *
 * It is written to a temporary file and renamed, so a reader sees all of one or all of the other.
 */
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/crc32c.h"
#include "common/log.h"
#include "common/write.h"
#include "mailbox/folder_state.h"

#define INDEX_FILE    "postern.index"
#define INDEX_VERSION 1
#define INDEX_MAX     (2048ULL * 1024 * 1024)

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
	uint8_t guid[16];
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
	return header->uid_validity != 0 && header->uid_next != 0 && header->highest_modseq != 0 &&
	    header->highest_modseq <= INT64_MAX && header->vanished_since <= header->highest_modseq;
}

/* Its three strings end before the names do. */
static bool
name_is_sound(const struct folder_content *content, uint32_t name)
{
	size_t at = name, i;

	for (i = 0; i < 3; i++) {
		const char *end = at < content->names_length
		    ? memchr(content->names + at, '\0', content->names_length - at)
		    : NULL;

		if (end == NULL || end - (content->names + at) > UIDLIST_EXTRA_MAX ||
		    (i < 2 && end - (content->names + at) > 256) ||
		    memchr(content->names + at, '/', (size_t)(end - content->names) - at) != NULL)
			return false;
		if (i == 0 && (content->names[at] == '\0' || content->names[at] == '.'))
			return false;
		if (i == 1 && content->names[at] != '\0' && content->names[at] != '=')
			return false;
		at = (size_t)(end - content->names) + 1;
	}
	return true;
}

static bool
content_is_sound(const struct folder_content *content)
{
	uint64_t modseq = 0;
	uint32_t uid = 0;
	size_t i;

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

/* A copy, with room where `size` is larger; NULL without memory. */
static void *
copy(const void *data, size_t length, size_t size)
{
	void *made = malloc(size < length ? length : size == 0 ? 1 : size);

	if (made != NULL && length > 0)
		memcpy(made, data, length);
	return made;
}

bool
index_parse(const uint8_t *data, size_t length, struct folder_content *content)
{
	struct index_header header;
	const uint8_t *at = data + sizeof(header);
	uint32_t checksum;

	memset(content, 0, sizeof(*content));
	if (length < sizeof(header) + sizeof(checksum))
		return false;
	memcpy(&header, data, sizeof(header));
	memcpy(&checksum, data + length - sizeof(checksum), sizeof(checksum));
	if (!header_is_sound(&header, length) ||
	    index_checksum(data, length - sizeof(checksum)) != checksum)
		return false;
	content->count = content->capacity = header.count;
	content->messages = copy(at, header.count * sizeof(struct message), 0);
	at += header.count * sizeof(struct message);
	content->names_length = content->names_capacity = header.names_length;
	content->names = copy(at, header.names_length, 0);
	at += header.names_length;
	content->vanished_count = header.vanished_count;
	content->vanished = copy(at, header.vanished_count * sizeof(struct vanished),
	    VANISHED_MAX * sizeof(struct vanished));
	content->vanished_since = header.vanished_since;
	content->highest_modseq = header.highest_modseq;
	content->uidlist = header.uidlist;
	content->uidlist_taken = header.uidlist_taken;
	content->uidlist_records = header.uidlist_records;
	content->uidlist_crc = header.uidlist_crc;
	content->header.version = 3;
	content->header.uid_validity = header.uid_validity;
	content->header.uid_next = header.uid_next;
	content->header.has_guid = true;
	memcpy(content->header.guid, header.guid, sizeof(header.guid));
	content->recent = header.recent;
	content->new_ns = header.new_ns;
	content->cur_ns = header.cur_ns;
	content->cache_id = header.cache_id;
	content->cache_size = header.cache_size;
	content->cache_dead = header.cache_dead;
	if (content->messages == NULL || content->names == NULL || content->vanished == NULL ||
	    !content_is_sound(content)) {
		index_content_free(content);
		return false;
	}
	return true;
}

bool
index_load(struct folder *folder)
{
	size_t length;
	char *data = maildir_read_file(folder->directory, INDEX_FILE, INDEX_MAX, &length);
	struct log_line line;
	bool good;

	if (data == NULL)
		return false;
	good = index_parse((const uint8_t *)data, length, &folder->content);
	free(data);
	if (!good) {
		log_begin(&line, LOG_LEVEL_INFO, "mailbox-index-rebuilt");
		log_text(&line, "path", folder->maildir->path);
		log_text(&line, "folder", folder->disk);
		log_text(&line, "reason", "damaged, or of another version");
		log_end(&line);
	}
	return good;
}

static bool
write_in_turn(int fd, uint32_t *checksum, const void *data, size_t length)
{
	*checksum = crc32c(*checksum, data, length);
	return write_all(fd, data, length);
}

/* Messages that are there, with names that lie one after the other. */
static bool
write_messages(struct folder *folder, int fd, uint32_t *checksum, struct index_header *header)
{
	const struct folder_content *content = &folder->content;
	struct message *messages = malloc((content->count + 1) * sizeof(*messages));
	char *names = malloc(content->names_length + 1);
	bool good = messages != NULL && names != NULL;
	size_t i;

	for (i = 0; good && i < content->count; i++) {
		const struct message *message = &content->messages[i];
		const char *name, *end;

		if (message->expunged != 0)
			continue;
		name = folder_message_name(folder, message);
		end = folder_guid(folder, message);
		end += strlen(end) + 1;
		messages[header->count] = *message;
		messages[header->count++].name = (uint32_t)header->names_length;
		memcpy(names + header->names_length, name, (size_t)(end - name));
		header->names_length += (size_t)(end - name);
	}
	good = good && write_in_turn(fd, checksum, header, sizeof(*header)) &&
	    write_in_turn(fd, checksum, messages, header->count * sizeof(*messages)) &&
	    write_in_turn(fd, checksum, names, header->names_length);
	free(messages);
	free(names);
	return good;
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
	memset(&header, 0, sizeof(header));
	memcpy(header.magic, magic, sizeof(magic));
	header.version = INDEX_VERSION;
	header.order = 0x01020304;
	header.message_size = sizeof(struct message);
	header.header_size = sizeof(header);
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
	maildir_temporary_name(folder->maildir, temporary);
	fd = openat(
	    folder->tmp, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd == -1) {
		(void)folder_failed(folder, "make a file in", "tmp");
		return false;
	}
	good = write_messages(folder, fd, &checksum, &header) &&
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
