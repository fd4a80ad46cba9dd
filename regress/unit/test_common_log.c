/* One line an event, whatever the values hold. */
#include <sys/socket.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/log.h"

static int output; /* what the log has written */

static int
set_up(void **state)
{
	int ends[2];

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
	output = ends[0];
	log_open("tester", LOG_TARGET_STDERR, ends[1]);
	log_set_level(LOG_LEVEL_INFO);
	log_set_trace(0);
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	close(output);
	return 0;
}

/* What was written, from behind the time, process and pid. */
static const char *
written(void)
{
	static char text[8192];
	ssize_t length = read(output, text, sizeof(text) - 1);
	char *line;

	if (length <= 0)
		return "";
	text[length] = '\0';
	line = strstr(text, "]: ");
	assert_non_null(line);
	assert_non_null(strstr(text, " tester["));
	return line + 3;
}

static const char *
written_value(const char *value, size_t length)
{
	struct log_line line;

	log_begin(&line, LOG_LEVEL_INFO, "event");
	log_bytes(&line, "key", value, length);
	log_number(&line, "after", 1);
	log_end(&line);
	return written();
}

static void
fields_follow_the_event(void **state)
{
	struct log_line line;

	(void)state;
	log_begin(&line, LOG_LEVEL_INFO, "message-accepted");
	log_hex64(&line, "session", 0xab);
	log_hex32(&line, "message", 0x12345);
	log_text(&line, "from", "a@b.test");
	log_number(&line, "size", -5);
	log_end(&line);
	assert_string_equal(written(),
	    "message-accepted session=00000000000000ab message=00012345 from=a@b.test size=-5\n");
}

static void
no_value_can_end_its_line_or_field(void **state)
{
	(void)state;
	assert_string_equal(written_value("a\r\nb\tc\x1b\x7f\x80", 9),
	    "event key=a\\x0d\\x0ab\\x09c\\x1b\\x7f\\x80 "
	    "after=1\n");
	assert_string_equal(
	    written_value("x\" forged=\"1", 12), "event key=\"x\\\" forged=\\\"1\" after=1\n");
	assert_string_equal(written_value("x forged=1", 10), "event key=\"x forged=1\" after=1\n");
	assert_string_equal(written_value("x=y", 3), "event key=\"x=y\" after=1\n");
	assert_string_equal(written_value("x\\", 2), "event key=x\\\\ after=1\n");
	assert_string_equal(written_value("x \\", 3), "event key=\"x \\\\\" after=1\n");
	assert_string_equal(written_value("a\0b", 3), "event key=a\\x00b after=1\n");
	assert_string_equal(written_value("", 0), "event key=\"\" after=1\n");
}

static void
a_byte_of_every_value_is_one_line_of_printable_ascii(void **state)
{
	const char *text;
	unsigned byte;
	size_t i, length;

	(void)state;
	for (byte = 0; byte < 256; byte++) {
		char value = (char)byte;

		text = written_value(&value, 1);
		length = strlen(text);
		assert_int_equal(text[length - 1], '\n');
		for (i = 0; i + 1 < length; i++)
			assert_true(text[i] >= ' ' && text[i] <= '~');
	}
}

static void
long_values_are_cut_with_their_quotes_closed(void **state)
{
	char value[5000];
	const char *text;

	(void)state;
	memset(value, 'x', sizeof(value));
	text = written_value(value, sizeof(value));
	assert_int_equal(strspn(text + strlen("event key="), "x"), 256);
	assert_non_null(strstr(text, "xxx... after=1\n"));
	memset(value, ' ', sizeof(value));
	text = written_value(value, sizeof(value));
	assert_non_null(strstr(text, " ...\" after=1\n"));
}

static void
long_lines_are_cut_and_stay_one_line(void **state)
{
	struct log_line line;
	char value[257], prefix[300];
	const char *text;
	size_t first, i;

	(void)state;
	memset(value, '\n', sizeof(value));
	for (first = 0; first < 256; first++) {
		memset(prefix, 'y', first);
		log_begin(&line, LOG_LEVEL_INFO, "event");
		log_bytes(&line, "first", prefix, first);
		for (i = 0; i < 20; i++)
			log_bytes(&line, "key", value, sizeof(value));
		log_text(&line, "never", "there");
		log_end(&line);
		text = written();
		assert_true(strlen(text) <= 1024);
		assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
		assert_string_equal(text + strlen(text) - 4, "...\n");
		assert_null(strstr(text, "never"));
	}
}

static void
free_text_is_one_line_too(void **state)
{
	char value[3000];
	const char *text;

	(void)state;
	log_info("can't open %s: it's \"there\"", "a\nb\x80");
	assert_string_equal(written(), "can't open a\\x0ab\\x80: it's \"there\"\n");
	memset(value, '\n', sizeof(value) - 1);
	value[sizeof(value) - 1] = '\0';
	log_error("%s", value);
	text = written();
	assert_true(strncmp(text, "error: \\x0a", 11) == 0);
	assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
}

static void
levels_and_traces_decide_what_is_written(void **state)
{
	struct log_line line;
	char long_value[2000];
	const char *text;

	(void)state;
	log_debug("not this");
	assert_string_equal(written(), "");
	log_warning("this");
	assert_string_equal(written(), "warning: this\n");
	log_set_level(LOG_LEVEL_DEBUG);
	log_debug("now this");
	assert_string_equal(written(), "now this\n");
	assert_false(log_trace_begin(&line, LOG_TRACE_SMTP, "not-this"));
	log_set_trace(LOG_TRACE_SMTP | LOG_TRACE_MDA);
	log_set_level(LOG_LEVEL_INFO);
	assert_true(log_trace_begin(&line, LOG_TRACE_SMTP, "traced"));
	memset(long_value, 'v', sizeof(long_value));
	log_bytes(&line, "value", long_value, sizeof(long_value));
	log_end(&line);
	text = written();
	assert_int_equal(strncmp(text, "traced value=vvv", 16), 0);
	/* More than an event's value of everyday, and yet no more than a line. */
	assert_in_range(strlen(text), 900, 1100);
	assert_false(log_trace_begin(&line, LOG_TRACE_IMSG, "not-this"));
	assert_string_equal(written(), "");
}

static void
a_reader_that_stops_costs_lines_and_not_the_service(void **state)
{
	char text[8192];
	ssize_t length;
	size_t i;

	(void)state;
	alarm(20); /* blocking would end the test */
	for (i = 0; i < 5000; i++)
		log_info("a line of some length, number %zu", i);
	while ((length = read(output, text, sizeof(text))) > 0)
		;
	log_info("after");
	alarm(0);
	length = read(output, text, sizeof(text) - 1);
	assert_true(length > 0);
	text[length] = '\0';
	assert_non_null(strstr(text, "log-lines-lost count="));
	assert_non_null(strstr(text, "after\n"));
}

static void
a_dead_syslog_is_noticed_and_replaced(void **state)
{
	int pair[2], again[2];
	char text[2048];
	ssize_t length;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, pair), 0);
	log_open("tester", LOG_TARGET_SYSLOG, pair[0]);
	log_info("hello");
	length = recv(pair[1], text, sizeof(text) - 1, MSG_DONTWAIT);
	assert_true(length > 0);
	text[length] = '\0';
	/* Facility mail (2), severity info (6): RFC 3164 4.1.1. No line end. */
	assert_true(strncmp(text, "<22>", 4) == 0);
	assert_string_equal(strstr(text, "]: "), "]: hello");
	assert_false(log_is_lost());
	close(pair[1]);
	log_info("lost");
	assert_true(log_is_lost());

	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, again), 0);
	log_set_fd(again[0]);
	assert_false(log_is_lost());
	log_info("back");
	length = recv(again[1], text, sizeof(text) - 1, MSG_DONTWAIT);
	assert_true(length > 0);
	text[length] = '\0';
	assert_non_null(strstr(text, "log-lines-lost count=1"));
	length = recv(again[1], text, sizeof(text) - 1, MSG_DONTWAIT);
	assert_true(length > 0);
	text[length] = '\0';
	assert_non_null(strstr(text, "back"));
	close(again[1]);
}

/* A pipe's reader waits for its last writer: a log that has moved on must not be one. */
static void
a_log_opened_anew_lets_go_of_the_old_one(void **state)
{
	int ends[2];
	char byte;

	(void)state;
	assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
	log_open("tester", LOG_TARGET_STDERR, ends[1]);
	assert_int_equal(read(output, &byte, 1), 0);
	close(ends[0]);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(fields_follow_the_event),
		WITH(no_value_can_end_its_line_or_field),
		WITH(a_byte_of_every_value_is_one_line_of_printable_ascii),
		WITH(long_values_are_cut_with_their_quotes_closed),
		WITH(long_lines_are_cut_and_stay_one_line),
		WITH(free_text_is_one_line_too),
		WITH(levels_and_traces_decide_what_is_written),
		WITH(a_reader_that_stops_costs_lines_and_not_the_service),
		WITH(a_dead_syslog_is_noticed_and_replaced),
		WITH(a_log_opened_anew_lets_go_of_the_old_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
