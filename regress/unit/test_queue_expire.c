/*
 * Very many envelopes that end at once: each is told of in its turn, in bounded memory, and nothing
 * gets slower with their number.
 */
#include <sys/resource.h>
#include <malloc.h>

#include "queue/retry.h"
#include "test_queue_peers.h"

#define MANY 10000

static size_t
memory(void)
{
	return mallinfo2().uordblks + mallinfo2().hblkhd;
}

/* Distinct numbers, as random as ids are. */
static uint32_t
id_of(uint32_t number)
{
	return number * 2654435761U | 1;
}

static void
put_many(uint32_t count, uint32_t ttl)
{
	for (uint32_t i = 1; i <= count; i++)
		add_message(id_of(2 * i), 1, ttl);
	assert_true(commit_now(&queue));
	assert_int_equal(queue.envelopes, count);
}

/* Reports, which the queue made, don't count. */
static uint32_t
count_left(uint32_t count)
{
	uint32_t left = 0;

	for (uint32_t i = 1; i <= count; i++)
		left += index_find(queue.index, id_of(2 * i)) != NULL;
	return left;
}

static void
tell_all(uint32_t count)
{
	for (unsigned i = 0; i < 1000 && count_left(count) > 0; i++) {
		monotonic_ahead++;
		delivery_due(&queue);
		bounce_tick(&queue);
		turn();
	}
	assert_int_equal(count_left(count), 0);
	assert_true(index_messages(queue.index) >= count);
}

static void
what_an_administrator_expires_is_told_in_its_turn(void **state)
{
	struct ipc_act act = { .action = QUEUE_EXPIRE };
	size_t before;

	(void)state;
	put_many(MANY, queue.config->queue_ttl);
	before = memory();
	assert_int_equal(act_on_all(&act), MANY);
	/* Twice: staged states are the journal's, and written now. */
	assert_true(commit_now(&queue));
	assert_true(memory() < before + 4 * 1024 * 1024 + 256 * MANY);
	for (unsigned i = 0; i < 2 * MANY / 512; i++)
		delivery_due(&queue);
	assert_true(memory() < before + 4 * 1024 * 1024 + 4096 * 2048 + 256 * MANY);
	assert_int_equal(count_left(MANY), MANY);
	tell_all(MANY);
}

static void
what_was_expired_by_an_administrator_expires_also_after_a_crash(void **state)
{
	struct ipc_act act = { .action = QUEUE_EXPIRE };

	(void)state;
	put_many(1, queue.config->queue_ttl);
	assert_int_equal(act_on_all(&act), 1);
	assert_true(commit_now(&queue));
	close_queue();
	open_queue();
	assert_true(index_find(queue.index, id_of(2))->entries[0].expires <= retry_now());
	/* By an administrator once more: it isn't tried before, though an earlier run may have. */
	assert_int_equal(act_on_all(&act), 1);
	delivery_due(&queue);
	assert_int_equal(index_find(queue.index, id_of(2))->entries[0].state, ENTRY_BOUNCING);
}

static void
what_expires_by_itself_is_told_in_its_turn(void **state)
{
	size_t before;

	(void)state;
	put_many(MANY, 60);
	/* What is in its line is tried: here nothing is, and it waits. */
	for (uint32_t i = 1; i <= MANY; i++) {
		struct entry *entry = &index_find(queue.index, id_of(2 * i))->entries[0];

		entry->next_try = retry_now() + 600;
		mail_wait(&queue, entry);
	}
	before = memory();
	monotonic_ahead += 61;
	for (unsigned i = 0; i < 2 * MANY / 512; i++)
		delivery_due(&queue);
	assert_true(memory() < before + 4 * 1024 * 1024 + 4096 * 2048 + 256 * MANY);
	tell_all(MANY);
}

/* Quadratic work for so many takes ten times as long as this allows. */
static void
a_line_of_very_many_that_is_refused_takes_no_time(void **state)
{
	enum {
		COUNT = 60000
	};
	struct rusage before, after;
	struct reply reply;

	(void)state;
	put_many(COUNT, queue.config->queue_ttl);
	reply_set(&reply, 550, "5.1.1", "No such mailbox");
	getrusage(RUSAGE_SELF, &before);
	for (uint32_t i = 1; i <= COUNT; i++) {
		struct entry *entry = &index_find(queue.index, id_of(2 * i))->entries[0];

		bounce_failed(&queue, entry, &reply, "", STATE_BOUNCED);
	}
	getrusage(RUSAGE_SELF, &after);
	assert_true(after.ru_utime.tv_sec - before.ru_utime.tv_sec < 2);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(what_an_administrator_expires_is_told_in_its_turn),
		TEST(what_was_expired_by_an_administrator_expires_also_after_a_crash),
		TEST(what_expires_by_itself_is_told_in_its_turn),
		TEST(a_line_of_very_many_that_is_refused_takes_no_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
