/*
 * A relay that dies, or says what it can't know.
 */
#include "test_queue_relay_peer.h"

static void
a_dead_relay_s_tasks_are_tried_again_a_few_times(void **state)
{
	struct entry *entry;

	(void)state;
	commit_many(ids[0], "far.test", 3);
	run();
	assert_int_equal(count_tasks(), 1);
	for (unsigned i = 0; i < 2; i++) {
		restart_relay();
		assert_int_equal(count_tasks(), 1);
		assert_int_equal(queue.in_flight, 3);
	}
	restart_relay();
	assert_int_equal(count_tasks(), 0);
	entry = index_find_entry(queue.index, envelope_id_make(ids[0], 1));
	assert_int_equal(entry->state, ENTRY_WAITING);
	assert_int_equal(entry->tries, 1);
	assert_int_equal(queue.in_flight, 0);
	assert_int_equal(entry->line->in_flight, 0);
}

static void
results_given_before_it_died_count(void **state)
{
	struct frame *frame;

	(void)state;
	commit_many(ids[0], "far.test", 2);
	run();
	frame = find_task(0);
	assert_non_null(frame);
	send_result(frame, envelope_id_make(ids[0], 1), 250, RELAY_FAULT_NONE, false);
	turn();
	restart_relay();
	assert_int_equal(queue.envelopes, 1);
	assert_non_null(find_task(0));
	assert_int_equal(task.recipients, 1);
}

static void
assert_relay_is_rejected(void)
{
	struct ipc_peer peer;
	struct buf_reader reader;
	struct frame *frame;

	turn();
	assert_true(relay.closed);
	frame = find_frame(&supervisor, CHILD_SUPERVISOR_REJECTED, 0);
	assert_non_null(frame);
	buf_reader_init(&reader, frame->payload, frame->length);
	assert_true(ipc_peer_decode(&reader, &peer));
	assert_int_equal(peer.program, PROGRAM_RELAY);
	assert_int_equal(queue.in_flight, 0);
}

static void
it_can_not_answer_for_what_it_was_not_given(void **state)
{
	(void)state;
	commit_to(ids[0], "far.test");
	commit_to(ids[1], "far.test");
	run();
	/* The other's envelope under this task. */
	send_result(find_task(0), envelope_id_make(ids[1], 1), 250, RELAY_FAULT_NONE, false);
	assert_relay_is_rejected();
	assert_int_equal(queue.envelopes, 2);
}

static void
it_can_not_answer_twice(void **state)
{
	struct frame *frame;

	(void)state;
	commit_many(ids[0], "far.test", 2);
	run();
	frame = find_task(0);
	send_result(frame, envelope_id_make(ids[0], 1), 450, RELAY_FAULT_NONE, false);
	send_result(frame, envelope_id_make(ids[0], 1), 250, RELAY_FAULT_NONE, false);
	assert_relay_is_rejected();
	assert_int_equal(queue.envelopes, 2);
}

static void
it_can_not_end_a_task_before_all_results(void **state)
{
	(void)state;
	commit_many(ids[0], "far.test", 2);
	run();
	send_done(find_task(0), RELAY_FAULT_NONE, "");
	assert_relay_is_rejected();
	assert_int_equal(queue.envelopes, 2);
}

static void
it_can_not_end_a_task_twice(void **state)
{
	struct frame *frame;

	(void)state;
	commit_to(ids[0], "far.test");
	run();
	frame = find_task(0);
	answer_task(frame, 250, RELAY_FAULT_NONE);
	send_done(frame, RELAY_FAULT_NONE, "");
	assert_relay_is_rejected();
}

static void
a_relay_that_comes_to_no_end_is_replaced(void **state)
{
	struct frame *frame;
	struct buf_reader reader;
	struct ipc_peer peer;

	(void)state;
	commit_to(ids[0], "slow.test");
	run();
	assert_int_equal(count_tasks(), 1);
	monotonic_ahead += 24 * 3600 + 60;
	relay_tick(&queue);
	frame = find_frame(&supervisor, CHILD_SUPERVISOR_REJECTED, 0);
	assert_non_null(frame);
	buf_reader_init(&reader, frame->payload, frame->length);
	assert_true(ipc_peer_decode(&reader, &peer));
	assert_int_equal(peer.program, PROGRAM_RELAY);
	assert_int_equal(queue.in_flight, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		RELAY_TEST(a_relay_that_comes_to_no_end_is_replaced),
		RELAY_TEST(a_dead_relay_s_tasks_are_tried_again_a_few_times),
		RELAY_TEST(results_given_before_it_died_count),
		RELAY_TEST(it_can_not_answer_for_what_it_was_not_given),
		RELAY_TEST(it_can_not_answer_twice),
		RELAY_TEST(it_can_not_end_a_task_before_all_results),
		RELAY_TEST(it_can_not_end_a_task_twice),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
