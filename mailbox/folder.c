/*
 * An open folder: its array of messages, their files' names, and its life from the first opening to
 * the last release. Reading the disk is in folder_scan.c, changing it in the files beside.
 *
 * A name takes what it says and two bytes: the flags in it, the usual way, aren't kept as text but
 * made from the message's bits.
 */
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "mailbox/folder_state.h"

#define DIRECTORY_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define NAMES_MAX       (UINT32_MAX - 4096u)

static const struct {
	char letter;
	uint32_t bit;
} flags[] = {
	{ 'D', MESSAGE_DRAFT },
	{ 'F', MESSAGE_FLAGGED },
	{ 'R', MESSAGE_ANSWERED },
	{ 'S', MESSAGE_SEEN },
	{ 'T', MESSAGE_DELETED },
};
#define FLAG_COUNT (sizeof(flags) / sizeof(flags[0]))

int64_t
folder_time_ns(const struct timespec *time)
{
	return time->tv_sec * 1000000000LL + time->tv_nsec;
}

uint64_t
folder_next_modseq(struct folder *folder)
{
	uint64_t now = (uint64_t)clock_wall_us();

	if (now <= folder->content.highest_modseq)
		now = folder->content.highest_modseq + 1;
	folder->content.highest_modseq = now;
	folder->unsaved = true;
	return now;
}

enum mail_result
folder_failed(struct folder *folder, const char *doing, const char *name)
{
	return maildir_failed(folder->maildir, doing, folder->disk, name);
}

/* --- names --- */

/* The flags of a name in their order: ":2,FSab". */
void
folder_usual_info(uint32_t bits, char info[40])
{
	size_t length = 3, i;

	memcpy(info, ":2,", 3);
	for (i = 0; i < FLAG_COUNT; i++) {
		if ((bits & flags[i].bit) != 0)
			info[length++] = flags[i].letter;
	}
	for (i = 0; i < KEYWORDS_COUNT; i++) {
		if ((bits & 1u << i) != 0)
			info[length++] = (char)('a' + i);
	}
	info[length] = '\0';
}

uint32_t
folder_info_bits(const char *info)
{
	uint32_t bits = 0;
	size_t i;

	if (strncmp(info, ":2,", 3) != 0)
		return 0;
	for (info += 3; *info != '\0' && *info != ','; info++) {
		if (*info >= 'a' && *info <= 'z')
			bits |= 1u << (*info - 'a');
		for (i = 0; i < FLAG_COUNT; i++) {
			if (*info == flags[i].letter)
				bits |= flags[i].bit;
		}
	}
	return bits;
}

static bool
is_known_letter(char letter)
{
	return (letter >= 'a' && letter <= 'z') || strchr("DFRST", letter) != NULL;
}

static bool
names_reserve(struct folder_content *content, size_t extra)
{
	size_t capacity = content->names_capacity == 0 ? 4096 : content->names_capacity;
	char *grown;

	if (content->names_length + extra <= content->names_capacity)
		return true;
	while (capacity < content->names_length + extra)
		capacity += capacity / 2;
	if (capacity > NAMES_MAX || (grown = realloc(content->names, capacity)) == NULL)
		return false;
	content->names = grown;
	content->names_capacity = capacity;
	return true;
}

bool
folder_set_names(struct folder *folder, struct message *message, const char *base,
    size_t base_length, const char *info, const char *guid, size_t guid_length)
{
	struct folder_content *content = &folder->content;
	char usual[40];
	size_t info_length;

	folder_usual_info(message->bits, usual);
	info_length = strcmp(info, usual) == 0 ? 0 : strlen(info) + 1;
	if (!names_reserve(content, base_length + info_length + guid_length + 3))
		return false;
	message->name = (uint32_t)content->names_length;
	memcpy(content->names + content->names_length, base, base_length);
	content->names_length += base_length;
	content->names[content->names_length++] = '\0';
	if (info_length > 0) {
		content->names[content->names_length] = '=';
		memcpy(content->names + content->names_length + 1, info, info_length - 1);
		content->names_length += info_length;
	}
	content->names[content->names_length++] = '\0';
	memcpy(content->names + content->names_length, guid, guid_length);
	content->names_length += guid_length;
	content->names[content->names_length++] = '\0';
	return true;
}

bool
folder_set_info(struct folder *folder, struct message *message, const char *info)
{
	struct folder_content *content = &folder->content;
	const char *base = content->names + message->name;
	const char *stored = base + strlen(base) + 1;
	char usual[40], base_copy[256], guid[UIDLIST_EXTRA_MAX + 1];

	folder_usual_info(message->bits, usual);
	if (*stored == '=' ? strcmp(stored + 1, info) == 0 : strcmp(usual, info) == 0)
		return true;
	/* The names may move. */
	snprintf(base_copy, sizeof(base_copy), "%s", base);
	snprintf(guid, sizeof(guid), "%s", stored + strlen(stored) + 1);
	content->names_dead += strlen(base_copy) + strlen(stored) + strlen(guid) + 3;
	return folder_set_names(
	    folder, message, base_copy, strlen(base_copy), info, guid, strlen(guid));
}

/* How many bytes a message's three strings take. */
static size_t
names_size(const struct folder_content *content, const struct message *message)
{
	const char *at = content->names + message->name;

	for (int i = 0; i < 3; i++)
		at += strlen(at) + 1;
	return (size_t)(at - content->names) - message->name;
}

void
folder_tidy_names(struct folder *folder)
{
	struct folder_content *content = &folder->content;
	size_t length = 0, i;
	char *names;

	if (content->names_dead < 65536 || content->names_dead < content->names_length / 4)
		return;
	names = malloc(content->names_capacity);
	if (names == NULL)
		return;
	for (i = 0; i < content->count; i++) {
		struct message *message = &content->messages[i];
		size_t size = names_size(content, message);

		memcpy(names + length, content->names + message->name, size);
		message->name = (uint32_t)length;
		length += size;
	}
	free(content->names);
	content->names = names;
	content->names_length = length;
	content->names_dead = 0;
}

const char *
folder_message_name(struct folder *folder, const struct message *message)
{
	return folder->content.names + message->name;
}

/* "" when it is the usual one, else "=" and the text. */
static const char *
stored_info(struct folder *folder, const struct message *message)
{
	const char *base = folder->content.names + message->name;

	return base + strlen(base) + 1;
}

const char *
folder_guid(struct folder *folder, const struct message *message)
{
	const char *info = stored_info(folder, message);

	return info + strlen(info) + 1;
}

void
folder_disk_name(struct folder *folder, const struct message *message, char name[512])
{
	const char *info = stored_info(folder, message);
	char usual[40];

	folder_usual_info(message->bits, usual);
	snprintf(name, 512, "%s%s", folder_message_name(folder, message),
	    *info == '=' ? info + 1 : usual);
}

bool
folder_name_with_flags(
    struct folder *folder, const struct message *message, uint32_t bits, char name[512])
{
	const char *stored = stored_info(folder, message), *odd = stored + 4;
	char usual[40], merged[512];
	const char *at;
	size_t length = 3;

	folder_usual_info(bits, usual);
	/* Letters that we don't know are kept, and what follows a comma. */
	if (strncmp(stored, "=:2,", 4) == 0) {
		memcpy(merged, ":2,", 3);
		for (at = usual + 3;;) {
			while (is_known_letter(*odd) && *odd != '\0')
				odd++;
			if (*odd != '\0' && *odd != ',' && (*at == '\0' || *odd < *at))
				merged[length++] = *odd++;
			else if (*at != '\0')
				merged[length++] = *at++;
			else
				break;
			if (length > 300)
				return false;
		}
		snprintf(merged + length, sizeof(merged) - length, "%s", odd);
		at = merged;
	} else {
		at = usual;
	}
	return (size_t)snprintf(name, 512, "%s%s", folder_message_name(folder, message), at) <= 255;
}

/* --- messages --- */

struct message *
folder_new_message(struct folder *folder)
{
	struct folder_content *content = &folder->content;

	if (content->count == content->capacity) {
		/* Small steps where it is large: what is unused is memory, too. */
		size_t capacity = content->capacity + 64 + content->capacity / 8;
		struct message *grown = reallocarray(content->messages, capacity, sizeof(*grown));

		if (grown == NULL)
			return NULL;
		content->messages = grown;
		content->capacity = capacity;
	}
	memset(&content->messages[content->count], 0, sizeof(struct message));
	return &content->messages[content->count];
}

size_t
folder_length(const struct folder *folder)
{
	return folder->content.count;
}

struct message *
folder_at(struct folder *folder, size_t position)
{
	return &folder->content.messages[position];
}

size_t
folder_position(const struct folder *folder, uint32_t uid)
{
	size_t low = 0, high = folder->content.count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (folder->content.messages[middle].uid < uid)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct message *
folder_find(struct folder *folder, uint32_t uid)
{
	size_t count = folder->content.count, position = folder->found;
	struct message *messages = folder->content.messages;

	if (position >= count || messages[position].uid != uid) {
		if (++position >= count || messages[position].uid != uid)
			position = folder_position(folder, uid);
		if (position == count || messages[position].uid != uid)
			return NULL;
		folder->found = position;
	}
	return messages[position].expunged == 0 ? &messages[position] : NULL;
}

static void
remember_vanished(struct folder *folder, uint32_t uid, uint64_t modseq)
{
	struct folder_content *content = &folder->content;

	if (content->vanished == NULL) {
		content->vanished = malloc(VANISHED_MAX * sizeof(*content->vanished));
		content->vanished_count = 0;
		if (content->vanished == NULL) {
			content->vanished_since = modseq;
			return;
		}
	}
	if (content->vanished_count == VANISHED_MAX) {
		size_t half = VANISHED_MAX / 2;

		/* Those of one change are kept or dropped together. */
		content->vanished_since = content->vanished[half - 1].modseq;
		content->vanished_count -= half;
		memmove(content->vanished, content->vanished + half,
		    content->vanished_count * sizeof(*content->vanished));
	}
	content->vanished[content->vanished_count++] =
	    (struct vanished){ .modseq = modseq, .uid = uid };
}

void
folder_mark_expunged(struct folder *folder, struct message *message, uint64_t modseq)
{
	struct folder_content *content = &folder->content;

	message->expunged = ++folder->change;
	message->modseq = modseq;
	folder->expunged++;
	if (message->cached != 0)
		content->cache_dead += 512;
	remember_vanished(folder, message->uid, modseq);
	folder->unsaved = true;
}

void
folder_compact(struct folder *folder)
{
	struct folder_content *content = &folder->content;
	struct folder_view *view;
	size_t i, kept = 0;

	if (folder->expunged == 0)
		return;
	for (view = folder->views; view != NULL; view = view->next) {
		size_t below = 0;

		for (i = 0; i < view->shown; i++)
			below += content->messages[i].expunged != 0;
		if (below != view->hidden_count)
			return;
	}
	for (view = folder->views; view != NULL; view = view->next) {
		size_t told = view->told;

		for (i = 0; i < view->hidden_count && view->hidden[i] < view->told; i++)
			told--;
		view->told = told;
		view->shown -= view->hidden_count;
		view->hidden_count = 0;
		view->next_taken = 0;
		view->change = folder->change;
	}
	for (i = 0; i < content->count; i++) {
		if (content->messages[i].expunged == 0)
			content->messages[kept++] = content->messages[i];
		else
			content->names_dead += names_size(content, &content->messages[i]);
	}
	content->count = kept;
	folder->expunged = 0;
}

static void
unlist(struct folder *folder)
{
	struct folder **link = &folder->maildir->open;

	while (*link != NULL && *link != folder)
		link = &(*link)->next;
	if (*link != NULL)
		*link = folder->next;
	maildir_unwatch_folder(folder->maildir, folder);
}

void
folder_detach(struct folder *folder)
{
	uint64_t modseq;
	size_t i;

	if (folder->index != -1 && !index_finish(folder))
		folder_forget(folder);
	modseq = folder_next_modseq(folder);
	for (i = 0; i < folder->content.count; i++) {
		if (folder->content.messages[i].expunged == 0)
			folder_mark_expunged(folder, &folder->content.messages[i], modseq);
	}
	unlist(folder);
	folder->detached = true;
	folder->unsaved = false;
}

/* --- opening and closing --- */

static int
open_part(struct folder *folder, const char *name)
{
	int fd = openat(folder->directory, name, DIRECTORY_FLAGS);

	if (fd == -1 && errno == ENOENT && mkdirat(folder->directory, name, 0700) == 0)
		fd = openat(folder->directory, name, DIRECTORY_FLAGS);
	if (fd == -1)
		(void)folder_failed(folder, "open", name);
	return fd;
}

static void
folder_free(struct folder *folder)
{
	int *fds[] = { &folder->directory, &folder->new, &folder->cur, &folder->tmp,
		&folder->index };
	size_t i;

	cache_close(folder);
	for (i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		if (*fds[i] != -1)
			close(*fds[i]);
	}
	index_content_free(&folder->content);
	keywords_free(&folder->keywords);
	free(folder);
}

/* The directory that this folder's name stands for is still the one that is open. */
static bool
is_still_there(struct folder *folder)
{
	struct stat named, open;

	return fstatat(folder->maildir->root, folder->disk, &named, AT_SYMLINK_NOFOLLOW) == 0 &&
	    fstat(folder->directory, &open) == 0 && named.st_ino == open.st_ino &&
	    named.st_dev == open.st_dev;
}

static struct folder *
folder_begin(struct maildir *maildir, const char *name, enum mail_result *why)
{
	struct folder *folder = calloc(1, sizeof(*folder));

	*why = MAIL_FAILED;
	if (folder == NULL)
		return NULL;
	folder->maildir = maildir;
	folder->directory = folder->new = folder->cur = folder->tmp = -1;
	folder->index = folder->cache = -1;
	folder->watch_new = folder->watch_cur = -1;
	snprintf(folder->name, sizeof(folder->name), "%s", name);
	folder_name_to_disk(name, folder->disk);
	keywords_init(&folder->keywords);
	folder->directory = openat(maildir->root, folder->disk, DIRECTORY_FLAGS);
	if (folder->directory == -1) {
		*why = errno == ENOENT || errno == ENOTDIR || errno == ELOOP
		    ? MAIL_ABSENT
		    : folder_failed(folder, "open", "");
		folder_free(folder);
		return NULL;
	}
	folder->new = open_part(folder, "new");
	folder->cur = folder->new == -1 ? -1 : open_part(folder, "cur");
	folder->tmp = folder->cur == -1 ? -1 : open_part(folder, "tmp");
	if (folder->tmp == -1) {
		folder_free(folder);
		return NULL;
	}
	return folder;
}

static struct folder *
open_folder(struct maildir *maildir, const char *name, bool whole, enum mail_result *why)
{
	struct folder *folder;

	for (folder = maildir->open; folder != NULL; folder = folder->next) {
		if (strcmp(folder->name, name) == 0)
			break;
	}
	if (folder != NULL) {
		folder->references++;
		*why = whole ? folder_need(folder) : MAIL_OK;
		if (*why == MAIL_OK)
			*why = folder_sync(folder);
		/* A lock that somebody holds only means that what is shown is a little old. */
		if (*why == MAIL_OK || *why == MAIL_BUSY) {
			*why = MAIL_OK;
			return folder;
		}
		folder_release(folder);
		if (*why != MAIL_ABSENT)
			return NULL;
	}
	folder = folder_begin(maildir, name, why);
	if (folder == NULL)
		return NULL;
	folder->references = 1;
	maildir_watch_folder(maildir, folder);
	folder->next = maildir->open;
	maildir->open = folder;
	*why = folder_load(folder, whole);
	if (*why != MAIL_OK) {
		folder->unsaved = false;
		folder_release(folder);
		return NULL;
	}
	folder->published = true;
	return folder;
}

struct folder *
folder_open(struct maildir *maildir, const char *name, enum mail_result *why)
{
	return open_folder(maildir, name, true, why);
}

struct folder *
folder_open_soon(struct maildir *maildir, const char *name, enum mail_result *why)
{
	return open_folder(maildir, name, false, why);
}

void
folder_release(struct folder *folder)
{
	if (--folder->references > 0)
		return;
	folder_save(folder);
	if (!folder->detached)
		unlist(folder);
	folder_free(folder);
}

void
folder_save(struct folder *folder)
{
	if (folder->detached || !folder->unsaved)
		return;
	cache_tidy(folder);
	if (index_store(folder))
		folder->unsaved = false;
}

bool
folder_is_gone(struct folder *folder)
{
	if (!folder->detached && !is_still_there(folder))
		folder_detach(folder);
	return folder->detached;
}

enum mail_result
folder_sync(struct folder *folder)
{
	enum mail_result result;

	if (folder_is_gone(folder))
		return MAIL_ABSENT;
	folder_compact(folder);
	if (!folder_is_changed(folder))
		return MAIL_OK;
	result = folder_need(folder);
	if (result == MAIL_OK)
		result = folder_scan(folder, false);
	if (result == MAIL_ABSENT)
		folder_detach(folder);
	return result;
}

/* --- what it is --- */

const char *
folder_name(const struct folder *folder)
{
	return folder->name;
}

uint32_t
folder_uid_validity(const struct folder *folder)
{
	return folder->content.header.uid_validity;
}

uint32_t
folder_uid_next(const struct folder *folder)
{
	return folder->content.header.uid_next;
}

uint64_t
folder_highest_modseq(const struct folder *folder)
{
	return folder->content.highest_modseq;
}

void
folder_mailbox_id(const struct folder *folder, char id[34])
{
	size_t i;

	id[0] = 'F';
	for (i = 0; i < 16; i++)
		snprintf(id + 1 + 2 * i, 3, "%02x", folder->content.header.guid[i]);
}

const struct keywords *
folder_keywords(const struct folder *folder)
{
	return &folder->keywords;
}

uint32_t
folder_recent(struct folder *folder, bool claim)
{
	uint32_t first = folder->content.recent;

	if (claim && first != folder->content.header.uid_next) {
		folder->content.recent = folder->content.header.uid_next;
		folder->unsaved = true;
	}
	return first;
}

size_t
folder_first_unseen(struct folder *folder)
{
	const struct folder_content *content = &folder->content;
	size_t before = 0, i;

	if (folder->index != -1)
		return content->unseen;
	for (i = 0; i < content->count; i++) {
		if (content->messages[i].expunged != 0)
			continue;
		if ((content->messages[i].bits & MESSAGE_SEEN) == 0)
			break;
		before++;
	}
	return before;
}

enum mail_result
folder_count(struct folder *folder, bool sizes, struct folder_counts *counts)
{
	size_t i;

	memset(counts, 0, sizeof(*counts));
	for (i = 0; i < folder->content.count; i++) {
		struct message *message = &folder->content.messages[i];
		uint64_t size = 0;

		if (message->expunged != 0)
			continue;
		if (sizes) {
			enum mail_result result = folder_message_size(folder, message, &size);

			if (result != MAIL_OK && result != MAIL_EXPUNGED)
				return result;
		}
		counts->messages++;
		counts->unseen += (message->bits & MESSAGE_SEEN) == 0;
		counts->size += size;
		if ((message->bits & MESSAGE_DELETED) != 0) {
			counts->deleted++;
			counts->deleted_size += size;
		}
	}
	return MAIL_OK;
}
