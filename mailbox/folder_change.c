/*
 * Flags and removals. Both are done under the uidlist's lock, where that can be had, so that Dovecot
 * doesn't read the directory while names change, and both find a file again that somebody else
 * renamed: the change is then made to the flags that it has by now.
 */
#include <sys/inotify.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mailbox/folder_state.h"

#define ROUNDS 3 /* of looking again for files that were renamed */

static uint32_t
changed_bits(uint32_t old, enum folder_store how, uint32_t bits)
{
	switch (how) {
	case STORE_ADD:
		return old | bits;
	case STORE_REMOVE:
		return old & ~bits;
	case STORE_REPLACE:
		return (old & MESSAGE_IN_NEW) | bits;
	}
	return old;
}

enum step {
	STEP_DONE,
	STEP_RENAMED, /* the file isn't there by this name */
	STEP_FAILED,
};

static enum step
rename_flags(struct folder *folder, struct message *message, uint32_t bits, uint64_t *modseq)
{
	bool was_new = (message->bits & MESSAGE_IN_NEW) != 0;
	char from[512], to[512];
	const char *base = folder_message_name(folder, message);
	size_t length = strlen(base);

	folder_disk_name(folder, message, from);
	if (!folder_name_with_flags(folder, message, bits & ~MESSAGE_IN_NEW, to)) {
		errno = ENAMETOOLONG;
		return STEP_FAILED;
	}
	if (renameat(was_new ? folder->new : folder->cur, from, folder->cur, to) == -1)
		return errno == ENOENT ? STEP_RENAMED : STEP_FAILED;
	maildir_expect(folder->maildir, folder, !was_new, IN_MOVED_FROM, from);
	maildir_expect(folder->maildir, folder, true, IN_MOVED_TO, to);
	if (((message->bits ^ bits) & MESSAGE_DELETED) != 0) {
		int64_t size = (int64_t)folder_file_size(folder, message);
		int64_t sign = (bits & MESSAGE_DELETED) != 0 ? -1 : 1;

		/* Maildir++: what is flagged T doesn't count. */
		folder_account(folder, sign * size, sign);
	}
	if (*modseq == 0)
		*modseq = folder_next_modseq(folder);
	message->bits = bits & ~MESSAGE_IN_NEW;
	message->modseq = *modseq;
	folder->unsaved = true;
	if (!folder_set_info(folder, message, to + length)) {
		errno = ENOMEM;
		return STEP_FAILED;
	}
	return STEP_DONE;
}

/* One walk over those that aren't done; false when something failed for good. */
static bool
store_round(struct folder *folder, const uint32_t *uids, size_t count, enum folder_store how,
    uint32_t bits, uint64_t unchanged_since, uint64_t *modseq, bool *done, bool *renamed)
{
	size_t i;

	*renamed = false;
	for (i = 0; i < count; i++) {
		struct message *message = done[i] ? NULL : folder_find(folder, uids[i]);
		uint32_t wanted;

		if (message == NULL)
			continue;
		/* What this call changed itself is done. */
		if (message->modseq > unchanged_since)
			continue;
		wanted = changed_bits(message->bits, how, bits);
		if (wanted == message->bits) {
			done[i] = true;
			continue;
		}
		switch (rename_flags(folder, message, wanted, modseq)) {
		case STEP_DONE:
			done[i] = true;
			break;
		case STEP_RENAMED:
			*renamed = true;
			break;
		case STEP_FAILED:
			return false;
		}
	}
	return true;
}

enum mail_result
folder_store(struct folder *folder, const uint32_t *uids, size_t count, enum folder_store how,
    uint32_t bits, uint64_t unchanged_since, uint32_t *failed, size_t *failed_count)
{
	enum mail_result result = MAIL_OK;
	bool *done = calloc(count + 1, sizeof(*done)), renamed = true;
	unsigned round;
	size_t i;

	if (failed_count != NULL)
		*failed_count = 0;
	if (done == NULL)
		return MAIL_FAILED;
	bits &= MESSAGE_FLAGS | MESSAGE_KEYWORDS;
	for (round = 0; round < ROUNDS && renamed && result == MAIL_OK; round++) {
		uint64_t modseq = 0;
		struct lock lock;

		if (round > 0) {
			folder->new_changed = folder->cur_changed = true;
			result = folder_sync(folder);
			if (result != MAIL_OK)
				break;
		}
		result = folder_lock_if_possible(folder, &lock);
		if (result != MAIL_OK)
			break;
		if (!store_round(
		        folder, uids, count, how, bits, unchanged_since, &modseq, done, &renamed))
			result = folder_failed(folder, "change flags in", "cur");
		folder_unlock(folder, &lock);
	}
	for (i = 0; i < count && failed != NULL && failed_count != NULL; i++) {
		const struct message *message = done[i] ? NULL : folder_find(folder, uids[i]);

		if (message != NULL && message->modseq > unchanged_since)
			failed[(*failed_count)++] = uids[i];
	}
	free(done);
	return result;
}

static enum mail_result
add_keyword(struct folder *folder, const char *name, int *number)
{
	struct maildir *maildir = folder->maildir;

	switch (
	    keywords_add(&folder->keywords, folder->directory, maildir->lock_host, name, number)) {
	case KEYWORDS_OK:
		return MAIL_OK;
	case KEYWORDS_BAD_NAME:
		return MAIL_BAD_NAME;
	case KEYWORDS_FULL:
		return MAIL_LIMIT;
	case KEYWORDS_NOT_LOCKED:
		return maildir_failed(maildir, "lock", folder->disk, KEYWORDS_FILE);
	case KEYWORDS_NOT_WRITTEN:
		break;
	}
	return maildir_failed(maildir, "write", folder->disk, KEYWORDS_FILE);
}

enum mail_result
folder_keyword(struct folder *folder, const char *name, bool create, uint32_t *bit)
{
	enum mail_result result;
	int number;

	number = keywords_find(&folder->keywords, name);
	if (number == -1 && !create)
		return keywords_name_is_valid(name) ? MAIL_ABSENT : MAIL_BAD_NAME;
	if (number == -1) {
		result = add_keyword(folder, name, &number);
		if (result != MAIL_OK)
			return result;
	}
	*bit = 1u << number;
	return MAIL_OK;
}

void
folder_account(struct folder *folder, int64_t bytes, int64_t messages)
{
	/* Maildir++: nor does what is in the trash. */
	if ((bytes != 0 || messages != 0) && quota_is_limited(&folder->maildir->limits) &&
	    strcmp(folder->disk, ".Trash") != 0)
		quota_append(folder->maildir->root, bytes, messages);
}

enum mail_result
folder_expunge(struct folder *folder, const uint32_t *uids, size_t count)
{
	enum mail_result result = MAIL_OK;
	bool renamed = true;
	unsigned round;
	size_t i;

	for (round = 0; round < ROUNDS && renamed && result == MAIL_OK; round++) {
		int64_t bytes = 0, messages = 0;
		uint64_t modseq = 0;
		bool any_in_new = false;
		struct lock lock;

		renamed = false;
		if (round > 0) {
			folder->new_changed = folder->cur_changed = true;
			result = folder_sync(folder);
			if (result != MAIL_OK)
				break;
		}
		result = folder_lock_if_possible(folder, &lock);
		if (result != MAIL_OK)
			break;
		for (i = 0; i < count; i++) {
			struct message *message = folder_find(folder, uids[i]);
			bool in_new;
			char name[512];
			int64_t size;

			if (message == NULL)
				continue;
			in_new = (message->bits & MESSAGE_IN_NEW) != 0;
			any_in_new = any_in_new || in_new;
			folder_disk_name(folder, message, name);
			size = quota_is_limited(&folder->maildir->limits)
			    ? (int64_t)folder_file_size(folder, message)
			    : 0;
			if (unlinkat(in_new ? folder->new : folder->cur, name, 0) == -1) {
				if (errno == ENOENT) {
					renamed = true;
					continue;
				}
				result = folder_failed(folder, "remove", name);
				break;
			}
			maildir_expect(folder->maildir, folder, !in_new, IN_DELETE, name);
			if ((message->bits & MESSAGE_DELETED) == 0) {
				bytes -= size;
				messages--;
			}
			if (modseq == 0)
				modseq = folder_next_modseq(folder);
			folder_mark_expunged(folder, message, modseq);
		}
		if (modseq != 0 &&
		    (fsync(folder->cur) == -1 || (any_in_new && fsync(folder->new) == -1)))
			result = folder_failed(folder, "sync", "cur");
		folder_unlock(folder, &lock);
		folder_account(folder, bytes, messages);
	}
	return result;
}
