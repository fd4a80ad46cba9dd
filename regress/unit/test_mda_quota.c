/* Maildir++ quotas: the file maildirsize, when it is believed, and what is counted otherwise. */
#include "test_mda_fixture.h"

#include "common/quota.h"

#define TEXT "0123456789\r\n" /* stored: 66 bytes of fields and 11 */
#define SIZE 77

static void
file_is_limits_and_changes(void **state)
{
	static const char text[] = "1000S,10C\n100 1\n-50 -1\n  20   3 \n";
	struct maildirsize size;

	(void)state;
	assert_true(maildirsize_parse(text, sizeof(text) - 1, &size));
	assert_int_equal(size.limits.bytes, 1000);
	assert_int_equal(size.limits.messages, 10);
	assert_int_equal(size.bytes, 70);
	assert_int_equal(size.messages, 3);
	assert_int_equal(size.lines, 3);
}

static void
limits_may_be_one_or_others(void **state)
{
	struct maildirsize size;

	(void)state;
	assert_true(maildirsize_parse("5C\n0 0\n", 7, &size));
	assert_int_equal(size.limits.bytes, 0);
	assert_int_equal(size.limits.messages, 5);
	assert_true(maildirsize_parse("9X,5S\n0 0\n", 10, &size));
	assert_int_equal(size.limits.bytes, 5);
	assert_true(maildirsize_parse("\n1 1\n", 5, &size));
}

static void
what_is_torn_odd_or_overflows_is_not_believed(void **state)
{
	static const char *const cases[] = { "", "1000S", "1000S\n", "1000S\n100", "1000S\n100 1",
		"1000S\n100 1\nx y\n", "1000S\n100 1\n\n", "1000S\n100 1 7\n", "1000S\n100\n",
		"1000S\n-1 0\n", "1000S\n1 -1\n", "-5S\n1 1\n", "S\n1 1\n", "1000\n1 1\n",
		"1000S,\n", "1000S;5C\n1 1\n", "99999999999999999999S\n1 1\n",
		"1S\n9223372036854775807 1\n1 1\n", "1S\n9223372036854775808 1\n", "1S\n- 1\n",
		"1S\n1 9223372036854775807\n1 1\n", "1S\n1\t1\n" };
	struct maildirsize size;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		if (maildirsize_parse(cases[i], strlen(cases[i]), &size))
			fail_msg("taken: \"%s\"", cases[i]);
	}
	assert_false(maildirsize_parse("1S\n1\0001\n", 7, &size));
}

static void
delivery_counts_and_adds_to_the_file(void **state)
{
	struct fixture *fixture = *state;
	const struct ipc_delivered *result;

	fixture->quota_bytes = 1000;
	fixture->quota_messages = 5;
	result = fixture_result(fixture, 1, TEXT);
	assert_reply(&result->reply, 250, "2.1.5", "");
	assert_true(result->usage.known);
	assert_int_equal(result->usage.bytes, SIZE);
	assert_int_equal(result->usage.messages, 1);
	assert_string_equal(
	    fixture_read(fixture, "home/Maildir/maildirsize"), "1000S,5C\n0 0\n77 1\n");
	result = fixture_result(fixture, 2, TEXT);
	assert_int_equal(result->usage.bytes, 2 * SIZE);
	assert_string_equal(
	    fixture_read(fixture, "home/Maildir/maildirsize"), "1000S,5C\n0 0\n77 1\n77 1\n");
}

static void
file_found_again_is_not_counted_twice(void **state)
{
	struct fixture *fixture = *state;

	fixture->quota_bytes = 1000;
	fixture_result(fixture, 1, TEXT);
	fixture_result(fixture, 1, TEXT);
	assert_string_equal(
	    fixture_read(fixture, "home/Maildir/maildirsize"), "1000S\n0 0\n77 1\n");
}

static void
full_mailbox_is_temporary_and_says_how_full(void **state)
{
	struct fixture *fixture = *state;
	const struct ipc_delivered *result;

	fixture->quota_bytes = 100;
	assert_reply(&fixture_result(fixture, 1, TEXT)->reply, 250, "2.1.5", "");
	result = fixture_result(fixture, 2, TEXT);
	assert_reply(&result->reply, 452, "4.2.2",
	    "mailbox user is full; bytes used: 77 of 100; this message: 77 bytes");
	assert_true(result->usage.known);
	assert_int_equal(result->usage.bytes, SIZE);
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 1);
	assert_int_equal(fixture_count(fixture, "home/Maildir/tmp"), 0);
}

static void
number_of_messages_is_limited_too(void **state)
{
	struct fixture *fixture = *state;

	fixture->quota_messages = 1;
	assert_reply(&fixture_result(fixture, 1, TEXT)->reply, 250, "2.1.5", "");
	assert_reply(&fixture_result(fixture, 2, TEXT)->reply, 452, "4.2.2", "messages: 1 of 1");
}

static void
message_larger_than_all_of_the_quota_is_permanent(void **state)
{
	struct fixture *fixture = *state;

	fixture->quota_bytes = SIZE - 1;
	assert_reply(
	    &fixture_result(fixture, 1, TEXT)->reply, 552, "5.2.3", "77 bytes is larger than");
	assert_int_equal(fixture_count(fixture, "home/Maildir/tmp"), 0);
}

static void
messages_of_one_batch_count_together(void **state)
{
	struct fixture *fixture = *state;
	struct delivery *deliveries[3];
	size_t i;

	fixture->quota_bytes = 2 * SIZE;
	for (i = 0; i < 3; i++)
		deliveries[i] = fixture_delivery(fixture, i + 1, TEXT);
	batch_deliver(&fixture->context, deliveries, 3, fixture_answered, fixture);
	assert_reply(&deliveries[0]->result.reply, 250, "2.1.5", "");
	assert_reply(&deliveries[1]->result.reply, 250, "2.1.5", "");
	assert_reply(&deliveries[2]->result.reply, 452, "4.2.2", "is full");
	for (i = 0; i < 3; i++)
		delivery_free(deliveries[i]);
	assert_string_equal(
	    fixture_read(fixture, "home/Maildir/maildirsize"), "154S\n0 0\n154 2\n");
}

static void
counting_takes_sizes_from_names_and_leaves_out_the_trash(void **state)
{
	struct fixture *fixture = *state;
	const struct ipc_delivered *result;

	fixture_make_maildir(fixture);
	assert_int_equal(mkdir(fixture_path(fixture, "home/Maildir/.Sent"), 0700), 0);
	assert_int_equal(mkdir(fixture_path(fixture, "home/Maildir/.Sent/cur"), 0700), 0);
	assert_int_equal(mkdir(fixture_path(fixture, "home/Maildir/.Trash"), 0700), 0);
	assert_int_equal(mkdir(fixture_path(fixture, "home/Maildir/.Trash/cur"), 0700), 0);
	assert_int_equal(symlink("..", fixture_path(fixture, "home/Maildir/.loop")), 0);
	fixture_write(fixture, "home/Maildir/new/1.a.host,S=1000", "the name decides");
	fixture_write(fixture, "home/Maildir/cur/2.b.host:2,S", "12345");
	fixture_write(fixture, "home/Maildir/cur/3.c.host,S=7000:2,ST", "to be removed");
	fixture_write(fixture, "home/Maildir/tmp/4.d.host,S=7000", "not yet mail");
	fixture_write(fixture, "home/Maildir/.Sent/cur/5.e.host,S=100,W=110:2,", "");
	fixture_write(fixture, "home/Maildir/.Trash/cur/6.f.host,S=7000:2,", "");
	fixture_write(fixture, "home/Maildir/cur/.hidden,S=7000", "");
	fixture->quota_bytes = 5000;
	result = fixture_result(fixture, 1, TEXT);
	assert_reply(&result->reply, 250, "2.1.5", "");
	assert_int_equal(result->usage.bytes, 1105 + SIZE);
	assert_int_equal(result->usage.messages, 4);
	assert_string_equal(
	    fixture_read(fixture, "home/Maildir/maildirsize"), "5000S\n1105 3\n77 1\n");
}

static void
file_of_other_limits_or_none_that_can_be_read_is_made_anew(void **state)
{
	static const char *const contents[] = { "999S\n100 1\n", "1000S\n100 1\n7", "junk", "",
		"1000S\n-100 1\n" };
	struct fixture *fixture = *state;
	size_t i;

	fixture->quota_bytes = 1000;
	fixture_make_maildir(fixture);
	for (i = 0; i < sizeof(contents) / sizeof(contents[0]); i++) {
		struct delivery *delivery = fixture_delivery(fixture, 1, TEXT);
		struct ipc_usage usage;

		fixture_write(fixture, "home/Maildir/maildirsize", contents[i]);
		batch_usage(&fixture->context, &delivery->request.mailbox, &usage);
		assert_true(usage.known);
		assert_int_equal(usage.bytes, 0);
		assert_string_equal(
		    fixture_read(fixture, "home/Maildir/maildirsize"), "1000S\n0 0\n");
		delivery_free(delivery);
	}
}

static void
file_that_is_believed_is_not_counted(void **state)
{
	struct fixture *fixture = *state;

	fixture->quota_bytes = 1000;
	fixture_make_maildir(fixture);
	fixture_write(fixture, "home/Maildir/maildirsize", "1000S\n300 3\n-100 -1\n");
	assert_int_equal(fixture_result(fixture, 1, TEXT)->usage.bytes, 200 + SIZE);
	assert_string_equal(
	    fixture_read(fixture, "home/Maildir/maildirsize"), "1000S\n300 3\n-100 -1\n77 1\n");
}

static void
file_longer_than_5120_bytes_is_made_anew(void **state)
{
	struct fixture *fixture = *state;
	char *text = malloc(8192);
	size_t at;

	assert_non_null(text);
	fixture->quota_bytes = 100000;
	fixture_make_maildir(fixture);
	at = (size_t)sprintf(text, "100000S\n");
	while (at <= MAILDIRSIZE_MAX)
		at += (size_t)sprintf(text + at, "10 1\n");
	fixture_write(fixture, "home/Maildir/maildirsize", text);
	fixture_result(fixture, 1, TEXT);
	assert_string_equal(
	    fixture_read(fixture, "home/Maildir/maildirsize"), "100000S\n0 0\n77 1\n");
	free(text);
}

/* Its lines may have missed what was removed. */
static void
mailbox_that_seems_full_is_counted_again(void **state)
{
	struct fixture *fixture = *state;

	fixture->quota_bytes = 1000;
	fixture_make_maildir(fixture);
	fixture_write(fixture, "home/Maildir/maildirsize", "1000S\n500 1\n500 1\n");
	assert_reply(&fixture_result(fixture, 1, TEXT)->reply, 250, "2.1.5", "");
	assert_string_equal(
	    fixture_read(fixture, "home/Maildir/maildirsize"), "1000S\n0 0\n77 1\n");
}

static void
just_counted_and_full_is_full(void **state)
{
	struct fixture *fixture = *state;
	struct timespec old[2] = { { .tv_sec = 1700000000 }, { .tv_sec = 1700000000 } };

	fixture->quota_bytes = 1000;
	fixture_make_maildir(fixture);
	fixture_write(fixture, "home/Maildir/maildirsize", "1000S\n1000 1\n");
	assert_reply(&fixture_result(fixture, 1, TEXT)->reply, 452, "4.2.2", "1000 of 1000");
	/* Older than 15 minutes, the one line isn't believed either. */
	assert_int_equal(
	    utimensat(AT_FDCWD, fixture_path(fixture, "home/Maildir/maildirsize"), old, 0), 0);
	assert_reply(&fixture_result(fixture, 1, TEXT)->reply, 250, "2.1.5", "");
}

static void
fifo_or_symlink_in_place_of_the_file_is_replaced(void **state)
{
	struct fixture *fixture = *state;

	fixture->quota_bytes = 1000;
	fixture_make_maildir(fixture);
	assert_int_equal(mkfifo(fixture_path(fixture, "home/Maildir/maildirsize"), 0600), 0);
	assert_reply(&fixture_result(fixture, 1, TEXT)->reply, 250, "2.1.5", "");
	assert_int_equal(unlink(fixture_path(fixture, "home/Maildir/maildirsize")), 0);
	fixture_write(fixture, "victim", "1000S\n0 0\n");
	assert_int_equal(
	    symlink("../../victim", fixture_path(fixture, "home/Maildir/maildirsize")), 0);
	assert_reply(&fixture_result(fixture, 2, TEXT)->reply, 250, "2.1.5", "");
	assert_string_equal(fixture_read(fixture, "victim"), "1000S\n0 0\n");
	assert_string_equal(
	    fixture_read(fixture, "home/Maildir/maildirsize"), "1000S\n77 1\n77 1\n");
}

static void
usage_is_told_without_making_anything(void **state)
{
	struct fixture *fixture = *state;
	struct delivery *delivery;
	struct ipc_usage usage;

	fixture->quota_bytes = 1000;
	delivery = fixture_delivery(fixture, 1, TEXT);
	batch_usage(&fixture->context, &delivery->request.mailbox, &usage);
	assert_true(usage.known);
	assert_int_equal(usage.bytes, 0);
	assert_int_equal(fixture_count(fixture, "home"), 0);

	fixture_deliver(fixture, delivery);
	batch_usage(&fixture->context, &delivery->request.mailbox, &usage);
	assert_true(usage.known);
	assert_int_equal(usage.bytes, SIZE);
	assert_int_equal(usage.messages, 1);

	delivery->request.mailbox.quota_bytes = 0;
	batch_usage(&fixture->context, &delivery->request.mailbox, &usage);
	assert_false(usage.known);

	delivery->request.mailbox.quota_bytes = 1000;
	assert_int_equal(chmod(fixture->home, 0777), 0);
	batch_usage(&fixture->context, &delivery->request.mailbox, &usage);
	assert_false(usage.known);
	delivery_free(delivery);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(file_is_limits_and_changes),
		cmocka_unit_test(limits_may_be_one_or_others),
		cmocka_unit_test(what_is_torn_odd_or_overflows_is_not_believed),
		TEST(delivery_counts_and_adds_to_the_file),
		TEST(file_found_again_is_not_counted_twice),
		TEST(full_mailbox_is_temporary_and_says_how_full),
		TEST(number_of_messages_is_limited_too),
		TEST(message_larger_than_all_of_the_quota_is_permanent),
		TEST(messages_of_one_batch_count_together),
		TEST(counting_takes_sizes_from_names_and_leaves_out_the_trash),
		TEST(file_of_other_limits_or_none_that_can_be_read_is_made_anew),
		TEST(file_that_is_believed_is_not_counted),
		TEST(file_longer_than_5120_bytes_is_made_anew),
		TEST(mailbox_that_seems_full_is_counted_again),
		TEST(just_counted_and_full_is_full),
		TEST(fifo_or_symlink_in_place_of_the_file_is_replaced),
		TEST(usage_is_told_without_making_anything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
