/*
 * Sessions and the processes that they ask: recipients and their mailboxes, and what the client is
 * told when directory, queue or resolver are slow, refuse, or die.
 */
#include "regress/unit/test_listener_fixture.h"

static void
many_recipients_of_one_mailbox_are_one_envelope(void **state)
{
	struct world *w = *state;

	begin(w, "alice@example.org");
	say(w,
	    "RCPT TO:<ALICE@example.org> NOTIFY=NEVER\r\nRCPT TO:<both@example.org>\r\nDATA\r\n");
	hear_code(w, "250 ");
	hear_code(w, "250 ");
	hear_code(w, "354 ");
	say(w, "\r\nx\r\n.\r\n");
	hear_code(w, "250 2.0.0 ");
	assert_int_equal(w->envelopes, 2);
	assert_string_equal(w->envelope[0].dest.local, "alice");
	assert_string_equal(w->envelope[0].rcpt.local, "alice");
	assert_int_equal(w->envelope[0].dsn_notify, 0);
	assert_string_equal(w->envelope[1].dest.local, "bob");
	assert_string_equal(w->envelope[1].rcpt.local, "both");
	assert_null(strstr(w->message, "\tfor ")); /* several recipients: RFC 5321 7.2 */
}

static void
a_mailbox_gets_one_copy_whatever_names_lead_there(void **state)
{
	struct world *w = *state;

	w->listener->protocol = LISTEN_LMTP;
	w->mailbox = 12345;
	begin(w, "alice@example.org");
	say(w, "RCPT TO:<bob@example.org>\r\n");
	hear_code(w, "250 ");
	w->mailbox = 12346;
	say(w, "RCPT TO:<carol@example.org>\r\n");
	hear_code(w, "250 ");
	w->mailbox = 0; /* not known: told apart by name */
	say(w, "RCPT TO:<alice@example.org>\r\nRCPT TO:<dan@example.org>\r\nDATA\r\n");
	hear_code(w, "250 ");
	hear_code(w, "250 ");
	hear_code(w, "354 ");
	say(w, "\r\nx\r\n.\r\n");
	for (unsigned i = 0; i < 5; i++)
		hear_code(w, "250 2.0.0 ");
	say(w, "NOOP\r\n");
	hear(w, "250 2.0.0 ok\r\n");
	assert_int_equal(w->envelopes, 3);
	assert_string_equal(w->envelope[0].dest.local, "alice");
	assert_string_equal(w->envelope[1].dest.local, "carol");
	assert_string_equal(w->envelope[2].dest.local, "dan");
}

static void
recipients_that_lead_to_too_many_mailboxes_are_refused_at_once(void **state)
{
	struct world *w = *state;

	greet(w);
	say(w,
	    "MAIL FROM:<>\r\nRCPT TO:<10001a@example.org>\r\nRCPT TO:<6000a@example.org>\r\n"
	    "RCPT TO:<6000b@example.org>\r\nRCPT TO:<both@example.org>\r\n"
	    "RCPT TO:<6001a@example.org>\r\nDATA\r\n");
	hear_code(w, "250 2.1.0 ");
	hear_code(w, "550 5.5.3 "); /* it would lead to as many in any message */
	hear_code(w, "250 2.1.5 ");
	hear_code(w, "452 4.5.3 "); /* there was another before it */
	hear_code(w, "250 2.1.5 ");
	hear_code(w, "250 2.1.5 "); /* all but one are there already */
	hear_code(w, "354 ");
	say(w, "\r\nx\r\n.\r\n");
	hear_code(w, "250 2.0.0 ");
	assert_int_equal(w->envelopes, 6003);
	/* RFC 5321 4.5.3.1.10: the client comes again with those that are left. */
	say(w, "MAIL FROM:<>\r\nRCPT TO:<6000b@example.org>\r\n");
	hear_code(w, "250 2.1.0 ");
	hear_code(w, "250 2.1.5 ");
}

static void
what_the_queue_refuses_is_not_acknowledged(void **state)
{
	struct world *w = *state;

	w->commit_code = 452;
	begin(w, "alice@example.org");
	say(w, "DATA\r\n");
	hear_code(w, "354 ");
	say(w, "\r\nx\r\n.\r\n");
	hear(w, "452 4.3.1 disk full\r\n");
	say(w, "MAIL FROM:<>\r\n");
	hear_code(w, "250 ");
}

static void
a_queue_that_dies_is_a_temporary_failure(void **state)
{
	struct world *w = *state;

	w->queue_silent = true;
	begin(w, "alice@example.org");
	say(w, "DATA\r\n");
	hear_code(w, "354 ");
	say(w, "\r\nx\r\n.\r\n");
	WAIT_FOR(w, w->commits == 1);
	channel_free(w->queue);
	hear_code(w, "451 4.3.0 ");
	say(w, "MAIL FROM:<>\r\n");
	hear_code(w, "451 4.3.0 ");
	/* Another takes its place; the session goes on. */
	w->queue_silent = false;
	connect_queue(w);
	WAIT_FOR(w, upstream_refusal(w->service.upstream) == NULL);
	say(w, "MAIL FROM:<>\r\nRCPT TO:<alice@example.org>\r\nDATA\r\n");
	hear_code(w, "250 ");
	hear_code(w, "250 ");
	hear_code(w, "354 ");
	say(w, "\r\nx\r\n.\r\n");
	hear_code(w, "250 2.0.0 ");
}

static void
an_id_of_a_queue_that_died_is_not_used(void **state)
{
	struct world *w = *state;

	begin(w, "alice@example.org");
	say(w, "DATA\r\n");
	hear_code(w, "354 ");
	channel_free(w->queue);
	connect_queue(w);
	WAIT_FOR(w, upstream_refusal(w->service.upstream) == NULL);
	say(w, "\r\nx\r\n.\r\n");
	hear_code(w, "451 4.3.0 ");
	assert_int_equal(w->commits, 0);
}

static void
a_directory_that_dies_is_a_temporary_failure(void **state)
{
	struct world *w = *state;

	w->directory_silent = true;
	greet(w);
	say(w, "MAIL FROM:<>\r\nRCPT TO:<alice@example.org>\r\n");
	WAIT_FOR(w, w->questions == 1);
	channel_free(w->directory);
	hear_code(w, "250 ");
	hear_code(w, "451 4.3.0 ");
	say(w, "RCPT TO:<alice@example.org>\r\n");
	hear_code(w, "451 4.3.0 ");
	w->directory_silent = false;
	w->directory = connect_peer(w, PROGRAM_DIRECTORY, on_directory);
	say(w, "RCPT TO:<alice@example.org>\r\n");
	hear_code(w, "250 ");
}

static void
a_directory_that_says_nothing_is_a_temporary_failure_in_time(void **state)
{
	struct world *w = *state;
	int64_t begin_ms;

	w->settings->config->limits.lookup_time = 1;
	w->directory_silent = true;
	greet(w);
	begin_ms = clock_monotonic_ms();
	say(w, "MAIL FROM:<>\r\nRCPT TO:<alice@example.org>\r\n");
	hear_code(w, "250 ");
	hear_code(w, "451 4.3.0 ");
	assert_in_range(clock_monotonic_ms() - begin_ms, 900, 5000);
	/* An answer that comes too late is nobody's. */
	send_reply(w->directory, DIRECTORY_RCPT_DONE, w->rcpt_id, 250, "2.1.5", "ok");
	say(w, "NOOP\r\n");
	hear(w, "250 2.0.0 ok\r\n");
}

static void
a_full_queue_refuses_mail_at_mail(void **state)
{
	struct world *w = *state;

	greet(w);
	send_reply(w->queue, QUEUE_LISTENER_STATE, 0, 452, "4.3.1", "disk full");
	WAIT_FOR(w, upstream_refusal(w->service.upstream) != NULL);
	say(w, "MAIL FROM:<>\r\n");
	hear(w, "452 4.3.1 disk full\r\n");
}

static void
mail_waits_for_the_clients_name(void **state)
{
	struct world *w = *state;

	w->resolver_silent = true;
	greet(w);
	say(w, "MAIL FROM:<>\r\nRCPT TO:<alice@example.org>\r\n");
	WAIT_FOR(w, w->name_id != 0);
	turn(w);
	turn(w);
	assert_int_equal(w->heard_length, 0);
	answer_name(w, "late.example.net");
	hear_code(w, "250 ");
	hear_code(w, "250 ");
	assert_string_equal(w->question.client_name, "late.example.net");
}

static void
without_a_resolver_the_client_has_no_name(void **state)
{
	struct world *w = *state;

	w->resolver_silent = true;
	greet(w);
	say(w, "MAIL FROM:<>\r\n");
	WAIT_FOR(w, w->name_id != 0);
	channel_free(w->resolver);
	w->resolver = NULL;
	hear_code(w, "250 ");
}

static void
ids_that_come_back_are_used_again(void **state)
{
	enum {
		COUNT = 6000
	};
	struct world *w = *state;
	struct mail *mails = calloc(COUNT, sizeof(*mails));
	unsigned requests = 0, round;
	size_t i;

	for (round = 0; round < 3; round++) {
		for (i = 0; i < COUNT; i++) {
			while (!upstream_take_id(w->service.upstream, &mails[i]))
				turn(w);
			assert_int_not_equal(mails[i].message_id, 0);
		}
		if (round == 0)
			requests = w->id_requests;
		for (i = 0; i < COUNT; i++)
			upstream_return_id(w->service.upstream, &mails[i]);
	}
	turn(w);
	/* One more may be asked for when the stock is low once more, but none are lost. */
	assert_in_range(w->id_requests, requests, requests + 2);
	free(mails);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(many_recipients_of_one_mailbox_are_one_envelope),
		TEST(a_mailbox_gets_one_copy_whatever_names_lead_there),
		TEST(recipients_that_lead_to_too_many_mailboxes_are_refused_at_once),
		TEST(what_the_queue_refuses_is_not_acknowledged),
		TEST(a_queue_that_dies_is_a_temporary_failure),
		TEST(an_id_of_a_queue_that_died_is_not_used),
		TEST(a_directory_that_dies_is_a_temporary_failure),
		TEST(a_directory_that_says_nothing_is_a_temporary_failure_in_time),
		TEST(a_full_queue_refuses_mail_at_mail),
		TEST(mail_waits_for_the_clients_name),
		TEST(without_a_resolver_the_client_has_no_name),
		TEST(ids_that_come_back_are_used_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
