/*
 * Segments made ahead of need: in steps, between which mail is taken; a disk that is full or fails
 * in the middle, and a crash there, cost nothing that there was.
 */
#include "test_queue_fixture.h"

#include "queue/segment_make.h"

#define LARGE_SEGMENT (16 * 1024 * 1024)
#define STEP_MAX      (4 * 1024 * 1024) /* bytes written by one step, at most */

static size_t
count_empty(void)
{
	size_t used, all;

	journal_count(fixture.journal, &used, &all);
	return all - used;
}

/* Larger segments from here on. */
static void
open_large(void)
{
	crash();
	fixture.segment_size = LARGE_SEGMENT;
	open_again();
	assert_int_equal(count_empty(), 2);
}

static void
a_spare_is_made_in_steps_while_mail_is_taken(void **state)
{
	unsigned steps = 0;
	uint32_t id = 1;

	(void)state;
	open_large();
	put_committed(id++, 1000);
	assert_int_equal(count_empty(), 1);
	assert_true(journal_is_short(fixture.journal));
	while (disk.written = 0, journal_prepare(fixture.journal)) {
		assert_true(disk.written <= STEP_MAX);
		assert_false(journal_is_short(fixture.journal));
		put_committed(id++, 1000);
		steps++;
	}
	assert_true(steps >= LARGE_SEGMENT / STEP_MAX);
	assert_int_equal(count_empty(), 2);
	assert_false(journal_prepare(fixture.journal));
	crash();
	open_again();
	while (--id > 0)
		assert_intact(id);
}

/* As long as there is a spare one, a commit writes its own bytes only. */
static void
no_commit_makes_a_segment_while_there_is_a_spare(void **state)
{
	size_t used, all;

	(void)state;
	for (uint32_t id = 1; id <= 100; id++) {
		disk.written = 0;
		put_committed(id, 100000);
		assert_true(disk.written < 200000);
		tick();
	}
	journal_count(fixture.journal, &used, &all);
	assert_true(used >= 9);
}

/* A disk with room for it isn't full. */
static void
mail_is_taken_while_one_is_made(void **state)
{
	uint32_t id = 1;

	(void)state;
	while (count_empty() == 2)
		put_committed(id++, 100000);
	while (count_empty() == 1) {
		(void)journal_prepare(fixture.journal);
		journal_tick(fixture.journal);
		assert_int_equal(journal_accepts(fixture.journal), JOURNAL_OK);
		put_committed(id++, 100000);
		assert_true(id < 30);
	}
}

static void
mail_that_comes_faster_finds_a_segment_all_the_same(void **state)
{
	(void)state;
	for (uint32_t id = 1; id <= 50; id++) {
		put_committed(id, 100000);
		if (id % 7 == 0)
			(void)journal_prepare(fixture.journal);
	}
	crash();
	open_again();
	for (uint32_t id = 1; id <= 50; id++)
		assert_intact(id);
}

static void
a_disk_that_fails_in_the_middle_leaves_no_file_and_is_tried_again(void **state)
{
	unsigned files;

	(void)state;
	open_large();
	put_committed(1, 1000);
	files = count_segments();
	assert_true(journal_prepare(fixture.journal));
	assert_true(journal_prepare(fixture.journal));
	assert_int_equal(count_segments(), files + 1);
	disk.write_error = ENOSPC;
	assert_false(journal_prepare(fixture.journal));
	disk.write_error = 0;
	assert_int_equal(count_segments(), files);
	/* What there is is used; nothing is tried again at once. */
	assert_false(journal_prepare(fixture.journal));
	assert_int_equal(journal_accepts(fixture.journal), JOURNAL_OK);
	put_committed(2, 1000);
	disk.seconds_ahead += 60;
	tick();
	assert_int_equal(count_empty(), 2);
	put_committed(3, 1000);
	crash();
	open_again();
	for (uint32_t id = 1; id <= 3; id++)
		assert_intact(id);
}

static void
a_disk_without_room_for_one_is_tried_again(void **state)
{
	(void)state;
	put_committed(1, 1000);
	disk.allocate_error = ENOSPC;
	tick();
	assert_int_equal(count_empty(), 1);
	assert_int_equal(journal_accepts(fixture.journal), JOURNAL_OK);
	put_committed(2, 1000);
	disk.allocate_error = 0;
	disk.seconds_ahead += 10;
	tick();
	assert_int_equal(count_empty(), 2);
}

/* Each point at which a crash can leave it. */
static void
what_a_crash_leaves_unfinished_is_removed(void **state)
{
	(void)state;
	open_large();
	put_committed(1, 1000);
	for (unsigned steps = 1; steps < 16; steps++) {
		for (unsigned i = 0; i < steps; i++)
			(void)journal_prepare(fixture.journal);
		crash();
		open_again();
		assert_intact(1);
		assert_false(is_queued(100 + steps - 1));
		assert_false(journal_was_damaged(fixture.journal));
		assert_true(count_empty() >= 2);
		assert_true(count_segments() <= 4);
		put_committed(100 + steps, 1000);
		done(100 + steps);
		assert_true(commit());
		reclaim_all();
	}
}

static void
another_size_ends_what_is_being_made(void **state)
{
	struct journal_options options = { SEGMENT, 0 };
	unsigned files;

	(void)state;
	open_large();
	put_committed(1, 1000);
	files = count_segments();
	assert_true(journal_prepare(fixture.journal));
	journal_set_options(fixture.journal, &options);
	assert_int_equal(count_segments(), files);
	tick();
	assert_int_equal(count_empty(), 2);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_spare_is_made_in_steps_while_mail_is_taken),
		TEST(no_commit_makes_a_segment_while_there_is_a_spare),
		TEST(mail_is_taken_while_one_is_made),
		TEST(mail_that_comes_faster_finds_a_segment_all_the_same),
		TEST(a_disk_that_fails_in_the_middle_leaves_no_file_and_is_tried_again),
		TEST(a_disk_without_room_for_one_is_tried_again),
		TEST(what_a_crash_leaves_unfinished_is_removed),
		TEST(another_size_ends_what_is_being_made),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
