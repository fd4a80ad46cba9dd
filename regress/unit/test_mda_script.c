/* Deliveries as the owner's Sieve script has them. */
#include "test_mda_fixture.h"

#define TEXT "From: a@a.test\r\nTo: user@example.test\r\nSubject: hello\r\n\r\nline\r\n"

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

static void
set_script(struct fixture *fixture, const char *text)
{
	if (fixture_count(fixture, "home/Maildir") == -1)
		fixture_make_maildir(fixture);
	if (fixture_count(fixture, "home/Maildir/sieve") == -1) {
		assert_int_equal(mkdir(fixture_path(fixture, "home/Maildir/sieve"), 0700), 0);
		assert_int_equal(
		    symlink("a.sieve", fixture_path(fixture, "home/Maildir/sieve/active")), 0);
	}
	/* As who changes one does it: a new file in place of the old one. */
	(void)unlink(fixture_path(fixture, "home/Maildir/sieve/a.sieve"));
	fixture_write(fixture, "home/Maildir/sieve/a.sieve", text);
}

static void
remove_files(struct fixture *fixture, const char *rest)
{
	DIR *directory = opendir(fixture_path(fixture, rest));
	struct dirent *entry;

	assert_non_null(directory);
	while ((entry = readdir(directory)) != NULL)
		(void)unlinkat(dirfd(directory), entry->d_name, 0);
	closedir(directory);
}

static void
no_script_changes_nothing(void **state)
{
	struct fixture *fixture = *state;

	fixture_make_maildir(fixture);
	assert_int_equal(mkdir(fixture_path(fixture, "home/Maildir/sieve"), 0700), 0);
	assert_reply(&fixture_result(fixture, 1, TEXT)->reply, 250, "2.1.5", "delivered");
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 1);
}

static void
files_go_where_the_script_says(void **state)
{
	struct fixture *fixture = *state;

	set_script(fixture,
	    "require [\"fileinto\", \"mailbox\", \"imap4flags\"];\n"
	    "if header \"subject\" \"hello\" {\n"
	    "  fileinto :create :flags [\"\\\\Seen\", \"\\\\flagged\"] \"A\xc3\xa9.B\";\n"
	    "} else { fileinto \"Missing\"; }");
	assert_reply(&fixture_result(fixture, 1, TEXT)->reply, 250, "2.1.5", "delivered");
	assert_int_equal(fixture_count(fixture, "home/Maildir/.A&AOk-.B/cur"), 1);
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 0);
	assert_string_equal(
	    fixture_read(fixture, "home/Maildir/subscriptions"), "V\t2\n\nA&AOk-\tB\n");
	/* A folder that is missing is INBOX. */
	assert_reply(
	    &fixture_result(fixture, 2, "Subject: x\r\n\r\n")->reply, 250, "2.1.5", "delivered");
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 1);
	assert_int_equal(fixture_count(fixture, "home/Maildir/.Missing"), -1);
}

static void
flags_are_in_the_name(void **state)
{
	struct fixture *fixture = *state;
	const struct ipc_delivered *result;

	set_script(fixture, "require \"imap4flags\"; addflag \"\\\\Seen \\\\Answered $x\"; keep;");
	result = fixture_result(fixture, 1, TEXT);
	assert_non_null(strstr(result->file, ":2,RSa"));
	assert_int_equal(fixture_count(fixture, "home/Maildir/cur"), 1);
	assert_string_equal(fixture_read(fixture, "home/Maildir/dovecot-keywords"), "0 $x\n");
	set_script(fixture, "require \"imap4flags\"; addflag \"Work $X\"; keep;");
	result = fixture_result(fixture, 2, TEXT);
	assert_non_null(strstr(result->file, ":2,ab"));
	assert_string_equal(
	    fixture_read(fixture, "home/Maildir/dovecot-keywords"), "0 $x\n1 Work\n");
	assert_int_equal(fixture_count(fixture, "home/Maildir/tmp"), 0);
	/* One place by two names has the flags that are said last. */
	set_script(fixture,
	    "require [\"fileinto\", \"imap4flags\"];\n"
	    "fileinto :flags \"\\\\Seen $x\" \"INBOX\"; keep :flags \"\\\\Flagged\";");
	result = fixture_result(fixture, 3, TEXT);
	assert_non_null(strstr(result->file, ":2,F"));
	assert_null(strstr(result->file, ":2,FS"));
	assert_int_equal(fixture_count(fixture, "home/Maildir/cur"), 3);
}

static void
several_folders_get_a_file_each(void **state)
{
	struct fixture *fixture = *state;
	struct delivery *deliveries[30];

	set_script(fixture,
	    "require [\"fileinto\", \"copy\", \"mailbox\"];\n"
	    "fileinto :copy :create \"A\"; fileinto :copy :create \"B\"; fileinto "
	    ":copy \"Missing\";");
	/* More than fit into one round. */
	for (uint64_t i = 0; i < 30; i++)
		deliveries[i] = fixture_delivery(fixture, i + 1, TEXT);
	batch_deliver(&fixture->context, deliveries, 30, fixture_answered, fixture);
	assert_int_equal(fixture->answers, 1);
	for (size_t i = 0; i < 30; i++) {
		assert_int_equal(deliveries[i]->result.reply.code, 250);
		delivery_free(deliveries[i]);
	}
	assert_int_equal(fixture_count(fixture, "home/Maildir/.A/new"), 30);
	assert_int_equal(fixture_count(fixture, "home/Maildir/.B/new"), 30);
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 30);
	assert_int_equal(fixture_count(fixture, "home/Maildir/tmp"), 0);
}

static void
more_scripts_than_are_kept_are_each_their_own(void **state)
{
	struct fixture *fixture = *state;
	struct delivery *deliveries[150];
	char path[128], name[16];

	for (uint64_t i = 0; i < 150; i++) {
		deliveries[i] = fixture_delivery(fixture, i + 1, TEXT);
		snprintf(name, sizeof(name), "home/%u", (unsigned)(i % 75));
		snprintf(path, sizeof(path), "%s/%s", fixture->top, name);
		strcpy(deliveries[i]->request.mailbox.path, path);
		if (i >= 75)
			continue;
		assert_int_equal(mkdir(path, 0700), 0);
		snprintf(path, sizeof(path), "%s/sieve", name);
		assert_int_equal(mkdir(fixture_path(fixture, path), 0700), 0);
		snprintf(path, sizeof(path), "%s/sieve/active", name);
		assert_int_equal(symlink("a.sieve", fixture_path(fixture, path)), 0);
		snprintf(path, sizeof(path), "%s/sieve/a.sieve", name);
		fixture_write(fixture, path, i % 2 == 0 ? "discard;" : "keep;");
	}
	batch_deliver(&fixture->context, deliveries, 150, fixture_answered, fixture);
	for (size_t i = 0; i < 150; i++) {
		assert_reply(&deliveries[i]->result.reply, 250, "2.1.5",
		    i % 75 % 2 == 0 ? "not stored" : "delivered");
		delivery_free(deliveries[i]);
	}
}

/* Its mailbox is closed by then; one that failed is to be forgotten, one that can't be remembered gets
 * no reply. */
static void
rounds_leave_alone_what_an_earlier_one_was_done_with(void **state)
{
	struct fixture *fixture = *state;
	struct delivery *deliveries[30];

	set_script(fixture,
	    "require [\"fileinto\", \"copy\", \"mailbox\", \"reject\", \"vacation\"];\n"
	    "if header \"subject\" \"no\" { reject \"no\"; stop; }\n"
	    "redirect :copy \"a@b.test\"; vacation \"x\"; fileinto :copy :create \"A\";");
	assert_int_equal(mkdir(fixture_path(fixture, "home/Maildir/sieve/remembered"), 0700), 0);
	for (uint64_t i = 0; i < 30; i++)
		deliveries[i] =
		    fixture_delivery(fixture, i + 1, i % 3 == 0 ? "Subject: no\r\n\r\n" : TEXT);
	batch_deliver(&fixture->context, deliveries, 30, fixture_answered, fixture);
	assert_null(deliveries[0]->mailbox);
	for (size_t i = 0; i < 30; i++) {
		assert_int_equal(deliveries[i]->result.reply.code, i % 3 == 0 ? 550 : 250);
		delivery_free(deliveries[i]);
	}
	assert_int_equal(fixture_count(fixture, "home/Maildir/.A/new"), 20);
}

static void
second_try_finds_what_is_there(void **state)
{
	struct fixture *fixture = *state;
	struct delivery *delivery;

	set_script(fixture,
	    "require [\"fileinto\", \"copy\", \"mailbox\"]; fileinto :copy :create \"A\";");
	(void)fixture_result(fixture, 1, TEXT);
	/* One of the two was lost with a crash. */
	assert_int_equal(fixture_count(fixture, "home/Maildir/.A/new"), 1);
	remove_files(fixture, "home/Maildir/.A/new");
	delivery = fixture_delivery(fixture, 1, TEXT);
	delivery->request.maybe_delivered = true;
	fixture_deliver(fixture, delivery);
	assert_int_equal(delivery->result.reply.code, 250);
	delivery_free(delivery);
	assert_int_equal(fixture_count(fixture, "home/Maildir/.A/new"), 1);
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 1);
}

static void
places_fail_together(void **state)
{
	struct fixture *fixture = *state;

	set_script(fixture,
	    "require [\"fileinto\", \"copy\", \"mailbox\"]; fileinto :copy :create "
	    "\"A\"; fileinto :copy \"B\"; keep;");
	make_folder(fixture, "B");
	fixture->quota_messages = 2;
	assert_reply(&fixture_result(fixture, 1, TEXT)->reply, 452, "4.2.2", "");
	assert_int_equal(fixture_count(fixture, "home/Maildir/.A/new"), 0);
	assert_int_equal(fixture_count(fixture, "home/Maildir/.B/new"), 0);
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 0);
	fixture->quota_messages = 3;
	assert_reply(&fixture_result(fixture, 1, TEXT)->reply, 250, "2.1.5", "");
	assert_int_equal(fixture_count(fixture, "home/Maildir/.A/new"), 1);
	assert_int_equal(fixture_count(fixture, "home/Maildir/.B/new"), 1);
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 1);
}

static void
discarded_mail_is_stored_nowhere(void **state)
{
	struct fixture *fixture = *state;

	set_script(fixture, "discard;");
	assert_reply(&fixture_result(fixture, 1, TEXT)->reply, 250, "2.1.5", "not stored");
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 0);
}

static void
rejected_mail_fails_with_the_scripts_words(void **state)
{
	struct fixture *fixture = *state;
	struct delivery *delivery;

	set_script(fixture, "require \"reject\"; reject text:\nNo,\n  thanks.\n.\n;");
	assert_reply(&fixture_result(fixture, 1, TEXT)->reply, 550, "5.7.1", "No, thanks.");
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 0);
	/* A bounce can't be sent back. */
	delivery = fixture_delivery(fixture, 2, TEXT);
	memset(&delivery->request.sender, 0, sizeof(delivery->request.sender));
	fixture_deliver(fixture, delivery);
	assert_int_equal(delivery->result.reply.code, 250);
	delivery_free(delivery);
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 1);
}

static void
changed_script_holds_at_once(void **state)
{
	struct fixture *fixture = *state;

	set_script(fixture, "discard;");
	(void)fixture_result(fixture, 1, TEXT);
	set_script(fixture, "keep;");
	(void)fixture_result(fixture, 2, TEXT);
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 1);
	set_script(fixture, "discard;");
	(void)fixture_result(fixture, 3, TEXT);
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 1);
}

static void
script_that_cannot_be_used_keeps(void **state)
{
	struct fixture *fixture = *state;
	static const char *const links[] = { "/etc/passwd", "../a.sieve", "b.sieve", "a", ".sieve",
		"sub/a.sieve", "link.sieve", "folder.sieve" };

	set_script(fixture, "discard; foo;");
	(void)fixture_result(fixture, 1, TEXT);
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 1);
	set_script(fixture, "discard;");
	assert_int_equal(
	    symlink("a.sieve", fixture_path(fixture, "home/Maildir/sieve/link.sieve")), 0);
	assert_int_equal(mkdir(fixture_path(fixture, "home/Maildir/sieve/folder.sieve"), 0700), 0);
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
		assert_int_equal(unlink(fixture_path(fixture, "home/Maildir/sieve/active")), 0);
		assert_int_equal(
		    symlink(links[i], fixture_path(fixture, "home/Maildir/sieve/active")), 0);
		(void)fixture_result(fixture, 10 + i, TEXT);
		assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 2 + i);
	}
	assert_int_equal(chmod(fixture_path(fixture, "home/Maildir/sieve/a.sieve"), 0666), 0);
	assert_int_equal(unlink(fixture_path(fixture, "home/Maildir/sieve/active")), 0);
	assert_int_equal(symlink("a.sieve", fixture_path(fixture, "home/Maildir/sieve/active")), 0);
	(void)fixture_result(fixture, 30, TEXT);
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 10);
}

static void
run_that_fails_keeps(void **state)
{
	struct fixture *fixture = *state;

	set_script(fixture,
	    "require [\"variables\", \"fileinto\"]; discard; set \"a\" \"/\"; "
	    "fileinto \"${a}\";");
	(void)fixture_result(fixture, 1, TEXT);
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 1);
}

static void
bodies_and_long_headers_are_read(void **state)
{
	struct fixture *fixture = *state;
	char *text = malloc(200100);

	assert_non_null(text);
	strcpy(text, "X: ");
	memset(text + 3, 'x', 100000);
	strcpy(text + 100003, "\r\nY: found\r\n\r\n");
	memset(text + strlen(text), 'b', 95000);
	strcpy(text + 190020, "needle\r\n");
	set_script(fixture, "if header \"y\" \"found\" { discard; }");
	assert_reply(&fixture_result(fixture, 1, text)->reply, 250, "2.1.5", "not stored");
	set_script(fixture, "require \"body\"; if body :contains \"needle\" { discard; }");
	assert_reply(&fixture_result(fixture, 2, text)->reply, 250, "2.1.5", "not stored");
	free(text);
}

/* What a message with that id from that sender comes to: how many redirections, and a reply or not. */
static void
effects_of(struct fixture *fixture, uint64_t envelope, const char *id, const char *sender,
    size_t redirects, bool reply)
{
	struct delivery *delivery;
	char text[300];

	snprintf(text, sizeof(text), "To: user@example.test\r\nMessage-ID: <%s@x>\r\n\r\n", id);
	delivery = fixture_delivery(fixture, envelope, text);
	assert_int_equal(address_parse(sender, 0, &delivery->request.sender), ADDRESS_OK);
	fixture_deliver(fixture, delivery);
	assert_int_equal(delivery->result.reply.code, 250);
	assert_int_equal(delivery->result.effects != NULL, redirects > 0 || reply);
	if (delivery->result.effects != NULL) {
		assert_int_equal(delivery->result.effects->redirect_count, redirects);
		assert_int_equal(delivery->result.effects->has_reply, reply);
	}
	delivery_free(delivery);
}

static void
replies_and_redirections_are_remembered(void **state)
{
	struct fixture *fixture = *state;

	set_script(fixture, "require \"vacation\"; redirect \"a@b.test\"; vacation \"x\";");
	effects_of(fixture, 1, "1", "ann@a.test", 1, true);
	/* The same delivery, tried again. */
	effects_of(fixture, 1, "1", "ann@a.test", 1, true);
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 0);
	effects_of(fixture, 2, "2", "Ann@a.test", 1, false);
	/* It comes back, and stays. */
	effects_of(fixture, 3, "1", "carl@a.test", 0, true);
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 1);
	/* Other words are another reply. */
	set_script(fixture, "require \"vacation\"; vacation \"y\";");
	effects_of(fixture, 4, "4", "ann@a.test", 0, true);
	/* What can't be read is as if it weren't there. */
	fixture_write(fixture, "home/Maildir/sieve/remembered", "9999999999 x\nfoo\n\n");
	effects_of(fixture, 5, "5", "ann@a.test", 0, true);
	effects_of(fixture, 6, "6", "ann@a.test", 0, false);
}

static void
who_cannot_be_remembered_gets_no_reply(void **state)
{
	struct fixture *fixture = *state;

	set_script(fixture, "require \"vacation\"; redirect \"a@b.test\"; vacation \"x\";");
	/* Nothing can be renamed over it. */
	assert_int_equal(mkdir(fixture_path(fixture, "home/Maildir/sieve/remembered"), 0700), 0);
	effects_of(fixture, 1, "1", "ann@a.test", 1, false);
	assert_int_equal(
	    access(fixture_path(fixture, "home/Maildir/sieve/remembered.new"), F_OK), -1);
	set_script(fixture, "require \"vacation\"; vacation \"x\";");
	effects_of(fixture, 2, "2", "ann@a.test", 0, false);
	assert_int_equal(rmdir(fixture_path(fixture, "home/Maildir/sieve/remembered")), 0);
	effects_of(fixture, 3, "3", "ann@a.test", 0, true);
	effects_of(fixture, 4, "4", "ann@a.test", 0, false);
}

static void
own_address_is_no_redirection(void **state)
{
	struct fixture *fixture = *state;

	set_script(fixture, "redirect \"user@example.test\";");
	effects_of(fixture, 1, "1", "ann@a.test", 0, false);
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 1);
}

static void
what_failed_sends_nothing(void **state)
{
	struct fixture *fixture = *state;
	const struct ipc_delivered *result;

	set_script(fixture, "redirect \"a@b.test\"; keep;");
	fixture->quota_messages = 1;
	(void)fixture_result(fixture, 1, TEXT);
	result = fixture_result(fixture, 2, TEXT);
	assert_int_equal(result->reply.code, 452);
	assert_null(result->effects);
}

static void
who_got_no_reply_by_a_script_that_fails_gets_the_next(void **state)
{
	struct fixture *fixture = *state;
	char script[2048] = "require [\"vacation\", \"fileinto\", \"mailbox\"]; vacation \"away\";";

	for (unsigned i = 0; i <= SCRIPT_PLACES_MAX; i++)
		snprintf(script + strlen(script), sizeof(script) - strlen(script),
		    "fileinto :create \"f%u\";", i);
	set_script(fixture, script);
	effects_of(fixture, 1, "1", "ann@a.test", 0, false);
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 1);
	set_script(fixture, "require \"vacation\"; vacation \"away\";");
	effects_of(fixture, 2, "2", "ann@a.test", 0, true);
}

static void
what_failed_is_no_duplicate_when_it_comes_again(void **state)
{
	static const char text[] = "Message-ID: <1@a.test>\r\n\r\n";
	struct fixture *fixture = *state;
	const struct ipc_delivered *result;

	set_script(fixture, "require \"duplicate\"; if duplicate { discard; }");
	fixture->quota_messages = 1;
	(void)fixture_result(fixture, 1, TEXT);
	assert_int_equal(fixture_result(fixture, 2, text)->reply.code, 452);
	/* Its sender was told, and has sent it once more. */
	fixture->quota_messages = 3;
	result = fixture_result(fixture, 3, text);
	assert_reply(&result->reply, 250, "2.1.5", "delivered");
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 2);
	assert_reply(&fixture_result(fixture, 4, text)->reply, 250, "2.1.5", "not stored");
	assert_int_equal(fixture_count(fixture, "home/Maildir/new"), 2);
}

static void
memory_is_bounded_and_forgets_the_oldest(void **state)
{
	struct fixture *fixture = *state;
	struct script_memory memory;
	char id[32];
	int root;

	set_script(fixture, "keep;");
	root = open(fixture->maildir, O_RDONLY | O_DIRECTORY);
	assert_int_not_equal(root, -1);
	memory_init(&memory, root);
	for (unsigned i = 0; i < MEMORY_MAX + 10; i++) {
		snprintf(id, sizeof(id), "%u", i);
		memory_add(&memory, "kind", "", id, 100, 200, 1);
	}
	memory_save(&memory, fixture->maildir);
	memory_free(&memory);
	memory_init(&memory, root);
	assert_false(memory_has(&memory, "kind", "", "5", 150, 2));
	assert_true(memory_has(&memory, "kind", "", "10", 150, 2));
	assert_false(memory_has(&memory, "kind", "", "10", 150, 1)); /* its own */
	assert_false(memory_has(&memory, "kind", "", "10", 200, 2)); /* over */
	assert_false(memory_has(&memory, "other", "", "10", 150, 2));
	/* A symbolic link isn't followed. */
	memory_free(&memory);
	assert_int_equal(unlink(fixture_path(fixture, "home/Maildir/sieve/remembered")), 0);
	assert_int_equal(
	    symlink("/etc/passwd", fixture_path(fixture, "home/Maildir/sieve/remembered")), 0);
	memory_init(&memory, root);
	memory_add(&memory, "kind", "", "1", 100, 200, 1);
	memory_save(&memory, fixture->maildir);
	assert_int_equal(
	    strncmp(fixture_read(fixture, "home/Maildir/sieve/remembered"), "200 ", 4), 0);
	memory_free(&memory);
	close(root);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(no_script_changes_nothing),
		TEST(files_go_where_the_script_says),
		TEST(flags_are_in_the_name),
		TEST(several_folders_get_a_file_each),
		TEST(more_scripts_than_are_kept_are_each_their_own),
		TEST(rounds_leave_alone_what_an_earlier_one_was_done_with),
		TEST(second_try_finds_what_is_there),
		TEST(places_fail_together),
		TEST(discarded_mail_is_stored_nowhere),
		TEST(rejected_mail_fails_with_the_scripts_words),
		TEST(changed_script_holds_at_once),
		TEST(script_that_cannot_be_used_keeps),
		TEST(run_that_fails_keeps),
		TEST(bodies_and_long_headers_are_read),
		TEST(replies_and_redirections_are_remembered),
		TEST(who_cannot_be_remembered_gets_no_reply),
		TEST(own_address_is_no_redirection),
		TEST(what_failed_sends_nothing),
		TEST(who_got_no_reply_by_a_script_that_fails_gets_the_next),
		TEST(what_failed_is_no_duplicate_when_it_comes_again),
		TEST(memory_is_bounded_and_forgets_the_oldest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
