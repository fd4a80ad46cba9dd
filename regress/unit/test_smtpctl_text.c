/* Text that strangers chose, for pipes, JSON and terminals; and numbers with units. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "smtpctl/text.h"

typedef void (*add_fn)(struct buf *, const char *);

static void
assert_adds(add_fn add, const char *text, const char *expected)
{
	struct buf buf;

	buf_init(&buf, 65536);
	add(&buf, text);
	buf_add_u8(&buf, 0);
	assert_true(buf_ok(&buf));
	assert_string_equal((const char *)buf.data, expected);
	buf_free(&buf);
}

static void
assert_cell(const char *text, size_t width, const char *expected)
{
	struct buf buf;

	buf_init(&buf, 65536);
	text_add_cell(&buf, text, width);
	buf_add_u8(&buf, 0);
	assert_string_equal((const char *)buf.data, expected);
	buf_free(&buf);
}

static void
test_a_field_keeps_its_line_and_its_column(void **state)
{
	(void)state;
	assert_adds(text_add_field, "u@example.org", "u@example.org");
	assert_adds(text_add_field, "", "");
	assert_adds(text_add_field, "|cmd@example.org", "\\174cmd@example.org");
	assert_adds(text_add_field, "a\r\nb\tc\033[1m\177", "a\\015\\012b\\011c\\033[1m\\177");
	assert_adds(text_add_field, "\"a\\\"b\"@c", "\"a\\\\\"b\"@c");
	assert_adds(text_add_field, "jos\xc3\xa9@example.org", "jos\xc3\xa9@example.org");
	assert_adds(text_add_field, "\xff\xc0\xaf", "\\377\\300\\257");
	assert_adds(text_add_field, "\xc2\x9b", "\\302\\233"); /* CSI, a control in UTF-8 */
	assert_adds(text_add_field, "\xe2\x80\xae", "\\342\\200\\256"); /* right to left */
}

static void
test_json_is_valid_whatever_the_text(void **state)
{
	(void)state;
	assert_adds(text_add_json, "", "\"\"");
	assert_adds(text_add_json, "a\"b\\c", "\"a\\\"b\\\\c\"");
	assert_adds(text_add_json, "\x01\n\x1f\x7f", "\"\\u0001\\u000a\\u001f\\u007f\"");
	assert_adds(text_add_json, "\xc3\xa9", "\"\xc3\xa9\"");
	assert_adds(text_add_json, "\xc3", "\"\\ufffd\"");
	assert_adds(text_add_json, "\xe2\x80\xa8", "\"\\u2028\"");
	assert_adds(text_add_json, "\xc2\x9b\xe2\x80\xae", "\"\\u009b\\u202e\"");
	assert_adds(text_add_json, "\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\""); /* a surrogate */
}

static void
test_utf8_is_read_strictly(void **state)
{
	static const char *const bad[] = { "\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf",
		"\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe2\x82", "\xfe", "" };
	uint32_t character;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(text_next(bad[i], &character), 0);
	assert_int_equal(text_next("\xf4\x8f\xbf\xbf", &character), 4);
	assert_int_equal(character, 0x10ffff);
	assert_int_equal(text_next("\xe2\x82\xac", &character), 3);
	assert_int_equal(character, 0x20ac);
}

static void
test_a_cell_has_its_width(void **state)
{
	(void)state;
	assert_cell("abc", 5, "abc  ");
	assert_cell("abcde", 5, "abcde");
	assert_cell("abcdef", 5, "abc..");
	assert_cell("", 3, "   ");
	assert_cell("\xe4\xbd\xa0\xe5\xa5\xbd", 6, "\xe4\xbd\xa0\xe5\xa5\xbd  ");
	/* A wide character that would not fit whole is left out, the width stays. */
	assert_cell("a\xe4\xbd\xa0\xe5\xa5\xbd\xe5\xa5\xbd", 6, "a\xe4\xbd\xa0.. ");
}

static void
test_a_cell_holds_nothing_that_a_terminal_obeys(void **state)
{
	(void)state;
	assert_cell("\033[2Jx", 6, "?[2Jx ");
	assert_cell("a\xc2\x9b", 3, "a? ");
	assert_cell("a\xe2\x80\xae"
	            "b",
	    4, "a?b ");
	assert_cell("\xff\r\n", 4, "??? ");
}

static void
test_durations_are_read_and_written(void **state)
{
	char text[40];
	uint32_t seconds;

	(void)state;
	assert_true(text_parse_duration("90", &seconds) && seconds == 90);
	assert_true(text_parse_duration("90s", &seconds) && seconds == 90);
	assert_true(text_parse_duration("1d2h3m4s", &seconds) && seconds == 93784);
	assert_true(text_parse_duration("2w", &seconds) && seconds == 1209600);
	assert_true(text_parse_duration("4294967295", &seconds) && seconds == UINT32_MAX);
	assert_false(text_parse_duration("4294967296", &seconds));
	assert_false(text_parse_duration("4294967295s1s", &seconds));
	assert_false(text_parse_duration("", &seconds));
	assert_false(text_parse_duration("h", &seconds));
	assert_false(text_parse_duration("1y", &seconds));
	assert_false(text_parse_duration(" 1h", &seconds));
	assert_false(text_parse_duration("18446744073709551617", &seconds));

	text_format_duration(text, sizeof(text), 93784);
	assert_string_equal(text, "1d2h3m4s");
	text_format_duration(text, sizeof(text), 0);
	assert_string_equal(text, "0s");
	text_format_duration(text, sizeof(text), 3600);
	assert_string_equal(text, "1h");
	text_format_duration(text, 4, UINT64_MAX); /* too short: cut, never written past */
	assert_true(strlen(text) < 4);
}

static void
test_an_age_takes_four_columns(void **state)
{
	static const int64_t ages[] = { INT64_MIN, -1, 0, 599, 600, 35999, 36000, 359999, 360000,
		86400LL * 1000 - 1, 86400LL * 1000, INT64_MAX };
	char text[24];

	(void)state;
	for (size_t i = 0; i < sizeof(ages) / sizeof(ages[0]); i++) {
		text_format_age(text, sizeof(text), ages[i]);
		assert_in_range(strlen(text), 2, 4);
	}
	text_format_age(text, sizeof(text), 7200);
	assert_string_equal(text, "120m");
}

static void
test_sizes_are_read_and_written(void **state)
{
	char text[24];
	uint64_t bytes;

	(void)state;
	assert_true(text_parse_size("0", &bytes) && bytes == 0);
	assert_true(text_parse_size("100k", &bytes) && bytes == 102400);
	assert_true(text_parse_size("1T", &bytes) && bytes == 1ULL << 40);
	assert_true(text_parse_size("9223372036854775807", &bytes) && bytes == INT64_MAX);
	assert_false(text_parse_size("9223372036854775808", &bytes));
	assert_false(text_parse_size("8388608T", &bytes));
	assert_false(text_parse_size("M", &bytes));
	assert_false(text_parse_size("1.5G", &bytes));
	assert_false(text_parse_size("1Gx", &bytes));

	text_format_size(text, sizeof(text), 0);
	assert_string_equal(text, "0");
	text_format_size(text, sizeof(text), 1023);
	assert_string_equal(text, "1023");
	text_format_size(text, sizeof(text), 1536);
	assert_string_equal(text, "1.5K");
	text_format_size(text, sizeof(text), 2047);
	assert_string_equal(text, "1.9K");
	text_format_size(text, sizeof(text), 500ULL << 20);
	assert_string_equal(text, "500M");
	text_format_size(text, sizeof(text), 1ULL << 30);
	assert_string_equal(text, "1G");
	text_format_size(text, sizeof(text), UINT64_MAX);
	assert_string_equal(text, "15E");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_field_keeps_its_line_and_its_column),
		cmocka_unit_test(test_json_is_valid_whatever_the_text),
		cmocka_unit_test(test_utf8_is_read_strictly),
		cmocka_unit_test(test_a_cell_has_its_width),
		cmocka_unit_test(test_a_cell_holds_nothing_that_a_terminal_obeys),
		cmocka_unit_test(test_durations_are_read_and_written),
		cmocka_unit_test(test_an_age_takes_four_columns),
		cmocka_unit_test(test_sizes_are_read_and_written),
	};

	text_use_utf8();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
