/*
 * The store over Berkeley DB 5.3: a transactional environment that one process opens privately
 * (DB_PRIVATE: locks and cache are in its own memory), and in it one btree file a table.
 *
 * An own advisory lock keeps a second process out, since a private environment wouldn't notice it
 * and recovery under a running owner would destroy the data. Every open runs recovery: it replays
 * the log after a kill and is quick after a clean close, because the log is kept short by
 * checkpoints and old log files are removed.
 *
 * A value's bytes are copied out into the caller's struct buf; nothing lent by the library leaves
 * this file.
 */
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/string.h>
#include <db.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/store.h"

/* Only what the tables need of it is ever touched: 100,000 users take 26 MiB. */
#define STORE_CACHE_SIZE (64 * 1024 * 1024)
#define STORE_CACHE_BUCKETS \
	521 /* by default they would take as much as all else of a small database */
#define STORE_LOG_FILE_SIZE (1024 * 1024)
#define STORE_LOG_BUFFER    (128 * 1024)
#define STORE_CHECKPOINT_KB 256
/* Of one that may be lost. */
#define STORE_SMALL_CACHE         (512 * 1024)
#define STORE_LATER_CHECKPOINT_KB 8192
#define STORE_VALUE_MAX           (16 * 1024 * 1024)
#define STORE_TABLES_MAX          16
#define STORE_FREE_LEAST          (2 * 1024 * 1024)
#define STORE_MESSAGES_MAX        10
#define STORE_FULL_MS             60000 /* between two words about it */

struct store_table {
	struct store *store;
	DB *db;
};

struct store {
	DB_ENV *env;
	int lock_fd;       /* in the directory, as long as the store is open */
	unsigned messages; /* of the library, logged so far */
	struct store_table *tables[STORE_TABLES_MAX];
	size_t table_count;
	bool is_expendable;
	bool is_open;
	bool is_damaged;
	bool needs_recovery;
	bool was_full; /* said at `full_ms` */
	int64_t full_ms;
};

struct store_transaction {
	struct store *store;
	DB_TXN *txn;
};

struct store_map {
	DB *db;
};

/* A broken environment has something to say about each of its pages: the first words are enough. */
static void
log_library_error(const DB_ENV *env, const char *prefix, const char *message)
{
	struct store *store = env->app_private;

	(void)prefix;
	if (store == NULL || store->messages++ < STORE_MESSAGES_MAX)
		log_error("database: %s", message);
}

/* The library's words for what isn't as it must be; the system's are about today. */
static bool
note_damage(struct store *store, int error)
{
	bool is_damage = (error < 0 && error != DB_NOTFOUND && error != DB_KEYEXIST &&
	                     error != DB_LOCK_DEADLOCK && error != DB_LOCK_NOTGRANTED) ||
	    error == EINVAL || error == ENOENT;

	if (error == DB_RUNRECOVERY && store->is_open)
		store->needs_recovery = true;
	else
		store->is_damaged = store->is_damaged || is_damage;
	return is_damage;
}

static int
lock_directory(const char *directory)
{
	char path[PATH_MAX];
	int fd;

	if (mkdir(directory, 0700) == -1 && errno != EEXIST) {
		log_error("cannot make %s: %s", directory, strerror(errno));
		return -1;
	}
	if (strlcpy(path, directory, sizeof(path)) >= sizeof(path) ||
	    strlcat(path, "/lock", sizeof(path)) >= sizeof(path)) {
		log_error("the path %s is too long", directory);
		return -1;
	}
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd == -1) {
		log_error("cannot open %s: %s", path, strerror(errno));
		return -1;
	}
	if (flock(fd, LOCK_EX | LOCK_NB) == -1) {
		if (errno == EWOULDBLOCK)
			log_error("%s is in use by another process", directory);
		else
			log_error("cannot lock %s: %s", path, strerror(errno));
		close(fd);
		return -1;
	}
	return fd;
}

static int
configure_environment(DB_ENV *env, struct store *store)
{
	int error;

	env->app_private = store;
	env->set_errcall(env, log_library_error);
	error = env->set_cachesize(
	    env, 0, store->is_expendable ? STORE_SMALL_CACHE : STORE_CACHE_SIZE, 1);
	if (error == 0)
		error = env->set_mp_tablesize(env, STORE_CACHE_BUCKETS);
	if (error == 0)
		error = env->set_lg_max(env, STORE_LOG_FILE_SIZE);
	if (error == 0)
		error = env->set_lg_bsize(env, STORE_LOG_BUFFER);
	if (error == 0)
		error = env->log_set_config(env, DB_LOG_AUTO_REMOVE, 1);
	if (error == 0)
		error = env->set_lk_detect(env, DB_LOCK_DEFAULT);
	return error;
}

static int
open_environment(struct store *store, const char *directory)
{
	int error = db_env_create(&store->env, 0);

	if (error != 0)
		store->env = NULL;
	else
		error = configure_environment(store->env, store);
	if (error == 0)
		error = store->env->open(store->env, directory,
		    DB_CREATE | DB_PRIVATE | DB_RECOVER | DB_INIT_TXN | DB_INIT_LOG | DB_INIT_LOCK |
		        DB_INIT_MPOOL,
		    0600);
	return error;
}

/* The database's files, and nothing else that may lie there. */
static bool
remove_files(const char *directory)
{
	DIR *listing = opendir(directory);
	struct dirent *entry;
	bool good = listing != NULL;

	while (listing != NULL && (entry = readdir(listing)) != NULL) {
		const char *end = strrchr(entry->d_name, '.');

		if (strncmp(entry->d_name, "log.", 4) != 0 &&
		    strncmp(entry->d_name, "__db", 4) != 0 &&
		    (end == NULL || strcmp(end, ".db") != 0))
			continue;
		good = unlinkat(dirfd(listing), entry->d_name, 0) == 0 && good;
	}
	if (listing != NULL)
		closedir(listing);
	return good;
}

static bool
begin_anew(struct store *store, const char *directory)
{
	log_error("the database %s is damaged: it is removed, and begins empty", directory);
	if (store->env != NULL)
		(void)store->env->close(store->env, 0);
	store->env = NULL;
	if (!remove_files(directory)) {
		log_error("the files of the database %s cannot be removed: remove them", directory);
		return false;
	}
	store->is_damaged = false;
	store->messages = 0;
	return true;
}

static struct store *
open_store(const char *directory, bool is_expendable, bool anew)
{
	struct store *store = calloc(1, sizeof(*store));
	int error;

	if (store == NULL) {
		log_error("cannot open the database %s: out of memory", directory);
		return NULL;
	}
	store->is_expendable = is_expendable;
	store->lock_fd = lock_directory(directory);
	if (store->lock_fd == -1) {
		free(store);
		return NULL;
	}
	if (anew && !begin_anew(store, directory)) {
		store_close(store);
		return NULL;
	}
	error = open_environment(store, directory);
	if (error != 0 && is_expendable && note_damage(store, error) &&
	    begin_anew(store, directory))
		error = open_environment(store, directory);
	if (error != 0) {
		log_error("cannot open the database %s: %s", directory, db_strerror(error));
		store_close(store);
		return NULL;
	}
	store->is_open = true;
	return store;
}

struct store *
store_open(const char *directory)
{
	return open_store(directory, false, false);
}

struct store *
store_open_expendable(const char *directory, bool anew)
{
	return open_store(directory, true, anew);
}

bool
store_is_damaged(const struct store *store)
{
	return store->is_damaged;
}

bool
store_needs_recovery(const struct store *store)
{
	return store->needs_recovery;
}

void
store_close(struct store *store)
{
	if (store == NULL)
		return;
	for (size_t i = 0; i < store->table_count; i++) {
		/* The log has what a failed write of the pages would lose; recovery replays it. */
		if (store->tables[i]->db != NULL)
			(void)store->tables[i]->db->close(store->tables[i]->db, 0);
		free(store->tables[i]);
	}
	if (store->env != NULL) {
		(void)store->env->txn_checkpoint(store->env, 0, 0, DB_FORCE);
		(void)store->env->close(store->env, 0);
	}
	close(store->lock_fd);
	free(store);
}

struct store_table *
store_table_open(struct store *store, const char *name)
{
	struct store_table *table;
	char file[NAME_MAX];
	int error;

	if (store->table_count == STORE_TABLES_MAX ||
	    strlcpy(file, name, sizeof(file)) >= sizeof(file) ||
	    strlcat(file, ".db", sizeof(file)) >= sizeof(file) ||
	    (table = calloc(1, sizeof(*table))) == NULL) {
		log_error("cannot open the table %s of the database", name);
		return NULL;
	}
	table->store = store;
	error = db_create(&table->db, store->env, 0);
	if (error != 0)
		table->db = NULL;
	else if (store->is_expendable)
		error = table->db->set_flags(table->db, DB_CHKSUM);
	if (error == 0)
		error = table->db->open(
		    table->db, NULL, file, NULL, DB_BTREE, DB_CREATE | DB_AUTO_COMMIT, 0600);
	if (error != 0) {
		log_error("cannot open the table %s of the database: %s", name, db_strerror(error));
		(void)note_damage(store, error);
		if (table->db != NULL)
			(void)table->db->close(table->db, 0);
		free(table);
		return NULL;
	}
	store->tables[store->table_count++] = table;
	return table;
}

/* On a full disk the library gives its environment up, and with it all reading. So what it needs
 * for a change is looked for first. */
static bool
has_room(struct store *store)
{
	int64_t now_ms = clock_monotonic_ms();
	struct statvfs disk;

	if (fstatvfs(store->lock_fd, &disk) == -1) {
		log_error(
		    "cannot see how much of the database's disk is free: %s", strerror(errno));
		return false;
	}
	if (disk.f_bavail >= STORE_FREE_LEAST / disk.f_frsize + 1) {
		store->was_full = false;
		return true;
	}
	if (!store->was_full || now_ms - store->full_ms >= STORE_FULL_MS) {
		log_error("the database's disk is full: nothing is changed");
		store->full_ms = now_ms;
	}
	store->was_full = true;
	return false;
}

struct store_transaction *
store_begin(struct store *store)
{
	struct store_transaction *transaction;
	int error;

	if (!has_room(store))
		return NULL;
	transaction = calloc(1, sizeof(*transaction));
	if (transaction == NULL) {
		log_error("database: out of memory");
		return NULL;
	}
	transaction->store = store;
	error = store->env->txn_begin(store->env, NULL, &transaction->txn, 0);
	if (error != 0) {
		log_error("cannot begin a change of the database: %s", db_strerror(error));
		(void)note_damage(store, error);
		free(transaction);
		return NULL;
	}
	return transaction;
}

bool
store_commit(struct store_transaction *transaction)
{
	DB_ENV *env = transaction->store->env;
	int error = transaction->txn->commit(transaction->txn, DB_TXN_SYNC);

	free(transaction);
	if (error != 0) {
		log_error("a change of the database could not be kept: %s", db_strerror(error));
		return false;
	}
	error = env->txn_checkpoint(env, STORE_CHECKPOINT_KB, 0, 0);
	if (error != 0)
		log_warning("the database's log could not be shortened: %s", db_strerror(error));
	return true;
}

bool
store_commit_later(struct store_transaction *transaction)
{
	struct store *store = transaction->store;
	int error = transaction->txn->commit(transaction->txn, DB_TXN_WRITE_NOSYNC);

	free(transaction);
	if (error == 0)
		error = store->env->txn_checkpoint(store->env, STORE_LATER_CHECKPOINT_KB, 0, 0);
	if (error == 0)
		return true;
	log_error("a change of the database could not be kept: %s", db_strerror(error));
	(void)note_damage(store, error);
	return false;
}

void
store_abort(struct store_transaction *transaction)
{
	int error = transaction->txn->abort(transaction->txn);

	if (error != 0) {
		log_error("a change of the database could not be undone: %s", db_strerror(error));
		(void)note_damage(transaction->store, error);
	}
	free(transaction);
}

static DBT
make_key(const char *key, size_t length)
{
	DBT dbt;

	memset(&dbt, 0, sizeof(dbt));
	/* The library only reads it. */
	dbt.data = (void *)(uintptr_t)key;
	dbt.size = (u_int32_t)length;
	return dbt;
}

static enum store_result
get_value(DB *db, DB_TXN *txn, DBT *key, struct buf *value, int *failure)
{
	DBT dbt;
	int error;

	buf_clear(value);
	memset(&dbt, 0, sizeof(dbt));
	dbt.flags = DB_DBT_USERMEM;
	for (;;) {
		dbt.data = value->data;
		dbt.ulen = (u_int32_t)value->capacity;
		error = db->get(db, txn, key, &dbt, 0);
		if (error != DB_BUFFER_SMALL)
			break;
		if (dbt.size > STORE_VALUE_MAX || !buf_reserve(value, dbt.size)) {
			log_error("database: a value of %u bytes is too large", dbt.size);
			return STORE_ERROR;
		}
	}
	if (error == DB_NOTFOUND)
		return STORE_NOT_FOUND;
	if (error != 0) {
		log_error("the database could not be read: %s", db_strerror(error));
		*failure = error;
		return STORE_ERROR;
	}
	value->length = dbt.size;
	return STORE_OK;
}

enum store_result
store_get(struct store_table *table, struct store_transaction *transaction, const char *key,
    struct buf *value)
{
	DBT dbt = make_key(key, strlen(key));
	enum store_result result;
	int failure = 0;

	result = get_value(
	    table->db, transaction == NULL ? NULL : transaction->txn, &dbt, value, &failure);
	if (failure != 0)
		(void)note_damage(table->store, failure);
	return result;
}

enum store_result
store_put(struct store_table *table, struct store_transaction *transaction, const char *key,
    const void *value, size_t length, bool overwrite)
{
	DBT key_dbt = make_key(key, strlen(key)), value_dbt = make_key(value, length);
	int error;

	if (length > STORE_VALUE_MAX) {
		log_error("database: a value of %zu bytes is too large", length);
		return STORE_ERROR;
	}
	error = table->db->put(table->db, transaction == NULL ? NULL : transaction->txn, &key_dbt,
	    &value_dbt, overwrite ? 0 : DB_NOOVERWRITE);
	if (error == DB_KEYEXIST)
		return STORE_EXISTS;
	if (error != 0) {
		log_error("the database could not be written: %s", db_strerror(error));
		(void)note_damage(table->store, error);
		return STORE_ERROR;
	}
	return STORE_OK;
}

enum store_result
store_delete(struct store_table *table, struct store_transaction *transaction, const char *key)
{
	DBT dbt = make_key(key, strlen(key));
	int error;

	error = table->db->del(table->db, transaction == NULL ? NULL : transaction->txn, &dbt, 0);
	if (error == DB_NOTFOUND)
		return STORE_NOT_FOUND;
	if (error != 0) {
		log_error("the database could not be written: %s", db_strerror(error));
		(void)note_damage(table->store, error);
		return STORE_ERROR;
	}
	return STORE_OK;
}

/* Walks with the library's memory (valid until the cursor's next step) copied into strings. */
static int
walk(DBC *cursor, const char *prefix, const char *after, store_each_fn each, void *arg)
{
	const char *start = strcmp(after, prefix) > 0 ? after : prefix;
	size_t prefix_length = strlen(prefix);
	DBT key = make_key(start, strlen(start)), value;
	u_int32_t step = DB_SET_RANGE;
	char text[PATH_MAX];
	int error;

	for (;; step = DB_NEXT) {
		memset(&value, 0, sizeof(value));
		error = cursor->get(cursor, &key, &value, step);
		if (error != 0)
			return error == DB_NOTFOUND ? 0 : error;
		if (key.size >= sizeof(text))
			return EINVAL;
		memcpy(text, key.data, key.size);
		text[key.size] = '\0';
		if (strncmp(text, prefix, prefix_length) != 0)
			return 0;
		if (strcmp(text, after) == 0)
			continue;
		if (!each(text, value.data, value.size, arg))
			return 0;
	}
}

enum store_result
store_each_after(
    struct store_table *table, const char *prefix, const char *after, store_each_fn each, void *arg)
{
	DBC *cursor;
	int error, close_error;

	error = table->db->cursor(table->db, NULL, &cursor, 0);
	if (error == 0) {
		error = walk(cursor, prefix, after, each, arg);
		close_error = cursor->close(cursor);
		if (error == 0)
			error = close_error;
	}
	if (error != 0) {
		log_error("the database could not be read: %s", db_strerror(error));
		(void)note_damage(table->store, error);
		return STORE_ERROR;
	}
	return STORE_OK;
}

enum store_result
store_each(struct store_table *table, const char *prefix, store_each_fn each, void *arg)
{
	return store_each_after(table, prefix, "", each, arg);
}

static struct store_map *
map_open(const char *path, DBTYPE type, uint32_t flags, int mode)
{
	struct store_map *map = calloc(1, sizeof(*map));
	const char *what = (flags & DB_CREATE) != 0 ? "make" : "open";
	int error;

	if (map == NULL) {
		log_error("cannot %s %s: out of memory", what, path);
		return NULL;
	}
	error = db_create(&map->db, NULL, 0);
	if (error != 0)
		map->db = NULL;
	else {
		map->db->set_errcall(map->db, log_library_error);
		error = map->db->open(map->db, NULL, path, NULL, type, flags, mode);
	}
	if (error != 0) {
		log_error("cannot %s %s as a Berkeley DB file: %s", what, path, db_strerror(error));
		store_map_close(map);
		return NULL;
	}
	return map;
}

struct store_map *
store_map_open(const char *path)
{
	return map_open(path, DB_UNKNOWN, DB_RDONLY, 0);
}

struct store_map *
store_map_make(const char *path, bool hashed)
{
	return map_open(path, hashed ? DB_HASH : DB_BTREE, DB_CREATE | DB_TRUNCATE, 0600);
}

enum store_result
store_map_put(struct store_map *map, const char *key, const char *value)
{
	/* With their NULs, as makemap has it. */
	DBT key_dbt = make_key(key, strlen(key) + 1),
	    value_dbt = make_key(value, strlen(value) + 1);
	int error;

	if (key_dbt.size > STORE_VALUE_MAX || value_dbt.size > STORE_VALUE_MAX) {
		log_error("database: the entry of \"%.100s\" is too large", key);
		return STORE_ERROR;
	}
	error = map->db->put(map->db, NULL, &key_dbt, &value_dbt, DB_NOOVERWRITE);
	if (error == DB_KEYEXIST)
		return STORE_EXISTS;
	if (error != 0) {
		log_error("the database could not be written: %s", db_strerror(error));
		return STORE_ERROR;
	}
	return STORE_OK;
}

bool
store_map_finish(struct store_map *map)
{
	int error = map->db->close(map->db, 0);

	map->db = NULL;
	if (error != 0)
		log_error("the database could not be written: %s", db_strerror(error));
	return error == 0;
}

enum store_result
store_map_each(struct store_map *map, store_each_fn each, void *arg)
{
	DBC *cursor;
	DBT key, value;
	char *text = NULL;
	bool goes_on = true;
	int error = map->db->cursor(map->db, NULL, &cursor, 0);

	memset(&key, 0, sizeof(key));
	memset(&value, 0, sizeof(value));
	while (error == 0 && goes_on && (error = cursor->get(cursor, &key, &value, DB_NEXT)) == 0) {
		size_t length = value.size;

		text = strndup(key.data, key.size);
		if (text == NULL) {
			error = ENOMEM;
			break;
		}
		if (length > 0 && ((const char *)value.data)[length - 1] == '\0')
			length--;
		goes_on = each(text, value.data, length, arg);
		free(text);
	}
	if (error == DB_NOTFOUND)
		error = 0;
	if (error != 0)
		log_error("the database could not be read: %s", db_strerror(error));
	return error == 0 ? STORE_OK : STORE_ERROR;
}

enum store_result
store_map_get(struct store_map *map, const char *key, struct buf *value)
{
	enum store_result result;
	int failure;
	DBT dbt;

	/* makemap counts the terminating NUL as part of keys and values, others don't. */
	for (size_t extra = 2; extra-- > 0;) {
		dbt = make_key(key, strlen(key) + extra);
		result = get_value(map->db, NULL, &dbt, value, &failure);
		if (result != STORE_NOT_FOUND)
			break;
	}
	if (result == STORE_OK && value->length > 0 && value->data[value->length - 1] == '\0')
		value->length--;
	return result;
}

void
store_map_close(struct store_map *map)
{
	if (map == NULL)
		return;
	if (map->db != NULL)
		(void)map->db->close(map->db, 0);
	free(map);
}
