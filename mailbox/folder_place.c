/*
 * The order is: uids are recorded and synced, then files get their names in cur/, then cur/ is
 * synced, then it is told. A kill in between leaves uids that nobody has, or a message that nobody
 * was told of; never a uid that is told and then another's.
 */
#include <sys/inotify.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "mailbox/folder_place.h"
#include "mailbox/folder_scan.h"
#include "mailbox/folders.h"

#define ROUNDS 8

enum mail_result
place_lock(struct folder *folder, struct lock *lock)
{
	enum mail_result result;
	unsigned round;

	for (round = 0; round < ROUNDS; round++) {
		result = folder_sync(folder);
		if (result == MAIL_OK)
			result = folder_lock(folder, lock);
		/* Only its uids are lost: whoever opens it next gives out new ones. */
		if (result == MAIL_ABSENT &&
		    folders_exist(folder->maildir, folder->name) == MAIL_OK)
			return MAIL_BUSY;
		if (result != MAIL_OK)
			return result;
		if (uidlist_is_known(folder))
			return MAIL_OK;
		/* Somebody gave out uids: they come first. */
		folder->new_changed = folder->cur_changed = true;
		folder_unlock(folder, lock);
	}
	return MAIL_BUSY;
}

enum mail_result
place_give_uids(struct folder *folder, struct placing *placing, size_t count)
{
	struct uidlist_record *records = calloc(count + 1, sizeof(*records));
	uint32_t next = folder->content.header.uid_next;
	enum mail_result result;
	size_t i;

	if (records == NULL)
		return MAIL_FAILED;
	if (count > UINT32_MAX - 2 - next) {
		free(records);
		return MAIL_LIMIT;
	}
	for (i = 0; i < count; i++) {
		struct placing *one = &placing[i];

		one->uid = next++;
		maildir_unique_name(folder->maildir, one->size, one->size + one->added, one->base);
		records[i].uid = one->uid;
		records[i].name = one->base;
		records[i].name_length = strlen(one->base);
		records[i].extra = one->extra;
		records[i].extra_length = strlen(one->extra);
	}
	result = uidlist_append(folder, records, count);
	free(records);
	return result;
}

void
place_disk_name(const struct placing *placing, char name[512])
{
	snprintf(name, 512, "%s%s", placing->base, placing->info);
}

void
place_undo(struct folder *folder, struct placing *placing, size_t count)
{
	char name[512];
	size_t i;

	for (i = 0; i < count; i++) {
		if (!placing[i].placed)
			continue;
		place_disk_name(&placing[i], name);
		if (unlinkat(folder->cur, name, 0) == 0)
			maildir_expect(folder->maildir, folder, true, IN_DELETE, name);
		placing[i].placed = false;
	}
}

void
place_take(struct folder *folder, const struct placing *placing, size_t count)
{
	uint64_t modseq = folder_next_modseq(folder);
	size_t i;

	for (i = 0; i < count; i++) {
		const struct placing *one = &placing[i];
		struct fresh fresh = { .base = (char *)(uintptr_t)one->base,
			.info = (char *)(uintptr_t)one->info,
			.uid = one->uid };
		struct message *message;

		if (!one->placed)
			continue;
		if (one->extra[0] == 'G') {
			fresh.guid = one->extra + 1;
			fresh.guid_length = strlen(fresh.guid);
		}
		if (!folder_take_new(folder, &fresh, modseq)) {
			/* It is there, and found when memory allows. */
			folder->cur_changed = true;
			return;
		}
		message = &folder->content.messages[folder->content.count - 1];
		message->internal_date = one->internal_date;
		message->save_date = (uint32_t)clock_wall();
		message->size = one->size;
		message->added = one->added;
	}
}
