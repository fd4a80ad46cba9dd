/*
 * Clocks that are wrong, and queues that stood still: what was queued gets the time it had left, and
 * what comes then no more than its own.
 */
#include "queue/retry.h"
#include "test_queue_peers.h"

#define DAY 86400

/* Batches that are still written when the power goes; the next are not. */
static struct {
	bool goes;
	unsigned batches;
	unsigned lost_batches;
} power;

ssize_t
pwrite(int fd, const void *data, size_t length, off_t offset)
{
	static const char zeroes[8];

	if (power.goes && memcmp(data, zeroes, sizeof(zeroes)) != 0) {
		if (power.batches == 0) {
			power.lost_batches++;
			return (ssize_t)length;
		}
		power.batches--;
	}
	return syscall(SYS_pwrite64, fd, data, length, offset);
}

/* Seconds that the first envelope to expire has left. */
static int64_t
shortest_left(void)
{
	struct message *message = index_from(queue.index, 0);
	int64_t shortest = INT64_MAX, left;

	assert_non_null(message);
	for (; message != NULL; message = index_next(queue.index, message)) {
		for (uint32_t i = 0; i < message->count; i++) {
			left = (int64_t)message->entries[i].expires - retry_now();
			if (left < shortest)
				shortest = left;
		}
	}
	return shortest;
}

static void
restart(void)
{
	close_queue();
	open_queue();
}

/* 16,000 changes are several batches. The first reaches the disk, and then the power goes. */
static void
lost_time_of_which_a_part_was_recorded_expires_nothing(void **state)
{
	(void)state;
	for (uint32_t id = 1; id <= 8; id++)
		add_message(id, 2000, queue.config->queue_ttl);
	assert_true(commit_now(&queue));
	close_queue();
	wall_ahead += 30 * DAY;
	power.goes = true;
	power.batches = 1;
	open_queue();
	assert_int_equal(queue.lost / DAY, 30);
	assert_true(power.lost_batches > 0);
	close_queue();
	power.goes = false;
	open_queue();
	assert_int_equal(queue.envelopes, 16000);
	assert_true(shortest_left() > queue.config->queue_ttl - 60);
	/* Now all of it is there. */
	restart();
	assert_int_equal(queue.lost, 0);
	assert_true(shortest_left() > queue.config->queue_ttl - 60);
}

static void
new_mail_gets_no_lost_time(void **state)
{
	struct entry *entry;

	(void)state;
	add_message(1, 1, queue.config->queue_ttl);
	assert_true(commit_now(&queue));
	wall_ahead += 30 * DAY;
	restart();
	assert_int_equal(queue.lost / DAY, 30);
	add_message(2, 1, 1200);
	assert_true(commit_now(&queue));
	entry = index_find_entry(queue.index, envelope_id_make(2, 1));
	assert_non_null(entry);
	assert_true(entry->expires <= retry_now() + 1200);
}

/* A machine without a battery, until it has asked for the time. */
static void
mail_that_came_while_the_clock_was_behind_does_not_expire(void **state)
{
	(void)state;
	add_message(1, 1, queue.config->queue_ttl);
	assert_true(commit_now(&queue));
	wall_ahead = -30 * DAY;
	restart();
	add_message(2, 1, queue.config->queue_ttl);
	assert_true(commit_now(&queue));
	wall_ahead = 300;
	restart();
	assert_int_equal(queue.envelopes, 2);
	assert_true(shortest_left() > queue.config->queue_ttl - 3600);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(lost_time_of_which_a_part_was_recorded_expires_nothing),
		TEST(new_mail_gets_no_lost_time),
		TEST(mail_that_came_while_the_clock_was_behind_does_not_expire),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
