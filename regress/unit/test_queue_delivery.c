/*
 * What becomes of queued mail: delivered once, put off, or told to be undeliverable; and what a
 * crash at any of these points leaves.
 */
#include "queue/retry.h"
#include "test_queue_peers.h"

static void
a_delivered_envelope_is_gone_also_after_a_crash(void **state)
{
	struct frame *frame;
	char text[8];

	(void)state;
	commit_one(ids[0]);
	start_mda();
	frame = find_frame(&mda, QUEUE_MDA_DELIVER, 0);
	assert_non_null(frame);
	assert_int_equal(pread(frame->fd, text, sizeof(text), 0), 5);
	assert_memory_equal(text, "hello", 5);
	answer(frame, envelope_id_make(ids[0], 1), 250);
	assert_int_equal(queue.envelopes, 0);
	assert_true(commit_now(&queue));
	close_queue();
	open_queue();
	assert_int_equal(queue.envelopes, 0);
}

static void
a_dead_mda_s_deliveries_are_tried_again_as_maybe_delivered(void **state)
{
	static struct ipc_deliver deliver;
	struct frame *frame;

	(void)state;
	commit_one(ids[0]);
	start_mda();
	frame = find_frame(&mda, QUEUE_MDA_DELIVER, 0);
	assert_non_null(frame);
	decode_deliver(frame, &deliver);
	assert_false(deliver.maybe_delivered);
	drop_end(&mda);
	turn();
	assert_int_equal(queue.in_flight, 0);
	/* After a short pause. */
	for (unsigned i = 0; i < 1000; i++) {
		delivery_look_again(&queue);
		delivery_run(&queue);
		if (find_frame(&supervisor, QUEUE_SUPERVISOR_MDA_START, 0) != NULL)
			break;
		usleep(1000);
	}
	start_mda();
	frame = find_frame(&mda, QUEUE_MDA_DELIVER, 0);
	assert_non_null(frame);
	decode_deliver(frame, &deliver);
	assert_true(deliver.maybe_delivered);
	assert_int_equal(deliver.envelope_id, envelope_id_make(ids[0], 1));
	answer(frame, deliver.envelope_id, 250);
	assert_int_equal(queue.envelopes, 0);
}

static void
an_mda_can_not_answer_for_what_it_was_not_given(void **state)
{
	struct frame *frame, forged;

	(void)state;
	commit_one(ids[0]);
	commit_one(ids[1]);
	start_mda();
	frame = find_frame(&mda, QUEUE_MDA_DELIVER, 0);
	assert_non_null(frame);
	forged = *frame;
	/* The other's envelope under this request. */
	answer(&forged, envelope_id_make(ids[0], 1) ^ envelope_id_make(1, 0), 250);
	assert_true(mda.closed);
	assert_int_equal(queue.envelopes, 2);
	assert_int_equal(queue.in_flight, 0);
}

static void
a_temporary_failure_waits_and_is_remembered(void **state)
{
	struct transaction transaction;
	struct envelope envelope;
	struct frame *frame;
	struct entry *entry;

	(void)state;
	commit_one(ids[0]);
	start_mda();
	frame = find_frame(&mda, QUEUE_MDA_DELIVER, 0);
	assert_non_null(frame);
	answer(frame, envelope_id_make(ids[0], 1), 452);
	assert_true(commit_now(&queue));
	close_queue();
	open_queue();
	entry = index_find_entry(queue.index, envelope_id_make(ids[0], 1));
	assert_non_null(entry);
	assert_int_equal(entry->tries, 1);
	assert_true(mail_load(&queue, entry, &transaction, &envelope));
	assert_int_equal(envelope.last_reply.code, 452);
	assert_string_equal(transaction.sender.local, "erin");
}

/* Nobody serves any of these: the one that waits longest makes room. */
static void
the_mail_that_came_last_keeps_what_its_first_try_needs(void **state)
{
	(void)state;
	for (unsigned i = 0; i <= KEPT; i++)
		commit_one(ids[i]);
	assert_null(index_find(queue.index, ids[0])->first);
	for (unsigned i = 1; i <= KEPT; i++)
		assert_non_null(index_find(queue.index, ids[i])->first);
}

static void
only_a_command_that_an_alias_has_is_run(void **state)
{
	static struct ipc_deliver deliver;
	struct frame *frame;
	struct entry *forged;

	(void)state;
	commit_one_of(ids[0], ENVELOPE_PIPE, "/usr/bin/forged");
	start_mda();
	assert_null(find_frame(&mda, QUEUE_MDA_DELIVER, 0));
	forged = index_find_entry(queue.index, envelope_id_make(ids[0], 1));
	assert_int_equal(forged->state, ENTRY_BOUNCING);
	/* Nor by another than the alias's user. */
	commit_one_of(ids[2], ENVELOPE_USER_PIPE, "/usr/bin/allowed");
	delivery_run(&queue);
	assert_null(find_frame(&mda, QUEUE_MDA_DELIVER, 0));
	forged = index_find_entry(queue.index, envelope_id_make(ids[2], 1));
	assert_int_equal(forged->state, ENTRY_BOUNCING);
	commit_one_of(ids[1], ENVELOPE_PIPE, "/usr/bin/allowed");
	delivery_run(&queue);
	frame = find_frame(&mda, QUEUE_MDA_DELIVER, 0);
	assert_non_null(frame);
	decode_deliver(frame, &deliver);
	assert_string_equal(deliver.command, "/usr/bin/allowed");
}

/* As a bad sector does, under the message's last byte. */
static void
damage(uint32_t id)
{
	const struct location *location = &index_find(queue.index, id)->location;
	off_t at = (off_t)location->offset + RECORD_HEADER_SIZE + location->length - 1;
	char name[128], byte;
	unsigned damaged = 0;
	int fd;

	for (unsigned number = 1; number < 10; number++) {
		snprintf(name, sizeof(name), "%s/segments/%08u", path, number);
		fd = open(name, O_RDWR);
		if (fd == -1)
			continue;
		if (pread(fd, &byte, 1, at) == 1 && byte == 'o') {
			assert_int_equal(pwrite(fd, "?", 1, at), 1);
			damaged++;
		}
		close(fd);
	}
	assert_int_equal(damaged, 1);
}

static void
what_is_damaged_while_it_is_queued_is_said_to_be_lost(void **state)
{
	(void)state;
	commit_one(ids[0]);
	commit_one(ids[1]);
	close_queue();
	open_queue();
	damage(ids[0]);
	monotonic_ahead += 60;
	while (journal_reclaim(queue.journal))
		;
	assert_null(index_find(queue.index, ids[0]));
	assert_non_null(index_find(queue.index, ids[1]));
	assert_int_equal(queue.envelopes, 1);
	assert_true(is_logged("from <erin@client.test> for 1 envelopes is lost from the queue"));
	close_queue();
	open_queue();
	assert_int_equal(queue.envelopes, 1);
}

/* The first message queued that isn't this one: a report of it. NULL after that time. */
static struct message *
wait_report(uint32_t about, int64_t ms)
{
	int64_t end_ms = clock_monotonic_ms() + ms;
	struct message *message;

	while (clock_monotonic_ms() < end_ms) {
		for (message = index_from(queue.index, 0); message != NULL;
		     message = index_next(queue.index, message)) {
			if (message->id != about)
				return message;
		}
		bounce_tick(&queue);
		turn();
		usleep(5000);
	}
	return NULL;
}

static struct message *
find_report(uint32_t about)
{
	return wait_report(about, 5000);
}

/* More than the moment in which failures are collected. */
static struct message *
find_report_soon(uint32_t about)
{
	return wait_report(about, 300);
}

static void
fail_one(uint32_t id)
{
	struct frame *frame;

	commit_one(id);
	start_mda();
	frame = find_frame(&mda, QUEUE_MDA_DELIVER, 0);
	assert_non_null(frame);
	answer(frame, envelope_id_make(id, 1), 550);
}

static void
assert_report_goes_to(struct message *report, const char *local)
{
	struct transaction transaction;
	struct envelope envelope;

	assert_non_null(report);
	assert_true(mail_load(&queue, &report->entries[0], &transaction, &envelope));
	assert_string_equal(envelope.rcpt.local, local);
	assert_true(transaction.is_bounce);
}

static void
a_sender_of_as_many_mailboxes_as_a_report_may_have_is_told(void **state)
{
	struct message *report;

	(void)state;
	sender_targets = 200;
	fail_one(ids[0]);
	report = find_report(ids[0]);
	assert_report_goes_to(report, "erin");
	assert_int_equal(report->count, 200);
	assert_null(index_find(queue.index, ids[0]));
}

static void
a_sender_of_too_many_mailboxes_is_not_waited_for_but_the_postmaster_told(void **state)
{
	(void)state;
	sender_targets = 1001;
	fail_one(ids[0]);
	assert_report_goes_to(find_report(ids[0]), "postmaster");
	assert_true(is_logged("erin@client.test can't be told what became of it: the address "
	                      "leads to more than 1000 mailboxes; the postmaster is told instead"));
	assert_null(index_find(queue.index, ids[0]));
}

/* The segments here are the smallest. */
static void
a_report_that_no_segment_holds_goes_to_the_postmaster(void **state)
{
	(void)state;
	sender_targets = 1000;
	fail_one(ids[0]);
	assert_report_goes_to(find_report(ids[0]), "postmaster");
	assert_true(is_logged("set a larger \"queue segment-size\""));
	assert_null(index_find(queue.index, ids[0]));
}

static void
a_failure_that_neither_sender_nor_postmaster_can_be_told_is_held(void **state)
{
	struct entry *entry;

	(void)state;
	sender_targets = 1001;
	free(queue.config->postmaster);
	queue.config->postmaster = strdup("erin@example.test");
	fail_one(ids[0]);
	assert_null(find_report_soon(ids[0]));
	entry = index_find_entry(queue.index, envelope_id_make(ids[0], 1));
	assert_non_null(entry);
	assert_int_equal(entry->state, ENTRY_HELD);
	assert_true(is_logged("neither its sender nor the postmaster can be told"));
}

static void crash_and_restart(void);

static void
assert_limit(uint32_t id, enum entry_limit limit)
{
	struct entry *entry = index_find_entry(queue.index, envelope_id_make(id, 1));

	assert_non_null(entry);
	assert_int_equal(entry->state, ENTRY_HELD);
	assert_int_equal(entry->limit, limit);
}

/* Bounces that might be made in a moment, are. */
static void
assert_messages_stay(size_t count)
{
	for (unsigned i = 0; i < 60; i++) {
		bounce_tick(&queue);
		turn();
		assert_int_equal(index_messages(queue.index), count);
		usleep(5000);
	}
}

/* Mail over its user's hourly limit: the postmaster hears of it whenever the queue dies, and once. */
static void
the_notice_of_held_mail_outlives_a_crash(void **state)
{
	uint32_t id = ids[0];

	(void)state;
	is_held = true;
	commit_one(id);
	assert_int_equal(index_messages(queue.index), 1);
	crash_and_restart();
	assert_limit(id, LIMIT_UNTOLD);
	assert_report_goes_to(find_report(id), "postmaster");
	assert_limit(id, LIMIT_TOLD);
	assert_true(commit_now(&queue));
	/* More of the same sender's within the hour, which isn't told of. */
	commit_one(ids[0]);
	assert_messages_stay(3);
	for (unsigned i = 0; i < 2; i++) {
		crash_and_restart();
		assert_messages_stay(3);
	}
}

static void
what_is_let_go_and_held_again_is_held_by_an_administrator(void **state)
{
	struct entry *entry;
	uint32_t id = ids[0];

	(void)state;
	is_held = true;
	commit_one(id);
	entry = index_find_entry(queue.index, envelope_id_make(id, 1));
	entry->state = ENTRY_WAITING;
	mail_update(&queue, entry, NULL, NULL);
	entry->state = ENTRY_HELD;
	mail_update(&queue, entry, NULL, NULL);
	assert_true(commit_now(&queue));
	crash_and_restart();
	assert_limit(id, LIMIT_NOT);
	assert_messages_stay(1);
}

static void
answers_that_make_no_sense_are_not_waited_for_for_ever(void **state)
{
	(void)state;
	sender_is_odd = true;
	fail_one(ids[0]);
	for (unsigned asked = 1; asked < 5; asked++) {
		assert_null(find_report_soon(ids[0]));
		assert_int_equal(asked_for_sender, asked);
		monotonic_ahead += 600;
	}
	assert_report_goes_to(find_report(ids[0]), "postmaster");
	assert_true(is_logged("the directory's answers can't be understood"));
}

static void
crash_and_restart(void)
{
	drop_end(&mda);
	drop_end(&listener);
	close_queue();
	open_queue();
	intake_set_listener(&queue, 0, connect_end(&listener));
	ask_ids(8);
}

/* To a command, by a sender who asks to be told. */
static void
deliver_with_report(uint32_t id)
{
	struct frame *frame;

	notify = DSN_NOTIFY_SUCCESS;
	commit_one_of(id, ENVELOPE_PIPE, "/usr/bin/allowed");
	start_mda();
	delivery_run(&queue);
	frame = find_frame(&mda, QUEUE_MDA_DELIVER, 0);
	assert_non_null(frame);
	answer(frame, envelope_id_make(id, 1), 250);
}

static void
assert_told_and_not_run_again(uint32_t id)
{
	struct entry *entry = index_find_entry(queue.index, envelope_id_make(id, 1));
	struct message *report;

	assert_non_null(entry);
	assert_int_equal(entry->state, ENTRY_BOUNCING);
	delivery_due(&queue);
	delivery_look_again(&queue);
	assert_int_equal(entry->state, ENTRY_BOUNCING);
	report = find_report(id);
	assert_report_goes_to(report, "erin");
	assert_null(index_find(queue.index, id));
	crash_and_restart();
	assert_null(index_find(queue.index, id));
	assert_int_equal(index_messages(queue.index), 1);
}

static void
a_command_is_not_run_again_after_a_crash_before_its_report(void **state)
{
	uint32_t id = ids[0];

	(void)state;
	deliver_with_report(id);
	assert_int_equal(index_messages(queue.index), 1);
	crash_and_restart();
	assert_told_and_not_run_again(id);
}

static void
a_report_that_is_owed_outlives_the_copying_forward(void **state)
{
	struct message *message;
	uint32_t slot;
	uint32_t id = ids[0];

	(void)state;
	deliver_with_report(id);
	crash_and_restart();
	message = index_find(queue.index, id);
	assert_non_null(message);
	slot = message->location.slot;
	monotonic_ahead += 60;
	while (journal_reclaim(queue.journal))
		;
	assert_int_not_equal(message->location.slot, slot);
	crash_and_restart();
	assert_told_and_not_run_again(id);
}

/* Put off, and then some time passes in which no queue runs. */
static void
defer_and_stop_for(uint32_t id, int64_t seconds)
{
	struct frame *frame;

	commit_one(id);
	start_mda();
	frame = find_frame(&mda, QUEUE_MDA_DELIVER, 0);
	assert_non_null(frame);
	answer(frame, envelope_id_make(id, 1), 452);
	assert_true(commit_now(&queue));
	wall_ahead += seconds;
	crash_and_restart();
}

/* What is due is given to the mda, which answers. */
static void
try_now(uint32_t id, unsigned code)
{
	struct entry *entry = index_find_entry(queue.index, envelope_id_make(id, 1));
	struct frame *frame;

	delivery_due(&queue);
	assert_int_equal(entry->state, ENTRY_READY);
	delivery_run(&queue);
	turn();
	start_mda();
	frame = find_frame(&mda, QUEUE_MDA_DELIVER, 0);
	assert_non_null(frame);
	answer(frame, envelope_id_make(id, 1), code);
}

static void
what_expired_while_nothing_ran_is_tried_once_more(void **state)
{
	uint32_t id = ids[0];

	(void)state;
	queue.config->queue_ttl = 1000;
	defer_and_stop_for(id, 1001);
	try_now(id, 250);
	assert_int_equal(queue.envelopes, 0);
}

static void
what_expired_while_nothing_ran_goes_back_if_that_fails(void **state)
{
	uint32_t id = ids[0];
	struct entry *entry;

	(void)state;
	queue.config->queue_ttl = 1000;
	defer_and_stop_for(id, 1001);
	try_now(id, 452);
	entry = index_find_entry(queue.index, envelope_id_make(id, 1));
	assert_non_null(entry);
	assert_int_equal(entry->state, ENTRY_BOUNCING);
	assert_true(is_logged("delivery-expired"));
}

static void
assert_expires_within(uint32_t id, uint32_t least, uint32_t most)
{
	struct entry *entry = index_find_entry(queue.index, envelope_id_make(id, 1));

	assert_non_null(entry);
	assert_int_equal(entry->state, ENTRY_WAITING);
	assert_true(entry->expires >= retry_now() + least);
	assert_true(entry->expires <= retry_now() + most);
}

static void
a_clock_that_is_a_year_ahead_at_the_start_expires_and_warns_of_nothing(void **state)
{
	static const uint32_t hour = 3600;
	struct transaction transaction;
	struct envelope envelope;
	uint32_t id = ids[0];

	(void)state;
	queue.config->queue_ttl = 4 * 86400;
	queue.config->bounce_warn_count = 1;
	queue.config->bounce_warn[0] = hour;
	defer_and_stop_for(id, 365 * 86400);
	assert_true(is_logged("the clock is 8760 hours ahead of what was last written"));
	assert_expires_within(id, 4 * 86400 - 60, 4 * 86400);
	try_now(id, 452);
	assert_expires_within(id, 4 * 86400 - 60, 4 * 86400);
	assert_null(find_report_soon(id));
	/* What it had left is what counts, and is not given twice. */
	assert_true(commit_now(&queue));
	monotonic_ahead += 10 * hour;
	wall_ahead += 10 * hour;
	crash_and_restart();
	assert_expires_within(id, 4 * 86400 - 11 * hour, 4 * 86400 - 9 * hour);
	assert_true(mail_load(&queue, index_find_entry(queue.index, envelope_id_make(id, 1)),
	    &transaction, &envelope));
	assert_int_equal(envelope.last_reply.code, 452);
}

/* Nothing is written while all that is queued is held: a quiet week is no lost time. */
static void
held_mail_does_not_make_the_clock_look_wrong(void **state)
{
	struct entry *entry;
	uint32_t id = ids[0];

	(void)state;
	commit_one(id);
	entry = index_find_entry(queue.index, envelope_id_make(id, 1));
	scheduler_unset(queue.scheduler, entry);
	entry->state = ENTRY_HELD;
	mail_update(&queue, entry, NULL, NULL);
	assert_true(commit_now(&queue));
	wall_ahead += 7 * 86400;
	crash_and_restart();
	assert_int_equal(index_find_entry(queue.index, envelope_id_make(id, 1))->state, ENTRY_HELD);
	assert_int_equal(queue.lost, 0);
	assert_false(is_logged("the clock is"));
}

static void
time_that_was_lost_is_not_given_again_at_the_next_start(void **state)
{
	uint32_t id = ids[0];

	(void)state;
	queue.config->queue_ttl = 4 * 86400;
	defer_and_stop_for(id, 3 * 86400);
	assert_true(commit_now(&queue));
	for (unsigned i = 0; i < 2; i++) {
		crash_and_restart();
		assert_expires_within(id, 4 * 86400 - 60, 4 * 86400);
		assert_int_equal(queue.lost, 0);
	}
	wall_ahead += 86400;
	crash_and_restart();
	assert_expires_within(id, 3 * 86400 - 60, 3 * 86400);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_delivered_envelope_is_gone_also_after_a_crash),
		TEST(a_dead_mda_s_deliveries_are_tried_again_as_maybe_delivered),
		TEST(an_mda_can_not_answer_for_what_it_was_not_given),
		TEST(the_mail_that_came_last_keeps_what_its_first_try_needs),
		TEST(what_is_damaged_while_it_is_queued_is_said_to_be_lost),
		TEST(only_a_command_that_an_alias_has_is_run),
		TEST(a_sender_of_as_many_mailboxes_as_a_report_may_have_is_told),
		TEST(a_sender_of_too_many_mailboxes_is_not_waited_for_but_the_postmaster_told),
		TEST(a_report_that_no_segment_holds_goes_to_the_postmaster),
		TEST(a_failure_that_neither_sender_nor_postmaster_can_be_told_is_held),
		TEST(the_notice_of_held_mail_outlives_a_crash),
		TEST(what_is_let_go_and_held_again_is_held_by_an_administrator),
		TEST(answers_that_make_no_sense_are_not_waited_for_for_ever),
		TEST(a_command_is_not_run_again_after_a_crash_before_its_report),
		TEST(a_report_that_is_owed_outlives_the_copying_forward),
		TEST(what_expired_while_nothing_ran_is_tried_once_more),
		TEST(what_expired_while_nothing_ran_goes_back_if_that_fails),
		TEST(a_clock_that_is_a_year_ahead_at_the_start_expires_and_warns_of_nothing),
		TEST(held_mail_does_not_make_the_clock_look_wrong),
		TEST(time_that_was_lost_is_not_given_again_at_the_next_start),
		TEST(a_temporary_failure_waits_and_is_remembered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
