/* What is found damaged, old or gone: never one uid for two messages, never a message lost. */
#include "test_mailbox_fixture.h"

#include <time.h>

#include "mailbox/folder_state.h"
#include "mailbox/folder_view.h"

/* Two messages with uids 1 and 3, the folder closed. */
static uint32_t
two_messages(struct fixture *fixture)
{
	struct folder *folder = fixture_open(fixture, "INBOX");
	uint32_t validity = folder_uid_validity(folder), uid;

	fixture_append(folder, "one\r\n", MESSAGE_SEEN);
	uid = fixture_append(folder, "two\r\n", 0);
	fixture_append(folder, "three\r\n", MESSAGE_FLAGGED);
	assert_int_equal(folder_expunge(folder, &uid, 1), MAIL_OK);
	folder_release(folder);
	return validity;
}

static void
restart(struct fixture *fixture)
{
	fixture_stop(fixture);
	fixture_start(fixture);
}

/* Both are there, under these flags and UIDVALIDITY. */
static void
assert_folder(struct fixture *fixture, uint32_t validity, const char *flags)
{
	struct folder *folder;

	restart(fixture);
	folder = fixture_open(fixture, "INBOX");
	if (validity != 0)
		assert_int_equal(folder_uid_validity(folder), validity);
	assert_string_equal(fixture_flags(folder), flags);
	folder_release(folder);
}

static void
index_damaged_at_any_byte_is_rebuilt(void **state)
{
	struct fixture *fixture = *state;
	uint32_t validity = two_messages(fixture);
	static char good[65536];
	size_t length, at;

	memcpy(good, fixture_read(fixture, "postern.index", &length), sizeof(good));
	for (at = 0; at < length; at += at < 400 ? 3 : 7) {
		good[at] ^= 0x41;
		fixture_write(fixture, "postern.index", good, length);
		good[at] ^= 0x41;
		assert_folder(fixture, validity, "1:S 3:F");
		fixture_write(fixture, "postern.index", good, at);
		assert_folder(fixture, validity, "1:S 3:F");
	}
}

/* The index says that nothing has changed since, so that its header is enough to open the folder. */
static void
settle(struct fixture *fixture)
{
	struct folder *folder = fixture_open(fixture, "INBOX");
	const struct timespec tick = { .tv_nsec = 5000000 };
	int turns = 0;

	while (!folder_is_quiet_since(folder_directory_ns(folder->cur)) ||
	    !folder_is_quiet_since(folder_directory_ns(folder->new))) {
		assert_true(turns++ < 1000);
		nanosleep(&tick, NULL);
	}
	folder->unsaved = true;
	folder_release(folder);
	restart(fixture);
}

static struct folder *
open_soon(struct fixture *fixture)
{
	enum mail_result why;
	struct folder *folder = folder_open_soon(fixture->maildir, "INBOX", &why);

	assert_non_null(folder);
	assert_int_equal(why, MAIL_OK);
	return folder;
}

static void
messages_are_read_when_one_is_wanted(void **state)
{
	struct fixture *fixture = *state;
	uint32_t validity = two_messages(fixture);
	struct folder_view *view;
	struct folder *folder, *same;

	settle(fixture);
	folder = open_soon(fixture);
	assert_null(folder->content.messages);
	assert_int_equal(folder_uid_validity(folder), validity);
	assert_int_equal(folder_uid_next(folder), 4);
	assert_int_equal(folder_first_unseen(folder), 1);
	view = folder_view_new(folder);
	assert_non_null(view);
	assert_int_equal(folder_view_count(view), 2);
	assert_int_equal(folder_sync(folder), MAIL_OK);
	assert_false(folder_view_is_behind(view));
	same = open_soon(fixture);
	assert_ptr_equal(same, folder);
	folder_release(same);
	assert_null(folder->content.messages);
	assert_int_equal(folder_need(folder), MAIL_OK);
	assert_int_equal(folder_need(folder), MAIL_OK);
	assert_string_equal(fixture_flags(folder), "1:S 3:F");
	assert_int_equal(folder_first_unseen(folder), 1);
	assert_false(folder_view_is_behind(view));
	folder_view_free(view);
	folder_release(folder);
}

static void
messages_are_read_when_one_arrives(void **state)
{
	struct fixture *fixture = *state;
	struct folder_view *view;
	struct folder *folder;

	(void)two_messages(fixture);
	settle(fixture);
	folder = open_soon(fixture);
	view = folder_view_new(folder);
	assert_non_null(view);
	fixture_text(fixture, "new/1.a.b", "four\r\n");
	assert_int_equal(folder_sync(folder), MAIL_OK);
	assert_true(folder_view_is_behind(view));
	assert_true(folder_view_take_arrivals(view));
	assert_int_equal(folder_view_count(view), 3);
	assert_string_equal(fixture_flags(folder), "1:S 3:F 4:");
	folder_view_free(view);
	folder_release(folder);
}

static void
damage_behind_the_indexs_header_is_repaired_from_the_files(void **state)
{
	struct fixture *fixture = *state;
	uint32_t validity = two_messages(fixture);
	static char good[65536];
	struct folder *folder;
	size_t length;

	settle(fixture);
	memcpy(good, fixture_read(fixture, "postern.index", &length), sizeof(good));
	good[length - 9] ^= 1;
	fixture_write(fixture, "postern.index", good, length);
	folder = open_soon(fixture);
	assert_null(folder->content.messages);
	assert_int_equal(folder_need(folder), MAIL_OK);
	assert_int_equal(folder_uid_validity(folder), validity);
	assert_string_equal(fixture_flags(folder), "1:S 3:F");
	folder_release(folder);
}

static void
folder_that_is_not_what_its_index_said_ends(void **state)
{
	struct fixture *fixture = *state;
	static char good[65536];
	struct folder_view *view;
	struct folder *folder;
	enum mail_result why;
	size_t length;

	(void)two_messages(fixture);
	settle(fixture);
	memcpy(good, fixture_read(fixture, "postern.index", &length), sizeof(good));
	good[length - 9] ^= 1;
	fixture_write(fixture, "postern.index", good, length);
	folder = open_soon(fixture);
	view = folder_view_new(folder);
	assert_non_null(view);
	fixture_text(fixture, "cur/1.a.b:2,", "four\r\n"); /* and nobody looks */
	assert_false(folder_is_void(folder));
	assert_int_equal(folder_need(folder), MAIL_ABSENT);
	assert_true(folder_is_void(folder));
	assert_int_equal(folder_view_count(view), 0);
	assert_false(folder_view_take_arrivals(view));
	assert_int_equal(folder_sync(folder), MAIL_ABSENT);
	folder_view_free(view);
	folder_release(folder);
	folder = folder_open(fixture->maildir, "INBOX", &why);
	assert_non_null(folder);
	assert_string_equal(fixture_flags(folder), "1:S 3:F 4:");
	folder_release(folder);
}

static void
folder_deleted_before_its_messages_were_read_ends(void **state)
{
	struct fixture *fixture = *state;
	struct folder_view *view;
	struct folder *folder;
	uint32_t uid;
	size_t sequence;

	(void)two_messages(fixture);
	settle(fixture);
	folder = open_soon(fixture);
	view = folder_view_new(folder);
	assert_non_null(view);
	folder_detach(folder);
	assert_true(folder_view_take_expunged(view, &uid, &sequence));
	assert_int_equal(uid, 1);
	assert_int_equal(folder_need(folder), MAIL_OK);
	folder_view_free(view);
	folder_release(folder);
}

static void
index_is_not_believed_over_the_files(void **state)
{
	struct fixture *fixture = *state;
	uint32_t validity = two_messages(fixture);
	struct folder *folder;
	static char old[65536];
	size_t length;

	memcpy(old, fixture_read(fixture, "postern.index", &length), sizeof(old));
	folder = fixture_open(fixture, "INBOX");
	fixture_append(folder, "four\r\n", 0);
	assert_int_equal(fixture_store(folder, 1, STORE_REPLACE, MESSAGE_DRAFT), MAIL_OK);
	folder_release(folder);
	/* As after a crash: the index is older than all that. */
	fixture_write(fixture, "postern.index", old, length);
	assert_folder(fixture, validity, "1:D 3:F 4:");
	/* Or of a Maildir that was put back from a backup without its last messages. */
	fixture_write(fixture, "postern.index", "PSTNIDX\n\3\0\0\0", 12);
	assert_folder(fixture, validity, "1:D 3:F 4:");
}

static void
list_damaged_or_gone_begins_a_new_uidvalidity(void **state)
{
	static const char *const damaged[] = { "", "3", "3 V5\n", "garbage\n",
		"3 V5 N9\n1 :a\n1 :b\n", "3 V5 N9\n2 :a\n1 :b\n", "3 V5 N9\nx\n",
		"3 V5 N9\n1 :a/b\n", "3 V5 N9\n0 :a\n", "4 V5 N9\n" };
	struct fixture *fixture = *state;
	uint32_t validity = two_messages(fixture), next;
	struct folder *folder;
	size_t i;

	for (i = 0; i <= sizeof(damaged) / sizeof(damaged[0]); i++) {
		if (i == 0)
			assert_int_equal(unlink(fixture_path(fixture, "dovecot-uidlist")), 0);
		else
			fixture_text(fixture, "dovecot-uidlist", damaged[i - 1]);
		restart(fixture);
		folder = fixture_open(fixture, "INBOX");
		next = folder_uid_validity(folder);
		assert_true(next > validity);
		assert_string_equal(fixture_flags(folder), "1:S 2:F");
		validity = next;
		folder_release(folder);
		assert_folder(fixture, validity, "1:S 2:F");
	}
}

static void
list_put_back_from_a_backup_begins_a_new_uidvalidity(void **state)
{
	struct fixture *fixture = *state;
	struct folder *folder = fixture_open(fixture, "INBOX");
	static char old[65536];
	uint32_t validity;
	size_t length;

	fixture_append(folder, "one\r\n", 0);
	folder_release(folder);
	memcpy(old, fixture_read(fixture, "dovecot-uidlist", &length), sizeof(old));
	folder = fixture_open(fixture, "INBOX");
	fixture_append(folder, "two\r\n", MESSAGE_SEEN);
	validity = folder_uid_validity(folder);
	folder_release(folder);
	fixture_write(fixture, "dovecot-uidlist", old, length);
	restart(fixture);
	folder = fixture_open(fixture, "INBOX");
	assert_true(folder_uid_validity(folder) > validity);
	assert_int_equal(fixture_live(folder), 2);
	folder_release(folder);
}

static void
torn_last_line_costs_its_uid_only(void **state)
{
	struct fixture *fixture = *state;
	uint32_t validity = two_messages(fixture);
	struct folder *folder;
	size_t length;
	char *text = fixture_read(fixture, "dovecot-uidlist", &length);

	/* The record of uid 3 is cut short; the index knew better, but the list says. */
	fixture_write(fixture, "dovecot-uidlist", text, length - 5);
	unlink(fixture_path(fixture, "postern.index"));
	restart(fixture);
	folder = fixture_open(fixture, "INBOX");
	assert_int_equal(folder_uid_validity(folder), validity);
	assert_string_equal(fixture_flags(folder), "1:S 4:F");
	folder_release(folder);
	assert_folder(fixture, validity, "1:S 4:F");
}

static void
old_version_of_the_list_is_read(void **state)
{
	struct fixture *fixture = *state;

	fixture_text(fixture, "cur/a.b.c:2,S", "x\n");
	fixture_text(fixture, "cur/d.e.f:2,", "x\n");
	fixture_text(fixture, "dovecot-uidlist", "1 1234567 12\n4 a.b.c:2,\n9 d.e.f\n");
	assert_folder(fixture, 1234567, "4:S 9:");
	assert_int_equal(
	    strncmp(fixture_read(fixture, "dovecot-uidlist", NULL), "3 V1234567 N12 G", 16), 0);
	assert_folder(fixture, 1234567, "4:S 9:");
}

static void
fields_of_others_in_the_list_stay(void **state)
{
	struct fixture *fixture = *state;
	struct folder *folder;
	uint32_t uid;
	char id[34], again[34];
	int i;

	fixture_text(fixture, "cur/a.b.c:2,S", "x\n");
	fixture_text(fixture, "dovecot-uidlist",
	    "3 V7 N5 G5006390e3d800b6b4627000083ecc375\n4 W17 Gguid P0001 :a.b.c\n");
	folder = fixture_open(fixture, "INBOX");
	folder_mailbox_id(folder, id);
	assert_string_equal(id, "F5006390e3d800b6b4627000083ecc375");
	folder_message_email_id(folder, folder_find(folder, 4), id);
	/* Until it is written anew, when most of it is outdated. */
	for (i = 0; i < 1100; i++) {
		uid = folder_uid_next(folder);
		fixture_text(fixture, "new/x", "y\n");
		fixture_sync(folder);
		assert_int_equal(folder_expunge(folder, &uid, 1), MAIL_OK);
	}
	folder->cur_changed = true;
	fixture_sync(folder);
	assert_true(strlen(fixture_read(fixture, "dovecot-uidlist", NULL)) < 200);
	assert_non_null(
	    strstr(fixture_read(fixture, "dovecot-uidlist", NULL), "4 W17 Gguid P0001 :a.b.c\n"));
	folder_message_email_id(folder, folder_find(folder, 4), again);
	assert_string_equal(id, again);
	folder_release(folder);
}

static void
list_lost_while_open_ends_the_folder(void **state)
{
	struct fixture *fixture = *state;
	struct folder_view *view;
	struct folder *folder;
	size_t sequence, told = 0;
	uint32_t uid;

	two_messages(fixture);
	folder = fixture_open(fixture, "INBOX");
	view = folder_view_new(folder);
	assert_int_equal(folder_view_count(view), 2);
	unlink(fixture_path(fixture, "dovecot-uidlist"));
	fixture_text(fixture, "new/1.P.host", "x\n");
	assert_int_equal(folder_sync(folder), MAIL_ABSENT);
	while (folder_view_take_expunged(view, &uid, &sequence))
		told++;
	assert_int_equal(told, 2);
	assert_int_equal(folder_view_count(view), 0);
	folder_view_free(view);
	folder_release(folder);
	folder = fixture_open(fixture, "INBOX");
	assert_int_equal(fixture_live(folder), 3);
	folder_release(folder);
}

static void
lock_of_a_dead_process_is_broken(void **state)
{
	struct fixture *fixture = *state;
	char text[200], host[65] = "";
	struct folder *folder;
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	waitpid(pid, NULL, 0);
	gethostname(host, sizeof(host) - 1);
	snprintf(text, sizeof(text), "%d:%s", (int)pid, host);
	fixture_text(fixture, "dovecot-uidlist.lock", text);
	folder = fixture_open(fixture, "INBOX");
	fixture_append(folder, "x\r\n", 0);
	/* One that lives is respected: what is known stays. */
	snprintf(text, sizeof(text), "%d:%s", (int)getppid(), host);
	fixture_text(fixture, "dovecot-uidlist.lock", text);
	fixture_text(fixture, "new/1.P.host", "x\n");
	assert_int_equal(folder_sync(folder), MAIL_BUSY);
	assert_int_equal(fixture_live(folder), 1);
	unlink(fixture_path(fixture, "dovecot-uidlist.lock"));
	fixture_sync(folder);
	assert_int_equal(fixture_live(folder), 2);
	folder_release(folder);
}

static void
unreadable_directory_is_an_error_not_an_empty_folder(void **state)
{
	struct fixture *fixture = *state;
	enum mail_result why;

	two_messages(fixture);
	fixture_text(fixture, "new/1.P.host", "x\n");
	assert_int_equal(rename(fixture_path(fixture, "cur"), fixture_path(fixture, "aside")), 0);
	fixture_text(fixture, "cur", "a file");
	restart(fixture);
	assert_null(folder_open(fixture->maildir, "INBOX", &why));
	assert_int_equal(why, MAIL_FAILED);
	unlink(fixture_path(fixture, "cur"));
	rename(fixture_path(fixture, "aside"), fixture_path(fixture, "cur"));
	assert_folder(fixture, 0, "1:S 3:F 4:");
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(index_damaged_at_any_byte_is_rebuilt),
		TEST(messages_are_read_when_one_is_wanted),
		TEST(messages_are_read_when_one_arrives),
		TEST(damage_behind_the_indexs_header_is_repaired_from_the_files),
		TEST(folder_that_is_not_what_its_index_said_ends),
		TEST(folder_deleted_before_its_messages_were_read_ends),
		TEST(index_is_not_believed_over_the_files),
		TEST(list_damaged_or_gone_begins_a_new_uidvalidity),
		TEST(list_put_back_from_a_backup_begins_a_new_uidvalidity),
		TEST(torn_last_line_costs_its_uid_only),
		TEST(old_version_of_the_list_is_read),
		TEST(fields_of_others_in_the_list_stay),
		TEST(list_lost_while_open_ends_the_folder),
		TEST(lock_of_a_dead_process_is_broken),
		TEST(unreadable_directory_is_an_error_not_an_empty_folder),
	};

	if (access("/dev/shm", W_OK) == 0)
		fixture_base = "/dev/shm";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
