/* Lines that are too long for SMTP: which can be folded, where, and what comes out then. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/memory_file.h"
#include "deliver/relay_text.h"

static char text[4 * 1024 * 1024]; /* what is sent */
static struct relay_lines lines;

/* Finds lines in what is put together so: each word is repeated that often. */
struct part {
	const char *word;
	unsigned times;
};

static void
send_text(const struct part *parts, size_t count)
{
	struct relay_text sending;
	struct buf in, out;
	int fd;

	buf_init(&in, sizeof(text));
	for (size_t i = 0; i < count; i++)
		for (unsigned k = 0; k < parts[i].times; k++)
			buf_add_text(&in, parts[i].word);
	assert_true(buf_ok(&in));
	fd = memory_file_make("text", in.data, in.length);
	assert_int_not_equal(fd, -1);
	assert_true(relay_lines_find(&lines, fd, in.length));
	buf_init(&out, sizeof(text) - 1);
	relay_text_begin(&sending, fd, in.length, true, &lines);
	while (!relay_text_is_done(&sending))
		assert_true(relay_text_read(&sending, &out));
	memcpy(text, out.data, out.length);
	text[out.length] = '\0';
	buf_free(&in);
	buf_free(&out);
	close(fd);
}

#define SEND(...)                                                   \
	do {                                                        \
		const struct part parts[] = { __VA_ARGS__ };        \
		send_text(parts, sizeof(parts) / sizeof(parts[0])); \
	} while (0)

/* No line of the header that was sent is too long, or all white space. */
static void
check_header(void)
{
	const char *line = text, *end;

	while ((end = strstr(line, "\r\n")) != NULL && end > line) {
		assert_true(end - line <= RELAY_LINE_MAX);
		assert_true(strspn(line, " \t") < (size_t)(end - line));
		line = end + 2;
	}
}

static int
tear_down(void **state)
{
	(void)state;
	relay_lines_free(&lines);
	return 0;
}

static void
lines_that_are_short_enough_stay(void **state)
{
	(void)state;
	SEND({ "To: ", 1 }, { "x ", 497 }, { "\r\n\r\n", 1 }, { "y", 998 }, { "\r\n", 1 });
	assert_int_equal(lines.fold_count, 0);
	assert_int_equal(lines.longest_field, 0);
	assert_int_equal(lines.longest_line, 0);
}

static void
a_long_field_is_folded_before_white_space(void **state)
{
	(void)state;
	SEND({ "To: ", 1 }, { "x", 990 }, { " ", 1 }, { "y", 900 }, { " \t", 1 }, { "z", 900 },
	    { "\r\nSubject: s\r\n\r\nbody\r\n", 1 });
	assert_int_equal(lines.fold_count, 2);
	assert_int_equal(lines.longest_field, 0);
	check_header();
	assert_memory_equal(text + 4 + 990, "\r\n y", 4);
	/* The first white space stays with what is before it. */
	assert_memory_equal(text + 4 + 990 + 3 + 900, " \r\n\tz", 5);
	assert_non_null(strstr(text, "z\r\nSubject: s\r\n\r\nbody\r\n"));
}

static void
a_field_of_ten_thousand_addresses_is_folded(void **state)
{
	(void)state;
	SEND(
	    { "To: ", 1 }, { "someone@example.org, ", 10000 }, { "last@example.org\n\nbody\n", 1 });
	assert_int_equal(lines.longest_field, 0);
	assert_true(lines.fold_count >= 10000 * 21 / 998);
	check_header();
	/* Nothing is lost. */
	for (char *at = text; (at = strstr(at, "\r\n ")) != NULL;)
		memmove(at, at + 2, strlen(at + 2) + 1);
	assert_int_equal(strlen(text), 4 + 210000 + 16 + 2 + 2 + 6);
}

static void
what_has_no_white_space_cannot_be_folded(void **state)
{
	(void)state;
	SEND({ "X: a ", 1 }, { "x", 998 }, { " b\r\n\r\n", 1 });
	assert_int_equal(lines.longest_field, 5 + 998 + 2);
	assert_int_equal(lines.fold_count, 0);
	relay_lines_free(&lines);
	/* One byte less, and the white space before it is the continuation's. */
	SEND({ "X: a ", 1 }, { "x", 997 }, { " b\r\n\r\n", 1 });
	assert_int_equal(lines.longest_field, 0);
	assert_int_equal(lines.fold_count, 2);
	check_header();
	relay_lines_free(&lines);
	SEND({ "x", 100000 }, { "\r\n\r\n", 1 });
	assert_int_equal(lines.longest_field, 100000);
}

static void
a_fold_leaves_no_line_of_white_space_alone(void **state)
{
	(void)state;
	SEND({ "X: a", 1 }, { " ", 5000 }, { "\r\n\r\n", 1 });
	assert_int_equal(lines.longest_field, 5004);
	assert_int_equal(lines.fold_count, 0);
	relay_lines_free(&lines);
	SEND({ "X: a", 1 }, { " ", 900 }, { "b", 200 }, { "\r\n\r\n", 1 });
	assert_int_equal(lines.fold_count, 1);
	check_header();
}

static void
the_body_is_not_folded(void **state)
{
	(void)state;
	SEND({ "Subject: s\r\n\r\n", 1 }, { "x ", 500 }, { "\r\n", 1 }, { "x ", 5000 });
	assert_int_equal(lines.fold_count, 0);
	assert_int_equal(lines.longest_field, 0);
	assert_int_equal(lines.longest_line, 10000);
}

static void
whatever_ends_lines_counts(void **state)
{
	static const char *const ends[] = { "\r\n", "\n", "\r" };

	(void)state;
	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		SEND({ "A: ", 1 }, { "x", 900 }, { ends[i], 1 }, { "B: ", 1 }, { "y", 900 },
		    { ends[i], 2 }, { "z", 900 }, { ends[i], 1 }, { "z", 999 }, { ends[i], 1 });
		assert_int_equal(lines.fold_count, 0);
		assert_int_equal(lines.longest_field, 0);
		assert_int_equal(lines.longest_line, 999);
	}
}

/* Reads end anywhere in a line, and between CR and LF. */
static void
ends_of_reads_make_no_difference(void **state)
{
	(void)state;
	for (unsigned before = RELAY_TEXT_CHUNK - 1010; before < RELAY_TEXT_CHUNK + 10; before++) {
		SEND({ "A: x\r\n", 1 }, { "B: ", 1 }, { "x\n ", (before - 9) / 3 }, { "y", 500 },
		    { " ", 1 }, { "z", 500 }, { "\r\n\r\n", 1 }, { "b", 998 }, { "\r\n", 1 });
		assert_int_equal(lines.fold_count, 1);
		assert_int_equal(lines.longest_line, 0);
		check_header();
		assert_non_null(strstr(text, "y\r\n z"));
		relay_lines_free(&lines);
	}
}

static void
a_short_file_is_an_error(void **state)
{
	int fd = memory_file_make("text", "abc\r\n", 5);

	(void)state;
	assert_false(relay_lines_find(&lines, fd, 1000));
	assert_int_equal(errno, EIO);
	close(fd);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(lines_that_are_short_enough_stay),
		TEST(a_long_field_is_folded_before_white_space),
		TEST(a_field_of_ten_thousand_addresses_is_folded),
		TEST(what_has_no_white_space_cannot_be_folded),
		TEST(a_fold_leaves_no_line_of_white_space_alone),
		TEST(the_body_is_not_folded),
		TEST(whatever_ends_lines_counts),
		TEST(ends_of_reads_make_no_difference),
		TEST(a_short_file_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
