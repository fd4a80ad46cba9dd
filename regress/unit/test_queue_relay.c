/*
 * Mail to other hosts, with a relay that the test plays: what it is given, what becomes of its
 * answers, and what is remembered of a destination.
 */
#include "common/ipc_control.h"
#include "queue/control.h"
#include "queue/relay_memory.h"
#include "queue/retry.h"
#define FRAMES 4096
#include "test_queue_peers.h"

static struct end relay;
static struct ipc_relay_message task;
static struct ipc_relay_rcpt rcpt;

static void
forget_frames(struct end *end)
{
	for (size_t i = 0; i < end->count; i++) {
		if (end->frames[i].fd != -1)
			close(end->frames[i].fd);
	}
	end->count = 0;
}

static void
run(void)
{
	delivery_due(&queue);
	delivery_look_again(&queue);
	delivery_run(&queue);
	turn();
}

static int
set_up_relay(void **state)
{
	if (set_up(state) != 0)
		return -1;
	relay_set_channel(&queue, connect_end(&relay));
	return 0;
}

static int
tear_down_relay(void **state)
{
	drop_end(&relay);
	return tear_down(state);
}

static void
restart_relay(void)
{
	drop_end(&relay);
	turn();
	relay_set_channel(&queue, connect_end(&relay));
	run();
}

/* Messages. */

static void
send_rcpt(uint32_t id, uint32_t number, const char *local, const char *domain)
{
	struct envelope envelope;
	struct buf buf;

	memset(&envelope, 0, sizeof(envelope));
	envelope.kind = ENVELOPE_RELAY;
	envelope.id = envelope_id_make(id, number);
	strcpy(envelope.rcpt.local, local);
	strcpy(envelope.rcpt.domain, domain);
	envelope.dest = envelope.rcpt;
	strcpy(envelope.action, "out");
	envelope.dsn_notify = notify;
	buf_init(&buf, 16384);
	envelope_encode(&buf, &envelope);
	channel_send(listener.channel, LISTENER_QUEUE_ENVELOPE, 7, id, -1, &buf);
	buf_free(&buf);
}

static void
commit_message_of(uint32_t id)
{
	send_commit(id, 5, make_memfd("hello", true));
	turn();
	forget_frames(&listener);
}

static void
commit_to(uint32_t id, const char *domain)
{
	send_rcpt(id, 1, "bob", domain);
	commit_message_of(id);
}

/* To bob0, bob1, … at one domain. */
static void
commit_many(uint32_t id, const char *domain, uint32_t count)
{
	char local[16];

	for (uint32_t i = 0; i < count; i++) {
		snprintf(local, sizeof(local), "bob%u", i);
		send_rcpt(id, i + 1, local, domain);
	}
	commit_message_of(id);
}

/* Tasks. */

/* The n-th task given since the frames were forgotten; its fields in `task`. */
static struct frame *
find_task(size_t n)
{
	struct buf_reader reader;

	turn();
	for (size_t i = 0; i < relay.count; i++) {
		if (relay.frames[i].type != QUEUE_RELAY_MESSAGE || n-- > 0)
			continue;
		buf_reader_init(&reader, relay.frames[i].payload, relay.frames[i].length);
		assert_true(ipc_relay_message_decode(&reader, &task));
		return &relay.frames[i];
	}
	return NULL;
}

static struct frame *
find_task_to(const char *domain)
{
	struct frame *frame;

	for (size_t n = 0; (frame = find_task(n)) != NULL; n++) {
		if (strcmp(task.domain, domain) == 0)
			return frame;
	}
	return NULL;
}

static size_t
count_tasks(void)
{
	size_t count = 0;

	while (find_task(count) != NULL)
		count++;
	return count;
}

static const struct ipc_relay_rcpt *
rcpt_of(const struct frame *frame, size_t n)
{
	struct buf_reader reader;

	frame += 1 + n;
	assert_int_equal(frame->type, QUEUE_RELAY_RCPT);
	buf_reader_init(&reader, frame->payload, frame->length);
	assert_true(ipc_relay_rcpt_decode(&reader, &rcpt));
	return &rcpt;
}

static void
send_result(const struct frame *frame, uint64_t envelope_id, unsigned code, enum relay_fault fault,
    bool dsn_taken)
{
	struct ipc_relay_result result;
	struct buf buf;

	memset(&result, 0, sizeof(result));
	result.envelope_id = envelope_id;
	reply_set(&result.reply, code, "", "said so");
	result.fault = fault;
	result.remote = fault == RELAY_FAULT_NONE;
	result.dsn_taken = dsn_taken;
	if (result.remote)
		strcpy(result.host, "mx.far.test");
	buf_init(&buf, 16384);
	ipc_relay_result_encode(&buf, &result);
	channel_send(relay.channel, RELAY_QUEUE_RESULT, frame->id, 0, -1, &buf);
	buf_free(&buf);
}

static void
send_done(const struct frame *frame, enum relay_fault fault, const char *dialogue)
{
	static struct ipc_relay_done done;
	struct buf buf;

	memset(&done, 0, sizeof(done));
	done.fault = fault;
	strcpy(done.dialogue, dialogue);
	buf_init(&buf, 16384);
	ipc_relay_done_encode(&buf, &done);
	channel_send(relay.channel, RELAY_QUEUE_DONE, frame->id, 0, -1, &buf);
	buf_free(&buf);
	turn();
}

/* All recipients of a task end alike. */
static void
answer_task(const struct frame *frame, unsigned code, enum relay_fault fault)
{
	struct buf_reader reader;

	buf_reader_init(&reader, frame->payload, frame->length);
	assert_true(ipc_relay_message_decode(&reader, &task));
	for (uint32_t i = 0; i < task.recipients; i++)
		send_result(frame, rcpt_of(frame, i)->envelope_id, code, fault, false);
	send_done(frame, fault, fault == RELAY_FAULT_NONE ? "" : "far.test: can't connect\n");
}

static void
answer_all(unsigned code, enum relay_fault fault)
{
	struct frame *frame;

	for (size_t n = 0; (frame = find_task(n)) != NULL; n++)
		answer_task(frame, code, fault);
	forget_frames(&relay);
}

static struct line *
line_of(uint32_t id)
{
	struct message *message = index_find(queue.index, id);

	assert_non_null(message);
	return message->entries[0].line;
}

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

/* Asked for. */

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

/* The relay itself. */

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

/* Reports. */

static char *
read_report(uint32_t about)
{
	static char text[65536];
	int64_t end_ms = clock_monotonic_ms() + 5000;
	struct message *message = NULL;
	ssize_t length;

	while (clock_monotonic_ms() < end_ms) {
		for (message = index_from(queue.index, 0); message != NULL;
		     message = index_next(queue.index, message)) {
			if (message->id == about)
				continue;
			length = mail_read(&queue, message, text, sizeof(text) - 1);
			assert_true(length > 0);
			text[length] = '\0';
			return text;
		}
		bounce_tick(&queue);
		turn();
		usleep(5000);
	}
	return NULL;
}

static void
a_refusal_is_reported_with_the_host_that_said_so(void **state)
{
	const char *text;

	(void)state;
	commit_to(ids[0], "far.test");
	run();
	answer_all(550, RELAY_FAULT_NONE);
	text = read_report(ids[0]);
	assert_non_null(text);
	assert_non_null(strstr(text, "\r\nAction: failed\r\n"));
	assert_non_null(strstr(text, "\r\nRemote-MTA: dns; mx.far.test\r\n"));
	assert_non_null(strstr(text, "\r\nDiagnostic-Code: smtp; 550 said so\r\n"));
	assert_null(index_find(queue.index, ids[0]));
}

static void
answer_success(uint32_t id, bool dsn_taken)
{
	struct frame *frame;

	notify = DSN_NOTIFY_SUCCESS;
	commit_to(id, "far.test");
	run();
	frame = find_task(0);
	assert_non_null(frame);
	assert_int_equal(rcpt_of(frame, 0)->dsn_notify, DSN_NOTIFY_SUCCESS);
	send_result(frame, envelope_id_make(id, 1), 250, RELAY_FAULT_NONE, dsn_taken);
	send_done(frame, RELAY_FAULT_NONE, "");
	forget_frames(&relay);
}

static void
a_success_is_reported_as_relayed(void **state)
{
	const char *text;

	(void)state;
	answer_success(ids[0], false);
	text = read_report(ids[0]);
	assert_non_null(text);
	assert_non_null(strstr(text, "\r\nAction: relayed\r\nStatus: 2.0.0\r\n"));
	assert_non_null(strstr(text, "\r\nRemote-MTA: dns; mx.far.test\r\n"));
	assert_null(strstr(text, "Diagnostic-Code"));
	assert_null(index_find(queue.index, ids[0]));
}

static void
a_success_owed_after_a_crash_is_reported_as_relayed(void **state)
{
	const char *text;

	(void)state;
	answer_success(ids[0], false);
	assert_true(commit_now(&queue));
	close_queue();
	open_queue();
	text = read_report(ids[0]);
	assert_non_null(text);
	assert_non_null(strstr(text, "\r\nAction: relayed\r\n"));
	assert_non_null(strstr(text, "\r\nRemote-MTA: dns; mx.far.test\r\n"));
}

static void
the_next_host_reports_what_it_has_taken_the_report_of(void **state)
{
	(void)state;
	answer_success(ids[0], true);
	assert_int_equal(queue.envelopes, 0);
}

static void
what_needs_tls_is_returned_without_its_text_and_with_the_same_need(void **state)
{
	struct transaction transaction = {
		.message_id = ids[0],
		.created_us = clock_wall_us(),
		.size = 11,
		.sender = { "erin", "client.test" },
		.require_tls = true,
		.eight_bit = true,
		.dsn_return = DSN_RETURN_FULL,
	};
	struct message *report;
	struct envelope envelope;
	const char *text;
	struct buf buf;

	(void)state;
	send_rcpt(ids[0], 1, "bob", "far.test");
	buf_init(&buf, 16384);
	transaction_encode(&buf, &transaction);
	channel_send(listener.channel, LISTENER_QUEUE_COMMIT, 7, ids[0],
	    make_memfd("A: b\r\n\r\n\xff\r\n", true), &buf);
	buf_free(&buf);
	turn();
	run();
	assert_non_null(find_task(0));
	assert_true(task.require_tls);
	assert_true(task.eight_bit);
	answer_all(550, RELAY_FAULT_NONE);
	text = read_report(ids[0]);
	assert_non_null(text);
	/* RFC 8689 5 */
	assert_non_null(strstr(text, "text/rfc822-headers"));
	assert_null(strstr(text, "\xff"));
	report = index_from(queue.index, 0);
	assert_true(mail_load(&queue, &report->entries[0], &transaction, &envelope));
	assert_true(transaction.is_bounce);
	assert_true(transaction.require_tls);
	assert_false(transaction.eight_bit);
}

static void
the_postmaster_reads_the_dialogue(void **state)
{
	struct transaction transaction = {
		.message_id = ids[0], .created_us = clock_wall_us(), .size = 5
	};
	struct frame *frame;
	const char *text;
	struct buf buf;

	(void)state;
	send_rcpt(ids[0], 1, "bob", "far.test");
	buf_init(&buf, 16384);
	transaction_encode(&buf, &transaction); /* the null sender's */
	channel_send(
	    listener.channel, LISTENER_QUEUE_COMMIT, 7, ids[0], make_memfd("hello", true), &buf);
	buf_free(&buf);
	turn();
	run();
	frame = find_task(0);
	assert_non_null(frame);
	send_result(frame, envelope_id_make(ids[0], 1), 550, RELAY_FAULT_NONE, false);
	send_done(frame, RELAY_FAULT_NONE,
	    "mx.far.test: >>> RCPT TO:<bob@far.test>\nmx.far.test: <<< 550 \x01said so\n");
	text = read_report(ids[0]);
	assert_non_null(text);
	assert_non_null(strstr(text,
	    "\r\n    mx.far.test: >>> RCPT TO:<bob@far.test>\r\n"
	    "    mx.far.test: <<< 550 ?said so\r\n"));
}

static void
dialogues_are_kept_up_to_a_bound(void **state)
{
	static char dialogue[IPC_RELAY_DIALOGUE_MAX + 1];
	struct dialogues dialogues = { NULL, NULL, 0 };
	struct line *lines = calloc(1000, sizeof(struct line));

	(void)state;
	assert_non_null(lines);
	memset(dialogue, 'x', sizeof(dialogue) - 1);
	for (unsigned i = 0; i < 1000; i++) {
		destination_keep_dialogue(&dialogues, &lines[i], dialogue);
		assert_true(dialogues.bytes <= DIALOGUES_MAX);
		assert_string_equal(destination_dialogue(&lines[i]), dialogue);
	}
	assert_null(destination_dialogue(&lines[0]));
	assert_non_null(destination_dialogue(&lines[600]));
	/* A new one takes the old one's place. */
	destination_keep_dialogue(&dialogues, &lines[600], "short");
	assert_string_equal(destination_dialogue(&lines[600]), "short");
	for (unsigned i = 0; i < 1000; i++)
		destination_forget(&dialogues, &lines[i]);
	assert_int_equal(dialogues.bytes, 0);
	assert_null(dialogues.oldest);
	assert_null(dialogues.newest);
	free(lines);
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
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up_relay, tear_down_relay)
	const struct CMUnitTest tests[] = {
		TEST(the_recipients_of_a_message_at_one_domain_are_one_task),
		TEST(a_task_has_no_more_recipients_than_allowed),
		TEST(what_different_addresses_led_to_is_apart),
		TEST(smarthosts_get_all_domains_together),
		TEST(without_the_smarthosts_domains_that_waited_for_them_are_apart),
		TEST(each_recipient_has_its_own_result),
		TEST(those_that_are_put_off_together_are_tried_together),
		TEST(ends_are_synced_soon_and_together),
		TEST(a_dead_destination_is_tried_by_one_message_at_a_time),
		TEST(its_first_success_opens_the_window_again),
		TEST(what_waits_for_a_dead_destination_expires_in_time),
		TEST(senders_of_what_waits_for_a_dead_destination_are_warned),
		TEST(this_host_s_own_faults_put_a_line_off_for_less),
		TEST(a_host_that_only_refuses_recipients_is_not_put_off),
		TEST(dead_destinations_leave_room_for_others),
		TEST(lines_are_listed_with_what_is_known_of_them),
		TEST(lines_are_listed_in_portions),
		TEST(an_envelope_is_shown_with_its_destination_s_dialogue),
		TEST(schedule_tries_what_is_put_off),
		TEST(pauses_hold_all_or_one_domain),
		TEST(what_is_removed_in_flight_is_gone_when_it_fails),
		TEST(what_was_not_begun_comes_back_at_the_end),
		TEST(what_was_removed_in_flight_does_not_come_back),
		TEST(what_was_removed_in_flight_is_held_after_a_crash),
		TEST(a_relay_that_comes_to_no_end_is_replaced),
		TEST(a_dead_relay_s_tasks_are_tried_again_a_few_times),
		TEST(results_given_before_it_died_count),
		TEST(it_can_not_answer_for_what_it_was_not_given),
		TEST(it_can_not_answer_twice),
		TEST(it_can_not_end_a_task_before_all_results),
		TEST(it_can_not_end_a_task_twice),
		TEST(a_refusal_is_reported_with_the_host_that_said_so),
		TEST(a_success_is_reported_as_relayed),
		TEST(a_success_owed_after_a_crash_is_reported_as_relayed),
		TEST(the_next_host_reports_what_it_has_taken_the_report_of),
		TEST(what_needs_tls_is_returned_without_its_text_and_with_the_same_need),
		TEST(the_postmaster_reads_the_dialogue),
		TEST(dialogues_are_kept_up_to_a_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
