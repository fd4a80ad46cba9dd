/*
 * Segments are used again: what is queued survives it, what is done stays done, and what a segment
 * held before is never taken for new.
 */
#include "test_queue_fixture.h"

static void
used(size_t *used_count, size_t *all)
{
	journal_count(fixture.journal, used_count, all);
}

/* Fills about one segment with messages that are done at once. */
static void
fill_with_done(uint32_t first, unsigned count)
{
	for (uint32_t id = first; id < first + count; id++) {
		put_committed(id, 60000);
		done(id);
	}
	assert_true(commit());
}

static void
empty_segments_are_used_again(void **state)
{
	size_t in_use, all, most = 0;

	(void)state;
	for (uint32_t round = 0; round < 20; round++) {
		fill_with_done(1 + round * 20, 20);
		reclaim_all();
		tick();
		used(&in_use, &all);
		if (all > most)
			most = all;
	}
	/* The one being written, those emptied, and the reserve. */
	assert_true(most <= 6);
}

static void
what_a_segment_held_before_never_comes_back(void **state)
{
	(void)state;
	for (uint32_t round = 0; round < 10; round++) {
		fill_with_done(1 + round * 20, 20);
		reclaim_all();
		/* One message at the start of a segment that was full of others. */
		put_committed(5000 + round, 10);
		crash();
		open_again();
		for (uint32_t id = 1; id < 1 + (round + 1) * 20; id++)
			assert_false(is_queued(id));
		for (uint32_t id = 5000; id <= 5000 + round; id++)
			assert_intact(id);
	}
}

static void
survivors_are_copied_forward_with_their_state(void **state)
{
	size_t in_use, all;
	uint32_t slot;

	(void)state;
	put_committed(1, 3000);
	put_committed(2, 3000);
	change(1, STATE_UPDATE, 7);
	assert_true(commit());
	slot = find_known(1)->location.slot;
	fill_with_done(100, 40);
	reclaim_all();
	assert_int_not_equal(find_known(1)->location.slot, slot);
	assert_intact(1);
	assert_int_equal(find_known(1)->tries, 7);
	used(&in_use, &all);
	assert_true(in_use <= 3);
	crash();
	open_again();
	assert_intact(1);
	assert_intact(2);
	assert_int_equal(find_known(1)->tries, 7);
	for (uint32_t id = 100; id < 140; id++)
		assert_false(is_queued(id));
}

/* The state that ends 2 stands in a later segment than 2 itself, which 1, 3 and 4 keep alive. */
static void
a_done_state_outlives_its_message(void **state)
{
	uint32_t slot;

	(void)state;
	put_committed(1, 199000);
	put_committed(2, 199000);
	put_committed(3, 199000);
	put_committed(4, 199000);
	slot = find_known(2)->location.slot;
	fill_with_done(100, 5); /* the rest of the segment and the start of the next */
	assert_int_equal(find_known(1)->location.slot, slot);
	done(2);
	change(3, STATE_UPDATE, 9);
	assert_true(commit());
	fill_with_done(200, 40);
	reclaim_all();
	fill_with_done(300, 40);
	reclaim_all();
	/* More than half of it lives: it stays, and what is about it had to be kept. */
	assert_int_equal(find_known(1)->location.slot, slot);
	crash();
	open_again();
	assert_intact(1);
	assert_false(is_queued(2));
	assert_intact(3);
	assert_int_equal(find_known(3)->tries, 9);
	assert_intact(4);
}

static void
a_crash_between_copying_and_forgetting_keeps_one(void **state)
{
	(void)state;
	put_committed(1, 3000);
	fill_with_done(100, 40);
	disk.seconds_ahead += 60;
	/* One step at a time, with a crash after each. */
	for (unsigned step = 0; step < 30; step++) {
		journal_reclaim(fixture.journal);
		crash();
		open_again();
		assert_intact(1);
		for (uint32_t id = 100; id < 140; id++)
			assert_false(is_queued(id));
		disk.seconds_ahead += 60;
	}
}

static void
copying_that_fails_leaves_the_original(void **state)
{
	uint32_t slot;

	(void)state;
	put_committed(1, 3000);
	slot = find_known(1)->location.slot;
	fill_with_done(100, 40);
	disk.seconds_ahead += 60;
	disk.sync_error = EIO;
	while (journal_reclaim(fixture.journal))
		;
	assert_int_equal(find_known(1)->location.slot, slot);
	assert_intact(1);
	disk.sync_error = 0;
	crash();
	open_again();
	assert_intact(1);
	for (uint32_t id = 100; id < 140; id++)
		assert_false(is_queued(id));
}

/* A segment of which four messages from `first` on, 400 kB, live. */
static void
fill_with_survivors(uint32_t first)
{
	for (uint32_t id = first; id < first + 4; id++)
		put_committed(id, 99000);
	fill_with_done(first + 4, 8);
}

/* All from `first` on is delivered, and its segments and those of the states are used again. */
static void
end_and_forget(uint32_t first, uint32_t end)
{
	for (uint32_t id = first; id < end; id++) {
		if (is_queued(id))
			done(id);
	}
	assert_true(commit());
	for (uint32_t round = 0; round < 4; round++) {
		fill_with_done(3000 + round * 40, 40);
		reclaim_all();
	}
}

/* The second generation's segment is full and durable when the step goes on in another, and there
 * the disk fails. */
static void
copies_of_a_step_that_failed_do_not_come_back(void **state)
{
	uint32_t slot;

	(void)state;
	fill_with_survivors(100);
	fill_with_survivors(200);
	fill_with_done(400, 20);
	reclaim_all();
	fill_with_survivors(300);
	fill_with_done(500, 20);
	slot = find_known(300)->location.slot;
	disk.seconds_ahead += 60;
	for (unsigned i = 0; i < 20 && find_known(300)->location.slot == slot; i++) {
		/* A step in which no segment is filled syncs once at most. */
		disk.syncs = 0;
		disk.sync_error = EIO;
		disk.sync_after = 1;
		journal_reclaim(fixture.journal);
		disk.sync_error = 0;
	}
	/* Some were copied, some not. */
	assert_int_not_equal(find_known(300)->location.slot, slot);
	assert_int_equal(find_known(303)->location.slot, slot);
	for (uint32_t id = 300; id < 304; id++)
		assert_intact(id);
	disk.seconds_ahead += 60;
	end_and_forget(100, 600);
	crash();
	open_again();
	for (uint32_t id = 100; id < 600; id++)
		assert_false(is_queued(id));
}

static void
copies_before_one_that_can_not_be_made_do_not_come_back(void **state)
{
	(void)state;
	fill_with_survivors(100);
	fill_with_done(500, 20);
	fixture.uncopyable = 103;
	reclaim_all();
	for (uint32_t id = 100; id < 104; id++)
		assert_intact(id);
	for (uint32_t id = 100; id < 103; id++)
		done(id);
	fixture.uncopyable = 0;
	fill_with_survivors(200);
	fill_with_done(530, 20);
	reclaim_all();
	end_and_forget(100, 600);
	crash();
	open_again();
	for (uint32_t id = 100; id < 600; id++)
		assert_false(is_queued(id));
}

/* Makes the record of a message unreadable, as a bad sector does. */
static void
damage(uint32_t id)
{
	const struct location *location = &find_known(id)->location;
	char path[400], folder[128], last[8];
	struct dirent *entry;
	unsigned damaged = 0;
	DIR *directory;
	int fd;

	snprintf(folder, sizeof(folder), "%s/segments", fixture.path);
	directory = opendir(folder);
	assert_non_null(directory);
	while ((entry = readdir(directory)) != NULL) {
		snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
		fd = entry->d_name[0] == '.' ? -1 : open(path, O_RDWR);
		if (fd == -1)
			continue;
		if (pread(fd, last, sizeof(last),
		        (off_t)location->offset + RECORD_HEADER_SIZE + location->length - 8) == 8 &&
		    last[0] == (char)id && last[7] == (char)id) {
			assert_int_equal(syscall(SYS_pwrite64, fd, "?", 1,
			                     (off_t)location->offset + RECORD_HEADER_SIZE +
			                         location->length / 2),
			    1);
			damaged++;
		}
		close(fd);
	}
	closedir(directory);
	assert_int_equal(damaged, 1);
}

static unsigned
count_quarantined(void)
{
	char path[128];
	struct dirent *entry;
	unsigned count = 0;
	DIR *directory;

	snprintf(path, sizeof(path), "%s/quarantine", fixture.path);
	directory = opendir(path);
	assert_non_null(directory);
	while ((entry = readdir(directory)) != NULL)
		count += entry->d_name[0] != '.';
	closedir(directory);
	return count;
}

/* What a step that failed has ended is not tried again for some seconds: the others are. */
static void
reclaim_the_rest(void)
{
	while (journal_reclaim(fixture.journal))
		;
}

/* Mail that comes, waits and goes, so that the second generation's segments fill and empty. */
static void
go_on_for_long(uint32_t first)
{
	for (uint32_t round = 0; round < 4; round++) {
		fill_with_survivors(first + 20 * round);
		fill_with_done(first + 100 + round * 20, 20);
		reclaim_all();
		reclaim_the_rest();
	}
	for (uint32_t id = first; id < first + 80; id++) {
		if (is_queued(id))
			done(id);
	}
	assert_true(commit());
	for (uint32_t round = 0; round < 4; round++) {
		fill_with_done(first + 200 + round * 40, 40);
		reclaim_all();
		reclaim_the_rest();
	}
}

static void
damage_keeps_no_segment_and_brings_nothing_back(void **state)
{
	size_t in_use, all;
	uint32_t slot;

	(void)state;
	fill_with_survivors(100);
	slot = find_known(100)->location.slot;
	damage(103);
	fill_with_done(500, 20);
	reclaim_all();
	for (uint32_t id = 100; id < 103; id++) {
		assert_int_not_equal(find_known(id)->location.slot, slot);
		assert_intact(id);
		done(id);
	}
	assert_false(is_queued(103));
	assert_int_equal(count_quarantined(), 1);
	assert_true(commit());
	go_on_for_long(1000);
	used(&in_use, &all);
	assert_true(in_use <= 3);
	crash();
	open_again();
	for (uint32_t id = 100; id < 104; id++)
		assert_false(is_queued(id));
	assert_int_equal(count_quarantined(), 1);
}

/* The segment of 103 stays as long as that can't be copied. */
static void
what_was_copied_before_the_last_can_be_does_not_come_back(void **state)
{
	(void)state;
	fill_with_survivors(100);
	fill_with_done(500, 20);
	fixture.uncopyable = 103;
	reclaim_all();
	for (uint32_t id = 100; id < 103; id++)
		done(id);
	assert_true(commit());
	go_on_for_long(1000);
	crash();
	open_again();
	for (uint32_t id = 100; id < 103; id++)
		assert_false(is_queued(id));
	assert_intact(103);
}

static void
nor_does_it_after_a_restart_in_between(void **state)
{
	(void)state;
	fill_with_survivors(100);
	fill_with_done(500, 20);
	fixture.uncopyable = 103;
	reclaim_all();
	crash();
	open_again();
	for (uint32_t id = 100; id < 103; id++) {
		assert_intact(id);
		done(id);
	}
	assert_true(commit());
	go_on_for_long(1000);
	crash();
	open_again();
	for (uint32_t id = 100; id < 103; id++)
		assert_false(is_queued(id));
	assert_intact(103);
	/* Once it can be copied all goes on as usual. */
	fixture.uncopyable = 0;
	done(103);
	go_on_for_long(2000);
	crash();
	open_again();
	for (uint32_t id = 100; id < 104; id++)
		assert_false(is_queued(id));
}

static void
a_full_disk_refuses_new_mail_but_not_the_end_of_old(void **state)
{
	uint32_t id = 1;
	uint8_t *to;

	(void)state;
	while (journal_accepts(fixture.journal) == JOURNAL_OK) {
		put_committed(id++, 100000);
		disk.allocate_error = ENOSPC;
		tick();
		assert_true(id < 100);
	}
	assert_int_equal(journal_accepts(fixture.journal), JOURNAL_FULL);
	/* The segment in hand is filled; another isn't given for new mail. */
	while (journal_begin(fixture.journal, JOURNAL_FIRST, 100000, false, &to) == JOURNAL_OK) {
		journal_cancel(fixture.journal, JOURNAL_FIRST);
		put_committed(id++, 100000);
		assert_true(id < 100);
	}
	put(id, 100000, JOURNAL_FULL);
	for (uint32_t old = 1; old < id; old++)
		done(old);
	assert_true(commit());
	reclaim_all();
	tick();
	assert_int_equal(journal_accepts(fixture.journal), JOURNAL_OK);
	put_committed(id, 100000);
	crash();
	disk.allocate_error = 0;
	open_again();
	assert_intact(id);
	for (uint32_t old = 1; old < id; old++)
		assert_false(is_queued(old));
}

static unsigned
choose(unsigned *seed, unsigned count)
{
	*seed = *seed * 1103515245 + 12345;
	return (*seed >> 16) % count;
}

/* Mail comes while it may, some is put off, some delivered, some copied, until the disk is full. */
static void
fill_at_random(unsigned *seed, uint32_t *next)
{
	uint8_t *to;

	for (unsigned step = 0; step < 400; step++) {
		uint32_t id = 1 + choose(seed, *next);

		switch (choose(seed, 6)) {
		case 0:
		case 1:
			if (journal_accepts(fixture.journal) != JOURNAL_OK ||
			    journal_begin(fixture.journal, JOURNAL_FIRST, 60000, false, &to) !=
			        JOURNAL_OK)
				break;
			journal_cancel(fixture.journal, JOURNAL_FIRST);
			put((*next)++, 20000 + choose(seed, 30000), JOURNAL_OK);
			(void)commit();
			break;
		case 2:
			if (is_queued(id))
				done(id);
			break;
		case 3:
			for (uint32_t i = 1; i < *next; i++) {
				if (is_queued(i))
					change(i, STATE_UPDATE, step);
			}
			break;
		case 4:
			disk.seconds_ahead += 20;
			(void)journal_reclaim(fixture.journal);
			break;
		case 5:
			disk.seconds_ahead += 2;
			(void)commit();
			tick();
			break;
		}
	}
}

/* However it came to be full. */
static void
a_full_disk_can_be_emptied(void **state)
{
	for (unsigned round = 0; round < 40; round++) {
		unsigned seed = round;
		uint32_t next = 1;

		disk.segments = 4 + round % 5;
		fill_at_random(&seed, &next);
		for (uint32_t id = 1; id < next; id++) {
			if (is_queued(id))
				done(id);
		}
		for (unsigned i = 0; i < 200 && journal_accepts(fixture.journal) != JOURNAL_OK;
		     i++) {
			disk.seconds_ahead += 20;
			(void)commit();
			tick();
			(void)journal_reclaim(fixture.journal);
			/* What wasn't recorded for want of room is done once more. */
			if (round % 2 == 1 && i == round % 7) {
				crash();
				open_again();
				for (uint32_t id = 1; id < next; id++) {
					if (is_queued(id))
						done(id);
				}
			}
		}
		if (journal_accepts(fixture.journal) != JOURNAL_OK)
			fail_msg("it stays full in round %u", round);
		put_committed(next, 1000);
		crash();
		open_again();
		for (uint32_t id = 1; id < next; id++)
			assert_false(is_queued(id));
		assert_intact(next);
		tear_down(state);
		assert_int_equal(set_up(state), 0);
	}
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(empty_segments_are_used_again),
		TEST(what_a_segment_held_before_never_comes_back),
		TEST(survivors_are_copied_forward_with_their_state),
		TEST(a_done_state_outlives_its_message),
		TEST(a_crash_between_copying_and_forgetting_keeps_one),
		TEST(copying_that_fails_leaves_the_original),
		TEST(copies_of_a_step_that_failed_do_not_come_back),
		TEST(copies_before_one_that_can_not_be_made_do_not_come_back),
		TEST(damage_keeps_no_segment_and_brings_nothing_back),
		TEST(what_was_copied_before_the_last_can_be_does_not_come_back),
		TEST(nor_does_it_after_a_restart_in_between),
		TEST(a_full_disk_can_be_emptied),
		TEST(a_full_disk_refuses_new_mail_but_not_the_end_of_old),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
