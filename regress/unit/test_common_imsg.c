/*
 * Channels: what one side sends the other gets, whole, in order, with its descriptors; what breaks
 * the rules ends the channel once and nothing else.
 */
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "common/imsg.h"

#define RECEIVED_MAX 20000

struct side {
	struct channel *channel;
	size_t received;
	uint16_t types[RECEIVED_MAX];
	uint32_t ids[RECEIVED_MAX];
	ino_t inodes[RECEIVED_MAX]; /* of the descriptors, 0 without */
	size_t lost;                /* frames whose descriptor was lost */
	uint8_t last[IMSG_PAYLOAD_MAX];
	size_t last_length;
	unsigned closed;
	char why[128];
	bool free_on_receive;
	bool free_on_closed;
	bool reject;
	bool keep_fds;
	bool pause_on_receive;
	unsigned drained;
	int kept;
};

struct fixture {
	struct event_base *base;
	int raw; /* the other end, driven by hand */
	struct side a, b;
};

static void
on_receive(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct side *side = arg;
	struct stat info;

	assert_true(side->received < RECEIVED_MAX);
	assert_int_equal(side->closed, 0);
	side->types[side->received] = imsg->type;
	side->ids[side->received] = imsg->id;
	side->inodes[side->received] = 0;
	side->lost += imsg->descriptor_lost;
	if (imsg->fd != -1) {
		assert_int_equal(fstat(imsg->fd, &info), 0);
		assert_true((fcntl(imsg->fd, F_GETFD) & FD_CLOEXEC) != 0);
		side->inodes[side->received] = info.st_ino;
		if (side->keep_fds) {
			side->kept = imsg->fd;
			imsg->fd = -1;
		}
	}
	memcpy(side->last, imsg->payload, imsg->length);
	side->last_length = imsg->length;
	side->received++;
	if (side->pause_on_receive)
		channel_pause(channel, true);
	if (side->reject)
		channel_reject(channel, imsg, "not wanted here");
	if (side->free_on_receive) {
		channel_free(channel);
		side->channel = NULL;
	}
}

static void
on_closed(struct channel *channel, const char *why, void *arg)
{
	struct side *side = arg;

	side->closed++;
	snprintf(side->why, sizeof(side->why), "%s", why);
	if (side->free_on_closed) {
		channel_free(channel);
		side->channel = NULL;
	}
}

static void
on_drained(struct channel *channel, void *arg)
{
	struct side *side = arg;

	assert_int_equal(channel_queued(channel), 0);
	side->drained++;
}

static int
set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int pair[2];

	assert_non_null(f);
	f->base = event_base_new();
	assert_int_equal(event_base_priority_init(f->base, 2), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	f->raw = pair[1];
	f->a.channel = channel_new(f->base, "peer", pair[0], on_receive, on_closed, &f->a);
	*state = f;
	return 0;
}

/* With channels at both ends. */
static int
set_up_both(void **state)
{
	struct fixture *f;

	set_up(state);
	f = *state;
	f->b.channel = channel_new(f->base, "other", f->raw, on_receive, on_closed, &f->b);
	f->raw = -1;
	return 0;
}

static int
tear_down(void **state)
{
	struct fixture *f = *state;

	channel_free(f->a.channel);
	channel_free(f->b.channel);
	if (f->raw != -1)
		close(f->raw);
	event_base_free(f->base);
	free(f);
	return 0;
}

/* Runs all that can be done without waiting. */
static void
turn(struct fixture *f)
{
	int i;

	for (i = 0; i < 8; i++)
		assert_true(event_base_loop(f->base, EVLOOP_NONBLOCK) != -1);
}

static size_t
make_frame(uint8_t *to, unsigned type, unsigned flags, uint32_t length, uint32_t id)
{
	uint8_t header[IMSG_HEADER_SIZE] = { (uint8_t)type, (uint8_t)(type >> 8), (uint8_t)flags,
		(uint8_t)(flags >> 8), (uint8_t)length, (uint8_t)(length >> 8),
		(uint8_t)(length >> 16), (uint8_t)(length >> 24), (uint8_t)id, (uint8_t)(id >> 8),
		(uint8_t)(id >> 16), (uint8_t)(id >> 24), 0, 0, 0, 0 };

	memcpy(to, header, sizeof(header));
	if (length > sizeof(header) && length <= IMSG_HEADER_SIZE + IMSG_PAYLOAD_MAX)
		memset(to + sizeof(header), 'x', length - sizeof(header));
	return length;
}

static int
new_file(ino_t *inode)
{
	struct stat info;
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd != -1);
	assert_int_equal(fstat(fd, &info), 0);
	*inode = info.st_ino;
	return fd;
}

static void
send_raw(int fd, const void *data, size_t length, const int *fds, size_t count)
{
	struct iovec iov = { .iov_base = (void *)(uintptr_t)data, .iov_len = length };
	union {
		struct cmsghdr header;
		uint8_t space[CMSG_SPACE(64 * sizeof(int))];
	} control;
	struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };
	struct cmsghdr *cmsg;

	if (count > 0) {
		memset(&control, 0, sizeof(control));
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
		cmsg = CMSG_FIRSTHDR(&message);
		cmsg->cmsg_level = SOL_SOCKET;
		cmsg->cmsg_type = SCM_RIGHTS;
		cmsg->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(cmsg), fds, count * sizeof(int));
	}
	assert_int_equal(sendmsg(fd, &message, 0), length);
}

static int
count_open(void)
{
	int fd, count = 0;

	for (fd = 0; fd < 1024; fd++)
		if (fcntl(fd, F_GETFD) != -1)
			count++;
	return count;
}

static void
a_frame_split_at_every_byte_arrives_once(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[64];
	size_t length = make_frame(frame, 7, 0, 40, 99), i;

	for (i = 0; i < length; i++) {
		assert_int_equal(f->a.received, 0);
		assert_int_equal(write(f->raw, frame + i, 1), 1);
		turn(f);
	}
	assert_int_equal(f->a.received, 1);
	assert_int_equal(f->a.types[0], 7);
	assert_int_equal(f->a.ids[0], 99);
	assert_int_equal(f->a.last_length, 24);
	assert_int_equal(f->a.last[23], 'x');
}

static void
many_frames_of_all_sizes_arrive_in_order(void **state)
{
	struct fixture *f = *state;
	struct buf payload;
	uint32_t i, size;

	buf_init(&payload, IMSG_PAYLOAD_MAX);
	for (i = 0; i < 5000; i++) {
		size = i % 50 == 0 ? IMSG_PAYLOAD_MAX : i % 97;
		buf_clear(&payload);
		while (payload.length < size)
			buf_add_u8(&payload, (uint8_t)i);
		channel_send(f->a.channel, (uint16_t)(i % 100), i, 0, -1, &payload);
	}
	buf_free(&payload);
	for (i = 0; i < 1000 && f->b.received < 5000; i++)
		turn(f);
	assert_int_equal(f->b.received, 5000);
	for (i = 0; i < 5000; i++) {
		assert_int_equal(f->b.ids[i], i);
		assert_int_equal(f->b.types[i], i % 100);
	}
	assert_int_equal(f->b.closed, 0);
	assert_int_equal(channel_queued(f->a.channel), 0);
}

static void
descriptors_arrive_with_their_frames(void **state)
{
	struct fixture *f = *state;
	static ino_t inodes[3000];
	struct buf payload;
	uint32_t i;
	int before = count_open();

	buf_init(&payload, IMSG_PAYLOAD_MAX);
	for (i = 0; i < 3000; i++) {
		int fd = -1;

		inodes[i] = 0;
		if (i % 7 < 4 && (i < 500 || i % 5 == 0))
			fd = new_file(&inodes[i]);
		buf_clear(&payload);
		while (payload.length < (i % 11 == 0 ? 9000 : i % 40))
			buf_add_u32(&payload, i);
		channel_send(f->a.channel, 1, i, 0, fd, &payload);
		if (i % 100 == 0)
			turn(f);
	}
	buf_free(&payload);
	for (i = 0; i < 1000 && f->b.received < 3000; i++)
		turn(f);
	assert_int_equal(f->b.received, 3000);
	for (i = 0; i < 3000; i++) {
		assert_int_equal(f->b.ids[i], i);
		assert_int_equal(f->b.inodes[i], inodes[i]);
	}
	assert_int_equal(f->b.closed, 0);
	assert_int_equal(count_open(), before);
}

static void
frames_sent_in_one_turn_share_one_message(void **state)
{
	struct fixture *f = *state;
	ino_t inodes[3];
	uint8_t data[256];
	union {
		struct cmsghdr header;
		uint8_t space[CMSG_SPACE(16 * sizeof(int))];
	} control;
	struct iovec iov = { .iov_base = data, .iov_len = sizeof(data) };
	struct msghdr message = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control) };
	int fds[3], i;

	for (i = 0; i < 3; i++) {
		fds[i] = new_file(&inodes[i]);
		channel_send(f->a.channel, 1, (uint32_t)i, 0, fds[i], NULL);
		channel_send(f->a.channel, 2, (uint32_t)i, 0, -1, NULL);
	}
	assert_int_equal(recv(f->raw, data, sizeof(data), MSG_DONTWAIT), -1);
	turn(f);
	assert_int_equal(recvmsg(f->raw, &message, MSG_DONTWAIT), 6 * IMSG_HEADER_SIZE);
	assert_int_equal(CMSG_FIRSTHDR(&message)->cmsg_len, CMSG_LEN(3 * sizeof(int)));
	memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(fds));
	for (i = 0; i < 3; i++)
		close(fds[i]);
}

static void
assert_ends(struct fixture *f, const void *data, size_t length, const char *why)
{
	send_raw(f->raw, data, length, NULL, 0);
	turn(f);
	assert_int_equal(f->a.closed, 1);
	assert_non_null(strstr(f->a.why, why));
	/* And nothing more is received. */
	turn(f);
	assert_int_equal(f->a.closed, 1);
}

static void
length_0_ends_the_channel(void **state)
{
	uint8_t frame[IMSG_HEADER_SIZE];

	make_frame(frame, 1, 0, 0, 1);
	assert_ends(*state, frame, sizeof(frame), "header not allowed");
}

static void
length_15_ends_the_channel(void **state)
{
	uint8_t frame[IMSG_HEADER_SIZE];

	make_frame(frame, 1, 0, 15, 1);
	assert_ends(*state, frame, sizeof(frame), "header not allowed");
}

static void
a_payload_of_16385_ends_the_channel_before_it_comes(void **state)
{
	uint8_t frame[IMSG_HEADER_SIZE];

	make_frame(frame, 1, 0, 16401, 1);
	assert_ends(*state, frame, sizeof(frame), "header not allowed");
	assert_int_equal(((struct fixture *)*state)->a.received, 0);
}

static void
a_length_of_4_gib_ends_the_channel(void **state)
{
	uint8_t frame[IMSG_HEADER_SIZE];

	make_frame(frame, 1, 0, UINT32_MAX, 1);
	assert_ends(*state, frame, sizeof(frame), "header not allowed");
}

static void
the_largest_payload_is_taken(void **state)
{
	struct fixture *f = *state;
	static uint8_t frame[IMSG_HEADER_SIZE + IMSG_PAYLOAD_MAX];

	make_frame(frame, 1, 0, sizeof(frame), 5);
	send_raw(f->raw, frame, sizeof(frame), NULL, 0);
	turn(f);
	assert_int_equal(f->a.received, 1);
	assert_int_equal(f->a.last_length, IMSG_PAYLOAD_MAX);
}

static void
an_unknown_flag_ends_the_channel(void **state)
{
	uint8_t frame[IMSG_HEADER_SIZE];

	make_frame(frame, 1, 2, 16, 1);
	assert_ends(*state, frame, sizeof(frame), "header not allowed");
}

static void
a_missing_descriptor_ends_the_channel(void **state)
{
	struct fixture *f = *state;
	uint8_t frames[2 * IMSG_HEADER_SIZE];

	make_frame(frames, 1, IMSG_FLAG_DESCRIPTOR, 16, 1);
	make_frame(frames + 16, 2, 0, 16, 2);
	assert_ends(f, frames, sizeof(frames), "descriptor missing");
	assert_int_equal(f->a.received, 0);
}

static void
a_descriptor_without_the_flag_ends_the_channel(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[IMSG_HEADER_SIZE];
	int before = count_open(), fd;
	ino_t inode;

	fd = new_file(&inode);
	make_frame(frame, 1, 0, 16, 1);
	send_raw(f->raw, frame, sizeof(frame), &fd, 1);
	close(fd);
	turn(f);
	assert_int_equal(f->a.closed, 1);
	assert_string_equal(f->a.why, "descriptor left over");
	assert_true(channel_was_rejected(f->a.channel));
	channel_free(f->a.channel);
	f->a.channel = NULL;
	assert_int_equal(count_open(), before - 1);
}

static void
two_descriptors_for_one_frame_end_the_channel(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[IMSG_HEADER_SIZE];
	int fds[2];
	ino_t inode;

	fds[0] = new_file(&inode);
	fds[1] = new_file(&inode);
	make_frame(frame, 1, IMSG_FLAG_DESCRIPTOR, 16, 1);
	send_raw(f->raw, frame, sizeof(frame), fds, 2);
	close(fds[0]);
	close(fds[1]);
	turn(f);
	assert_int_equal(f->a.received, 1);
	assert_int_equal(f->a.closed, 1);
	assert_string_equal(f->a.why, "descriptor left over");
	assert_true(channel_was_rejected(f->a.channel));
}

static void
a_descriptor_waits_for_the_rest_of_its_frame(void **state)
{
	struct fixture *f = *state;
	uint8_t frames[IMSG_HEADER_SIZE + 40];
	ino_t inode;
	int fd = new_file(&inode);

	make_frame(frames, 1, 0, 16, 1);
	make_frame(frames + 16, 2, IMSG_FLAG_DESCRIPTOR, 40, 2);
	send_raw(f->raw, frames, 20, &fd, 1);
	close(fd);
	turn(f);
	assert_int_equal(f->a.received, 1);
	assert_int_equal(f->a.closed, 0);
	send_raw(f->raw, frames + 20, 36, NULL, 0);
	turn(f);
	assert_int_equal(f->a.received, 2);
	assert_int_equal(f->a.inodes[1], inode);
	assert_int_equal(f->a.closed, 0);
}

static void
descriptors_without_room_are_lost_and_the_channel_goes_on(void **state)
{
	struct fixture *f = *state;
	uint8_t frames[4 * IMSG_HEADER_SIZE];
	struct rlimit before, tight;
	ino_t inodes[4];
	int fds[4];

	for (unsigned i = 0; i < 4; i++) {
		fds[i] = new_file(&inodes[i]);
		make_frame(frames + i * IMSG_HEADER_SIZE, 1, IMSG_FLAG_DESCRIPTOR, 16, i);
	}
	send_raw(f->raw, frames, sizeof(frames), fds, 4);
	for (unsigned i = 0; i < 4; i++)
		close(fds[i]);
	/* Room for two: descriptors are given from the lowest free number. */
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
	tight = before;
	tight.rlim_cur = (rlim_t)fds[1] + 1;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
	f->a.keep_fds = true;
	turn(f);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
	f->a.keep_fds = false;
	assert_int_equal(f->a.closed, 0);
	assert_int_equal(f->a.received, 4);
	assert_int_equal(f->a.lost, 2);
	assert_int_equal(f->a.inodes[0], inodes[0]);
	assert_int_equal(f->a.inodes[1], inodes[1]);
	assert_int_equal(f->a.inodes[2], 0);
	/* The next has its own again. */
	close(fds[0]);
	close(fds[1]);
	fds[0] = new_file(&inodes[0]);
	send_raw(f->raw, frames, IMSG_HEADER_SIZE, fds, 1);
	close(fds[0]);
	turn(f);
	assert_int_equal(f->a.received, 5);
	assert_int_equal(f->a.lost, 2);
	assert_int_equal(f->a.inodes[4], inodes[0]);
}

static void
endless_descriptors_end_the_channel(void **state)
{
	struct fixture *f = *state;
	uint8_t byte = 1;
	int fds[64], i, before = count_open();
	ino_t inode;

	for (i = 0; i < 64; i++)
		fds[i] = new_file(&inode);
	for (i = 0; i < 15; i++) { /* a byte each: the header is never whole */
		send_raw(f->raw, &byte, 1, fds, 64);
		turn(f);
		if (f->a.closed)
			break;
	}
	for (i = 0; i < 64; i++)
		close(fds[i]);
	assert_int_equal(f->a.closed, 1);
	channel_free(f->a.channel);
	f->a.channel = NULL;
	assert_int_equal(count_open(), before - 1);
}

static void
what_was_sent_before_the_end_is_received_first(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[IMSG_HEADER_SIZE];

	make_frame(frame, 3, 0, 16, 42);
	send_raw(f->raw, frame, sizeof(frame), NULL, 0);
	close(f->raw);
	f->raw = -1;
	/* This write fails; the frame is there all the same. */
	channel_send(f->a.channel, 1, 1, 0, -1, NULL);
	channel_flush(f->a.channel);
	turn(f);
	assert_int_equal(f->a.received, 1);
	assert_int_equal(f->a.ids[0], 42);
	assert_int_equal(f->a.closed, 1);
	assert_string_equal(f->a.why, "closed");
	assert_false(channel_was_rejected(f->a.channel));
	/* On a dead channel frames are dropped, descriptors closed. */
	channel_send(f->a.channel, 1, 1, 0, dup(0), NULL);
	turn(f);
	assert_int_equal(f->a.closed, 1);
}

static void
an_end_within_a_frame_is_told(void **state)
{
	struct fixture *f = *state;
	uint8_t frame[64];

	make_frame(frame, 3, 0, 40, 42);
	send_raw(f->raw, frame, 20, NULL, 0);
	close(f->raw);
	f->raw = -1;
	turn(f);
	assert_int_equal(f->a.received, 0);
	assert_string_equal(f->a.why, "closed within a frame");
	assert_false(channel_was_rejected(f->a.channel));
}

static void
a_receiver_may_free_its_channel(void **state)
{
	struct fixture *f = *state;
	uint8_t frames[3 * IMSG_HEADER_SIZE];
	ino_t inode;
	int fds[2], i, before = count_open();

	f->a.free_on_receive = true;
	for (i = 0; i < 3; i++)
		make_frame(frames + 16 * i, 1, i == 0 ? 0 : IMSG_FLAG_DESCRIPTOR, 16, 1);
	fds[0] = new_file(&inode);
	fds[1] = new_file(&inode);
	send_raw(f->raw, frames, sizeof(frames), fds, 2);
	close(fds[0]);
	close(fds[1]);
	turn(f);
	assert_int_equal(f->a.received, 1);
	assert_int_equal(f->a.closed, 0);
	assert_int_equal(count_open(), before - 1);
}

static void
a_channel_may_be_freed_when_it_is_closed(void **state)
{
	struct fixture *f = *state;

	f->a.free_on_closed = true;
	close(f->raw);
	f->raw = -1;
	turn(f);
	assert_int_equal(f->a.closed, 1);
}

static void
freeing_a_channel_writes_what_is_queued(void **state)
{
	struct fixture *f = *state;
	uint8_t data[64];

	channel_send(f->a.channel, 1, 1, 0, -1, NULL);
	channel_free(f->a.channel);
	f->a.channel = NULL;
	assert_int_equal(recv(f->raw, data, sizeof(data), 0), IMSG_HEADER_SIZE);
}

static void
a_rejected_frame_is_the_last_one(void **state)
{
	struct fixture *f = *state;
	uint8_t frames[2 * IMSG_HEADER_SIZE];

	f->a.reject = true;
	make_frame(frames, 9, 0, 16, 1);
	make_frame(frames + 16, 9, 0, 16, 2);
	send_raw(f->raw, frames, sizeof(frames), NULL, 0);
	turn(f);
	assert_int_equal(f->a.received, 1);
	assert_int_equal(f->a.closed, 1);
	assert_string_equal(f->a.why, "frame of type 9 rejected: not wanted here");
	assert_true(channel_was_rejected(f->a.channel));
}

static void
a_paused_channel_keeps_what_it_has_read(void **state)
{
	struct fixture *f = *state;
	uint8_t frames[3 * IMSG_HEADER_SIZE];
	unsigned i;

	f->a.pause_on_receive = true;
	for (i = 0; i < 3; i++)
		make_frame(frames + 16 * i, 1, 0, 16, i);
	send_raw(f->raw, frames, sizeof(frames), NULL, 0);
	for (i = 1; i <= 3; i++) {
		turn(f);
		assert_int_equal(f->a.received, i);
		channel_pause(f->a.channel, false);
	}
	turn(f);
	assert_int_equal(f->a.received, 3);
}

static void
a_sender_is_told_when_all_is_written(void **state)
{
	struct fixture *f = *state;
	static uint8_t sink[1 << 20];
	struct buf payload;
	size_t queued = 0, got = 0;
	ssize_t n;
	int i;

	buf_init(&payload, IMSG_PAYLOAD_MAX);
	while (payload.length < IMSG_PAYLOAD_MAX)
		buf_add_u64(&payload, 0);
	channel_on_drained(f->a.channel, on_drained);
	for (i = 0; i < 100; i++) {
		channel_send(f->a.channel, 1, 1, 0, -1, &payload);
		queued += IMSG_HEADER_SIZE + IMSG_PAYLOAD_MAX;
	}
	buf_free(&payload);
	turn(f);
	assert_int_equal(f->a.drained, 0);
	assert_true(channel_queued(f->a.channel) > 0);
	while (got < queued) {
		n = recv(f->raw, sink, sizeof(sink), 0);
		assert_true(n > 0);
		got += (size_t)n;
		turn(f);
	}
	assert_int_equal(f->a.drained, 1);
	assert_int_equal(channel_queued(f->a.channel), 0);
}

static void
a_peer_that_never_reads_loses_its_channel(void **state)
{
	struct fixture *f = *state;
	struct buf payload;
	size_t i, sent = 0;

	buf_init(&payload, IMSG_PAYLOAD_MAX);
	while (payload.length < IMSG_PAYLOAD_MAX)
		buf_add_u64(&payload, 0);
	for (i = 0; i < 40000 && f->a.closed == 0; i++) {
		channel_send(f->a.channel, 1, 1, 0, -1, &payload);
		sent += payload.length;
		if (i % 1000 == 0)
			turn(f);
	}
	turn(f);
	buf_free(&payload);
	assert_int_equal(f->a.closed, 1);
	assert_string_equal(f->a.why, "does not read what it is sent");
	assert_true(channel_was_rejected(f->a.channel));
	assert_true(sent < (size_t)300 * 1024 * 1024);
}

static void
a_flood_takes_turns_with_others(void **state)
{
	struct fixture *f = *state;
	static uint8_t flood[200000];
	size_t i;

	for (i = 0; i < sizeof(flood); i += 16)
		make_frame(flood + i, 1, 0, 16, 1);
	assert_int_equal(write(f->raw, flood, sizeof(flood)), sizeof(flood));
	assert_true(event_base_loop(f->base, EVLOOP_ONCE) != -1);
	assert_true(f->a.received > 0);
	assert_true(f->a.received <= 64 * 1024 / 16);
	turn(f);
	assert_int_equal(f->a.received, sizeof(flood) / 16);
}

#define WITH_RAW(test)  cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define WITH_BOTH(test) cmocka_unit_test_setup_teardown(test, set_up_both, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_RAW(a_frame_split_at_every_byte_arrives_once),
		WITH_BOTH(many_frames_of_all_sizes_arrive_in_order),
		WITH_BOTH(descriptors_arrive_with_their_frames),
		WITH_RAW(frames_sent_in_one_turn_share_one_message),
		WITH_RAW(length_0_ends_the_channel),
		WITH_RAW(length_15_ends_the_channel),
		WITH_RAW(a_payload_of_16385_ends_the_channel_before_it_comes),
		WITH_RAW(a_length_of_4_gib_ends_the_channel),
		WITH_RAW(the_largest_payload_is_taken),
		WITH_RAW(an_unknown_flag_ends_the_channel),
		WITH_RAW(a_missing_descriptor_ends_the_channel),
		WITH_RAW(a_descriptor_without_the_flag_ends_the_channel),
		WITH_RAW(two_descriptors_for_one_frame_end_the_channel),
		WITH_RAW(a_descriptor_waits_for_the_rest_of_its_frame),
		WITH_RAW(descriptors_without_room_are_lost_and_the_channel_goes_on),
		WITH_RAW(endless_descriptors_end_the_channel),
		WITH_RAW(what_was_sent_before_the_end_is_received_first),
		WITH_RAW(an_end_within_a_frame_is_told),
		WITH_RAW(a_receiver_may_free_its_channel),
		WITH_RAW(a_channel_may_be_freed_when_it_is_closed),
		WITH_RAW(freeing_a_channel_writes_what_is_queued),
		WITH_RAW(a_rejected_frame_is_the_last_one),
		WITH_RAW(a_paused_channel_keeps_what_it_has_read),
		WITH_RAW(a_sender_is_told_when_all_is_written),
		WITH_RAW(a_peer_that_never_reads_loses_its_channel),
		WITH_RAW(a_flood_takes_turns_with_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
