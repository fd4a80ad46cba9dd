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

#define TICK_NS      20000000 /* file times are no finer than the kernel's tick */
#define SEARCHES_MAX 3
#define WAIT_FROM    1000 /* messages: with less, reading again is cheaper than waiting */

/* --- directory times --- */

static int64_t
time_of(int directory)
{
	struct stat st;

	return fstat(directory, &st) == -1 ? 0 : folder_time_ns(&st.st_mtim);
}

bool
folder_times_are_known(struct folder *folder)
{
	const struct folder_content *content = &folder->content;

	return content->new_ns != 0 && content->cur_ns != 0 &&
	    time_of(folder->new) == content->new_ns && time_of(folder->cur) == content->cur_ns;
}

static int64_t
age_ns(int64_t time_ns)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return folder_time_ns(&now) - time_ns;
}

void
folder_note_times(struct folder *folder)
{
	const struct timespec tick = { .tv_nsec = TICK_NS };
	struct folder_content *content = &folder->content;
	int64_t cur_ns = time_of(folder->cur), new_ns = time_of(folder->new);
	int64_t latest = cur_ns > new_ns ? cur_ns : new_ns;

	if (folder->watch_cur != -1 && age_ns(latest) < TICK_NS) {
		/* Another change now could get the same time. */
		if (content->count < WAIT_FROM) {
			content->cur_ns = content->new_ns = 0;
			return;
		}
		nanosleep(&tick, NULL);
	}
	maildir_watch_read(folder->maildir);
	if (folder->new_changed || folder->cur_changed) {
		content->cur_ns = content->new_ns = 0;
		return;
	}
	content->cur_ns = cur_ns;
	content->new_ns = new_ns;
}

bool
folder_is_changed(struct folder *folder)
{
	if (folder->detached)
		return false;
	if (folder->watch_cur != -1) {
		maildir_watch_read(folder->maildir);
	} else {
		if (time_of(folder->new) != folder->content.new_ns)
			folder->new_changed = true;
		if (time_of(folder->cur) != folder->content.cur_ns ||
		    (folder->scan_due_ms != 0 && clock_monotonic_ms() > folder->scan_due_ms))
			folder->cur_changed = true;
	}
	return folder->new_changed || folder->cur_changed;
}

/* --- names to numbers --- */

static uint32_t
hash_of(const char *name, size_t length)
{
	uint64_t hash = 0xcbf29ce484222325ULL;

	for (size_t i = 0; i < length; i++)
		hash = (hash ^ (uint8_t)name[i]) * 0x100000001b3ULL;
	return (uint32_t)(hash ^ hash >> 32);
}

bool
name_map_init(struct name_map *map, size_t names)
{
	size_t size = 64;

	while (size < names * 2)
		size *= 2;
	map->mask = size - 1;
	map->slots = calloc(size, sizeof(*map->slots));
	return map->slots != NULL;
}

void
name_map_free(struct name_map *map)
{
	free(map->slots);
	map->slots = NULL;
}

void
name_map_add(struct name_map *map, const char *name, size_t length, uint32_t number)
{
	uint32_t hash = hash_of(name, length);
	size_t at = hash & map->mask;

	while (map->slots[at] != 0)
		at = (at + 1) & map->mask;
	map->slots[at] = (uint64_t)hash << 32 | (number + 1);
}

bool
name_map_next(
    const struct name_map *map, const char *name, size_t length, size_t *cursor, uint32_t *number)
{
	uint32_t hash = hash_of(name, length);
	size_t at = (hash + *cursor) & map->mask;

	if (map->slots == NULL)
		return false;
	for (; map->slots[at] != 0; at = (at + 1) & map->mask) {
		++*cursor;
		if (map->slots[at] >> 32 == hash) {
			*number = (uint32_t)map->slots[at] - 1;
			return true;
		}
	}
	return false;
}

/* --- what is found --- */

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
	return folder_set_names(folder, message, name, length, info, folder_guid(folder, message),
	    strlen(folder_guid(folder, message)));
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
	int64_t before = time_of(scan->folder->cur);
	bool was_quiet = age_ns(before) > TICK_NS;
	enum mail_result result;

	result = read_directory(scan, true);
	if (result == MAIL_OK)
		result = read_directory(scan, false);
	if (result != MAIL_OK || !some_are_missing(scan) ||
	    (was_quiet && time_of(scan->folder->cur) == before))
		return result;
	result = read_directory(scan, true);
	if (result == MAIL_OK)
		result = read_directory(scan, false);
	(void)some_are_missing(scan);
	return result;
}

/* --- taking it in --- */

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
	unsigned long long left_time, right_time;

	if (left->uid != 0 || right->uid != 0) {
		uint32_t x = left->uid == 0 ? UINT32_MAX : left->uid;
		uint32_t y = right->uid == 0 ? UINT32_MAX : right->uid;

		return x < y ? -1 : x > y;
	}
	left_time = strtoull(left->base, NULL, 10);
	right_time = strtoull(right->base, NULL, 10);
	if (left_time != right_time)
		return left_time < right_time ? -1 : 1;
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

static enum mail_result
take_in(struct scan *scan)
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
	if (result == MAIL_NO_SPACE) {
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

	result = folder_lock(folder, &lock);
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
		result = take_in(&scan);
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
