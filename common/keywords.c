/*
 * Keywords by letter. The file is written whole into its own lock file, which is then renamed over
 * it, as Dovecot does: so neither loses a letter that the other gave at the same time.
 */
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/keywords.h"
#include "common/lock.h"
#include "common/read.h"
#include "common/write.h"

#define FILE_MAX (64 * 1024)

void
keywords_init(struct keywords *keywords)
{
	memset(keywords, 0, sizeof(*keywords));
}

void
keywords_free(struct keywords *keywords)
{
	size_t i;

	for (i = 0; i < KEYWORDS_COUNT; i++)
		free(keywords->names[i]);
	keywords_init(keywords);
}

bool
keywords_name_is_valid(const char *name)
{
	size_t i;

	for (i = 0; name[i] != '\0'; i++) {
		unsigned char byte = (unsigned char)name[i];

		/* RFC 9051 9: atom-specials. */
		if (byte <= 0x20 || byte >= 0x7f || strchr("(){%*\"\\]", byte) != NULL)
			return false;
	}
	return i > 0 && i <= KEYWORD_NAME_MAX;
}

void
keywords_parse(struct keywords *keywords, const char *text, size_t length)
{
	const char *at = text, *end = text + length, *line_end;

	for (; at < end; at = line_end + 1) {
		char name[KEYWORD_NAME_MAX + 1];
		unsigned letter = 0;
		const char *p = at;

		line_end = memchr(at, '\n', (size_t)(end - at));
		if (line_end == NULL)
			line_end = end;
		while (p < line_end && *p >= '0' && *p <= '9' && letter < 1000)
			letter = letter * 10 + (unsigned)(*p++ - '0');
		if (p == at || p == line_end || *p++ != ' ' || letter >= KEYWORDS_COUNT ||
		    line_end - p > KEYWORD_NAME_MAX)
			continue;
		memcpy(name, p, (size_t)(line_end - p));
		name[line_end - p] = '\0';
		if (keywords->names[letter] == NULL && keywords_name_is_valid(name) &&
		    keywords_find(keywords, name) == -1)
			keywords->names[letter] = strdup(name);
	}
}

int
keywords_find(const struct keywords *keywords, const char *name)
{
	int i;

	for (i = 0; i < KEYWORDS_COUNT; i++) {
		if (keywords->names[i] != NULL && strcasecmp(keywords->names[i], name) == 0)
			return i;
	}
	return -1;
}

/* All of it; NULL when it can't be read. */
static char *
read_file(int directory, struct stat *st, size_t *length)
{
	int fd = openat(directory, KEYWORDS_FILE, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	char *text = NULL;
	ssize_t got = 1;

	*length = 0;
	if (fd == -1)
		return NULL;
	if (fstat(fd, st) == 0 && S_ISREG(st->st_mode) && st->st_size <= FILE_MAX)
		text = malloc((size_t)st->st_size + 1);
	while (text != NULL && *length < (size_t)st->st_size && got > 0) {
		got =
		    read_some_at(fd, text + *length, (size_t)st->st_size - *length, (off_t)*length);
		*length += got > 0 ? (size_t)got : 0;
	}
	close(fd);
	return text;
}

bool
keywords_refresh(struct keywords *keywords, int directory)
{
	struct stat st;
	size_t length;
	char *text;

	if (fstatat(directory, KEYWORDS_FILE, &st, AT_SYMLINK_NOFOLLOW) == -1 ||
	    (st.st_ino == keywords->inode && (uint64_t)st.st_size == keywords->size &&
	        st.st_mtim.tv_sec == keywords->changed.tv_sec &&
	        st.st_mtim.tv_nsec == keywords->changed.tv_nsec))
		return false;
	text = read_file(directory, &st, &length);
	if (text == NULL)
		return false;
	keywords_free(keywords);
	keywords_parse(keywords, text, length);
	free(text);
	keywords->inode = st.st_ino;
	keywords->size = (uint64_t)st.st_size;
	keywords->changed = st.st_mtim;
	return true;
}

/* Writes all to the lock file and renames it over the list. False with errno. */
static bool
commit(struct keywords *keywords, struct lock *lock)
{
	int directory = lock->directory, fd, error;
	struct buf text;
	bool good;

	buf_init(&text, FILE_MAX);
	for (int i = 0; i < KEYWORDS_COUNT; i++) {
		if (keywords->names[i] != NULL)
			buf_printf(&text, "%d %s\n", i, keywords->names[i]);
	}
	fd = openat(directory, lock->name, O_WRONLY | O_TRUNC | O_NOFOLLOW | O_CLOEXEC);
	good = fd != -1 && buf_ok(&text) && write_all(fd, text.data, text.length) &&
	    fsync(fd) == 0 && renameat(directory, lock->name, directory, KEYWORDS_FILE) == 0 &&
	    fsync(directory) == 0;
	error = errno;
	if (fd != -1)
		close(fd);
	buf_free(&text);
	errno = error;
	return good;
}

enum keywords_result
keywords_add(struct keywords *keywords, int directory, const char *host, const char *name, int *bit)
{
	struct lock lock;
	bool good;
	int i;

	if (!keywords_name_is_valid(name))
		return KEYWORDS_BAD_NAME;
	(void)keywords_refresh(keywords, directory);
	if ((*bit = keywords_find(keywords, name)) != -1)
		return KEYWORDS_OK;
	if (!lock_take(&lock, directory, KEYWORDS_FILE ".lock", host))
		return KEYWORDS_NOT_LOCKED;
	(void)keywords_refresh(keywords, directory);
	*bit = keywords_find(keywords, name);
	if (*bit != -1) {
		lock_drop(&lock);
		return KEYWORDS_OK;
	}
	for (i = 0; i < KEYWORDS_COUNT && keywords->names[i] != NULL; i++)
		;
	if (i == KEYWORDS_COUNT) {
		lock_drop(&lock);
		return KEYWORDS_FULL;
	}
	keywords->names[i] = strdup(name);
	good = keywords->names[i] != NULL && commit(keywords, &lock);
	lock_drop(&lock);
	if (!good) {
		free(keywords->names[i]);
		keywords->names[i] = NULL;
		return KEYWORDS_NOT_WRITTEN;
	}
	*bit = i;
	return KEYWORDS_OK;
}
