/* Replies of other servers: what is read of them, whatever they send. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "deliver/relay_reply.h"

static unsigned lines_seen;

static void
on_line(unsigned code, const char *text, bool first, void *arg)
{
	(void)code;
	(void)arg;
	assert_true(strlen(text) <= REPLY_LINE_MAX);
	assert_int_equal(first, lines_seen == 0);
	lines_seen++;
}

/* All bytes at once, then one at a time: the result is the same. */
static enum reply_result
feed(struct reply_parser *parser, const void *data, size_t length, size_t *used)
{
	struct reply_parser single;
	enum reply_result result, by_byte = REPLY_MORE;
	size_t one, total = 0;

	lines_seen = 0;
	reply_parser_init(parser, on_line, NULL);
	result = reply_parser_feed(parser, data, length, used);
	reply_parser_init(&single, NULL, NULL);
	while (total < length && by_byte == REPLY_MORE) {
		by_byte = reply_parser_feed(&single, (const uint8_t *)data + total, 1, &one);
		assert_int_equal(one, 1);
		total++;
	}
	assert_int_equal(by_byte, result);
	if (result == REPLY_COMPLETE) {
		assert_int_equal(total, *used);
		assert_int_equal(single.reply.code, parser->reply.code);
		assert_string_equal(single.reply.text, parser->reply.text);
		assert_string_equal(single.reply.enhanced, parser->reply.enhanced);
	}
	return result;
}

static void
check(const char *data, unsigned code, const char *enhanced, const char *text)
{
	struct reply_parser parser;
	size_t used;

	assert_int_equal(feed(&parser, data, strlen(data), &used), REPLY_COMPLETE);
	assert_int_equal(parser.reply.code, code);
	assert_string_equal(parser.reply.enhanced, enhanced);
	assert_string_equal(parser.reply.text, text);
}

static void
test_replies_are_read(void **state)
{
	(void)state;
	check("250 ok\r\n", 250, "", "ok");
	check("250\r\n", 250, "", "");
	check("250 \r\n", 250, "", "");
	check("220 mx ESMTP\n", 220, "", "mx ESMTP");
	check("550 5.1.1 no such user\r\n", 550, "5.1.1", "no such user");
	check("550 5.1.1\r\n", 550, "5.1.1", "");
	check("354 go\r\n", 354, "", "go");
	check(
	    "550-5.7.1 one\r\n550-5.7.1 two\r\n550 5.7.1 three\r\n", 550, "5.7.1", "one two three");
	check("450-4.2.0 wait\r\n450 4.7.1 longer\r\n", 450, "4.2.0", "wait longer");
	/* No enhanced code of that class, or none at all. */
	check("550 4.1.1 odd\r\n", 550, "", "4.1.1 odd");
	check("550 5.1.1.1 odd\r\n", 550, "", "5.1.1.1 odd");
	check("550 5.1234.1 odd\r\n", 550, "", "5.1234.1 odd");
	check("550 5.7 odd\r\n", 550, "", "5.7 odd");
	/* The last line's code is the reply's. */
	check("250-5.1.1 x\r\n550 no\r\n", 550, "", "5.1.1 x no");
}

static void
test_junk_becomes_harmless(void **state)
{
	(void)state;
	check("550 5.1.1 \xe4\xf6\xfc \x1b[2J\r\n", 550, "5.1.1", "??? ?[2J");
	check("550 a\rb\r\n", 550, "", "a?b");
}

static void
test_nul_is_no_end(void **state)
{
	static const char data[] = "550 a\0b\r\n";
	struct reply_parser parser;
	size_t used;

	(void)state;
	assert_int_equal(feed(&parser, data, sizeof(data) - 1, &used), REPLY_COMPLETE);
	assert_string_equal(parser.reply.text, "a?b");
}

static void
test_what_is_no_reply_is_refused(void **state)
{
	static const char *const broken[] = { "hello\r\n", "\r\n", "25\r\n", "2500 x\r\n",
		"250=x\r\n", "000 x\r\n", "199 x\r\n", "999 x\r\n", "600 x\r\n", "-50 x\r\n",
		"250-a\r\nb\r\n", "HTTP/1.1 400 Bad Request\r\n" };
	struct reply_parser parser;
	size_t used;

	(void)state;
	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		assert_int_equal(feed(&parser, broken[i], strlen(broken[i]), &used), REPLY_BROKEN);
		assert_non_null(parser.why);
	}
}

static void
test_bytes_behind_a_reply_are_left(void **state)
{
	static const char data[] = "250 one\r\n550 5.0.0 two\r\n";
	struct reply_parser parser;
	size_t used, rest;

	(void)state;
	reply_parser_init(&parser, NULL, NULL);
	assert_int_equal(reply_parser_feed(&parser, (const uint8_t *)data, sizeof(data) - 1, &used),
	    REPLY_COMPLETE);
	assert_int_equal(used, 9);
	assert_string_equal(parser.reply.text, "one");
	assert_int_equal(reply_parser_feed(
	                     &parser, (const uint8_t *)data + used, sizeof(data) - 1 - used, &rest),
	    REPLY_COMPLETE);
	assert_int_equal(parser.reply.code, 550);
	assert_string_equal(parser.reply.text, "two");
}

static void
test_a_long_line_is_cut(void **state)
{
	size_t length = 100000, used;
	char *data = malloc(length);
	struct reply_parser parser;

	(void)state;
	assert_non_null(data);
	memset(data, 'x', length);
	memcpy(data, "550 5.1.1 ", 10);
	memcpy(data + length - 2, "\r\n", 2);
	assert_int_equal(feed(&parser, data, length, &used), REPLY_COMPLETE);
	assert_int_equal(strlen(parser.reply.text), REPLY_TEXT_MAX);
	free(data);
}

static void
test_a_reply_without_end_is_refused(void **state)
{
	struct reply_parser parser;
	enum reply_result result = REPLY_MORE;
	size_t used, fed = 0;

	(void)state;
	reply_parser_init(&parser, NULL, NULL);
	while (result == REPLY_MORE && fed < 100000) {
		result = reply_parser_feed(&parser, (const uint8_t *)"250-x\r\n", 7, &used);
		fed++;
	}
	assert_int_equal(result, REPLY_BROKEN);
	reply_parser_init(&parser, NULL, NULL);
	result = REPLY_MORE;
	for (fed = 0; result == REPLY_MORE && fed < 10000000; fed++)
		result = reply_parser_feed(&parser, (const uint8_t *)"aaaaaaaa", 8, &used);
	assert_int_equal(result, REPLY_BROKEN);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_replies_are_read),
		cmocka_unit_test(test_junk_becomes_harmless),
		cmocka_unit_test(test_nul_is_no_end),
		cmocka_unit_test(test_what_is_no_reply_is_refused),
		cmocka_unit_test(test_bytes_behind_a_reply_are_left),
		cmocka_unit_test(test_a_long_line_is_cut),
		cmocka_unit_test(test_a_reply_without_end_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
