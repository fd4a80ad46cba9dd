/*
 * AUTH as RFC 4954 has it, with a directory that the test plays.
 */
#include "regress/unit/test_listener_fixture.h"

/* "\0tim\0tanstaaftanstaaf" */
#define PLAIN "AHRpbQB0YW5zdGFhZnRhbnN0YWFm"

static void
offer(struct world *w)
{
	w->listener->auth = LISTEN_AUTH_REQUIRED;
	w->listener->auth_without_tls = true;
	free(w->listener->auth_table);
	w->listener->auth_table = strdup("people");
}

static void
challenge(struct world *w, const char *text)
{
	struct ipc_auth_data data = { .length = (uint16_t)strlen(text) };
	struct buf buf;

	memcpy(data.bytes, text, data.length);
	buf_init(&buf, IMSG_PAYLOAD_MAX);
	ipc_auth_data_encode(&buf, &data);
	channel_send(w->directory, DIRECTORY_AUTH_CHALLENGE, w->auth_id, 0, -1, &buf);
	buf_free(&buf);
}

static void
finish(struct world *w, unsigned code, const char *enhanced, const char *user)
{
	struct ipc_auth_done done = { .user = "" };
	struct buf buf;

	reply_set(&done.reply, code, enhanced, "words");
	strlcpy(done.user, user, sizeof(done.user));
	buf_init(&buf, IMSG_PAYLOAD_MAX);
	ipc_auth_done_encode(&buf, &done);
	channel_send(w->directory, DIRECTORY_AUTH_DONE, w->auth_id, 0, -1, &buf);
	buf_free(&buf);
}

static void
log_in(struct world *w)
{
	unsigned logins = w->logins;

	say(w, "AUTH PLAIN " PLAIN "\r\n");
	WAIT_FOR(w, w->logins > logins);
	finish(w, 235, "2.7.0", "tim");
	hear(w, "235 2.7.0 words\r\n");
}

/* RFC 4954 4.1's dialogues. */
static void
plain_goes_with_and_without_an_initial_response(void **state)
{
	struct world *w = *state;

	offer(w);
	greet(w);
	say(w, "AUTH PLAIN\r\n");
	WAIT_FOR(w, w->logins == 1);
	assert_int_equal(w->auth.mechanism, SASL_PLAIN);
	assert_false(w->auth.has_initial);
	assert_string_equal(w->auth.table, "people");
	assert_string_equal(w->auth.service, "smtp");
	assert_int_equal(w->auth.client_family, CLIENT_INET4);
	assert_memory_equal(w->auth.client_address, "\300\0\2\1", 4);
	challenge(w, "");
	hear(w, "334 \r\n");
	say(w, PLAIN "\r\n");
	WAIT_FOR(w, w->responses == 1);
	assert_int_equal(w->auth_data.length, 21);
	assert_memory_equal(w->auth_data.bytes, "\0tim\0tanstaaftanstaaf", 21);
	finish(w, 535, "5.7.8", "");
	hear(w, "535 5.7.8 words\r\n");
	say(w, "auth plain " PLAIN "\r\n");
	WAIT_FOR(w, w->logins == 2);
	assert_true(w->auth.has_initial);
	assert_memory_equal(w->auth.initial.bytes, "\0tim\0tanstaaftanstaaf", 21);
	finish(w, 235, "2.7.0", "tim");
	hear(w, "235 2.7.0 words\r\n");
}

static void
login_is_asked_step_by_step(void **state)
{
	struct world *w = *state;

	offer(w);
	greet(w);
	say(w, "AUTH LOGIN\r\n");
	WAIT_FOR(w, w->logins == 1);
	challenge(w, "Username:");
	hear(w, "334 VXNlcm5hbWU6\r\n");
	say(w, "dGlt\r\n");
	WAIT_FOR(w, w->responses == 1);
	challenge(w, "Password:");
	hear(w, "334 UGFzc3dvcmQ6\r\n");
	say(w, "c2VjcmV0\r\n");
	WAIT_FOR(w, w->responses == 2);
	assert_memory_equal(w->auth_data.bytes, "secret", 6);
	finish(w, 235, "2.7.0", "tim");
	hear(w, "235 2.7.0 words\r\n");
	/* RFC 4954 4: once only. */
	say(w, "AUTH LOGIN\r\n");
	hear_code(w, "503 5.5.1 ");
	assert_int_equal(w->cancels, 0);
}

static void
an_equals_sign_is_an_empty_initial_response(void **state)
{
	struct world *w = *state;

	offer(w);
	greet(w);
	say(w, "AUTH LOGIN =\r\n");
	WAIT_FOR(w, w->logins == 1);
	assert_true(w->auth.has_initial);
	assert_int_equal(w->auth.initial.length, 0);
	finish(w, 535, "5.7.8", "");
	hear_code(w, "535 5.7.8 ");
}

static void
mail_waits_for_the_login_and_carries_the_user(void **state)
{
	struct world *w = *state;

	offer(w);
	free(w->listener->senders_table);
	w->listener->senders_table = strdup("names");
	w->listener->received_auth = true;
	greet(w);
	say(w, "MAIL FROM:<a@example.net>\r\n");
	hear_code(w, "530 5.7.0 ");
	log_in(w);
	say(w, "MAIL FROM:<a@example.net> AUTH=<>\r\nRCPT TO:<bob@example.org>\r\n");
	hear_code(w, "250 ");
	hear_code(w, "250 ");
	assert_string_equal(w->question.auth_user, "tim");
	assert_string_equal(w->question.senders_table, "names");
	say(w, "AUTH PLAIN " PLAIN "\r\n");
	hear_code(w, "503 5.5.1 ");
	say(w, "DATA\r\n");
	hear_code(w, "354 ");
	say(w, "Subject: x\r\n\r\n.\r\n");
	hear_code(w, "250 ");
	assert_string_equal(w->transaction.auth_user, "tim");
	assert_non_null(strstr(w->message, "(Postern) with ESMTPA id "));
	assert_non_null(strstr(w->message, "(authenticated as tim)"));
}

static void
optional_logins_are_optional(void **state)
{
	struct world *w = *state;

	offer(w);
	w->listener->auth = LISTEN_AUTH_OPTIONAL;
	greet(w);
	say(w, "MAIL FROM:<a@example.net>\r\nRCPT TO:<bob@example.org>\r\n");
	hear_code(w, "250 ");
	hear_code(w, "250 ");
	assert_string_equal(w->question.auth_user, "");
	say(w, "AUTH PLAIN " PLAIN "\r\n");
	hear_code(w, "503 5.5.1 ");
}

static void
what_is_offered_is_told_in_ehlo(void **state)
{
	struct world *w = *state;

	dial(w);
	hear_code(w, "220 ");
	say(w, "EHLO x.test\r\n");
	WAIT_FOR(w, strstr(w->heard, "250 HELP\r\n") != NULL);
	assert_null(strstr(w->heard, "AUTH"));
	hang_up(w);
	offer(w);
	dial(w);
	hear_code(w, "220 ");
	say(w, "EHLO x.test\r\n");
	WAIT_FOR(w, strstr(w->heard, "250 HELP\r\n") != NULL);
	assert_non_null(strstr(w->heard, "250-AUTH PLAIN LOGIN\r\n"));
	hang_up(w);
	free(w->listener->auth_table);
	w->listener->auth_table = strdup("accounts");
	dial(w);
	hear_code(w, "220 ");
	say(w, "EHLO x.test\r\n");
	WAIT_FOR(w, strstr(w->heard, "250 HELP\r\n") != NULL);
	assert_non_null(strstr(w->heard, "250-AUTH SCRAM-SHA-256 PLAIN LOGIN\r\n"));
	hang_up(w);
	/* In the clear, and not allowed there. */
	w->listener->auth_without_tls = false;
	dial(w);
	hear_code(w, "220 ");
	say(w, "EHLO x.test\r\n");
	WAIT_FOR(w, strstr(w->heard, "250 HELP\r\n") != NULL);
	assert_null(strstr(w->heard, "AUTH"));
}

static void
a_command_that_cannot_be_a_login_is_refused(void **state)
{
	struct world *w = *state;

	greet(w);
	say(w, "AUTH PLAIN " PLAIN "\r\n");
	hear_code(w, "502 5.5.1 ");
	hang_up(w);
	offer(w);
	dial(w);
	hear_code(w, "220 ");
	say(w, "AUTH PLAIN " PLAIN "\r\n");
	hear_code(w, "503 5.5.1 ");
	say(w, "HELO x.test\r\n");
	hear_code(w, "250 ");
	say(w, "AUTH PLAIN " PLAIN "\r\n");
	hear_code(w, "503 5.5.1 ");
	hang_up(w);
	greet(w);
	say(w, "AUTH\r\n");
	hear_code(w, "501 5.5.4 ");
	say(w, "AUTH CRAM-MD5\r\n");
	hear_code(w, "504 5.5.4 ");
	say(w, "AUTH SCRAM-SHA-256-PLUS\r\n");
	hear_code(w, "504 5.5.4 ");
	say(w, "AUTH PLAIN not-base64\r\n");
	hear_code(w, "501 5.5.2 ");
	say(w, "AUTH PLAIN " PLAIN " " PLAIN "\r\n");
	hear_code(w, "501 5.5.2 ");
	say(w, "AUTH PLAIN ==\r\n");
	hear_code(w, "501 5.5.2 ");
	w->listener->auth_without_tls = false;
	say(w, "AUTH PLAIN " PLAIN "\r\n");
	hear_code(w, "538 5.7.11 ");
	assert_int_equal(w->logins, 0);
}

static void
a_dialogue_ends_by_what_is_not_a_response(void **state)
{
	static const struct {
		const char *line;
		const char *reply;
	} cases[] = {
		{ "*\r\n", "501 5.7.0 " }, /* RFC 4954 4 */
		{ "junk!\r\n", "501 5.5.2 " },
		{ "dGlt=\r\n", "501 5.5.2 " },
		{ "dGlt\n", "500 5.5.2 " },
		{ " dGlt\r\n", "501 5.5.2 " },
	};
	struct world *w = *state;

	offer(w);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		greet(w);
		say(w, "AUTH LOGIN\r\n");
		WAIT_FOR(w, w->logins == i + 1);
		challenge(w, "Username:");
		hear_code(w, "334 ");
		say(w, cases[i].line);
		hear_code(w, cases[i].reply);
		WAIT_FOR(w, w->cancels == i + 1);
		say(w, "NOOP\r\n");
		hear_code(w, "250 ");
		hang_up(w);
	}
	assert_int_equal(w->responses, 0);
}

static void
a_line_may_be_as_long_as_the_rfc_says(void **state)
{
	struct world *w = *state;
	char line[12290];

	offer(w);
	greet(w);
	say(w, "AUTH PLAIN\r\n");
	WAIT_FOR(w, w->logins == 1);
	challenge(w, "");
	hear_code(w, "334 ");
	memset(line, 'A', sizeof(line));
	memcpy(line + 12284, "\r\n", 3);
	say(w, line);
	WAIT_FOR(w, w->responses == 1);
	assert_int_equal(w->auth_data.length, 12284 / 4 * 3);
	challenge(w, "");
	hear_code(w, "334 ");
	memset(line, 'A', sizeof(line));
	memcpy(line + sizeof(line) - 3, "\r\n", 3);
	say(w, line);
	hear_code(w, "500 5.5.6 ");
	WAIT_FOR(w, w->cancels == 1);
	say(w, "NOOP\r\n");
	hear_code(w, "250 ");
}

static void
a_login_fails_for_now_when_the_directory_is_away(void **state)
{
	struct world *w = *state;

	offer(w);
	greet(w);
	say(w, "AUTH PLAIN " PLAIN "\r\n");
	WAIT_FOR(w, w->logins == 1);
	channel_free(w->directory);
	w->directory = NULL;
	hear_code(w, "454 4.7.0 ");
	say(w, "AUTH PLAIN " PLAIN "\r\n");
	hear_code(w, "454 4.7.0 ");
	w->directory = connect_peer(w, PROGRAM_DIRECTORY, on_directory);
	log_in(w);
}

static void
a_client_that_leaves_ends_its_login(void **state)
{
	struct world *w = *state;

	offer(w);
	greet(w);
	say(w, "AUTH LOGIN\r\n");
	WAIT_FOR(w, w->logins == 1);
	challenge(w, "Username:");
	hear_code(w, "334 ");
	hang_up(w);
	WAIT_FOR(w, w->cancels == 1);
}

static void
commands_behind_a_login_wait_for_it(void **state)
{
	struct world *w = *state;

	offer(w);
	greet(w);
	say(w, "AUTH PLAIN " PLAIN "\r\nMAIL FROM:<a@example.net>\r\n");
	WAIT_FOR(w, w->logins == 1);
	finish(w, 235, "2.7.0", "tim");
	hear(w, "235 2.7.0 words\r\n250 2.1.0 sender ok\r\n");
}

static void
a_server_that_stops_asks_no_more(void **state)
{
	struct world *w = *state;

	offer(w);
	greet(w);
	say(w, "AUTH LOGIN\r\n");
	WAIT_FOR(w, w->logins == 1);
	service_stop(&w->service);
	challenge(w, "Username:");
	hear_code(w, "421 4.3.2 ");
	WAIT_FOR(w, w->closed);
	WAIT_FOR(w, w->cancels == 1);
}

static void
passwords_dont_stay_in_the_buffer(void **state)
{
	struct world *w = *state;

	offer(w);
	greet(w);
	log_in(w);
	assert_null(memmem(w->service.buffer, 1000, "AHRpbQB0", 8));
	hang_up(w);
	greet(w);
	say(w, "AUTH LOGIN\r\n");
	WAIT_FOR(w, w->logins == 2);
	challenge(w, "Username:");
	hear_code(w, "334 ");
	say(w, "c2VzYW1l\r\n");
	WAIT_FOR(w, w->responses == 1);
	assert_null(memmem(w->service.buffer, 1000, "c2VzYW1l", 8));
	finish(w, 535, "5.7.8", "");
	hear_code(w, "535 ");
}

/* What clients send that don't wait, or don't understand that they were refused. */
static void
nothing_of_a_login_is_logged_or_traced(void **state)
{
	static const char *const refusals[] = { "AUTH LOGIN\r\n", "AUTH NONE\r\n",
		"AUTH LOGIN =x\r\n" };
	static const char secrets[] = "c2VzYW1l\r\n"
	                              "open c2VzYW1l\tx\r\n"
	                              "c2VzYW1l\n";
	struct world *w = *state;
	char text[65536] = "";
	int fds[2];

	assert_int_equal(pipe(fds), 0);
	log_open("listener", LOG_TARGET_STDERR, fds[1]);
	log_set_trace(LOG_TRACE_ALL);
	for (size_t i = 0; i < 3; i++) {
		if (i == 1)
			offer(w);
		greet(w);
		say(w, refusals[i]);
		hear_code(w, "50");
		say(w, secrets);
		hear_code(w, "500 ");
		hear_code(w, "500 ");
		hear_code(w, "500 ");
		say(w, "XYZZY\r\nNOOP\r\nPLUGH\r\n");
		hear_code(w, "500 ");
		hear_code(w, "250 ");
		hear_code(w, "500 ");
		hang_up(w);
	}
	greet(w);
	say(w, "AUTH LOGIN\r\n");
	WAIT_FOR(w, w->logins == 1);
	challenge(w, "Username:");
	hear_code(w, "334 ");
	say(w, "c2VzYW1l\r\n");
	WAIT_FOR(w, w->responses == 1);
	challenge(w, "Password:");
	hear_code(w, "334 ");
	say(w, "c2VzYW1l!\r\n");
	hear_code(w, "501 ");
	say(w, "c2VzYW1l\r\n");
	hear_code(w, "500 ");
	hang_up(w);
	log_set_trace(0);
	log_open("test", LOG_TARGET_STDERR, open("/dev/null", O_WRONLY));
	assert_true(read(fds[0], text, sizeof(text) - 1) > 0);
	close(fds[0]);
	assert_null(strstr(text, "c2VzYW1l"));
	assert_null(strstr(text, "XYZZY"));
	assert_non_null(strstr(text, "PLUGH"));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(plain_goes_with_and_without_an_initial_response),
		TEST(login_is_asked_step_by_step),
		TEST(an_equals_sign_is_an_empty_initial_response),
		TEST(mail_waits_for_the_login_and_carries_the_user),
		TEST(optional_logins_are_optional),
		TEST(what_is_offered_is_told_in_ehlo),
		TEST(a_command_that_cannot_be_a_login_is_refused),
		TEST(a_dialogue_ends_by_what_is_not_a_response),
		TEST(a_line_may_be_as_long_as_the_rfc_says),
		TEST(a_login_fails_for_now_when_the_directory_is_away),
		TEST(a_client_that_leaves_ends_its_login),
		TEST(commands_behind_a_login_wait_for_it),
		TEST(a_server_that_stops_asks_no_more),
		TEST(passwords_dont_stay_in_the_buffer),
		TEST(nothing_of_a_login_is_logged_or_traced),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
