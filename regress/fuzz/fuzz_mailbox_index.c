/*
 * The index file: any bytes, even with a checksum that fits, give nothing or messages in order whose
 * names lie where they should. And names of folders in both encodings.
 */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "mailbox/folder_state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
look_at(const uint8_t *data, size_t size)
{
	struct folder folder = { .name = "INBOX", .disk = "." };
	struct folder_content *content = &folder.content;
	uint32_t uid = 0;
	size_t i;

	if (!index_parse(data, size, content)) {
		assert(content->messages == NULL && content->names == NULL);
		return;
	}
	for (i = 0; i < content->count; i++) {
		const struct message *message = &content->messages[i];
		char name[512], id[34];

		assert(message->uid > uid && message->uid < content->header.uid_next);
		uid = message->uid;
		folder_disk_name(&folder, message, name);
		assert(name[0] != '\0' && name[0] != '.' && strchr(name, '/') == NULL);
		(void)folder_name_with_flags(&folder, message, MESSAGE_SEEN | 5, name);
		assert(strlen(name) < sizeof(name));
		folder_message_email_id(&folder, message, id);
		assert(strlen(id) == 33);
		assert(folder_find(&folder, uid) == message);
	}
	index_content_free(content);
}

static void
name_both_ways(const uint8_t *data, size_t size)
{
	char given[600], name[FOLDER_NAME_SIZE], disk[FOLDER_DISK_MAX + 2], back[FOLDER_NAME_SIZE];

	if (size >= sizeof(given))
		return;
	memcpy(given, data, size);
	given[size] = '\0';
	if (folder_name_clean(given, name)) {
		folder_name_to_disk(name, disk);
		assert(disk[0] == '.' && strchr(disk, '/') == NULL && strstr(disk, "..") == NULL);
		if (!folder_name_is_inbox(name)) {
			assert(disk[1] != '\0');
			assert(folder_name_from_disk(disk, back) && strcmp(back, name) == 0);
		}
	}
	if (folder_name_from_disk(given, name)) {
		assert(folder_name_clean(name, back) && strcmp(back, name) == 0);
		folder_name_to_disk(name, disk);
		assert(strcmp(disk, given) == 0);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *fitting;
	uint32_t checksum;

	name_both_ways(data, size);
	look_at(data, size);
	if (size < 4)
		return 0;
	fitting = malloc(size);
	assert(fitting != NULL);
	memcpy(fitting, data, size);
	checksum = index_checksum(fitting, size - 4);
	memcpy(fitting + size - 4, &checksum, 4);
	look_at(fitting, size);
	free(fitting);
	return 0;
}
