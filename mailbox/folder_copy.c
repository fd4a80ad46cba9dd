/*
 * Copying is a hard link, moving a rename; each under a name that is new, since the old one's uid
 * in either folder must not come back. Both carry the message's GUID along in the uidlist, so that
 * its EMAILID stays (RFC 8474 5.1).
 */
#include <sys/inotify.h>
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/write.h"
#include "mailbox/folder_place.h"

#define ROUNDS 4
#define CHUNK  65536

struct transfer {
	struct folder *from;
	struct folder *to;
	struct placing *placing;
	size_t count;
	uint32_t keywords[KEYWORDS_COUNT]; /* bits there; 0 none */
	bool mapped[KEYWORDS_COUNT];
	uint64_t bytes; /* that count for the quota */
	uint64_t messages;
};

/* The same keywords by the other folder's letters; one that it has no letter for is lost. */
static uint32_t
map_bits(struct transfer *transfer, uint32_t bits)
{
	const struct keywords *keywords = &transfer->from->keywords;
	uint32_t mapped = bits & MESSAGE_FLAGS;
	size_t i;

	if (transfer->from == transfer->to)
		return bits & (MESSAGE_FLAGS | MESSAGE_KEYWORDS);
	for (i = 0; i < KEYWORDS_COUNT; i++) {
		if ((bits & 1u << i) == 0 || keywords->names[i] == NULL)
			continue;
		if (!transfer->mapped[i]) {
			transfer->mapped[i] = true;
			if (folder_keyword(transfer->to, keywords->names[i], true,
			        &transfer->keywords[i]) != MAIL_OK)
				transfer->keywords[i] = 0;
		}
		mapped |= transfer->keywords[i];
	}
	return mapped;
}

/* What of the source goes along. */
static enum mail_result
add_source(struct transfer *transfer, uint32_t uid)
{
	struct placing *one = &transfer->placing[transfer->count];
	struct message *message = folder_find(transfer->from, uid);
	enum mail_result result;
	const char *guid;
	uint64_t size;

	if (message == NULL)
		return MAIL_OK;
	result = folder_message_size(transfer->from, message, &size);
	message = folder_find(transfer->from, uid);
	if (result == MAIL_EXPUNGED || message == NULL)
		return MAIL_OK;
	if (result != MAIL_OK)
		return result;
	memset(one, 0, sizeof(*one));
	one->source = uid;
	one->bits = map_bits(transfer, message->bits);
	one->size = message->size;
	one->added = message->added;
	one->internal_date = message->internal_date;
	folder_usual_info(one->bits, one->info);
	guid = folder_guid(transfer->from, message);
	if (*guid == '\0')
		guid = folder_message_name(transfer->from, message);
	if (strpbrk(guid, " :\n") == NULL)
		snprintf(one->extra, sizeof(one->extra), "G%.1000s", guid);
	if ((one->bits & MESSAGE_DELETED) == 0) {
		transfer->bytes += one->size;
		transfer->messages++;
	}
	transfer->count++;
	return MAIL_OK;
}

static enum mail_result
gather(struct transfer *transfer, const uint32_t *uids, size_t count)
{
	enum mail_result result = MAIL_OK;
	size_t i;

	transfer->count = 0;
	transfer->bytes = transfer->messages = 0;
	for (i = 0; i < count && result == MAIL_OK; i++)
		result = add_source(transfer, uids[i]);
	return result;
}

/* Where the file system can't link. */
static bool
copy_bytes(int from_directory, const char *from, int to_directory, const char *to)
{
	int in = openat(from_directory, from, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_OMIT } };
	char *chunk = malloc(CHUNK);
	ssize_t got = -1;
	struct stat st;
	int out = -1, error;

	if (in != -1 && chunk != NULL && fstat(in, &st) == 0)
		out = openat(
		    to_directory, to, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	while (out != -1 && (got = read(in, chunk, CHUNK)) > 0) {
		if (!write_all(out, chunk, (size_t)got)) {
			got = -1;
			break;
		}
	}
	if (out != -1)
		times[1] = st.st_mtim;
	if (got == 0 && (futimens(out, times) == -1 || fsync(out) == -1))
		got = -1;
	error = errno;
	if (out != -1) {
		close(out);
		if (got != 0)
			(void)unlinkat(to_directory, to, 0);
	}
	if (in != -1)
		close(in);
	free(chunk);
	errno = error;
	return out != -1 && got == 0;
}

/* What has been put in a message's place and is no file is not there, so that it isn't carried on. */
static bool
is_file(int directory, const char *name)
{
	struct stat st;

	if (fstatat(directory, name, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return false;
	if (!S_ISREG(st.st_mode))
		errno = ENOENT;
	return S_ISREG(st.st_mode);
}

static bool
link_one(struct folder *from, int directory, const char *name, struct folder *to, const char *made)
{
	char temporary[NAME_SIZE];
	int error;

	if (!is_file(directory, name))
		return false;
	if (linkat(directory, name, to->cur, made, 0) == 0) {
		maildir_expect(to->maildir, to, true, IN_CREATE, made);
		return true;
	}
	if (errno != EXDEV && errno != EPERM && errno != EMLINK && errno != EOPNOTSUPP)
		return false;
	maildir_temporary_name(from->maildir, temporary);
	if (!copy_bytes(directory, name, to->tmp, temporary))
		return false;
	if (renameat(to->tmp, temporary, to->cur, made) == -1) {
		error = errno;
		(void)unlinkat(to->tmp, temporary, 0);
		errno = error;
		return false;
	}
	maildir_expect(to->maildir, to, true, IN_MOVED_TO, made);
	return true;
}

static bool
move_one(struct folder *from, bool in_new, const char *name, struct folder *to, const char *made)
{
	int directory = in_new ? from->new : from->cur;

	if (!is_file(directory, name) || renameat(directory, name, to->cur, made) == -1)
		return false;
	maildir_expect(from->maildir, from, !in_new, IN_MOVED_FROM, name);
	maildir_expect(to->maildir, to, true, IN_MOVED_TO, made);
	return true;
}

/* Places all; `*renamed` when some weren't where they were expected. */
static enum mail_result
place_round(struct transfer *transfer, bool move, bool *renamed)
{
	struct folder *from = transfer->from, *to = transfer->to;
	enum mail_result result = place_give_uids(to, transfer->placing, transfer->count);
	size_t i;

	*renamed = false;
	for (i = 0; i < transfer->count && result == MAIL_OK; i++) {
		struct placing *one = &transfer->placing[i];
		const struct message *message = folder_find(from, one->source);
		char name[512], made[512];
		bool in_new, done;

		if (message == NULL)
			continue;
		in_new = (message->bits & MESSAGE_IN_NEW) != 0;
		folder_disk_name(from, message, name);
		place_disk_name(one, made);
		done = move ? move_one(from, in_new, name, to, made)
		            : link_one(from, in_new ? from->new : from->cur, name, to, made);
		if (done)
			one->placed = true;
		else if (errno == ENOENT)
			*renamed = true;
		else
			result = folder_failed(to, move ? "move to" : "copy to", made);
		if (*renamed && !move)
			break;
	}
	return result;
}

static void
report(struct transfer *transfer, uint32_t *from_uids, uint32_t *to_uids, size_t *done)
{
	size_t i;

	for (i = 0; i < transfer->count; i++) {
		if (!transfer->placing[i].placed)
			continue;
		from_uids[*done] = transfer->placing[i].source;
		to_uids[*done] = transfer->placing[i].uid;
		++*done;
	}
}

/* After a round found files renamed: read again where they are. */
static enum mail_result
look_again(struct folder *folder)
{
	folder->new_changed = folder->cur_changed = true;
	return folder_sync(folder);
}

enum mail_result
folder_copy(struct folder *from, const uint32_t *uids, size_t count, struct folder *to,
    uint32_t *from_uids, uint32_t *to_uids, size_t *done)
{
	struct transfer transfer = { .from = from, .to = to };
	enum mail_result result;
	bool renamed = true;
	unsigned round;
	struct lock lock;

	*done = 0;
	transfer.placing = calloc(count + 1, sizeof(*transfer.placing));
	if (transfer.placing == NULL)
		return MAIL_FAILED;
	for (round = 0, result = MAIL_OK; round < ROUNDS && renamed && result == MAIL_OK; round++) {
		renamed = false;
		if (round > 0)
			result = look_again(from);
		if (result == MAIL_OK)
			result = gather(&transfer, uids, count);
		if (result != MAIL_OK || transfer.count == 0)
			break;
		result = maildir_has_room(from->maildir, transfer.bytes, transfer.messages);
		if (result == MAIL_OK)
			result = place_lock(to, &lock);
		if (result != MAIL_OK)
			break;
		result = place_round(&transfer, false, &renamed);
		if (result == MAIL_OK && !renamed && fsync(to->cur) == -1)
			result = folder_failed(to, "sync", "cur");
		if (result != MAIL_OK || renamed)
			place_undo(to, transfer.placing, transfer.count);
		else
			place_take(to, transfer.placing, transfer.count);
		folder_unlock(to, &lock);
	}
	if (result == MAIL_OK && renamed)
		result = MAIL_BUSY;
	if (result == MAIL_OK && transfer.count > 0) {
		report(&transfer, from_uids, to_uids, done);
		folder_account(to, (int64_t)transfer.bytes, (int64_t)transfer.messages);
	}
	free(transfer.placing);
	return result;
}

/* Both folders' locks, in an order that is the same for all; one where they are one. */
static enum mail_result
lock_both(struct transfer *transfer, struct lock *to_lock, struct lock *from_lock)
{
	enum mail_result result = place_lock(transfer->to, to_lock);

	from_lock->directory = -1;
	if (result != MAIL_OK || transfer->from == transfer->to)
		return result;
	result = folder_lock(transfer->from, from_lock);
	if (result != MAIL_OK)
		folder_unlock(transfer->to, to_lock);
	return result;
}

/* Maildir++: what is in the trash counts for no quota. */
static bool
is_trash(const struct folder *folder)
{
	return strcmp(folder->disk, ".Trash") == 0;
}

/* What has been moved is so in both folders, whatever comes then. */
static void
take_moved(struct transfer *transfer)
{
	struct folder *from = transfer->from;
	uint64_t modseq = 0;
	int64_t bytes = 0, messages = 0;
	size_t i;

	for (i = 0; i < transfer->count; i++) {
		const struct placing *one = &transfer->placing[i];
		struct message *message;

		message = one->placed ? folder_find(from, one->source) : NULL;
		if (message == NULL)
			continue;
		if (modseq == 0)
			modseq = folder_next_modseq(from);
		if ((one->bits & MESSAGE_DELETED) == 0) {
			bytes += (int64_t)one->size;
			messages++;
		}
		folder_mark_expunged(from, message, modseq);
	}
	if (messages != 0 || modseq != 0)
		place_take(transfer->to, transfer->placing, transfer->count);
	if (is_trash(from) != is_trash(transfer->to)) {
		folder_account(from, -bytes, -messages);
		folder_account(transfer->to, bytes, messages);
	}
}

enum mail_result
folder_move(struct folder *from, const uint32_t *uids, size_t count, struct folder *to,
    uint32_t *from_uids, uint32_t *to_uids, size_t *done)
{
	struct transfer transfer = { .from = from, .to = to };
	struct lock to_lock, from_lock;
	enum mail_result result;
	bool renamed = true;
	unsigned round;

	*done = 0;
	transfer.placing = calloc(count + 1, sizeof(*transfer.placing));
	if (transfer.placing == NULL)
		return MAIL_FAILED;
	for (round = 0, result = MAIL_OK; round < ROUNDS && renamed && result == MAIL_OK; round++) {
		if (round > 0)
			result = look_again(from);
		/* Those moved before are gone from there, so they aren't gathered again; in one
		 * folder they are under another uid. */
		if (result == MAIL_OK)
			result = gather(&transfer, uids, count);
		if (result != MAIL_OK || transfer.count == 0)
			break;
		if (is_trash(from) && !is_trash(to))
			result = maildir_has_room(from->maildir, transfer.bytes, transfer.messages);
		if (result == MAIL_OK)
			result = lock_both(&transfer, &to_lock, &from_lock);
		if (result != MAIL_OK)
			break;
		result = place_round(&transfer, true, &renamed);
		if (fsync(to->cur) == -1 || (from != to && fsync(from->cur) == -1))
			result = folder_failed(to, "sync", "cur");
		take_moved(&transfer);
		report(&transfer, from_uids, to_uids, done);
		if (from != to)
			folder_unlock(from, &from_lock);
		folder_unlock(to, &to_lock);
	}
	free(transfer.placing);
	return result;
}
