/*
 * Sessions: from DATA or BDAT to the 250, and what the queue gets.
 */
#include "regress/unit/test_listener_fixture.h"

static void
a_message_is_committed_and_then_acknowledged(void **state)
{
	struct world *w = *state;
	char expected[200];

	greet(w);
	say(w, "MAIL FROM:<a@example.net> SIZE=100 RET=HDRS ENVID=q+2B1\r\n");
	hear(w, "250 2.1.0 sender ok\r\n");
	say(w, "RCPT TO:<Alice@example.org> NOTIFY=DELAY ORCPT=rfc822;A@example.org\r\n");
	hear(w, "250 2.1.5 recipient ok\r\n");
	say(w, "DATA\r\n");
	hear_code(w, "354 ");
	w->queue_silent = true;
	say(w, "Subject: x\r\n\r\n..\r\n.\r\n");
	WAIT_FOR(w, w->commits == 1);
	turn(w);
	assert_int_equal(w->heard_length, 0); /* nothing before it is on stable storage */
	channel_send(w->queue, QUEUE_LISTENER_COMMITTED, w->commit_id, 0, -1, NULL);
	snprintf(expected, sizeof(expected), "250 2.0.0 %08x Message accepted for delivery\r\n",
	    w->commit_peer);
	hear(w, expected);

	assert_int_equal(w->question.client_family, CLIENT_INET4);
	assert_int_equal(w->question.client_address[3], 1);
	assert_string_equal(w->question.client_name, "client.example.net");
	assert_string_equal(w->question.helo, "me.example.net");
	assert_string_equal(w->question.tag, "mx");
	assert_int_equal(w->question.size, 100);
	assert_int_equal(w->transaction.message_id, w->commit_peer);
	assert_string_equal(w->transaction.sender.local, "a");
	assert_string_equal(w->transaction.client, "192.0.2.1");
	assert_string_equal(w->transaction.client_name, "client.example.net");
	assert_string_equal(w->transaction.helo, "me.example.net");
	assert_int_equal(w->transaction.dsn_return, DSN_RETURN_HEADERS);
	assert_string_equal(w->transaction.dsn_envid, "q+1");
	assert_int_equal(w->transaction.size, w->message_length);
	assert_int_equal(w->envelopes, 1);
	assert_int_equal(w->envelope[0].id, envelope_id_make(w->commit_peer, 1));
	assert_string_equal(w->envelope[0].rcpt.local, "Alice");
	assert_int_equal(w->envelope[0].dsn_notify, DSN_NOTIFY_DELAY);
	assert_string_equal(w->envelope[0].dsn_orcpt, "rfc822;A@example.org");
	assert_string_equal(w->envelope[0].action, "in");
	snprintf(expected, sizeof(expected),
	    "Received: from me.example.net (client.example.net [192.0.2.1])\r\n"
	    "\tby mx.example.org (Postern) with ESMTP id %08x\r\n\tfor <Alice@example.org>;\r\n",
	    w->commit_peer);
	assert_memory_equal(w->message, expected, strlen(expected));
	assert_string_equal(strstr(w->message, "Subject"), "Subject: x\r\n\r\n.\r\n");
	say(w, "QUIT\r\n");
	hear_code(w, "221 2.0.0 ");
	WAIT_FOR(w, w->closed);
}

static void
bdat_chunks_make_one_message(void **state)
{
	struct world *w = *state;

	begin(w, "alice@example.org");
	say(w, "BDAT 9\r\n\r\n.\r\nab\r\nBDAT 5\r\ncd\r\n.BDAT 0 LAST\r\n");
	hear_code(w, "250 2.0.0 chunk");
	hear_code(w, "250 2.0.0 chunk");
	hear_code(w, "250 2.0.0 ");
	assert_int_equal(w->commits, 1);
	assert_string_equal(strstr(w->message, "\r\n\r\n"), "\r\n\r\n.\r\nab\r\ncd\r\n.\r\n");
	say(w, "BDAT 3 LAST\r\nxy\nNOOP\r\n"); /* RFC 3030 2: LAST twice */
	hear_code(w, "503 5.5.1 ");
	hear_code(w, "250 2.0.0 ok");
}

static void
a_chunk_of_a_failed_transaction_is_read_and_dropped(void **state)
{
	struct world *w = *state;

	greet(w);
	say(w,
	    "MAIL FROM:<a@example.net>\r\nRCPT TO:<no@example.org>\r\n"
	    "BDAT 16\r\nRSET\r\nNOOP\r\nab\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n");
	hear_code(w, "250 ");
	hear_code(w, "550 ");
	hear_code(w, "554 5.5.1 ");
	hear_code(w, "554 5.5.1 ");
	hear(w, "250 2.0.0 ok\r\n");
}

static void
data_and_bdat_do_not_mix(void **state)
{
	struct world *w = *state;

	begin(w, "alice@example.org");
	say(w, "BDAT 2\r\n\r\n");
	hear_code(w, "250 ");
	say(w, "DATA\r\n");
	hear_code(w, "503 5.5.1 "); /* RFC 3030 2 */
	say(w, "RCPT TO:<bob@example.org>\r\n");
	hear_code(w, "503 5.5.1 ");
	say(w, "RSET\r\nMAIL FROM:<>\r\n");
	hear_code(w, "250 ");
	hear_code(w, "250 ");
}

static void
a_chunk_size_that_says_nothing_closes_the_session(void **state)
{
	static const char *const commands[] = { "BDAT -1\r\n", "BDAT\r\n", "BDAT x\r\n",
		"BDAT 123456789012345678901\r\n", "BDAT 1 FIRST\r\n",
		"BDAT 99999999999999999999 LAST\r\n", "BDAT 1e3\r\n" };
	struct world *w = *state;
	size_t i;

	for (i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		begin(w, "alice@example.org");
		say(w, commands[i]);
		hear_code(w, strstr(commands[i], "LAST") != NULL ? "552 5.3.4 " : "501 5.5.4 ");
		WAIT_FOR(w, w->closed);
		hang_up(w);
	}
}

static void
a_large_message_goes_to_a_spool_file(void **state)
{
	struct world *w = *state;
	char *text = malloc(3000001);
	size_t sent = 0;
	ssize_t count;

	memset(text, 'x', 3000000);
	for (size_t i = 0; i + 100 <= 3000000; i += 100)
		memcpy(text + i + 98, "\r\n", 2);
	text[3000000] = '\0';
	begin(w, "alice@example.org");
	say(w, "DATA\r\n");
	hear_code(w, "354 ");
	while (sent < 3000000) {
		count = send(w->client, text + sent, 3000000 - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (count > 0)
			sent += (size_t)count;
		turn(w);
	}
	say(w, ".\r\n");
	hear_code(w, "250 2.0.0 ");
	assert_int_equal(w->files, 1);
	assert_int_equal(w->transaction.size, w->message_length);
	assert_int_equal(strlen(strstr(w->message, "xxxx")), 3000000);
	assert_string_equal(strstr(w->message, "xxxx"), text);
	free(text);
}

static void
send_large(struct world *w)
{
	char block[8193];
	size_t i;

	memset(block, 'x', sizeof(block));
	strcpy(block + 8190, "\r\n");
	say(w, "\r\n");
	for (i = 0; i < 200; i++) {
		size_t sent = 0;

		while (sent < 8192) {
			ssize_t count =
			    send(w->client, block + sent, 8192 - sent, MSG_DONTWAIT | MSG_NOSIGNAL);

			if (count > 0)
				sent += (size_t)count;
			turn(w);
		}
	}
	say(w, ".\r\n");
}

static void
no_spool_file_is_a_temporary_failure(void **state)
{
	struct world *w = *state;

	w->file_code = 452;
	begin(w, "alice@example.org");
	say(w, "DATA\r\n");
	hear_code(w, "354 ");
	send_large(w);
	hear_code(w, "452 4.3.1 ");
	WAIT_FOR(w, w->aborts == 1);
	say(w, "NOOP\r\n");
	hear_code(w, "250 ");
	assert_int_equal(w->commits, 0);
}

static void
refused_text_is_read_to_its_end(void **state)
{
	struct world *w = *state;

	begin(w, "alice@example.org");
	say(w, "DATA\r\n");
	hear_code(w, "354 ");
	say(w, "\r\nx\n.\nMAIL FROM:<evil@example.net>\r\nRCPT TO:<alice@example.org>\r\n");
	turn(w);
	say(w, ".\r\nNOOP\r\n");
	hear_code(w, "550 5.6.11 ");
	hear(w, "250 2.0.0 ok\r\n");
	assert_int_equal(w->commits, 0);
	assert_int_equal(w->questions, 1);
}

static void
a_client_gone_during_the_commit_harms_nothing(void **state)
{
	struct world *w = *state;

	w->queue_silent = true;
	begin(w, "alice@example.org");
	say(w, "DATA\r\n");
	hear_code(w, "354 ");
	say(w, "\r\nx\r\n.\r\n");
	WAIT_FOR(w, w->commits == 1);
	close(w->client);
	w->client = -1;
	turn(w);
	channel_send(w->queue, QUEUE_LISTENER_COMMITTED, w->commit_id, 0, -1, NULL);
	WAIT_FOR(w, w->service.session_count == 0);
	assert_int_equal(w->aborts, 0);
}

static void
a_disconnect_in_the_text_leaves_nothing(void **state)
{
	struct world *w = *state;

	begin(w, "alice@example.org");
	say(w, "DATA\r\n");
	hear_code(w, "354 ");
	say(w, "\r\nx\r\n");
	turn(w);
	hang_up(w);
	assert_int_equal(w->commits, 0);
	assert_int_equal(w->envelopes, 0);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_message_is_committed_and_then_acknowledged),
		TEST(bdat_chunks_make_one_message),
		TEST(a_chunk_of_a_failed_transaction_is_read_and_dropped),
		TEST(data_and_bdat_do_not_mix),
		TEST(a_chunk_size_that_says_nothing_closes_the_session),
		TEST(a_large_message_goes_to_a_spool_file),
		TEST(no_spool_file_is_a_temporary_failure),
		TEST(refused_text_is_read_to_its_end),
		TEST(a_client_gone_during_the_commit_harms_nothing),
		TEST(a_disconnect_in_the_text_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
