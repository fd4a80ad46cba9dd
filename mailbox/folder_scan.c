/*
 * Reading the disk: which files there are, which uids they have, what their flags are.
 *
 * All of it is done under the uidlist's lock, which Dovecot holds, too, while it renames files; a
 * program that knows no lock can rename one while the directory is read, so that it is met twice or
 * not at all. So what seems gone is looked for by its name, and if the directory changed meanwhile
 * in a second reading; and what is met twice is believed only when both names are still there.
 *
 * A uid is told to nobody before its record is synced in the list.
 */
#include <sys/inotify.h>
#include <sys/stat.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/clock.h"
#include "common/log.h"
#include "mailbox/folder_scan.h"
#include "mailbox/folder_state.h"

#define SEARCHES_MAX 3

static bool
map_messages(struct scan *scan)
{
	struct folder *folder = scan->folder;
	size_t i;

	if (!name_map_init(&scan->messages, scan->known_count))
		return false;
	for (i = 0; i < scan->known_count; i++) {
		const struct message *message = &folder->content.messages[i];
		const char *name = folder_message_name(folder, message);

		if (message->expunged == 0)
			name_map_add(&scan->messages, name, strlen(name), (uint32_t)i);
	}
	return true;
}

static bool
is_named(struct folder *folder, const struct message *message, const char *base, size_t length)
{
	const char *name = folder_message_name(folder, message);

	return strncmp(name, base, length) == 0 && name[length] == '\0';
}

static struct message *
find_message(struct scan *scan, const char *base, size_t length)
{
	struct message *messages = scan->folder->content.messages;
	uint32_t number;
	size_t cursor = 0, i;

	/* For a delivery or two a map of all isn't worth while. */
	if (scan->messages.slots == NULL && scan->searched++ >= SEARCHES_MAX)
		(void)map_messages(scan);
	if (scan->messages.slots != NULL) {
		while (name_map_next(&scan->messages, base, length, &cursor, &number)) {
			if (is_named(scan->folder, &messages[number], base, length))
				return &messages[number];
		}
		return NULL;
	}
	for (i = scan->known_count; i-- > 0;) {
		if (messages[i].expunged == 0 && is_named(scan->folder, &messages[i], base, length))
			return &messages[i];
	}
	return NULL;
}

static const struct uidlist_record *
find_record(struct scan *scan, const char *base, size_t length)
{
	const struct uidlist_record *found = NULL;
	size_t cursor = 0;
	uint32_t number;

	while (name_map_next(&scan->records, base, length, &cursor, &number)) {
		const struct uidlist_record *record = &scan->news.records[number];

		/* A file that came back has two: the later one counts. */
		if (record->name_length == length && memcmp(record->name, base, length) == 0 &&
		    (found == NULL || record->uid > found->uid))
			found = record;
	}
	return found;
}

static struct fresh *
find_fresh(struct scan *scan, const char *base, size_t length)
{
	size_t cursor = 0;
	uint32_t number;

	while (name_map_next(&scan->fresh_names, base, length, &cursor, &number)) {
		struct fresh *fresh = &scan->fresh[number];

		if (strncmp(fresh->base, base, length) == 0 && fresh->base[length] == '\0')
			return fresh;
	}
	return NULL;
}

static bool
grow_fresh_names(struct scan *scan)
{
	struct name_map larger;
	size_t i;

	if (scan->fresh_names.slots != NULL && scan->fresh_count * 2 <= scan->fresh_names.mask)
		return true;
	if (!name_map_init(&larger, (scan->fresh_count + 32) * 2))
		return false;
	for (i = 0; i < scan->fresh_count; i++)
		name_map_add(
		    &larger, scan->fresh[i].base, strlen(scan->fresh[i].base), (uint32_t)i);
	name_map_free(&scan->fresh_names);
	scan->fresh_names = larger;
	return true;
}

static bool
add_fresh(struct scan *scan, const char *base, size_t length, const char *info, bool in_new,
    const struct uidlist_record *record)
{
	struct fresh *fresh;

	if (!grow_fresh_names(scan))
		return false;
	if (scan->fresh_count == scan->fresh_capacity) {
		size_t capacity = scan->fresh_capacity * 2 + 16;
		struct fresh *grown = reallocarray(scan->fresh, capacity, sizeof(*grown));

		if (grown == NULL)
			return false;
		scan->fresh = grown;
		scan->fresh_capacity = capacity;
	}
	fresh = &scan->fresh[scan->fresh_count];
	memset(fresh, 0, sizeof(*fresh));
	fresh->base = malloc(length + strlen(info) + 2);
	if (fresh->base == NULL)
		return false;
	memcpy(fresh->base, base, length);
	fresh->base[length] = '\0';
	fresh->info = fresh->base + length + 1;
	strcpy(fresh->info, info);
	fresh->in_new = in_new;
	fresh->delivered = strtoull(fresh->base, NULL, 10);
	if (record != NULL) {
		fresh->uid = record->uid;
		fresh->guid = uidlist_extra(record, 'G', &fresh->guid_length);
	}
	name_map_add(&scan->fresh_names, fresh->base, length, (uint32_t)scan->fresh_count);
	scan->fresh_count++;
	return true;
}

/* What is met under a name that can't be kept is given another one, and then is a new message. */
static bool
rename_odd(struct scan *scan, bool in_new, const char *name)
{
	struct folder *folder = scan->folder;
	int directory = in_new ? folder->new : folder->cur;
	const char *info = strchr(name, ':');
	char unique[NAME_SIZE], disk[512];
	struct log_line line;

	if (info == NULL || strncmp(info, ":2,", 3) != 0 || strchr(info, '\n') != NULL)
		info = in_new ? "" : ":2,";
	maildir_temporary_name(folder->maildir, unique);
	snprintf(disk, sizeof(disk), "%s%.40s", unique, info);
	if (renameat(directory, name, directory, disk) == -1)
		return errno == ENOENT;
	maildir_expect(folder->maildir, folder, !in_new, IN_MOVED_FROM, name);
	maildir_expect(folder->maildir, folder, !in_new, IN_MOVED_TO, disk);
	log_begin(&line, LOG_LEVEL_WARNING, "mailbox-file-renamed");
	log_text(&line, "path", folder->maildir->path);
	log_text(&line, "folder", folder->disk);
	log_text(&line, "from", name);
	log_text(&line, "to", disk);
	log_end(&line);
	return add_fresh(scan, unique, strlen(unique), disk + strlen(unique), in_new, NULL);
}

/*
 * A second file of one base name. Two names of the same file are a move that was cut short (link,
 * then unlink): one goes. Two files that were given one name are two messages.
 */
static bool
resolve_twice(struct scan *scan, bool old_in_new, const char *old, bool in_new, const char *name,
    bool *take_second)
{
	struct folder *folder = scan->folder;
	struct stat first, second;

	*take_second = false;
	if (old_in_new == in_new && strcmp(old, name) == 0)
		return true;
	if (fstatat(in_new ? folder->new : folder->cur, name, &second, AT_SYMLINK_NOFOLLOW) == -1)
		return errno == ENOENT;
	if (fstatat(old_in_new ? folder->new : folder->cur, old, &first, AT_SYMLINK_NOFOLLOW) ==
	    -1) {
		*take_second = errno == ENOENT;
		return errno == ENOENT;
	}
	if (first.st_ino != second.st_ino || first.st_dev != second.st_dev)
		return rename_odd(scan, in_new, name);
	/* The one in cur/ stays. */
	if (old_in_new && !in_new) {
		*take_second = true;
		return unlinkat(folder->new, old, 0) == 0 || errno == ENOENT;
	}
	if (unlinkat(in_new ? folder->new : folder->cur, name, 0) == -1)
		return errno == ENOENT;
	maildir_expect(folder->maildir, folder, !in_new, IN_DELETE, name);
	return true;
}

/* A file that is known: it may have other flags now, or another place. */
static bool
met_known(struct scan *scan, struct message *message, const char *name, size_t length, bool in_new)
{
	struct folder *folder = scan->folder;
	size_t position = (size_t)(message - folder->content.messages);
	const char *info = name + length;
	uint32_t bits = folder_info_bits(info) | (in_new ? MESSAGE_IN_NEW : 0);
	char old[512];
	bool take = true;

	folder_disk_name(folder, message, old);
	if (strcmp(old, name) == 0 && (message->bits & MESSAGE_IN_NEW) == (bits & MESSAGE_IN_NEW)) {
		scan->seen[position] = true;
		return true;
	}
	if ((scan->seen[position] || !scan->all) &&
	    !resolve_twice(scan, (message->bits & MESSAGE_IN_NEW) != 0, old, in_new, name, &take))
		return false;
	scan->seen[position] = true;
	if (!take)
		return true;
	if ((message->bits & ~MESSAGE_IN_NEW) != (bits & ~MESSAGE_IN_NEW)) {
		if (scan->modseq == 0)
			scan->modseq = folder_next_modseq(folder);
		message->modseq = scan->modseq;
	}
	message->bits = bits;
	folder->unsaved = true;
	return folder_set_info(folder, message, info);
}

static bool
met(struct scan *scan, const char *name, bool in_new)
{
	size_t length = strcspn(name, ":");
	struct message *message = find_message(scan, name, length);
	const struct uidlist_record *record = find_record(scan, name, length);
	struct fresh *fresh;
	bool take;
	char old[512];

	if (strchr(name, '\n') != NULL || length == 0)
		return rename_odd(scan, in_new, name);
	if (message != NULL) {
		bool same = record != NULL ? record->uid == message->uid : !scan->news.whole;

		if (same)
			return met_known(scan, message, name, length, in_new);
		/* The list gives it another uid, or none: then it isn't this message any more. */
	}
	fresh = find_fresh(scan, name, length);
	if (fresh == NULL)
		return add_fresh(scan, name, length, name + length, in_new, record);
	snprintf(old, sizeof(old), "%s%s", fresh->base, fresh->info);
	if (!resolve_twice(scan, fresh->in_new, old, in_new, name, &take))
		return false;
	if (take) {
		char *base = malloc(strlen(name) + 2);

		if (base == NULL)
			return false;
		memcpy(base, name, length);
		base[length] = '\0';
		strcpy(base + length + 1, name + length);
		fresh = find_fresh(scan, name, length);
		free(fresh->base);
		fresh->base = base;
		fresh->info = base + length + 1;
		fresh->in_new = in_new;
	}
	return true;
}

static bool
is_regular(int directory, const struct dirent *entry)
{
	struct stat st;

	if (entry->d_type != DT_UNKNOWN)
		return entry->d_type == DT_REG;
	return fstatat(directory, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISREG(st.st_mode);
}

/* Reads new/ or cur/. */
static enum mail_result
read_directory(struct scan *scan, bool in_new)
{
	const char *part = in_new ? "new" : "cur";
	int fd =
	    openat(scan->folder->directory, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct dirent *entry;
	bool good = true;
	DIR *directory;
	int error;

	if (fd == -1 || (directory = fdopendir(fd)) == NULL) {
		error = errno;
		if (fd != -1)
			close(fd);
		errno = error;
		return folder_failed(scan->folder, "read", part);
	}
	while (good && (errno = 0, entry = readdir(directory)) != NULL) {
		if (entry->d_name[0] != '.' && is_regular(fd, entry)) {
			errno = ENOMEM;
			good = met(scan, entry->d_name, in_new);
		}
	}
	error = errno;
	closedir(directory);
	errno = error;
	if (!good || error != 0)
		return folder_failed(scan->folder, "read", part);
	return MAIL_OK;
}

/* Those that weren't met but are where they should be; true when some really are missing. */
static bool
some_are_missing(struct scan *scan)
{
	struct folder *folder = scan->folder;
	bool missing = false;
	size_t i;

	for (i = 0; i < scan->known_count; i++) {
		struct message *message = &folder->content.messages[i];
		struct stat st;
		char name[512];

		if (message->expunged != 0 || scan->seen[i])
			continue;
		/* A file that has another uid now, or none, isn't this message. */
		if (find_fresh(scan, folder_message_name(folder, message),
		        strlen(folder_message_name(folder, message))) != NULL)
			continue;
		folder_disk_name(folder, message, name);
		if (!scan->news.whole &&
		    fstatat((message->bits & MESSAGE_IN_NEW) != 0 ? folder->new : folder->cur, name,
		        &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISREG(st.st_mode))
			scan->seen[i] = true;
		else
			missing = true;
	}
	return missing;
}

static enum mail_result
read_all(struct scan *scan)
{
	int64_t before = folder_directory_ns(scan->folder->cur);
	bool was_quiet = folder_is_quiet_since(before);
	enum mail_result result;

	result = read_directory(scan, true);
	if (result == MAIL_OK)
		result = read_directory(scan, false);
	if (result != MAIL_OK || !some_are_missing(scan) ||
	    (was_quiet && folder_directory_ns(scan->folder->cur) == before))
		return result;
	result = read_directory(scan, true);
	if (result == MAIL_OK)
		result = read_directory(scan, false);
	(void)some_are_missing(scan);
	return result;
}

static bool
prepare(struct scan *scan)
{
	struct folder *folder = scan->folder;
	size_t i;

	scan->known_count = folder->content.count;
	scan->seen = calloc(scan->known_count + 1, sizeof(*scan->seen));
	if (scan->seen == NULL || !name_map_init(&scan->records, scan->news.count))
		return false;
	for (i = 0; i < scan->news.count; i++)
		name_map_add(&scan->records, scan->news.records[i].name,
		    scan->news.records[i].name_length, (uint32_t)i);
	return !scan->all || map_messages(scan);
}

static void
scan_free(struct scan *scan)
{
	size_t i;

	for (i = 0; i < scan->fresh_count; i++)
		free(scan->fresh[i].base);
	free(scan->fresh);
	free(scan->seen);
	name_map_free(&scan->messages);
	name_map_free(&scan->records);
	name_map_free(&scan->fresh_names);
	uidlist_news_free(&scan->news);
}

enum mail_result
folder_scan(struct folder *folder, bool first)
{
	struct scan scan = { .folder = folder, .first = first };
	enum mail_result result;
	struct lock lock;

	result = folder_lock_if_possible(folder, &lock);
	if (result != MAIL_OK)
		return result;
	result = uidlist_refresh(folder, &scan.news);
	scan.all = first || folder->cur_changed || scan.news.whole;
	folder->new_changed = folder->cur_changed = false;
	scan.anew = folder->content.highest_modseq == 0;
	if (scan.anew && result == MAIL_OK)
		folder->content.vanished_since = scan.modseq = folder_next_modseq(folder);
	if (result == MAIL_OK && !prepare(&scan)) {
		errno = ENOMEM;
		result = folder_failed(folder, "read", "cur");
	}
	if (result == MAIL_OK) {
		(void)keywords_refresh(&folder->keywords, folder->directory);
		result = scan.all ? read_all(&scan) : read_directory(&scan, true);
	}
	if (result == MAIL_OK)
		result = folder_take_in(&scan);
	if (result == MAIL_OK) {
		if (scan.all)
			uidlist_tidy(folder);
		folder->scan_due_ms = 0;
	} else if (result != MAIL_ABSENT) {
		/* Not to be taken for done. */
		folder->new_changed = folder->cur_changed = true;
	}
	folder_unlock(folder, &lock);
	scan_free(&scan);
	return result;
}
