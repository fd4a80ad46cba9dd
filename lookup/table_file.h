/*
 * Table files (file:PATH): see table(5) and aliases(5).
 */
#ifndef LOOKUP_TABLE_FILE_H
#define LOOKUP_TABLE_FILE_H

#include <sys/types.h>
#include <stdbool.h>
#include <stdint.h>

#include "lookup/table_map.h"
#include "lookup/table_regex.h"

#define TABLE_FILE_MAX (512UL * 1024 * 1024)
#define TABLE_LINE_MAX (8UL * 1024 * 1024)

/* What the configuration uses a table for, which decides what its values must be. */
#define TABLE_USE_TARGETS  1 /* virtual and alias tables: a list of targets */
#define TABLE_USE_USERBASE 2 /* "UID:GID:/HOME" */
#define TABLE_USE_REGEX    4 /* regular expressions and nothing else */

/* What tells one state of a file from the next. All zero: there is no file. */
struct file_state {
	dev_t device;
	ino_t inode;
	off_t size;
	int64_t changed_ns;
	int64_t modified_ns;
};
void file_state_read(const char *path, struct file_state *);
bool file_state_equal(const struct file_state *, const struct file_state *);

/* Reads the whole file, whose state is then `*state`. NULL, after logging each thing that is wrong
 * (ten at most) with file and line: a file with a mistake in it is not used at all, since a user
 * that it seems to lack would be refused for good. */
struct table_map *table_file_load(const char *path, unsigned use, struct file_state *state);
/* Calls `each` for the entries of a text in memory, which is changed, in their order; false, after
 * logging what is wrong, when not all of it is as it must be. */
typedef void (*table_entry_fn)(void *arg, size_t line, const char *key, const char *value);
bool table_text_each(const char *name, char *text, size_t length, unsigned use, table_entry_fn each,
    void *arg) __attribute__((warn_unused_result));
/* The file's bytes, terminated, which the caller frees; NULL after logging why not. */
char *table_file_read(const char *path, size_t *length, struct file_state *state)
    __attribute__((warn_unused_result));
/* The same as table_file_load() for a file of regular expressions, one a line. */
struct table_regex *table_file_load_regex(const char *path, struct file_state *state);
/* The same for a text in memory, which is changed; for the fuzzer. */
struct table_map *table_text_load(const char *name, char *text, size_t length, unsigned use);
struct table_regex *table_text_load_regex(const char *name, char *text, size_t length);

#endif
