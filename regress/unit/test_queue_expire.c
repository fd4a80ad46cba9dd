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

/* Whether each report says these words, and none the others. */
static void
assert_all_say(const char *words, const char *others)
{
	struct message *message = index_from(queue.index, 0);
	static char text[65536];
	ssize_t length;

	for (; message != NULL; message = index_next(queue.index, message)) {
		if (!message->is_bounce)
			continue;
		length = mail_read(&queue, message, text, sizeof(text) - 1);
		assert_true(length > 0);
		text[length] = '\0';
		assert_non_null(strstr(text, words));
		assert_null(strstr(text, others));
	}
}

static void
refuse_line(struct line *line)
{
	struct reply reply;
	uint32_t waiting;

	reply_set(&reply, 550, "5.1.1", "No such mailbox");
	while ((waiting = line->waiting) > 0) {
		delivery_line_refused(&queue, line, &reply);
		/* No turn is taken up by all of them. */
		assert_true(line->waiting < waiting && waiting - line->waiting <= 2000);
	}
}

static void
a_refused_line_is_told_in_its_turn(void **state)
{
	struct line *line;
	size_t before;

	(void)state;
	put_many(MANY, queue.config->queue_ttl);
	line = index_find(queue.index, id_of(2))->entries[0].line;
	assert_int_equal(line->waiting, MANY);
	before = memory();
	refuse_line(line);
	assert_true(commit_now(&queue));
	assert_true(memory() < before + 4 * 1024 * 1024 + 4096 * 2048 + 256 * MANY);
	tell_all(MANY);
	assert_all_say("No such mailbox", "5.4.7");
}

/* Not by their number of messages alone. */
static void
a_refused_message_of_very_many_recipients_takes_bounded_memory(void **state)
{
	enum {
		MESSAGES = 5,
		RECIPIENTS = 10000
	};
	size_t before;

	(void)state;
	for (uint32_t i = 1; i <= MESSAGES; i++)
		add_message(id_of(2 * i), RECIPIENTS, queue.config->queue_ttl);
	assert_true(commit_now(&queue));
	before = memory();
	refuse_line(index_find(queue.index, id_of(2))->entries[0].line);
	assert_true(commit_now(&queue));
	assert_true(memory() < before + 4 * 1024 * 1024 + 16384 * sizeof(struct ipc_delivered));
	for (unsigned i = 0; i < 10000 && count_left(MESSAGES) > 0; i++) {
		monotonic_ahead++;
		delivery_due(&queue);
		bounce_tick(&queue);
		turn();
	}
	assert_int_equal(count_left(MESSAGES), 0);
	assert_all_say("No such mailbox", "5.4.7");
}

static void
very_many_successes_are_told_in_their_turn(void **state)
{
	struct reply reply;
	size_t before;

	(void)state;
	put_many(MANY, queue.config->queue_ttl);
	reply_set(&reply, 250, "2.0.0", "ok");
	before = memory();
	for (uint32_t i = 1; i <= MANY; i++) {
		struct entry *entry = &index_find(queue.index, id_of(2 * i))->entries[0];

		scheduler_unset(queue.scheduler, entry);
		entry->notify = DSN_NOTIFY_SUCCESS;
		assert_true(bounce_succeeded(&queue, entry, &reply, ""));
	}
	assert_true(commit_now(&queue));
	assert_true(memory() < before + 4 * 1024 * 1024 + 4096 * 2048 + 256 * MANY);
	tell_all(MANY);
}

static void
very_many_delays_are_told_in_their_turn(void **state)
{
	size_t before;

	(void)state;
	put_many(MANY, queue.config->queue_ttl);
	for (uint32_t i = 1; i <= MANY; i++) {
		struct entry *entry = &index_find(queue.index, id_of(2 * i))->entries[0];

		entry->next_try = retry_now() + queue.config->bounce_warn[0] + 3600;
		mail_wait(&queue, entry);
	}
	before = memory();
	monotonic_ahead += queue.config->bounce_warn[0] + 1;
	wall_ahead += queue.config->bounce_warn[0] + 1;
	for (unsigned i = 0; i < 2 * MANY / 512; i++)
		delivery_due(&queue);
	assert_true(memory() < before + 4 * 1024 * 1024 + 4096 * 2048 + 256 * MANY);
	for (unsigned i = 0; i < 1000 && index_messages(queue.index) < 2 * MANY; i++) {
		monotonic_ahead++;
		delivery_due(&queue);
		bounce_tick(&queue);
		turn();
	}
	assert_int_equal(index_messages(queue.index), 2 * MANY);
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
		TEST(a_refused_line_is_told_in_its_turn),
		TEST(a_refused_message_of_very_many_recipients_takes_bounded_memory),
		TEST(very_many_successes_are_told_in_their_turn),
		TEST(very_many_delays_are_told_in_their_turn),
		TEST(a_line_of_very_many_that_is_refused_takes_no_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
