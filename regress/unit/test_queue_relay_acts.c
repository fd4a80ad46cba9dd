/*
 * What an administrator asks of mail to other hosts, and is shown of it.
 */
#include "test_queue_relay_peer.h"

static uint64_t
act(enum queue_action action)
{
	struct ipc_act wanted = { .action = action };

	return act_on_all(&wanted);
}

static void
schedule_tries_what_is_put_off(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 10; i++)
		commit_to(ids[i], "dead.test");
	run();
	answer_all(451, RELAY_FAULT_DESTINATION);
	assert_int_equal(act(QUEUE_SCHEDULE), 10);
	run();
	assert_int_equal(count_tasks(), 1);
}

static void
pauses_hold_all_or_one_domain(void **state)
{
	(void)state;
	assert_true(relay_pause_domain(&queue, "far.test", true));
	commit_to(ids[0], "far.test");
	commit_to(ids[1], "other.test");
	run();
	assert_int_equal(count_tasks(), 1);
	assert_non_null(find_task(0));
	assert_string_equal(task.domain, "other.test");
	answer_all(250, RELAY_FAULT_NONE);
	assert_true(relay_pause_domain(&queue, "far.test", false));
	queue.mta_paused = true;
	run();
	assert_int_equal(count_tasks(), 0);
	queue.mta_paused = false;
	run();
	assert_int_equal(count_tasks(), 1);
}

static void
what_is_removed_in_flight_is_gone_when_it_fails(void **state)
{
	(void)state;
	commit_many(ids[0], "far.test", 2);
	run();
	assert_int_equal(act(QUEUE_REMOVE), 2);
	assert_int_equal(queue.envelopes, 2);
	answer_all(450, RELAY_FAULT_NONE);
	assert_int_equal(queue.envelopes, 0);
}

static void
what_was_not_begun_comes_back_at_the_end(void **state)
{
	struct frame *frame;
	struct entry *entry;

	(void)state;
	commit_many(ids[0], "far.test", 2);
	run();
	queue.phase = QUEUE_STOPPING;
	relay_cancel_all(&queue);
	frame = find_task(0);
	assert_non_null(frame);
	assert_non_null(find_frame(&relay, QUEUE_RELAY_CANCEL, frame->id));
	answer_task(frame, 451, RELAY_FAULT_OURS);
	assert_int_equal(queue.in_flight, 0);
	entry = index_find_entry(queue.index, envelope_id_make(ids[0], 1));
	assert_int_equal(entry->tries, 0);
	assert_int_equal(entry->state, ENTRY_READY);
	assert_false(destination_is_put_off(entry->line));
}

/* Control. */

static struct end control;

static void
on_control(struct channel *channel, struct imsg *imsg, void *arg)
{
	(void)arg;
	control_receive(&queue, channel, imsg);
}

/* The queue's answers to a request, as frames of `control`. */
static void
ask_queue(uint16_t type, const struct ipc_filter *filter)
{
	struct channel *channel = channel_new(
	    queue.base, "control", connect_end(&control), on_control, on_closed, &control);
	struct buf buf;

	buf_init(&buf, 16384);
	ipc_filter_encode(&buf, filter);
	channel_send(control.channel, type, 1, 0, -1, &buf);
	buf_free(&buf);
	turn();
	channel_free(channel);
}

static void
lines_are_listed_with_what_is_known_of_them(void **state)
{
	struct ipc_filter filter = { .to = "@dead.test" };
	struct ipc_destination destination;
	struct buf_reader reader;
	struct frame *frame;

	(void)state;
	for (unsigned i = 0; i < 10; i++)
		commit_to(ids[i], "dead.test");
	commit_to(ids[10], "far.test");
	run();
	answer_task(find_task_to("dead.test"), 451, RELAY_FAULT_DESTINATION);
	ask_queue(CONTROL_DESTINATION_LIST, &filter);
	frame = find_frame(&control, CONTROL_DESTINATION, 1);
	assert_non_null(frame);
	buf_reader_init(&reader, frame->payload, frame->length);
	assert_true(ipc_destination_decode(&reader, &destination));
	assert_string_equal(destination.to, "dead.test");
	assert_string_equal(destination.action, "out");
	assert_int_equal(destination.state, DESTINATION_PUT_OFF);
	assert_int_equal(destination.queued, 10);
	assert_int_equal(destination.in_flight, RELAY_WINDOW_FIRST - 1);
	assert_int_equal(destination.failures, 1);
	assert_int_equal(destination.reply.code, 451);
	assert_true(destination.next_try > clock_wall());
	assert_int_equal(control.count, 2);
	assert_int_equal(control.frames[1].type, CONTROL_DONE);
	drop_end(&control);
}

static void
lines_are_listed_in_portions(void **state)
{
	struct ipc_filter filter = { .portion = 1 };
	struct buf_reader reader;
	struct frame *frame;
	unsigned lines = 0;

	(void)state;
	commit_to(ids[0], "far.test");
	commit_to(ids[1], "other.test");
	do {
		ask_queue(CONTROL_DESTINATION_LIST, &filter);
		if (find_frame(&control, CONTROL_DESTINATION, 1) != NULL)
			lines++;
		assert_true(control.count <= 2);
		frame = find_frame(&control, CONTROL_QUEUE_LIST_MORE, 1);
		if (frame != NULL) {
			buf_reader_init(&reader, frame->payload, frame->length);
			filter.cursor = buf_get_u64(&reader);
			assert_true(buf_reader_done(&reader));
		}
		drop_end(&control);
	} while (frame != NULL);
	assert_int_equal(lines, 2);
}

static void
an_envelope_is_shown_with_its_destination_s_dialogue(void **state)
{
	struct ipc_filter filter = { .id = envelope_id_make(ids[0], 1) };
	char dialogue[IPC_RELAY_DIALOGUE_MAX + 1];
	struct transaction transaction;
	struct envelope envelope;
	struct buf_reader reader;
	struct frame *frame;

	(void)state;
	commit_to(ids[0], "dead.test");
	run();
	answer_all(451, RELAY_FAULT_DESTINATION);
	ask_queue(CONTROL_QUEUE_LIST, &filter);
	frame = find_frame(&control, CONTROL_ENVELOPE, 1);
	assert_non_null(frame);
	buf_reader_init(&reader, frame->payload, frame->length);
	assert_true(transaction_decode(&reader, &transaction));
	assert_true(envelope_decode(&reader, &envelope));
	buf_get_string(&reader, dialogue, sizeof(dialogue));
	assert_true(buf_reader_done(&reader));
	assert_string_equal(dialogue, "far.test: can't connect\n");
	drop_end(&control);
}

static void
what_was_removed_in_flight_does_not_come_back(void **state)
{
	struct frame *frame;

	(void)state;
	commit_many(ids[0], "far.test", 2);
	run();
	assert_int_equal(act(QUEUE_REMOVE), 2);
	assert_true(commit_now(&queue));
	queue.phase = QUEUE_STOPPING;
	relay_cancel_all(&queue);
	frame = find_task(0);
	assert_non_null(frame);
	answer_task(frame, 451, RELAY_FAULT_OURS);
	assert_true(commit_now(&queue));
	close_queue();
	open_queue();
	assert_int_equal(queue.envelopes, 0);
}

/* Whether it was delivered nobody knows: it isn't tried again, and the administrator sees it. */
static void
what_was_removed_in_flight_is_held_after_a_crash(void **state)
{
	(void)state;
	commit_to(ids[0], "far.test");
	run();
	assert_int_equal(act(QUEUE_REMOVE), 1);
	assert_true(commit_now(&queue));
	close_queue();
	open_queue();
	assert_int_equal(queue.envelopes, 1);
	assert_int_equal(
	    index_find_entry(queue.index, envelope_id_make(ids[0], 1))->state, ENTRY_HELD);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		RELAY_TEST(lines_are_listed_with_what_is_known_of_them),
		RELAY_TEST(lines_are_listed_in_portions),
		RELAY_TEST(an_envelope_is_shown_with_its_destination_s_dialogue),
		RELAY_TEST(schedule_tries_what_is_put_off),
		RELAY_TEST(pauses_hold_all_or_one_domain),
		RELAY_TEST(what_is_removed_in_flight_is_gone_when_it_fails),
		RELAY_TEST(what_was_not_begun_comes_back_at_the_end),
		RELAY_TEST(what_was_removed_in_flight_does_not_come_back),
		RELAY_TEST(what_was_removed_in_flight_is_held_after_a_crash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
