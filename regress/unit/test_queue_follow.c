/*
 * What a script sends beside a delivery: new messages, durable before the delivery counts.
 */
#include "test_queue_peers.h"

/* The mda's success with effects; addresses are local parts with spaces between. With neither, there is
 * a .forward. */
static void
answer_with(const struct frame *frame, uint64_t envelope_id, unsigned code, const char *redirects,
    const char *reply)
{
	struct ipc_effects effects = { .has_reply = *reply != '\0',
		.by_forward = *redirects == '\0' && *reply == '\0' };
	struct ipc_delivered delivered = { .envelope_id = envelope_id, .effects = &effects };
	struct buf buf;

	reply_set(&delivered.reply, code, "", "done");
	while (*redirects != '\0') {
		struct address *to = &effects.redirects[effects.redirect_count++];
		size_t length = strcspn(redirects, " ");

		memcpy(to->local, redirects, length);
		strcpy(to->domain, "other.test");
		redirects += length + (redirects[length] == ' ');
	}
	strcpy(effects.reply_subject, "Away");
	strcpy(effects.reply_text, reply);
	buf_init(&buf, 16384);
	ipc_delivered_encode(&buf, &delivered);
	channel_send(mda.channel, MDA_QUEUE_DELIVERED, frame->id, 0, -1, &buf);
	buf_free(&buf);
	turn();
}

static const struct frame *
deliver_one(void)
{
	const struct frame *frame;

	commit_one(ids[0]);
	start_mda();
	frame = find_frame(&mda, QUEUE_MDA_DELIVER, 0);
	assert_non_null(frame);
	return frame;
}

static struct entry *
first_entry(void)
{
	return index_find_entry(queue.index, envelope_id_make(ids[0], 1));
}

/* The text of the queued message from that sender, static; NULL: there is none. */
static const char *
text_of(const char *sender)
{
	static char text[20000];
	struct message *message;
	ssize_t length;

	for (message = index_from(queue.index, 0); message != NULL;
	     message = index_next(queue.index, message)) {
		if (strcmp(message->sender->text, sender) != 0 || message->id == ids[0])
			continue;
		length = mail_read(&queue, message, text, sizeof(text) - 1);
		assert_true(length >= 0);
		text[length] = '\0';
		return text;
	}
	return NULL;
}

static void
what_is_sent_is_durable_before_the_delivery_counts(void **state)
{
	const struct frame *frame = deliver_one();

	(void)state;
	answer_with(frame, envelope_id_make(ids[0], 1), 250, "ann carl", "I am away.");
	assert_null(first_entry());
	assert_int_equal(queue.in_flight, 0);
	/* Both addresses lead to one command here. */
	assert_int_equal(queue.envelopes, 2);
	close_queue();
	open_queue();
	/* The delivery's end went with the batch, or comes again. */
	assert_string_equal(text_of("erin@client.test"), "hello");
	assert_non_null(strstr(text_of(""), "Auto-Submitted: auto-replied\r\n"));
	assert_non_null(
	    strstr(text_of(""), "From: <alice@example.test>\r\nTo: <erin@client.test>"));
}

static void
a_redirection_keeps_the_recipient_that_it_was_led_away_from(void **state)
{
	const struct frame *frame = deliver_one();
	struct transaction transaction;
	struct message *message;
	struct envelope envelope;

	(void)state;
	answer_with(frame, envelope_id_make(ids[0], 1), 250, "ann", "");
	message = index_from(queue.index, 0);
	assert_non_null(message);
	assert_true(mail_load(&queue, &message->entries[0], &transaction, &envelope));
	assert_int_equal(transaction.client_family, CLIENT_INET4);
	assert_string_equal(transaction.sender.local, "erin");
	assert_string_equal(envelope.rcpt.local, "alice");
	assert_int_equal(envelope.dsn_notify, 0);
}

static void
a_refusal_for_now_puts_the_delivery_off_as_perhaps_done(void **state)
{
	const struct frame *frame = deliver_one();

	(void)state;
	refuses = 451;
	answer_with(frame, envelope_id_make(ids[0], 1), 250, "ann refused", "I am away.");
	assert_non_null(first_entry());
	assert_int_equal(first_entry()->state, ENTRY_WAITING);
	assert_true(first_entry()->maybe_delivered);
	assert_int_equal(queue.envelopes, 1);
	assert_int_equal(queue.in_flight, 0);
}

static void
a_refusal_for_good_is_told_to_the_sender_and_the_others_get_it(void **state)
{
	const struct frame *frame = deliver_one();

	(void)state;
	refuses = 550;
	answer_with(frame, envelope_id_make(ids[0], 1), 250, "refused ann", "");
	assert_string_equal(text_of("erin@client.test"), "hello");
	assert_int_equal(first_entry()->state, ENTRY_BOUNCING);
}

static void
the_delivery_is_in_flight_until_the_directory_has_answered(void **state)
{
	const struct frame *frame = deliver_one();
	struct question *question;

	(void)state;
	answer_with(frame, envelope_id_make(ids[0], 1), 250, "later", "");
	question = unanswered;
	assert_non_null(question);
	assert_int_equal(first_entry()->state, ENTRY_INFLIGHT);
	assert_int_equal(queue.in_flight, 1);
	/* The mda has nothing to do with it any more. */
	drop_end(&mda);
	turn();
	assert_int_equal(first_entry()->state, ENTRY_INFLIGHT);
	question->failed(&queue, question, "the directory is away");
	assert_int_equal(first_entry()->state, ENTRY_WAITING);
	assert_int_equal(queue.in_flight, 0);
}

static void
a_crash_before_the_commit_leaves_the_delivery(void **state)
{
	const struct frame *frame = deliver_one();

	(void)state;
	answer_with(frame, envelope_id_make(ids[0], 1), 250, "later", "I am away.");
	close_queue();
	open_queue();
	assert_non_null(first_entry());
	assert_true(first_entry()->maybe_delivered);
	assert_int_equal(queue.envelopes, 1);
}

static void
a_forward_is_followed_only_where_that_was_asked(void **state)
{
	const struct frame *frame = deliver_one();

	(void)state;
	answer_with(frame, envelope_id_make(ids[0], 1), 250, "", "");
	assert_non_null(first_entry());
	assert_int_equal(first_entry()->state, ENTRY_WAITING);
	assert_int_equal(queue.envelopes, 1);
}

static void
a_failure_can_not_send_anything(void **state)
{
	const struct frame *frame = deliver_one();

	(void)state;
	answer_with(frame, envelope_id_make(ids[0], 1), 451, "ann", "");
	assert_true(mda.closed);
	assert_int_equal(queue.envelopes, 1);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(what_is_sent_is_durable_before_the_delivery_counts),
		TEST(a_redirection_keeps_the_recipient_that_it_was_led_away_from),
		TEST(a_refusal_for_now_puts_the_delivery_off_as_perhaps_done),
		TEST(a_refusal_for_good_is_told_to_the_sender_and_the_others_get_it),
		TEST(the_delivery_is_in_flight_until_the_directory_has_answered),
		TEST(a_crash_before_the_commit_leaves_the_delivery),
		TEST(a_forward_is_followed_only_where_that_was_asked),
		TEST(a_failure_can_not_send_anything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
