/*
 * The store: what a commit keeps, what an abort undoes, that one process at a time may own it, and
 * that a process killed at any moment leaves either all of a transaction or nothing.
 */
#include <sys/stat.h>
#include <sys/wait.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <db.h>

#include "common/buf.h"
#include "common/store.h"

static char directory[64];

static int
make_directory(void **state)
{
	(void)state;
	strcpy(directory, "/tmp/test-store-XXXXXX");
	return mkdtemp(directory) == NULL ? -1 : 0;
}

static int
remove_directory(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", directory);
	return system(command);
}

static void
put(struct store *store, struct store_table *table, const char *key, const char *value)
{
	struct store_transaction *transaction = store_begin(store);

	assert_non_null(transaction);
	assert_int_equal(store_put(table, transaction, key, value, strlen(value), true), STORE_OK);
	assert_true(store_commit(transaction));
}

static void
assert_value(struct store_table *table, const char *key, const char *expected)
{
	struct buf value;

	buf_init(&value, 65536);
	assert_int_equal(store_get(table, NULL, key, &value), STORE_OK);
	assert_int_equal(value.length, strlen(expected));
	assert_memory_equal(value.data, expected, value.length);
	buf_free(&value);
}

static void
assert_missing(struct store_table *table, const char *key)
{
	struct buf value;

	buf_init(&value, 65536);
	assert_int_equal(store_get(table, NULL, key, &value), STORE_NOT_FOUND);
	buf_free(&value);
}

static void
a_commit_is_there_after_reopening(void **state)
{
	struct store *store = store_open(directory);
	struct store_table *table;

	(void)state;
	assert_non_null(store);
	table = store_table_open(store, "users");
	assert_non_null(table);
	put(store, table, "a", "one");
	put(store, table, "a", "two");
	store_close(store);
	store = store_open(directory);
	assert_non_null(store);
	table = store_table_open(store, "users");
	assert_value(table, "a", "two");
	store_close(store);
}

static void
an_abort_undoes_puts_and_deletes(void **state)
{
	struct store *store = store_open(directory);
	struct store_table *table = store_table_open(store, "users");
	struct store_transaction *transaction;

	(void)state;
	put(store, table, "kept", "x");
	transaction = store_begin(store);
	assert_int_equal(store_put(table, transaction, "new", "y", 1, true), STORE_OK);
	assert_int_equal(store_delete(table, transaction, "kept"), STORE_OK);
	store_abort(transaction);
	assert_value(table, "kept", "x");
	assert_missing(table, "new");
	store_close(store);
}

static void
put_without_overwrite_tells_that_the_key_exists(void **state)
{
	struct store *store = store_open(directory);
	struct store_table *table = store_table_open(store, "users");
	struct store_transaction *transaction;

	(void)state;
	put(store, table, "a", "x");
	transaction = store_begin(store);
	assert_int_equal(store_put(table, transaction, "a", "y", 1, false), STORE_EXISTS);
	store_abort(transaction);
	assert_value(table, "a", "x");
	transaction = store_begin(store);
	assert_int_equal(store_delete(table, transaction, "b"), STORE_NOT_FOUND);
	store_abort(transaction);
	store_close(store);
}

static bool
gather(const char *key, const void *value, size_t length, void *arg)
{
	struct buf *keys = arg;

	(void)value;
	(void)length;
	buf_printf(keys, "%s,", key);
	return keys->length < 1000;
}

static void
keys_are_walked_in_order_below_a_prefix(void **state)
{
	struct store *store = store_open(directory);
	struct store_table *table = store_table_open(store, "users");
	struct buf keys;

	(void)state;
	buf_init(&keys, 4096);
	put(store, table, "b 2", "");
	put(store, table, "b 1", "");
	put(store, table, "b 3", "");
	put(store, table, "a", "");
	put(store, table, "c", "");
	assert_int_equal(store_each(table, "b ", gather, &keys), STORE_OK);
	buf_add_u8(&keys, 0);
	assert_string_equal((char *)keys.data, "b 1,b 2,b 3,");
	buf_clear(&keys);
	assert_int_equal(store_each_after(table, "b ", "b 1", gather, &keys), STORE_OK);
	buf_add_u8(&keys, 0);
	assert_string_equal((char *)keys.data, "b 2,b 3,");
	buf_clear(&keys);
	assert_int_equal(store_each(table, "d", gather, &keys), STORE_OK);
	assert_int_equal(keys.length, 0);
	buf_free(&keys);
	store_close(store);
}

static void
a_second_owner_is_refused(void **state)
{
	struct store *store = store_open(directory);

	(void)state;
	assert_non_null(store);
	assert_null(store_open(directory));
	store_close(store);
	store = store_open(directory);
	assert_non_null(store);
	store_close(store);
}

static void
a_large_value_comes_back_whole(void **state)
{
	struct store *store = store_open(directory);
	struct store_table *table = store_table_open(store, "users");
	size_t length = 300000;
	char *large = malloc(length + 1);

	(void)state;
	memset(large, 'x', length);
	large[length] = '\0';
	put(store, table, "large", large);
	/* The buffer is too small for it: an error, not a part of the value. */
	{
		struct buf value;

		buf_init(&value, 1000);
		assert_int_equal(store_get(table, NULL, "large", &value), STORE_ERROR);
		buf_free(&value);
		buf_init(&value, 1000000);
		assert_int_equal(store_get(table, NULL, "large", &value), STORE_OK);
		assert_int_equal(value.length, length);
		assert_memory_equal(value.data, large, length);
		buf_free(&value);
	}
	free(large);
	store_close(store);
}

/* In each transaction the child sets "x" and "y" to the same number, reports it when committed and
 * is killed at some moment. */
static _Noreturn void
write_until_killed(int report)
{
	struct store *store = store_open(directory);
	struct store_table *table = store_table_open(store, "users");

	for (uint32_t n = 1;; n++) {
		struct store_transaction *transaction = store_begin(store);

		if (store_put(table, transaction, "x", &n, sizeof(n), true) != STORE_OK ||
		    store_put(table, transaction, "y", &n, sizeof(n), true) != STORE_OK ||
		    !store_commit(transaction) || write(report, &n, sizeof(n)) != sizeof(n))
			_exit(1);
	}
}

static uint32_t
number(struct store_table *table, const char *key)
{
	struct buf value;
	uint32_t n;

	buf_init(&value, 64);
	assert_int_equal(store_get(table, NULL, key, &value), STORE_OK);
	assert_int_equal(value.length, sizeof(n));
	memcpy(&n, value.data, sizeof(n));
	buf_free(&value);
	return n;
}

static void
a_kill_leaves_whole_transactions_only(void **state)
{
	(void)state;
	for (uint32_t round = 1; round <= 10; round++) {
		struct store *store;
		struct store_table *table;
		int report[2], status;
		uint32_t reported = 0, n;
		pid_t pid;

		assert_int_equal(pipe(report), 0);
		pid = fork();
		if (pid == 0) {
			close(report[0]);
			write_until_killed(report[1]);
		}
		close(report[1]);
		while (reported < 3 * round && read(report[0], &n, sizeof(n)) == sizeof(n))
			reported = n;
		kill(pid, SIGKILL);
		while (read(report[0], &n, sizeof(n)) == sizeof(n))
			reported = n;
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		close(report[0]);
		store = store_open(directory);
		assert_non_null(store);
		table = store_table_open(store, "users");
		assert_non_null(table);
		assert_int_equal(number(table, "x"), number(table, "y"));
		/* What was reported is there; the one in hand may be. */
		assert_in_range(number(table, "x"), reported, reported + 1);
		store_close(store);
	}
}

static void
make_map(const char *path, bool with_nul)
{
	DB *db;
	DBT key, value;
	char key_text[] = "bob@example.org", value_text[] = "bob";

	memset(&key, 0, sizeof(key));
	memset(&value, 0, sizeof(value));
	key.data = key_text;
	key.size = (u_int32_t)(strlen(key.data) + with_nul);
	value.data = value_text;
	value.size = (u_int32_t)(strlen(value.data) + with_nul);
	assert_int_equal(db_create(&db, NULL, 0), 0);
	assert_int_equal(db->open(db, NULL, path, NULL, DB_HASH, DB_CREATE, 0600), 0);
	assert_int_equal(db->put(db, NULL, &key, &value, 0), 0);
	assert_int_equal(db->close(db, 0), 0);
}

static void
a_map_is_read_with_and_without_nul(void **state)
{
	(void)state;
	for (int with_nul = 0; with_nul < 2; with_nul++) {
		struct store_map *map;
		struct buf value;
		char path[128];

		snprintf(path, sizeof(path), "%s/map%d.db", directory, with_nul);
		make_map(path, with_nul == 1);
		map = store_map_open(path);
		assert_non_null(map);
		buf_init(&value, 1000);
		assert_int_equal(store_map_get(map, "bob@example.org", &value), STORE_OK);
		assert_int_equal(value.length, 3);
		assert_memory_equal(value.data, "bob", 3);
		assert_int_equal(store_map_get(map, "bob", &value), STORE_NOT_FOUND);
		buf_free(&value);
		store_map_close(map);
	}
}

static void
a_map_that_is_no_database_is_refused(void **state)
{
	char path[128];
	FILE *file;

	(void)state;
	snprintf(path, sizeof(path), "%s/text.db", directory);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs("bob: root\n", file);
	assert_int_equal(fclose(file), 0);
	assert_null(store_map_open(path));
	snprintf(path, sizeof(path), "%s/absent.db", directory);
	assert_null(store_map_open(path));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_directory, remove_directory)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_commit_is_there_after_reopening),
		TEST(an_abort_undoes_puts_and_deletes),
		TEST(put_without_overwrite_tells_that_the_key_exists),
		TEST(keys_are_walked_in_order_below_a_prefix),
		TEST(a_second_owner_is_refused),
		TEST(a_large_value_comes_back_whole),
		TEST(a_kill_leaves_whole_transactions_only),
		TEST(a_map_is_read_with_and_without_nul),
		TEST(a_map_that_is_no_database_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
