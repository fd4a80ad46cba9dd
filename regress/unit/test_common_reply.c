/* Replies hold only what may be sent, stored and logged as it is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/reply.h"

static void
a_reply_is_written_as_smtp_has_it(void **state)
{
	struct reply reply;
	char text[500];

	(void)state;
	reply_set(&reply, 550, "5.1.1", "no such user %s", "here");
	reply_format(&reply, text, sizeof(text));
	assert_string_equal(text, "550 5.1.1 no such user here");
	reply_set(&reply, 354, "", "go ahead");
	reply_format(&reply, text, sizeof(text));
	assert_string_equal(text, "354 go ahead");
}

static void
classes_follow_the_first_digit(void **state)
{
	struct reply reply;

	(void)state;
	reply_set(&reply, 250, "2.0.0", "ok");
	assert_true(reply_is_success(&reply) && !reply_is_temporary(&reply));
	reply_set(&reply, 452, "4.3.1", "full");
	assert_true(reply_is_temporary(&reply) && !reply_is_permanent(&reply));
	reply_set(&reply, 554, "5.0.0", "no");
	assert_true(reply_is_permanent(&reply) && !reply_is_success(&reply));
}

static void
bytes_that_could_end_a_line_become_question_marks(void **state)
{
	struct reply reply;

	(void)state;
	reply_set(&reply, 550, "5.0.0", "a%s", "\r\n250 ok\t\x1b\x7f\x80\xff");
	assert_string_equal(reply.text, "a??250 ok?????");
	/* A character each, whole or not. */
	reply_set(&reply, 550, "5.0.0",
	    "Gr\xc3\xbc\xc3\x9f"
	    "e \xe6\xbc\xa2 \xf0\x9f\x98\x80 \xc3");
	assert_string_equal(reply.text, "Gr??e ? ? ?");
}

static void
words_that_are_too_long_are_cut(void **state)
{
	struct reply reply;
	char text[1000];

	(void)state;
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	reply_set(&reply, 550, "5.0.0", "%s", text);
	assert_int_equal(strlen(reply.text), REPLY_TEXT_MAX);
}

static void
a_reply_travels_unchanged(void **state)
{
	struct reply reply, got;
	struct buf_reader reader;
	struct buf buf;

	(void)state;
	reply_set(&reply, 421, "4.3.2", "closing");
	buf_init(&buf, 1000);
	reply_encode(&buf, &reply);
	buf_reader_init(&reader, buf.data, buf.length);
	assert_true(reply_decode(&reader, &got));
	assert_true(buf_reader_done(&reader));
	assert_int_equal(got.code, 421);
	assert_string_equal(got.enhanced, "4.3.2");
	assert_string_equal(got.text, "closing");
	buf_free(&buf);
}

static bool
decodes(unsigned code, const char *enhanced, const char *text)
{
	struct buf_reader reader;
	struct reply reply;
	struct buf buf;
	bool good;

	buf_init(&buf, 4000);
	buf_add_u16(&buf, (uint16_t)code);
	buf_add_string(&buf, enhanced);
	buf_add_string(&buf, text);
	assert_true(buf_ok(&buf));
	buf_reader_init(&reader, buf.data, buf.length);
	good = reply_decode(&reader, &reply);
	assert_true(good == !reader.failed);
	buf_free(&buf);
	return good;
}

static void
what_is_out_of_range_is_refused(void **state)
{
	char text[REPLY_TEXT_MAX + 2];

	(void)state;
	assert_true(decodes(250, "", ""));
	assert_true(decodes(550, "5.123.999", "x"));
	assert_false(decodes(0, "", ""));
	assert_false(decodes(199, "", ""));
	assert_false(decodes(600, "", ""));
	assert_false(decodes(550, "5", ""));
	assert_false(decodes(550, "5.1", ""));
	assert_false(decodes(550, "5.1.1.", ""));
	assert_false(decodes(550, "5..1", ""));
	assert_false(decodes(550, "5.1.1234", ""));
	assert_false(decodes(550, "3.1.1", ""));
	assert_false(decodes(550, "5.1.1\r\n", ""));
	assert_false(decodes(550, "", "a\nb"));
	assert_false(decodes(550, "", "a\x80"));
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	assert_false(decodes(550, "", text));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_reply_is_written_as_smtp_has_it),
		cmocka_unit_test(classes_follow_the_first_digit),
		cmocka_unit_test(bytes_that_could_end_a_line_become_question_marks),
		cmocka_unit_test(words_that_are_too_long_are_cut),
		cmocka_unit_test(a_reply_travels_unchanged),
		cmocka_unit_test(what_is_out_of_range_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
