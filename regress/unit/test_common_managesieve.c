/*
 * How lines of ManageSieve are cut into words and strings, whatever pieces they come in.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/managesieve.h"

#define LIMIT 64

/* What was told: "[word]", "<string>", "!" for a line that is none, "." at each one's end, "#" for the
 * end of all. */
static char told[4096];

static void __attribute__((format(printf, 1, 2))) tell(const char *format, ...)
{
	size_t length = strlen(told);
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(told + length, sizeof(told) - length, format, arguments);
	va_end(arguments);
}

static void
tell_line(const struct managesieve_reader *reader)
{
	if (reader->why != NULL) {
		tell(reader->is_too_large ? "!large." : "!.");
		return;
	}
	for (size_t i = 0; i < reader->count; i++) {
		const struct managesieve_token *token = &reader->tokens[i];

		assert_int_equal(managesieve_text(reader, i)[token->length], '\0');
		tell(token->is_string ? "<%.*s>" : "[%.*s]", (int)token->length,
		    managesieve_text(reader, i));
	}
	tell(".");
}

static void
take(enum managesieve_side side, const char *bytes, size_t length, size_t step)
{
	struct managesieve_reader reader;
	enum managesieve_event event = MANAGESIEVE_MORE;
	size_t at = 0, used;

	told[0] = '\0';
	managesieve_init(&reader, side, LIMIT);
	while (at < length && event != MANAGESIEVE_END) {
		size_t count = length - at < step ? length - at : step;

		event = managesieve_take(&reader, bytes + at, count, &used);
		at += used;
		if (event == MANAGESIEVE_LINE) {
			tell_line(&reader);
			managesieve_next(&reader);
		} else if (event == MANAGESIEVE_END) {
			assert_non_null(reader.why);
			tell("#");
			assert_int_equal(
			    managesieve_take(&reader, "x\r\n", 3, &used), MANAGESIEVE_END);
			assert_int_equal(used, 0);
		}
	}
	managesieve_free(&reader);
}

static void
is_read(enum managesieve_side side, const char *bytes, const char *expected)
{
	static const size_t steps[] = { 1, 3, 4096 };

	for (size_t i = 0; i < 3; i++) {
		take(side, bytes, strlen(bytes), steps[i]);
		assert_string_equal(told, expected);
	}
}

static void
commands_have_words_strings_and_literals(void **state)
{
	(void)state;
	is_read(MANAGESIEVE_CLIENT, "NOOP\r\n", "[NOOP].");
	is_read(MANAGESIEVE_CLIENT, "havespace \"a \\\"b\\\" \\\\\" 12\n",
	    "[havespace]<a \"b\" \\>[12].");
	is_read(
	    MANAGESIEVE_CLIENT, "PUT {3+}\r\na\r\n {0+}\r\n\r\nNOOP\r\n", "[PUT]<a\r\n><>.[NOOP].");
	is_read(MANAGESIEVE_CLIENT, "\"\"\r\n\r\n", "<>..");
	is_read(MANAGESIEVE_SERVER, "NO (QUOTA/MAXSIZE) {3}\r\na\"b\r\n",
	    "[NO][(][QUOTA/MAXSIZE][)]<a\"b>.");
	is_read(MANAGESIEVE_SERVER, "OK (TAG \"x\") \"Done\"\r\n", "[OK][(][TAG]<x>[)]<Done>.");
	is_read(MANAGESIEVE_SERVER, "\"one\" ACTIVE\r\n", "<one>[ACTIVE].");
}

static void
lines_that_are_none_are_read_over(void **state)
{
	(void)state;
	is_read(MANAGESIEVE_CLIENT, "NOOP \"x\r\nNOOP\r\n", "!.[NOOP].");
	is_read(MANAGESIEVE_CLIENT, "\"a\"\"b\"\r\nNOOP\r\n", "!.[NOOP].");
	is_read(MANAGESIEVE_CLIENT, "NO\rOP\r\nNOOP\r\n", "!.[NOOP].");
	is_read(MANAGESIEVE_CLIENT, "\x01\r\nNOOP\r\n", "!.[NOOP].");
	is_read(MANAGESIEVE_CLIENT, "1 2 3 4 5 6 7 8 9\r\nNOOP\r\n", "!.[NOOP].");
	/* A literal in one is no line. */
	is_read(MANAGESIEVE_CLIENT, "a\"b\" {8+}\r\nLOGOUT\r\n\r\nNOOP\r\n", "!.[NOOP].");
	is_read(MANAGESIEVE_CLIENT,
	    "x {65+}\r\n"
	    "0123456789012345678901234567890123456789012345678901234567890123"
	    "4\r\nNOOP\r\n",
	    "!large.[NOOP].");
	is_read(MANAGESIEVE_CLIENT,
	    "0123456789012345678901234567890123456789012345678901234567890123 4\r\nNOOP\r\n",
	    "!large.[NOOP].");
}

static void
what_cannot_be_read_over_ends_it(void **state)
{
	static const char *const texts[] = { "NOOP {5}\r\n", "{+}\r\n", "{-1+}\r\n", "{}\r\n",
		"{5+\r\n", "{5+}x", "{5+}\rx", "{4194305+}\r\n", "{4294967297+}\r\n",
		"{18446744073709551615+}\r\n", "{18446744073709551617+}\r\n",
		"{100000000000000000000000000000000000001+}\r\n", "{5+6}\r\n" };

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		is_read(MANAGESIEVE_CLIENT, texts[i], "#");
}

static void
strings_that_are_written_are_read_again(void **state)
{
	static const char *const texts[] = { "", "plain", "\"quotes\" and \\", "two\r\nlines",
		"\xc3\xbc" };
	struct buf buf;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		for (int side = MANAGESIEVE_CLIENT; side <= MANAGESIEVE_SERVER; side++) {
			char expected[64];

			buf_init(&buf, 4096);
			managesieve_add_string(
			    &buf, (enum managesieve_side)side, texts[i], strlen(texts[i]));
			buf_add_text(&buf, "\r\n");
			assert_true(buf_ok(&buf));
			take((enum managesieve_side)side, (const char *)buf.data, buf.length, 1);
			snprintf(expected, sizeof(expected), "<%s>.", texts[i]);
			assert_string_equal(told, expected);
			buf_free(&buf);
		}
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(commands_have_words_strings_and_literals),
		cmocka_unit_test(lines_that_are_none_are_read_over),
		cmocka_unit_test(what_cannot_be_read_over_ends_it),
		cmocka_unit_test(strings_that_are_written_are_read_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
