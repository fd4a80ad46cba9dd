/* The history of messages: kept within bounds, found again, and begun anew when it is damaged. */
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <dirent.h>
#include <fcntl.h>
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

#include "common/clock.h"
#include "common/log.h"
#include "common/store.h"
#include "lookup/history_store.h"

#define DAY_US (INT64_C(86400) * 1000000)
#define MIB    (1024 * 1024)

static char directory[64];
static char heard[64]; /* what is logged */
static struct history_store *history;
static int64_t now_us;
static enum history_rest rest; /* of the last answer */

static void
reopen(void)
{
	history_store_free(history);
	history = history_store_new(directory);
	history_store_limit(history, 14 * DAY_US, 16 * MIB);
}

static int
set_up(void **state)
{
	int fd;

	(void)state;
	strcpy(directory, "/tmp/test_directory_history.XXXXXX");
	strcpy(heard, "/tmp/test_directory_heard.XXXXXX");
	if (mkdtemp(directory) == NULL || (fd = mkstemp(heard)) == -1)
		return -1;
	log_open("test", LOG_TARGET_STDERR, fd);
	now_us = clock_wall_us();
	history = NULL;
	reopen();
	return 0;
}

static void
each_file(void (*each)(const char *path))
{
	DIR *listing = opendir(directory);
	struct dirent *entry;
	char path[512];

	assert_non_null(listing);
	while ((entry = readdir(listing)) != NULL) {
		(void)snprintf(path, sizeof(path), "%s/%s", directory, entry->d_name);
		if (*entry->d_name != '.')
			each(path);
	}
	closedir(listing);
}

static void
remove_file(const char *path)
{
	assert_int_equal(unlink(path), 0);
}

static int
tear_down(void **state)
{
	(void)state;
	history_store_free(history);
	each_file(remove_file);
	(void)unlink(heard);
	return rmdir(directory);
}

static bool
was_logged(const char *words)
{
	static char text[65536];
	int fd = open(heard, O_RDONLY);
	ssize_t length = read(fd, text, sizeof(text) - 1);

	assert_true(length >= 0);
	close(fd);
	text[length] = '\0';
	return strstr(text, words) != NULL;
}

/* A message from and to these, with a Message-ID and so many bytes of words. */
static void
add_message(struct history_batch *batch, uint32_t id, const char *from, const char *to,
    const char *header_id, size_t size, int64_t time_us)
{
	static char words[HISTORY_VALUE_MAX + 1];
	struct history_event received = {
		.kind = HISTORY_RECEIVED, .time_us = time_us, .message_id = id
	};
	struct history_event recipient = {
		.kind = HISTORY_RECIPIENT, .time_us = time_us, .message_id = id, .number = 1
	};
	struct history_event delivered = {
		.kind = HISTORY_DELIVERED, .time_us = time_us, .message_id = id, .number = 1
	};
	struct buf buf;

	memset(words, 'w', sizeof(words) - 1);
	words[size] = '\0';
	received.fields[HISTORY_FROM] = from;
	received.fields[HISTORY_HEADER_ID] = header_id;
	recipient.fields[HISTORY_RCPT] = recipient.fields[HISTORY_DEST] = to;
	delivered.fields[HISTORY_REPLY] = words;
	buf_init(&buf, 16384);
	history_event_encode(&buf, &received);
	history_event_encode(&buf, &recipient);
	history_event_encode(&buf, &delivered);
	assert_true(buf_ok(&buf));
	assert_true(history_batch_add(batch, buf.data, buf.length));
	buf_free(&buf);
}

static bool
keep_message(uint32_t id, const char *from, const char *to, const char *header_id, size_t size,
    int64_t time_us)
{
	struct history_batch batch;
	bool kept;

	history_batch_init(&batch);
	add_message(&batch, id, from, to, header_id, size, time_us);
	kept = history_store_append(history, &batch);
	history_batch_free(&batch);
	return kept;
}

/* How many events are found; 0 when there are none or nothing can be read. */
static size_t
found(const char *what)
{
	struct buf events;
	size_t count;

	buf_init(&events, HISTORY_ANSWER_SIZE);
	if (!history_store_find(history, what, &events, &count, &rest))
		count = 0;
	buf_free(&events);
	return count;
}

static size_t
found_id(uint32_t id)
{
	char what[9];

	(void)snprintf(what, sizeof(what), "%08x", id);
	return found(what);
}

static void
test_a_message_is_found_by_each_of_its_names(void **state)
{
	(void)state;
	assert_true(keep_message(0x1a, "A@a.test", "b@b.test", "<one@a.test>", 10, now_us));
	assert_true(keep_message(0x1b, "a@a.test", "c@c.test", "<two@a.test> ", 10, now_us));
	for (int i = 0; i < 2; i++) {
		assert_int_equal(found("0000001a"), 3);
		assert_int_equal(found("0000001A00000001"), 3);
		assert_int_equal(found("0000001a00000002"), 1); /* the message's own */
		assert_int_equal(found("<one@a.test>"), 3);
		assert_int_equal(found("TWO@a.test"), 3);
		assert_int_equal(found("a@A.test"), 6);
		assert_int_equal(found("c@c.test"), 3);
		assert_int_equal(found("<C@c.test>"), 3);
		assert_int_equal(found("0000001c"), 0);
		assert_int_equal(found("@a.test"), 0);
		assert_int_equal(found("<>"), 0);
		reopen();
	}
}

static void
test_a_message_id_that_was_cut_is_found_by_all_of_it(void **state)
{
	char whole[300], kept[FACTS_TEXT_MAX + 1];

	(void)state;
	memset(whole, 'x', sizeof(whole));
	memcpy(whole, "<", 1);
	memcpy(whole + sizeof(whole) - 9, "@a.test>", 9);
	memcpy(kept, whole, sizeof(kept) - 1);
	kept[sizeof(kept) - 1] = '\0';
	assert_true(keep_message(1, "a@a.test", "b@b.test", kept, 10, now_us));
	assert_int_equal(found(whole), 3);
	whole[sizeof(whole) - 2] = '\0';
	assert_int_equal(found(whole + 1), 3);
}

static void
test_a_message_that_was_made_of_another_is_found_with_what_says_so(void **state)
{
	struct history_event made = {
		.kind = HISTORY_NOTIFIED, .time_us = now_us, .message_id = 0x1a, .number = 1
	};
	struct history_batch batch;
	struct buf buf;

	(void)state;
	assert_true(keep_message(0x1a, "a@a.test", "b@b.test", "<one@a.test>", 10, now_us));
	assert_true(keep_message(0x1b, "", "a@a.test", "<two@b.test>", 10, now_us));
	made.fields[HISTORY_BOUNCE] = "0000001b";
	buf_init(&buf, 16384);
	history_event_encode(&buf, &made);
	history_batch_init(&batch);
	assert_true(history_batch_add(&batch, buf.data, buf.length));
	assert_true(history_store_append(history, &batch));
	history_batch_free(&batch);
	buf_free(&buf);
	assert_int_equal(found("0000001b"), 4);
	assert_int_equal(found("0000001b00000001"), 4);
	assert_int_equal(found("0000001a"), 4);
	assert_int_equal(found("two@b.test"), 4);
}

static void
test_blocks_are_filled_by_pieces_and_all_of_them_is_found(void **state)
{
	char to[32], header_id[32];

	(void)state;
	for (uint32_t id = 1; id <= 1000; id++) {
		(void)snprintf(to, sizeof(to), "user%u@b.test", id);
		(void)snprintf(header_id, sizeof(header_id), "<%u@a.test>", id);
		assert_true(keep_message(id, "a@a.test", to, header_id, 200, now_us + id));
		if (id % 97 == 0)
			reopen();
	}
	for (uint32_t id = 1; id <= 1000; id += 37) {
		(void)snprintf(to, sizeof(to), "user%u@b.test", id);
		assert_int_equal(found(to), 3);
		assert_int_equal(found_id(id), 3);
	}
	/* The newest ones of very many. */
	assert_int_equal(found("a@a.test"), HISTORY_MESSAGES_MAX * 3);
	reopen();
	assert_int_equal(found("999@a.test"), 3);
}

static off_t disk;

static void
add_size(const char *path)
{
	struct stat info;

	assert_int_equal(stat(path, &info), 0);
	disk += info.st_size;
}

static void
test_the_oldest_goes_when_there_is_too_much(void **state)
{
	struct history_batch batch;
	uint32_t id = 1;

	(void)state;
	history_store_limit(history, 14 * DAY_US, 2 * MIB);
	for (int i = 0; i < 120; i++) {
		history_batch_init(&batch);
		while (batch.events.length < 40000)
			add_message(
			    &batch, id++, "a@a.test", "b@b.test", "<x@a.test>", 300, now_us);
		assert_true(history_store_append(history, &batch));
		history_batch_free(&batch);
		while (history_store_expire(history, now_us))
			;
		assert_in_range(history_store_size(history), 0, 2 * MIB);
	}
	assert_int_equal(found_id(1), 0);
	assert_int_equal(found_id(id - 1), 3);
	/* After 5 MB, a log of up to 8 MB included. */
	each_file(add_size);
	assert_in_range(disk, MIB, 14 * MIB);
	reopen();
	assert_int_equal(found_id(1), 0);
	assert_int_equal(found_id(id - 1), 3);
	assert_in_range(history_store_size(history), MIB, 2 * MIB);
	/* A smaller limit is come to in steps. */
	history_store_limit(history, 14 * DAY_US, MIB);
	assert_true(history_store_expire(history, now_us));
	while (history_store_expire(history, now_us))
		;
	assert_in_range(history_store_size(history), 1, MIB);
}

static void
test_what_is_too_old_goes(void **state)
{
	(void)state;
	assert_true(
	    keep_message(1, "a@a.test", "b@b.test", "<1@a.test>", 10, now_us - 20 * DAY_US));
	assert_true(
	    keep_message(2, "a@a.test", "b@b.test", "<2@a.test>", 10, now_us - 15 * DAY_US));
	assert_true(
	    keep_message(3, "a@a.test", "b@b.test", "<3@a.test>", 10, now_us - 13 * DAY_US));
	assert_true(keep_message(4, "a@a.test", "b@b.test", "<4@a.test>", 10, now_us));
	assert_int_equal(found_id(2), 0); /* even before it is removed */
	while (history_store_expire(history, now_us))
		;
	assert_int_equal(found_id(3), 3);
	assert_int_equal(found("b@b.test"), 6);
	/* Nothing comes, and the last one goes, too; then some come. */
	while (history_store_expire(history, now_us + 30 * DAY_US))
		;
	assert_int_equal(history_store_size(history), 0);
	assert_int_equal(found_id(4), 0);
	assert_true(keep_message(5, "a@a.test", "b@b.test", "<5@a.test>", 10, now_us));
	assert_int_equal(found_id(5), 3);
	reopen();
	assert_int_equal(found("b@b.test"), 3);
}

static void
test_a_killed_process_loses_nothing_that_was_written(void **state)
{
	int status;
	pid_t child;

	(void)state;
	history_store_free(history);
	history = NULL;
	child = fork();
	if (child == 0) {
		reopen();
		for (uint32_t id = 1; id <= 300; id++)
			if (!keep_message(id, "a@a.test", "b@b.test", "<x@a.test>", 300, now_us))
				_exit(1);
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	reopen();
	assert_int_equal(found_id(1), 3);
	assert_int_equal(found_id(300), 3);
}

static void
spoil(const char *path)
{
	struct stat info;
	int fd = open(path, O_WRONLY);
	char noise[512];

	assert_int_not_equal(fd, -1);
	assert_int_equal(fstat(fd, &info), 0);
	memset(noise, 0xa5, sizeof(noise));
	for (off_t at = 0; at < info.st_size; at += 512)
		assert_int_equal(pwrite(fd, noise, sizeof(noise), at), sizeof(noise));
	close(fd);
}

static void
cut(const char *path)
{
	struct stat info;

	assert_int_equal(stat(path, &info), 0);
	assert_int_equal(truncate(path, info.st_size / 2), 0);
}

static void
spoil_end(const char *path)
{
	int fd = open(path, O_WRONLY);
	struct stat info;

	assert_int_equal(fstat(fd, &info), 0);
	for (off_t at = 4096 + 100; at < info.st_size; at += 4096)
		assert_int_equal(pwrite(fd, "\xa5\xa5\xa5\xa5", 4, at), 4);
	close(fd);
}

/* Whatever is done to its files, it takes what comes, and says so. */
static void
check_damage(void (*damage)(const char *), bool must_be_heard)
{
	for (uint32_t id = 1; id <= 500; id++)
		assert_true(keep_message(id, "a@a.test", "b@b.test", "<x@a.test>", 300, now_us));
	history_store_free(history);
	history = NULL;
	each_file(damage);
	reopen();
	(void)found("b@b.test"); /* looks at all that there is */
	(void)keep_message(999, "a@a.test", "new@b.test", "<new@a.test>", 10, now_us);
	(void)found("b@b.test");
	assert_true(keep_message(1000, "a@a.test", "newer@b.test", "<newer@a.test>", 10, now_us));
	assert_int_equal(found("newer@b.test"), 3);
	if (must_be_heard)
		assert_true(was_logged("begins empty"));
	reopen();
	assert_int_equal(found("newer@b.test"), 3);
}

static void
test_files_of_noise_are_removed(void **state)
{
	(void)state;
	check_damage(spoil, true);
}

static void
test_files_cut_short_are_removed(void **state)
{
	(void)state;
	check_damage(cut, true);
}

static void
test_spoilt_pages_are_noticed_when_they_are_read(void **state)
{
	(void)state;
	check_damage(spoil_end, true);
}

static void
test_a_table_of_something_else_is_removed(void **state)
{
	struct store_transaction *transaction;
	struct store *store;
	struct store_table *table;

	(void)state;
	history_store_free(history);
	history = NULL;
	store = store_open_expendable(directory, false);
	assert_non_null(store);
	table = store_table_open(store, "keys");
	assert_non_null(table);
	transaction = store_begin(store);
	assert_non_null(transaction);
	assert_int_equal(store_put(table, transaction, "not a block", "x", 1, true), STORE_OK);
	assert_true(store_commit_later(transaction));
	store_close(store);
	reopen();
	assert_true(keep_message(1, "a@a.test", "b@b.test", "<1@a.test>", 10, now_us));
	assert_int_equal(found_id(1), 3);
	assert_true(was_logged("can't be understood"));
}

static void
test_another_process_has_it_and_nothing_is_removed(void **state)
{
	struct store *store;

	(void)state;
	assert_true(keep_message(1, "a@a.test", "b@b.test", "<1@a.test>", 10, now_us));
	history_store_free(history);
	history = NULL;
	store = store_open_expendable(directory, false);
	assert_non_null(store);
	reopen();
	assert_false(keep_message(2, "a@a.test", "b@b.test", "<2@a.test>", 10, now_us));
	store_close(store);
	reopen();
	assert_int_equal(found_id(1), 3);
	assert_false(was_logged("begins empty"));
}

static void
test_a_table_that_lacks_what_the_other_names_is_removed(void **state)
{
	struct store_transaction *transaction;
	struct store *store;
	struct store_table *table;
	char key[16];

	(void)state;
	for (uint32_t id = 1; id <= 500; id++)
		assert_true(keep_message(id, "a@a.test", "b@b.test", "<x@a.test>", 300, now_us));
	history_store_free(history);
	history = NULL;
	store = store_open_expendable(directory, false);
	assert_non_null(store);
	table = store_table_open(store, "events");
	assert_non_null(table);
	transaction = store_begin(store);
	assert_non_null(transaction);
	(void)snprintf(key, sizeof(key), "%08x", 1);
	assert_int_equal(store_delete(table, transaction, key), STORE_OK);
	assert_true(store_commit_later(transaction));
	store_close(store);
	reopen();
	assert_int_equal(found_id(1), 0);
	assert_true(keep_message(1, "a@a.test", "b@b.test", "<1@a.test>", 10, now_us));
	assert_int_equal(found("b@b.test"), 3);
	assert_true(was_logged("begins empty"));
}

static void
test_a_clock_that_was_ahead_keeps_nothing_longer(void **state)
{
	(void)state;
	assert_true(
	    keep_message(1, "a@a.test", "b@b.test", "<1@a.test>", 10, now_us + 300 * DAY_US));
	assert_true(
	    keep_message(2, "a@a.test", "b@b.test", "<2@a.test>", 10, now_us + 302 * DAY_US));
	assert_true(keep_message(3, "a@a.test", "b@b.test", "<3@a.test>", 10, now_us));
	assert_int_equal(found("b@b.test"), 9);
	for (int i = 0; i < 2; i++) {
		while (history_store_expire(history, now_us + 13 * DAY_US))
			;
		assert_int_equal(found("b@b.test"), 9);
		reopen();
	}
	while (history_store_expire(history, now_us + 15 * DAY_US))
		;
	assert_int_equal(found("b@b.test"), 0);
	assert_int_equal(history_store_size(history), 0);
}

/* No file may grow beyond what it is. */
static void
set_largest_file(rlim_t size)
{
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = size == RLIM_INFINITY ? limit.rlim_max : size;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void
test_a_disk_that_takes_no_more_costs_only_what_comes_then(void **state)
{
	uint32_t id = 1;

	(void)state;
	for (; id <= 500; id++)
		assert_true(keep_message(id, "a@a.test", "b@b.test", "<x@a.test>", 300, now_us));
	assert_int_not_equal(signal(SIGXFSZ, SIG_IGN), SIG_ERR);
	set_largest_file(256 * 1024);
	while (id < 5000 && keep_message(id, "a@a.test", "b@b.test", "<x@a.test>", 300, now_us))
		id++;
	assert_in_range(id, 501, 4999);
	set_largest_file(RLIM_INFINITY);
	assert_false(was_logged("begins empty"));
	reopen();
	assert_true(keep_message(6000, "a@a.test", "new@b.test", "<new@a.test>", 10, now_us));
	assert_int_equal(found("new@b.test"), 3);
	assert_int_equal(found_id(1), 3);
	assert_int_equal(found_id(500), 3);
	assert_false(was_logged("begins empty"));
}

/* What a page was spoilt for is read when it is asked for; the rest is worth a second look. */
static void
test_what_still_can_be_read_is_kept_until_it_breaks_twice(void **state)
{
	char path[128];
	int fd;

	(void)state;
	for (uint32_t id = 1; id <= 3000; id++)
		assert_true(keep_message(id, "a@a.test", "b@b.test", "<x@a.test>", 300, now_us));
	reopen();
	assert_int_equal(found_id(3000), 3);
	(void)snprintf(path, sizeof(path), "%s/events.db", directory);
	fd = open(path, O_WRONLY);
	assert_int_not_equal(fd, -1);
	for (off_t at = 5 * 4096 + 100; at < 12 * 4096; at += 4096)
		assert_int_equal(pwrite(fd, "\xa5\xa5\xa5\xa5", 4, at), 4);
	close(fd);
	assert_int_equal(found_id(1), 0);
	assert_int_equal(found_id(3000), 3);
	assert_false(was_logged("begins empty"));
	assert_int_equal(found_id(1), 0);
	assert_true(keep_message(3001, "a@a.test", "b@b.test", "<x@a.test>", 300, now_us));
	assert_int_equal(found_id(3001), 3);
	assert_true(was_logged("begins empty"));
}

static void
test_an_answer_says_what_it_leaves_out(void **state)
{
	char header_id[32];

	(void)state;
	for (uint32_t id = 1; id <= 400; id++) {
		(void)snprintf(header_id, sizeof(header_id), "<%u@a.test>", id);
		assert_true(keep_message(id, "a@a.test", "b@b.test", header_id, 900, now_us));
	}
	assert_int_equal(found("7@a.test"), 3);
	assert_int_equal(rest, HISTORY_REST_NONE);
	assert_int_equal(found("a@a.test"), 3 * HISTORY_MESSAGES_MAX);
	assert_int_equal(rest, HISTORY_REST_OLDER);
}

static void
test_what_is_no_event_is_refused(void **state)
{
	struct history_batch batch;

	(void)state;
	history_batch_init(&batch);
	assert_false(history_batch_add(&batch, "\5\0hello", 7));
	assert_false(history_batch_add(&batch, "\377\377", 2));
	assert_false(history_batch_add(&batch, "", 0));
	assert_int_equal(batch.event_count, 0);
	history_batch_free(&batch);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(test_a_message_is_found_by_each_of_its_names),
		WITH(test_a_message_id_that_was_cut_is_found_by_all_of_it),
		WITH(test_a_message_that_was_made_of_another_is_found_with_what_says_so),
		WITH(test_blocks_are_filled_by_pieces_and_all_of_them_is_found),
		WITH(test_the_oldest_goes_when_there_is_too_much),
		WITH(test_what_is_too_old_goes),
		WITH(test_a_killed_process_loses_nothing_that_was_written),
		WITH(test_files_of_noise_are_removed),
		WITH(test_files_cut_short_are_removed),
		WITH(test_spoilt_pages_are_noticed_when_they_are_read),
		WITH(test_a_table_of_something_else_is_removed),
		WITH(test_another_process_has_it_and_nothing_is_removed),
		WITH(test_a_table_that_lacks_what_the_other_names_is_removed),
		WITH(test_a_clock_that_was_ahead_keeps_nothing_longer),
		WITH(test_a_disk_that_takes_no_more_costs_only_what_comes_then),
		WITH(test_what_still_can_be_read_is_kept_until_it_breaks_twice),
		WITH(test_an_answer_says_what_it_leaves_out),
		WITH(test_what_is_no_event_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
