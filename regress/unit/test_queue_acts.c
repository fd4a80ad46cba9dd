/*
 * Acts on very many envelopes: in portions, between which mail is taken; each envelope is changed
 * or as it was, whatever ends them in between.
 */
#include <sysexits.h>

#include "common/ipc_control.h"
#include "test_queue_peers.h"

#define MANY      20000
#define PORTION   1000 /* envelopes, at most */
#define TTL       3600
#define TURNS_MAX 1000000

static struct end control;
static struct channel *control_channel; /* the queue's end */

static void
on_control(struct channel *channel, struct imsg *imsg, void *arg)
{
	(void)arg;
	control_receive(&queue, channel, imsg);
}

static uint32_t
id_of(uint32_t number)
{
	return number * 2654435761U | 1; /* distinct for even numbers */
}

static void
put_many(uint32_t from, uint32_t count)
{
	for (uint32_t i = from; i < from + count; i++)
		add_message(id_of(2 * i), 1, TTL);
	assert_true(commit_now(&queue));
}

static void
ask_act(enum queue_action action)
{
	struct ipc_act wanted = { .action = action };
	struct buf buf;

	control_channel = channel_new(
	    queue.base, "control", connect_end(&control), on_control, on_closed, &control);
	buf_init(&buf, 16384);
	ipc_act_encode(&buf, &wanted);
	channel_send(control.channel, CONTROL_QUEUE_ACT, 1, 0, -1, &buf);
	buf_free(&buf);
}

static void
drop_control(void)
{
	control_acts_forget(&queue, control_channel);
	channel_free(control_channel);
	drop_end(&control);
}

static bool
has_frame(const struct end *end, uint16_t type)
{
	for (size_t i = 0; i < end->count; i++) {
		if (end->frames[i].type == type)
			return true;
	}
	return false;
}

#define UNTIL(condition)                                                       \
	for (unsigned turns = 0; !(condition); turns++) {                      \
		assert_true(turns < TURNS_MAX);                                \
		assert_int_equal(event_base_loop(queue.base, EVLOOP_ONCE), 0); \
	}

static struct ipc_result
result_of(const struct end *end)
{
	struct buf_reader reader;
	struct ipc_result result;

	assert_int_equal(end->count, 1);
	assert_int_equal(end->frames[0].type, CONTROL_DONE);
	buf_reader_init(&reader, end->frames[0].payload, end->frames[0].length);
	assert_true(ipc_result_decode(&reader, &result));
	return result;
}

static void
no_turn_changes_more_than_a_portion(void **state)
{
	struct ipc_act wanted = { .action = QUEUE_HOLD };
	struct act act;
	uint64_t before;
	bool more;

	(void)state;
	put_many(1, 5000);
	act_begin(&queue, &act, &wanted);
	do {
		before = act.changed;
		more = act_continue(&queue, &act);
		assert_true(act.changed - before <= PORTION);
		assert_true(act.changed > before || !more);
	} while (more);
	assert_int_equal(act.changed, 5000);
}

static void
one_message_of_very_many_is_acted_on_in_portions(void **state)
{
	struct ipc_act wanted = { .action = QUEUE_REMOVE };
	struct act act;
	uint64_t before;
	unsigned portions = 0;
	bool more;

	(void)state;
	/* By its recipient, so that its record is read. */
	strcpy(wanted.filter.to, "alice@example.test");
	add_message(id_of(2), 3500, TTL);
	assert_true(commit_now(&queue));
	act_begin(&queue, &act, &wanted);
	do {
		before = act.changed;
		more = act_continue(&queue, &act);
		assert_true(act.changed - before <= PORTION);
		portions++;
	} while (more);
	assert_true(portions >= 4);
	assert_int_equal(act.changed, 3500);
	assert_int_equal(queue.envelopes, 0);
}

static void
what_comes_after_the_begin_is_not_meant(void **state)
{
	struct ipc_act wanted = { .action = QUEUE_REMOVE };
	struct act act;

	(void)state;
	put_many(1, 3000);
	act_begin(&queue, &act, &wanted);
	assert_true(act_continue(&queue, &act));
	put_many(3001, 10);
	while (act_continue(&queue, &act))
		;
	assert_int_equal(act.changed, 3000);
	assert_int_equal(queue.envelopes, 10);
}

/* Whatever becomes of the message at which it would go on. */
static void
mail_may_go_between_two_portions(void **state)
{
	struct ipc_act wanted = { .action = QUEUE_HOLD }, other = { .action = QUEUE_REMOVE };
	struct act act;

	(void)state;
	put_many(1, 3000);
	act_begin(&queue, &act, &wanted);
	assert_true(act_continue(&queue, &act));
	for (uint32_t i = 1; i <= 2999; i++) {
		other.filter.id = id_of(2 * i);
		assert_int_equal(act_on_all(&other), 1);
	}
	while (act_continue(&queue, &act))
		;
	assert_int_equal(queue.envelopes, 1);
	assert_int_equal(index_find(queue.index, id_of(2 * 3000))->entries[0].state, ENTRY_HELD);
}

static void
mail_is_taken_while_very_many_are_removed(void **state)
{
	struct ipc_result result;

	(void)state;
	put_many(1, MANY);
	ask_act(QUEUE_REMOVE);
	UNTIL(queue.envelopes < MANY);
	send_envelope(ids[0], 1);
	send_commit(ids[0], 5, make_memfd("hello", true));
	UNTIL(has_frame(&listener, QUEUE_LISTENER_COMMITTED));
	assert_int_equal(control.count, 0);
	assert_true(queue.envelopes > 1);
	UNTIL(control.count > 0);
	result = result_of(&control);
	assert_int_equal(result.exit_code, EX_OK);
	assert_int_equal(result.count, MANY);
	assert_int_equal(queue.envelopes, 1);
	drop_control();
}

static void
two_acts_take_turns(void **state)
{
	struct ipc_act one = { .action = QUEUE_REMOVE };
	struct buf buf;

	(void)state;
	put_many(1, MANY);
	ask_act(QUEUE_HOLD);
	UNTIL(index_find(queue.index, id_of(2))->entries[0].state == ENTRY_HELD);
	one.filter.id = id_of(2 * MANY);
	buf_init(&buf, 16384);
	ipc_act_encode(&buf, &one);
	channel_send(control.channel, CONTROL_QUEUE_ACT, 2, 0, -1, &buf);
	buf_free(&buf);
	UNTIL(control.count > 0);
	assert_int_equal(control.frames[0].id, 2);
	UNTIL(control.count > 1);
	assert_int_equal(control.frames[1].id, 1);
	drop_control();
}

static void
an_act_goes_on_when_nobody_waits_for_it(void **state)
{
	(void)state;
	put_many(1, MANY);
	ask_act(QUEUE_REMOVE);
	UNTIL(queue.envelopes < MANY);
	assert_true(queue.envelopes > 0);
	drop_control();
	UNTIL(queue.envelopes == 0);
}

static void
a_stop_ends_it_with_what_was_done(void **state)
{
	struct ipc_result result;
	size_t left;

	(void)state;
	put_many(1, MANY);
	ask_act(QUEUE_REMOVE);
	UNTIL(queue.envelopes < MANY);
	queue.phase = QUEUE_STOPPING;
	control_acts_stop(&queue);
	left = queue.envelopes;
	assert_true(left > 0);
	UNTIL(control.count > 0);
	result = result_of(&control);
	assert_int_equal(result.exit_code, EX_TEMPFAIL);
	assert_int_equal(result.count, MANY - left);
	drop_control();
	close_queue();
	open_queue();
	assert_int_equal(queue.envelopes, left);
}

static void
a_crash_in_between_loses_nothing_that_was_left(void **state)
{
	size_t left;

	(void)state;
	put_many(1, MANY);
	ask_act(QUEUE_REMOVE);
	UNTIL(queue.envelopes < MANY);
	left = queue.envelopes;
	drop_control();
	close_queue();
	open_queue();
	/* What was removed and not yet written is there again. */
	assert_true(queue.envelopes >= left);
	assert_true(queue.envelopes <= MANY);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(no_turn_changes_more_than_a_portion),
		TEST(one_message_of_very_many_is_acted_on_in_portions),
		TEST(what_comes_after_the_begin_is_not_meant),
		TEST(mail_may_go_between_two_portions),
		TEST(mail_is_taken_while_very_many_are_removed),
		TEST(two_acts_take_turns),
		TEST(an_act_goes_on_when_nobody_waits_for_it),
		TEST(a_stop_ends_it_with_what_was_done),
		TEST(a_crash_in_between_loses_nothing_that_was_left),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
