/*
 * Power cuts: after an answer of success the file system is shut down without writing what it still
 * held, mounted again, and the message must lie in new/. On ext4 and XFS images; needs root.
 */
#include "test_mda_fixture.h"

#include <sys/ioctl.h>

#define SHUTDOWN        _IOR('X', 125, uint32_t) /* EXT4_IOC_SHUTDOWN, XFS_IOC_GOINGDOWN */
#define WITHOUT_THE_LOG 2                        /* …_GOING_FLAGS_NOLOGFLUSH */
#define TEXT            "Subject: x\r\n\r\nline\r\n"
#define MESSAGES        5

static void
run(const char *format, const char *first, const char *second)
{
	char command[512];
	int status;

	snprintf(command, sizeof(command), format, first, second);
	status = system(command);
	if (status != 0)
		skip();
}

/* A fresh file system of this kind is mounted at the fixture's home. */
static void
mount_image(struct fixture *fixture, const char *kind)
{
	const char *image = fixture_path(fixture, "image");
	int fd;

	if (geteuid() != 0)
		skip();
	fixture_private_mounts();
	fd = open(image, O_RDWR | O_CREAT, 0600);
	assert_int_not_equal(fd, -1);
	/* XFS's smallest. */
	assert_int_equal(ftruncate(fd, 320 << 20), 0);
	close(fd);
	run("mkfs.%s -q %s >/dev/null 2>&1", kind, image);
	run("mount -o loop %s %s", image, fixture->home);
	assert_int_equal(chmod(fixture->home, 0700), 0);
	sync();
}

static void
cut_and_mount_again(struct fixture *fixture, struct delivery **deliveries, size_t count)
{
	uint32_t flags = WITHOUT_THE_LOG;
	size_t i;
	int fd;

	/* Or it couldn't be unmounted. */
	for (i = 0; i < count; i++) {
		close(deliveries[i]->file);
		deliveries[i]->file = -1;
	}

	/* What was never synced is the witness that the cut was one. */
	fixture_write(fixture, "home/witness", "x");
	fd = open(fixture->home, O_RDONLY | O_DIRECTORY);
	assert_int_not_equal(fd, -1);
	if (ioctl(fd, SHUTDOWN, &flags) == -1)
		skip();
	close(fd);
	assert_int_equal(umount(fixture->home), 0);
	run("mount -o loop %s %s", fixture_path(fixture, "image"), fixture->home);
	assert_int_equal(access(fixture_path(fixture, "home/witness"), F_OK), -1);
}

static void
check_files(struct fixture *fixture, struct delivery **deliveries, size_t count)
{
	char path[2048];
	size_t i;

	for (i = 0; i < count; i++) {
		assert_reply(&deliveries[i]->result.reply, 250, "2.1.5", "");
		snprintf(path, sizeof(path), "home/Maildir/%s", deliveries[i]->result.file);
		assert_string_equal(fixture_read(fixture, path),
		    "Return-Path: <sender@client.test>\nDelivered-To: user@example.test\n"
		    "Subject: x\n\nline\n");
	}
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), count);
}

static void
deliver_and_cut(struct fixture *fixture, const char *kind, size_t count)
{
	struct delivery *deliveries[MESSAGES];
	size_t i;

	mount_image(fixture, kind);
	for (i = 0; i < count; i++)
		deliveries[i] = fixture_delivery(fixture, i + 1, TEXT);
	batch_deliver(&fixture->context, deliveries, count, fixture_answered, fixture);
	cut_and_mount_again(fixture, deliveries, count);
	check_files(fixture, deliveries, count);
	/* The next try at one of them finds it. */
	assert_true(fixture_result(fixture, 1, TEXT)->was_there);
	for (i = 0; i < count; i++)
		delivery_free(deliveries[i]);
	assert_int_equal(umount(fixture->home), 0);
}

static void
one_message_on_ext4_survives(void **state)
{
	deliver_and_cut(*state, "ext4", 1);
}

static void
batch_on_ext4_survives(void **state)
{
	deliver_and_cut(*state, "ext4", MESSAGES);
}

static void
one_message_on_xfs_survives(void **state)
{
	deliver_and_cut(*state, "xfs", 1);
}

static void
batch_on_xfs_survives(void **state)
{
	deliver_and_cut(*state, "xfs", MESSAGES);
}

/* The Maildir was made by somebody who didn't sync it. */
static void
maildir_that_was_never_synced_survives_with_its_first_message(void **state)
{
	struct fixture *fixture = *state;
	struct delivery *delivery;

	mount_image(fixture, "ext4");
	fixture_make_maildir(fixture);
	delivery = fixture_delivery(fixture, 1, TEXT);
	fixture_deliver(fixture, delivery);
	cut_and_mount_again(fixture, &delivery, 1);
	check_files(fixture, &delivery, 1);
	delivery_free(delivery);
	assert_int_equal(umount(fixture->home), 0);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(one_message_on_ext4_survives),
		TEST(batch_on_ext4_survives),
		TEST(one_message_on_xfs_survives),
		TEST(batch_on_xfs_survives),
		TEST(maildir_that_was_never_synced_survives_with_its_first_message),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
