/* smtpctl's end of the control socket, against the other end played by hand. */
#include <sys/mman.h>
#include <sys/socket.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include <cmocka.h>

#include "smtpctl/client.h"

static struct client client;
static int peer;

static int
set_up(void **state)
{
	int fds[2];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	client_init(&client, fds[0]);
	peer = fds[1];
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	client_close(&client);
	if (peer != -1)
		close(peer);
	return 0;
}

/* A frame of `length` payload bytes whose header claims `claimed`. */
static size_t
make_frame(uint8_t *frame, uint16_t type, uint16_t flags, uint32_t claimed, const void *payload,
    size_t length)
{
	struct buf buf;

	buf_init(&buf, 65536);
	buf_add_u16(&buf, type);
	buf_add_u16(&buf, flags);
	buf_add_u32(&buf, claimed);
	buf_add_u32(&buf, 1);
	buf_add_u32(&buf, 0);
	if (length > 0)
		buf_add(&buf, payload, length);
	assert_true(buf_ok(&buf));
	memcpy(frame, buf.data, buf.length);
	length = buf.length;
	buf_free(&buf);
	return length;
}

static void
send_with_descriptors(const void *bytes, size_t length, const int *fds, size_t count)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(4 * sizeof(int))];
	} control;
	struct iovec part = { .iov_base = (void *)(uintptr_t)bytes, .iov_len = length };
	struct msghdr message = { .msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = CMSG_SPACE(count * sizeof(int)) };
	struct cmsghdr *header;

	memset(&control, 0, sizeof(control));
	header = CMSG_FIRSTHDR(&message);
	header->cmsg_level = SOL_SOCKET;
	header->cmsg_type = SCM_RIGHTS;
	header->cmsg_len = CMSG_LEN(count * sizeof(int));
	memcpy(CMSG_DATA(header), fds, count * sizeof(int));
	assert_int_equal(sendmsg(peer, &message, 0), (ssize_t)length);
}

static void
test_a_request_is_one_frame_with_a_new_id(void **state)
{
	uint8_t bytes[256];
	struct imsg imsg;
	struct buf payload;
	uint16_t flags;
	ssize_t length;

	(void)state;
	buf_init(&payload, 64);
	buf_add_text(&payload, "hello");
	assert_true(client_send(&client, CONTROL_STATS, NULL));
	assert_true(client_send(&client, CONTROL_QUEUE_LIST, &payload));
	length = read(peer, bytes, sizeof(bytes));
	assert_int_equal(length, 2 * IMSG_HEADER_SIZE + 5);
	assert_int_equal(imsg_parse_header(bytes, (size_t)length, &imsg, &flags), 16);
	assert_int_equal(imsg.type, CONTROL_STATS);
	assert_int_equal(imsg.id, 1);
	assert_int_equal(imsg_parse_header(bytes + 16, (size_t)length - 16, &imsg, &flags), 21);
	assert_int_equal(imsg.id, 2);
	assert_memory_equal(bytes + 32, "hello", 5);
	buf_free(&payload);
}

static void
test_frames_are_cut_from_a_stream_at_any_byte(void **state)
{
	uint8_t frames[128];
	size_t first = make_frame(frames, CONTROL_LINE, 0, 19, "abc", 3);
	size_t length = first + make_frame(frames + first, CONTROL_DONE, 0, 16, NULL, 0);
	struct imsg imsg;
	const char *why;

	(void)state;
	for (size_t cut = 0; cut <= length; cut++) {
		pid_t child = fork();

		assert_int_not_equal(child, -1);
		if (child == 0) {
			/* Two writes; the reader blocks between them. */
			if (write(peer, frames, cut) != (ssize_t)cut ||
			    write(peer, frames + cut, length - cut) != (ssize_t)(length - cut))
				_exit(1);
			_exit(0);
		}
		assert_true(client_receive(&client, &imsg, &why));
		assert_int_equal(imsg.type, CONTROL_LINE);
		assert_memory_equal(imsg.payload, "abc", 3);
		assert_true(client_receive(&client, &imsg, &why));
		assert_int_equal(imsg.type, CONTROL_DONE);
		assert_int_equal(imsg.length, 0);
	}
}

static void
test_a_descriptor_comes_with_its_frame(void **state)
{
	uint8_t frame[64];
	int fds[2] = { open("/dev/null", O_RDONLY), -1 };
	size_t length = make_frame(frame, CONTROL_DONE, IMSG_FLAG_DESCRIPTOR, 16, NULL, 0);
	struct imsg imsg;
	const char *why;

	(void)state;
	fds[1] = dup(fds[0]);
	send_with_descriptors(frame, length, fds, 2); /* one too many: closed */
	assert_true(client_receive(&client, &imsg, &why));
	assert_int_not_equal(imsg.fd, -1);
	assert_int_equal(fcntl(imsg.fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(client.received_fd, -1);
	close(imsg.fd);
	close(fds[0]);
	close(fds[1]);
}

static void
test_lengths_that_are_not_allowed_end_it(void **state)
{
	static const uint32_t lengths[] = { 0, 15, IMSG_HEADER_SIZE + IMSG_PAYLOAD_MAX + 1,
		0x80000000, UINT32_MAX };
	uint8_t frame[64];
	struct imsg imsg;
	const char *why;

	(void)state;
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		size_t length = make_frame(frame, CONTROL_DONE, 0, lengths[i], NULL, 0);

		set_up(NULL);
		assert_int_equal(write(peer, frame, length), (ssize_t)length);
		assert_false(client_receive(&client, &imsg, &why));
		assert_non_null(strstr(why, "doesn't understand"));
		tear_down(NULL);
	}
}

static void
test_the_largest_frame_fits(void **state)
{
	static uint8_t payload[IMSG_PAYLOAD_MAX], frame[IMSG_HEADER_SIZE + IMSG_PAYLOAD_MAX];
	struct imsg imsg;
	const char *why;

	(void)state;
	memset(payload, 'x', sizeof(payload));
	make_frame(frame, CONTROL_LINE, 0, sizeof(frame), payload, sizeof(payload));
	for (int i = 0; i < 5; i++) {
		assert_int_equal(write(peer, frame, sizeof(frame)), sizeof(frame));
		assert_true(client_receive(&client, &imsg, &why));
		assert_int_equal(imsg.length, IMSG_PAYLOAD_MAX);
	}
}

static void
test_the_end_of_the_connection_is_an_error_not_a_signal(void **state)
{
	struct imsg imsg;
	const char *why;

	(void)state;
	close(peer);
	peer = -1;
	assert_false(client_send(&client, CONTROL_STATS, NULL));
	assert_false(client_receive(&client, &imsg, &why));
}

static void
test_a_socket_that_nobody_serves_is_told_by_the_status(void **state)
{
	char path[200];
	int fd;

	(void)state;
	assert_int_equal(client_connect("/nonexistent/smtpd.sock", &fd), EX_UNAVAILABLE);
	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	assert_int_equal(client_connect(path, &fd), EX_USAGE);
	assert_int_equal(client_connect("/dev/null", &fd), EX_UNAVAILABLE);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		    test_a_request_is_one_frame_with_a_new_id, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_frames_are_cut_from_a_stream_at_any_byte, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_a_descriptor_comes_with_its_frame, set_up, tear_down),
		cmocka_unit_test(test_lengths_that_are_not_allowed_end_it),
		cmocka_unit_test_setup_teardown(test_the_largest_frame_fits, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    test_the_end_of_the_connection_is_an_error_not_a_signal, set_up, tear_down),
		cmocka_unit_test(test_a_socket_that_nobody_serves_is_told_by_the_status),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
