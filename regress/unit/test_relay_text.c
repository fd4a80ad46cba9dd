/* Text on its way out: line ends, dots, and nothing else changed, wherever the reads fall. */
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

static const struct relay_lines no_folds;

static void
check(const void *data, size_t length, bool stuffed, const void *expected, size_t expected_length)
{
	int fd = memory_file_make("text", data, length);
	struct relay_text text;
	struct buf buf;

	assert_int_not_equal(fd, -1);
	buf_init(&buf, 4 * 1024 * 1024);
	relay_text_begin(&text, fd, length, stuffed, &no_folds);
	while (!relay_text_is_done(&text))
		assert_true(relay_text_read(&text, &buf));
	assert_int_equal(buf.length, expected_length);
	if (expected_length > 0)
		assert_memory_equal(buf.data, expected, expected_length);
	buf_free(&buf);
	close(fd);
}

static void
check_text(const char *data, bool stuffed, const char *expected)
{
	check(data, strlen(data), stuffed, expected, strlen(expected));
}

static void
test_line_ends(void **state)
{
	(void)state;
	check_text("", true, "");
	check_text("a\r\nb\r\n", true, "a\r\nb\r\n");
	check_text("a\r\nb", true, "a\r\nb\r\n");
	check_text("a\nb\n", true, "a\r\nb\r\n");
	check_text("a\rb\r", true, "a\r\nb\r\n");
	check_text("a\r\r\nb\r\n", true, "a\r\n\r\nb\r\n");
	check_text("\r\n\r\n", true, "\r\n\r\n");
	check_text("\n", true, "\r\n");
}

static void
test_dots_are_doubled(void **state)
{
	(void)state;
	check_text(".\r\n..\r\na.\r\n.b", true, "..\r\n...\r\na.\r\n..b\r\n");
	check_text(".\r\n..\r\na.\r\n.b", false, ".\r\n..\r\na.\r\n.b\r\n");
	/* What a server could take for the end of the text isn't there: */
	check_text("a\n.\nQUIT\n", true, "a\r\n..\r\nQUIT\r\n");
	check_text("a\r.\rQUIT\r", true, "a\r\n..\r\nQUIT\r\n");
	check_text("a\n.\r\nQUIT\r\n", true, "a\r\n..\r\nQUIT\r\n");
}

/* A line end, and a line that begins with a dot, at every place around where a read ends. */
static void
test_ends_of_reads_make_no_difference(void **state)
{
	static const char tail[] = "\r\n.x\r\n";
	size_t most = RELAY_TEXT_CHUNK + 16;
	char *data = malloc(most), *expected = malloc(most + 8);

	(void)state;
	assert_true(data != NULL && expected != NULL);
	for (size_t before = RELAY_TEXT_CHUNK - 8; before < RELAY_TEXT_CHUNK + 4; before++) {
		memset(data, 'y', before);
		memcpy(data + before, tail, sizeof(tail) - 1);
		memset(expected, 'y', before);
		memcpy(expected + before, "\r\n..x\r\n", 7);
		check(data, before + sizeof(tail) - 1, true, expected, before + 7);
		data[before + 1] = 'z'; /* the CR stands alone */
		memcpy(expected + before, "\r\nz.x\r\n", 7);
		check(data, before + sizeof(tail) - 1, true, expected, before + 7);
	}
	free(data);
	free(expected);
}

static void
test_a_short_file_is_an_error(void **state)
{
	int fd = memory_file_make("text", "abc\r\n", 5);
	struct relay_text text;
	struct buf buf;

	(void)state;
	buf_init(&buf, 1024);
	relay_text_begin(&text, fd, 10, true, &no_folds);
	assert_true(relay_text_read(&text, &buf));
	assert_false(relay_text_read(&text, &buf));
	assert_int_equal(errno, EIO);
	buf_free(&buf);
	close(fd);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_line_ends),
		cmocka_unit_test(test_dots_are_doubled),
		cmocka_unit_test(test_ends_of_reads_make_no_difference),
		cmocka_unit_test(test_a_short_file_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
