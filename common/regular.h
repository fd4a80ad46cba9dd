/*
 * The regular expressions of match rules and of the tables that they use: POSIX's extended ones
 * (IEEE 1003.1, 9.4), over bytes, without regard to case in ASCII.
 *
 * The C library's own are not used: some of its searches take seconds for a text of 300 bytes and
 * keep hundreds of megabytes, and a client chooses the text. Here a search takes at most the
 * expression's steps (REGULAR_STEPS_MAX) for each byte, in memory taken when it is compiled. That
 * leaves out back-references, which are no part of POSIX's extended expressions either.
 *
 * Sieve's ":regex" wants to know what was found, and may regard case: regular_find().
 */
#ifndef COMMON_REGULAR_H
#define COMMON_REGULAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REGULAR_LENGTH_MAX 512  /* bytes of an expression */
#define REGULAR_STEPS_MAX  2000 /* that it may take, its repetitions written out */
#define REGULAR_REPEAT_MAX 255  /* as POSIX's RE_DUP_MAX */
#define REGULAR_TABLE_MAX  1000 /* expressions in one table, all of which may be searched for */
/* What a byte may take by all of a table: some ten milliseconds for the longest address. */
#define REGULAR_TABLE_STEPS_MAX 50000

struct regular;

/* NULL, and one line in `why`, when it isn't one, is too large, or memory is out. */
struct regular *regular_new(const char *expression, char *why, size_t size);
void regular_free(struct regular *);
/* Whether it is found anywhere in the text. */
bool regular_matches(struct regular *, const char *text);
/* The steps that a byte may take at most. */
size_t regular_steps(const struct regular *);

#define REGULAR_FIND_STEPS_MAX 8192
#define REGULAR_GROUPS_MAX     10    /* the whole, and the first nine in parentheses */
#define REGULAR_TEXT_MAX       65000 /* bytes of a text that is searched so */

struct regular_group {
	size_t from, to; /* from == SIZE_MAX: it has no part in it */
};

enum regular_result {
	REGULAR_NONE,
	REGULAR_FOUND,
	REGULAR_TOO_MUCH, /* the steps are used up */
};

/* An expression for regular_find() alone. It knows what the C library does beyond POSIX: empty
 * alternatives, "\w", "\W", "\s", "\S", "\b", "\B", "\<", "\>", "\`" and "\'"; and a backslash before any
 * other letter says nothing. NULL as of regular_new(). */
struct regular *regular_new_find(
    const char *expression, bool fold_case, bool notes_groups, char *why, size_t size);
/* The first place in the text where it is found, and there the longest; where there are several ways to
 * find that, the groups are those of the first alternatives, with repetitions as often as can be. Takes
 * what it needs from the steps. A length beyond REGULAR_TEXT_MAX counts as that. */
enum regular_result regular_find(struct regular *, const char *text, size_t length,
    struct regular_group groups[REGULAR_GROUPS_MAX], uint64_t *steps);

#endif
