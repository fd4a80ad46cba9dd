/*
 * The state directory belongs to another program, which could put another directory in this one's
 * place: all is opened without following links, and must be of the user that smtpd runs as and
 * closed to others. So a key can't be read by those, nor one of theirs be slipped in.
 */
#include <sys/stat.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/string.h>

#include "common/log.h"
#include "common/memory_file.h"
#include "common/write.h"
#include "smtpd/supervisor_dkim.h"

#define NAME_SIZE (DKIM_DOMAIN_MAX + DKIM_SELECTOR_MAX + 8)
#define NEW_NAME  ".new"

static void
make_name(char name[NAME_SIZE], const char *domain, const char *selector, bool is_active)
{
	(void)snprintf(name, NAME_SIZE, "%s.%s.%s", domain, selector, is_active ? "key" : "off");
}

static bool
is_ours(int fd, const char *path, bool is_directory, char *why, size_t size)
{
	struct stat status;

	if (fstat(fd, &status) != 0)
		snprintf(why, size, "%s: %s", path, strerror(errno));
	else if (is_directory ? !S_ISDIR(status.st_mode) : !S_ISREG(status.st_mode))
		snprintf(why, size, "%s is no %s", path, is_directory ? "directory" : "file");
	else if (status.st_uid != geteuid())
		snprintf(why, size, "%s belongs to user %u: it must be %u's, whom smtpd runs as",
		    path, status.st_uid, geteuid());
	else if ((status.st_mode & 077) != 0)
		snprintf(why, size, "%s is open to others (mode %03o): \"chmod go=\" it", path,
		    status.st_mode & 0777);
	else
		return true;
	return false;
}

/* The directory, made when `make`. -1 and why; an empty `why`: there is none. */
static int
open_directory(const char *state, bool make, char *why, size_t size)
{
	char path[PATH_MAX];
	int parent, fd = -1;

	*why = '\0';
	(void)snprintf(path, sizeof(path), "%s/dkim", state);
	parent = open(state, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (parent == -1) {
		snprintf(why, size, "%s: %s", state, strerror(errno));
		return -1;
	}
	if (make && mkdirat(parent, "dkim", 0700) == 0) {
		if (fsync(parent) != 0)
			snprintf(why, size, "%s: %s", state, strerror(errno));
	} else if (make && errno != EEXIST)
		snprintf(why, size, "%s: can't make this directory: %s", path, strerror(errno));
	if (*why == '\0') {
		fd = openat(parent, "dkim", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd == -1 && errno != ENOENT)
			snprintf(why, size, "%s: %s", path, strerror(errno));
	}
	close(parent);
	if (fd != -1 && !is_ours(fd, path, true, why, size)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

/* DOMAIN.SELECTOR.key or .off */
static bool
parse_name(const char *name, struct dkim_file *file)
{
	char text[NAME_SIZE];
	char *end, *dot;

	memset(file, 0, sizeof(*file));
	if (strlcpy(text, name, sizeof(text)) >= sizeof(text))
		return false;
	end = strrchr(text, '.');
	if (end == NULL || (strcmp(end, ".key") != 0 && strcmp(end, ".off") != 0))
		return false;
	file->is_active = strcmp(end, ".key") == 0;
	*end = '\0';
	dot = strrchr(text, '.');
	if (dot == NULL)
		return false;
	*dot = '\0';
	return dkim_domain_is_valid(text) && dkim_selector_is_valid(dot + 1) &&
	    strlcpy(file->domain, text, sizeof(file->domain)) < sizeof(file->domain) &&
	    strlcpy(file->selector, dot + 1, sizeof(file->selector)) < sizeof(file->selector);
}

static bool
read_text(int directory, const char *name, struct dkim_file *file)
{
	char why[NAME_SIZE + 128];
	int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd == -1)
		snprintf(why, sizeof(why), "%s: %s", name, strerror(errno));
	else if (is_ours(fd, name, false, why, sizeof(why))) {
		file->text = memory_file_read(fd, DKIM_FILE_MAX, &file->length);
		if (file->text == NULL)
			snprintf(why, sizeof(why), "%s can't be read, or is too long", name);
	}
	if (fd != -1)
		close(fd);
	if (file->text == NULL)
		log_error("a DKIM key is left out: %s", why);
	return file->text != NULL;
}

static int
compare(const void *a, const void *b)
{
	const struct dkim_file *one = a, *other = b;
	int order = strcmp(one->domain, other->domain);

	return order != 0 ? order : strcmp(one->selector, other->selector);
}

static void
add_file(struct dkim_files *files, int directory, const char *name)
{
	struct dkim_file file, *larger;

	if (name[0] == '.')
		return;
	if (!parse_name(name, &file)) {
		log_warning("dkim/%s is no key's name: DOMAIN.SELECTOR.key, or .off", name);
		return;
	}
	if (files->count == DKIM_KEYS_MAX) {
		log_error("a DKIM key is left out: %s: more than %d", name, DKIM_KEYS_MAX);
		return;
	}
	if (!read_text(directory, name, &file))
		return;
	larger = reallocarray(files->files, files->count + 1, sizeof(*larger));
	if (larger == NULL)
		fatal("DKIM keys");
	files->files = larger;
	files->files[files->count++] = file;
}

void
dkim_files_read(struct dkim_files *files, const char *state)
{
	char why[PATH_MAX + 128];
	struct dirent *entry;
	DIR *directory;
	int fd;

	memset(files, 0, sizeof(*files));
	fd = open_directory(state, false, why, sizeof(why));
	if (fd == -1) {
		if (*why != '\0')
			log_error("mail is not signed by DKIM: %s", why);
		return;
	}
	directory = fdopendir(fd);
	if (directory == NULL) {
		log_error("mail is not signed by DKIM: %m");
		close(fd);
		return;
	}
	while ((entry = readdir(directory)) != NULL)
		add_file(files, dirfd(directory), entry->d_name);
	closedir(directory);
	if (files->count > 0)
		qsort(files->files, files->count, sizeof(*files->files), compare);
}

void
dkim_files_free(struct dkim_files *files)
{
	size_t i;

	for (i = 0; i < files->count; i++) {
		explicit_bzero(files->files[i].text, files->files[i].length);
		free(files->files[i].text);
	}
	free(files->files);
	memset(files, 0, sizeof(*files));
}

struct dkim_file *
dkim_files_find(const struct dkim_files *files, const char *domain, const char *selector)
{
	size_t i;

	for (i = 0; i < files->count; i++)
		if (strcmp(files->files[i].domain, domain) == 0 &&
		    strcmp(files->files[i].selector, selector) == 0)
			return &files->files[i];
	return NULL;
}

struct dkim_file *
dkim_files_active(const struct dkim_files *files, const char *domain, enum dkim_algorithm algorithm)
{
	struct dkim_file *file;
	size_t i;

	for (i = 0; i < files->count; i++) {
		file = &files->files[i];
		if (file->is_good && file->is_active && file->taken.algorithm == algorithm &&
		    strcmp(file->domain, domain) == 0)
			return file;
	}
	return NULL;
}

/* Changes */

static bool
write_new(int directory, const uint8_t *text, size_t length)
{
	int fd, error;

	(void)unlinkat(directory, NEW_NAME, 0); /* of one that was interrupted */
	fd =
	    openat(directory, NEW_NAME, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd == -1)
		return false;
	if (!write_all(fd, text, length) || fsync(fd) != 0) {
		error = errno;
		close(fd);
		errno = error;
		return false;
	}
	return close(fd) == 0;
}

bool
dkim_file_write(const char *state, const char *domain, const char *selector, bool is_active,
    const uint8_t *text, size_t length, char *why, size_t size)
{
	int directory = open_directory(state, true, why, size);
	char name[NAME_SIZE];
	bool done;

	if (directory == -1)
		return false;
	make_name(name, domain, selector, is_active);
	done = write_new(directory, text, length) &&
	    renameat(directory, NEW_NAME, directory, name) == 0 && fsync(directory) == 0;
	if (!done) {
		snprintf(why, size, "%s/dkim/%s: %s", state, name, strerror(errno));
		(void)unlinkat(directory, NEW_NAME, 0);
	}
	close(directory);
	return done;
}

bool
dkim_file_set_active(
    const char *state, const struct dkim_file *file, bool is_active, char *why, size_t size)
{
	int directory = open_directory(state, false, why, size);
	char from[NAME_SIZE], to[NAME_SIZE];
	bool done;

	make_name(from, file->domain, file->selector, file->is_active);
	make_name(to, file->domain, file->selector, is_active);
	done = directory != -1 && renameat(directory, from, directory, to) == 0 &&
	    fsync(directory) == 0;
	if (!done && (directory != -1 || *why == '\0'))
		snprintf(why, size, "%s/dkim/%s: %s", state, from, strerror(errno));
	if (directory != -1)
		close(directory);
	return done;
}

bool
dkim_file_remove(const char *state, const struct dkim_file *file, char *why, size_t size)
{
	int directory = open_directory(state, false, why, size);
	char name[NAME_SIZE];
	bool done;

	make_name(name, file->domain, file->selector, file->is_active);
	done = directory != -1 && unlinkat(directory, name, 0) == 0 && fsync(directory) == 0;
	if (!done && (directory != -1 || *why == '\0'))
		snprintf(why, size, "%s/dkim/%s: %s", state, name, strerror(errno));
	if (directory != -1)
		close(directory);
	return done;
}
