/* Folders of a Maildir: their names, and making, renaming, removing, subscribing, annotating them. */
#include "test_mailbox_fixture.h"

#include "common/folder_name.h"
#include "mailbox/metadata.h"

/* "INBOX A(x) A.B" of what the list says: x does not exist, s is subscribed, c has children. */
static const char *
listed(struct fixture *fixture)
{
	static char text[4096];
	struct folders_list list;
	size_t length = 0, i;

	assert_int_equal(folders_list(fixture->maildir, &list), MAIL_OK);
	text[0] = '\0';
	for (i = 0; i < list.count; i++) {
		const struct folders_entry *entry = &list.entries[i];

		length += (size_t)snprintf(text + length, sizeof(text) - length, "%s%s%s%s%s%s%s",
		    i > 0 ? " " : "", entry->name, entry->exists ? "" : "(x)",
		    entry->has_children ? "(c)" : "", entry->subscribed ? "(s)" : "",
		    entry->use != 0 ? folder_use_text(entry->use) : "", "");
	}
	folders_list_free(&list);
	return text;
}

static void
names_that_lead_out_or_cannot_be_are_refused(void **state)
{
	static const char *const bad[] = { "", ".", "..", "../x", "a/b", "/etc", ".a", "a..b",
		"a..", "a\nb", "a\x7f", "\xff", "a\xc0\xaf", "\xed\xa0\x80", "\xc2\x80" };
	char name[FOLDER_NAME_SIZE], longest[400];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (folder_name_clean(bad[i], name))
			fail_msg("\"%s\" was taken as \"%s\"", bad[i], name);
	}
	memset(longest, 'x', sizeof(longest));
	longest[255] = '\0';
	assert_false(folder_name_clean(longest, name));
	longest[254] = '\0';
	assert_true(folder_name_clean(longest, name));
	for (i = 0; i < 80; i += 2)
		memcpy(longest + i, "a.", 2);
	longest[79] = '\0';
	assert_false(folder_name_clean(longest, name));
	assert_true(folder_name_clean("iNbOx", name));
	assert_string_equal(name, "INBOX");
	assert_true(folder_name_clean("a.b.", name));
	assert_string_equal(name, "a.b");
}

static void
names_have_one_form_in_each_encoding(void **state)
{
	static const char *const pairs[][2] = { { "Entw\xc3\xbcrfe", "Entw&APw-rfe" },
		{ "~peter/mail/\xe5\x8f\xb0\xe5\x8c\x97/\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e",
		    "~peter/mail/&U,BTFw-/&ZeVnLIqe-" }, /* RFC 3501 5.1.3 */
		{ "a&b", "a&-b" }, { "\xf0\x9f\x98\x80", "&2D3eAA-" } };
	static const char *const bad[] = { "&", "&A-", "&AGE-", "&APw", "&APw-&APw-", "a\xc3\xbc",
		"&2D0-", "&3gA-", "&AAA-", "&APx-", "&APwA-", "&AP/-" };
	char text[200];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		assert_true(folder_name_utf8_to_utf7(pairs[i][0], text, sizeof(text)));
		assert_string_equal(text, pairs[i][1]);
		assert_true(folder_name_utf7_to_utf8(pairs[i][1], text, sizeof(text)));
		assert_string_equal(text, pairs[i][0]);
	}
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (folder_name_utf7_to_utf8(bad[i], text, sizeof(text)))
			fail_msg("\"%s\" was taken", bad[i]);
	}
}

static void
folders_are_made_renamed_and_removed(void **state)
{
	struct fixture *fixture = *state;
	struct maildir *maildir = fixture->maildir;
	struct folder *folder;
	uint32_t validity, uid = 1;

	assert_int_equal(folders_create(maildir, "A.B", 0), MAIL_OK);
	assert_int_equal(folders_create(maildir, "A.B", 0), MAIL_EXISTS);
	assert_int_equal(folders_create(maildir, "Ab", 0), MAIL_OK);
	assert_int_equal(folders_create(maildir, "A.B.C", 0), MAIL_OK);
	assert_string_equal(listed(fixture), "INBOX A(x)(c) A.B(c) A.B.C Ab");
	folder = fixture_open(fixture, "A.B");
	fixture_append(folder, "x\r\n", 0);
	validity = folder_uid_validity(folder);
	assert_int_equal(folders_rename(maildir, "A.B", "A.B.D"), MAIL_CANNOT);
	assert_int_equal(folders_rename(maildir, "A", "Z"), MAIL_OK);
	assert_string_equal(listed(fixture), "INBOX Ab Z(x)(c) Z.B(c) Z.B.C");
	/* It was open, and goes along. */
	assert_string_equal(folder_name(folder), "Z.B");
	fixture_append(folder, "y\r\n", 0);
	assert_string_equal(fixture_body(folder, 2), "y\n");
	folder_release(folder);
	folder = fixture_open(fixture, "Z.B");
	assert_int_equal(folder_uid_validity(folder), validity);
	assert_int_equal(fixture_live(folder), 2);
	assert_int_equal(folders_rename(maildir, "Ab", "Z.B"), MAIL_EXISTS);
	assert_int_equal(folders_rename(maildir, "No", "Yes"), MAIL_ABSENT);
	/* Removed while it is open: all its messages go. */
	assert_int_equal(folders_delete(maildir, "Z.B"), MAIL_OK);
	assert_int_equal(folder_sync(folder), MAIL_ABSENT);
	assert_int_equal(fixture_live(folder), 0);
	assert_int_equal(folder_expunge(folder, &uid, 1), MAIL_ABSENT);
	folder_release(folder);
	assert_int_equal(folders_delete(maildir, "Z.B"), MAIL_ABSENT);
	assert_int_equal(folders_delete(maildir, "INBOX"), MAIL_CANNOT);
	assert_string_equal(listed(fixture), "INBOX Ab Z(x)(c) Z.B(x)(c) Z.B.C");
	/* One of the same name is another one. */
	assert_int_equal(folders_create(maildir, "Z.B", 0), MAIL_OK);
	folder = fixture_open(fixture, "Z.B");
	assert_true(folder_uid_validity(folder) > validity);
	assert_int_equal(fixture_live(folder), 0);
	folder_release(folder);
}

static void
renamed_inbox_stays_and_loses_its_mail(void **state)
{
	struct fixture *fixture = *state;
	struct folder *folder = fixture_open(fixture, "INBOX");

	fixture_append(folder, "x\r\n", MESSAGE_SEEN);
	fixture_append(folder, "y\r\n", 0);
	assert_int_equal(folders_rename(fixture->maildir, "INBOX", "Old"), MAIL_OK);
	assert_int_equal(fixture_live(folder), 0);
	folder_release(folder);
	folder = fixture_open(fixture, "Old");
	assert_string_equal(fixture_flags(folder), "1:S 2:");
	folder_release(folder);
	assert_string_equal(listed(fixture), "INBOX Old");
}

static void
what_is_no_folder_is_not_listed(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(mkdir(fixture_path(fixture, ".Good"), 0700), 0);
	assert_int_equal(mkdir(fixture_path(fixture, "..odd"), 0700), 0);
	assert_int_equal(mkdir(fixture_path(fixture, ".INBOX"), 0700), 0);
	assert_int_equal(mkdir(fixture_path(fixture, ".bad&"), 0700), 0);
	assert_int_equal(mkdir(fixture_path(fixture, "Mail"), 0700), 0);
	assert_int_equal(symlink("/etc", fixture_path(fixture, ".Etc")), 0);
	fixture_text(fixture, ".file", "x");
	assert_string_equal(listed(fixture), "INBOX Good");
	assert_int_equal(folders_exist(fixture->maildir, "Etc"), MAIL_ABSENT);
	/* What a deletion cut short has left goes with the next one. */
	assert_int_equal(mkdir(fixture_path(fixture, "..postern-removed.1"), 0700), 0);
	assert_int_equal(mkdir(fixture_path(fixture, "..postern-removed.1/cur"), 0700), 0);
	fixture_text(fixture, "..postern-removed.1/cur/a", "x");
	assert_int_equal(folders_delete(fixture->maildir, "Good"), MAIL_OK);
	assert_int_equal(access(fixture_path(fixture, "..postern-removed.1"), F_OK), -1);
	assert_string_equal(listed(fixture), "INBOX");
}

static void
subscriptions_and_uses_are_listed(void **state)
{
	struct fixture *fixture = *state;
	struct maildir *maildir = fixture->maildir;

	assert_int_equal(folders_create(maildir, "Sent", 0), MAIL_OK);
	assert_int_equal(folders_create(maildir, "Trash", 0), MAIL_OK);
	assert_int_equal(folders_create(maildir, "Bin", FOLDER_TRASH), MAIL_OK);
	assert_int_equal(folders_subscribe(maildir, "Sent", true), MAIL_OK);
	assert_int_equal(folders_subscribe(maildir, "Sent", true), MAIL_OK);
	assert_int_equal(folders_subscribe(maildir, "Gone.Away", true), MAIL_OK);
	assert_int_equal(folders_subscribe(maildir, "INBOX", true), MAIL_OK);
	assert_string_equal(
	    listed(fixture), "INBOX(s) Bin\\Trash Gone.Away(x)(s) Sent(s)\\Sent Trash");
	assert_string_equal(
	    fixture_read(fixture, "subscriptions", NULL), "V\t2\n\nSent\nGone\tAway\nINBOX\n");
	assert_int_equal(folders_subscribe(maildir, "Gone.Away", false), MAIL_OK);
	assert_int_equal(folders_subscribe(maildir, "Never", false), MAIL_OK);
	assert_string_equal(listed(fixture), "INBOX(s) Bin\\Trash Sent(s)\\Sent Trash");
	/* The older format. */
	fixture_text(fixture, "subscriptions", "Sent\nA.B\n../x\n");
	assert_string_equal(listed(fixture), "INBOX A.B(x)(s) Bin\\Trash Sent(s)\\Sent Trash");
}

static void
annotations_are_kept_with_the_folder(void **state)
{
	struct fixture *fixture = *state;
	struct maildir *maildir = fixture->maildir;
	const struct metadata_entry *entry;
	struct metadata metadata;
	char name[64];
	size_t i;

	assert_int_equal(folders_create(maildir, "A", 0), MAIL_OK);
	assert_int_equal(metadata_set(maildir, "A", "/Private/Comment", "a\0b", 3), MAIL_OK);
	assert_int_equal(metadata_set(maildir, "", "/shared/admin", "mailto:x", 8), MAIL_OK);
	assert_int_equal(metadata_set(maildir, "A", "/other/x", "x", 1), MAIL_BAD_NAME);
	assert_int_equal(metadata_set(maildir, "A", "/private/*", "x", 1), MAIL_BAD_NAME);
	assert_int_equal(metadata_set(maildir, "No", "/private/x", "x", 1), MAIL_ABSENT);
	assert_int_equal(folders_rename(maildir, "A", "B"), MAIL_OK);
	assert_int_equal(metadata_load(maildir, "B", &metadata), MAIL_OK);
	entry = metadata_find(&metadata, "/private/comment");
	assert_non_null(entry);
	assert_int_equal(entry->length, 3);
	assert_memory_equal(entry->value, "a\0b", 3);
	metadata_free(&metadata);
	for (i = 0; i < METADATA_ENTRIES_MAX - 1; i++) {
		snprintf(name, sizeof(name), "/private/n%zu", i);
		assert_int_equal(metadata_set(maildir, "B", name, "x", 1), MAIL_OK);
	}
	assert_int_equal(metadata_set(maildir, "B", "/private/more", "x", 1), MAIL_LIMIT);
	assert_int_equal(metadata_set(maildir, "B", "/private/comment", NULL, 0), MAIL_OK);
	assert_int_equal(metadata_set(maildir, "B", "/private/more", "", 0), MAIL_OK);
	assert_int_equal(metadata_load(maildir, "", &metadata), MAIL_OK);
	assert_int_equal(metadata.count, 1);
	metadata_free(&metadata);
	/* Damaged: none. */
	fixture_text(fixture, ".B/postern.metadata", "garbage of some length");
	assert_int_equal(metadata_load(maildir, "B", &metadata), MAIL_OK);
	assert_int_equal(metadata.count, 0);
	metadata_free(&metadata);
}

/* --- views --- */

static void
views_see_changes_when_they_take_them(void **state)
{
	struct fixture *fixture = *state;
	struct folder *folder = fixture_open(fixture, "INBOX");
	struct folder_view *fast, *slow;
	uint32_t uids[] = { 2, 4 }, uid;
	struct message *message;
	size_t sequence;
	int i;

	for (i = 0; i < 5; i++)
		fixture_append(folder, "x\r\n", 0);
	fast = folder_view_new(folder);
	slow = folder_view_new(folder);
	assert_false(folder_view_is_behind(fast));
	assert_int_equal(folder_expunge(folder, uids, 2), MAIL_OK);
	fixture_append(folder, "six\r\n", 0);
	assert_true(folder_view_is_behind(fast));
	assert_int_equal(folder_view_count(fast), 5);
	/* Each removal with the number it has after those before. */
	assert_true(folder_view_take_expunged(fast, &uid, &sequence));
	assert_int_equal(uid, 2);
	assert_int_equal(sequence, 2);
	assert_true(folder_view_take_expunged(fast, &uid, &sequence));
	assert_int_equal(uid, 4);
	assert_int_equal(sequence, 3);
	assert_false(folder_view_take_expunged(fast, &uid, &sequence));
	assert_int_equal(folder_view_count(fast), 3);
	assert_true(folder_view_take_arrivals(fast));
	assert_int_equal(folder_view_count(fast), 4);
	folder_view_told(fast);
	assert_false(folder_view_is_behind(fast));
	assert_int_equal(folder_view_message(fast, 2)->uid, 3);
	assert_int_equal(folder_view_message(fast, 4)->uid, 6);
	assert_null(folder_view_message(fast, 5));
	assert_int_equal(folder_view_sequence(fast, 5), 3);
	assert_int_equal(folder_view_sequence(fast, 4), 0);
	assert_int_equal(folder_view_sequence_from(fast, 4), 3);
	assert_int_equal(folder_view_sequence_from(fast, 7), 5);
	/* The other still counts what is gone. */
	assert_int_equal(folder_view_count(slow), 5);
	assert_int_equal(folder_view_message(slow, 4)->uid, 4);
	assert_int_not_equal(folder_view_message(slow, 4)->expunged, 0);
	assert_int_equal(folder_view_sequence(slow, 6), 0);
	/* Flags of one that it sees. */
	assert_int_equal(fixture_store(folder, 3, STORE_ADD, MESSAGE_SEEN), MAIL_OK);
	sequence = 1;
	assert_true(folder_view_changed(slow, &sequence, &message));
	assert_int_equal(sequence, 3);
	assert_int_equal(message->uid, 3);
	sequence++;
	assert_false(folder_view_changed(slow, &sequence, &message));
	sequence = 1;
	assert_true(folder_view_changed(fast, &sequence, &message));
	assert_int_equal(sequence, 2);
	folder_view_told(fast);
	sequence = 1;
	assert_false(folder_view_changed(fast, &sequence, &message));
	/* When both have taken all the array is short again. */
	assert_int_equal(folder_length(folder), 6);
	while (folder_view_take_expunged(slow, &uid, &sequence))
		;
	folder_view_take_arrivals(slow);
	folder_view_told(slow);
	fixture_sync(folder);
	assert_int_equal(folder_length(folder), 4);
	assert_int_equal(folder_view_message(slow, 2)->uid, 3);
	assert_int_equal(folder_view_count(fast), 4);
	folder_view_free(slow);
	folder_view_free(fast);
	folder_release(folder);
}

/* A plain model: what a client believes that is told everything. */
static void
many_views_agree_with_a_client_that_counts(void **state)
{
	struct fixture *fixture = *state;
	struct folder *folder = fixture_open(fixture, "INBOX");
	struct folder_view *views[3];
	static uint32_t model[3][600];
	size_t counts[3] = { 0 }, sequence, i;
	unsigned seed = 42, step, which;
	uint32_t uid;

	for (which = 0; which < 3; which++)
		views[which] = folder_view_new(folder);
	for (step = 0; step < 400; step++) {
		unsigned random = (unsigned)rand_r(&seed);

		if (random % 3 != 0 || folder_length(folder) == 0) {
			fixture_append(folder, "x\r\n", 0);
		} else {
			uid = folder_at(folder, random / 8 % folder_length(folder))->uid;
			assert_int_equal(folder_expunge(folder, &uid, 1), MAIL_OK);
		}
		which = random / 3 % 3;
		if (random / 16 % 4 == 0)
			fixture_sync(folder);
		if (random / 64 % 2 == 0) {
			while (folder_view_take_expunged(views[which], &uid, &sequence)) {
				assert_true(sequence >= 1 && sequence <= counts[which]);
				assert_int_equal(model[which][sequence - 1], uid);
				memmove(&model[which][sequence - 1], &model[which][sequence],
				    (counts[which] - sequence) * sizeof(uid));
				counts[which]--;
			}
		}
		if (folder_view_take_arrivals(views[which])) {
			for (i = counts[which]; i < folder_view_count(views[which]); i++)
				model[which][i] = folder_view_message(views[which], i + 1)->uid;
			counts[which] = i;
		}
		for (which = 0; which < 3; which++) {
			assert_int_equal(folder_view_count(views[which]), counts[which]);
			for (i = 0; i < counts[which]; i++) {
				assert_int_equal(
				    folder_view_message(views[which], i + 1)->uid, model[which][i]);
				assert_int_equal(
				    folder_view_sequence(views[which], model[which][i]), i + 1);
			}
		}
	}
	for (which = 0; which < 3; which++)
		folder_view_free(views[which]);
	folder_release(folder);
}

int
main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(names_that_lead_out_or_cannot_be_are_refused),
		TEST(names_have_one_form_in_each_encoding),
		TEST(folders_are_made_renamed_and_removed),
		TEST(renamed_inbox_stays_and_loses_its_mail),
		TEST(what_is_no_folder_is_not_listed),
		TEST(subscriptions_and_uses_are_listed),
		TEST(annotations_are_kept_with_the_folder),
		TEST(views_see_changes_when_they_take_them),
		TEST(many_views_agree_with_a_client_that_counts),
	};

	if (access("/dev/shm", W_OK) == 0)
		fixture_base = "/dev/shm";
	return cmocka_run_group_tests(tests, NULL, NULL);
}
