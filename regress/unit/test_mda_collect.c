/* What a wrapper hands in: only what is whole counts, once; and nothing that it sends harms the mda. */
#include "test_mda_fixture.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <sysexits.h>

#include "deliver/collect.h"

static struct collect collect;

static int
setup(void **state)
{
	(void)state;
	return collect_open(&collect, 100) ? 0 : -1;
}

static int
teardown(void **state)
{
	(void)state;
	collect_close(&collect);
	return 0;
}

static int
begin(void)
{
	int fd = collect_connect(collect.name);

	assert_int_not_equal(fd, -1);
	return fd;
}

static void
give(int fd, enum collect_packet type, const char *text)
{
	char packet[1 + COLLECT_PACKET_MAX];
	int length = snprintf(packet + 1, sizeof(packet) - 1, "%s", text);

	packet[0] = (char)type;
	assert_int_equal(send(fd, packet, 1 + (size_t)length, MSG_NOSIGNAL), 1 + length);
}

/* All that is to be done. */
static void
attend(void)
{
	struct pollfd fds[2];

	for (;;) {
		collect_poll(&collect, fds);
		if (poll(fds, 2, 0) == 0)
			return;
		collect_attend(&collect);
	}
}

/* The status; closes. */
static int
answer_of(int fd)
{
	char packet[1 + COLLECT_WORDS_MAX];
	ssize_t got;

	attend();
	got = recv(fd, packet, sizeof(packet), MSG_DONTWAIT);
	if (got == -1 && errno == ECONNRESET)
		got = recv(fd, packet, sizeof(packet), MSG_DONTWAIT);
	close(fd);
	assert_in_range(got, 2, sizeof(packet));
	return packet[0];
}

static const char *
text(void)
{
	static char bytes[4096];
	ssize_t got = pread(collect.file, bytes, sizeof(bytes) - 1, 0);

	assert_int_not_equal(got, -1);
	bytes[got] = '\0';
	return bytes;
}

static void
what_came_with_its_end_is_taken(void **state)
{
	int fd = begin();

	(void)state;
	give(fd, COLLECT_DATA, "Subject: x\n");
	give(fd, COLLECT_DATA, "\nhello\n");
	attend();
	assert_int_equal(collect.state, COLLECT_SOME);
	give(fd, COLLECT_END, "");
	assert_int_equal(answer_of(fd), EX_OK);
	assert_int_equal(collect.state, COLLECT_WHOLE);
	assert_string_equal(text(), "Subject: x\n\nhello\n");
	assert_int_equal(collect.size, strlen(text()));
}

static void
what_came_from_one_that_was_killed_is_forgotten(void **state)
{
	int fd = begin();

	(void)state;
	give(fd, COLLECT_DATA, "a long one that is cut");
	attend();
	close(fd);
	attend();
	assert_int_equal(collect.state, COLLECT_LOST);
	fd = begin();
	give(fd, COLLECT_DATA, "short\n");
	give(fd, COLLECT_END, "");
	assert_int_equal(answer_of(fd), EX_OK);
	assert_string_equal(text(), "short\n");
}

static void
nothing_is_no_message(void **state)
{
	int fd = begin();

	(void)state;
	give(fd, COLLECT_END, "");
	assert_int_equal(answer_of(fd), EX_TEMPFAIL);
	assert_int_equal(collect.state, COLLECT_LOST);
}

static void
a_second_message_spoils_the_first(void **state)
{
	int fd = begin(), second = begin();

	(void)state;
	give(fd, COLLECT_DATA, "one\n");
	give(fd, COLLECT_END, "");
	give(second, COLLECT_DATA, "two\n");
	assert_int_equal(answer_of(fd), EX_OK);
	assert_int_equal(answer_of(second), EX_TEMPFAIL);
	assert_int_equal(collect.state, COLLECT_TWICE);
	assert_string_equal(text(), "one\n");
}

static void
one_that_grows_without_end_is_stopped(void **state)
{
	static char much[COLLECT_PACKET_MAX];
	int fd = begin();

	(void)state;
	memset(much, 'x', sizeof(much));
	much[0] = COLLECT_DATA;
	for (;;) {
		ssize_t sent = send(fd, much, sizeof(much), MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent == -1 && errno != EAGAIN)
			break;
		attend();
		assert_in_range(collect.size, 0, collect.limit);
	}
	assert_int_equal(answer_of(fd), EX_TEMPFAIL);
	assert_int_equal(collect.state, COLLECT_LOST);
}

static void
what_is_not_understood_is_refused(void **state)
{
	static const uint8_t kinds[] = { 0, 3, 'G', 255 };
	int fd;

	(void)state;
	for (size_t i = 0; i < sizeof(kinds); i++) {
		fd = begin();
		give(fd, COLLECT_DATA, "x");
		give(fd, kinds[i], "ET / HTTP/1.0");
		assert_int_equal(answer_of(fd), EX_TEMPFAIL);
	}
	fd = begin();
	give(fd, COLLECT_DATA, "x");
	give(fd, COLLECT_END, "more");
	assert_int_equal(answer_of(fd), EX_TEMPFAIL);
	assert_int_equal(collect.state, COLLECT_LOST);
}

/* A socket that has connected to the name, or listens by it, as another user, who can see it. */
static int
another_users(int (*act)(int, const struct sockaddr *, socklen_t))
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t length = strlen(collect.name);
	int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	memcpy(address.sun_path + 1, collect.name, length);
	length += offsetof(struct sockaddr_un, sun_path) + 1;
	assert_int_equal(seteuid(65534), 0);
	assert_int_equal(act(fd, (struct sockaddr *)&address, (socklen_t)length), 0);
	if (act == bind)
		assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(seteuid(0), 0);
	return fd;
}

static void
another_user_can_hand_in_nothing(void **state)
{
	char byte;
	int fd;

	(void)state;
	if (geteuid() != 0)
		skip();
	fd = another_users(connect);
	give(fd, COLLECT_DATA, "Subject: his\n");
	give(fd, COLLECT_END, "");
	attend();
	assert_int_equal(collect.state, COLLECT_NOTHING);
	/* A reset, of what wasn't read, and no answer behind it. */
	(void)recv(fd, &byte, 1, MSG_DONTWAIT);
	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
	close(fd);
}

/* The first one was killed, and what it ran goes on. */
static void
another_user_who_takes_the_name_gets_nothing(void **state)
{
	int fd;

	(void)state;
	if (geteuid() != 0)
		skip();
	collect_close(&collect);
	fd = another_users(bind);
	assert_int_equal(collect_connect(collect.name), -1);
	assert_int_equal(errno, EPERM);
	close(fd);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(what_came_with_its_end_is_taken),
		TEST(what_came_from_one_that_was_killed_is_forgotten),
		TEST(nothing_is_no_message),
		TEST(a_second_message_spoils_the_first),
		TEST(one_that_grows_without_end_is_stopped),
		TEST(what_is_not_understood_is_refused),
		TEST(another_user_can_hand_in_nothing),
		TEST(another_user_who_takes_the_name_gets_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
