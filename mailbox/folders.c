/*
 * The Maildir's folders. They are few and found by reading one directory, so nothing about them is
 * kept in memory. A new one is made under a name that is no folder's and then renamed, a deleted one
 * renamed away first: nobody ever sees half a folder.
 */
#include <sys/stat.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/log.h"
#include "mailbox/folder_state.h"
#include "mailbox/folders.h"
#include "mailbox/metadata.h"
#include "mailbox/subscriptions.h"

#define REMOVED "..postern-removed"
#define USE     "/private/specialuse"

static const struct {
	unsigned use;
	const char *text;  /* RFC 6154 2 */
	const char *usual; /* the name of a folder that is for this, unless another was made so */
} uses[] = {
	{ FOLDER_ALL, "\\All", NULL },
	{ FOLDER_ARCHIVE, "\\Archive", "Archive" },
	{ FOLDER_DRAFTS, "\\Drafts", "Drafts" },
	{ FOLDER_FLAGGED, "\\Flagged", NULL },
	{ FOLDER_JUNK, "\\Junk", "Junk" },
	{ FOLDER_SENT, "\\Sent", "Sent" },
	{ FOLDER_TRASH, "\\Trash", "Trash" },
};
#define USE_COUNT (sizeof(uses) / sizeof(uses[0]))

const char *
folder_use_text(unsigned use)
{
	size_t i;

	for (i = 0; i < USE_COUNT; i++) {
		if (uses[i].use == use)
			return uses[i].text;
	}
	return "";
}

unsigned
folder_use_parse(const char *text)
{
	size_t i;

	for (i = 0; i < USE_COUNT; i++) {
		if (strcasecmp(uses[i].text, text) == 0)
			return uses[i].use;
	}
	return 0;
}

/* --- listing --- */

static struct folders_entry *
add_entry(struct folders_list *list, const char *name)
{
	struct folders_entry *grown;

	if (list->count % 64 == 0) {
		grown = reallocarray(list->entries, list->count + 64, sizeof(*grown));
		if (grown == NULL)
			return NULL;
		list->entries = grown;
	}
	memset(&list->entries[list->count], 0, sizeof(*list->entries));
	list->entries[list->count].name = strdup(name);
	if (list->entries[list->count].name == NULL)
		return NULL;
	return &list->entries[list->count++];
}

void
folders_list_free(struct folders_list *list)
{
	size_t i;

	for (i = 0; i < list->count; i++)
		free(list->entries[i].name);
	free(list->entries);
	memset(list, 0, sizeof(*list));
}

/* INBOX first, and what is below a folder right after it. */
static int
compare_entries(const void *a, const void *b)
{
	const char *left = ((const struct folders_entry *)a)->name;
	const char *right = ((const struct folders_entry *)b)->name;
	bool left_inbox = folder_name_is_inbox(left), right_inbox = folder_name_is_inbox(right);

	if (left_inbox != right_inbox)
		return left_inbox ? -1 : 1;
	for (; *left != '\0' && *left == *right; left++, right++)
		;
	if (*left == *right)
		return 0;
	if (*left == '\0' || *right == '\0')
		return *left == '\0' ? -1 : 1;
	if (*left == FOLDER_SEPARATOR || *right == FOLDER_SEPARATOR)
		return *left == FOLDER_SEPARATOR ? -1 : 1;
	return (unsigned char)*left < (unsigned char)*right ? -1 : 1;
}

static void
sort_and_merge(struct folders_list *list)
{
	size_t kept = 0, i;

	if (list->count == 0)
		return;
	qsort(list->entries, list->count, sizeof(*list->entries), compare_entries);
	for (i = 1; i < list->count; i++) {
		struct folders_entry *last = &list->entries[kept], *one = &list->entries[i];

		if (strcmp(last->name, one->name) == 0) {
			last->exists = last->exists || one->exists;
			last->subscribed = last->subscribed || one->subscribed;
			last->use |= one->use;
			free(one->name);
		} else {
			list->entries[++kept] = *one;
		}
	}
	list->count = kept + 1;
}

static bool
is_directory(int parent, const struct dirent *entry)
{
	struct stat st;

	if (entry->d_type != DT_UNKNOWN)
		return entry->d_type == DT_DIR;
	return fstatat(parent, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

/* The folders that are there, unsorted. */
static enum mail_result
read_folders(struct maildir *maildir, struct folders_list *list)
{
	int fd = openat(maildir->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), error;
	enum mail_result result = MAIL_OK;
	char name[FOLDER_NAME_SIZE];
	struct folders_entry *made;
	struct dirent *entry;
	DIR *directory;

	memset(list, 0, sizeof(*list));
	if (fd == -1 || (directory = fdopendir(fd)) == NULL) {
		error = errno;
		if (fd != -1)
			close(fd);
		errno = error;
		return maildir_failed(maildir, "read", ".", "");
	}
	made = add_entry(list, "INBOX");
	if (made != NULL)
		made->exists = true;
	while (made != NULL && (errno = 0, entry = readdir(directory)) != NULL) {
		if (!is_directory(fd, entry) || !folder_name_from_disk(entry->d_name, name))
			continue;
		if (list->count == FOLDERS_MAX) {
			result = MAIL_LIMIT;
			break;
		}
		made = add_entry(list, name);
		if (made != NULL)
			made->exists = true;
	}
	if (made == NULL || (result == MAIL_OK && errno != 0))
		result = maildir_failed(maildir, "read", ".", "");
	closedir(directory);
	return result;
}

/* Folders that aren't there but have others below them. */
static bool
add_parents(struct folders_list *list)
{
	size_t count = list->count, i;
	char name[FOLDER_NAME_SIZE], *separator;

	for (i = 0; i < count; i++) {
		if (!list->entries[i].exists)
			continue;
		snprintf(name, sizeof(name), "%s", list->entries[i].name);
		while ((separator = strrchr(name, FOLDER_SEPARATOR)) != NULL) {
			*separator = '\0';
			if (add_entry(list, name) == NULL)
				return false;
		}
	}
	return true;
}

static void
find_uses(struct maildir *maildir, struct folders_list *list)
{
	unsigned given = 0;
	size_t i, j;

	for (i = 0; i < list->count; i++) {
		struct folders_entry *entry = &list->entries[i];
		const struct metadata_entry *found;
		struct metadata metadata;
		char text[32];

		if (!entry->exists || metadata_load(maildir, entry->name, &metadata) != MAIL_OK)
			continue;
		found = metadata_find(&metadata, USE);
		if (found != NULL && found->length < sizeof(text)) {
			memcpy(text, found->value, found->length);
			text[found->length] = '\0';
			entry->use = folder_use_parse(text);
			given |= entry->use;
		}
		metadata_free(&metadata);
	}
	for (i = 0; i < list->count; i++) {
		for (j = 0; j < USE_COUNT; j++) {
			if (list->entries[i].exists && uses[j].usual != NULL &&
			    (given & uses[j].use) == 0 &&
			    strcmp(list->entries[i].name, uses[j].usual) == 0)
				list->entries[i].use |= uses[j].use;
		}
	}
}

enum mail_result
folders_list(struct maildir *maildir, struct folders_list *list)
{
	struct subscriptions subscriptions;
	enum mail_result result;
	struct folders_entry *made;
	size_t i, j;

	result = read_folders(maildir, list);
	if (result == MAIL_OK && !add_parents(list))
		result = MAIL_FAILED;
	if (result == MAIL_OK)
		result = subscriptions_load(maildir, &subscriptions);
	if (result != MAIL_OK) {
		folders_list_free(list);
		return result;
	}
	for (i = 0; i < subscriptions.count; i++) {
		made = add_entry(list, subscriptions.names[i]);
		if (made != NULL)
			made->subscribed = true;
	}
	subscriptions_free(&subscriptions);
	sort_and_merge(list);
	/* What is below a folder follows it. */
	for (i = 0; i < list->count; i++) {
		for (j = i + 1; j < list->count &&
		     folder_name_is_below(list->entries[j].name, list->entries[i].name);
		     j++) {
			if (list->entries[j].exists) {
				list->entries[i].has_children = true;
				break;
			}
		}
	}
	find_uses(maildir, list);
	return MAIL_OK;
}

enum mail_result
folders_exist(struct maildir *maildir, const char *name)
{
	char disk[FOLDER_DISK_MAX + 2];
	struct stat st;

	folder_name_to_disk(name, disk);
	return fstatat(maildir->root, disk, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode)
	    ? MAIL_OK
	    : MAIL_ABSENT;
}

/* --- removing a directory --- */

/* All files in a directory, and with `deep` the directories in it with theirs. */
static bool
empty_directory(int parent, const char *name, bool deep)
{
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct dirent *entry;
	DIR *directory;
	bool good = true;

	if (fd == -1 || (directory = fdopendir(fd)) == NULL) {
		if (fd != -1)
			close(fd);
		return false;
	}
	while (good && (errno = 0, entry = readdir(directory)) != NULL) {
		if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
			continue;
		if (unlinkat(fd, entry->d_name, 0) == 0 || errno == ENOENT)
			continue;
		good = deep && empty_directory(fd, entry->d_name, false) &&
		    unlinkat(fd, entry->d_name, AT_REMOVEDIR) == 0;
	}
	good = good && errno == 0;
	closedir(directory);
	return good;
}

/* What deletions have renamed away, this one's and those that were cut short. */
static void
remove_removed(struct maildir *maildir)
{
	int fd = openat(maildir->root, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *directory = fd == -1 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (directory == NULL) {
		if (fd != -1)
			close(fd);
		return;
	}
	while ((entry = readdir(directory)) != NULL) {
		if (strncmp(entry->d_name, REMOVED, strlen(REMOVED)) == 0 &&
		    (!empty_directory(fd, entry->d_name, true) ||
		        unlinkat(fd, entry->d_name, AT_REMOVEDIR) == -1))
			(void)maildir_failed(maildir, "remove", ".", entry->d_name);
	}
	closedir(directory);
}

/* A name of our own in the Maildir that is no folder's. */
static void
aside_name(struct maildir *maildir, char aside[NAME_SIZE + 32])
{
	char unique[NAME_SIZE];

	maildir_temporary_name(maildir, unique);
	snprintf(aside, NAME_SIZE + 32, "%s.%s", REMOVED, unique);
}

/* --- changing --- */

/* What a folder has, synced before it gets its name. */
static bool
fill_folder(int directory)
{
	static const char *const parts[] = { "cur", "new", "tmp" };
	int fd;
	size_t i;

	for (i = 0; i < 3; i++) {
		if (mkdirat(directory, parts[i], 0700) == -1)
			return false;
	}
	/* Maildir++: this is a folder, not a Maildir of its own. */
	fd = openat(
	    directory, "maildirfolder", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd == -1)
		return false;
	close(fd);
	return fsync(directory) == 0;
}

enum mail_result
folders_create(struct maildir *maildir, const char *name, unsigned use)
{
	char disk[FOLDER_DISK_MAX + 2], aside[NAME_SIZE + 32];
	enum mail_result result = MAIL_OK;
	struct folders_list list;
	struct folder *folder;
	int directory;

	if (folders_exist(maildir, name) == MAIL_OK)
		return MAIL_EXISTS;
	result = read_folders(maildir, &list);
	if (result == MAIL_OK && list.count >= FOLDERS_MAX)
		result = MAIL_LIMIT;
	folders_list_free(&list);
	if (result != MAIL_OK)
		return result;
	folder_name_to_disk(name, disk);
	aside_name(maildir, aside);
	if (mkdirat(maildir->root, aside, 0700) == -1)
		return maildir_failed(maildir, "make", ".", disk);
	directory = openat(maildir->root, aside, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (directory == -1 || !fill_folder(directory)) {
		result = maildir_failed(maildir, "make", ".", disk);
	} else if (renameat2(maildir->root, aside, maildir->root, disk, RENAME_NOREPLACE) == -1) {
		result = errno == EEXIST ? MAIL_EXISTS : maildir_failed(maildir, "make", ".", disk);
	} else if (fsync(maildir->root) == -1) {
		result = maildir_failed(maildir, "sync", ".", "");
	}
	if (directory != -1)
		close(directory);
	if (result != MAIL_OK) {
		remove_removed(maildir);
		return result;
	}
	if (use != 0)
		result = metadata_set(
		    maildir, name, USE, folder_use_text(use), strlen(folder_use_text(use)));
	/* Its UIDVALIDITY is one from now on. */
	folder = result == MAIL_OK ? folder_open(maildir, name, &result) : NULL;
	if (folder != NULL)
		folder_release(folder);
	if (result != MAIL_OK && folders_delete(maildir, name) != MAIL_OK)
		log_debug("%s stays, half made", name);
	return result;
}

static struct folder *
find_open(struct maildir *maildir, const char *name)
{
	struct folder *folder;

	for (folder = maildir->open; folder != NULL; folder = folder->next) {
		if (strcmp(folder->name, name) == 0)
			return folder;
	}
	return NULL;
}

enum mail_result
folders_delete(struct maildir *maildir, const char *name)
{
	char disk[FOLDER_DISK_MAX + 2], aside[NAME_SIZE + 32];
	struct folder *open = find_open(maildir, name);
	struct quota quota;

	if (folder_name_is_inbox(name))
		return MAIL_CANNOT;
	folder_name_to_disk(name, disk);
	aside_name(maildir, aside);
	if (renameat(maildir->root, disk, maildir->root, aside) == -1)
		return errno == ENOENT ? MAIL_ABSENT : maildir_failed(maildir, "remove", ".", disk);
	if (open != NULL)
		folder_detach(open);
	if (fsync(maildir->root) == -1)
		return maildir_failed(maildir, "sync", ".", "");
	remove_removed(maildir);
	/* Counted anew: what it held isn't known. */
	if (quota_is_limited(&maildir->limits)) {
		(void)unlinkat(maildir->root, "maildirsize", 0);
		(void)maildir_quota(maildir, &quota);
	}
	return MAIL_OK;
}

/* RFC 9051 6.3.6: the messages of INBOX go to a new folder, INBOX stays. */
static enum mail_result
move_inbox(struct maildir *maildir, const char *to)
{
	enum mail_result result = folders_create(maildir, to, 0);
	struct folder *inbox = NULL, *made = NULL;
	uint32_t *uids = NULL;
	size_t count = 0, done = 0, i;

	if (result != MAIL_OK)
		return result;
	inbox = folder_open(maildir, "INBOX", &result);
	if (inbox != NULL)
		made = folder_open(maildir, to, &result);
	if (made != NULL) {
		uids = calloc(3 * (folder_length(inbox) + 1), sizeof(*uids));
		result = uids == NULL ? MAIL_FAILED : MAIL_OK;
	}
	if (uids != NULL) {
		size_t length = folder_length(inbox);

		for (i = 0; i < length; i++) {
			if (folder_at(inbox, i)->expunged == 0)
				uids[count++] = folder_at(inbox, i)->uid;
		}
		result = folder_move(
		    inbox, uids, count, made, uids + length + 1, uids + 2 * (length + 1), &done);
	}
	free(uids);
	if (made != NULL)
		folder_release(made);
	if (inbox != NULL)
		folder_release(inbox);
	if (result != MAIL_OK && done == 0 && folders_delete(maildir, to) != MAIL_OK)
		log_debug("%s stays, though INBOX wasn't renamed", to);
	return result;
}

/* The name of what was `from` or below it. */
static bool
renamed(const char *name, const char *from, const char *to, char result[FOLDER_NAME_SIZE])
{
	char made[FOLDER_NAME_SIZE * 2];

	snprintf(made, sizeof(made), "%s%s", to, name + strlen(from));
	return folder_name_clean(made, result);
}

/* Open folders go along. */
static void
rename_open(struct maildir *maildir, const char *from, const char *to)
{
	struct folder *folder = find_open(maildir, from);

	if (folder == NULL)
		return;
	snprintf(folder->name, sizeof(folder->name), "%s", to);
	folder_name_to_disk(to, folder->disk);
}

static enum mail_result
rename_all(
    struct maildir *maildir, const struct folders_list *list, const char *from, const char *to)
{
	char name[FOLDER_NAME_SIZE], disk[FOLDER_DISK_MAX + 2], new_disk[FOLDER_DISK_MAX + 2];
	bool any = false;
	size_t i;

	/* First see that all can be. */
	for (i = 0; i < list->count; i++) {
		const char *old = list->entries[i].name;

		if (strcmp(old, from) != 0 && !folder_name_is_below(old, from))
			continue;
		any = true;
		if (!renamed(old, from, to, name))
			return MAIL_BAD_NAME;
		if (folders_exist(maildir, name) == MAIL_OK)
			return MAIL_EXISTS;
	}
	if (!any)
		return MAIL_ABSENT;
	for (i = 0; i < list->count; i++) {
		const char *old = list->entries[i].name;

		if ((strcmp(old, from) != 0 && !folder_name_is_below(old, from)) ||
		    !renamed(old, from, to, name))
			continue;
		folder_name_to_disk(old, disk);
		folder_name_to_disk(name, new_disk);
		if (renameat2(maildir->root, disk, maildir->root, new_disk, RENAME_NOREPLACE) == -1)
			return maildir_failed(maildir, "rename", ".", disk);
		rename_open(maildir, old, name);
	}
	return fsync(maildir->root) == 0 ? MAIL_OK : maildir_failed(maildir, "sync", ".", "");
}

enum mail_result
folders_rename(struct maildir *maildir, const char *from, const char *to)
{
	struct folders_list list;
	enum mail_result result;

	if (folder_name_is_inbox(to))
		return MAIL_EXISTS;
	if (folder_name_is_inbox(from))
		return move_inbox(maildir, to);
	if (strcmp(from, to) == 0)
		return folders_exist(maildir, from) == MAIL_OK ? MAIL_EXISTS : MAIL_ABSENT;
	if (folder_name_is_below(to, from))
		return MAIL_CANNOT;
	result = read_folders(maildir, &list);
	if (result == MAIL_OK)
		result = rename_all(maildir, &list, from, to);
	folders_list_free(&list);
	return result;
}

enum mail_result
folders_subscribe(struct maildir *maildir, const char *name, bool subscribed)
{
	return subscriptions_set(maildir, name, subscribed);
}
