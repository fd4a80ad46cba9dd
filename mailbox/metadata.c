/*
 * Annotations in a small checksummed file, read and written whole: there are few, and they change
 * seldom.
 */
#include <sys/stat.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/crc32c.h"
#include "common/log.h"
#include "common/folder_name.h"
#include "mailbox/metadata.h"

#define FOLDER_FILE "postern.metadata"
#define SERVER_FILE "postern.server-metadata"
#define MAGIC       0x4154454dU
#define FILE_MAX    (METADATA_TOTAL_MAX + METADATA_ENTRIES_MAX * (METADATA_ENTRY_MAX + 8) + 64)

void
metadata_free(struct metadata *metadata)
{
	size_t i;

	for (i = 0; i < metadata->count; i++) {
		free(metadata->entries[i].name);
		free(metadata->entries[i].value);
	}
	free(metadata->entries);
	memset(metadata, 0, sizeof(*metadata));
}

/* -1 when there is no such folder. */
static int
open_directory(struct maildir *maildir, const char *folder)
{
	char disk[FOLDER_DISK_MAX + 2] = ".";

	if (folder[0] != '\0')
		folder_name_to_disk(folder, disk);
	return openat(maildir->root, disk, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static const char *
file_of(const char *folder)
{
	return folder[0] == '\0' ? SERVER_FILE : FOLDER_FILE;
}

static bool
parse(const char *data, size_t length, struct metadata *metadata)
{
	struct buf_reader reader;
	uint32_t checksum, count, i;

	if (length < 8)
		return false;
	buf_reader_init(&reader, data + length - 4, 4);
	checksum = buf_get_u32(&reader);
	if (crc32c(0, data, length - 4) != checksum)
		return false;
	buf_reader_init(&reader, data, length - 4);
	if (buf_get_u32(&reader) != MAGIC || (count = buf_get_u32(&reader)) > METADATA_ENTRIES_MAX)
		return false;
	metadata->entries = calloc(count + 1, sizeof(*metadata->entries));
	if (metadata->entries == NULL)
		return false;
	for (i = 0; i < count; i++) {
		struct metadata_entry *entry = &metadata->entries[i];

		entry->name = buf_get_string_alloc(&reader, METADATA_ENTRY_MAX);
		metadata->count++;
		entry->length = buf_get_u32(&reader);
		if (reader.failed || entry->length > METADATA_VALUE_MAX ||
		    (entry->value = malloc(entry->length + 1)) == NULL)
			return false;
		buf_get(&reader, entry->value, entry->length);
	}
	return buf_reader_done(&reader);
}

static void
load_from(struct maildir *maildir, int directory, const char *folder, struct metadata *metadata)
{
	size_t length;
	char *data = maildir_read_file(directory, file_of(folder), FILE_MAX, &length);
	struct log_line line;

	memset(metadata, 0, sizeof(*metadata));
	if (data != NULL && !parse(data, length, metadata)) {
		metadata_free(metadata);
		log_begin(&line, LOG_LEVEL_WARNING, "mailbox-metadata-damaged");
		log_text(&line, "path", maildir->path);
		log_text(&line, "folder", folder);
		log_end(&line);
	}
	free(data);
}

enum mail_result
metadata_load(struct maildir *maildir, const char *folder, struct metadata *metadata)
{
	int directory = open_directory(maildir, folder);

	memset(metadata, 0, sizeof(*metadata));
	if (directory == -1)
		return MAIL_ABSENT;
	load_from(maildir, directory, folder, metadata);
	close(directory);
	return MAIL_OK;
}

const struct metadata_entry *
metadata_find(const struct metadata *metadata, const char *name)
{
	size_t i;

	for (i = 0; i < metadata->count; i++) {
		if (strcasecmp(metadata->entries[i].name, name) == 0)
			return &metadata->entries[i];
	}
	return NULL;
}

/* RFC 5464 3.2: a path below /private or /shared, without wildcards and empty parts. */
static bool
clean_name(const char *given, char name[METADATA_ENTRY_MAX + 1])
{
	size_t i;

	for (i = 0; given[i] != '\0'; i++) {
		unsigned char byte = (unsigned char)given[i];

		if (i == METADATA_ENTRY_MAX || byte < 0x21 || byte >= 0x7f || byte == '*' ||
		    byte == '%' || (byte == '/' && given[i + 1] == '/'))
			return false;
		name[i] = (char)tolower(byte);
	}
	name[i] = '\0';
	return i > 0 && name[i - 1] != '/' &&
	    (strncmp(name, "/private/", 9) == 0 || strncmp(name, "/shared/", 8) == 0);
}

/* Sets, adds or removes the entry. */
static enum mail_result
change(struct metadata *metadata, const char *name, const void *value, size_t length)
{
	struct metadata_entry *entries = metadata->entries;
	uint8_t *made = NULL;
	size_t at = 0, total = 0, i;

	while (at < metadata->count && strcmp(entries[at].name, name) < 0)
		at++;
	for (i = 0; i < metadata->count; i++)
		total += entries[i].length;
	if (at < metadata->count && strcmp(entries[at].name, name) == 0) {
		total -= entries[at].length;
		free(entries[at].name);
		free(entries[at].value);
		metadata->count--;
		memmove(entries + at, entries + at + 1, (metadata->count - at) * sizeof(*entries));
	}
	if (value == NULL)
		return MAIL_OK;
	if (length > METADATA_VALUE_MAX || total + length > METADATA_TOTAL_MAX ||
	    metadata->count >= METADATA_ENTRIES_MAX)
		return MAIL_LIMIT;
	entries = reallocarray(metadata->entries, metadata->count + 2, sizeof(*entries));
	if (entries == NULL)
		return MAIL_FAILED;
	metadata->entries = entries;
	memmove(entries + at + 1, entries + at, (metadata->count - at) * sizeof(*entries));
	made = malloc(length + 1);
	if (made != NULL && length > 0)
		memcpy(made, value, length);
	entries[at] = (struct metadata_entry){ strdup(name), made, length };
	metadata->count++;
	return made == NULL || entries[at].name == NULL ? MAIL_FAILED : MAIL_OK;
}

static enum mail_result
store_to(
    struct maildir *maildir, int directory, const char *folder, const struct metadata *metadata)
{
	enum mail_result result;
	struct buf data;
	size_t i;

	buf_init(&data, FILE_MAX);
	buf_add_u32(&data, MAGIC);
	buf_add_u32(&data, (uint32_t)metadata->count);
	for (i = 0; i < metadata->count; i++) {
		buf_add_string(&data, metadata->entries[i].name);
		buf_add_u32(&data, (uint32_t)metadata->entries[i].length);
		buf_add(&data, metadata->entries[i].value, metadata->entries[i].length);
	}
	buf_add_u32(&data, buf_ok(&data) ? crc32c(0, data.data, data.length) : 0);
	if (buf_ok(&data)) {
		result = maildir_replace_file(
		    maildir, directory, file_of(folder), data.data, data.length);
	} else {
		result = MAIL_LIMIT;
	}
	buf_free(&data);
	return result;
}

enum mail_result
metadata_set(struct maildir *maildir, const char *folder, const char *given, const void *value,
    size_t length)
{
	char name[METADATA_ENTRY_MAX + 1];
	struct metadata metadata;
	enum mail_result result;
	int directory;

	if (!clean_name(given, name))
		return MAIL_BAD_NAME;
	directory = open_directory(maildir, folder);
	if (directory == -1)
		return MAIL_ABSENT;
	load_from(maildir, directory, folder, &metadata);
	result = change(&metadata, name, value, length);
	if (result == MAIL_OK)
		result = store_to(maildir, directory, folder, &metadata);
	metadata_free(&metadata);
	close(directory);
	return result;
}
