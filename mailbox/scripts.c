/*
 * The link is changed by renaming another over it: there is always one or none. That it points to a
 * script that is there is kept by the order of things: none is removed that it names, and a new name is
 * there before the link has it.
 *
 * All sessions on a Maildir are one process's, one after the other.
 */
#include <sys/stat.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/string.h>

#include "common/sieve.h"
#include "mailbox/scripts.h"

#define DIRECTORY  "sieve"
#define ACTIVE     "active"
#define SUFFIX     ".sieve"
#define SUFFIX_MAX (sizeof(SUFFIX) - 1)
#define FILE_SIZE  (SIEVE_NAME_MAX + sizeof(SUFFIX))
/* Somebody may have put more there than we would. */
#define LIST_MAX 1000

static void
file_name(const char *name, char file[FILE_SIZE])
{
	(void)snprintf(file, FILE_SIZE, "%s" SUFFIX, name);
}

/* The script's name in a file's; false when it is none. */
static bool
script_name(const char *file, char name[SIEVE_NAME_MAX + 1])
{
	size_t length = strlen(file);

	if (length <= SUFFIX_MAX || length - SUFFIX_MAX > SIEVE_NAME_MAX ||
	    strcmp(file + length - SUFFIX_MAX, SUFFIX) != 0)
		return false;
	memcpy(name, file, length - SUFFIX_MAX);
	name[length - SUFFIX_MAX] = '\0';
	return sieve_name_is_valid(name);
}

static enum mail_result
failed(struct maildir *maildir, const char *doing, const char *file)
{
	return errno == ENOENT ? MAIL_ABSENT : maildir_failed(maildir, doing, DIRECTORY, file);
}

/* The directory; -1 with MAIL_ABSENT when there is none and it isn't made. */
static int
open_scripts(struct maildir *maildir, bool make, enum mail_result *result)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	int directory = openat(maildir->root, DIRECTORY, flags);

	*result = MAIL_OK;
	if (directory == -1 && errno == ENOENT && make) {
		if (mkdirat(maildir->root, DIRECTORY, 0700) == -1 && errno != EEXIST) {
			*result = maildir_failed(maildir, "make", ".", DIRECTORY);
			return -1;
		}
		if (fsync(maildir->root) == -1) {
			*result = maildir_failed(maildir, "sync", ".", "");
			return -1;
		}
		directory = openat(maildir->root, DIRECTORY, flags);
	}
	if (directory == -1)
		*result = failed(maildir, "open", "");
	return directory;
}

static enum mail_result
sync_scripts(struct maildir *maildir, int directory)
{
	return fsync(directory) == -1 ? maildir_failed(maildir, "sync", DIRECTORY, "") : MAIL_OK;
}

/* The active script's name, or "". */
static void
read_active(int directory, char name[SIEVE_NAME_MAX + 1])
{
	char file[FILE_SIZE];
	ssize_t length = readlinkat(directory, ACTIVE, file, sizeof(file));

	if (length >= 0 && (size_t)length < sizeof(file)) {
		file[length] = '\0';
		if (script_name(file, name))
			return;
	}
	*name = '\0';
}

static enum mail_result
exists(struct maildir *maildir, int directory, const char *file)
{
	struct stat st;

	if (fstatat(directory, file, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return failed(maildir, "look at", file);
	return S_ISREG(st.st_mode) ? MAIL_OK : MAIL_ABSENT;
}

static enum mail_result
list(struct maildir *maildir, int directory,
    void (*each)(const char *name, bool is_active, void *arg), void *arg)
{
	char active[SIEVE_NAME_MAX + 1], name[SIEVE_NAME_MAX + 1];
	const struct dirent *entry;
	size_t count = 0;
	int fd = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *entries = fd == -1 ? NULL : fdopendir(fd);

	if (entries == NULL) {
		enum mail_result result = maildir_failed(maildir, "list", DIRECTORY, "");

		if (fd != -1)
			(void)close(fd);
		return result;
	}
	read_active(directory, active);
	while (count < LIST_MAX && (entry = readdir(entries)) != NULL) {
		if (!script_name(entry->d_name, name) ||
		    exists(maildir, directory, entry->d_name) != MAIL_OK)
			continue;
		each(name, strcmp(name, active) == 0, arg);
		count++;
	}
	(void)closedir(entries);
	return MAIL_OK;
}

enum mail_result
scripts_list(
    struct maildir *maildir, void (*each)(const char *name, bool is_active, void *arg), void *arg)
{
	enum mail_result result;
	int directory = open_scripts(maildir, false, &result);

	if (directory == -1)
		return result == MAIL_ABSENT ? MAIL_OK : result;
	result = list(maildir, directory, each, arg);
	(void)close(directory);
	return result;
}

enum mail_result
scripts_read(struct maildir *maildir, const char *name, char **text, size_t *length)
{
	char file[FILE_SIZE];
	enum mail_result result;
	int directory = open_scripts(maildir, false, &result);

	*text = NULL;
	if (directory == -1)
		return result;
	file_name(name, file);
	*text = maildir_read_file(directory, file, SIEVE_SCRIPT_MAX, length);
	if (*text == NULL)
		result = failed(maildir, "read", file);
	(void)close(directory);
	return result;
}

static void
count_script(const char *name, bool is_active, void *arg)
{
	size_t *count = arg;

	(void)name;
	(void)is_active;
	(*count)++;
}

static enum mail_result
have_room(struct maildir *maildir, int directory, const char *file)
{
	enum mail_result result = exists(maildir, directory, file);
	size_t count = 0;

	if (result != MAIL_ABSENT)
		return result;
	result = list(maildir, directory, count_script, &count);
	return result == MAIL_OK && count >= SCRIPTS_MAX ? MAIL_LIMIT : result;
}

enum mail_result
scripts_have_room(struct maildir *maildir, const char *name)
{
	char file[FILE_SIZE];
	enum mail_result result;
	int directory = open_scripts(maildir, false, &result);

	if (directory == -1)
		return result == MAIL_ABSENT ? MAIL_OK : result;
	file_name(name, file);
	result = have_room(maildir, directory, file);
	(void)close(directory);
	return result;
}

enum mail_result
scripts_write(struct maildir *maildir, const char *name, const char *text, size_t length)
{
	char file[FILE_SIZE];
	enum mail_result result;
	int directory = open_scripts(maildir, true, &result);

	if (directory == -1)
		return result;
	file_name(name, file);
	result = have_room(maildir, directory, file);
	if (result == MAIL_OK)
		result = maildir_replace_file(maildir, directory, file, text, length);
	(void)close(directory);
	return result;
}

enum mail_result
scripts_delete(struct maildir *maildir, const char *name)
{
	char file[FILE_SIZE], active[SIEVE_NAME_MAX + 1];
	enum mail_result result;
	int directory = open_scripts(maildir, false, &result);

	if (directory == -1)
		return result;
	file_name(name, file);
	read_active(directory, active);
	result = exists(maildir, directory, file);
	if (result == MAIL_OK && strcmp(active, name) == 0)
		result = MAIL_CANNOT;
	else if (result == MAIL_OK && unlinkat(directory, file, 0) == -1)
		result = failed(maildir, "remove", file);
	else if (result == MAIL_OK)
		result = sync_scripts(maildir, directory);
	(void)close(directory);
	return result;
}

/* Lets the link name that file. */
static enum mail_result
point(struct maildir *maildir, int directory, const char *file)
{
	enum mail_result result;
	char temporary[NAME_SIZE + 4] = "tmp/";

	maildir_temporary_name(maildir, temporary + 4);
	if (symlinkat(file, maildir->root, temporary) == -1)
		return maildir_failed(maildir, "make a link in", ".", "tmp");
	if (renameat(maildir->root, temporary, directory, ACTIVE) == -1) {
		result = maildir_failed(maildir, "put in place", DIRECTORY, ACTIVE);
		(void)unlinkat(maildir->root, temporary, 0);
		return result;
	}
	return sync_scripts(maildir, directory);
}

static enum mail_result
rename_script(struct maildir *maildir, int directory, const char *from, const char *to)
{
	char from_file[FILE_SIZE], to_file[FILE_SIZE], active[SIEVE_NAME_MAX + 1];
	enum mail_result result;

	file_name(from, from_file);
	file_name(to, to_file);
	result = exists(maildir, directory, from_file);
	if (result != MAIL_OK)
		return result;
	if (linkat(directory, from_file, directory, to_file, 0) == -1)
		return errno == EEXIST ? MAIL_EXISTS : failed(maildir, "link", to_file);
	read_active(directory, active);
	result = sync_scripts(maildir, directory);
	if (result == MAIL_OK && strcmp(active, from) == 0)
		result = point(maildir, directory, to_file);
	if (result != MAIL_OK) {
		read_active(directory, active);
		if (strcmp(active, to) != 0)
			(void)unlinkat(directory, to_file, 0);
		return result;
	}
	if (unlinkat(directory, from_file, 0) == -1)
		return failed(maildir, "remove", from_file);
	return sync_scripts(maildir, directory);
}

enum mail_result
scripts_rename(struct maildir *maildir, const char *from, const char *to)
{
	enum mail_result result;
	int directory = open_scripts(maildir, false, &result);

	if (directory == -1)
		return result;
	result = rename_script(maildir, directory, from, to);
	(void)close(directory);
	return result;
}

enum mail_result
scripts_activate(struct maildir *maildir, const char *name)
{
	char file[FILE_SIZE];
	enum mail_result result;
	int directory = open_scripts(maildir, false, &result);

	if (directory == -1)
		return result == MAIL_ABSENT && name == NULL ? MAIL_OK : result;
	if (name != NULL) {
		file_name(name, file);
		result = exists(maildir, directory, file);
		if (result == MAIL_OK)
			result = point(maildir, directory, file);
	} else if (unlinkat(directory, ACTIVE, 0) == -1 && errno != ENOENT)
		result = maildir_failed(maildir, "remove", DIRECTORY, ACTIVE);
	else
		result = sync_scripts(maildir, directory);
	(void)close(directory);
	return result;
}
