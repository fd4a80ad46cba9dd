/* Buffers keep their limits, and readers never go past the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/buf.h"

static void
what_is_added_is_read_back(void **state)
{
	struct buf buf;
	struct buf_reader reader;
	char text[16], raw[3];
	char *allocated;

	(void)state;
	buf_init(&buf, 1000);
	buf_add_u8(&buf, 0xab);
	buf_add_u16(&buf, 0x1234);
	buf_add_u32(&buf, 0xdeadbeef);
	buf_add_u64(&buf, 0x0123456789abcdefULL);
	buf_add_string(&buf, "hello");
	buf_add_string(&buf, NULL);
	buf_add_string(&buf, "again");
	buf_add(&buf, "raw", 3);
	buf_add_u8(&buf, 1);
	buf_add_u8(&buf, 6);
	assert_true(buf_ok(&buf));
	/* Little endian, whatever the machine. */
	assert_int_equal(buf.data[1], 0x34);
	assert_int_equal(buf.data[2], 0x12);

	buf_reader_init(&reader, buf.data, buf.length);
	assert_int_equal(buf_get_u8(&reader), 0xab);
	assert_int_equal(buf_get_u16(&reader), 0x1234);
	assert_int_equal(buf_get_u32(&reader), 0xdeadbeef);
	assert_true(buf_get_u64(&reader) == 0x0123456789abcdefULL);
	buf_get_string(&reader, text, sizeof(text));
	assert_string_equal(text, "hello");
	buf_get_string(&reader, text, sizeof(text));
	assert_string_equal(text, "");
	allocated = buf_get_string_alloc(&reader, 5);
	assert_string_equal(allocated, "again");
	free(allocated);
	buf_get(&reader, raw, 3);
	assert_memory_equal(raw, "raw", 3);
	assert_true(buf_get_bool(&reader));
	assert_int_equal(buf_get_enum(&reader, 7), 6);
	assert_true(buf_reader_done(&reader));
	buf_free(&buf);
}

static void
a_buffer_never_grows_past_its_limit(void **state)
{
	struct buf buf;
	int i;

	(void)state;
	buf_init(&buf, 100);
	for (i = 0; i < 100; i++)
		buf_add_u8(&buf, 1);
	assert_true(buf_ok(&buf));
	buf_add_u8(&buf, 1);
	assert_false(buf_ok(&buf));
	assert_int_equal(buf.length, 100);
	assert_true(buf.capacity <= 100);
	/* What comes after a failure isn't taken, even if it would fit. */
	buf_drop(&buf, 50);
	buf_add_u8(&buf, 1);
	assert_int_equal(buf.length, 50);
	buf_clear(&buf);
	buf_add_u8(&buf, 1);
	assert_true(buf_ok(&buf));
	assert_int_equal(buf.length, 1);
	assert_false(buf_reserve(&buf, SIZE_MAX));
	buf_free(&buf);
}

static void
a_string_that_does_not_fit_leaves_nothing_behind(void **state)
{
	struct buf buf;

	(void)state;
	buf_init(&buf, 6);
	buf_add_string(&buf, "hello");
	assert_false(buf_ok(&buf));
	assert_int_equal(buf.length, 0);
	buf_free(&buf);
}

static void
a_string_over_65535_bytes_fails(void **state)
{
	struct buf buf;
	char *text = malloc(65537);

	(void)state;
	assert_non_null(text);
	memset(text, 'x', 65536);
	text[65536] = '\0';
	buf_init(&buf, 100000);
	buf_add_string(&buf, text);
	assert_false(buf_ok(&buf));
	text[65535] = '\0';
	buf_clear(&buf);
	buf_add_string(&buf, text);
	assert_true(buf_ok(&buf));
	free(text);
	buf_free(&buf);
}

static void
formatted_text_of_any_length_is_whole(void **state)
{
	struct buf buf;
	char expected[300];
	int length;

	(void)state;
	for (length = 0; length < 299; length++) {
		memset(expected, 'x', (size_t)length);
		expected[length] = '\0';
		buf_init(&buf, 1000);
		buf_add_text(&buf, "ab");
		buf_printf(&buf, "%s", expected);
		buf_printf(&buf, "%d", 7);
		assert_true(buf_ok(&buf));
		assert_int_equal(buf.length, length + 3);
		assert_memory_equal(buf.data + 2, expected, (size_t)length);
		assert_int_equal(buf.data[length + 2], '7');
		buf_free(&buf);
	}
	buf_init(&buf, 10);
	buf_printf(&buf, "%s", "0123456789");
	assert_true(buf_ok(&buf));
	buf_printf(&buf, "%s", "x");
	assert_false(buf_ok(&buf));
	buf_free(&buf);
}

static void
numbers_are_written_in_decimal(void **state)
{
	struct buf buf;

	(void)state;
	buf_init(&buf, 100);
	buf_add_decimal(&buf, 0);
	buf_add_u8(&buf, ' ');
	buf_add_decimal(&buf, 1090);
	buf_add_u8(&buf, ' ');
	buf_add_decimal(&buf, UINT64_MAX);
	buf_add_u8(&buf, 0);
	assert_string_equal((const char *)buf.data, "0 1090 18446744073709551615");
	buf_free(&buf);
}

static void
dropping_more_than_there_is_empties(void **state)
{
	struct buf buf;

	(void)state;
	buf_init(&buf, 100);
	buf_drop(&buf, 5);
	buf_add_text(&buf, "hello");
	buf_drop(&buf, 2);
	assert_int_equal(buf.length, 3);
	assert_memory_equal(buf.data, "llo", 3);
	buf_drop(&buf, 100);
	assert_int_equal(buf.length, 0);
	buf_free(&buf);
}

static void
reading_past_the_end_fails_at_every_length(void **state)
{
	struct buf buf;
	struct buf_reader reader;
	char text[16];
	size_t length;

	(void)state;
	buf_init(&buf, 100);
	buf_add_u64(&buf, UINT64_MAX);
	buf_add_string(&buf, "hello");
	buf_add_u32(&buf, UINT32_MAX);
	for (length = 0; length < buf.length; length++) {
		/* A copy of its own, so that a sanitizer sees a byte too many. */
		uint8_t *cut = malloc(length + 1);

		assert_non_null(cut);
		memcpy(cut, buf.data, length);
		buf_reader_init(&reader, cut, length);
		(void)buf_get_u64(&reader);
		buf_get_string(&reader, text, sizeof(text));
		assert_true(text[0] == '\0' || strcmp(text, "hello") == 0);
		assert_int_equal(buf_get_u32(&reader), 0);
		assert_false(buf_reader_done(&reader));
		free(cut);
	}
	buf_free(&buf);
}

static void
a_failed_reader_stays_failed_and_gives_zeroes(void **state)
{
	const uint8_t data[] = { 2, 9, 9, 9, 9 };
	struct buf_reader reader;
	uint8_t raw[2] = { 7, 7 };
	char *text;

	(void)state;
	buf_reader_init(&reader, data, sizeof(data));
	assert_false(buf_get_bool(&reader));
	assert_int_equal(buf_get_u8(&reader), 0);
	buf_get(&reader, raw, 2);
	assert_int_equal(raw[0], 0);
	text = buf_get_string_alloc(&reader, 100);
	assert_string_equal(text, "");
	free(text);
	assert_false(buf_reader_done(&reader));
}

static void
enums_out_of_range_are_refused(void **state)
{
	const uint8_t data[] = { 7 };
	struct buf_reader reader;

	(void)state;
	buf_reader_init(&reader, data, 1);
	assert_int_equal(buf_get_enum(&reader, 8), 7);
	assert_true(buf_reader_done(&reader));
	buf_reader_init(&reader, data, 1);
	assert_int_equal(buf_get_enum(&reader, 7), 0);
	assert_false(buf_reader_done(&reader));
}

static void
strings_with_nul_or_too_long_are_refused(void **state)
{
	const uint8_t with_nul[] = { 3, 0, 'a', 0, 'b' };
	const uint8_t fits[] = { 3, 0, 'a', 'b', 'c' };
	struct buf_reader reader;
	char text[4], tight[3];

	(void)state;
	buf_reader_init(&reader, with_nul, sizeof(with_nul));
	buf_get_string(&reader, text, sizeof(text));
	assert_string_equal(text, "");
	assert_false(buf_reader_done(&reader));
	buf_reader_init(&reader, fits, sizeof(fits));
	buf_get_string(&reader, text, sizeof(text));
	assert_string_equal(text, "abc");
	assert_true(buf_reader_done(&reader));
	buf_reader_init(&reader, fits, sizeof(fits));
	buf_get_string(&reader, tight, sizeof(tight));
	assert_string_equal(tight, "");
	assert_false(buf_reader_done(&reader));
}

static void
what_is_left_over_is_told(void **state)
{
	const uint8_t data[] = { 1, 2 };
	struct buf_reader reader;

	(void)state;
	buf_reader_init(&reader, data, sizeof(data));
	(void)buf_get_u8(&reader);
	assert_false(buf_reader_done(&reader));
	(void)buf_get_u8(&reader);
	assert_true(buf_reader_done(&reader));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_added_is_read_back),
		cmocka_unit_test(a_buffer_never_grows_past_its_limit),
		cmocka_unit_test(a_string_that_does_not_fit_leaves_nothing_behind),
		cmocka_unit_test(a_string_over_65535_bytes_fails),
		cmocka_unit_test(formatted_text_of_any_length_is_whole),
		cmocka_unit_test(numbers_are_written_in_decimal),
		cmocka_unit_test(dropping_more_than_there_is_empties),
		cmocka_unit_test(reading_past_the_end_fails_at_every_length),
		cmocka_unit_test(a_failed_reader_stays_failed_and_gives_zeroes),
		cmocka_unit_test(enums_out_of_range_are_refused),
		cmocka_unit_test(strings_with_nul_or_too_long_are_refused),
		cmocka_unit_test(what_is_left_over_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
