/*
 * Taking in what a reading of the directories found: mail is moved from new/ to cur/, what has no
 * uid is given one, what is gone is marked, all in one change. No uid is in the array before its
 * record is synced in the list.
 */
#include <sys/inotify.h>
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "mailbox/folder_scan.h"

/* From new/ to cur/; where that can't be, it stays there. */
static void
move_to_cur(struct folder *folder, struct fresh *fresh)
{
	char from[512], to[512];
	const char *info = strncmp(fresh->info, ":2,", 3) == 0 ? fresh->info : ":2,";
	char *base;

	snprintf(from, sizeof(from), "%s%s", fresh->base, fresh->info);
	if (snprintf(to, sizeof(to), "%s%s", fresh->base, info) > 255)
		return;
	if (renameat2(folder->new, from, folder->cur, to, RENAME_NOREPLACE) == -1 &&
	    (errno != EINVAL || renameat(folder->new, from, folder->cur, to) == -1))
		return;
	maildir_expect(folder->maildir, folder, true, IN_MOVED_TO, to);
	fresh->in_new = false;
	if (info != fresh->info) {
		base = malloc(strlen(fresh->base) + 1 + strlen(info) + 1);
		if (base == NULL)
			return;
		strcpy(base, fresh->base);
		strcpy(base + strlen(base) + 1, info);
		free(fresh->base);
		fresh->base = base;
		fresh->info = base + strlen(base) + 1;
	}
}

/* What the name says of sizes and date. */
static void
take_facts(struct message *message, const char *base)
{
	const char *at;
	char *end;
	uint64_t size;
	unsigned long long value;

	message->size = UINT64_MAX;
	message->added = UINT32_MAX;
	if (name_size(base, &size)) {
		message->size = size;
		at = strstr(base, ",W=");
		if (at != NULL && isdigit((unsigned char)at[3])) {
			errno = 0;
			value = strtoull(at + 3, &end, 10);
			if (errno == 0 && (*end == '\0' || *end == ',') && value >= size &&
			    value - size < UINT32_MAX && value - size <= size)
				message->added = (uint32_t)(value - size);
		}
	}
	if (isdigit((unsigned char)base[0])) {
		errno = 0;
		value = strtoull(base, &end, 10);
		if (errno == 0 && *end == '.' && value > 100000000 &&
		    value < (unsigned long long)clock_wall() + 86400)
			message->save_date = (uint32_t)value;
	}
}

bool
folder_take_new(struct folder *folder, const struct fresh *fresh, uint64_t modseq)
{
	struct message *message = folder_new_message(folder);

	if (message == NULL)
		return false;
	message->uid = fresh->uid;
	message->modseq = modseq;
	message->bits = folder_info_bits(fresh->info) | (fresh->in_new ? MESSAGE_IN_NEW : 0);
	take_facts(message, fresh->base);
	if (!folder_set_names(folder, message, fresh->base, strlen(fresh->base), fresh->info,
	        fresh->guid == NULL ? "" : fresh->guid,
	        fresh->guid == NULL ? 0 : fresh->guid_length))
		return false;
	folder->content.count++;
	folder->unsaved = true;
	return true;
}

/* Those with a uid first, by uid; the rest in the order in which they were delivered. */
static int
compare_fresh(const void *a, const void *b)
{
	const struct fresh *left = a, *right = b;

	if (left->uid != 0 || right->uid != 0) {
		uint32_t x = left->uid == 0 ? UINT32_MAX : left->uid;
		uint32_t y = right->uid == 0 ? UINT32_MAX : right->uid;

		return x < y ? -1 : x > y;
	}
	if (left->delivered != right->delivered)
		return left->delivered < right->delivered ? -1 : 1;
	return strcmp(left->base, right->base);
}

static enum mail_result
give_uids(struct scan *scan)
{
	struct folder *folder = scan->folder;
	struct uidlist_record *records;
	uint32_t next = folder->content.header.uid_next;
	enum mail_result result;
	size_t i, count = 0;

	for (i = 0; i < scan->fresh_count && scan->fresh[i].uid != 0; i++)
		;
	if (i == scan->fresh_count)
		return MAIL_OK;
	if (scan->fresh_count - i > UINT32_MAX - 2 - next)
		return MAIL_LIMIT;
	records = calloc(scan->fresh_count - i, sizeof(*records));
	if (records == NULL)
		return MAIL_FAILED;
	for (; i < scan->fresh_count; i++) {
		struct fresh *fresh = &scan->fresh[i];

		records[count].uid = next++;
		records[count].name = fresh->base;
		records[count].name_length = strlen(fresh->base);
		records[count++].extra = "";
	}
	result = uidlist_append(folder, records, count);
	for (i = 0; result == MAIL_OK && i < count; i++)
		scan->fresh[scan->fresh_count - count + i].uid = records[i].uid;
	free(records);
	return result;
}

static int
compare_uids(const void *a, const void *b)
{
	uint32_t left = ((const struct message *)a)->uid, right = ((const struct message *)b)->uid;

	return left < right ? -1 : left > right;
}

enum mail_result
folder_take_in(struct scan *scan)
{
	struct folder *folder = scan->folder;
	struct folder_content *content = &folder->content;
	uint32_t last = scan->known_count == 0 ? 0 : content->messages[scan->known_count - 1].uid;
	enum mail_result result;
	bool sorted = true;
	size_t i;

	for (i = 0; i < scan->fresh_count; i++) {
		struct fresh *fresh = &scan->fresh[i];

		/* Who has seen larger uids would never learn of this one. */
		if (!scan->first && fresh->uid <= last)
			fresh->uid = 0;
		if (fresh->in_new)
			move_to_cur(folder, fresh);
	}
	if (scan->fresh_count > 1)
		qsort(scan->fresh, scan->fresh_count, sizeof(*scan->fresh), compare_fresh);
	if (scan->anew)
		content->recent = content->header.uid_next;
	result = give_uids(scan);
	if (result == MAIL_NO_SPACE || result == MAIL_READ_ONLY) {
		/* Those without a uid have to wait until there is room for one; the rest is shown. */
		while (scan->fresh_count > 0 && scan->fresh[scan->fresh_count - 1].uid == 0)
			free(scan->fresh[--scan->fresh_count].base);
		folder->cur_changed = true;
	} else if (result != MAIL_OK) {
		return result;
	}
	if (scan->modseq == 0 && scan->fresh_count > 0)
		scan->modseq = folder_next_modseq(folder);
	for (i = 0; scan->all && i < scan->known_count; i++) {
		if (content->messages[i].expunged != 0 || scan->seen[i])
			continue;
		if (scan->modseq == 0)
			scan->modseq = folder_next_modseq(folder);
		folder_mark_expunged(folder, &content->messages[i], scan->modseq);
	}
	for (i = 0; i < scan->fresh_count; i++) {
		if (content->count > 0 &&
		    content->messages[content->count - 1].uid >= scan->fresh[i].uid)
			sorted = false;
		if (!folder_take_new(folder, &scan->fresh[i], scan->modseq)) {
			errno = ENOMEM;
			return folder_failed(folder, "read", "cur");
		}
	}
	if (!sorted)
		qsort(content->messages, content->count, sizeof(*content->messages), compare_uids);
	return MAIL_OK;
}
