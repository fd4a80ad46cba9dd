/*
 * Sessions, played over a socket pair: greeting, order and groups of commands, limits, beginning
 * and end.
 */
#include "regress/unit/test_listener_fixture.h"

static void
pipelined_commands_are_answered_in_order_and_together(void **state)
{
	struct world *w = *state;

	greet(w);
	w->directory_silent = true;
	say(w,
	    "MAIL FROM:<>\r\nRCPT TO:<alice@example.org>\r\nRCPT TO:<no@example.org>\r\n"
	    "RSET\r\nNOOP\r\n");
	WAIT_FOR(w, w->questions == 1);
	turn(w);
	send_target(w, w->rcpt_id, "alice");
	send_reply(w->directory, DIRECTORY_RCPT_DONE, w->rcpt_id, 250, "2.1.5", "ok 1");
	WAIT_FOR(w, w->questions == 2);
	send_reply(w->directory, DIRECTORY_RCPT_DONE, w->rcpt_id, 550, "5.1.1", "no 2");
	hear(w,
	    "250 2.1.0 sender ok\r\n250 2.1.5 ok 1\r\n550 5.1.1 no 2\r\n250 2.0.0 ok\r\n"
	    "250 2.0.0 ok\r\n");
}

static void
text_behind_data_in_one_packet_closes_the_session(void **state)
{
	struct world *w = *state;

	begin(w, "alice@example.org");
	say(w, "DATA\r\nSubject: x\r\n\r\n.\r\nMAIL FROM:<b@example.net>\r\n");
	hear_code(w, "554 5.5.0 ");
	WAIT_FOR(w, w->closed);
	assert_int_equal(w->heard_length, 0);
	assert_int_equal(w->commits, 0);
}

static void
text_behind_a_refused_data_is_no_command(void **state)
{
	struct world *w = *state;

	greet(w);
	say(w,
	    "MAIL FROM:<a@example.net>\r\nRCPT TO:<no@example.org>\r\nDATA\r\n"
	    "RSET\r\nMAIL FROM:<b@example.net>\r\n.\r\n");
	hear_code(w, "250 ");
	hear_code(w, "550 5.1.1 ");
	hear_code(w, "554 5.5.0 ");
	WAIT_FOR(w, w->closed);
	assert_int_equal(w->heard_length, 0);
}

static void
commands_after_ehlo_in_one_packet_close_the_session(void **state)
{
	struct world *w = *state;

	dial(w);
	hear_code(w, "220 ");
	say(w, "EHLO me.example.net\r\nMAIL FROM:<a@example.net>\r\n");
	hear_code(w, "554 5.5.0 ");
	WAIT_FOR(w, w->closed);
}

static void
commands_after_ehlo_in_another_packet_close_the_session(void **state)
{
	static const char *const hellos[] = { "EHLO me.example.net\r\n",
		"HELO me.example.net\r\n" };
	struct world *w = *state;

	for (size_t i = 0; i < 2; i++) {
		dial(w);
		hear_code(w, "220 ");
		say_apart(w, hellos[i], strlen(hellos[i]));
		say(w, "MAIL FROM:<a@example.net>\r\n");
		hear_code(w, "554 5.5.0 ");
		WAIT_FOR(w, w->closed);
		assert_int_equal(w->heard_length, 0);
		hang_up(w);
	}
}

static void
commands_that_change_nothing_may_be_followed_by_others(void **state)
{
	struct world *w = *state;

	greet(w);
	say_apart(w, "NOOP\r\n", 6);
	say_apart(w, "VRFY alice\r\n", 12);
	say(w, "EXPN list\r\nHELP\r\nMAIL FROM:<>\r\n");
	hear_code(w, "250 2.0.0 ");
	hear_code(w, "252 ");
	hear_code(w, "502 ");
	hear_code(w, "214 ");
	hear_code(w, "250 2.1.0 ");
}

/* A PROXY v2 header for 192.0.2.7. */
static const char proxy_header[] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"
                                   "\xc0\0\x02\x07\xc0\0\x02\x01\x12\x34\0\x19";
#define PROXY_HEADER_LENGTH (sizeof(proxy_header) - 1)

static void
behind_a_proxy_too_a_client_must_wait_for_its_greeting(void **state)
{
	struct world *w = *state;

	w->listener->proxy_v2 = true;
	w->from = (struct client){ CLIENT_INET4, { 127, 0, 0, 1 }, false, 0 };
	dial(w);
	say_apart(w, proxy_header, PROXY_HEADER_LENGTH);
	hear_code(w, "220 ");
	hang_up(w);
	dial(w);
	say_apart(w, proxy_header, PROXY_HEADER_LENGTH);
	say(w, "EHLO me.example.net\r\n");
	hear_code(w, "554 5.5.0 ");
	WAIT_FOR(w, w->closed);
}

static void
who_is_no_trusted_proxy_gets_no_session(void **state)
{
	struct world *w = *state;

	w->listener->proxy_v2 = true;
	dial(w);
	assert_int_equal(w->service.session_count, 0);
	hear_code(w, "554 5.7.1 ");
	WAIT_FOR(w, w->closed);
}

static void
connections_without_a_proxy_header_leave_room_for_others(void **state)
{
	enum {
		HALF = 4
	};
	struct world *w = *state;
	int silent[HALF];

	w->settings->config->limits.sessions = 2 * HALF;
	w->settings->config->limits.sessions_per_address = 2;
	w->listener->proxy_v2 = true;
	w->from = (struct client){ CLIENT_INET4, { 127, 0, 0, 1 }, false, 0 };
	for (unsigned i = 0; i < HALF; i++) {
		dial(w);
		turn(w);
		assert_int_equal(w->heard_length, 0);
		silent[i] = w->client;
	}
	dial(w);
	hear_code(w, "421 4.7.0 ");
	close(w->client);
	/* Others aren't kept out: neither a client without a proxy nor another proxy. */
	w->from.address[3] = 2;
	w->from.address[1] = 1;
	dial(w);
	say_apart(w, proxy_header, PROXY_HEADER_LENGTH);
	hear_code(w, "220 ");
	close(w->client);
	w->listener->proxy_v2 = false;
	w->from = (struct client){ CLIENT_INET4, { 192, 0, 2, 1 }, false, 0 };
	dial(w);
	hear_code(w, "220 ");
	close(w->client);
	/* A header makes a place for another, and its client counts by its own address. */
	w->client = silent[0];
	say_apart(w, proxy_header, PROXY_HEADER_LENGTH);
	hear_code(w, "220 ");
	w->listener->proxy_v2 = true;
	w->from = (struct client){ CLIENT_INET4, { 127, 0, 0, 1 }, false, 0 };
	silent[0] = w->client;
	dial(w);
	say_apart(w, proxy_header, PROXY_HEADER_LENGTH);
	hear_code(w, "220 ");
	close(silent[1]);
	silent[1] = w->client;
	dial(w);
	say_apart(w, proxy_header, PROXY_HEADER_LENGTH);
	hear_code(w, "421 4.7.0 ");
	for (unsigned i = 0; i < HALF; i++)
		close(silent[i]);
}

static void
a_client_that_talks_first_is_not_greeted(void **state)
{
	struct world *w = *state;
	struct client client = { CLIENT_INET4, { 192, 0, 2, 1 }, false, 0 };
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	w->client = ends[1];
	say(w, "GET / HTTP/1.1\r\n");
	session_start(&w->service, w->settings, w->listener, &client, ends[0]);
	hear_code(w, "554 5.5.0 ");
	WAIT_FOR(w, w->closed);
}

static void
lmtp_answers_once_for_each_accepted_recipient(void **state)
{
	struct world *w = *state;

	w->listener->protocol = LISTEN_LMTP;
	begin(w, "alice@example.org");
	say(w, "RCPT TO:<no@example.org>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n");
	hear_code(w, "550 ");
	hear_code(w, "250 ");
	hear_code(w, "354 ");
	say(w, "\r\nx\r\n.\r\n");
	hear_code(w, "250 2.0.0 ");
	hear_code(w, "250 2.0.0 ");
	say(w, "NOOP\r\n");
	hear(w, "250 2.0.0 ok\r\n");
	assert_int_equal(w->envelopes, 1);
	assert_non_null(strstr(w->message, "with LMTP id"));
	/* RFC 2033 4.2 */
	say(w, "MAIL FROM:<>\r\nDATA\r\n");
	hear_code(w, "250 ");
	hear_code(w, "503 5.5.1 ");
}

static void
errors_and_idle_commands_are_limited(void **state)
{
	struct world *w = *state;
	unsigned i;

	greet(w);
	for (i = 0; i < 20; i++) {
		say(w, "JUNK\r\n");
		hear_code(w, "500 5.5.1 ");
	}
	say(w, "NOOP\r\n");
	hear_code(w, "421 4.7.0 ");
	WAIT_FOR(w, w->closed);
	hang_up(w);

	greet(w);
	for (i = 0; i < 999; i++) { /* EHLO was the first */
		say(w, "NOOP\r\n");
		hear_code(w, "250 ");
	}
	say(w, "NOOP\r\n");
	hear_code(w, "421 4.7.0 ");
	WAIT_FOR(w, w->closed);
}

static void
stopping_lets_a_message_end_and_no_more(void **state)
{
	struct world *w = *state;

	begin(w, "alice@example.org");
	say(w, "DATA\r\n");
	hear_code(w, "354 ");
	service_stop(&w->service);
	say(w, "\r\nx\r\n.\r\nMAIL FROM:<>\r\n");
	hear_code(w, "250 2.0.0 ");
	hear_code(w, "421 4.3.2 ");
	WAIT_FOR(w, w->closed);
	assert_int_equal(w->commits, 1);
}

static void
replies_not_read_stop_the_reading(void **state)
{
	struct world *w = *state;
	size_t sent = 0, turns;
	ssize_t count;

	w->settings->config->limits.noops = UINT32_MAX;
	greet(w);
	for (turns = 0; turns < 100000; turns++) {
		count = send(
		    w->client, "HELP\r\nHELP\r\nHELP\r\nHELP\r\n", 24, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (count > 0)
			sent += (size_t)count;
		event_base_loop(w->base, EVLOOP_NONBLOCK);
		if (count == -1)
			break;
	}
	/* The server has stopped reading, or all of it would have been taken. */
	assert_true(turns < 100000);
	assert_true(sent < 8 * 1024 * 1024);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(pipelined_commands_are_answered_in_order_and_together),
		TEST(text_behind_data_in_one_packet_closes_the_session),
		TEST(text_behind_a_refused_data_is_no_command),
		TEST(commands_after_ehlo_in_one_packet_close_the_session),
		TEST(commands_after_ehlo_in_another_packet_close_the_session),
		TEST(commands_that_change_nothing_may_be_followed_by_others),
		TEST(behind_a_proxy_too_a_client_must_wait_for_its_greeting),
		TEST(who_is_no_trusted_proxy_gets_no_session),
		TEST(connections_without_a_proxy_header_leave_room_for_others),
		TEST(a_client_that_talks_first_is_not_greeted),
		TEST(lmtp_answers_once_for_each_accepted_recipient),
		TEST(errors_and_idle_commands_are_limited),
		TEST(stopping_lets_a_message_end_and_no_more),
		TEST(replies_not_read_stop_the_reading),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
