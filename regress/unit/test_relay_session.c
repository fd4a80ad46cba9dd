/* Dialogues with servers, well-behaved and not, and what the queue is told of them. */
#include "test_relay_fixture.h"

#define GREETING "S: 220 mx1.test ESMTP\nC: EHLO relay.test\n"
#define PLAIN    GREETING "S: 250 mx1.test\n"
#define PIPELINE GREETING "S: 250-mx1.test\nS: 250-SIZE\nS: 250 PIPELINING\n"
#define SENT     "T:\nS: 250 2.0.0 taken\n"
#define ONE                                                                                  \
	"C: MAIL FROM:<a@client.test>*\nS: 250 ok\nC: RCPT TO:<u1@example.org>\nS: 250 ok\n" \
	"C: DATA\nS: 354 go\n" SENT
#define BYE "C: QUIT\nS: 221 bye\n"

static void
deliver(const char *script, unsigned code, const char *enhanced)
{
	struct server *server = add_server(script, NULL);
	unsigned task;

	use_servers("smtp+notls");
	task = submit(1);
	wait_done(task);
	check_result(task, 1, code, enhanced);
	if (*server->wrong != '\0')
		fail_msg("%s", server->wrong);
}

static void
test_delivers_to_a_plain_server(void **state)
{
	(void)state;
	deliver(PLAIN ONE "W:", 250, "2.0.0");
	assert_string_equal(w.servers[0].text, "Subject: x\r\n\r\nhello\r\n");
	assert_string_equal(result_of(0, 1)->host, "mx1.test");
	assert_string_equal(result_of(0, 1)->address, "127.0.0.1");
	assert_true(result_of(0, 1)->remote);
	assert_string_equal(w.outcomes[0].done.dialogue, "");
}

static void
test_helo_when_ehlo_is_refused(void **state)
{
	(void)state;
	deliver(GREETING "S: 502 what\nC: HELO relay.test\nS: 250 ok\n" ONE "W:", 250, "2.0.0");
}

static void
test_replies_a_byte_at_a_time(void **state)
{
	(void)state;
	deliver("s: 220-hello\ns: 220 hello\nC: EHLO *\ns: 250-mx\ns: 250 PIPELINING\n" ONE "W:",
	    250, "2.0.0");
}

static void
test_each_recipient_has_its_reply(void **state)
{
	static const char script[] = PIPELINE
	    "C: MAIL FROM:<a@client.test> SIZE=*\nC: RCPT TO:<u1@example.org>\n"
	    "C: RCPT TO:<u2@example.org>\nC: RCPT TO:<u3@example.org>\nC: DATA\n"
	    "S: 250 ok\nS: 250 ok\nS: 550 5.1.1 who?\nS: 450 4.2.0 later\nS: 354 go\n" SENT "W:";
	struct server *server = add_server(script, NULL);
	unsigned task;

	(void)state;
	use_servers("smtp+notls");
	task = submit(3);
	wait_done(task);
	check_result(task, 1, 250, "2.0.0");
	check_result(task, 2, 550, "5.1.1");
	check_result(task, 3, 450, "4.2.0");
	assert_int_equal(result_of(task, 2)->fault, RELAY_FAULT_NONE);
	assert_non_null(strstr(
	    w.outcomes[task].done.dialogue, "mx1.test[127.0.0.1]: >>> RCPT TO:<u2@example.org>\n"));
	assert_non_null(
	    strstr(w.outcomes[task].done.dialogue, "mx1.test[127.0.0.1]: <<< 550 5.1.1 who?\n"));
	assert_null(strstr(w.outcomes[task].done.dialogue, "hello"));
	check_server(server, 1);
}

static void
test_the_connection_is_used_again(void **state)
{
	struct server *server = add_server(PIPELINE ONE ONE ONE BYE, NULL);
	unsigned task;

	(void)state;
	use_servers("smtp+notls");
	for (int i = 0; i < 3; i++) {
		task = submit(1);
		wait_done(task);
		check_result(task, 1, 250, "2.0.0");
	}
	pool_quit_idle(w.pool);
	while (pool_session_count(w.pool) > 0)
		run_for(10);
	check_server(server, 1);
	assert_int_equal(w.questions, 1);
}

static void
test_a_connection_takes_its_number_of_messages(void **state)
{
	struct server *server = add_server(PIPELINE ONE ONE BYE, PIPELINE ONE "W:", NULL);
	unsigned last = 0;

	(void)state;
	w.config->mta_messages_per_session = 2;
	w.config->mta_sessions_per_host = 1;
	use_servers("smtp+notls");
	for (int i = 0; i < 3; i++)
		last = submit(1);
	wait_done(last);
	check_server(server, 2);
}

/* One reply too many, and all that follow are for the command before. */
static void
test_who_speaks_out_of_turn_gets_no_more(void **state)
{
	struct server *server = add_server(PIPELINE
	    "C: MAIL *\nC: RCPT *\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\nT:\n"
	    "S: 250 2.0.0 taken|250 2.0.0 what?\nW:",
	    PIPELINE ONE "W:", NULL);
	unsigned first, second;

	(void)state;
	w.config->mta_sessions_per_host = 1;
	use_servers("smtp+notls");
	first = submit(1);
	second = submit(1);
	wait_done(first);
	wait_done(second);
	check_result(first, 1, 250, "2.0.0");
	check_result(second, 1, 250, "2.0.0");
	check_server(server, 2);
}

static void
test_text_that_was_not_sent_is_not_answered(void **state)
{
	(void)state;
	deliver(PIPELINE "C: MAIL *\nC: RCPT *\nC: DATA\nS: 250 ok\nS: 250 ok\n"
	                 "S: 354 go|250 2.0.0 taken\nW:",
	    451, "4.5.0");
}

static void
test_chunks_that_were_not_sent_are_not_answered(void **state)
{
	(void)state;
	deliver(GREETING "S: 250-mx\nS: 250-PIPELINING\nS: 250 CHUNKING\nC: MAIL *\nC: RCPT *\n"
	                 "S: 250 ok\nS: 250 ok|250 2.0.0 taken\nW:",
	    451, "4.5.0");
}

static void
test_nobody_taken_but_data_is(void **state)
{
	static const char script[] = PIPELINE "C: MAIL *\nC: RCPT *\nC: DATA\nS: 250 ok\nS: 550 "
	                                      "5.1.1 no\nS: 354 go\nC: .\nS: 554 none\n" ONE "W:";
	struct server *server = add_server(script, NULL);
	unsigned task;

	(void)state;
	use_servers("smtp+notls");
	task = submit(1);
	wait_done(task);
	check_result(task, 1, 550, "5.1.1");
	task = submit(1);
	wait_done(task);
	check_server(server, 1);
	assert_string_equal(server->text, "Subject: x\r\n\r\nhello\r\n");
}

static void
test_refused_data_needs_a_reset(void **state)
{
	static const char script[] =
	    PIPELINE "C: MAIL *\nC: RCPT *\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 554 5.7.1 spam\n"
	             "C: RSET\nS: 250 ok\n" ONE "W:";
	unsigned task;

	(void)state;
	(void)add_server(script, NULL);
	use_servers("smtp+notls");
	task = submit(1);
	wait_done(task);
	check_result(task, 1, 554, "5.7.1");
	task = submit(1);
	wait_done(task);
	check_result(task, 1, 250, "2.0.0");
}

static void
test_refused_mail_is_final(void **state)
{
	static const char script[] =
	    PIPELINE "C: MAIL *\nC: RCPT *\nC: RCPT *\nC: DATA\nS: 550 5.7.1 no\nS: 503 no\nS: 503 "
	             "no\nS: 503 no\n" ONE "W:";
	unsigned task;

	(void)state;
	(void)add_server(script, NULL);
	(void)add_server(NULL);
	use_servers("smtp+notls");
	task = submit(2);
	wait_done(task);
	check_result(task, 1, 550, "5.7.1");
	check_result(task, 2, 550, "5.7.1");
	task = submit(1);
	wait_done(task);
	check_result(task, 1, 250, "2.0.0");
}

static void
test_a_reply_to_text_is_for_all(void **state)
{
	(void)state;
	deliver(PLAIN "C: MAIL *\nS: 250 ok\nC: RCPT *\nS: 250 ok\nC: DATA\nS: 354 go\nT:\nS: 552 "
	              "5.3.4 big\nW:",
	    552, "5.3.4");
}

/* The first server fails in that way, and the second gets the mail. */
static void
check_next_host(const char *script)
{
	unsigned task;

	(void)add_server(script, NULL);
	(void)add_server(PLAIN ONE "W:", NULL);
	use_servers("smtp+notls");
	task = submit(1);
	wait_done(task);
	check_result(task, 1, 250, "2.0.0");
	assert_string_equal(result_of(task, 1)->host, "mx2.test");
	assert_string_not_equal(w.outcomes[task].done.dialogue, "");
	check_server(&w.servers[1], 1);
}

static void
test_next_host_when_nobody_is_there(void **state)
{
	(void)state;
	check_next_host(NULL);
}

static void
test_next_host_after_a_temporary_greeting(void **state)
{
	(void)state;
	check_next_host("S: 421 4.3.2 busy\nX:");
}

static void
test_next_host_after_a_permanent_greeting(void **state)
{
	(void)state;
	check_next_host("S: 554 5.7.1 go away\nX:");
}

static void
test_next_host_after_silence(void **state)
{
	(void)state;
	check_next_host("?: 1000\nX:");
}

/* Each reply comes within its time, all together never. */
static void
test_a_host_that_is_slow_with_everything_is_given_up(void **state)
{
	char script[2048] = PIPELINE "C: MAIL *\n";
	unsigned task;

	(void)state;
	for (unsigned i = 0; i < 20; i++)
		strcat(script, "C: RCPT *\n");
	strcat(script, "C: DATA\nS: 250 ok\n");
	for (unsigned i = 0; i < 20; i++)
		strcat(script, "?: 200\nS: 250 ok\n");
	(void)add_server(script, NULL);
	use_servers("smtp+notls");
	task = submit(20);
	wait_done(task);
	check_result(task, 1, 451, "4.4.2");
	assert_int_equal(result_of(task, 1)->fault, RELAY_FAULT_DESTINATION);
}

static void
test_next_host_when_it_closes_at_once(void **state)
{
	(void)state;
	check_next_host("X:");
}

static void
test_next_host_when_it_resets(void **state)
{
	(void)state;
	check_next_host(PLAIN "C: MAIL *\nR:");
}

static void
test_next_host_when_it_closes_after_mail(void **state)
{
	(void)state;
	check_next_host(PLAIN "C: MAIL *\nX:");
}

static void
test_next_host_after_421_to_rcpt(void **state)
{
	(void)state;
	check_next_host(PLAIN "C: MAIL *\nS: 250 ok\nC: RCPT *\nS: 421 4.3.2 enough\nX:");
}

static void
test_next_host_after_421_to_text(void **state)
{
	(void)state;
	check_next_host(PLAIN "C: MAIL *\nS: 250 ok\nC: RCPT *\nS: 250 ok\nC: DATA\nS: 354 "
	                      "go\nT:\nS: 421 4.3.2 down\nX:");
}

static void
test_next_host_after_a_temporary_reply_to_mail(void **state)
{
	(void)state;
	check_next_host(PLAIN "C: MAIL *\nS: 452 4.3.1 full\nW:");
}

static void
test_next_host_after_nonsense(void **state)
{
	(void)state;
	check_next_host("S: SSH-2.0-OpenSSH\nW:");
}

static void
test_next_host_after_354_to_mail(void **state)
{
	(void)state;
	check_next_host(PLAIN "C: MAIL *\nS: 354 go\nW:");
}

static void
test_next_host_after_250_to_data(void **state)
{
	(void)state;
	check_next_host(PLAIN "C: MAIL *\nS: 250 ok\nC: RCPT *\nS: 250 ok\nC: DATA\nS: 250 ok\nW:");
}

static void
test_greylisting_is_not_taken_elsewhere(void **state)
{
	unsigned task;

	(void)state;
	(void)add_server(
	    PLAIN "C: MAIL *\nS: 250 ok\nC: RCPT *\nS: 450 4.7.1 greylisted\nW:", NULL);
	(void)add_server(PLAIN ONE "W:", NULL);
	use_servers("smtp+notls");
	task = submit(1);
	wait_done(task);
	check_result(task, 1, 450, "4.7.1");
	assert_int_equal(w.servers[1].connections, 0);
}

static void
test_a_lost_reply_to_text_is_not_taken_elsewhere(void **state)
{
	unsigned task;

	(void)state;
	(void)add_server(
	    PLAIN "C: MAIL *\nS: 250 ok\nC: RCPT *\nS: 250 ok\nC: DATA\nS: 354 go\nT:\nX:", NULL);
	(void)add_server(PLAIN ONE "W:", NULL);
	use_servers("smtp+notls");
	task = submit(1);
	wait_done(task);
	check_result(task, 1, 451, "4.4.2");
	assert_int_equal(w.servers[1].connections, 0);
	assert_int_equal(result_of(task, 1)->fault, RELAY_FAULT_DESTINATION);
}

static void
test_all_hosts_refuse(void **state)
{
	unsigned task;

	(void)state;
	(void)add_server("S: 554 5.7.1 go away\nX:", NULL);
	(void)add_server("S: 554 5.7.1 you too\nX:", NULL);
	use_servers("smtp+notls");
	task = submit(1);
	wait_done(task);
	check_result(task, 1, 554, "5.7.1");
	assert_string_equal(result_of(task, 1)->host, "mx2.test");
}

static void
test_one_may_take_it_later(void **state)
{
	unsigned task;

	(void)state;
	(void)add_server(NULL);
	(void)add_server("S: 554 5.7.1 go away\nX:", NULL);
	use_servers("smtp+notls");
	task = submit(1);
	wait_done(task);
	check_result(task, 1, 451, "4.4.1");
	assert_int_equal(w.outcomes[task].done.fault, RELAY_FAULT_DESTINATION);
}

static void
test_a_dead_host_is_tried_last(void **state)
{
	unsigned task;

	(void)state;
	(void)add_server("X:", "X:", NULL);
	(void)add_server(PLAIN ONE "W:", NULL);
	use_servers("smtp+notls");
	task = submit(1);
	wait_done(task);
	w.config->mta_messages_per_session = 1;
	assert_int_equal(w.servers[0].connections, 1);
	(void)submit(1);
	run_for(100);
	assert_int_equal(w.servers[0].connections, 1);
}

static void
test_a_kept_connection_that_died_is_no_failure(void **state)
{
	struct server *server = add_server(PLAIN ONE "X:", PLAIN ONE "W:", NULL);
	unsigned task;

	(void)state;
	use_servers("smtp+notls");
	task = submit(1);
	wait_done(task);
	/* Without a turn of the loop in which its end would be seen. */
	usleep(100000);
	task = submit(1);
	wait_done(task);
	check_result(task, 1, 250, "2.0.0");
	check_server(server, 2);
}

static void
test_eight_bit_text_goes_where_it_is_taken(void **state)
{
	struct ipc_relay_message message = message_for(1);
	unsigned task;

	(void)state;
	message.eight_bit = true;
	(void)add_server(PLAIN "W:", NULL);
	(void)add_server(GREETING
	    "S: 250-mx\nS: 250 8BITMIME\n"
	    "C: MAIL FROM:<a@client.test> BODY=8BITMIME\nS: 250 ok\nC: RCPT *\nS: 250 ok\n"
	    "C: DATA\nS: 354 go\n" SENT "W:",
	    NULL);
	use_servers("smtp+notls");
	task = submit_message(message, "Subject: x\r\n\r\n\xe4\r\n");
	wait_done(task);
	check_result(task, 1, 250, "2.0.0");
	check_server(&w.servers[1], 1);
}

static void
check_returned(
    struct ipc_relay_message message, const char *script, unsigned code, const char *enhanced)
{
	unsigned task;

	(void)add_server(script, NULL);
	use_servers("smtp+notls");
	task = submit_message(message, "Subject: x\r\n\r\n1234567890\r\n");
	wait_done(task);
	check_result(task, 1, code, enhanced);
	assert_int_equal(result_of(task, 1)->fault, RELAY_FAULT_NONE);
	check_server(&w.servers[0], 1);
}

static void
test_eight_bit_text_is_returned_when_nobody_takes_it(void **state)
{
	struct ipc_relay_message message = message_for(1);

	(void)state;
	message.eight_bit = true;
	check_returned(message, PLAIN "W:", 550, "5.6.1");
}

static void
test_international_mail_is_returned_when_nobody_takes_it(void **state)
{
	struct ipc_relay_message message = message_for(1);

	(void)state;
	message.smtputf8 = true;
	check_returned(message, PLAIN "W:", 550, "5.6.7");
}

static void
test_mail_over_the_size_is_returned(void **state)
{
	(void)state;
	check_returned(message_for(1), GREETING "S: 250-mx\nS: 250 SIZE 20\nW:", 552, "5.3.4");
}

static void
test_required_tls_is_required(void **state)
{
	struct ipc_relay_message message = message_for(1);
	unsigned task;

	(void)state;
	message.require_tls = true;
	(void)add_server(GREETING "S: 250-mx\nS: 250 REQUIRETLS\nW:", NULL);
	use_servers("smtp");
	task = submit_message(message, "x\r\n");
	wait_done(task);
	check_result(task, 1, 550, "5.7.10");
	check_server(&w.servers[0], 1);
}

static void
test_required_tls_goes_nowhere_without(void **state)
{
	struct ipc_relay_message message = message_for(1);
	unsigned task;

	(void)state;
	message.require_tls = true;
	(void)add_server(GREETING, NULL);
	use_servers("smtp+notls");
	task = submit_message(message, "x\r\n");
	wait_done(task);
	check_result(task, 1, 550, "5.7.10");
	check_server(&w.servers[0], 0);
}

/* RFC 8689 5 */
static void
test_a_report_that_requires_tls_goes_without(void **state)
{
	struct ipc_relay_message message = message_for(1);
	unsigned task;

	(void)state;
	message.require_tls = true;
	memset(&message.sender, 0, sizeof(message.sender));
	(void)add_server(GREETING "S: 250-mx\nS: 250 REQUIRETLS\nC: MAIL FROM:<>\nS: 250 ok\n"
	                          "C: RCPT *\nS: 250 ok\nC: DATA\nS: 354 go\n" SENT "W:",
	    NULL);
	use_servers("smtp");
	task = submit_message(message, "x\r\n");
	wait_done(task);
	check_result(task, 1, 250, "2.0.0");
	check_server(&w.servers[0], 1);
}

static void
test_dsn_wishes_are_handed_on(void **state)
{
	struct ipc_relay_message message = message_for(1);
	unsigned task;

	(void)state;
	message.dsn_return = DSN_RETURN_HEADERS;
	strlcpy(message.dsn_envid, "a+b c", sizeof(message.dsn_envid));
	(void)add_server(GREETING
	    "S: 250-mx\nS: 250 DSN\n"
	    "C: MAIL FROM:<a@client.test> RET=HDRS ENVID=a+2Bb+20c\nS: 250 ok\n"
	    "C: RCPT TO:<u1@example.org>\nS: 250 ok\nC: DATA\nS: 354 go\n" SENT "W:",
	    NULL);
	use_servers("smtp+notls");
	task = submit_message(message, "x\r\n");
	wait_done(task);
	check_result(task, 1, 250, "2.0.0");
	assert_true(result_of(task, 1)->dsn_taken);
	check_server(&w.servers[0], 1);
}

static void
test_text_goes_in_chunks(void **state)
{
	struct server *server = add_server(GREETING
	    "S: 250-mx\nS: 250-PIPELINING\nS: 250 CHUNKING\n"
	    "C: MAIL *\nC: RCPT *\nS: 250 ok\nS: 250 ok\nC: BDAT 25 LAST\nB:\nS: 250 2.0.0 ok\nW:",
	    NULL);
	unsigned task;

	(void)state;
	use_servers("smtp+notls");
	task = submit_message(message_for(1), "Subject: x\r\n\r\n.dots.\n.\n");
	wait_done(task);
	check_result(task, 1, 250, "2.0.0");
	assert_string_equal(server->text, "Subject: x\r\n\r\n.dots.\r\n.\r\n");
}

static void
test_no_chunks_for_nobody(void **state)
{
	struct server *server =
	    add_server(GREETING "S: 250-mx\nS: 250-PIPELINING\nS: 250 CHUNKING\n"
	                        "C: MAIL *\nC: RCPT *\nS: 250 ok\nS: 550 5.1.1 no\nW:",
	        NULL);
	unsigned task;

	(void)state;
	use_servers("smtp+notls");
	task = submit(1);
	wait_done(task);
	check_result(task, 1, 550, "5.1.1");
	run_for(50);
	check_server(server, 1);
}

static void
test_lmtp_answers_for_each(void **state)
{
	unsigned task;

	(void)state;
	(void)add_server("S: 220 lmtp\nC: LHLO relay.test\nS: 250-lmtp\nS: 250 PIPELINING\n"
	                 "C: MAIL *\nC: RCPT *\nC: RCPT *\nC: RCPT *\nC: DATA\nS: 250 ok\nS: 250 "
	                 "ok\nS: 550 5.1.1 no\n"
	                 "S: 250 ok\nS: 354 go\nT:\nS: 250 2.1.5 one\nS: 452 4.2.2 full\nW:",
	    NULL);
	use_servers("lmtp");
	task = submit(3);
	wait_done(task);
	check_result(task, 1, 250, "2.1.5");
	check_result(task, 2, 550, "5.1.1");
	check_result(task, 3, 452, "4.2.2");
	check_server(&w.servers[0], 1);
}

static void
test_recipients_over_the_limit_go_in_another_transaction(void **state)
{
	unsigned task;

	(void)state;
	w.config->mta_recipients = 2;
	(void)add_server(PLAIN
	    "C: MAIL *\nS: 250 ok\nC: RCPT TO:<u1@*\nS: 250 ok\n"
	    "C: RCPT TO:<u2@*\nS: 250 ok\nC: DATA\nS: 354 go\n" SENT
	    "C: MAIL *\nS: 250 ok\nC: RCPT TO:<u3@*\nS: 250 ok\nC: DATA\nS: 354 go\n" SENT "W:",
	    NULL);
	use_servers("smtp+notls");
	task = submit(3);
	wait_done(task);
	for (unsigned i = 1; i <= 3; i++)
		check_result(task, i, 250, "2.0.0");
	check_server(&w.servers[0], 1);
}

static void
test_too_many_recipients_go_in_another_transaction(void **state)
{
	unsigned task;

	(void)state;
	(void)add_server(PIPELINE
	    "C: MAIL *\nC: RCPT *\nC: RCPT *\nC: DATA\nS: 250 ok\nS: 250 ok\n"
	    "S: 452 4.5.3 enough\nS: 354 go\n" SENT
	    "C: MAIL *\nC: RCPT TO:<u2@*\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\n" SENT "W:",
	    NULL);
	use_servers("smtp+notls");
	task = submit(2);
	wait_done(task);
	check_result(task, 1, 250, "2.0.0");
	check_result(task, 2, 250, "2.0.0");
}

static void
test_limits_of_the_server_are_kept(void **state)
{
	unsigned task;

	(void)state;
	(void)add_server(GREETING
	    "S: 250-mx\nS: 250 LIMITS RCPTMAX=1 MAILMAX=1\n"
	    "C: MAIL *\nS: 250 ok\nC: RCPT TO:<u1@*\nS: 250 ok\nC: DATA\nS: 354 go\n" SENT BYE,
	    PLAIN "C: MAIL *\nS: 250 ok\nC: RCPT TO:<u2@*\nS: 250 ok\nC: DATA\nS: 354 go\n" SENT
	          "W:",
	    NULL);
	use_servers("smtp+notls");
	task = submit(2);
	wait_done(task);
	check_result(task, 1, 250, "2.0.0");
	check_result(task, 2, 250, "2.0.0");
	check_server(&w.servers[0], 2);
}

static void
test_starttls_offered_and_refused(void **state)
{
	unsigned task;

	(void)state;
	(void)add_server(GREETING
	    "S: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\nS: 454 4.7.0 not now\n" ONE "W:",
	    NULL);
	use_servers("smtp");
	task = submit(1);
	wait_done(task);
	check_result(task, 1, 250, "2.0.0");
	assert_string_equal(result_of(task, 1)->tls, "");
}

static void
test_a_broken_handshake_is_gone_around(void **state)
{
	unsigned task;

	(void)state;
	(void)add_server(GREETING
	    "S: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\n?: 20\nS: nonsense\nX:",
	    GREETING "S: 250-mx\nS: 250 STARTTLS\n" ONE "W:", NULL);
	use_servers("smtp");
	task = submit(1);
	wait_done(task);
	check_result(task, 1, 250, "2.0.0");
}

static void
test_words_before_the_handshake_end_it(void **state)
{
	unsigned task;

	(void)state;
	(void)add_server(
	    GREETING "S: 250-mx\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go|250 injected\nW:", NULL);
	use_servers("smtp");
	task = submit(1);
	wait_done(task);
	check_result(task, 1, 451, "4.7.0");
}

static void
test_required_tls_that_is_not_offered(void **state)
{
	unsigned task;

	(void)state;
	w.config->actions[0].relay_tls = RELAY_TLS_REQUIRED_UNVERIFIED;
	(void)add_server(PLAIN "W:", NULL);
	use_servers("smtp");
	task = submit(1);
	wait_done(task);
	check_result(task, 1, 451, "4.7.10");
}

static void
test_addresses_that_cannot_be_looked_up(void **state)
{
	unsigned task;

	(void)state;
	free(w.config->actions[0].relay_hosts);
	w.config->actions[0].relay_hosts = strdup("smtp://broken.test");
	pool_configure(w.pool, w.config);
	destinations_configure(w.destinations, w.pool, w.config);
	task = submit(1);
	wait_done(task);
	check_result(task, 1, 451, "4.4.3");
	free(w.config->actions[0].relay_hosts);
	w.config->actions[0].relay_hosts = strdup("");
	pool_configure(w.pool, w.config);
	destinations_configure(w.destinations, w.pool, w.config);
	task = submit(1);
	wait_done(task);
	check_result(task, 1, 550, "5.4.4"); /* its only MX has no address */
}

static void
test_an_endless_reply_ends(void **state)
{
	static char script[300000] = GREETING;
	unsigned task;

	(void)state;
	while (strlen(script) < sizeof(script) - 200)
		for (int i = 0; i < 10; i++)
			strcat(script, "S: 250-again\n");
	(void)add_server(script, NULL);
	use_servers("smtp+notls");
	task = submit(1);
	wait_done(task);
	check_result(task, 1, 451, "4.5.0");
}

static void
test_large_text_goes_whole(void **state)
{
	size_t size = 1024 * 1024, lines = 0;
	char *text = malloc(size + 1);
	unsigned task;

	(void)state;
	assert_non_null(text);
	while ((lines + 1) * 64 <= size) {
		memset(text + lines * 64, 'x', 62);
		memcpy(text + lines * 64 + 62, "\r\n", 2);
		lines++;
	}
	text[lines * 64] = '\0';
	(void)add_server(PLAIN ONE "W:", NULL);
	use_servers("smtp+notls");
	task = submit_message(message_for(1), text);
	wait_done(task);
	check_result(task, 1, 250, "2.0.0");
	free(text);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(delivers_to_a_plain_server),
		TEST(helo_when_ehlo_is_refused),
		TEST(replies_a_byte_at_a_time),
		TEST(each_recipient_has_its_reply),
		TEST(the_connection_is_used_again),
		TEST(a_connection_takes_its_number_of_messages),
		TEST(who_speaks_out_of_turn_gets_no_more),
		TEST(text_that_was_not_sent_is_not_answered),
		TEST(chunks_that_were_not_sent_are_not_answered),
		TEST(nobody_taken_but_data_is),
		TEST(refused_data_needs_a_reset),
		TEST(refused_mail_is_final),
		TEST(a_reply_to_text_is_for_all),
		TEST(next_host_when_nobody_is_there),
		TEST(next_host_after_a_temporary_greeting),
		TEST(next_host_after_a_permanent_greeting),
		TEST(next_host_after_silence),
		TEST(a_host_that_is_slow_with_everything_is_given_up),
		TEST(next_host_when_it_closes_at_once),
		TEST(next_host_when_it_resets),
		TEST(next_host_when_it_closes_after_mail),
		TEST(next_host_after_421_to_rcpt),
		TEST(next_host_after_421_to_text),
		TEST(next_host_after_a_temporary_reply_to_mail),
		TEST(next_host_after_nonsense),
		TEST(next_host_after_354_to_mail),
		TEST(next_host_after_250_to_data),
		TEST(greylisting_is_not_taken_elsewhere),
		TEST(a_lost_reply_to_text_is_not_taken_elsewhere),
		TEST(all_hosts_refuse),
		TEST(one_may_take_it_later),
		TEST(a_dead_host_is_tried_last),
		TEST(a_kept_connection_that_died_is_no_failure),
		TEST(eight_bit_text_goes_where_it_is_taken),
		TEST(eight_bit_text_is_returned_when_nobody_takes_it),
		TEST(international_mail_is_returned_when_nobody_takes_it),
		TEST(mail_over_the_size_is_returned),
		TEST(required_tls_is_required),
		TEST(required_tls_goes_nowhere_without),
		TEST(a_report_that_requires_tls_goes_without),
		TEST(dsn_wishes_are_handed_on),
		TEST(text_goes_in_chunks),
		TEST(no_chunks_for_nobody),
		TEST(lmtp_answers_for_each),
		TEST(recipients_over_the_limit_go_in_another_transaction),
		TEST(too_many_recipients_go_in_another_transaction),
		TEST(limits_of_the_server_are_kept),
		TEST(starttls_offered_and_refused),
		TEST(a_broken_handshake_is_gone_around),
		TEST(words_before_the_handshake_end_it),
		TEST(required_tls_that_is_not_offered),
		TEST(addresses_that_cannot_be_looked_up),
		TEST(an_endless_reply_ends),
		TEST(large_text_goes_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
