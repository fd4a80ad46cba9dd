/* Deliveries into folders of a Maildir: which one is chosen, what is made, and with which flags. */
#include "test_mda_fixture.h"

#include "deliver/choose.h"

#define TEXT "Subject: hello\r\n\r\nline\r\n"
#define SPAM "Received: x\r\nX-Spam: Yes\r\n\r\nline\r\n"

static void
make_folder(struct fixture *fixture, const char *name)
{
	static const char *const parts[] = { "", "/tmp", "/new", "/cur" };
	char path[256];

	for (size_t i = 0; i < 4; i++) {
		snprintf(path, sizeof(path), "home/Maildir/.%s%s", name, parts[i]);
		assert_int_equal(mkdir(fixture_path(fixture, path), 0700), 0);
	}
}

static const struct ipc_delivered *
deliver(struct fixture *fixture, uint64_t id, const char *text, const char *rcpt, bool junk)
{
	static struct ipc_delivered result;
	struct delivery *delivery = fixture_delivery(fixture, id, text);

	assert_int_equal(address_parse(rcpt, 0, &delivery->request.rcpt), ADDRESS_OK);
	delivery->request.mailbox.junk = junk;
	choose_folder(&delivery->request, delivery->message, "+", &delivery->into);
	fixture_deliver(fixture, delivery);
	result = delivery->result;
	delivery_free(delivery);
	return &result;
}

static void
detail_goes_to_its_folder_where_there_is_one(void **state)
{
	fixture_make_maildir(*state);
	make_folder(*state, "lists");
	assert_reply(&deliver(*state, 1, TEXT, "user+lists@example.test", false)->reply, 250,
	    "2.1.5", "delivered");
	assert_int_equal(fixture_count(*state, "home/Maildir/.lists/new"), 1);
	assert_reply(&deliver(*state, 2, TEXT, "user+other@example.test", false)->reply, 250,
	    "2.1.5", "delivered");
	assert_int_equal(fixture_count(*state, "home/Maildir/new"), 1);
	assert_int_equal(fixture_count(*state, "home/Maildir/.other"), -1);
}

static void
detail_that_is_no_folder_of_the_users_goes_to_inbox(void **state)
{
	static const char *const details[] = { "Trash", "trash.x", "..", ".", "a..b", "a/b", "x.",
		"link", "file", "ssh", "INBOX", "a&b" };
	char rcpt[64];

	fixture_make_maildir(*state);
	make_folder(*state, "Trash");
	make_folder(*state, "trash.x");
	make_folder(*state, "a&b");
	assert_int_equal(symlink(".Trash", fixture_path(*state, "home/Maildir/.link")), 0);
	fixture_write(*state, "home/Maildir/.file", "");
	assert_int_equal(mkdir(fixture_path(*state, "home/Maildir/.ssh"), 0700), 0);
	for (size_t i = 0; i < sizeof(details) / sizeof(details[0]); i++) {
		snprintf(rcpt, sizeof(rcpt), "\"user+%s\"@example.test", details[i]);
		assert_reply(&deliver(*state, i + 1, TEXT, rcpt, false)->reply, 250, "2.1.5", "");
		assert_int_equal(fixture_count(*state, "home/Maildir/new"), i + 1);
	}
	assert_int_equal(fixture_count(*state, "home/Maildir/.ssh"), 0);
}

static void
junk_folder_is_made_and_subscribed_once(void **state)
{
	assert_reply(&deliver(*state, 1, SPAM, "user@example.test", true)->reply, 250, "2.1.5", "");
	assert_reply(
	    &deliver(*state, 2, SPAM, "user+x@example.test", true)->reply, 250, "2.1.5", "");
	assert_int_equal(fixture_count(*state, "home/Maildir/.Junk/new"), 2);
	assert_int_equal(fixture_count(*state, "home/Maildir/new"), 0);
	assert_string_equal(fixture_read(*state, "home/Maildir/.Junk/maildirfolder"), "");
	assert_string_equal(fixture_read(*state, "home/Maildir/subscriptions"), "V\t2\n\nJunk\n");
	assert_int_equal(fixture_count(*state, "home/Maildir/tmp"), 0);
	/* Unsubscribed by the user, it stays so. */
	fixture_write(*state, "home/Maildir/subscriptions", "Other");
	assert_reply(&deliver(*state, 3, SPAM, "user@example.test", true)->reply, 250, "2.1.5", "");
	assert_string_equal(fixture_read(*state, "home/Maildir/subscriptions"), "Other");
}

static void
subscriptions_keep_their_form(void **state)
{
	struct delivery *delivery;

	fixture_make_maildir(*state);
	fixture_write(*state, "home/Maildir/subscriptions", "Other");
	deliver(*state, 1, SPAM, "user@example.test", true);
	assert_string_equal(fixture_read(*state, "home/Maildir/subscriptions"), "Other\nJunk\n");
	fixture_write(*state, "home/Maildir/subscriptions", "V\t2\n\nOther\n");
	delivery = fixture_delivery(*state, 2, TEXT);
	strcpy(delivery->into.folder, "Lists.2026");
	delivery->into.create = true;
	fixture_deliver(*state, delivery);
	delivery_free(delivery);
	assert_string_equal(
	    fixture_read(*state, "home/Maildir/subscriptions"), "V\t2\n\nOther\nLists\t2026\n");
}

static void
unmarked_mail_and_other_actions_know_no_junk(void **state)
{
	deliver(*state, 1, TEXT, "user@example.test", true);
	deliver(*state, 2, SPAM, "user@example.test", false);
	assert_int_equal(fixture_count(*state, "home/Maildir/new"), 2);
	assert_int_equal(fixture_count(*state, "home/Maildir/.Junk"), -1);
}

static void
marks_are_found_in_the_header_only(void **state)
{
	static const struct {
		const char *text;
		bool marked;
	} cases[] = {
		{ "X-Spam: Yes\r\n\r\n", true },
		{ "X-SPAM-FLAG: YES\n", true },
		{ "x-spam:yes", true },
		{ "A: b\nX-Spam: \t yes \t\nC: d\n", true },
		{ "X-Spam: Yes, really\r\n", false },
		{ "X-Spam: No\r\nX-Spam-Flag: No\r\n", false },
		{ "X-Spam-Status: Yes\r\n", false },
		{ "Subject: x\r\n X-Spam: Yes\r\n", false },
		{ "Subject: x\r\n\r\nX-Spam: Yes\r\n", false },
		{ "X-Spam: Yes\rX\r\n", false },
		{ "XX-Spam: Yes\r\n", false },
		{ "X-Spam:                                        Yes\r\n", false },
		{ "", false },
	};
	struct marks marks;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const uint8_t *text = (const uint8_t *)cases[i].text;
		size_t length = strlen(cases[i].text);

		marks_begin(&marks);
		(void)marks_feed(&marks, text, length);
		assert_int_equal(marks_end(&marks), cases[i].marked);
		marks_begin(&marks);
		for (size_t k = 0; k < length && marks_feed(&marks, text + k, 1); k++)
			;
		assert_int_equal(marks_end(&marks), cases[i].marked);
	}
}

static void
flags_put_the_message_into_cur(void **state)
{
	struct delivery *delivery = fixture_delivery(*state, 1, TEXT);

	strcpy(delivery->into.folder, "Seen");
	strcpy(delivery->into.flags, "FS");
	delivery->into.create = true;
	fixture_deliver(*state, delivery);
	assert_reply(&delivery->result.reply, 250, "2.1.5", "");
	assert_non_null(strstr(delivery->result.file, ":2,FS"));
	delivery_free(delivery);
	assert_int_equal(fixture_count(*state, "home/Maildir/.Seen/cur"), 1);
	/* A second try finds it. */
	delivery = fixture_delivery(*state, 1, TEXT);
	strcpy(delivery->into.folder, "Seen");
	strcpy(delivery->into.flags, "FS");
	delivery->request.maybe_delivered = true;
	fixture_deliver(*state, delivery);
	assert_true(delivery->result.was_there);
	delivery_free(delivery);
	assert_int_equal(fixture_count(*state, "home/Maildir/.Seen/cur"), 1);
}

static void
one_batch_goes_to_several_folders_and_their_quota_is_one(void **state)
{
	struct fixture *fixture = *state;
	struct delivery *deliveries[4];

	fixture->quota_messages = 3;
	for (uint64_t i = 0; i < 4; i++) {
		deliveries[i] = fixture_delivery(fixture, i + 1, TEXT);
		deliveries[i]->into.create = true;
		strcpy(deliveries[i]->into.folder, i == 0 ? "A" : i == 1 ? "B" : i == 2 ? "A" : "");
	}
	batch_deliver(&fixture->context, deliveries, 4, fixture_answered, fixture);
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(deliveries[i]->result.reply.code, i < 3 ? 250 : 452);
		delivery_free(deliveries[i]);
	}
	assert_int_equal(fixture_count(fixture, "home/Maildir/.A/new"), 2);
	assert_int_equal(fixture_count(fixture, "home/Maildir/.B/new"), 1);
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 0);
	assert_string_equal(fixture_read(fixture, "home/Maildir/maildirsize"), "3C\n0 0\n261 3\n");
}

static void
junk_folder_that_cannot_be_used_defers(void **state)
{
	fixture_make_maildir(*state);
	assert_int_equal(symlink("/tmp", fixture_path(*state, "home/Maildir/.Junk")), 0);
	assert_reply(
	    &deliver(*state, 1, SPAM, "user@example.test", true)->reply, 451, "4.2.0", ".Junk");
	assert_int_equal(fixture_count(*state, "home/Maildir/new"), 0);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(detail_goes_to_its_folder_where_there_is_one),
		TEST(detail_that_is_no_folder_of_the_users_goes_to_inbox),
		TEST(junk_folder_is_made_and_subscribed_once),
		TEST(subscriptions_keep_their_form),
		TEST(unmarked_mail_and_other_actions_know_no_junk),
		TEST(marks_are_found_in_the_header_only),
		TEST(flags_put_the_message_into_cur),
		TEST(one_batch_goes_to_several_folders_and_their_quota_is_one),
		TEST(junk_folder_that_cannot_be_used_defers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
