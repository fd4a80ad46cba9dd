/*
 * Disks that fail: what fails is refused and doesn't come back, what was acknowledged stays, and
 * the journal goes on. At the end, all of it at random against a model.
 */
#include "test_queue_fixture.h"

static void
a_failed_sync_refuses_its_batch_and_nothing_else(void **state)
{
	(void)state;
	put_committed(1, 1000);
	put_committed(2, 1000);
	put(3, 1000, JOURNAL_OK);
	done(1);
	change(2, STATE_UPDATE, 4);
	disk.sync_error = EIO;
	disk.sync_after = 0;
	assert_false(commit());
	assert_int_equal(fixture.refused, 1);
	disk.sync_error = 0;
	crash();
	open_again();
	/* 1 may be tried again, 3 may be there or not: nothing on this disk could be synced. */
	assert_intact(2);
}

/* The usual case: one bad sync, and then a disk that works. */
static void
after_one_failed_sync_the_refused_do_not_come_back(void **state)
{
	uint32_t slot;

	(void)state;
	put_committed(1, 1000);
	put_committed(2, 1000);
	slot = find_known(1)->location.slot;
	put(3, 1000, JOURNAL_OK);
	done(1);
	change(2, STATE_UPDATE, 4);
	disk.write_error = EIO;
	assert_false(commit());
	disk.write_error = 0;
	disk.seconds_ahead += 10;
	tick();
	assert_true(commit());
	put_committed(4, 1000);
	/* The failed segment is not written again. */
	assert_int_not_equal(find_known(4)->location.slot, slot);
	crash();
	open_again();
	assert_false(is_queued(1));
	assert_intact(2);
	assert_int_equal(find_known(2)->tries, 4);
	assert_false(is_queued(3));
	assert_intact(4);
}

/* A message's own file can't be synced: its record must not be there after a crash either. */
static void
a_file_that_can_t_be_synced_refuses_its_batch(void **state)
{
	(void)state;
	put_committed(1, 1000);
	put(2, 1000, JOURNAL_OK);
	done(1);
	fixture.files_fail = true;
	assert_false(commit());
	fixture.files_fail = false;
	assert_int_equal(fixture.refused, 1);
	put_committed(3, 1000);
	crash();
	open_again();
	assert_false(is_queued(1));
	assert_false(is_queued(2));
	assert_intact(3);
}

/* The disk under the segment is sound. */
static void
a_file_that_can_t_be_synced_costs_no_segment(void **state)
{
	size_t used, all;
	uint32_t slot;

	(void)state;
	/* Also where the batch would be the first of its segment. */
	fixture.files_fail = true;
	put(1, 1000, JOURNAL_OK);
	assert_false(commit());
	fixture.files_fail = false;
	put_committed(2, 1000);
	put_committed(3, 1000);
	slot = find_known(2)->location.slot;
	fixture.files_fail = true;
	for (uint32_t id = 10; id < 20; id++) {
		put(id, 1000, JOURNAL_OK);
		change(2, STATE_UPDATE, id);
		assert_false(commit());
		assert_int_equal(find_known(2)->update.slot, slot);
	}
	done(3);
	put(20, 1000, JOURNAL_OK);
	assert_false(commit());
	fixture.files_fail = false;
	assert_int_equal(fixture.refused, 12);
	put_committed(4, 1000);
	assert_int_equal(find_known(4)->location.slot, slot);
	journal_count(fixture.journal, &used, &all);
	assert_int_equal(used, 1);
	crash();
	open_again();
	for (uint32_t id = 10; id <= 20; id++)
		assert_false(is_queued(id));
	assert_false(is_queued(1));
	assert_intact(2);
	assert_int_equal(find_known(2)->tries, 19);
	assert_false(is_queued(3));
	assert_intact(4);
	assert_false(journal_was_damaged(fixture.journal));
}

static unsigned fail_number; /* the sync of this number fails, once */

static void
each_single_failing_sync_is_survived(void **state)
{
	(void)state;
	for (fail_number = 0; fail_number < 12; fail_number++) {
		uint32_t base = 10 * (fail_number + 1);
		bool acknowledged[4];

		disk.sync_error = 0;
		for (uint32_t i = 0; i < 4; i++) {
			put(base + i, 500, JOURNAL_OK);
			disk.sync_error = i == fail_number % 4 ? EIO : 0;
			disk.sync_after = 0;
			acknowledged[i] = commit();
			disk.sync_error = 0;
			if (!acknowledged[i]) {
				disk.seconds_ahead += 10;
				tick();
				assert_true(commit());
			}
		}
		crash();
		open_again();
		for (uint32_t i = 0; i < 4; i++) {
			if (acknowledged[i])
				assert_intact(base + i);
			else
				assert_false(is_queued(base + i));
		}
	}
}

static void
a_failed_segment_is_emptied_and_its_file_removed(void **state)
{
	char path[128];
	struct stat status;
	size_t in_use, all;

	(void)state;
	put_committed(1, 1000);
	put(2, 1000, JOURNAL_OK);
	disk.write_error = EIO;
	assert_false(commit());
	disk.write_error = 0;
	disk.seconds_ahead += 10;
	tick();
	reclaim_all();
	assert_intact(1);
	journal_count(fixture.journal, &in_use, &all);
	/* The first file made was the one that failed. */
	snprintf(path, sizeof(path), "%s/segments/%08u", fixture.path, 2);
	for (unsigned number = 1; number <= 2; number++) {
		snprintf(path, sizeof(path), "%s/segments/%08u", fixture.path, number);
		if (stat(path, &status) == -1)
			break;
		assert_int_not_equal(number, 2);
	}
	crash();
	open_again();
	assert_intact(1);
	assert_false(is_queued(2));
}

static void
a_dead_disk_refuses_everything_and_comes_back(void **state)
{
	(void)state;
	put_committed(1, 1000);
	disk.write_error = EIO;
	put(2, 1000, JOURNAL_OK);
	assert_false(commit());
	assert_int_equal(journal_accepts(fixture.journal), JOURNAL_BROKEN);
	put(3, 1000, JOURNAL_BROKEN);
	disk.write_error = 0;
	disk.seconds_ahead += 10;
	tick();
	assert_int_equal(journal_accepts(fixture.journal), JOURNAL_OK);
	put_committed(4, 1000);
	crash();
	open_again();
	assert_intact(1);
	assert_false(is_queued(2));
	assert_intact(4);
}

/* Random mail, crashes, failures and reclaiming against what must be true. */

enum fate {
	FATE_NONE,
	FATE_STAGED,  /* may be there after a crash or not */
	FATE_REFUSED, /* may not be there once its refusal is durable */
	FATE_QUEUED,
	FATE_ENDING, /* done, not committed yet: may be there or not */
	FATE_DONE,
};

#define MODEL 2000
static enum fate fates[MODEL];

static void
settle(bool durable)
{
	for (uint32_t id = 1; id < MODEL; id++) {
		if (fates[id] == FATE_STAGED)
			fates[id] = durable ? FATE_QUEUED : FATE_REFUSED;
		if (fates[id] == FATE_ENDING && durable)
			fates[id] = FATE_DONE;
	}
}

static void
compare(uint32_t last)
{
	for (uint32_t id = 1; id <= last; id++) {
		switch (fates[id]) {
		case FATE_QUEUED:
			assert_intact(id);
			break;
		case FATE_DONE:
		case FATE_REFUSED:
		case FATE_NONE:
			assert_false(is_queued(id));
			break;
		case FATE_STAGED:
		case FATE_ENDING:
			fates[id] = is_queued(id) ? FATE_QUEUED : FATE_DONE;
			break;
		}
	}
}

static unsigned random_state;

static unsigned
random_below(unsigned limit)
{
	random_state = random_state * 1103515245U + 12345;
	return (random_state >> 16) % limit;
}

static uint32_t
any_queued(uint32_t last)
{
	for (unsigned tries = 0; tries < 20; tries++) {
		uint32_t id = 1 + random_below(last);

		if (fates[id] == FATE_QUEUED && is_queued(id))
			return id;
	}
	return 0;
}

static void
run_model(unsigned seed)
{
	uint32_t last = 0, id;
	unsigned before;

	random_state = seed;
	memset(fates, 0, sizeof(fates));
	for (unsigned step = 0; step < 1500 && last < MODEL - 2; step++) {
		/* A batch may be committed by itself when its segment is full. */
		before = fixture.committed;
		switch (random_below(20)) {
		case 0:
			crash();
			open_again();
			compare(last);
			break;
		case 1:
			disk.write_error = EIO;
			settle(commit());
			disk.write_error = 0;
			disk.seconds_ahead += 10;
			tick();
			assert_true(commit());
			settle(true);
			break;
		case 2:
		case 3:
			assert_true(commit());
			settle(true);
			disk.seconds_ahead += 30;
			for (unsigned i = random_below(5); i > 0; i--)
				journal_reclaim(fixture.journal);
			tick();
			break;
		case 4:
		case 5:
			assert_true(commit());
			settle(true);
			break;
		case 6:
		case 7:
		case 8:
		case 9:
			id = last == 0 ? 0 : any_queued(last);
			if (id != 0)
				change(id, STATE_UPDATE, step);
			break;
		case 10:
		case 11:
		case 12:
		case 13:
		case 14:
			id = last == 0 ? 0 : any_queued(last);
			if (id != 0) {
				done(id);
				fates[id] = FATE_ENDING;
			}
			break;
		default:
			put(++last,
			    random_below(8) == 0 ? random_below(BODY_MAX) : random_below(20000),
			    JOURNAL_OK);
			fates[last] = FATE_STAGED;
			break;
		}
		if (fixture.committed != before) {
			for (id = 1; id <= last; id++) {
				if (fates[id] == FATE_STAGED && is_queued(id))
					fates[id] = FATE_QUEUED;
			}
		}
	}
	crash();
	open_again();
	compare(last);
	/* In the end all goes, and with it every segment. */
	for (id = 1; id <= last; id++) {
		if (is_queued(id))
			done(id);
	}
	assert_true(commit());
	reclaim_all();
	crash();
	open_again();
	for (id = 1; id <= last; id++)
		assert_false(is_queued(id));
}

static void
nothing_acknowledged_is_lost_and_nothing_done_comes_back(void **state)
{
	for (unsigned seed = 1; seed <= 8; seed++) {
		run_model(seed);
		assert_int_equal(tear_down(state), 0);
		assert_int_equal(set_up(state), 0);
	}
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_failed_sync_refuses_its_batch_and_nothing_else),
		TEST(after_one_failed_sync_the_refused_do_not_come_back),
		TEST(a_file_that_can_t_be_synced_refuses_its_batch),
		TEST(a_file_that_can_t_be_synced_costs_no_segment),
		TEST(each_single_failing_sync_is_survived),
		TEST(a_failed_segment_is_emptied_and_its_file_removed),
		TEST(a_dead_disk_refuses_everything_and_comes_back),
		TEST(nothing_acknowledged_is_lost_and_nothing_done_comes_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
