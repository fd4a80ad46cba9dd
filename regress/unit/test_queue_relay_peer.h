/*
 * The queue with a relay that the test plays: what it is given, and what it answers.
 */
#ifndef TEST_QUEUE_RELAY_PEER_H
#define TEST_QUEUE_RELAY_PEER_H

#include "common/ipc_control.h"
#include "queue/control.h"
#include "queue/relay_memory.h"
#include "queue/retry.h"
#define FRAMES 4096
#include "test_queue_peers.h"

static struct end relay;
static struct ipc_relay_message task;
static struct ipc_relay_rcpt rcpt;

__attribute__((unused)) static void
forget_frames(struct end *end)
{
	for (size_t i = 0; i < end->count; i++) {
		if (end->frames[i].fd != -1)
			close(end->frames[i].fd);
	}
	end->count = 0;
}

__attribute__((unused)) static void
run(void)
{
	delivery_due(&queue);
	delivery_look_again(&queue);
	delivery_run(&queue);
	turn();
}

__attribute__((unused)) static int
set_up_relay(void **state)
{
	if (set_up(state) != 0)
		return -1;
	relay_set_channel(&queue, connect_end(&relay));
	return 0;
}

__attribute__((unused)) static int
tear_down_relay(void **state)
{
	drop_end(&relay);
	return tear_down(state);
}

__attribute__((unused)) static void
restart_relay(void)
{
	drop_end(&relay);
	turn();
	relay_set_channel(&queue, connect_end(&relay));
	run();
}

/* Messages. */

__attribute__((unused)) static void
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

__attribute__((unused)) static void
commit_message_of(uint32_t id)
{
	send_commit(id, 5, make_memfd("hello", true));
	turn();
	forget_frames(&listener);
}

__attribute__((unused)) static void
commit_to(uint32_t id, const char *domain)
{
	send_rcpt(id, 1, "bob", domain);
	commit_message_of(id);
}

/* To bob0, bob1, … at one domain. */
__attribute__((unused)) static void
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
__attribute__((unused)) static struct frame *
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

__attribute__((unused)) static struct frame *
find_task_to(const char *domain)
{
	struct frame *frame;

	for (size_t n = 0; (frame = find_task(n)) != NULL; n++) {
		if (strcmp(task.domain, domain) == 0)
			return frame;
	}
	return NULL;
}

__attribute__((unused)) static size_t
count_tasks(void)
{
	size_t count = 0;

	while (find_task(count) != NULL)
		count++;
	return count;
}

__attribute__((unused)) static const struct ipc_relay_rcpt *
rcpt_of(const struct frame *frame, size_t n)
{
	struct buf_reader reader;

	frame += 1 + n;
	assert_int_equal(frame->type, QUEUE_RELAY_RCPT);
	buf_reader_init(&reader, frame->payload, frame->length);
	assert_true(ipc_relay_rcpt_decode(&reader, &rcpt));
	return &rcpt;
}

__attribute__((unused)) static void
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

__attribute__((unused)) static void
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
__attribute__((unused)) static void
answer_task(const struct frame *frame, unsigned code, enum relay_fault fault)
{
	struct buf_reader reader;

	buf_reader_init(&reader, frame->payload, frame->length);
	assert_true(ipc_relay_message_decode(&reader, &task));
	for (uint32_t i = 0; i < task.recipients; i++)
		send_result(frame, rcpt_of(frame, i)->envelope_id, code, fault, false);
	send_done(frame, fault, fault == RELAY_FAULT_NONE ? "" : "far.test: can't connect\n");
}

__attribute__((unused)) static void
answer_all(unsigned code, enum relay_fault fault)
{
	struct frame *frame;

	for (size_t n = 0; (frame = find_task(n)) != NULL; n++)
		answer_task(frame, code, fault);
	forget_frames(&relay);
}

__attribute__((unused)) static struct line *
line_of(uint32_t id)
{
	struct message *message = index_find(queue.index, id);

	assert_non_null(message);
	return message->entries[0].line;
}

#define RELAY_TEST(name) cmocka_unit_test_setup_teardown(name, set_up_relay, tear_down_relay)

#endif
