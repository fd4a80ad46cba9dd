/*
 * The regular expressions of a table, compiled once. All of them are searched for in turn, so that
 * their number and what they may take together are bounded.
 */
#ifndef LOOKUP_TABLE_REGEX_H
#define LOOKUP_TABLE_REGEX_H

#include <stdbool.h>
#include <stddef.h>

struct table_regex;

struct table_regex *table_regex_new(void); /* NULL: out of memory */
void table_regex_free(struct table_regex *);
/* False, with one line in `why`, when it can't be one of them. */
bool table_regex_add(struct table_regex *, const char *expression, char *why, size_t size);
bool table_regex_matches(const struct table_regex *, const char *text);
size_t table_regex_count(const struct table_regex *);

#endif
