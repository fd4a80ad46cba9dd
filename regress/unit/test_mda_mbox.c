/* Deliveries to mbox files: what is appended, who is kept out meanwhile, and what a failure or a crash
 * leaves behind. */
#include "test_mda_fixture.h"

#include <sys/socket.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <dlfcn.h>
#include <sys/syscall.h>

#include "common/clock.h"
#include "deliver/mbox_batch.h"

#define TEXT   "Subject: hello\r\n\r\nline\r\n"
#define FROM   "From sender@client.test  Tue Nov 14 22:13:20 2023\n"
#define FIELDS "Return-Path: <sender@client.test>\nDelivered-To: user@example.test\n"
#define MARK1  "X-Postern-Delivery: 0000000000000001.1700000000123456\n"
#define MARK2  "X-Postern-Delivery: 0000000000000002.1700000000123456\n"
#define BODY   "Subject: hello\n\nline\n\n"
#define ONE    FROM FIELDS MARK1 BODY
#define TWO    FROM FIELDS MARK2 BODY

static unsigned syncs;
static int sync_error;

int
fdatasync(int fd)
{
	syncs++;
	if (sync_error != 0) {
		errno = sync_error;
		return -1;
	}
	return (int)syscall(SYS_fdatasync, fd);
}

static int
setup(void **state)
{
	syncs = 0;
	sync_error = 0;
	return fixture_setup(state);
}

static struct delivery *
new_delivery(struct fixture *fixture, uint64_t id, const char *text, bool maybe_delivered)
{
	struct delivery *delivery = fixture_delivery(fixture, id, text);

	delivery->request.mailbox.form = MAILBOX_MBOX;
	delivery->request.maybe_delivered = maybe_delivered;
	snprintf(delivery->request.mailbox.path, sizeof(delivery->request.mailbox.path), "%s/mbox",
	    fixture->home);
	return delivery;
}

static const struct ipc_delivered *
deliver(struct fixture *fixture, uint64_t id, const char *text, bool maybe_delivered)
{
	static struct ipc_delivered result;
	struct delivery *delivery = new_delivery(fixture, id, text, maybe_delivered);

	mbox_batch_deliver(&fixture->context, &delivery, 1);
	result = delivery->result;
	delivery_free(delivery);
	return &result;
}

static void
assert_delivered(const struct ipc_delivered *result, bool was_there)
{
	assert_reply(&result->reply, 250, "2.1.5", "delivered");
	assert_int_equal(result->was_there, was_there);
}

static const char *
mbox(struct fixture *fixture)
{
	return fixture_read(fixture, "home/mbox");
}

static void
assert_no_lock_is_left(struct fixture *fixture, int files)
{
	assert_int_equal(fixture_count(fixture, "home"), files);
}

static void
message_is_appended_with_its_fields_and_an_empty_line(void **state)
{
	struct stat st;

	assert_delivered(deliver(*state, 1, TEXT, false), false);
	assert_string_equal(mbox(*state), ONE);
	assert_delivered(deliver(*state, 2, TEXT, false), false);
	assert_string_equal(mbox(*state), ONE TWO);
	assert_int_equal(stat(fixture_path(*state, "home/mbox"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_no_lock_is_left(*state, 1);
}

static void
nothing_is_appended_for_a_queue_that_is_gone(void **state)
{
	struct fixture *fixture = *state;
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	fixture->context.queue_fd = ends[0];
	assert_delivered(deliver(fixture, 1, TEXT, false), false);
	close(ends[1]);
	assert_int_equal(deliver(fixture, 2, TEXT, false)->reply.code / 100, 4);
	assert_string_equal(mbox(fixture), ONE);
	assert_no_lock_is_left(fixture, 1);
	close(ends[0]);
}

static void
lines_that_begin_with_from_are_quoted(void **state)
{
	assert_delivered(
	    deliver(*state, 1,
	        "From a\r\nSubject: x\r\n\r\nFrom b\r\n>From c\r\nFrom\r\n From d\r\nfrom e\r\n"
	        "Fro",
	        false),
	    false);
	assert_string_equal(mbox(*state),
	    FROM FIELDS MARK1
	    ">From a\nSubject: x\n\n>From b\n>From c\nFrom\n From d\nfrom e\nFro\n\n");
}

/* "From " over every possible end of a chunk. */
static void
quoting_does_not_depend_on_chunks(void **state)
{
	static const size_t chunk = 128 * 1024;
	struct fixture *fixture = *state;

	for (size_t before = chunk - 12; before < chunk + 2; before++) {
		char *text = malloc(before + 32), *file;
		int fd;

		memset(text, 'x', before);
		memcpy(text, "A: b\r\n\r\n", 8);
		memcpy(text + before, "\r\nFrom x\r\n", 11);
		unlink(fixture_path(fixture, "home/mbox"));
		assert_delivered(deliver(fixture, 1, text, false), false);
		free(text);
		file = calloc(1, before + 4096);
		fd = open(fixture_path(fixture, "home/mbox"), O_RDONLY);
		assert_true(read(fd, file, before + 4095) > 0);
		close(fd);
		assert_non_null(strstr(file, "x\n>From x\n\n"));
		free(file);
	}
}

static void
null_sender_and_odd_names_keep_the_from_line_whole(void **state)
{
	struct delivery *delivery = new_delivery(*state, 1, TEXT, false);

	memset(&delivery->request.sender, 0, sizeof(delivery->request.sender));
	mbox_batch_deliver(&((struct fixture *)*state)->context, &delivery, 1);
	delivery_free(delivery);
	assert_non_null(strstr(mbox(*state), "From MAILER-DAEMON  Tue"));
	unlink(fixture_path(*state, "home/mbox"));
	delivery = new_delivery(*state, 1, TEXT, false);
	strcpy(delivery->request.sender.local, "a b\nc");
	mbox_batch_deliver(&((struct fixture *)*state)->context, &delivery, 1);
	delivery_free(delivery);
	assert_non_null(strstr(mbox(*state), "From \"a-b-c\"@client.test  Tue"));
}

static void
what_others_left_unfinished_does_not_run_into_a_message(void **state)
{
	fixture_write(*state, "home/mbox", "From x\n\nhalf a li");
	assert_delivered(deliver(*state, 1, TEXT, false), false);
	assert_string_equal(mbox(*state), "From x\n\nhalf a li\n\n" ONE);
	fixture_write(*state, "home/mbox", "From x\n\na line\n");
	assert_delivered(deliver(*state, 1, TEXT, false), false);
	assert_string_equal(mbox(*state), "From x\n\na line\n\n" ONE);
}

static void
many_messages_take_one_lock_and_one_sync(void **state)
{
	struct fixture *fixture = *state;
	struct delivery *deliveries[20];

	for (uint64_t i = 0; i < 20; i++)
		deliveries[i] = new_delivery(fixture, i + 1, TEXT, false);
	/* The last one is for another file. */
	strcat(deliveries[19]->request.mailbox.path, "2");
	mbox_batch_deliver(&fixture->context, deliveries, 20);
	for (size_t i = 0; i < 20; i++) {
		assert_delivered(&deliveries[i]->result, false);
		delivery_free(deliveries[i]);
	}
	assert_int_equal(syncs, 2);
	assert_int_equal(strncmp(mbox(fixture), ONE TWO, strlen(ONE TWO)), 0);
	assert_no_lock_is_left(fixture, 2);
}

/* Another process that has a lock until it is told to end; its pid. */
static pid_t
hold(const char *path, bool by_name, int *end)
{
	int ready[2], go[2];
	char byte;
	pid_t pid;

	assert_int_equal(pipe(ready), 0);
	assert_int_equal(pipe(go), 0);
	pid = fork();
	if (pid == 0) {
		struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
		char name[4200];
		int fd;

		snprintf(name, sizeof(name), "%s.lock", path);
		fd = open(by_name ? name : path, O_RDWR | O_CREAT, 0600);
		if (fd == -1 || (!by_name && fcntl(fd, F_SETLK, &lock) == -1))
			_exit(1);
		close(go[1]);
		if (write(ready[1], "x", 1) != 1 || read(go[0], &byte, 1) < 0)
			_exit(1);
		if (by_name)
			unlink(name);
		_exit(0);
	}
	close(go[0]);
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	*end = go[1];
	return pid;
}

static void
a_lock_that_is_held_defers_and_one_that_ends_is_waited_for(void **state)
{
	struct fixture *fixture = *state;
	char path[256];

	snprintf(path, sizeof(path), "%s/mbox", fixture->home);
	for (int by_name = 0; by_name < 2; by_name++) {
		int64_t began = clock_monotonic_ms();
		int end, status;
		pid_t pid, killer;

		fixture_write(fixture, "home/mbox", "");
		pid = hold(path, by_name, &end);
		assert_reply(&deliver(fixture, 1, TEXT, false)->reply, 451, "4.2.1", "locked");
		assert_in_range(clock_monotonic_ms() - began, 4000, 9000);
		assert_string_equal(mbox(fixture), "");
		killer = fork();
		if (killer == 0) {
			usleep(200 * 1000);
			(void)!write(end, "x", 1);
			_exit(0);
		}
		assert_delivered(deliver(fixture, 1, TEXT, false), false);
		assert_string_equal(mbox(fixture), ONE);
		close(end);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(waitpid(killer, &status, 0), killer);
	}
}

static void
lock_of_a_dead_process_is_broken(void **state)
{
	char host[256] = "", text[300];
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(0);
	waitpid(pid, &status, 0);
	gethostname(host, sizeof(host) - 1);
	snprintf(text, sizeof(text), "%d:%s", (int)pid, host);
	fixture_write(*state, "home/mbox.lock", text);
	assert_delivered(deliver(*state, 1, TEXT, false), false);
	assert_no_lock_is_left(*state, 1);
}

static void
two_processes_that_append_lose_nothing(void **state)
{
	struct fixture *fixture = *state;
	pid_t pids[2];
	size_t count = 0;

	for (int i = 0; i < 2; i++) {
		pids[i] = fork();
		if (pids[i] == 0) {
			for (uint64_t k = 1; k <= 50; k++) {
				if (!reply_is_success(
				        &deliver(fixture, k * 2 + (uint64_t)i, TEXT, false)->reply))
					_exit(1);
			}
			_exit(0);
		}
	}
	for (int i = 0; i < 2; i++) {
		int status;

		waitpid(pids[i], &status, 0);
		assert_int_equal(status, 0);
	}
	for (const char *at = mbox(fixture); (at = strstr(at, "\n\nline\n\n")) != NULL; at++)
		count++;
	assert_int_equal(count, 100);
	assert_int_equal(strlen(mbox(fixture)), 100 * strlen(ONE));
}

static void
a_file_that_cannot_be_a_mailbox_is_left_alone(void **state)
{
	struct fixture *fixture = *state;
	char path[256];
	static const char *const words[] = { "symbolic link", "is not a file", "second name",
		"mode", "mode", "another user" };

	snprintf(path, sizeof(path), "%s/mbox", fixture->home);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		const struct ipc_delivered *result;

		unlink(path);
		fixture_write(fixture, "other", "");
		if (i == 0)
			assert_int_equal(symlink("../other", path), 0);
		else if (i == 1)
			assert_int_equal(mkfifo(path, 0600), 0);
		else if (i == 2)
			assert_int_equal(link(fixture_path(fixture, "other"), path), 0);
		else
			fixture_write(fixture, "home/mbox", "");
		if (i == 3)
			assert_int_equal(chmod(path, 0666), 0);
		if (i == 4)
			assert_int_equal(chmod(path, 0700), 0);
		if (i == 5 && chown(path, 12345, (gid_t)-1) == -1)
			continue; /* not root */
		result = deliver(fixture, 1, TEXT, false);
		assert_reply(&result->reply, 451, "4.2.0", words[i]);
		assert_string_equal(fixture_read(fixture, "other"), "");
	}
	unlink(path);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(deliver(fixture, 1, TEXT, false)->reply.code, 451);
}

static void
a_home_that_others_can_write_defers(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(chmod(fixture->home, 0777), 0);
	assert_reply(&deliver(fixture, 1, TEXT, false)->reply, 451, "4.2.0", "written by others");
	assert_int_equal(chmod(fixture->home, 0700), 0);
}

static void
a_second_try_appends_nothing(void **state)
{
	assert_delivered(deliver(*state, 1, TEXT, false), false);
	assert_delivered(deliver(*state, 2, TEXT, false), false);
	assert_delivered(deliver(*state, 1, TEXT, true), true);
	assert_delivered(deliver(*state, 2, TEXT, true), true);
	assert_string_equal(mbox(*state), ONE TWO);
	assert_delivered(deliver(*state, 3, TEXT, true), false);
	assert_int_equal(strlen(mbox(*state)), 3 * strlen(ONE));
}

/* Cut off at each byte, as by a crash: what is there after the second try is whole, and there once,
 * unless its mark had not been written. */
static void
what_a_crash_left_is_completed_by_a_second_try(void **state)
{
	static const char before[] = TWO;
	const size_t marked = strlen(FROM FIELDS MARK1);
	char text[2048];

	for (size_t length = 0; length <= strlen(ONE); length++) {
		snprintf(text, sizeof(text), "%s%.*s", before, (int)length, ONE);
		fixture_write(*state, "home/mbox", text);
		assert_delivered(deliver(*state, 1, TEXT, true), length == strlen(ONE));
		if (length >= marked || length == 0)
			assert_string_equal(mbox(*state), TWO ONE);
		else
			assert_non_null(strstr(mbox(*state), "\n\n" ONE));
	}
}

static void
zeros_that_a_crash_left_are_cut_off(void **state)
{
	const size_t length = strlen(FROM FIELDS MARK1) + 5;
	int fd;

	fixture_write(*state, "home/mbox", ONE);
	fd = open(fixture_path(*state, "home/mbox"), O_RDWR);
	assert_int_equal(ftruncate(fd, (off_t)length), 0);
	assert_int_equal(ftruncate(fd, 10000), 0);
	close(fd);
	assert_delivered(deliver(*state, 1, TEXT, true), false);
	assert_string_equal(mbox(*state), ONE);
}

static void
what_a_reader_has_changed_is_still_found(void **state)
{
	fixture_write(*state, "home/mbox",
	    "From sender@client.test Tue Nov 14 22:13:20 2023\n" FIELDS MARK1
	    "Subject: hello\nStatus: RO\n\nline\n\n" TWO);
	assert_delivered(deliver(*state, 1, TEXT, true), true);
	assert_delivered(deliver(*state, 2, TEXT, true), true);
}

/* Another program appended to what a crash had left: it can't be cut off, and isn't whole. */
static void
half_a_message_before_another_is_delivered_again(void **state)
{
	fixture_write(*state, "home/mbox", FROM FIELDS MARK1 "Subject: hello\n\nli\n\n" TWO);
	assert_delivered(deliver(*state, 1, TEXT, true), false);
	assert_string_equal(mbox(*state), FROM FIELDS MARK1 "Subject: hello\n\nli\n\n" TWO ONE);
}

static void
a_file_size_limit_leaves_the_file_as_it_was(void **state)
{
	struct fixture *fixture = *state;
	struct rlimit before, limit;
	struct delivery *deliveries[2];
	char *large = malloc(40000);

	memset(large, 'x', 39999);
	large[39999] = '\0';
	memcpy(large, "A: b\r\n\r\n", 8);
	assert_delivered(deliver(fixture, 1, TEXT, false), false);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	limit = before;
	limit.rlim_cur = 20000;
	deliveries[0] = new_delivery(fixture, 5, large, false);
	deliveries[1] = new_delivery(fixture, 2, TEXT, false);
	setrlimit(RLIMIT_FSIZE, &limit);
	mbox_batch_deliver(&fixture->context, deliveries, 2);
	setrlimit(RLIMIT_FSIZE, &before);
	assert_reply(&deliveries[0]->result.reply, 452, "4.3.1", "");
	assert_delivered(&deliveries[1]->result, false);
	assert_string_equal(mbox(fixture), ONE TWO);
	delivery_free(deliveries[0]);
	delivery_free(deliveries[1]);
	free(large);
}

static void
a_failed_sync_takes_all_back_and_nothing_there_is_believed(void **state)
{
	assert_delivered(deliver(*state, 1, TEXT, false), false);
	sync_error = EIO;
	assert_reply(&deliver(*state, 2, TEXT, false)->reply, 451, "4.3.0", "sync");
	assert_string_equal(mbox(*state), ONE);
	assert_reply(&deliver(*state, 1, TEXT, true)->reply, 451, "4.3.0", "sync");
	assert_string_equal(mbox(*state), ONE);
	sync_error = 0;
	assert_delivered(deliver(*state, 1, TEXT, true), false);
	assert_string_equal(mbox(*state), ONE ONE);
}

static void
quota_counts_the_file(void **state)
{
	struct fixture *fixture = *state;

	fixture->quota_bytes = strlen(ONE) + 10;
	assert_delivered(deliver(fixture, 1, TEXT, false), false);
	assert_reply(&deliver(fixture, 2, TEXT, false)->reply, 452, "4.2.2", "full");
	assert_string_equal(mbox(fixture), ONE);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(message_is_appended_with_its_fields_and_an_empty_line),
		TEST(nothing_is_appended_for_a_queue_that_is_gone),
		TEST(lines_that_begin_with_from_are_quoted),
		TEST(quoting_does_not_depend_on_chunks),
		TEST(null_sender_and_odd_names_keep_the_from_line_whole),
		TEST(what_others_left_unfinished_does_not_run_into_a_message),
		TEST(many_messages_take_one_lock_and_one_sync),
		TEST(a_lock_that_is_held_defers_and_one_that_ends_is_waited_for),
		TEST(lock_of_a_dead_process_is_broken),
		TEST(two_processes_that_append_lose_nothing),
		TEST(a_file_that_cannot_be_a_mailbox_is_left_alone),
		TEST(a_home_that_others_can_write_defers),
		TEST(a_second_try_appends_nothing),
		TEST(what_a_crash_left_is_completed_by_a_second_try),
		TEST(zeros_that_a_crash_left_are_cut_off),
		TEST(what_a_reader_has_changed_is_still_found),
		TEST(half_a_message_before_another_is_delivered_again),
		TEST(a_file_size_limit_leaves_the_file_as_it_was),
		TEST(a_failed_sync_takes_all_back_and_nothing_there_is_believed),
		TEST(quota_counts_the_file),
	};

	setenv("TZ", "UTC", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
