/* An open folder: uids, flags, removals, appending, copying, moving; and what others do meanwhile. */
#include "test_mailbox_fixture.h"

static void
new_mail_gets_uids_in_order_and_moves_to_cur(void **state)
{
	struct fixture *fixture = *state;
	struct folder *folder;

	fixture_text(fixture, "new/1700000002.M2P2.host,S=3,W=4", "c\n\n");
	fixture_text(fixture, "new/1700000001.M1P1.host", "a\n");
	fixture_text(fixture, "cur/1700000003.M3P3.host:2,FS", "b\n");
	folder = fixture_open(fixture, "INBOX");
	assert_string_equal(fixture_flags(folder), "1: 2: 3:FS");
	assert_string_equal(fixture_body(folder, 1), "a\n");
	assert_int_equal(fixture_count(fixture, "new"), 0);
	assert_int_equal(fixture_count(fixture, "cur"), 3);
	assert_int_equal(folder_uid_next(folder), 4);
	/* Delivered while it is open. */
	fixture_text(fixture, "new/1700000000.M0P0.host", "late\n");
	assert_true(folder_is_changed(folder));
	fixture_sync(folder);
	assert_string_equal(fixture_flags(folder), "1: 2: 3:FS 4:");
	assert_false(folder_is_changed(folder));
	folder_release(folder);
}

static void
uids_stay_without_the_index(void **state)
{
	struct fixture *fixture = *state;
	struct folder *folder = fixture_open(fixture, "INBOX");
	uint32_t validity = folder_uid_validity(folder), gone;
	uint64_t modseq;

	fixture_append(folder, "one\r\n", 0);
	gone = fixture_append(folder, "two\r\n", MESSAGE_SEEN);
	fixture_append(folder, "three\r\n", MESSAGE_FLAGGED);
	assert_int_equal(folder_expunge(folder, &gone, 1), MAIL_OK);
	modseq = folder_highest_modseq(folder);
	folder_release(folder);
	fixture_stop(fixture);
	assert_int_equal(unlink(fixture_path(fixture, "postern.index")), 0);
	fixture_start(fixture);
	folder = fixture_open(fixture, "INBOX");
	assert_int_equal(folder_uid_validity(folder), validity);
	assert_string_equal(fixture_flags(folder), "1: 3:F");
	assert_int_equal(folder_uid_next(folder), 4);
	assert_true(folder_highest_modseq(folder) > modseq);
	folder_release(folder);
}

static void
uids_that_are_gone_are_not_given_again(void **state)
{
	struct fixture *fixture = *state;
	struct folder *folder = fixture_open(fixture, "INBOX");
	uint32_t uid = fixture_append(folder, "one\r\n", 0);

	assert_int_equal(folder_expunge(folder, &uid, 1), MAIL_OK);
	folder_release(folder);
	fixture_stop(fixture);
	unlink(fixture_path(fixture, "postern.index"));
	fixture_start(fixture);
	folder = fixture_open(fixture, "INBOX");
	assert_int_equal(fixture_append(folder, "two\r\n", 0), 2);
	folder_release(folder);
}

static void
appended_message_has_lf_its_size_and_date(void **state)
{
	struct fixture *fixture = *state;
	struct folder *folder = fixture_open(fixture, "INBOX");
	uint32_t uid = fixture_append(folder, "A: b\r\n\r\nx\ny\r\rz\r", MESSAGE_SEEN);
	int64_t internal, saved;
	struct message *message;
	uint64_t size;

	assert_string_equal(fixture_body(folder, uid), "A: b\n\nx\ny\r\rz\r");
	message = folder_find(folder, uid);
	assert_int_equal(folder_message_size(folder, message, &size), MAIL_OK);
	assert_int_equal(size, 16);
	assert_int_equal(folder_message_dates(folder, message, &internal, &saved), MAIL_OK);
	assert_int_equal(internal, 1600000000);
	assert_true(saved >= time(NULL) - 5);
	folder_release(folder);
	/* And from the disk alone. */
	fixture_stop(fixture);
	unlink(fixture_path(fixture, "postern.index"));
	fixture_start(fixture);
	folder = fixture_open(fixture, "INBOX");
	message = folder_find(folder, uid);
	assert_int_equal(folder_message_size(folder, message, &size), MAIL_OK);
	assert_int_equal(size, 16);
	assert_int_equal(folder_message_dates(folder, message, &internal, &saved), MAIL_OK);
	assert_int_equal(internal, 1600000000);
	assert_string_equal(fixture_flags(folder), "1:S");
	folder_release(folder);
}

static void
several_appended_together_get_ascending_uids(void **state)
{
	struct fixture *fixture = *state;
	struct folder *folder = fixture_open(fixture, "INBOX");
	struct append *appends[3];
	uint32_t uids[3];
	size_t i;

	for (i = 0; i < 3; i++) {
		assert_int_equal(append_begin(folder, 10, &appends[i]), MAIL_OK);
		append_write(appends[i], "x\r\n", 3);
	}
	assert_int_equal(folder_append(folder, appends, 3, uids), MAIL_OK);
	for (i = 0; i < 3; i++) {
		append_free(appends[i]);
		assert_int_equal(uids[i], i + 1);
	}
	assert_int_equal(fixture_count(fixture, "tmp"), 0);
	assert_int_equal(fixture_count(fixture, "cur"), 3);
	folder_release(folder);
}

static void
append_given_up_leaves_nothing(void **state)
{
	struct fixture *fixture = *state;
	struct folder *folder = fixture_open(fixture, "INBOX");
	struct append *append;

	assert_int_equal(append_begin(folder, 10, &append), MAIL_OK);
	append_write(append, "x\r\n", 3);
	append_free(append);
	assert_int_equal(fixture_count(fixture, "tmp"), 0);
	assert_int_equal(fixture_count(fixture, "cur"), 0);
	folder_release(folder);
}

static void
flags_and_keywords_are_in_the_name(void **state)
{
	struct fixture *fixture = *state;
	struct folder *folder = fixture_open(fixture, "INBOX");
	uint32_t uid = fixture_append(folder, "x\r\n", 0), bit;
	uint64_t before = folder_highest_modseq(folder);

	assert_int_equal(folder_keyword(folder, "$Forwarded", true, &bit), MAIL_OK);
	assert_int_equal(bit, 1);
	assert_int_equal(folder_keyword(folder, "Junk", true, &bit), MAIL_OK);
	assert_int_equal(folder_keyword(folder, "JUNK", false, &bit), MAIL_OK);
	assert_int_equal(bit, 2);
	assert_int_equal(fixture_store(folder, uid, STORE_ADD, MESSAGE_SEEN | bit), MAIL_OK);
	assert_string_equal(fixture_flags(folder), "1:Sb");
	assert_true(folder_find(folder, uid)->modseq > before);
	assert_int_equal(fixture_store(folder, uid, STORE_REPLACE, MESSAGE_FLAGGED | 1), MAIL_OK);
	assert_string_equal(fixture_flags(folder), "1:Fa");
	assert_int_equal(fixture_store(folder, uid, STORE_REMOVE, MESSAGE_FLAGGED), MAIL_OK);
	assert_string_equal(fixture_flags(folder), "1:a");
	before = folder_highest_modseq(folder);
	/* Nothing to change is no change. */
	assert_int_equal(fixture_store(folder, uid, STORE_REMOVE, MESSAGE_FLAGGED), MAIL_OK);
	assert_int_equal(folder_highest_modseq(folder), before);
	assert_false(folder_is_changed(folder));
	folder_release(folder);
	assert_string_equal(
	    fixture_read(fixture, "dovecot-keywords", NULL), "0 $Forwarded\n1 Junk\n");
}

static void
keywords_are_26_and_no_more(void **state)
{
	struct fixture *fixture = *state;
	struct folder *folder = fixture_open(fixture, "INBOX");
	uint32_t bit;
	char name[16];
	int i;

	for (i = 0; i < 26; i++) {
		snprintf(name, sizeof(name), "key%d", i);
		assert_int_equal(folder_keyword(folder, name, true, &bit), MAIL_OK);
		assert_int_equal(bit, 1u << i);
	}
	assert_int_equal(folder_keyword(folder, "more", true, &bit), MAIL_LIMIT);
	assert_int_equal(folder_keyword(folder, "more", false, &bit), MAIL_ABSENT);
	assert_int_equal(folder_keyword(folder, "a b", true, &bit), MAIL_BAD_NAME);
	assert_int_equal(folder_keyword(folder, "new\nline", true, &bit), MAIL_BAD_NAME);
	folder_release(folder);
}

static void
unknown_letters_in_a_name_are_kept(void **state)
{
	struct fixture *fixture = *state;
	struct folder *folder;

	fixture_text(fixture, "cur/1.P.host:2,PSZ,x=1", "a\n");
	fixture_text(fixture, "cur/2.P.host:2,SF", "b\n");
	fixture_text(fixture, "cur/3.P.host", "c\n");
	fixture_text(fixture, "cur/4.P.host:1,S", "d\n");
	folder = fixture_open(fixture, "INBOX");
	assert_string_equal(fixture_flags(folder), "1:S 2:FS 3: 4:");
	assert_int_equal(fixture_store(folder, 1, STORE_REPLACE, MESSAGE_FLAGGED | 1), MAIL_OK);
	assert_int_equal(fixture_store(folder, 2, STORE_ADD, MESSAGE_ANSWERED), MAIL_OK);
	assert_int_equal(fixture_store(folder, 3, STORE_ADD, MESSAGE_SEEN), MAIL_OK);
	assert_int_equal(fixture_store(folder, 4, STORE_ADD, MESSAGE_SEEN), MAIL_OK);
	assert_int_equal(access(fixture_path(fixture, "cur/1.P.host:2,FPZa,x=1"), F_OK), 0);
	assert_int_equal(access(fixture_path(fixture, "cur/2.P.host:2,FRS"), F_OK), 0);
	assert_int_equal(access(fixture_path(fixture, "cur/3.P.host:2,S"), F_OK), 0);
	assert_int_equal(access(fixture_path(fixture, "cur/4.P.host:2,S"), F_OK), 0);
	assert_string_equal(fixture_body(folder, 1), "a\n");
	assert_int_equal(fixture_store(folder, 1, STORE_REMOVE, MESSAGE_FLAGGED), MAIL_OK);
	assert_string_equal(fixture_body(folder, 1), "a\n");
	folder_release(folder);
	folder = fixture_open(fixture, "INBOX");
	assert_string_equal(fixture_flags(folder), "1:a 2:FRS 3:S 4:S");
	folder_release(folder);
}

static void
changes_by_others_are_seen(void **state)
{
	struct fixture *fixture = *state;
	struct folder *folder;
	uint64_t modseq;

	fixture_text(fixture, "cur/1.P.host:2,", "a\n");
	fixture_text(fixture, "cur/2.P.host:2,", "b\n");
	fixture_text(fixture, "cur/3.P.host:2,", "c\n");
	folder = fixture_open(fixture, "INBOX");
	modseq = folder_highest_modseq(folder);
	assert_int_equal(rename(fixture_path(fixture, "cur/1.P.host:2,"),
	                     fixture_path(fixture, "cur/1.P.host:2,S")),
	    0);
	assert_int_equal(unlink(fixture_path(fixture, "cur/2.P.host:2,")), 0);
	fixture_text(fixture, "cur/0.P.host:2,F", "d\n");
	assert_true(folder_is_changed(folder));
	fixture_sync(folder);
	assert_string_equal(fixture_flags(folder), "1:S 3: 4:F");
	assert_true(folder_find(folder, 1)->modseq > modseq);
	assert_true(folder_find(folder, 3)->modseq <= modseq);
	assert_false(folder_is_changed(folder));
	folder_release(folder);
}

/* The system's limit of inotify instances is met. */
static void
without_a_watch_changes_are_seen_by_time(void **state)
{
	struct fixture *fixture = *state;
	struct folder *folder;

	close(fixture->maildir->watch);
	fixture->maildir->watch = -1;
	assert_int_equal(maildir_watch_fd(fixture->maildir), -1);
	fixture_text(fixture, "cur/1.P.host:2,", "a\n");
	folder = fixture_open(fixture, "INBOX");
	fixture_append(folder, "b\r\n", 0);
	assert_int_equal(fixture_store(folder, 1, STORE_ADD, MESSAGE_SEEN), MAIL_OK);
	fixture_sync(folder);
	/* The kernel's clock for files goes on in steps. */
	usleep(20000);
	fixture_text(fixture, "new/2.P.host", "c\n");
	rename(
	    fixture_path(fixture, "cur/1.P.host:2,S"), fixture_path(fixture, "cur/1.P.host:2,FS"));
	assert_true(folder_is_changed(folder));
	fixture_sync(folder);
	assert_string_equal(fixture_flags(folder), "1:FS 2: 3:");
	folder_release(folder);
}

static void
file_renamed_underneath_is_found_again(void **state)
{
	struct fixture *fixture = *state;
	uint32_t both[] = { 1, 2 };
	struct folder *folder;
	uint64_t size;
	int fd;

	fixture_text(fixture, "cur/1.P.host:2,", "a\n");
	fixture_text(fixture, "cur/2.P.host:2,", "b\n");
	folder = fixture_open(fixture, "INBOX");
	rename(fixture_path(fixture, "cur/1.P.host:2,"), fixture_path(fixture, "cur/1.P.host:2,F"));
	assert_string_equal(fixture_body(folder, 1), "a\n");
	rename(
	    fixture_path(fixture, "cur/1.P.host:2,F"), fixture_path(fixture, "cur/1.P.host:2,FT"));
	/* The other's flags stay beside ours. */
	assert_int_equal(fixture_store(folder, 1, STORE_ADD, MESSAGE_SEEN), MAIL_OK);
	assert_string_equal(fixture_flags(folder), "1:FST 2:");
	unlink(fixture_path(fixture, "cur/2.P.host:2,"));
	assert_int_equal(folder_message_open(folder, 2, &fd, &size), MAIL_EXPUNGED);
	rename(
	    fixture_path(fixture, "cur/1.P.host:2,FST"), fixture_path(fixture, "cur/1.P.host:2,"));
	assert_int_equal(folder_expunge(folder, both, 2), MAIL_OK);
	assert_int_equal(fixture_live(folder), 0);
	assert_int_equal(fixture_count(fixture, "cur"), 0);
	folder_release(folder);
}

static void
file_cut_short_underneath_has_its_own_size(void **state)
{
	struct fixture *fixture = *state;
	struct folder *folder;
	uint64_t size;
	int fd;

	fixture_text(fixture, "cur/1.P.host,S=4,W=6:2,", "a\nb\n");
	folder = fixture_open(fixture, "INBOX");
	assert_int_equal(folder_message_size(folder, folder_find(folder, 1), &size), MAIL_OK);
	assert_int_equal(size, 6);
	assert_int_equal(truncate(fixture_path(fixture, "cur/1.P.host,S=4,W=6:2,"), 2), 0);
	assert_int_equal(folder_message_open(folder, 1, &fd, &size), MAIL_OK);
	close(fd);
	assert_int_equal(size, 2);
	assert_int_equal(folder_message_size(folder, folder_find(folder, 1), &size), MAIL_OK);
	assert_int_equal(size, 3);
	folder_release(folder);
}

static void
what_is_no_file_is_no_message(void **state)
{
	struct fixture *fixture = *state;
	struct folder *folder;
	uint64_t size;
	int fd;

	fixture_text(fixture, "cur/1.P.host:2,", "a\n");
	assert_int_equal(mkdir(fixture_path(fixture, "cur/2.directory:2,"), 0700), 0);
	assert_int_equal(mkfifo(fixture_path(fixture, "cur/3.fifo:2,"), 0600), 0);
	assert_int_equal(symlink("/etc/passwd", fixture_path(fixture, "cur/4.link:2,")), 0);
	fixture_text(fixture, "cur/.hidden", "x");
	fixture_text(fixture, "cur/:2,S", "x");
	fixture_text(fixture, "new/with\nline", "odd\n");
	folder = fixture_open(fixture, "INBOX");
	/* What has no name, and one that the list of uids can't hold, get another name. */
	assert_int_equal(fixture_live(folder), 3);
	/* A message replaced by a link: not followed. */
	unlink(fixture_path(fixture, "cur/1.P.host:2,"));
	assert_int_equal(symlink("/etc/passwd", fixture_path(fixture, "cur/1.P.host:2,")), 0);
	assert_int_not_equal(folder_message_open(folder, 1, &fd, &size), MAIL_OK);
	folder_release(folder);
	folder = fixture_open(fixture, "INBOX");
	assert_int_equal(fixture_live(folder), 2);
	folder_release(folder);
}

static void
one_base_name_twice_is_two_messages_or_one_file(void **state)
{
	struct fixture *fixture = *state;
	struct folder *folder;

	fixture_text(fixture, "cur/1.P.host:2,", "a\n");
	fixture_text(fixture, "cur/1.P.host:2,S", "other\n");
	fixture_text(fixture, "new/2.P.host", "b\n");
	assert_int_equal(
	    link(fixture_path(fixture, "new/2.P.host"), fixture_path(fixture, "cur/2.P.host:2,F")),
	    0);
	folder = fixture_open(fixture, "INBOX");
	assert_int_equal(fixture_live(folder), 3);
	assert_int_equal(fixture_count(fixture, "cur"), 3);
	assert_int_equal(fixture_count(fixture, "new"), 0);
	/* A second one comes later. */
	fixture_text(fixture, "new/2.P.host", "third\n");
	fixture_sync(folder);
	assert_int_equal(fixture_live(folder), 4);
	assert_string_equal(fixture_body(folder, 4), "third\n");
	folder_release(folder);
}

static void
copies_and_moves_keep_flags_dates_and_email_ids(void **state)
{
	struct fixture *fixture = *state;
	uint32_t uids[] = { 1, 2, 9 }, from_uids[3], to_uids[3], bit;
	struct folder *inbox, *other;
	char id[34], copied[34];
	int64_t internal, saved;
	uint64_t size;
	size_t done;

	assert_int_equal(folders_create(fixture->maildir, "Archive.2026", 0), MAIL_OK);
	inbox = fixture_open(fixture, "INBOX");
	other = fixture_open(fixture, "Archive.2026");
	assert_int_equal(folder_keyword(other, "first", true, &bit), MAIL_OK);
	assert_int_equal(folder_keyword(inbox, "Work", true, &bit), MAIL_OK);
	fixture_append(inbox, "one\r\n", MESSAGE_SEEN | bit);
	fixture_append(inbox, "two\r\n", MESSAGE_FLAGGED);
	assert_int_equal(folder_copy(inbox, uids, 3, other, from_uids, to_uids, &done), MAIL_OK);
	assert_int_equal(done, 2);
	assert_int_equal(from_uids[1], 2);
	assert_int_equal(to_uids[1], 2);
	assert_string_equal(fixture_flags(other), "1:Sb 2:F");
	folder_message_email_id(inbox, folder_find(inbox, 1), id);
	folder_message_email_id(other, folder_find(other, 1), copied);
	assert_string_equal(id, copied);
	assert_int_equal(
	    folder_message_dates(other, folder_find(other, 1), &internal, &saved), MAIL_OK);
	assert_int_equal(internal, 1600000000);
	assert_int_equal(folder_message_size(other, folder_find(other, 1), &size), MAIL_OK);
	assert_int_equal(size, 5);
	assert_int_equal(folder_move(inbox, uids, 1, other, from_uids, to_uids, &done), MAIL_OK);
	assert_int_equal(done, 1);
	assert_int_equal(to_uids[0], 3);
	assert_string_equal(fixture_flags(inbox), "2:F");
	assert_string_equal(fixture_flags(other), "1:Sb 2:F 3:Sb");
	assert_string_equal(fixture_body(other, 3), "one\n");
	folder_message_email_id(other, folder_find(other, 3), copied);
	assert_string_equal(id, copied);
	/* In one folder: new uids. */
	assert_int_equal(folder_move(other, to_uids, 1, other, from_uids, to_uids, &done), MAIL_OK);
	assert_string_equal(fixture_flags(other), "1:Sb 2:F 4:Sb");
	assert_int_equal(folder_copy(other, uids, 2, other, from_uids, to_uids, &done), MAIL_OK);
	assert_string_equal(fixture_flags(other), "1:Sb 2:F 4:Sb 5:Sb 6:F");
	assert_false(folder_is_changed(other));
	assert_false(folder_is_changed(inbox));
	folder_release(other);
	other = fixture_open(fixture, "Archive.2026");
	assert_string_equal(fixture_flags(other), "1:Sb 2:F 4:Sb 5:Sb 6:F");
	folder_message_email_id(other, folder_find(other, 4), copied);
	assert_string_equal(id, copied);
	folder_release(other);
	folder_release(inbox);
}

static void
store_says_what_changed_since(void **state)
{
	struct fixture *fixture = *state;
	struct folder *folder = fixture_open(fixture, "INBOX");
	uint32_t uids[] = { 1, 2, 3 }, failed[3];
	uint64_t modseq;
	size_t count;

	fixture_append(folder, "1\r\n", 0);
	fixture_append(folder, "2\r\n", 0);
	fixture_append(folder, "3\r\n", 0);
	modseq = folder_highest_modseq(folder);
	assert_int_equal(fixture_store(folder, 2, STORE_ADD, MESSAGE_SEEN), MAIL_OK);
	assert_int_equal(
	    folder_store(folder, uids, 3, STORE_ADD, MESSAGE_FLAGGED, modseq, failed, &count),
	    MAIL_OK);
	assert_int_equal(count, 1);
	assert_int_equal(failed[0], 2);
	assert_string_equal(fixture_flags(folder), "1:F 2:S 3:F");
	folder_release(folder);
}

static void
removals_since_a_modseq_are_known(void **state)
{
	struct fixture *fixture = *state;
	struct folder *folder = fixture_open(fixture, "INBOX");
	uint32_t first[] = { 2, 3 }, then[] = { 5 };
	const struct uid_range known[] = { { 1, 2 }, { 5, 9 } };
	uint64_t start, middle;
	struct uid_range *ranges;
	size_t count;
	int i;

	for (i = 0; i < 6; i++)
		fixture_append(folder, "x\r\n", 0);
	start = folder_highest_modseq(folder);
	assert_int_equal(folder_expunge(folder, first, 2), MAIL_OK);
	middle = folder_highest_modseq(folder);
	assert_true(middle > start);
	assert_int_equal(folder_expunge(folder, then, 1), MAIL_OK);
	folder_release(folder);
	folder = fixture_open(fixture, "INBOX");
	assert_true(folder_vanished(folder, middle, NULL, 0, &ranges, &count));
	assert_int_equal(count, 1);
	assert_int_equal(ranges[0].first, 5);
	assert_int_equal(ranges[0].last, 5);
	free(ranges);
	assert_true(folder_vanished(folder, start, known, 2, &ranges, &count));
	assert_int_equal(count, 2);
	assert_int_equal(ranges[0].first, 2);
	assert_int_equal(ranges[0].last, 2);
	assert_int_equal(ranges[1].first, 5);
	free(ranges);
	/* Before all that is remembered: whatever isn't there. */
	assert_true(folder_vanished(folder, 1, NULL, 0, &ranges, &count));
	assert_int_equal(count, 2);
	assert_int_equal(ranges[0].first, 2);
	assert_int_equal(ranges[0].last, 3);
	free(ranges);
	folder_release(folder);
}

static void
recent_is_told_once(void **state)
{
	struct fixture *fixture = *state;
	struct folder *folder;

	fixture_text(fixture, "new/1.P.host", "a\n");
	folder = fixture_open(fixture, "INBOX");
	assert_int_equal(folder_recent(folder, false), 1);
	assert_int_equal(folder_recent(folder, true), 1);
	assert_int_equal(folder_recent(folder, true), 2);
	folder_release(folder);
	fixture_text(fixture, "new/2.P.host", "a\n");
	folder = fixture_open(fixture, "INBOX");
	assert_int_equal(folder_recent(folder, true), 2);
	assert_int_equal(folder_recent(folder, true), 3);
	folder_release(folder);
}

static void
quota_is_kept(void **state)
{
	struct fixture *fixture = *state;
	uint32_t uids[] = { 1 }, from_uids[1], to_uids[1];
	struct folder *folder, *trash;
	struct append *append;
	struct quota quota;
	size_t done;

	fixture_stop(fixture);
	fixture->limits.bytes = 100;
	fixture_start(fixture);
	assert_int_equal(folders_create(fixture->maildir, "Trash", 0), MAIL_OK);
	folder = fixture_open(fixture, "INBOX");
	trash = fixture_open(fixture, "Trash");
	fixture_append(folder, "12345678901234567890123456789012345678\r\n", 0);
	fixture_append(folder, "12345678901234567890123456789012345678\r\n", 0);
	assert_int_equal(maildir_quota(fixture->maildir, &quota), MAIL_OK);
	assert_int_equal(quota.bytes, 78);
	assert_int_equal(append_begin(folder, 60, &append), MAIL_OVER_QUOTA);
	assert_int_equal(
	    folder_copy(folder, uids, 1, trash, from_uids, to_uids, &done), MAIL_OVER_QUOTA);
	assert_int_equal(folder_move(folder, uids, 1, trash, from_uids, to_uids, &done), MAIL_OK);
	assert_int_equal(maildir_quota(fixture->maildir, &quota), MAIL_OK);
	assert_int_equal(quota.bytes, 39);
	uids[0] = 2;
	assert_int_equal(folder_expunge(folder, uids, 1), MAIL_OK);
	assert_int_equal(maildir_quota(fixture->maildir, &quota), MAIL_OK);
	assert_int_equal(quota.bytes, 0);
	assert_int_equal(quota.messages, 0);
	folder_release(trash);
	folder_release(folder);
}

static void
cached_blobs_come_back(void **state)
{
	struct fixture *fixture = *state;
	struct folder *folder = fixture_open(fixture, "INBOX");
	static char large[5000];
	const void *data;
	size_t length, i;

	memset(large, 'x', sizeof(large));
	fixture_append(folder, "1\r\n", 0);
	fixture_append(folder, "2\r\n", 0);
	assert_false(folder_cache_get(folder, folder_at(folder, 0), CACHED_BODY, &data, &length));
	folder_cache_put(folder, folder_at(folder, 0), CACHED_ENVELOPE, "envelope", 8);
	folder_cache_put(folder, folder_at(folder, 1), CACHED_ENVELOPE, "other", 5);
	folder_cache_put(folder, folder_at(folder, 0), CACHED_STRUCTURE, large, sizeof(large));
	for (i = 0; i < 2; i++) {
		assert_true(folder_cache_get(
		    folder, folder_at(folder, 0), CACHED_ENVELOPE, &data, &length));
		assert_int_equal(length, 8);
		assert_memory_equal(data, "envelope", 8);
		assert_true(folder_cache_get(
		    folder, folder_at(folder, 0), CACHED_STRUCTURE, &data, &length));
		assert_int_equal(length, sizeof(large));
		assert_memory_equal(data, large, length);
		assert_false(folder_cache_get(
		    folder, folder_at(folder, 1), CACHED_STRUCTURE, &data, &length));
		folder_release(folder);
		folder = fixture_open(fixture, "INBOX");
	}
	folder_release(folder);
	/* Cut short: what isn't whole isn't there. */
	assert_int_equal(truncate(fixture_path(fixture, "postern.cache"), 100), 0);
	folder = fixture_open(fixture, "INBOX");
	assert_false(
	    folder_cache_get(folder, folder_at(folder, 0), CACHED_STRUCTURE, &data, &length));
	folder_cache_put(folder, folder_at(folder, 0), CACHED_BODY, "again", 5);
	assert_true(folder_cache_get(folder, folder_at(folder, 0), CACHED_BODY, &data, &length));
	folder_release(folder);
}

/* As many and as large as need reading in several places at once, in order and not. */
static void
cached_blobs_of_many_messages_come_back(void **state)
{
	enum {
		MESSAGES = 300
	};
	static const enum folder_cached kinds[] = { CACHED_ENVELOPE, CACHED_STRUCTURE,
		CACHED_SORT };
	struct fixture *fixture = *state;
	struct folder *folder = fixture_open(fixture, "INBOX");
	static uint8_t blob[CACHED_MAX];
	const void *data;
	size_t length;

	for (size_t i = 0; i < MESSAGES; i++)
		fixture_append(folder, "x\r\n", 0);
	for (size_t kind = 0; kind < 3; kind++) {
		for (size_t i = 0; i < MESSAGES; i++) {
			/* Now and then one larger than is read at once. */
			length = i % 100 == 99 ? CACHED_MAX - i : 1 + (i * 37 + kind * 11) % 900;
			memset(blob, (int)(i + kind), length);
			folder_cache_put(folder, folder_at(folder, i), kinds[kind], blob, length);
		}
	}
	for (size_t round = 0; round < 3; round++) {
		for (size_t n = 0; n < 3 * MESSAGES; n++) {
			size_t i = round == 0 ? n / 3 : n * 101 % MESSAGES, kind = n % 3;
			size_t wanted =
			    i % 100 == 99 ? CACHED_MAX - i : 1 + (i * 37 + kind * 11) % 900;

			assert_true(folder_cache_get(
			    folder, folder_at(folder, i), kinds[kind], &data, &length));
			assert_int_equal(length, wanted);
			memset(blob, (int)(i + kind), length);
			assert_memory_equal(data, blob, length);
		}
		folder_release(folder);
		folder = fixture_open(fixture, "INBOX");
	}
	folder_release(folder);
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(new_mail_gets_uids_in_order_and_moves_to_cur),
		TEST(uids_stay_without_the_index),
		TEST(uids_that_are_gone_are_not_given_again),
		TEST(appended_message_has_lf_its_size_and_date),
		TEST(several_appended_together_get_ascending_uids),
		TEST(append_given_up_leaves_nothing),
		TEST(flags_and_keywords_are_in_the_name),
		TEST(keywords_are_26_and_no_more),
		TEST(unknown_letters_in_a_name_are_kept),
		TEST(changes_by_others_are_seen),
		TEST(without_a_watch_changes_are_seen_by_time),
		TEST(file_renamed_underneath_is_found_again),
		TEST(file_cut_short_underneath_has_its_own_size),
		TEST(what_is_no_file_is_no_message),
		TEST(one_base_name_twice_is_two_messages_or_one_file),
		TEST(copies_and_moves_keep_flags_dates_and_email_ids),
		TEST(store_says_what_changed_since),
		TEST(removals_since_a_modseq_are_known),
		TEST(recent_is_told_once),
		TEST(quota_is_kept),
		TEST(cached_blobs_come_back),
		TEST(cached_blobs_of_many_messages_come_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
