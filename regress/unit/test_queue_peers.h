/*
 * The queue from outside: a listener, a directory, an mda and a supervisor that the test plays,
 * over real channels, and clocks that it sets.
 */
#ifndef TEST_QUEUE_PEERS_H
#define TEST_QUEUE_PEERS_H

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
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
#include "queue/control.h"
#include "queue/delivery.h"
#include "queue/follow.h"
#include "queue/intake.h"
#include "queue/mail.h"
#include "queue/mda.h"
#include "queue/record.h"
#include "queue/relay.h"
#include "queue/sign.h"

#define KEPT 8 /* messages that keep what their first try needs */
#ifndef FRAMES
#define FRAMES 256
#endif

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
static int log_fd;
static unsigned sender_targets; /* mailboxes that erin, who sends all mail, leads to */
static unsigned asked_for_sender;
static bool sender_is_odd; /* the directory's answer about her is no answer */
__attribute__((unused)) static unsigned
    refuses; /* the code of the directory's answer about recipients named "refused" */
static struct question *unanswered; /* about "later" */
static uint8_t notify;              /* of the envelopes handed in */
static bool is_held;                /* as envelopes come */
static int64_t monotonic_ahead;
static int64_t wall_ahead; /* seconds that the wall clock is ahead of the time */

int
clock_gettime(clockid_t clock, struct timespec *time)
{
	int result = (int)syscall(SYS_clock_gettime, clock, time);

	if (clock == CLOCK_REALTIME)
		time->tv_sec += wall_ahead;
	else
		time->tv_sec += monotonic_ahead;
	return result;
}

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

void
queue_prepare_soon(struct queue *q)
{
	(void)q;
}

/* Every recipient is an alias for one command, but for the sender's own. */
__attribute__((unused)) static void
answer_rcpt(struct queue *q, struct question *question)
{
	struct imsg imsg = { .type = DIRECTORY_TARGET, .fd = -1 };
	struct ipc_target target;
	struct buf_reader reader;
	struct ipc_rcpt rcpt;
	struct reply reply;
	struct buf buf;
	unsigned count = 1;

	buf_reader_init(&reader, q->payload.data, q->payload.length);
	assert_true(ipc_rcpt_decode(&reader, &rcpt));
	if (strcmp(rcpt.rcpt.local, "erin") == 0) {
		asked_for_sender++;
		count = sender_targets;
	}
	if (strcmp(rcpt.rcpt.local, "later") == 0 && unanswered == NULL) {
		unanswered = question;
		return;
	}
	if (strcmp(rcpt.rcpt.local, "refused") == 0)
		count = 0;
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
	while (count-- > 0)
		question->answer(q, question, &imsg);
	buf_clear(&buf);
	reply_set(&reply, 250, "2.1.5", "ok");
	if (strcmp(rcpt.rcpt.local, "refused") == 0)
		reply_set(&reply, refuses, "", "not that one");
	if (sender_is_odd && strcmp(rcpt.rcpt.local, "erin") == 0)
		buf_add_u8(&buf, 255);
	else
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

__attribute__((unused)) static void
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

__attribute__((unused)) static void
on_closed(struct channel *channel, const char *why, void *arg)
{
	struct end *end = arg;

	(void)why;
	channel_free(channel);
	end->channel = NULL;
	end->closed = true;
}

/* Returns the queue's end. */
__attribute__((unused)) static int
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

__attribute__((unused)) static void
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

__attribute__((unused)) static void
turn(void)
{
	for (unsigned i = 0; i < 20; i++)
		event_base_loop(queue.base, EVLOOP_NONBLOCK);
}

/* The next frame of this type, looked for from the first; NULL when there is none. */
__attribute__((unused)) static struct frame *
find_frame(struct end *end, uint16_t type, uint32_t id)
{
	turn();
	for (size_t i = 0; i < end->count; i++) {
		if (end->frames[i].type == type && (id == 0 || end->frames[i].id == id))
			return &end->frames[i];
	}
	return NULL;
}

__attribute__((unused)) static void
on_supervisor(struct channel *channel, struct imsg *imsg, void *arg)
{
	(void)channel;
	(void)arg;
	if (imsg->type == SUPERVISOR_QUEUE_MDA_STARTED)
		mda_started(&queue, imsg);
}

__attribute__((unused)) static void
on_supervisor_closed(struct channel *channel, const char *why, void *arg)
{
	(void)channel;
	(void)why;
	(void)arg;
}

__attribute__((unused)) static void
open_queue(void)
{
	struct journal_options options = { 1024 * 1024, 0 };
	struct journal_handler handler;

	queue.index = index_new();
	queue.scheduler = scheduler_new();
	sign_open(&queue);
	bounce_open(&queue);
	relay_open(&queue);
	assert_int_equal(spool_open(&queue.spool, path), SPOOL_OK);
	mail_handler(&queue, &handler);
	handler.batch_files = commit_batch_files;
	handler.batch_done = commit_batch_done;
	assert_int_equal(
	    journal_open(&queue.journal, &queue.spool, &options, &handler), JOURNAL_OPENED);
	queue.kept_limit = KEPT;
	commit_open(&queue);
	intake_open(&queue);
	mda_open(&queue);
	control_acts_open(&queue);
	queue.phase = QUEUE_RUNNING;
	mail_recovered(&queue);
}

/* As a crash: nothing is written. */
__attribute__((unused)) static void
close_queue(void)
{
	struct message *message;

	follow_close(&queue);
	control_acts_close(&queue);
	intake_close(&queue);
	mda_close(&queue);
	relay_close(&queue);
	commit_close(&queue);
	while ((message = index_from(queue.index, 0)) != NULL) {
		for (uint32_t i = 0; i < message->count; i++)
			scheduler_detach(queue.scheduler, &message->entries[i]);
		mail_drop_first_try(message);
		index_remove(queue.index, message);
	}
	bounce_close(&queue);
	sign_close(&queue);
	scheduler_free(queue.scheduler);
	index_free(queue.index);
	journal_close(queue.journal);
	spool_close(&queue.spool);
	queue.journal = NULL;
	queue.envelopes = queue.in_flight = 0;
}

__attribute__((unused)) static void
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

__attribute__((unused)) static int
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
	log_fd = memfd_create("log", MFD_CLOEXEC);
	log_open("test", LOG_TARGET_STDERR, log_fd);
	sender_targets = 1;
	sender_is_odd = false;
	asked_for_sender = 0;
	notify = 0;
	unanswered = NULL;
	is_held = false;
	wall_ahead = monotonic_ahead = 0;
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

__attribute__((unused)) static int
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

__attribute__((unused)) static void
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
	envelope.dsn_notify = notify;
	if (is_held)
		envelope.state = ENVELOPE_HELD;
	buf_init(&buf, 16384);
	envelope_encode(&buf, &envelope);
	channel_send(listener.channel, LISTENER_QUEUE_ENVELOPE, 7, id, -1, &buf);
	buf_free(&buf);
}

__attribute__((unused)) static void
send_envelope(uint32_t id, uint32_t number)
{
	send_envelope_of(id, number, ENVELOPE_MAILDIR, "");
}

__attribute__((unused)) static int
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

__attribute__((unused)) static void
send_commit(uint32_t id, uint64_t size, int fd)
{
	struct transaction transaction = {
		.message_id = id, .created_us = clock_wall_us(), .size = size
	};
	struct buf buf;

	transaction.client_family = CLIENT_INET4;
	strcpy(transaction.sender.local, "erin");
	strcpy(transaction.sender.domain, "client.test");
	buf_init(&buf, 16384);
	transaction_encode(&buf, &transaction);
	channel_send(listener.channel, LISTENER_QUEUE_COMMIT, 7, id, fd, &buf);
	buf_free(&buf);
}

/* Deliveries. */

__attribute__((unused)) static void
commit_one_of(uint32_t id, enum envelope_kind kind, const char *command)
{
	send_envelope_of(id, 1, kind, command);
	send_commit(id, 5, make_memfd("hello", true));
	turn();
	delivery_look_again(&queue);
	delivery_run(&queue);
	turn();
}

__attribute__((unused)) static void
commit_one(uint32_t id)
{
	commit_one_of(id, ENVELOPE_MAILDIR, "");
}

__attribute__((unused)) static void
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

__attribute__((unused)) static void
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

__attribute__((unused)) static void
decode_deliver(const struct frame *frame, struct ipc_deliver *deliver)
{
	struct buf_reader reader;

	buf_reader_init(&reader, frame->payload, frame->length);
	assert_true(ipc_deliver_decode(&reader, deliver));
}

__attribute__((unused)) static void
on_committed(struct queue *q, struct commit_item *item, const struct reply *refusal)
{
	(void)q;
	(void)item;
	assert_null(refusal);
}

/* A message with `count` envelopes that may be tried for `ttl` seconds. */
__attribute__((unused)) static void
add_message(uint32_t id, uint32_t count, uint32_t ttl)
{
	struct transaction transaction = {
		.message_id = id, .created_us = clock_wall_us(), .size = 5
	};
	struct commit_item item = { .fd = -1, .file = -1, .done = on_committed, .message_id = id };
	struct envelope envelope;
	struct buf head;
	uint8_t *to;

	strcpy(transaction.sender.local, "erin");
	strcpy(transaction.sender.domain, "client.test");
	buf_init(&head, 8 * 1024 * 1024);
	message_encode_start(&head, &transaction, false, count);
	for (uint32_t i = 1; i <= count; i++) {
		memset(&envelope, 0, sizeof(envelope));
		envelope.id = envelope_id_make(id, i);
		envelope.kind = ENVELOPE_MAILDIR;
		strcpy(envelope.rcpt.local, "alice");
		strcpy(envelope.rcpt.domain, "example.test");
		envelope.dest = envelope.rcpt;
		strcpy(envelope.action, "in");
		envelope.expires = clock_wall() + ttl;
		message_encode_envelope(&head, &envelope, 0);
	}
	message_encode_effects(&head, NULL, 0);
	message_encode_finish(&head);
	assert_true(buf_ok(&head));
	assert_int_equal(
	    journal_begin(queue.journal, JOURNAL_FIRST, head.length + 5, false, &to), JOURNAL_OK);
	memcpy(to, head.data, head.length);
	memcpy(to + head.length, "hello", 5);
	journal_end(queue.journal, JOURNAL_FIRST, RECORD_MESSAGE, head.length + 5, &item.location);
	item.head = head.data;
	item.head_length = head.length;
	commit_message(&queue, &item);
}

/* A whole act; the number of envelopes that it changed. */
__attribute__((unused)) static uint64_t
act_on_all(const struct ipc_act *wanted)
{
	struct act act;

	act_begin(&queue, &act, wanted);
	while (act_continue(&queue, &act))
		;
	return act.changed;
}

/* Whether a line of the log says so. */
__attribute__((unused)) static bool
is_logged(const char *words)
{
	static char text[256 * 1024];
	ssize_t length = pread(log_fd, text, sizeof(text) - 1, 0);

	assert_true(length >= 0);
	text[length] = '\0';
	return strstr(text, words) != NULL;
}

#endif
