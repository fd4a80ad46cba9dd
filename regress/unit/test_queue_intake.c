/*
 * The queue from outside: a listener, a directory, an mda and a supervisor that this test plays,
 * over real channels. What breaks the rules costs its sender the channel and the queue nothing.
 */
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "common/child.h"
#include "common/clock.h"
#include "common/ipc_listener_queue.h"
#include "common/ipc_queue_mda.h"
#include "common/ipc_supervisor.h"
#include "common/log.h"
#include "queue/bounce.h"
#include "queue/commit.h"
#include "queue/delivery.h"
#include "queue/intake.h"
#include "queue/mail.h"
#include "queue/mda.h"

#define FRAMES 256

struct frame {
	uint16_t type;
	uint32_t id;
	uint32_t peer;
	int fd;
	size_t length;
	uint8_t payload[IMSG_PAYLOAD_MAX];
};

/* Our end of a channel, and what has come on it. */
struct end {
	struct channel *channel;
	bool closed;
	struct frame *frames;
	size_t count;
};

static char path[64];
static struct queue queue;
static struct end listener, supervisor, mda;
static uint32_t ids[64];

/* What queue.c does in the program. */

void
queue_set_timer(struct queue *q)
{
	(void)q;
}

void
queue_count(struct queue *q)
{
	(void)q;
}

void
queue_run_soon(struct queue *q)
{
	(void)q;
}

/* Every recipient is an alias for one command. */
static void
answer_rcpt(struct queue *q, struct question *question)
{
	struct imsg imsg = { .type = DIRECTORY_TARGET, .fd = -1 };
	struct ipc_target target;
	struct reply reply;
	struct buf buf;

	memset(&target, 0, sizeof(target));
	target.kind = ENVELOPE_PIPE;
	strcpy(target.dest.local, "alice");
	strcpy(target.dest.domain, "example.test");
	strcpy(target.action, "in");
	strcpy(target.command, "/usr/bin/allowed");
	buf_init(&buf, 16384);
	ipc_target_encode(&buf, &target);
	imsg.payload = buf.data;
	imsg.length = buf.length;
	question->answer(q, question, &imsg);
	buf_clear(&buf);
	reply_set(&reply, 250, "2.1.5", "ok");
	reply_encode(&buf, &reply);
	imsg.type = DIRECTORY_RCPT_DONE;
	imsg.payload = buf.data;
	imsg.length = buf.length;
	question->answer(q, question, &imsg);
	buf_free(&buf);
}

void
queue_ask_directory(
    struct queue *q, struct question *question, enum ipc_directory_type type, unsigned deadline_ms)
{
	struct ipc_mailbox mailbox;
	struct imsg imsg = { .type = DIRECTORY_MAILBOX_DONE, .fd = -1 };
	struct buf buf;

	(void)deadline_ms;
	if (type == DIRECTORY_RCPT) {
		answer_rcpt(q, question);
		return;
	}
	assert_int_equal(type, DIRECTORY_MAILBOX);
	memset(&mailbox, 0, sizeof(mailbox));
	reply_set(&mailbox.reply, 250, "2.0.0", "ok");
	mailbox.uid = mailbox.gid = 1000;
	strcpy(mailbox.user, "alice");
	strcpy(mailbox.path, "/home/alice/Maildir");
	buf_init(&buf, 16384);
	ipc_mailbox_encode(&buf, &mailbox);
	imsg.payload = buf.data;
	imsg.length = buf.length;
	question->answer(q, question, &imsg);
	buf_free(&buf);
}

static void
on_frame(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct end *end = arg;
	struct frame *frame = &end->frames[end->count];

	(void)channel;
	assert_true(end->count < FRAMES);
	end->count++;
	frame->type = imsg->type;
	frame->id = imsg->id;
	frame->peer = imsg->peer;
	frame->fd = imsg->fd;
	imsg->fd = -1;
	frame->length = imsg->length;
	if (imsg->length > 0)
		memcpy(frame->payload, imsg->payload, imsg->length);
}

static void
on_closed(struct channel *channel, const char *why, void *arg)
{
	struct end *end = arg;

	(void)why;
	channel_free(channel);
	end->channel = NULL;
	end->closed = true;
}

/* Returns the queue's end. */
static int
connect_end(struct end *end)
{
	int fds[2];

	memset(end, 0, sizeof(*end));
	end->frames = calloc(FRAMES, sizeof(struct frame));
	assert_non_null(end->frames);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	end->channel = channel_new(queue.base, "test", fds[0], on_frame, on_closed, end);
	return fds[1];
}

static void
drop_end(struct end *end)
{
	for (size_t i = 0; i < end->count; i++) {
		if (end->frames[i].fd != -1)
			close(end->frames[i].fd);
	}
	channel_free(end->channel);
	free(end->frames);
	memset(end, 0, sizeof(*end));
}

static void
turn(void)
{
	for (unsigned i = 0; i < 20; i++)
		event_base_loop(queue.base, EVLOOP_NONBLOCK);
}

/* The next frame of this type, looked for from the first; NULL when there is none. */
static struct frame *
find_frame(struct end *end, uint16_t type, uint32_t id)
{
	turn();
	for (size_t i = 0; i < end->count; i++) {
		if (end->frames[i].type == type && (id == 0 || end->frames[i].id == id))
			return &end->frames[i];
	}
	return NULL;
}

static void
on_supervisor(struct channel *channel, struct imsg *imsg, void *arg)
{
	(void)channel;
	(void)arg;
	if (imsg->type == SUPERVISOR_QUEUE_MDA_STARTED)
		mda_started(&queue, imsg);
}

static void
on_supervisor_closed(struct channel *channel, const char *why, void *arg)
{
	(void)channel;
	(void)why;
	(void)arg;
}

static void
open_queue(void)
{
	struct journal_options options = { 1024 * 1024, 0 };
	struct journal_handler handler;

	queue.index = index_new();
	queue.scheduler = scheduler_new();
	bounce_open(&queue);
	assert_int_equal(spool_open(&queue.spool, path), SPOOL_OK);
	mail_handler(&queue, &handler);
	handler.batch_done = commit_batch_done;
	assert_int_equal(
	    journal_open(&queue.journal, &queue.spool, &options, &handler), JOURNAL_OPENED);
	commit_open(&queue);
	intake_open(&queue);
	mda_open(&queue);
	queue.kept_limit = 100;
	queue.phase = QUEUE_RUNNING;
}

/* As a crash: nothing is written. */
static void
close_queue(void)
{
	struct message *message;

	intake_close(&queue);
	mda_close(&queue);
	commit_close(&queue);
	while ((message = index_from(queue.index, 0)) != NULL) {
		for (uint32_t i = 0; i < message->count; i++)
			scheduler_detach(queue.scheduler, &message->entries[i]);
		mail_drop_first_try(&queue, message);
		index_remove(queue.index, message);
	}
	bounce_close(&queue);
	scheduler_free(queue.scheduler);
	index_free(queue.index);
	journal_close(queue.journal);
	spool_close(&queue.spool);
	queue.journal = NULL;
	queue.envelopes = queue.in_flight = 0;
}

static void
ask_ids(uint32_t count)
{
	struct ipc_ids given;
	struct buf_reader reader;
	struct frame *frame;
	struct buf buf;

	buf_init(&buf, 64);
	ipc_ids_request_encode(&buf, count);
	channel_send(listener.channel, LISTENER_QUEUE_IDS, 1, 0, -1, &buf);
	buf_free(&buf);
	frame = find_frame(&listener, QUEUE_LISTENER_IDS, 1);
	assert_non_null(frame);
	buf_reader_init(&reader, frame->payload, frame->length);
	assert_true(ipc_ids_decode(&reader, &given));
	assert_int_equal(given.count, count);
	frame->type = 0;
	memcpy(ids, given.ids, count * sizeof(ids[0]));
}

static int
set_up(void **state)
{
	int fd;

	(void)state;
	memset(&queue, 0, sizeof(queue));
	strcpy(path,
	    access("/dev/shm", W_OK) == 0 ? "/dev/shm/test-intake-XXXXXX"
	                                  : "/tmp/test-intake-XXXXXX");
	if (mkdtemp(path) == NULL)
		return -1;
	log_open("test", LOG_TARGET_STDERR, open("/dev/null", O_WRONLY));
	queue.base = child_event_base();
	queue.config = config_new();
	buf_init(&queue.payload, IMSG_PAYLOAD_MAX);
	fd = connect_end(&supervisor);
	queue.supervisor =
	    channel_new(queue.base, "supervisor", fd, on_supervisor, on_supervisor_closed, NULL);
	open_queue();
	intake_set_listener(&queue, 0, connect_end(&listener));
	assert_non_null(find_frame(&listener, QUEUE_LISTENER_STATE, 0));
	ask_ids(64);
	return 0;
}

static int
tear_down(void **state)
{
	char command[128];

	(void)state;
	drop_end(&listener);
	drop_end(&mda);
	close_queue();
	channel_free(queue.supervisor);
	drop_end(&supervisor);
	config_free(queue.config);
	buf_free(&queue.payload);
	event_base_free(queue.base);
	snprintf(command, sizeof(command), "rm -rf '%s'", path);
	return system(command);
}

/* A message as an honest listener sends it, in parts that tests replace. */

static void
send_envelope_of(uint32_t id, uint32_t number, enum envelope_kind kind, const char *command)
{
	struct envelope envelope;
	struct buf buf;

	memset(&envelope, 0, sizeof(envelope));
	envelope.kind = kind;
	strcpy(envelope.command, command);
	envelope.id = envelope_id_make(id, number);
	strcpy(envelope.rcpt.local, "alice");
	strcpy(envelope.rcpt.domain, "example.test");
	envelope.dest = envelope.rcpt;
	strcpy(envelope.action, "in");
	buf_init(&buf, 16384);
	envelope_encode(&buf, &envelope);
	channel_send(listener.channel, LISTENER_QUEUE_ENVELOPE, 7, id, -1, &buf);
	buf_free(&buf);
}

static void
send_envelope(uint32_t id, uint32_t number)
{
	send_envelope_of(id, number, ENVELOPE_MAILDIR, "");
}

static int
make_memfd(const char *text, bool sealed)
{
	int fd = memfd_create("message", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	assert_true(fd != -1);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	if (sealed)
		assert_int_equal(
		    fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW), 0);
	return fd;
}

static void
send_commit(uint32_t id, uint64_t size, int fd)
{
	struct transaction transaction = {
		.message_id = id, .created_us = 1700000000000000, .size = size
	};
	struct buf buf;

	strcpy(transaction.sender.local, "erin");
	strcpy(transaction.sender.domain, "client.test");
	buf_init(&buf, 16384);
	transaction_encode(&buf, &transaction);
	channel_send(listener.channel, LISTENER_QUEUE_COMMIT, 7, id, fd, &buf);
	buf_free(&buf);
}

static void
a_committed_message_is_answered_and_there_after_a_crash(void **state)
{
	(void)state;
	send_envelope(ids[0], 1);
	send_envelope(ids[0], 2);
	send_commit(ids[0], 5, make_memfd("hello", true));
	assert_non_null(find_frame(&listener, QUEUE_LISTENER_COMMITTED, 7));
	assert_int_equal(find_frame(&listener, QUEUE_LISTENER_COMMITTED, 7)->peer, ids[0]);
	close_queue();
	open_queue();
	assert_non_null(index_find(queue.index, ids[0]));
	assert_int_equal(queue.envelopes, 2);
	assert_true(index_find_entry(queue.index, envelope_id_make(ids[0], 1))->maybe_delivered);
}

/* Input that never ends, as a flood of frames would be, until request 7 is answered. */
static void
on_flood(int fd, short what, void *arg)
{
	const int64_t *end_ms = arg;

	(void)fd;
	(void)what;
	if ((listener.count > 0 && listener.frames[listener.count - 1].id == 7) ||
	    clock_monotonic_ms() > *end_ms)
		event_base_loopbreak(queue.base);
}

static void
steady_input_does_not_put_a_commit_off(void **state)
{
	int64_t end_ms = clock_monotonic_ms() + 5000;
	struct event *flood;
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	flood = event_new(queue.base, fds[0], EV_READ | EV_PERSIST, on_flood, &end_ms);
	assert_non_null(flood);
	assert_int_equal(event_priority_set(flood, 0), 0);
	assert_int_equal(event_add(flood, NULL), 0);
	send_envelope(ids[0], 1);
	send_commit(ids[0], 5, make_memfd("hello", true));
	assert_int_equal(event_base_dispatch(queue.base), 0);
	assert_int_equal(listener.frames[listener.count - 1].id, 7);
	assert_int_equal(listener.frames[listener.count - 1].type, QUEUE_LISTENER_COMMITTED);
	event_free(flood);
	close(fds[0]);
	close(fds[1]);
}

static void
a_message_put_off_by_a_crash_before_commit_is_not_there(void **state)
{
	(void)state;
	send_envelope(ids[0], 1);
	turn();
	close_queue();
	open_queue();
	assert_int_equal(index_messages(queue.index), 0);
}

/* The supervisor is told, so that it ends the process that lives on without its channel. */
static void
assert_reported(void)
{
	struct frame *frame = find_frame(&supervisor, CHILD_SUPERVISOR_REJECTED, 0);
	struct buf_reader reader;
	struct ipc_peer peer;

	assert_non_null(frame);
	buf_reader_init(&reader, frame->payload, frame->length);
	assert_true(ipc_peer_decode(&reader, &peer));
	assert_int_equal(peer.program, PROGRAM_LISTENER);
	assert_int_equal(peer.instance, 0);
	frame->type = 0;
}

static void
assert_rejected(void)
{
	turn();
	assert_true(listener.closed);
	assert_reported();
	assert_int_equal(index_messages(queue.index), 0);
	/* Another one is served as before. */
	drop_end(&listener);
	intake_set_listener(&queue, 0, connect_end(&listener));
	ask_ids(1);
	send_envelope(ids[0], 1);
	send_commit(ids[0], 5, make_memfd("hello", true));
	assert_non_null(find_frame(&listener, QUEUE_LISTENER_COMMITTED, 7));
}

static void
an_id_that_was_not_given_out_is_refused(void **state)
{
	(void)state;
	send_envelope(ids[0] + 1, 1);
	assert_rejected();
}

static void
an_id_is_used_up_by_its_commit(void **state)
{
	(void)state;
	send_envelope(ids[0], 1);
	send_commit(ids[0], 5, make_memfd("hello", true));
	assert_non_null(find_frame(&listener, QUEUE_LISTENER_COMMITTED, 7));
	send_envelope(ids[0], 1);
	turn();
	assert_true(listener.closed);
	assert_int_equal(queue.envelopes, 1);
}

static void
an_unsealed_memfd_is_refused(void **state)
{
	(void)state;
	send_envelope(ids[0], 1);
	send_commit(ids[0], 5, make_memfd("hello", false));
	assert_rejected();
}

static void
a_pipe_or_no_descriptor_is_refused(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(pipe(fds), 0);
	send_envelope(ids[0], 1);
	send_commit(ids[0], 5, fds[0]);
	assert_rejected();
	close(fds[1]);
	ask_ids(1);
	send_envelope(ids[0], 1);
	send_commit(ids[0], 5, -1);
	turn();
	assert_true(listener.closed);
}

static void
a_size_that_is_not_true_is_refused(void **state)
{
	static const uint64_t sizes[] = { 0, 4, 6, IPC_MEMFD_MAX + 1, INT64_MAX };

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		size_t before = queue.envelopes;

		send_envelope(ids[i], 1);
		send_commit(ids[i], sizes[i], make_memfd("hello", true));
		turn();
		assert_true(listener.closed);
		assert_int_equal(queue.envelopes, before);
		drop_end(&listener);
		intake_set_listener(&queue, 0, connect_end(&listener));
		ask_ids(16);
	}
}

static void
a_commit_without_envelopes_is_refused(void **state)
{
	(void)state;
	send_commit(ids[0], 5, make_memfd("hello", true));
	assert_rejected();
}

static void
more_open_messages_than_allowed_are_refused(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 64; i++)
		send_envelope(ids[i], 1);
	turn();
	assert_false(listener.closed);
	ask_ids(1);
	send_envelope(ids[0], 1);
	assert_rejected();
}

static void
requests_for_ids_without_end_are_refused(void **state)
{
	struct buf buf;

	(void)state;
	buf_init(&buf, 64);
	ipc_ids_request_encode(&buf, IPC_IDS_MAX);
	for (unsigned i = 0; i < 100 && !listener.closed; i++) {
		channel_send(listener.channel, LISTENER_QUEUE_IDS, 100 + i, 0, -1, &buf);
		turn();
	}
	buf_free(&buf);
	assert_rejected();
}

static int
ask_file(uint32_t id)
{
	struct frame *frame;

	channel_send(listener.channel, LISTENER_QUEUE_SPOOL_FILE, 9, id, -1, NULL);
	frame = find_frame(&listener, QUEUE_LISTENER_SPOOL_FILE, 9);
	assert_non_null(frame);
	assert_true(frame->fd != -1);
	frame->type = 0;
	return frame->fd;
}

static unsigned
count_large(void)
{
	char command[128], text[16] = "";
	FILE *pipe;

	snprintf(command, sizeof(command), "ls '%s'/large | wc -l", path);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	assert_non_null(fgets(text, sizeof(text), pipe));
	pclose(pipe);
	return (unsigned)atoi(text);
}

static void
a_large_message_is_what_was_in_its_file_at_commit(void **state)
{
	char byte;
	int fd;

	(void)state;
	fd = ask_file(ids[0]);
	/* It can write there and no more. */
	assert_int_equal(pread(fd, &byte, 1, 0), -1);
	assert_int_equal(write(fd, "hello", 5), 5);
	send_envelope(ids[0], 1);
	send_commit(ids[0], 5, -1);
	assert_non_null(find_frame(&listener, QUEUE_LISTENER_COMMITTED, 7));
	close_queue();
	open_queue();
	assert_true(index_find(queue.index, ids[0])->is_large);
	assert_int_equal(count_large(), 1);
}

static void
a_file_of_another_size_is_refused_and_removed(void **state)
{
	int fd;

	(void)state;
	fd = ask_file(ids[0]);
	assert_int_equal(write(fd, "hello", 5), 5);
	send_envelope(ids[0], 1);
	send_commit(ids[0], 500, -1);
	assert_rejected();
	assert_int_equal(count_large(), 0);
}

static void
an_abort_gives_the_id_back_and_drops_the_rest(void **state)
{
	(void)state;
	ask_file(ids[0]);
	send_envelope(ids[0], 1);
	send_envelope(ids[0], 2);
	channel_send(listener.channel, LISTENER_QUEUE_ABORT, 7, ids[0], -1, NULL);
	turn();
	assert_int_equal(count_large(), 0);
	send_envelope(ids[0], 1);
	send_commit(ids[0], 5, make_memfd("hello", true));
	assert_non_null(find_frame(&listener, QUEUE_LISTENER_COMMITTED, 7));
	assert_int_equal(queue.envelopes, 1);
}

static void
a_listener_s_death_drops_what_it_had_not_committed(void **state)
{
	(void)state;
	ask_file(ids[0]);
	send_envelope(ids[1], 1);
	turn();
	drop_end(&listener);
	turn();
	assert_int_equal(count_large(), 0);
	assert_null(find_frame(&supervisor, CHILD_SUPERVISOR_REJECTED, 0));
	intake_set_listener(&queue, 0, connect_end(&listener));
}

/* Deliveries. */

static void
commit_one_of(uint32_t id, enum envelope_kind kind, const char *command)
{
	send_envelope_of(id, 1, kind, command);
	send_commit(id, 5, make_memfd("hello", true));
	turn();
	delivery_look_again(&queue);
	delivery_run(&queue);
	turn();
}

static void
commit_one(uint32_t id)
{
	commit_one_of(id, ENVELOPE_MAILDIR, "");
}

static void
start_mda(void)
{
	struct frame *frame = find_frame(&supervisor, QUEUE_SUPERVISOR_MDA_START, 0);
	struct ipc_done done = { .success = true };
	struct buf buf;

	assert_non_null(frame);
	frame->type = 0;
	buf_init(&buf, 1024);
	ipc_done_encode(&buf, &done);
	channel_send(supervisor.channel, SUPERVISOR_QUEUE_MDA_STARTED, frame->id, 0,
	    connect_end(&mda), &buf);
	buf_free(&buf);
	turn();
	delivery_run(&queue);
	turn();
}

static void
answer(const struct frame *frame, uint64_t envelope_id, unsigned code)
{
	struct ipc_delivered delivered;
	struct buf buf;

	memset(&delivered, 0, sizeof(delivered));
	delivered.envelope_id = envelope_id;
	reply_set(&delivered.reply, code, "", "done");
	strcpy(delivered.file, "1700000000.M0P1.mx");
	buf_init(&buf, 16384);
	ipc_delivered_encode(&buf, &delivered);
	channel_send(mda.channel, MDA_QUEUE_DELIVERED, frame->id, 0, -1, &buf);
	buf_free(&buf);
	turn();
}

static void
decode_deliver(const struct frame *frame, struct ipc_deliver *deliver)
{
	struct buf_reader reader;

	buf_reader_init(&reader, frame->payload, frame->length);
	assert_true(ipc_deliver_decode(&reader, deliver));
}

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
	commit_one_of(ids[1], ENVELOPE_PIPE, "/usr/bin/allowed");
	delivery_run(&queue);
	frame = find_frame(&mda, QUEUE_MDA_DELIVER, 0);
	assert_non_null(frame);
	decode_deliver(frame, &deliver);
	assert_string_equal(deliver.command, "/usr/bin/allowed");
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(a_committed_message_is_answered_and_there_after_a_crash),
		TEST(steady_input_does_not_put_a_commit_off),
		TEST(a_message_put_off_by_a_crash_before_commit_is_not_there),
		TEST(an_id_that_was_not_given_out_is_refused),
		TEST(an_id_is_used_up_by_its_commit),
		TEST(an_unsealed_memfd_is_refused),
		TEST(a_pipe_or_no_descriptor_is_refused),
		TEST(a_size_that_is_not_true_is_refused),
		TEST(a_commit_without_envelopes_is_refused),
		TEST(more_open_messages_than_allowed_are_refused),
		TEST(requests_for_ids_without_end_are_refused),
		TEST(a_large_message_is_what_was_in_its_file_at_commit),
		TEST(a_file_of_another_size_is_refused_and_removed),
		TEST(an_abort_gives_the_id_back_and_drops_the_rest),
		TEST(a_listener_s_death_drops_what_it_had_not_committed),
		TEST(a_delivered_envelope_is_gone_also_after_a_crash),
		TEST(a_dead_mda_s_deliveries_are_tried_again_as_maybe_delivered),
		TEST(an_mda_can_not_answer_for_what_it_was_not_given),
		TEST(only_a_command_that_an_alias_has_is_run),
		TEST(a_temporary_failure_waits_and_is_remembered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
