/*
 * Keywords of a folder: Dovecot's file dovecot-keywords, which gives a name to each of the letters
 * a to z that a file's flags may hold:
 *
 *	0 $Forwarded
 *	1 Junk
 *
 * A letter once given to a name keeps it. A folder that has used up its 26 takes no further keyword
 * (KEYWORDS_FULL). Names compare without regard to case (RFC 9051 2.3.2) and are kept as first given.
 */
#ifndef COMMON_KEYWORDS_H
#define COMMON_KEYWORDS_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define KEYWORDS_FILE    "dovecot-keywords"
#define KEYWORDS_COUNT   26
#define KEYWORD_NAME_MAX 250

struct keywords {
	char *names[KEYWORDS_COUNT]; /* NULL: letter not given */
	struct timespec changed;     /* the file's, when it was read */
	uint64_t inode;
	uint64_t size;
};

void keywords_init(struct keywords *);
void keywords_free(struct keywords *);
/* Parses a file's content; lines that make no sense are passed over. */
void keywords_parse(struct keywords *, const char *text, size_t length);
/* Reads the folder's file if it changed since; true when it did. */
bool keywords_refresh(struct keywords *, int directory);
/* The bit (0 to 25) of a keyword, -1 for one that isn't there. */
int keywords_find(const struct keywords *, const char *name);
/* An atom (RFC 9051 9: flag-keyword) of at most KEYWORD_NAME_MAX bytes. */
bool keywords_name_is_valid(const char *name);
enum keywords_result {
	KEYWORDS_OK,
	KEYWORDS_BAD_NAME,
	KEYWORDS_FULL,
	KEYWORDS_NOT_LOCKED, /* errno says why */
	KEYWORDS_NOT_WRITTEN,
};
/* Finds it or gives it a letter, durably. `host`: gethostname()'s, for the lock. */
enum keywords_result keywords_add(
    struct keywords *, int directory, const char *host, const char *name, int *bit);

#endif
