/* Events of the history: what is written can be read, and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "common/ipc_history.h"

static struct history_scratch scratch;

static struct history_event
again(const struct history_event *event)
{
	struct history_event read;
	struct buf_reader reader;
	static struct buf buf;

	buf_init(&buf, 65536);
	history_event_encode(&buf, event);
	assert_true(buf_ok(&buf));
	assert_in_range(buf.length, 1, HISTORY_EVENT_MAX);
	buf_reader_init(&reader, buf.data, buf.length);
	assert_true(history_event_decode(&reader, &read, &scratch));
	assert_true(buf_reader_done(&reader));
	buf_free(&buf);
	return read;
}

static void
test_every_kind_and_field_has_a_name_and_comes_back(void **state)
{
	struct history_event event = { .time_us = 1234567890123456 }, read;

	(void)state;
	for (int field = 0; field < HISTORY_FIELD_COUNT; field++)
		event.fields[field] = history_field_name((enum history_field)field);
	for (int kind = 0; kind < HISTORY_KIND_COUNT; kind++) {
		assert_non_null(history_kind_name((enum history_kind)kind));
		event.kind = (enum history_kind)kind;
		event.message_id = 0xdeadbeef;
		event.number = 7;
		read = again(&event);
		assert_int_equal(read.kind, kind);
		assert_int_equal(read.time_us, event.time_us);
		assert_int_equal(read.message_id, 0xdeadbeef);
		assert_int_equal(read.number, 7);
		for (int field = 0; field < HISTORY_FIELD_COUNT; field++)
			assert_string_equal(read.fields[field], event.fields[field]);
	}
	event.fields[HISTORY_REPLY] = NULL;
	event.fields[HISTORY_FROM] = "";
	read = again(&event);
	assert_null(read.fields[HISTORY_REPLY]);
	assert_string_equal(read.fields[HISTORY_FROM], "");
}

static void
test_control_characters_and_length_are_bounded_by_who_writes(void **state)
{
	struct history_event event = { .kind = HISTORY_REFUSED }, read;
	static char longest[70000];

	(void)state;
	event.fields[HISTORY_HELO] = "a\r\nb\033[2J\177";
	assert_string_equal(again(&event).fields[HISTORY_HELO], "a??b?[2J?");
	memset(longest, 'x', sizeof(longest) - 1);
	for (int field = 0; field < HISTORY_FIELD_COUNT; field++)
		event.fields[field] = longest;
	read = again(&event);
	assert_int_equal(strlen(read.fields[0]), HISTORY_VALUE_MAX);
	assert_null(read.fields[HISTORY_UID]); /* no room for all */
}

static void
test_what_no_honest_side_sends_is_refused(void **state)
{
	struct history_event event = { .kind = HISTORY_RECEIVED, .time_us = 1 }, read;
	struct buf_reader reader;
	struct buf buf;

	(void)state;
	event.fields[HISTORY_FROM] = "a@b.test";
	event.fields[HISTORY_RCPT] = "c@d.test";
	buf_init(&buf, 4096);
	history_event_encode(&buf, &event);
	for (size_t length = 0; length < buf.length; length++) {
		buf_reader_init(&reader, buf.data, length);
		assert_false(history_event_decode(&reader, &read, &scratch));
	}
	/* Each byte in turn: a control character, an enum out of range, a field twice, a length. */
	for (size_t at = 0; at < buf.length; at++) {
		uint8_t before = buf.data[at];

		for (unsigned value = 0; value < 256; value++) {
			buf.data[at] = (uint8_t)value;
			buf_reader_init(&reader, buf.data, buf.length);
			if (!history_event_decode(&reader, &read, &scratch))
				continue;
			for (int field = 0; field < HISTORY_FIELD_COUNT; field++)
				for (const char *c = read.fields[field]; c != NULL && *c != '\0';
				     c++)
					assert_false((unsigned char)*c < ' ' || *c == 0x7f);
		}
		buf.data[at] = before;
	}
	buf_free(&buf);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_every_kind_and_field_has_a_name_and_comes_back),
		cmocka_unit_test(test_control_characters_and_length_are_bounded_by_who_writes),
		cmocka_unit_test(test_what_no_honest_side_sends_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
