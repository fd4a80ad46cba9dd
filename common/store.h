/*
 * A small transactional store of string keys and byte values: our own interface over Berkeley DB,
 * so that another engine can take its place in store.c alone. Used by one process a directory: the
 * environment is opened for exclusive use with an advisory lock, and recovered on open, so a killed
 * process leaves nothing half done. A commit is durable (log flushed) when store_commit() returns
 * true.
 */
#ifndef COMMON_STORE_H
#define COMMON_STORE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buf.h"

struct store;       /* an environment: a directory */
struct store_table; /* a named map in it */
struct store_transaction;

enum store_result {
	STORE_OK,
	STORE_NOT_FOUND,
	STORE_EXISTS,
	STORE_ERROR
};

/* Opens (creates when absent, mode 0700) the store in `directory`; NULL after logging why. */
struct store *store_open(const char *directory);
void store_close(struct store *);
/*
 * The same for what may be lost: its tables have checksums, little of it is kept in memory, and
 * store_commit_later() may be used. When what is there is damaged, all of it is removed and the store
 * begins empty (logged). `anew`: it does so in any case.
 */
struct store *store_open_expendable(const char *directory, bool anew);
/* What was read was damaged: only store_close() is of use, and opening it anew. */
bool store_is_damaged(const struct store *);
/* It has given itself up, for damage or for a disk that didn't take what it wrote: only store_close() is
 * of use, and opening it again, which puts it right or finds it damaged. */
bool store_needs_recovery(const struct store *);
/* Opens or creates a table; owned by the store. NULL after logging why. */
struct store_table *store_table_open(struct store *, const char *name);

/* NULL after logging why: so little of the disk is free that a change could fail halfway, or the
 * store is broken. */
struct store_transaction *store_begin(struct store *);
bool store_commit(struct store_transaction *) __attribute__((warn_unused_result));
/* Not flushed to the disk: outlives this process, not the machine's power. Takes time seldom, then as
 * long as writing and flushing some MiB. */
bool store_commit_later(struct store_transaction *) __attribute__((warn_unused_result));
void store_abort(struct store_transaction *);

/* `value` is replaced. A NULL transaction reads what is committed. */
enum store_result store_get(struct store_table *, struct store_transaction *, const char *key,
    struct buf *value) __attribute__((warn_unused_result));
/* STORE_EXISTS when `overwrite` is false and the key is there. */
enum store_result store_put(struct store_table *, struct store_transaction *, const char *key,
    const void *value, size_t length, bool overwrite) __attribute__((warn_unused_result));
enum store_result store_delete(struct store_table *, struct store_transaction *, const char *key)
    __attribute__((warn_unused_result));
/* Calls `each` for every key that starts with `prefix`, in order, until it returns false. */
typedef bool (*store_each_fn)(const char *key, const void *value, size_t length, void *arg);
enum store_result store_each(struct store_table *, const char *prefix, store_each_fn, void *arg)
    __attribute__((warn_unused_result));
/* The same, but only for the keys after `after`: goes on where an earlier walk stopped. Neither may
 * be called while a transaction of this store is open. */
enum store_result store_each_after(struct store_table *, const char *prefix, const char *after,
    store_each_fn, void *arg) __attribute__((warn_unused_result));

/* A read-only db: table as OpenSMTPD's makemap (or Postfix's postmap) writes: one Berkeley DB hash
 * or btree file, keys with or without a trailing NUL. NULL after logging why. */
struct store_map;
struct store_map *store_map_open(const char *path);
/* One to be written, to an empty file that is there; hashed, or else a btree. NULL after logging
 * why. */
struct store_map *store_map_make(const char *path, bool hashed);
/* STORE_EXISTS when the key is there. */
enum store_result store_map_put(struct store_map *, const char *key, const char *value)
    __attribute__((warn_unused_result));
/* All is in the file, which is not synced yet. */
bool store_map_finish(struct store_map *) __attribute__((warn_unused_result));
/* Each entry, in no order; `each` as for store_each(), without the NULs. */
enum store_result store_map_each(struct store_map *, store_each_fn each, void *arg)
    __attribute__((warn_unused_result));
enum store_result store_map_get(struct store_map *, const char *key, struct buf *value)
    __attribute__((warn_unused_result));
void store_map_close(struct store_map *);

#endif
