/* Whom an explanation asks next, and what of the relay's answers is passed on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "smtpctl/control_explain.h"

static bool
note(struct explanation *explanation, enum explain_step step, const char *action, const char *to)
{
	struct ipc_explain_step told = { .step = step, .address = "x@y.test" };
	struct imsg imsg = { .type = CONTROL_EXPLAIN_STEP, .fd = -1 };
	struct buf buf;
	bool taken;

	snprintf(told.action, sizeof(told.action), "%s", action);
	snprintf(told.to, sizeof(told.to), "%s", to);
	buf_init(&buf, IMSG_PAYLOAD_MAX);
	ipc_explain_step_encode(&buf, &told);
	imsg.payload = buf.data;
	imsg.length = buf.length;
	taken = explanation_note_step(explanation, &imsg);
	buf_free(&buf);
	return taken;
}

/* "relay y.test 0", "queue y.test 0", "end", "end more" */
static const char *
next(struct explanation *explanation, int64_t now_ms)
{
	static char text[512];
	struct ipc_explain_relay asked;
	struct buf_reader reader;
	enum control_peer peer;
	struct buf payload;
	bool begins, more;

	buf_init(&payload, IMSG_PAYLOAD_MAX);
	peer = explanation_next(explanation, now_ms, &payload, &begins, &more);
	if (peer == CONTROL_PEER_NONE)
		snprintf(text, sizeof(text), "end%s", more ? " more" : "");
	else {
		buf_reader_init(&reader, payload.data, payload.length);
		assert_true(ipc_explain_relay_decode(&reader, &asked) && buf_reader_done(&reader));
		assert_int_equal(begins, peer == CONTROL_PEER_RELAY);
		snprintf(text, sizeof(text), "%s %s %s",
		    peer == CONTROL_PEER_RELAY ? "relay" : "queue", asked.action, asked.domain);
	}
	buf_free(&payload);
	return text;
}

static void
test_each_destination_is_asked_about_once(void **state)
{
	struct explanation *explanation = explanation_new(0);

	(void)state;
	assert_true(note(explanation, EXPLAIN_RULE, "in", ""));
	assert_true(note(explanation, EXPLAIN_RELAY, "out", "a.test"));
	assert_true(note(explanation, EXPLAIN_RELAY, "out", "a.test"));
	assert_true(note(explanation, EXPLAIN_RELAY, "other", "a.test"));
	assert_true(note(explanation, EXPLAIN_MAILBOX, "in", "/a"));
	assert_string_equal(next(explanation, 0), "relay out a.test");
	assert_string_equal(next(explanation, 0), "queue out a.test");
	assert_string_equal(next(explanation, 0), "relay other a.test");
	assert_string_equal(next(explanation, 0), "queue other a.test");
	assert_string_equal(next(explanation, 0), "end");
	explanation_free(explanation);
}

static void
test_many_destinations_and_slow_ones_are_cut(void **state)
{
	struct explanation *explanation = explanation_new(0);
	char domain[32], expected[64];

	(void)state;
	for (int i = 0; i < EXPLAIN_ROUTES_MAX + 1; i++) {
		snprintf(domain, sizeof(domain), "%d.test", i);
		assert_true(note(explanation, EXPLAIN_RELAY, "out", domain));
	}
	for (int i = 0; i < EXPLAIN_ROUTES_MAX; i++) {
		snprintf(expected, sizeof(expected), "relay out %d.test", i);
		assert_string_equal(next(explanation, 0), expected);
		assert_non_null(strstr(next(explanation, 0), "queue"));
	}
	assert_string_equal(next(explanation, 0), "end more");
	explanation_free(explanation);

	explanation = explanation_new(0);
	assert_true(note(explanation, EXPLAIN_RELAY, "out", "a.test"));
	assert_true(note(explanation, EXPLAIN_RELAY, "out", "b.test"));
	assert_string_equal(next(explanation, EXPLANATION_MS), "relay out a.test");
	/* What was begun is told whole. */
	assert_string_equal(next(explanation, EXPLANATION_MS + 1), "queue out a.test");
	assert_string_equal(next(explanation, EXPLANATION_MS + 1), "end more");
	explanation_free(explanation);
}

static void
test_what_is_no_step_is_refused(void **state)
{
	struct explanation *explanation = explanation_new(0);
	const uint8_t junk[] = { 99, 0, 0, 0, 0 };
	struct imsg imsg = { .fd = -1, .payload = junk, .length = sizeof(junk) };

	(void)state;
	assert_false(explanation_note_step(explanation, &imsg));
	assert_string_equal(next(explanation, 0), "end");
	explanation_free(explanation);
}

static bool
is_good(enum ipc_control_type order, enum ipc_control_type type, unsigned count, int fd, bool more)
{
	struct ipc_explain_route route = { .count = 1 };
	struct ipc_explain_host host = { .port = 25 };
	struct ipc_host known = { .id = 1 };
	struct ipc_hoststat stat = { .id = 1 };
	struct imsg imsg = { .type = (uint16_t)type, .fd = fd };
	struct buf buf;
	bool good;

	buf_init(&buf, IMSG_PAYLOAD_MAX);
	reply_set(&route.reply, 250, "2.0.0", "found");
	reply_set(&stat.reply, 250, "2.0.0", "sent");
	if (type == CONTROL_EXPLAIN_ROUTE)
		ipc_explain_route_encode(&buf, &route);
	else if (type == CONTROL_EXPLAIN_HOST)
		ipc_explain_host_encode(&buf, &host);
	else if (type == CONTROL_HOST)
		ipc_host_encode(&buf, &known);
	else
		ipc_hoststat_encode(&buf, &stat);
	if (more)
		buf_add_u8(&buf, 0);
	imsg.payload = buf.data;
	imsg.length = buf.length;
	good = control_relay_frame_is_good(order, &imsg, count);
	buf_free(&buf);
	return good;
}

static void
test_the_relay_answers_only_what_it_was_asked(void **state)
{
	(void)state;
	assert_true(is_good(CONTROL_EXPLAIN, CONTROL_EXPLAIN_ROUTE, 0, -1, false));
	assert_true(is_good(CONTROL_EXPLAIN, CONTROL_EXPLAIN_HOST, 1, -1, false));
	assert_true(is_good(CONTROL_EXPLAIN, CONTROL_HOST, 2, -1, false));
	assert_true(is_good(CONTROL_HOST_LIST, CONTROL_HOST, 0, -1, false));
	assert_true(is_good(CONTROL_HOSTSTAT_LIST, CONTROL_HOSTSTAT, 0, -1, false));
	/* Out of turn, too many, with a descriptor, with bytes left over, or not what was asked. */
	assert_false(is_good(CONTROL_EXPLAIN, CONTROL_EXPLAIN_ROUTE, 1, -1, false));
	assert_false(is_good(CONTROL_EXPLAIN, CONTROL_EXPLAIN_HOST, 0, -1, false));
	assert_false(is_good(CONTROL_EXPLAIN, CONTROL_HOST, RELAY_FRAMES_MAX, -1, false));
	assert_false(is_good(CONTROL_HOST_LIST, CONTROL_HOST, 0, 5, false));
	assert_false(is_good(CONTROL_HOST_LIST, CONTROL_HOST, 0, -1, true));
	assert_false(is_good(CONTROL_HOST_LIST, CONTROL_HOSTSTAT, 0, -1, false));
	assert_false(is_good(CONTROL_HOSTSTAT_LIST, CONTROL_HOST, 0, -1, false));
	assert_false(is_good(CONTROL_HOST_LIST, CONTROL_EXPLAIN_ROUTE, 0, -1, false));
	assert_false(is_good(CONTROL_EXPLAIN, CONTROL_HOSTSTAT, 1, -1, false));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_destination_is_asked_about_once),
		cmocka_unit_test(test_many_destinations_and_slow_ones_are_cut),
		cmocka_unit_test(test_what_is_no_step_is_refused),
		cmocka_unit_test(test_the_relay_answers_only_what_it_was_asked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
