/*
 * What senders and the postmaster are told of mail to other hosts.
 */
#include "test_queue_relay_peer.h"

static char *
read_report(uint32_t about)
{
	static char text[65536];
	int64_t end_ms = clock_monotonic_ms() + 5000;
	struct message *message = NULL;
	ssize_t length;

	while (clock_monotonic_ms() < end_ms) {
		for (message = index_from(queue.index, 0); message != NULL;
		     message = index_next(queue.index, message)) {
			if (message->id == about)
				continue;
			length = mail_read(&queue, message, text, sizeof(text) - 1);
			assert_true(length > 0);
			text[length] = '\0';
			return text;
		}
		bounce_tick(&queue);
		turn();
		usleep(5000);
	}
	return NULL;
}

static void
a_refusal_is_reported_with_the_host_that_said_so(void **state)
{
	const char *text;

	(void)state;
	commit_to(ids[0], "far.test");
	run();
	answer_all(550, RELAY_FAULT_NONE);
	text = read_report(ids[0]);
	assert_non_null(text);
	assert_non_null(strstr(text, "\r\nAction: failed\r\n"));
	assert_non_null(strstr(text, "\r\nRemote-MTA: dns; mx.far.test\r\n"));
	assert_non_null(strstr(text, "\r\nDiagnostic-Code: smtp; 550 said so\r\n"));
	assert_null(index_find(queue.index, ids[0]));
}

static void
answer_success(uint32_t id, bool dsn_taken)
{
	struct frame *frame;

	notify = DSN_NOTIFY_SUCCESS;
	commit_to(id, "far.test");
	run();
	frame = find_task(0);
	assert_non_null(frame);
	assert_int_equal(rcpt_of(frame, 0)->dsn_notify, DSN_NOTIFY_SUCCESS);
	send_result(frame, envelope_id_make(id, 1), 250, RELAY_FAULT_NONE, dsn_taken);
	send_done(frame, RELAY_FAULT_NONE, "");
	forget_frames(&relay);
}

static void
a_success_is_reported_as_relayed(void **state)
{
	const char *text;

	(void)state;
	answer_success(ids[0], false);
	text = read_report(ids[0]);
	assert_non_null(text);
	assert_non_null(strstr(text, "\r\nAction: relayed\r\nStatus: 2.0.0\r\n"));
	assert_non_null(strstr(text, "\r\nRemote-MTA: dns; mx.far.test\r\n"));
	assert_null(strstr(text, "Diagnostic-Code"));
	assert_null(index_find(queue.index, ids[0]));
}

static void
a_success_owed_after_a_crash_is_reported_as_relayed(void **state)
{
	const char *text;

	(void)state;
	answer_success(ids[0], false);
	assert_true(commit_now(&queue));
	close_queue();
	open_queue();
	text = read_report(ids[0]);
	assert_non_null(text);
	assert_non_null(strstr(text, "\r\nAction: relayed\r\n"));
	assert_non_null(strstr(text, "\r\nRemote-MTA: dns; mx.far.test\r\n"));
}

static void
the_next_host_reports_what_it_has_taken_the_report_of(void **state)
{
	(void)state;
	answer_success(ids[0], true);
	assert_int_equal(queue.envelopes, 0);
}

static void
what_needs_tls_is_returned_without_its_text_and_with_the_same_need(void **state)
{
	struct transaction transaction = {
		.message_id = ids[0],
		.created_us = clock_wall_us(),
		.size = 11,
		.sender = { "erin", "client.test" },
		.require_tls = true,
		.eight_bit = true,
		.dsn_return = DSN_RETURN_FULL,
	};
	struct message *report;
	struct envelope envelope;
	const char *text;
	struct buf buf;

	(void)state;
	send_rcpt(ids[0], 1, "bob", "far.test");
	buf_init(&buf, 16384);
	transaction_encode(&buf, &transaction);
	channel_send(listener.channel, LISTENER_QUEUE_COMMIT, 7, ids[0],
	    make_memfd("A: b\r\n\r\n\xff\r\n", true), &buf);
	buf_free(&buf);
	turn();
	run();
	assert_non_null(find_task(0));
	assert_true(task.require_tls);
	assert_true(task.eight_bit);
	answer_all(550, RELAY_FAULT_NONE);
	text = read_report(ids[0]);
	assert_non_null(text);
	/* RFC 8689 5 */
	assert_non_null(strstr(text, "text/rfc822-headers"));
	assert_null(strstr(text, "\xff"));
	report = index_from(queue.index, 0);
	assert_true(mail_load(&queue, &report->entries[0], &transaction, &envelope));
	assert_true(transaction.is_bounce);
	assert_true(transaction.require_tls);
	assert_false(transaction.eight_bit);
}

static void
the_postmaster_reads_the_dialogue(void **state)
{
	struct transaction transaction = {
		.message_id = ids[0], .created_us = clock_wall_us(), .size = 5
	};
	struct frame *frame;
	const char *text;
	struct buf buf;

	(void)state;
	send_rcpt(ids[0], 1, "bob", "far.test");
	buf_init(&buf, 16384);
	transaction_encode(&buf, &transaction); /* the null sender's */
	channel_send(
	    listener.channel, LISTENER_QUEUE_COMMIT, 7, ids[0], make_memfd("hello", true), &buf);
	buf_free(&buf);
	turn();
	run();
	frame = find_task(0);
	assert_non_null(frame);
	send_result(frame, envelope_id_make(ids[0], 1), 550, RELAY_FAULT_NONE, false);
	send_done(frame, RELAY_FAULT_NONE,
	    "mx.far.test: >>> RCPT TO:<bob@far.test>\nmx.far.test: <<< 550 \x01said so\n");
	text = read_report(ids[0]);
	assert_non_null(text);
	assert_non_null(strstr(text,
	    "\r\n    mx.far.test: >>> RCPT TO:<bob@far.test>\r\n"
	    "    mx.far.test: <<< 550 ?said so\r\n"));
}

static void
dialogues_are_kept_up_to_a_bound(void **state)
{
	static char dialogue[IPC_RELAY_DIALOGUE_MAX + 1];
	struct dialogues dialogues = { NULL, NULL, 0 };
	struct line *lines = calloc(1000, sizeof(struct line));

	(void)state;
	assert_non_null(lines);
	memset(dialogue, 'x', sizeof(dialogue) - 1);
	for (unsigned i = 0; i < 1000; i++) {
		destination_keep_dialogue(&dialogues, &lines[i], dialogue);
		assert_true(dialogues.bytes <= DIALOGUES_MAX);
		assert_string_equal(destination_dialogue(&lines[i]), dialogue);
	}
	assert_null(destination_dialogue(&lines[0]));
	assert_non_null(destination_dialogue(&lines[600]));
	/* A new one takes the old one's place. */
	destination_keep_dialogue(&dialogues, &lines[600], "short");
	assert_string_equal(destination_dialogue(&lines[600]), "short");
	for (unsigned i = 0; i < 1000; i++)
		destination_forget(&dialogues, &lines[i]);
	assert_int_equal(dialogues.bytes, 0);
	assert_null(dialogues.oldest);
	assert_null(dialogues.newest);
	free(lines);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		RELAY_TEST(a_refusal_is_reported_with_the_host_that_said_so),
		RELAY_TEST(a_success_is_reported_as_relayed),
		RELAY_TEST(a_success_owed_after_a_crash_is_reported_as_relayed),
		RELAY_TEST(the_next_host_reports_what_it_has_taken_the_report_of),
		RELAY_TEST(what_needs_tls_is_returned_without_its_text_and_with_the_same_need),
		RELAY_TEST(the_postmaster_reads_the_dialogue),
		RELAY_TEST(dialogues_are_kept_up_to_a_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
