/*
 * What a child does with the supervisor's frames: each reaches its callback decoded, is answered,
 * and one that can't be used is the program's to judge.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sys/socket.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/child_supervisor.h"
#include "common/log.h"

static struct {
	struct event_base *base;
	struct channel *supervisor; /* the other end */
	struct child_supervisor child;
	char calls[256]; /* what was called, in order */
	uint16_t answer; /* the last */
	uint32_t answer_id;
	bool refuses;
} stage;

static void
note(const char *word)
{
	assert_true(strlen(stage.calls) + strlen(word) + 2 < sizeof(stage.calls));
	strcat(strcat(stage.calls, word), " ");
}

static void
config(struct config *config)
{
	note(config->hostname);
	config_free(config);
}

static bool
peer(const struct ipc_peer *named, int fd)
{
	note(program_name(named->program));
	if (stage.refuses)
		return false;
	close(fd);
	return true;
}

static bool
start(uint32_t listeners)
{
	note(listeners == 3 ? "start" : "start-without-number");
	return !stage.refuses;
}

static void
stop(void)
{
	note("stop");
}

static void
unusable(struct channel *channel, const struct imsg *imsg, const char *why)
{
	(void)channel;
	(void)imsg;
	(void)why;
	note("unusable");
}

static void
gone(void)
{
	note("gone");
	event_base_loopbreak(stage.base);
}

static void
on_answer(struct channel *channel, struct imsg *imsg, void *arg)
{
	(void)channel;
	(void)arg;
	stage.answer = imsg->type;
	stage.answer_id = imsg->id;
}

static void
on_closed(struct channel *channel, const char *why, void *arg)
{
	(void)channel;
	(void)why;
	(void)arg;
}

static void
open_stage(const struct child_orders *orders)
{
	struct child child = { .name = "test" };
	int ends[2];

	memset(&stage, 0, sizeof(stage));
	stage.base = child_event_base();
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	stage.supervisor = channel_new(stage.base, "child", ends[0], on_answer, on_closed, NULL);
	child.channel_fd = ends[1];
	child_supervisor_open(&stage.child, stage.base, &child, orders);
}

static void
close_stage(void)
{
	child_supervisor_close(&stage.child);
	channel_free(stage.supervisor);
	event_base_free(stage.base);
}

/* Sends one frame, runs until nothing is left to do, and expects these calls and this answer. */
static void
expect(uint16_t type, int fd, const struct buf *payload, const char *calls, uint16_t answer)
{
	int turns;

	stage.calls[0] = '\0';
	stage.answer = 0;
	channel_send(stage.supervisor, type, 7, 0, fd, payload);
	for (turns = 0; turns < 8; turns++)
		assert_int_not_equal(event_base_loop(stage.base, EVLOOP_NONBLOCK), -1);
	assert_string_equal(stage.calls, calls);
	assert_int_equal(stage.answer, answer);
	if (answer != 0)
		assert_int_equal(stage.answer_id, 7);
}

static int
a_config(void)
{
	struct config *sent = config_new();
	int fd;

	assert_non_null(sent);
	free(sent->hostname);
	sent->hostname = strdup("mx.example.test");
	assert_non_null(sent->hostname);
	fd = config_to_fd(sent);
	config_free(sent);
	return fd;
}

static int
a_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static const struct child_orders orders = {
	.config = config,
	.peer = peer,
	.start = start,
	.stop = stop,
	.unusable = unusable,
	.gone = gone,
};

static void
frames_are_decoded_and_answered(void **state)
{
	struct ipc_peer named = { .program = PROGRAM_QUEUE };
	struct ipc_start told = { .listeners = 3 };
	struct ipc_log log = { .verbose = true, .trace = LOG_TRACE_MDA };
	struct buf payload;

	(void)state;
	open_stage(&orders);
	buf_init(&payload, 64);
	expect(SUPERVISOR_CHILD_CONFIG, a_config(), NULL, "mx.example.test ",
	    CHILD_SUPERVISOR_CONFIGURED);
	ipc_peer_encode(&payload, &named);
	expect(SUPERVISOR_CHILD_PEER, a_socket(), &payload, "queue ", 0);
	buf_clear(&payload);
	ipc_start_encode(&payload, &told);
	expect(SUPERVISOR_CHILD_START, -1, &payload, "start ", CHILD_SUPERVISOR_READY);
	buf_clear(&payload);
	ipc_log_encode(&payload, &log);
	expect(SUPERVISOR_CHILD_LOG, -1, &payload, "", 0);
	assert_true(log_is_traced(LOG_TRACE_MDA));
	expect(SUPERVISOR_CHILD_STOP, -1, NULL, "stop ", 0);
	log_set_trace(0);
	buf_free(&payload);
	close_stage();
}

static void
frames_that_cannot_be_used_are_not_answered(void **state)
{
	struct ipc_peer named = { .program = PROGRAM_QUEUE };
	struct buf payload;

	(void)state;
	open_stage(&orders);
	buf_init(&payload, 64);
	expect(SUPERVISOR_CHILD_CONFIG, -1, NULL, "unusable ", 0);
	expect(SUPERVISOR_CHILD_CONFIG, a_socket(), NULL, "unusable ", 0);
	expect(SUPERVISOR_CHILD_PEER, a_socket(), NULL, "unusable ", 0);
	ipc_peer_encode(&payload, &named);
	expect(SUPERVISOR_CHILD_PEER, -1, &payload, "unusable ", 0);
	expect(SUPERVISOR_CHILD_LISTEN, a_socket(), NULL, "unusable ", 0);
	expect(SUPERVISOR_CHILD_LOG, -1, NULL, "unusable ", 0);
	expect(SUPERVISOR_CHILD_PAUSE, -1, NULL, "unusable ", 0);
	expect(SUPERVISOR_CONTROL_DONE, -1, NULL, "unusable ", 0);
	expect(CHILD_SUPERVISOR_READY, -1, NULL, "unusable ", 0);
	stage.refuses = true;
	expect(SUPERVISOR_CHILD_PEER, a_socket(), &payload, "queue unusable ", 0);
	expect(SUPERVISOR_CHILD_START, -1, NULL, "start-without-number unusable ", 0);
	buf_free(&payload);
	close_stage();
}

static void
a_program_with_few_callbacks_is_configured_and_ready(void **state)
{
	const struct child_orders few = { .stop = stop, .gone = gone };

	(void)state;
	open_stage(&few);
	expect(SUPERVISOR_CHILD_CONFIG, a_config(), NULL, "", CHILD_SUPERVISOR_CONFIGURED);
	expect(SUPERVISOR_CHILD_START, -1, NULL, "", CHILD_SUPERVISOR_READY);
	expect(SUPERVISOR_CHILD_PAUSE, -1, NULL, "gone ", 0);
	assert_true(channel_was_rejected(stage.child.channel));
	close_stage();
}

static void
a_supervisor_that_is_gone_is_noticed(void **state)
{
	(void)state;
	open_stage(&orders);
	channel_free(stage.supervisor);
	stage.supervisor = NULL;
	assert_int_not_equal(event_base_dispatch(stage.base), -1);
	assert_string_equal(stage.calls, "gone ");
	close_stage();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frames_are_decoded_and_answered),
		cmocka_unit_test(frames_that_cannot_be_used_are_not_answered),
		cmocka_unit_test(a_program_with_few_callbacks_is_configured_and_ready),
		cmocka_unit_test(a_supervisor_that_is_gone_is_noticed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
