/* The history's thread beside the event loop: what is asked is answered however fast events come. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <event2/event.h>

#include "common/clock.h"
#include "common/config.h"
#include "common/imsg.h"
#include "common/log.h"
#include "lookup/history.h"

#define PATIENCE_MS 20000

static char directory[64];
static struct event_base *base;
static struct config *config;
static struct history *history;
static size_t events; /* of the answer */
static bool is_answered;
static struct ipc_result result;

static void
on_event(uint32_t id, const struct buf *event)
{
	assert_int_equal(id, 7);
	assert_true(event->length > 2);
	events++;
}

static void
on_done(uint32_t id, const struct ipc_result *answer)
{
	assert_int_equal(id, 7);
	result = *answer;
	is_answered = true;
}

static int
set_up(void **state)
{
	static const struct history_calls calls = { on_event, on_done };

	(void)state;
	strcpy(directory, "/tmp/test-history-thread-XXXXXX");
	if (mkdtemp(directory) == NULL)
		return -1;
	base = event_base_new();
	config = config_new();
	free(config->state_directory);
	config->state_directory = strdup(directory);
	config->history_max_size = 16 * 1024 * 1024;
	history = history_new(base, &calls);
	events = 0;
	is_answered = false;
	return base == NULL || config->state_directory == NULL ? -1 : 0;
}

static int
tear_down(void **state)
{
	char command[128];

	(void)state;
	history_free(history);
	config_free(config);
	event_base_free(base);
	snprintf(command, sizeof(command), "rm -rf '%s'", directory);
	return system(command);
}

/* A frame of events of a message. */
static void
add_frame(uint32_t id)
{
	static char words[HISTORY_VALUE_MAX];
	struct history_event event = {
		.kind = HISTORY_DEFERRED, .time_us = clock_wall_us(), .message_id = id
	};
	struct buf frame;

	memset(words, 'w', sizeof(words) - 1);
	event.fields[HISTORY_REPLY] = words;
	buf_init(&frame, IMSG_PAYLOAD_MAX);
	for (unsigned i = 0; i < 12; i++)
		history_event_encode(&frame, &event);
	assert_true(buf_ok(&frame));
	assert_true(history_add(history, frame.data, frame.length));
	buf_free(&frame);
}

static void
ask(const char *what)
{
	struct ipc_trace trace;

	snprintf(trace.what, sizeof(trace.what), "%s", what);
	history_ask(history, 7, &trace);
}

static void
an_answer_tells_of_what_came_just_before(void **state)
{
	int64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;

	(void)state;
	history_configure(history, config);
	add_frame(0x1a);
	ask("0000001a");
	while (!is_answered && clock_monotonic_ms() < until_ms)
		event_base_loop(base, EVLOOP_ONCE);
	assert_true(is_answered);
	assert_int_equal(result.exit_code, 0);
	assert_int_equal(events, 12);
}

/* Faster than they can be written. */
static void
a_question_does_not_wait_for_what_comes_after_it(void **state)
{
	int64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;

	(void)state;
	history_configure(history, config);
	add_frame(0x1a);
	for (uint32_t id = 1000; id < 1400; id++)
		add_frame(id);
	ask("0000001a");
	while (!is_answered && clock_monotonic_ms() < until_ms) {
		for (uint32_t id = 1000; id < 1040; id++)
			add_frame(id);
		event_base_loop(base, EVLOOP_NONBLOCK);
	}
	assert_true(is_answered);
	assert_int_equal(events, 12);
}

static void
without_a_history_a_question_is_refused(void **state)
{
	(void)state;
	config->history_off = true;
	history_configure(history, config);
	add_frame(0x1a);
	ask("0000001a");
	assert_true(is_answered);
	assert_non_null(strstr(result.words, "history off"));
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(an_answer_tells_of_what_came_just_before),
		WITH(a_question_does_not_wait_for_what_comes_after_it),
		WITH(without_a_history_a_question_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
