/*
 * Mail to other hosts: what the relay is given, what becomes of its answers, and what is remembered of
 * a destination.
 */
#include "test_queue_relay_peer.h"

static void
the_recipients_of_a_message_at_one_domain_are_one_task(void **state)
{
	struct frame *frame;
	char text[8];

	(void)state;
	send_rcpt(ids[0], 1, "bob", "far.test");
	send_rcpt(ids[0], 2, "dave", "other.test");
	send_rcpt(ids[0], 3, "carol", "far.test");
	commit_message_of(ids[0]);
	run();
	assert_int_equal(count_tasks(), 2);
	frame = find_task_to("far.test");
	assert_non_null(frame);
	assert_int_equal(task.message_id, ids[0]);
	assert_string_equal(task.action, "out");
	assert_string_equal(task.sender.local, "erin");
	assert_int_equal(task.recipients, 2);
	assert_int_equal(task.size, 5);
	assert_int_equal(pread(frame->fd, text, sizeof(text), 0), 5);
	assert_memory_equal(text, "hello", 5);
	assert_string_equal(rcpt_of(frame, 0)->dest.local, "bob");
	assert_string_equal(rcpt_of(frame, 1)->dest.local, "carol");
	assert_int_equal(frame[1].id, frame->id);
	frame = find_task_to("other.test");
	assert_non_null(frame);
	assert_int_equal(task.recipients, 1);
	assert_string_equal(rcpt_of(frame, 0)->dest.local, "dave");
	assert_int_equal(queue.in_flight, 3);
}

static void
a_task_has_no_more_recipients_than_allowed(void **state)
{
	(void)state;
	queue.config->mta_recipients = 2;
	commit_many(ids[0], "far.test", 5);
	run();
	assert_int_equal(count_tasks(), 3);
	assert_non_null(find_task(1));
	assert_int_equal(task.recipients, 2);
	assert_non_null(find_task(2));
	assert_int_equal(task.recipients, 1);
	answer_all(250, RELAY_FAULT_NONE);
	assert_int_equal(queue.envelopes, 0);
}

static void
set_smarthosts(const char *hosts)
{
	struct action_config *action = calloc(1, sizeof(*action));

	assert_non_null(action);
	action->name = strdup("out");
	action->method = ACTION_RELAY;
	action->relay_hosts = strdup(hosts);
	config_complete_action(action);
	queue.config->actions = action;
	queue.config->action_count = 1;
}

static void
send_forwarded(uint32_t id, uint32_t number, const char *from, const char *to)
{
	struct envelope envelope;
	struct buf buf;

	memset(&envelope, 0, sizeof(envelope));
	envelope.kind = ENVELOPE_RELAY;
	envelope.id = envelope_id_make(id, number);
	assert_int_equal(address_parse(from, 0, &envelope.rcpt), ADDRESS_OK);
	assert_int_equal(address_parse(to, 0, &envelope.dest), ADDRESS_OK);
	strcpy(envelope.action, "out");
	buf_init(&buf, 16384);
	envelope_encode(&buf, &envelope);
	channel_send(listener.channel, LISTENER_QUEUE_ENVELOPE, 7, id, -1, &buf);
	buf_free(&buf);
}

static void
what_different_addresses_led_to_is_apart(void **state)
{
	char from[ADDRESS_TEXT_MAX + 1];
	unsigned seen = 0;

	(void)state;
	set_smarthosts("smtp://smart.test");
	queue.config->actions[0].relay_srs = true;
	free(queue.config->srs_key);
	queue.config->srs_key = strdup("secret");
	send_forwarded(ids[0], 1, "one@ours.test", "a@far.test");
	send_forwarded(ids[0], 2, "b@far.test", "b@far.test");
	send_forwarded(ids[0], 3, "ONE@ours.test", "c@other.test");
	send_forwarded(ids[0], 4, "two@ours.test", "d@far.test");
	send_forwarded(ids[0], 5, "e@other.test", "e@other.test");
	commit_message_of(ids[0]);
	run();
	assert_int_equal(count_tasks(), 3);
	for (size_t i = 0; find_task(i) != NULL; i++) {
		address_format(&task.forwarded, from, sizeof(from));
		if (strcasecmp(from, "one@ours.test") == 0 && task.recipients == 2)
			seen |= 1;
		if (strcmp(from, "two@ours.test") == 0 && task.recipients == 1)
			seen |= 2;
		if (*from == '\0' && task.recipients == 2)
			seen |= 4;
		assert_int_equal(strncmp(task.sender.local, "SRS0=", 5) == 0, *from != '\0');
		assert_string_equal(
		    task.sender.domain, *from != '\0' ? "ours.test" : "client.test");
	}
	assert_int_equal(seen, 7);
	answer_all(250, RELAY_FAULT_NONE);
	assert_int_equal(queue.envelopes, 0);
}

static void
smarthosts_get_all_domains_together(void **state)
{
	struct frame *frame;

	(void)state;
	set_smarthosts("smtp://smart.test");
	send_rcpt(ids[0], 1, "bob", "far.test");
	send_rcpt(ids[0], 2, "dave", "other.test");
	commit_message_of(ids[0]);
	run();
	assert_int_equal(count_tasks(), 1);
	frame = find_task(0);
	assert_int_equal(task.recipients, 2);
	assert_string_equal(rcpt_of(frame, 1)->dest.domain, "other.test");
	assert_string_equal(line_of(ids[0])->text, "via smtp://smart.test");
}

static void
without_the_smarthosts_domains_that_waited_for_them_are_apart(void **state)
{
	(void)state;
	set_smarthosts("smtp://smart.test");
	queue.mta_paused = true;
	send_rcpt(ids[0], 1, "bob", "far.test");
	send_rcpt(ids[0], 2, "dave", "other.test");
	commit_message_of(ids[0]);
	run();
	/* As by a reload. */
	*queue.config->actions[0].relay_hosts = '\0';
	queue.mta_paused = false;
	run();
	assert_int_equal(count_tasks(), 2);
	assert_non_null(find_task_to("far.test"));
	assert_non_null(find_task_to("other.test"));
}

static void
each_recipient_has_its_own_result(void **state)
{
	struct transaction transaction;
	struct envelope envelope;
	struct frame *frame;
	struct entry *entry;

	(void)state;
	commit_many(ids[0], "far.test", 3);
	run();
	frame = find_task(0);
	assert_non_null(frame);
	/* In any order. */
	send_result(frame, envelope_id_make(ids[0], 3), 550, RELAY_FAULT_NONE, false);
	send_result(frame, envelope_id_make(ids[0], 1), 250, RELAY_FAULT_NONE, false);
	send_result(frame, envelope_id_make(ids[0], 2), 450, RELAY_FAULT_NONE, false);
	send_done(frame, RELAY_FAULT_NONE, "");
	assert_null(index_find_entry(queue.index, envelope_id_make(ids[0], 1)));
	entry = index_find_entry(queue.index, envelope_id_make(ids[0], 3));
	assert_int_equal(entry->state, ENTRY_BOUNCING);
	assert_int_equal(queue.in_flight, 0);
	assert_int_equal(entry->line->in_flight, 0);
	assert_true(commit_now(&queue));
	close_queue();
	open_queue();
	assert_null(index_find_entry(queue.index, envelope_id_make(ids[0], 1)));
	entry = index_find_entry(queue.index, envelope_id_make(ids[0], 2));
	assert_non_null(entry);
	assert_int_equal(entry->tries, 1);
	assert_true(mail_load(&queue, entry, &transaction, &envelope));
	assert_int_equal(envelope.last_reply.code, 450);
	assert_string_equal(envelope.last_host, "mx.far.test");
}

/* Put off by one time, they come due in one second and are one task again. */
static void
those_that_are_put_off_together_are_tried_together(void **state)
{
	(void)state;
	commit_many(ids[0], "far.test", 50);
	run();
	assert_int_equal(count_tasks(), 1);
	answer_all(450, RELAY_FAULT_NONE);
	run();
	assert_int_equal(count_tasks(), 0);
	monotonic_ahead += 600;
	run();
	/* Two, should a second have begun between the results. */
	assert_in_range(count_tasks(), 1, 2);
	assert_int_equal(queue.in_flight, 50);
}

static void
ends_are_synced_soon_and_together(void **state)
{
	int64_t begun_ms;

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		commit_to(ids[i], "far.test");
	assert_true(commit_now(&queue));
	run();
	assert_int_equal(count_tasks(), 4);
	answer_all(250, RELAY_FAULT_NONE);
	assert_int_equal(queue.envelopes, 0);
	assert_true(journal_staged(queue.journal, JOURNAL_FIRST) > 0);
	for (begun_ms = clock_monotonic_ms(); clock_monotonic_ms() < begun_ms + 5000;) {
		turn();
		if (journal_staged(queue.journal, JOURNAL_FIRST) == 0)
			break;
		usleep(1000);
	}
	/* Far from the second that a delivery to a Maildir may take. */
	assert_true(clock_monotonic_ms() - begun_ms < 500);
	close_queue();
	open_queue();
	assert_int_equal(queue.envelopes, 0);
}

/* What can't be reached. */

static void
a_dead_destination_is_tried_by_one_message_at_a_time(void **state)
{
	struct line *line;

	(void)state;
	for (unsigned i = 0; i < 40; i++)
		commit_to(ids[i], "dead.test");
	run();
	assert_int_equal(count_tasks(), RELAY_WINDOW_FIRST);
	answer_all(451, RELAY_FAULT_DESTINATION);
	line = line_of(ids[39]);
	assert_true(destination_is_put_off(line));
	assert_int_equal(line->destination->failures, 1);
	run();
	assert_int_equal(count_tasks(), 0);
	/* Those that were tried wait on their own; the others in the line. */
	assert_int_equal(line->waiting, 40 - RELAY_WINDOW_FIRST);
	for (uint32_t failures = 2; failures < 6; failures++) {
		monotonic_ahead += 4 * 3600 + 4 * 3600 / 6;
		run();
		assert_int_equal(count_tasks(), 1);
		answer_all(451, RELAY_FAULT_DESTINATION);
		run();
		assert_int_equal(count_tasks(), 0);
		assert_int_equal(line->destination->failures, failures);
	}
	/* 400 s, 1.5 times longer each time, a sixth more or less. */
	assert_in_range(destination_until(line) - retry_now(), 400 * 5 * 5 / 6, 400 * 6);
	assert_true(is_logged("destination-put-off"));
}

static void
its_first_success_opens_the_window_again(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 40; i++)
		commit_to(ids[i], "dead.test");
	run();
	answer_all(451, RELAY_FAULT_DESTINATION);
	monotonic_ahead += 500;
	run();
	assert_int_equal(count_tasks(), 1);
	answer_all(250, RELAY_FAULT_NONE);
	assert_int_equal(destination_until(line_of(ids[39])), 0);
	run();
	assert_in_range(count_tasks(), RELAY_WINDOW_FIRST, RELAY_WINDOW_FIRST + 1);
	while (queue.envelopes > 0) {
		answer_all(250, RELAY_FAULT_NONE);
		run();
		assert_true(queue.envelopes == 0 || count_tasks() > 0);
	}
	assert_true(is_logged("destination-reached"));
}

/* They never were tried, and are told the sender with what the destination said to others. */
static void
what_waits_for_a_dead_destination_expires_in_time(void **state)
{
	struct transaction transaction;
	struct envelope envelope;
	struct entry *entry;

	(void)state;
	queue.config->bounce_warn_count = 0;
	for (unsigned i = 0; i < 40; i++)
		commit_to(ids[i], "dead.test");
	run();
	answer_all(451, RELAY_FAULT_DESTINATION);
	entry = index_find_entry(queue.index, envelope_id_make(ids[39], 1));
	assert_int_equal(entry->state, ENTRY_READY);
	assert_true(mail_load(&queue, entry, &transaction, &envelope));
	assert_int_equal(envelope.last_reply.code, 451);
	assert_int_equal(envelope.tries, 0);
	assert_true(envelope.next_try > clock_wall());
	monotonic_ahead += queue.config->queue_ttl;
	wall_ahead += queue.config->queue_ttl;
	run();
	assert_int_equal(entry->state, ENTRY_BOUNCING);
	assert_int_equal(entry->line->waiting, 0);
	assert_int_equal(count_tasks(), 0);
	assert_true(is_logged("the last answer was: 451 said so"));
}

static void
senders_of_what_waits_for_a_dead_destination_are_warned(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 10; i++)
		commit_to(ids[i], "dead.test");
	run();
	answer_all(451, RELAY_FAULT_DESTINATION);
	queue.mta_paused = true;
	monotonic_ahead += 4 * 3600 + 10;
	wall_ahead += 4 * 3600 + 10;
	run();
	assert_int_equal(index_find_entry(queue.index, envelope_id_make(ids[9], 1))->warned, 1);
	assert_int_equal(
	    index_find_entry(queue.index, envelope_id_make(ids[9], 1))->state, ENTRY_READY);
}

static void
this_host_s_own_faults_put_a_line_off_for_less(void **state)
{
	struct line *line;

	(void)state;
	commit_to(ids[0], "far.test");
	run();
	answer_all(451, RELAY_FAULT_OURS);
	line = line_of(ids[0]);
	assert_in_range(destination_until(line) - retry_now(), 1, 40);
}

static void
a_host_that_only_refuses_recipients_is_not_put_off(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 10; i++)
		commit_to(ids[i], "far.test");
	run();
	answer_all(450, RELAY_FAULT_NONE);
	run();
	assert_int_equal(count_tasks(), RELAY_WINDOW_FIRST);
	assert_false(destination_is_put_off(line_of(ids[9])));
}

static void
dead_destinations_leave_room_for_others(void **state)
{
	char domain[32];

	(void)state;
	/* 300 of them, with more messages each than their windows let go. */
	for (unsigned i = 0; i < 6; i++) {
		for (unsigned k = 0; k < 300; k++) {
			snprintf(domain, sizeof(domain), "dead%u.test", k);
			send_rcpt(ids[i], k + 1, "bob", domain);
		}
		commit_message_of(ids[i]);
		run();
		forget_frames(&relay);
	}
	assert_int_equal(queue.in_flight, 300 * RELAY_WINDOW_FIRST);
	for (unsigned i = 6; i < 60; i++) {
		commit_to(ids[i], "live.test");
		run();
		assert_int_equal(count_tasks(), 1);
		answer_all(250, RELAY_FAULT_NONE);
	}
	assert_int_equal(queue.in_flight, 300 * RELAY_WINDOW_FIRST);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		RELAY_TEST(the_recipients_of_a_message_at_one_domain_are_one_task),
		RELAY_TEST(a_task_has_no_more_recipients_than_allowed),
		RELAY_TEST(what_different_addresses_led_to_is_apart),
		RELAY_TEST(smarthosts_get_all_domains_together),
		RELAY_TEST(without_the_smarthosts_domains_that_waited_for_them_are_apart),
		RELAY_TEST(each_recipient_has_its_own_result),
		RELAY_TEST(those_that_are_put_off_together_are_tried_together),
		RELAY_TEST(ends_are_synced_soon_and_together),
		RELAY_TEST(a_dead_destination_is_tried_by_one_message_at_a_time),
		RELAY_TEST(its_first_success_opens_the_window_again),
		RELAY_TEST(what_waits_for_a_dead_destination_expires_in_time),
		RELAY_TEST(senders_of_what_waits_for_a_dead_destination_are_warned),
		RELAY_TEST(this_host_s_own_faults_put_a_line_off_for_less),
		RELAY_TEST(a_host_that_only_refuses_recipients_is_not_put_off),
		RELAY_TEST(dead_destinations_leave_room_for_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
