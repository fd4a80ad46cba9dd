/*
 * How an IMAP client's bytes are cut into commands, messages and refusals.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "mailbox/imap_input.h"

#define LIMIT 64

/* What was told, a letter an event, texts of commands and messages between them. */
static struct imap_input input;
static char told[1024];

static int
set_up(void **state)
{
	(void)state;
	imap_input_init(&input, LIMIT);
	told[0] = '\0';
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	imap_input_free(&input);
	return 0;
}

static void
tell(const char *format, ...)
{
	size_t length = strlen(told);
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(told + length, sizeof(told) - length, format, arguments);
	va_end(arguments);
}

/* Whether the next message is refused, and when. */
enum refusal {
	NEVER,
	AT_ONCE,
	IN_TEXT,
};

static void
take(const char *bytes, size_t length, size_t step, enum refusal refusal)
{
	size_t at = 0, used;

	for (;;) {
		size_t count = length - at < step ? length - at : step;
		enum imap_input_event event = imap_input_take(&input, bytes + at, count, &used);

		at += used;
		switch (event) {
		case IMAP_INPUT_MORE:
			if (at == length)
				return;
			break;
		case IMAP_INPUT_CONTINUE:
			tell("+");
			break;
		case IMAP_INPUT_MESSAGE:
			tell("M%llu", (unsigned long long)input.size);
			if (refusal == AT_ONCE)
				imap_input_refuse(&input);
			break;
		case IMAP_INPUT_TEXT:
			tell("(%.*s)", (int)input.text_length, input.text);
			if (refusal == IN_TEXT)
				imap_input_refuse(&input);
			break;
		case IMAP_INPUT_MESSAGE_END:
			tell("E");
			break;
		case IMAP_INPUT_COMMAND:
			tell("<%.*s>", (int)input.command.length, (char *)input.command.data);
			imap_input_next(&input);
			break;
		case IMAP_INPUT_REFUSED:
			tell("R%.2s", (char *)input.command.data);
			imap_input_next(&input);
			break;
		case IMAP_INPUT_CLOSE:
			tell("C");
			return;
		}
	}
}

static void
take_text(const char *text, size_t step, enum refusal refusal)
{
	take(text, strlen(text), step, refusal);
}

static void
lines_end_with_or_without_return(void **state)
{
	(void)state;
	take_text("a NOOP\r\nb NOOP\nc", SIZE_MAX, NEVER);
	take_text(" LOGOUT\r", SIZE_MAX, NEVER);
	assert_string_equal(told, "<a NOOP><b NOOP>");
	take_text("\n", SIZE_MAX, NEVER);
	assert_string_equal(told, "<a NOOP><b NOOP><c LOGOUT>");
}

static void
a_literal_belongs_to_its_command(void **state)
{
	static const char bytes[] = "a LOGIN {5}\r\na\r\nb} {0+}\r\n\r\nb NOOP\r\n";

	(void)state;
	take(bytes, sizeof(bytes) - 1, SIZE_MAX, NEVER);
	assert_string_equal(told, "+<a LOGIN {5}\r\na\r\nb} {0+}\r\n><b NOOP>");
	told[0] = '\0';
	take(bytes, sizeof(bytes) - 1, 1, NEVER);
	assert_string_equal(told, "+<a LOGIN {5}\r\na\r\nb} {0+}\r\n><b NOOP>");
}

static void
messages_are_handed_on_and_not_gathered(void **state)
{
	static const char bytes[] = "a APPEND x (\\Seen) {80+}\r\n"
	                            "01234567890123456789012345678901234567890123456789"
	                            "012345678901234567890123456789"
	                            " {3}\r\nabc\r\nb NOOP\r\n";

	(void)state;
	take(bytes, sizeof(bytes) - 1, SIZE_MAX, NEVER);
	assert_string_equal(told,
	    "M80(01234567890123456789012345678901234567890123456789"
	    "012345678901234567890123456789)E"
	    "M3(abc)E<a APPEND x (\\Seen) {80!}\r\n {3!}\r\n><b NOOP>");
}

static void
only_the_message_of_append_and_replace_is_one(void **state)
{
	static const struct {
		const char *bytes;
		const char *told;
	} examples[] = {
		{ "a APPEND {1+}\r\nx {2+}\r\nhi\r\n", "M2(hi)E<a APPEND {1+}\r\nx {2!}\r\n>" },
		{ "a append \"a b\\\"\" {2+}\r\nhi\r\n", "M2(hi)E<a append \"a b\\\"\" {2!}\r\n>" },
		{ "a UID REPLACE 4 x ~{2+}\r\nhi\r\n", "M2(hi)E<a UID REPLACE 4 x ~{2!}\r\n>" },
		{ "a REPLACE 4 {1+}\r\nx\r\n", "<a REPLACE 4 {1+}\r\nx>" },
		{ "a SEARCH APPEND x {1+}\r\nx\r\n", "<a SEARCH APPEND x {1+}\r\nx>" },
		{ "a APPEND x {2!}\r\n", "<a APPEND x {2!}>" },
		{ "a APPEND x {2-}\r\n", "<a APPEND x {2-}>" },
		{ "a APPEND x {99999999999999999999}\r\n", "<a APPEND x {99999999999999999999}>" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(examples) / sizeof(examples[0]); i++) {
		told[0] = '\0';
		take_text(examples[i].bytes, SIZE_MAX, NEVER);
		assert_string_equal(told, examples[i].told);
	}
}

static void
what_is_too_long_is_refused_and_skipped(void **state)
{
	char line[300];

	(void)state;
	memset(line, 'x', sizeof(line));
	memcpy(line, "a ", 2);
	memcpy(line + 296, "\r\nb ", 4);
	take(line, sizeof(line), SIZE_MAX, NEVER);
	take_text("NOOP\r\n", SIZE_MAX, NEVER);
	assert_string_equal(told, "Ra <b NOOP>");
	/* A synchronizing literal doesn't come after a refusal, another one does. */
	told[0] = '\0';
	take_text("c LOGIN {65}\r\nd NOOP\r\n", 1, NEVER);
	assert_string_equal(told, "Rc <d NOOP>");
	told[0] = '\0';
	take_text("e LOGIN {65+}\r\n", 1, NEVER);
	take(line, 65, 7, NEVER);
	take_text(" x\r\nf NOOP\r\n", 1, NEVER);
	assert_string_equal(told, "Re <f NOOP>");
}

static void
a_literal_behind_a_line_that_is_too_long_is_skipped_too(void **state)
{
	char line[100];

	(void)state;
	memset(line, 'x', sizeof(line));
	memcpy(line, "a ", 2);
	for (size_t step = 1; step < 80; step++) {
		told[0] = '\0';
		take(line, 63, step, NEVER);
		take_text("{8+}\r\n\r\nb NOOP {4}\r\nc NOOP\r\n", step, NEVER);
		assert_string_equal(told, "Ra <c NOOP>");
	}
}

static void
more_than_can_be_skipped_hangs_up(void **state)
{
	(void)state;
	take_text("a LOGIN {4294967296+}\r\n", SIZE_MAX, NEVER);
	take_text("a NOOP\r\n", SIZE_MAX, NEVER);
	assert_string_equal(told, "CC");
}

static void
a_refused_message_is_not_waited_for(void **state)
{
	(void)state;
	/* Nor is a text that hasn't come yet. */
	take_text("a APPEND x {5}\r\n", SIZE_MAX, NEVER);
	assert_string_equal(told, "M5");
	take_text("", SIZE_MAX, NEVER);
	take_text("hello\r\n", SIZE_MAX, NEVER);
	assert_string_equal(told, "M5(hello)E<a APPEND x {5!}\r\n>");
	told[0] = '\0';
	take_text("a APPEND x {5}\r\nb NOOP\r\n", SIZE_MAX, AT_ONCE);
	assert_string_equal(told, "M5Ra <b NOOP>");
	told[0] = '\0';
	take_text("a APPEND x {5+}\r\nhello {3+}\r\nabc\r\nb NOOP\r\n", 1, AT_ONCE);
	assert_string_equal(told, "M5Ra <b NOOP>");
	told[0] = '\0';
	take_text("a APPEND x {5}\r\nhello {3}\r\nb NOOP\r\n", 1, IN_TEXT);
	assert_string_equal(told, "M5(h)Ra <b NOOP>");
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		    lines_end_with_or_without_return, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    a_literal_belongs_to_its_command, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    messages_are_handed_on_and_not_gathered, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    only_the_message_of_append_and_replace_is_one, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    what_is_too_long_is_refused_and_skipped, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    a_literal_behind_a_line_that_is_too_long_is_skipped_too, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    more_than_can_be_skipped_hangs_up, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    a_refused_message_is_not_waited_for, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
