/*
 * The retry schedule, the order of what is due, fairness between destinations and senders, and what
 * an envelope costs in memory.
 */
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "common/clock.h"
#include "queue/index.h"
#include "queue/retry.h"
#include "queue/scheduler.h"

static struct index *the_index;
static struct scheduler *scheduler;
static uint32_t next_id;

static int
set_up(void **state)
{
	(void)state;
	next_id = 1;
	the_index = index_new();
	scheduler = scheduler_new();
	return the_index == NULL || scheduler == NULL ? -1 : 0;
}

static int
tear_down(void **state)
{
	struct message *message;

	(void)state;
	while ((message = index_from(the_index, 0)) != NULL) {
		for (uint32_t i = 0; i < message->count; i++)
			scheduler_detach(scheduler, &message->entries[i]);
		index_remove(the_index, message);
	}
	index_free(the_index);
	scheduler_free(scheduler);
	return 0;
}

static struct entry *
add(const char *sender, const char *dest)
{
	struct transaction transaction = { .message_id = next_id, .created_us = 1000000 };
	struct location location = { 0, 4096, 100 };
	struct message *message;
	struct address to;

	assert_int_equal(
	    address_parse(sender, ADDRESS_ALLOW_NULL, &transaction.sender), ADDRESS_OK);
	assert_int_equal(address_parse(dest, 0, &to), ADDRESS_OK);
	message = index_add(the_index, &transaction, &location, false, 1);
	assert_non_null(message);
	message->entries[0].number = 1;
	assert_true(
	    scheduler_attach(scheduler, &message->entries[0], ENVELOPE_MAILDIR, &to, "local"));
	next_id++;
	return &message->entries[0];
}

static void
delays_grow_by_half_up_to_the_maximum(void **state)
{
	(void)state;
	/* In the middle of the jitter: the exact schedule. */
	assert_int_equal(retry_delay(1, 400, 14400, 400 / 6), 400);
	assert_int_equal(retry_delay(2, 400, 14400, 600 / 6), 600);
	assert_int_equal(retry_delay(3, 400, 14400, 900 / 6), 900);
	assert_int_equal(retry_delay(40, 400, 14400, 14400 / 6), 14400);
	assert_int_equal(retry_delay(UINT32_MAX, 400, 14400, 14400 / 6), 14400);
	assert_int_equal(retry_delay(1, 0, 0, 0), 1);
	assert_int_equal(retry_delay(5, 1, 1, 77), 1);
}

static void
delays_are_spread_by_a_sixth(void **state)
{
	uint32_t least = UINT32_MAX, most = 0, delay;

	(void)state;
	for (uint32_t random = 0; random < 1000; random++) {
		delay = retry_delay(1, 600, 14400, random * 7919);
		least = delay < least ? delay : least;
		most = delay > most ? delay : most;
	}
	assert_in_range(least, 500, 505);
	assert_in_range(most, 695, 700);
}

static void
a_clock_that_was_set_moves_no_schedule_far(void **state)
{
	uint32_t now = retry_now();

	(void)state;
	/* Stored by a clock a year ahead, or a year behind. */
	assert_in_range(retry_from_wall(clock_wall() + 365 * 86400, 14400), now, now + 14401);
	assert_in_range(retry_from_wall(clock_wall() - 365 * 86400, 14400), now, now + 1);
	assert_in_range(retry_from_wall(clock_wall() + 100, 14400), now + 99, now + 101);
	assert_in_range(retry_to_wall(now + 50), clock_wall() + 49, clock_wall() + 51);
}

static void
warnings_come_at_each_interval(void **state)
{
	const uint32_t intervals[] = { 14400, 3600, 86400 };

	(void)state;
	assert_int_equal(retry_warnings_due(3599, intervals, 3), 0);
	assert_int_equal(retry_warnings_due(3600, intervals, 3), 1);
	assert_int_equal(retry_warnings_due(90000, intervals, 3), 3);
	assert_int_equal(retry_warnings_due(-5, intervals, 3), 0);
	assert_int_equal(retry_next_warning(0, intervals, 3), 3600);
	assert_int_equal(retry_next_warning(1, intervals, 3), 14400);
	assert_int_equal(retry_next_warning(2, intervals, 3), 86400);
	assert_int_equal(retry_next_warning(3, intervals, 3), 0);
	assert_int_equal(retry_next_warning(0, NULL, 0), 0);
}

static void
what_is_due_comes_in_order_of_time(void **state)
{
	struct entry *entries[500], *entry;
	uint32_t last = 0, count = 0;

	(void)state;
	for (uint32_t i = 0; i < 500; i++) {
		entries[i] = add("s@client.test", "alice@example.test");
		scheduler_wait(scheduler, entries[i], 1000 + i * 7919 % 1009);
	}
	/* Some change their mind. */
	for (uint32_t i = 0; i < 500; i += 3)
		scheduler_wait(scheduler, entries[i], 1000 + i * 104729 % 1013);
	for (uint32_t i = 1; i < 500; i += 50) {
		scheduler_unset(scheduler, entries[i]);
		count++;
	}
	assert_null(scheduler_take_due(scheduler, 999));
	while ((entry = scheduler_take_due(scheduler, UINT32_MAX)) != NULL) {
		assert_true(entry->due >= last);
		last = entry->due;
		count++;
	}
	assert_int_equal(count, 500);
	assert_int_equal(scheduler_next_due(scheduler), RETRY_NEVER);
}

static void
senders_take_turns_in_a_line(void **state)
{
	struct entry *list[100], *other, *third;

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		list[i] = add("list@bulk.test", "alice@example.test");
		scheduler_ready(scheduler, list[i]);
	}
	other = add("friend@client.test", "alice@example.test");
	scheduler_ready(scheduler, other);
	third = add("third@client.test", "alice@example.test");
	scheduler_ready(scheduler, third);
	assert_ptr_equal(scheduler_take(scheduler, list[0]->line), list[0]);
	/* A hundred of the list's came first, and yet: */
	assert_ptr_equal(scheduler_take(scheduler, list[0]->line), other);
	assert_ptr_equal(scheduler_take(scheduler, list[0]->line), third);
	assert_ptr_equal(scheduler_take(scheduler, list[0]->line), list[1]);
	assert_ptr_equal(scheduler_take(scheduler, list[0]->line), list[2]);
	assert_int_equal(list[0]->line->waiting, 97);
}

static void
what_may_be_half_delivered_comes_before_all_others(void **state)
{
	struct entry *fresh[2], *again[2], *far;
	struct line *line;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		fresh[i] = add("friend@client.test", "alice@example.test");
		scheduler_ready(scheduler, fresh[i]);
	}
	line = fresh[0]->line;
	again[0] = add("list@bulk.test", "alice@example.test");
	again[1] = add("third@client.test", "alice@example.test");
	for (unsigned i = 0; i < 2; i++) {
		again[i]->maybe_delivered = true;
		scheduler_ready(scheduler, again[i]);
	}
	assert_ptr_equal(scheduler_first(line), again[0]);
	assert_ptr_equal(scheduler_take(scheduler, line), again[0]);
	assert_ptr_equal(scheduler_take(scheduler, line), again[1]);
	assert_ptr_equal(scheduler_take(scheduler, line), fresh[0]);
	scheduler_ready(scheduler, again[1]);
	scheduler_unset(scheduler, again[1]);
	assert_ptr_equal(scheduler_take(scheduler, line), fresh[1]);
	assert_null(scheduler_first(line));
	line->kind = ENVELOPE_USER_FILE;
	scheduler_ready(scheduler, fresh[0]);
	scheduler_ready(scheduler, again[0]);
	assert_ptr_equal(scheduler_first(line), again[0]);
	scheduler_unset(scheduler, again[0]);
	scheduler_unset(scheduler, fresh[0]);
	line->kind = ENVELOPE_MAILDIR;
	/* To another host there is nothing to be first for. */
	far = add("a@client.test", "bob@far.test");
	fresh[0] = add("b@client.test", "bob@far.test");
	far->line->kind = ENVELOPE_RELAY;
	scheduler_ready(scheduler, fresh[0]);
	far->maybe_delivered = true;
	scheduler_ready(scheduler, far);
	assert_ptr_equal(scheduler_first(far->line), fresh[0]);
	scheduler_unset(scheduler, far);
	scheduler_unset(scheduler, fresh[0]);
	far->line->kind = ENVELOPE_MAILDIR;
}

static void
destinations_take_turns_in_a_ring(void **state)
{
	struct ring ring = { NULL };
	struct line *a, *b, *c;

	(void)state;
	a = add("s@client.test", "a@example.test")->line;
	b = add("s@client.test", "b@example.test")->line;
	c = add("s@client.test", "c@example.test")->line;
	assert_ptr_not_equal(a, b);
	assert_ptr_equal(a, add("t@client.test", "A@Example.test")->line);
	ring_add(&ring, a);
	ring_add(&ring, b);
	ring_add(&ring, c);
	ring_add(&ring, a);
	assert_ptr_equal(ring_take(&ring), a);
	ring_add(&ring, a);
	assert_ptr_equal(ring_take(&ring), b);
	ring_remove(c);
	assert_ptr_equal(ring_take(&ring), a);
	assert_null(ring_take(&ring));
}

static void
a_window_grows_with_success_and_shrinks_with_failure(void **state)
{
	struct line *line = add("s@client.test", "a@example.test")->line;
	struct entry *entry;
	unsigned taken = 0;

	(void)state;
	for (unsigned i = 0; i < 200; i++)
		scheduler_ready(scheduler, add("s@client.test", "a@example.test"));
	while ((entry = scheduler_take(scheduler, line)) != NULL) {
		assert_int_equal(entry->state, ENTRY_INFLIGHT);
		taken++;
	}
	assert_int_equal(taken, LINE_WINDOW_FIRST);
	scheduler_done(line, LINE_SUCCESS);
	assert_int_equal(line->window, LINE_WINDOW_FIRST + 1);
	assert_non_null(scheduler_take(scheduler, line));
	assert_non_null(scheduler_take(scheduler, line));
	assert_null(scheduler_take(scheduler, line));
	for (unsigned i = 0; i < 10; i++)
		scheduler_done(line, LINE_FAILURE);
	assert_int_equal(line->window, 1);
	assert_false(line_may_run(line));
}

static void
lines_without_mail_are_forgotten(void **state)
{
	struct entry *entry = add("s@client.test", "a@example.test");

	(void)state;
	scheduler_ready(scheduler, entry);
	scheduler_sweep(scheduler, INT64_MAX);
	assert_ptr_equal(scheduler_first(entry->line), entry);
	scheduler_detach(scheduler, entry);
	scheduler_sweep(scheduler, INT64_MAX);
	assert_int_equal(scheduler_waiting(scheduler), 0);
	assert_true(scheduler_attach(
	    scheduler, entry, ENVELOPE_MAILDIR, &(struct address){ "a", "example.test" }, "local"));
	assert_int_equal(entry->line->references, 1);
}

static void
a_listing_s_order_survives_additions_and_removals(void **state)
{
	struct message *message, *messages[3000];
	uint64_t cursor = 0;
	unsigned seen = 0;

	(void)state;
	for (unsigned i = 0; i < 3000; i++)
		messages[i] = entry_message(add("s@client.test", "a@example.test"));
	while ((message = index_from(the_index, cursor)) != NULL) {
		assert_true(index_number(the_index, message) >= cursor);
		cursor = index_number(the_index, message) + message->count;
		seen++;
		/* All but every third of what lies before and some of what lies ahead goes. */
		if (seen == 1000) {
			for (unsigned i = 0; i < 2000; i++) {
				if (i % 3 == 0)
					continue;
				scheduler_detach(scheduler, &messages[i]->entries[0]);
				index_remove(the_index, messages[i]);
			}
			add("s@client.test", "a@example.test");
		}
	}
	/* 1,000 before, then every third of 1,000 (from 1,002 on), 1,000 more, and the new one. */
	assert_int_equal(seen, 1000 + 333 + 1000 + 1);
	assert_int_equal(index_messages(the_index), 3000 - 1333 + 1);
}

/* Half of 200,000, from the middle, by a pass that goes on by number: a gap that had to be walked
 * through each time would cost thousands of millions of steps. */
static void
a_pass_that_removes_what_it_meets_is_not_held_up_by_the_gap(void **state)
{
	struct message *message;
	unsigned removed = 0;
	uint64_t cursor;
	clock_t begin;

	(void)state;
	for (unsigned i = 0; i < 200000; i++)
		add("s@client.test", "a@example.test");
	begin = clock();
	for (cursor = 50000; removed < 100000; removed++) {
		message = index_from(the_index, cursor);
		assert_non_null(message);
		cursor = index_number(the_index, message) + message->count;
		scheduler_detach(scheduler, &message->entries[0]);
		index_remove(the_index, message);
	}
	assert_true((clock() - begin) / CLOCKS_PER_SEC < 2);
	message = index_from(the_index, 50000);
	assert_int_equal(index_number(the_index, message), 150000);
}

static void
an_envelope_costs_at_most_256_bytes(void **state)
{
	enum {
		COUNT = 100000
	};
	struct mallinfo2 before, after;
	char sender[64], dest[64];
	size_t each;

	(void)state;
	/* A sanitizer's allocator keeps no such figures. */
	before = mallinfo2();
	if (before.uordblks == 0)
		skip();
	for (unsigned i = 0; i < COUNT; i++) {
		/* One recipient a message, a thousand senders, ten thousand mailboxes. */
		snprintf(sender, sizeof(sender), "sender%u@client.test", i % 1000);
		snprintf(dest, sizeof(dest), "user%u@example.test", i % 10000);
		scheduler_wait(scheduler, add(sender, dest), i);
	}
	after = mallinfo2();
	each = (after.uordblks + after.hblkhd - before.uordblks - before.hblkhd) / COUNT;
	print_message("%zu bytes an envelope\n", each);
	assert_true(each > 0);
	assert_true(each <= 256);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(delays_grow_by_half_up_to_the_maximum),
		TEST(delays_are_spread_by_a_sixth),
		TEST(a_clock_that_was_set_moves_no_schedule_far),
		TEST(warnings_come_at_each_interval),
		TEST(what_is_due_comes_in_order_of_time),
		TEST(senders_take_turns_in_a_line),
		TEST(what_may_be_half_delivered_comes_before_all_others),
		TEST(destinations_take_turns_in_a_ring),
		TEST(a_window_grows_with_success_and_shrinks_with_failure),
		TEST(lines_without_mail_are_forgotten),
		TEST(a_listing_s_order_survives_additions_and_removals),
		TEST(a_pass_that_removes_what_it_meets_is_not_held_up_by_the_gap),
		TEST(an_envelope_costs_at_most_256_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
