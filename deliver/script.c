/*
 * Finding the script takes one system call where a Maildir has none. A script is compiled again when
 * its file's identity, size or times differ from what they were; an error is logged once, then.
 */
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/read.h"
#include "deliver/script.h"

#define CACHE_MAX 64
#define DIRECTORY "sieve"
#define ACTIVE    "active"
#define SUFFIX    ".sieve"

struct cached {
	dev_t device;
	ino_t inode;
	off_t size;
	struct timespec modified;
	struct timespec changed;
	struct sieve *sieve; /* NULL: it doesn't compile */
	uint64_t used;       /* when it was last asked for; 0: free */
};

struct script_cache {
	struct cached scripts[CACHE_MAX];
	uint64_t now; /* counts the calls */
};

struct script_cache *
script_cache_new(void)
{
	struct script_cache *cache = calloc(1, sizeof(*cache));

	if (cache == NULL)
		fatal("calloc");
	return cache;
}

void
script_cache_free(struct script_cache *cache)
{
	for (size_t i = 0; cache != NULL && i < CACHE_MAX; i++)
		sieve_free(cache->scripts[i].sieve);
	free(cache);
}

static bool
is_same(const struct cached *cached, const struct stat *st)
{
	return cached->used != 0 && cached->device == st->st_dev && cached->inode == st->st_ino &&
	    cached->size == st->st_size && cached->modified.tv_sec == st->st_mtim.tv_sec &&
	    cached->modified.tv_nsec == st->st_mtim.tv_nsec &&
	    cached->changed.tv_sec == st->st_ctim.tv_sec &&
	    cached->changed.tv_nsec == st->st_ctim.tv_nsec;
}

static void
log_wrong(const struct maildir *maildir, const char *name, const char *words)
{
	struct log_line line;

	log_begin(&line, LOG_LEVEL_WARNING, "sieve-error");
	log_text(&line, "mailbox", maildir->path);
	log_text(&line, "script", name);
	log_text(&line, "error", words);
	log_end(&line);
}

/* Reads and compiles it; NULL when that fails (logged). */
static struct sieve *
compile(const struct maildir *maildir, const char *name, int fd, size_t size)
{
	char error[SIEVE_ERROR_MAX], *text = malloc(size + 1);
	struct sieve *sieve = NULL;
	size_t length = 0;
	ssize_t got = 1;

	while (text != NULL && length < size && got > 0) {
		got = read_some_at(fd, text + length, size - length, (off_t)length);
		length += got > 0 ? (size_t)got : 0;
	}
	if (text == NULL || got < 0) {
		log_wrong(maildir, name, strerror(errno));
	} else {
		sieve = sieve_compile(text, length, error, sizeof(error));
		if (sieve == NULL)
			log_wrong(maildir, name, error);
	}
	free(text);
	return sieve;
}

/* The script's file, whose name goes to `name`; -1: there is none. */
static int
open_active(const struct maildir *maildir, int directory, char name[SIEVE_NAME_MAX + 16])
{
	const size_t suffix = strlen(SUFFIX);
	char script[SIEVE_NAME_MAX + 1];
	ssize_t length = readlinkat(directory, ACTIVE, name, SIEVE_NAME_MAX + 15);
	int fd;

	if (length == -1) {
		if (errno != ENOENT)
			log_wrong(maildir, ACTIVE, "sieve/active is no symbolic link");
		return -1;
	}
	name[length] = '\0';
	if ((size_t)length <= suffix || (size_t)length > SIEVE_NAME_MAX + suffix ||
	    strcmp(name + length - suffix, SUFFIX) != 0) {
		log_wrong(maildir, name, "sieve/active doesn't lead to a script in sieve");
		return -1;
	}
	memcpy(script, name, (size_t)length - suffix);
	script[(size_t)length - suffix] = '\0';
	if (!sieve_name_is_valid(script)) {
		log_wrong(maildir, name, "sieve/active doesn't lead to a script in sieve");
		return -1;
	}
	fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd == -1)
		log_wrong(maildir, name, strerror(errno));
	return fd;
}

/* Where it is kept, or will be: the place that wasn't used for the longest time. */
static struct cached *
find_place(struct script_cache *cache, const struct stat *st)
{
	struct cached *oldest = &cache->scripts[0];

	for (size_t i = 0; i < CACHE_MAX; i++) {
		if (is_same(&cache->scripts[i], st))
			return &cache->scripts[i];
		if (cache->scripts[i].used < oldest->used)
			oldest = &cache->scripts[i];
	}
	return oldest;
}

const struct sieve *
script_find(struct script_cache *cache, const struct maildir *maildir)
{
	int directory = path_open_directory(maildir->root, DIRECTORY, O_RDONLY, false), fd;
	char name[SIEVE_NAME_MAX + 16];
	struct cached *cached = NULL;
	struct stat st;

	if (directory == -1)
		return NULL;
	fd = open_active(maildir, directory, name);
	close(directory);
	if (fd == -1)
		return NULL;
	if (fstat(fd, &st) == -1 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
	    (st.st_mode & S_IWOTH) != 0) {
		log_wrong(maildir, name, "it isn't a file that only its owner can write");
	} else if (st.st_size > SIEVE_SCRIPT_MAX) {
		log_wrong(maildir, name, "it is too large");
	} else {
		cached = find_place(cache, &st);
		if (!is_same(cached, &st)) {
			sieve_free(cached->sieve);
			*cached = (struct cached){ .device = st.st_dev,
				.inode = st.st_ino,
				.size = st.st_size,
				.modified = st.st_mtim,
				.changed = st.st_ctim,
				.sieve = compile(maildir, name, fd, (size_t)st.st_size) };
		}
		cached->used = ++cache->now;
	}
	close(fd);
	return cached == NULL ? NULL : cached->sieve;
}
