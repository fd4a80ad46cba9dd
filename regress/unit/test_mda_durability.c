/*
 * The order of a batch's system calls, and what follows when one of them fails. The test defines
 * the calls that matter itself, so the mda's code calls these: they note what happened and may
 * fail.
 */
#include "test_mda_fixture.h"

#include <sys/syscall.h>
#include <sys/vfs.h>
#include <linux/magic.h>

enum call {
	CALL_FDATASYNC,
	CALL_FSYNC,
	CALL_SYNCFS,
	CALL_RENAME,
	CALL_WRITE,
	CALL_COUNT
};

static char calls[4096];             /* "write fdatasync rename fsync …" */
static int fail_with[CALL_COUNT];    /* errno's value */
static unsigned fail_at[CALL_COUNT]; /* which call of its kind fails, from 1; 0 none */
static unsigned seen[CALL_COUNT];
static bool recording;
static long file_system = TMPFS_MAGIC; /* what fstatfs() says */

static bool
note(enum call call, const char *name)
{
	if (!recording)
		return true;
	if (calls[0] != '\0')
		strcat(calls, " ");
	strcat(calls, name);
	if (++seen[call] == fail_at[call]) {
		errno = fail_with[call];
		return false;
	}
	return true;
}

int
fdatasync(int fd)
{
	return note(CALL_FDATASYNC, "fdatasync") ? (int)syscall(SYS_fdatasync, fd) : -1;
}

int
fsync(int fd)
{
	return note(CALL_FSYNC, "fsync") ? (int)syscall(SYS_fsync, fd) : -1;
}

int
syncfs(int fd)
{
	return note(CALL_SYNCFS, "syncfs") ? (int)syscall(SYS_syncfs, fd) : -1;
}

int
renameat2(int from, const char *old, int to, const char *new, unsigned flags)
{
	return note(CALL_RENAME, "rename") ? (int)syscall(SYS_renameat2, from, old, to, new, flags)
	                                   : -1;
}

ssize_t
write(int fd, const void *data, size_t length)
{
	struct stat st;

	/* Deliveries alone: files that can be read by their owner only and aren't memfds' links. */
	if (recording && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 &&
	    !note(CALL_WRITE, "write"))
		return -1;
	return syscall(SYS_write, fd, data, length);
}

int
fstatfs(int fd, struct statfs *st)
{
	(void)fd;
	memset(st, 0, sizeof(*st));
	st->f_type = file_system;
	return 0;
}

static int
setup(void **state)
{
	recording = false;
	calls[0] = '\0';
	memset(fail_with, 0, sizeof(fail_with));
	memset(fail_at, 0, sizeof(fail_at));
	memset(seen, 0, sizeof(seen));
	file_system = TMPFS_MAGIC;
	return fixture_setup(state);
}

static void
deliver(struct fixture *fixture, struct delivery **deliveries, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++)
		deliveries[i] = fixture_delivery(fixture, 0x100000001 + i, "S: x\r\n\r\ntext\r\n");
	recording = true;
	batch_deliver(&fixture->context, deliveries, count, fixture_answered, fixture);
	recording = false;
}

static void
free_all(struct delivery **deliveries, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++)
		delivery_free(deliveries[i]);
}

/* The mailbox is known to this process after this. */
static void
deliver_first(struct fixture *fixture)
{
	assert_reply(&fixture_result(fixture, 0x200000001, "first\r\n")->reply, 250, "2.1.5", "");
}

static void
data_then_name_then_directory_then_answer(void **state)
{
	struct delivery *deliveries[1];

	deliver_first(*state);
	deliver(*state, deliveries, 1);
	assert_reply(&deliveries[0]->result.reply, 250, "2.1.5", "delivered");
	assert_string_equal(calls, "write fdatasync rename fsync");
	free_all(deliveries, 1);
}

static void
first_delivery_syncs_the_directories_above_too(void **state)
{
	struct delivery *deliveries[1];

	deliver(*state, deliveries, 1);
	assert_reply(&deliveries[0]->result.reply, 250, "2.1.5", "delivered");
	/* new/, the home and the Maildir. */
	assert_string_equal(calls, "write fdatasync rename fsync fsync fsync");
	free_all(deliveries, 1);
}

/* A killed mda may have made the directories and not synced them. */
static void
maildir_that_was_there_is_synced_by_a_new_process_too(void **state)
{
	struct delivery *deliveries[1];

	fixture_make_maildir(*state);
	deliver(*state, deliveries, 1);
	assert_string_equal(calls, "write fdatasync rename fsync fsync fsync");
	free_all(deliveries, 1);
}

static void
batch_costs_three_flushes_where_the_file_system_lets_it(void **state)
{
	struct delivery *deliveries[4];
	size_t i;

	file_system = EXT4_SUPER_MAGIC;
	deliver(*state, deliveries, 4);
	assert_string_equal(
	    calls, "write write write write syncfs rename rename rename rename syncfs fsync");
	for (i = 0; i < 4; i++)
		assert_reply(&deliveries[i]->result.reply, 250, "2.1.5", "");
	free_all(deliveries, 4);
}

static void
elsewhere_each_file_is_synced_and_each_directory_once(void **state)
{
	struct delivery *deliveries[3];

	deliver_first(*state);
	deliver(*state, deliveries, 3);
	assert_string_equal(
	    calls, "write write write fdatasync fdatasync fdatasync rename rename rename fsync");
	free_all(deliveries, 3);
}

static void
kernel_that_hides_errors_from_syncfs_is_not_trusted_with_it(void **state)
{
	struct fixture *fixture = *state;
	struct delivery *deliveries[2];

	file_system = EXT4_SUPER_MAGIC;
	fixture->context.sync.syncfs_reports_errors = false;
	deliver_first(fixture);
	deliver(fixture, deliveries, 2);
	assert_string_equal(calls, "write write fdatasync fdatasync rename rename fsync");
	free_all(deliveries, 2);
}

static void
failed_sync_of_one_file_fails_that_one_alone(void **state)
{
	struct fixture *fixture = *state;
	struct delivery *deliveries[3];

	fail_at[CALL_FDATASYNC] = 2;
	fail_with[CALL_FDATASYNC] = EIO;
	deliver(fixture, deliveries, 3);
	assert_reply(&deliveries[0]->result.reply, 250, "2.1.5", "");
	assert_reply(&deliveries[1]->result.reply, 451, "4.3.0", "check the disk");
	assert_reply(&deliveries[2]->result.reply, 250, "2.1.5", "");
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 2);
	assert_int_equal(fixture_count(fixture, "home/Maildir/tmp"), 0);
	free_all(deliveries, 3);
}

static void
failed_sync_of_all_delivers_none(void **state)
{
	struct fixture *fixture = *state;
	struct delivery *deliveries[3];
	size_t i;

	file_system = EXT4_SUPER_MAGIC;
	fail_at[CALL_SYNCFS] = 1;
	fail_with[CALL_SYNCFS] = EIO;
	deliver(fixture, deliveries, 3);
	for (i = 0; i < 3; i++)
		assert_reply(&deliveries[i]->result.reply, 451, "4.3.0", "check the disk");
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 0);
	assert_int_equal(fixture_count(fixture, "home/Maildir/tmp"), 0);
	assert_string_equal(calls, "write write write syncfs");
	free_all(deliveries, 3);
}

/* After a failed sync the kernel thinks the directory clean: the name must not stay, or the next
 * try would find it and believe it safe. */
static void
name_that_is_not_durable_is_taken_back_and_delivered_by_the_next_try(void **state)
{
	struct fixture *fixture = *state;
	struct delivery *deliveries[2], *again;

	deliver_first(fixture);
	fail_at[CALL_FSYNC] = 1;
	fail_with[CALL_FSYNC] = EIO;
	deliver(fixture, deliveries, 2);
	assert_reply(&deliveries[0]->result.reply, 451, "4.3.0", "sync directories");
	assert_reply(&deliveries[1]->result.reply, 451, "4.3.0", "sync directories");
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 1);
	free_all(deliveries, 2);

	again = fixture_delivery(fixture, 0x100000001, "S: x\r\n\r\ntext\r\n");
	again->request.maybe_delivered = true;
	calls[0] = '\0';
	recording = true;
	fixture_deliver(fixture, again);
	recording = false;
	assert_reply(&again->result.reply, 250, "2.1.5", "");
	assert_false(again->result.was_there);
	/* The mailbox counts as new: what couldn't be synced may be the directories above. */
	assert_string_equal(calls, "write fdatasync rename fsync fsync fsync");
	delivery_free(again);
}

/* The name an earlier try left behind may be no more durable than one of this try. */
static void
name_found_that_is_not_durable_is_taken_back_too(void **state)
{
	struct fixture *fixture = *state;
	struct delivery *deliveries[1], *again;
	unsigned try;

	deliver(fixture, deliveries, 1);
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 1);
	for (try = 2; try <= 3; try++) {
		again = fixture_delivery(
		    fixture, deliveries[0]->request.envelope_id, "S: x\r\n\r\ntext\r\n");
		again->request.maybe_delivered = true;
		seen[CALL_FSYNC] = 0;
		fail_at[CALL_FSYNC] = try == 2 ? 1 : 0;
		fail_with[CALL_FSYNC] = EIO;
		calls[0] = '\0';
		recording = true;
		fixture_deliver(fixture, again);
		recording = false;
		assert_false(again->result.was_there);
		if (try == 2) {
			assert_reply(&again->result.reply, 451, "4.3.0", "sync directories");
			assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 0);
		} else
			assert_reply(&again->result.reply, 250, "2.1.5", "");
		delivery_free(again);
	}
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 1);
	free_all(deliveries, 1);
}

static void
full_disk_is_temporary_and_leaves_nothing(void **state)
{
	static const int errors[] = { ENOSPC, EDQUOT };
	struct fixture *fixture = *state;
	size_t i;

	for (i = 0; i < 2; i++) {
		struct delivery *deliveries[2];

		seen[CALL_WRITE] = 0;
		fail_at[CALL_WRITE] = 1;
		fail_with[CALL_WRITE] = errors[i];
		deliver(fixture, deliveries, 2);
		assert_reply(&deliveries[0]->result.reply, 452, "4.3.1", "free some space");
		assert_reply(&deliveries[1]->result.reply, 250, "2.1.5", "");
		assert_int_equal(fixture_count(fixture, "home/Maildir/tmp"), 0);
		free_all(deliveries, 2);
	}
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 1);
}

static void
failed_rename_leaves_nothing_in_tmp(void **state)
{
	struct fixture *fixture = *state;
	struct delivery *deliveries[1];

	fail_at[CALL_RENAME] = 1;
	fail_with[CALL_RENAME] = EROFS;
	deliver(fixture, deliveries, 1);
	assert_reply(&deliveries[0]->result.reply, 451, "4.3.0", "mount its file system writable");
	assert_int_equal(fixture_count(fixture, "home/Maildir/tmp"), 0);
	free_all(deliveries, 1);
}

/* RENAME_NOREPLACE isn't known everywhere. */
static void
rename_without_the_flag_is_done_by_a_link(void **state)
{
	struct fixture *fixture = *state;
	struct delivery *deliveries[1];

	fail_at[CALL_RENAME] = 1;
	fail_with[CALL_RENAME] = EINVAL;
	deliver(fixture, deliveries, 1);
	assert_reply(&deliveries[0]->result.reply, 250, "2.1.5", "");
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 1);
	assert_int_equal(fixture_count(fixture, "home/Maildir/tmp"), 0);
	free_all(deliveries, 1);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(data_then_name_then_directory_then_answer),
		TEST(first_delivery_syncs_the_directories_above_too),
		TEST(maildir_that_was_there_is_synced_by_a_new_process_too),
		TEST(batch_costs_three_flushes_where_the_file_system_lets_it),
		TEST(elsewhere_each_file_is_synced_and_each_directory_once),
		TEST(kernel_that_hides_errors_from_syncfs_is_not_trusted_with_it),
		TEST(failed_sync_of_one_file_fails_that_one_alone),
		TEST(failed_sync_of_all_delivers_none),
		TEST(name_that_is_not_durable_is_taken_back_and_delivered_by_the_next_try),
		TEST(name_found_that_is_not_durable_is_taken_back_too),
		TEST(full_disk_is_temporary_and_leaves_nothing),
		TEST(failed_rename_leaves_nothing_in_tmp),
		TEST(rename_without_the_flag_is_done_by_a_link),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
