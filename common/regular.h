/*
 * The regular expressions of match rules and of the tables that they use: POSIX's extended ones
 * (IEEE 1003.1, 9.4), over bytes, without regard to case in ASCII.
 *
 * The C library's own are not used: some of its searches take seconds for a text of 300 bytes and
 * keep hundreds of megabytes, and a client chooses the text. Here a search takes at most the
 * expression's steps (REGULAR_STEPS_MAX) for each byte, in memory taken when it is compiled. That
 * leaves out back-references, which are no part of POSIX's extended expressions either.
 */
#ifndef COMMON_REGULAR_H
#define COMMON_REGULAR_H

#include <stdbool.h>
#include <stddef.h>

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

#endif
