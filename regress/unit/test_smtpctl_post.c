/*
 * What becomes of a program's message before it goes to the server: its header, its line ends, and
 * the form in which it is kept.
 */
#include <sys/mman.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "smtpctl/offline.h"
#include "smtpctl/post.h"

static char why[512];

static void
load(struct post *post, const char *text)
{
	post_init(post);
	strcpy(post->author.local, "ann");
	post->fd = memfd_create("mail", MFD_CLOEXEC);
	assert_int_equal(write(post->fd, text, strlen(text)), strlen(text));
	assert_true(post_load_header(post, why, sizeof(why)));
}

static bool
collect(void *arg, const void *data, size_t length)
{
	buf_add(arg, data, length);
	return true;
}

/* As it would be sent, with LF for each CRLF. */
static const char *
sent(const char *text, const char *name, bool stuffed)
{
	static char whole[8192];
	struct post post;
	struct buf header, out;
	size_t length = 0;

	load(&post, text);
	strcpy(post.name, name);
	buf_init(&header, 65536);
	buf_init(&out, 65536);
	assert_true(post_compose_header(&post, "mx.test", &header));
	assert_true(post_write(&post, &header, stuffed, collect, &out));
	for (size_t i = 0; i < out.length; i++) {
		assert_true(out.data[i] != '\n' || out.data[i - 1] == '\r');
		if (out.data[i] != '\r')
			whole[length++] = (char)out.data[i];
		else
			assert_int_equal(out.data[i + 1], '\n');
	}
	whole[length] = '\0';
	buf_free(&header);
	buf_free(&out);
	post_free(&post);
	return whole;
}

static void
a_header_gets_a_from_and_whole_addresses(void **state)
{
	(void)state;
	assert_string_equal(
	    sent("Subject: x\n\nbody\n", "", false), "From: <ann@mx.test>\nSubject: x\n\nbody\n");
	assert_string_equal(sent("From: root (Cron)\nTo: a, B <b>,\n c@d.test\n\n", "", false),
	    "From: root@mx.test (Cron)\nTo: a@mx.test, B <b@mx.test>,\n c@d.test\n\n");
	/* What can't be read is none of our business. */
	assert_string_equal(
	    sent("From: a b c\nTo: x, y z\n\n", "", false), "From: a b c\nTo: x, y z\n\n");
	assert_string_equal(
	    sent("from : a\nX-To: b\n\n", "", false), "from : a@mx.test\nX-To: b\n\n");
}

static void
a_name_is_written_so_that_it_is_one(void **state)
{
	(void)state;
	assert_string_equal(sent("", "Ann Lee", false), "From: Ann Lee <ann@mx.test>\n\n");
	assert_string_equal(sent("", "Ann \"A.\" Lee, <x>", false),
	    "From: \"Ann \\\"A.\\\" Lee, <x>\" <ann@mx.test>\n\n");
	assert_string_equal(
	    sent("", "J\xc3\xb6rg", false), "From: =?utf-8?B?SsO2cmc=?= <ann@mx.test>\n\n");
	/* No such text. */
	assert_string_equal(sent("", "J\xf6rg", false), "From: <ann@mx.test>\n\n");
}

static void
where_the_header_ends_is_seen(void **state)
{
	(void)state;
	assert_string_equal(sent("just text\n", "", false), "From: <ann@mx.test>\n\njust text\n");
	assert_string_equal(sent(" x\n", "", false), "From: <ann@mx.test>\n\n x\n");
	assert_string_equal(sent("A: b\ntext: no\nno field\n", "", false),
	    "From: <ann@mx.test>\nA: b\ntext: no\n\nno field\n");
	assert_string_equal(sent("From ann Mon Nov 30 10:00:00 2026\nA: b\r\n\r\nx", "", false),
	    "From: <ann@mx.test>\nA: b\n\nx\n");
	assert_string_equal(sent("From : a@b.test\n\nx\n", "", false), "From : a@b.test\n\nx\n");
	assert_string_equal(
	    sent("A: b\rBcc: c\n\n", "", false), "From: <ann@mx.test>\nA: b Bcc: c\n\n");
}

static void
lines_end_in_crlf_and_dots_are_doubled(void **state)
{
	(void)state;
	assert_string_equal(sent("A: b\n\n.\n..x\n.y\rz\r\n\r\r\n.", "", true),
	    "From: <ann@mx.test>\nA: b\n\n..\n...x\n..y\nz\n\n\n..\n");
	assert_string_equal(sent(".a: b\n\n", "", true), "From: <ann@mx.test>\n..a: b\n\n");
}

static void
what_is_kept_is_read_as_it_was(void **state)
{
	struct post post, again;
	int fd;

	(void)state;
	load(&post, "Subject: x\n\nbody\n");
	strcpy(post.name, "Ann Lee");
	assert_true(post_parse_sender("\"a b\"@x.test", &post.sender));
	assert_true(post_set_notify(&post, "failure,DELAY"));
	assert_false(post_set_notify(&post, "failure,later"));
	assert_true(post_set_return(&post, "hdrs"));
	strcpy(post.envid, "id+1 x");
	assert_true(post_add_recipients(&post, "bob, c@d.test, bob", 18, why, sizeof(why)));
	assert_int_equal(post.recipient_count, 2);
	fd = offline_write(&post, why, sizeof(why));
	post_init(&again);
	assert_true(offline_read(&again, fd, why, sizeof(why)));
	assert_string_equal(again.sender.local, "a b");
	assert_string_equal(again.author.local, "ann");
	assert_string_equal(again.name, "Ann Lee");
	assert_string_equal(again.envid, "id+1 x");
	assert_int_equal(again.notify, DSN_NOTIFY_FAILURE | DSN_NOTIFY_DELAY);
	assert_int_equal(again.dsn_return, DSN_RETURN_HEADERS);
	assert_int_equal(again.recipient_count, 2);
	assert_string_equal(again.recipients[1].domain, "d.test");
	assert_memory_equal(again.header.data, "Subject: x\n", again.header.length);
	post_free(&post);
	post_free(&again);
}

static void
a_damaged_file_is_refused(void **state)
{
	static const char *const bad[] = { "", "postern-mail 1", "postern-mail 1\n",
		"postern-mail 2\nfrom a\nauthor a\nto b\n\n",
		"postern-mail 1\nfrom a\nauthor a\n\n", "postern-mail 1\nfrom a\nto b\n\n",
		"postern-mail 1\nfrom a\nauthor a\nto b\n",
		"postern-mail 1\nfrom a\nauthor a\nto b@\n\n",
		"postern-mail 1\nauthor a\nto b\nnotify 99\n\n",
		"postern-mail 1\nauthor a\nto b\nnotify -1\n\n",
		"postern-mail 1\nauthor a\nto b\nother x\n\n",
		"postern-mail 1\nauthor a\nto b\nname x\x01y\n\n",
		"postern-mail 1\nauthor\nto b\n\n",
		"postern-mail 1\npostern-mail 1\nauthor a\nto b\n\n" };
	struct post post;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		post_init(&post);
		if (offline_parse(&post, bad[i], strlen(bad[i]), why, sizeof(why)))
			fail_msg("taken: %s", bad[i]);
		post_free(&post);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_header_gets_a_from_and_whole_addresses),
		cmocka_unit_test(a_name_is_written_so_that_it_is_one),
		cmocka_unit_test(where_the_header_ends_is_seen),
		cmocka_unit_test(lines_end_in_crlf_and_dots_are_doubled),
		cmocka_unit_test(what_is_kept_is_read_as_it_was),
		cmocka_unit_test(a_damaged_file_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
