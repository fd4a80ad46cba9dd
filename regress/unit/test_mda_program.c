/*
 * The program itself, with a supervisor and a queue played by the test: what it answers, when it
 * ends, and that nothing the queue says makes it crash.
 */
#include "test_mda_fixture.h"

#include <sys/socket.h>
#include <sys/wait.h>
#include <libgen.h>
#include <poll.h>

#include <event2/event.h>

#include "common/config.h"
#include "common/ipc_supervisor.h"

#define TEXT "Subject: x\r\n\r\nline\r\n"

struct answer {
	uint16_t type;
	uint32_t id;
	struct ipc_delivered delivered;
	struct ipc_usage usage;
};

struct stage {
	struct fixture *fixture;
	struct event_base *base;
	struct channel *supervisor;
	struct channel *queue; /* NULL after it closed */
	pid_t pid;
	size_t wanted; /* the loop ends with so many answers, or when the queue's channel closes */
	size_t count;
	struct answer answers[128];
	bool configured;
	bool ready;
};

static void
on_supervisor(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct stage *stage = arg;

	(void)channel;
	stage->configured |= imsg->type == CHILD_SUPERVISOR_CONFIGURED;
	stage->ready |= imsg->type == CHILD_SUPERVISOR_READY;
}

static void
on_supervisor_closed(struct channel *channel, const char *why, void *arg)
{
	struct stage *stage = arg;

	(void)why;
	channel_free(channel);
	stage->supervisor = NULL;
}

static void
on_queue(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct stage *stage = arg;
	struct answer *answer = &stage->answers[stage->count++];
	struct buf_reader reader;

	(void)channel;
	answer->type = imsg->type;
	answer->id = imsg->id;
	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (imsg->type == MDA_QUEUE_DELIVERED)
		assert_true(ipc_delivered_decode(&reader, &answer->delivered));
	else {
		assert_int_equal(imsg->type, MDA_QUEUE_USAGE_DONE);
		assert_true(ipc_usage_decode(&reader, &answer->usage));
	}
	if (stage->count >= stage->wanted)
		event_base_loopbreak(stage->base);
}

static void
on_queue_closed(struct channel *channel, const char *why, void *arg)
{
	struct stage *stage = arg;

	(void)why;
	channel_free(channel);
	stage->queue = NULL;
	event_base_loopbreak(stage->base);
}

/* build/bin/mda, beside build/unit/test_mda_program */
static void
find_program(char *path, size_t size)
{
	char self[1024];
	ssize_t length = readlink("/proc/self/exe", self, sizeof(self) - 1);

	assert_int_not_equal(length, -1);
	self[length] = '\0';
	assert_in_range(snprintf(path, size, "%s/../bin/mda", dirname(self)), 1, size - 1);
	if (access(path, X_OK) == -1)
		skip();
}

static void
send_config(struct stage *stage)
{
	struct config *config = config_new();

	free(config->hostname);
	config->hostname = strdup("mx.example.org");
	channel_send(stage->supervisor, SUPERVISOR_CHILD_CONFIG, 1, 0, config_to_fd(config), NULL);
	config_free(config);
	channel_send(stage->supervisor, SUPERVISOR_CHILD_START, 2, 0, -1, NULL);
}

static struct stage *
start(struct fixture *fixture)
{
	static struct stage stage;
	int supervisor[2], queue[2];
	char path[1024], channel_text[16], queue_text[16];

	memset(&stage, 0, sizeof(stage));
	find_program(path, sizeof(path));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, supervisor), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, queue), 0);
	snprintf(channel_text, sizeof(channel_text), "%d", supervisor[1]);
	snprintf(queue_text, sizeof(queue_text), "%d", queue[1]);
	stage.pid = fork();
	if (stage.pid == 0) {
		close(supervisor[0]);
		close(queue[0]);
		execl(path, "mda", "-k", channel_text, "-l", "2", "-t", "stderr", "-n", "256", "-q",
		    queue_text, (char *)NULL);
		_exit(99);
	}
	assert_int_not_equal(stage.pid, -1);
	close(supervisor[1]);
	close(queue[1]);
	stage.fixture = fixture;
	stage.base = event_base_new();
	assert_int_equal(event_base_priority_init(stage.base, 2), 0);
	stage.supervisor = channel_new(
	    stage.base, "mda", supervisor[0], on_supervisor, on_supervisor_closed, &stage);
	stage.queue = channel_new(stage.base, "mda", queue[0], on_queue, on_queue_closed, &stage);
	return &stage;
}

/* Hands over one delivery as the queue does; `id` is request and envelope. */
static void
send_delivery(struct stage *stage, uint32_t id, void (*change)(struct ipc_deliver *))
{
	struct delivery *delivery = fixture_delivery(stage->fixture, id, TEXT);
	struct buf payload;

	if (change != NULL)
		change(&delivery->request);
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_deliver_encode(&payload, &delivery->request);
	channel_send(stage->queue, QUEUE_MDA_DELIVER, id, 0, dup(delivery->message), &payload);
	buf_free(&payload);
	delivery_free(delivery);
}

static void
wait_answers(struct stage *stage, size_t count)
{
	stage->wanted = count;
	if (stage->count < count)
		assert_int_not_equal(event_base_dispatch(stage->base), -1);
	assert_int_equal(stage->count, count);
}

/* Runs the loop until the queue's channel has closed, then buries the program. */
static void
wait_end(struct stage *stage)
{
	int status;

	stage->wanted = SIZE_MAX;
	if (stage->queue != NULL)
		assert_int_not_equal(event_base_dispatch(stage->base), -1);
	assert_null(stage->queue);
	assert_int_equal(waitpid(stage->pid, &status, 0), stage->pid);
	assert_int_equal(status, 0);
	channel_free(stage->supervisor);
	event_base_free(stage->base);
}

static void
deliveries_are_answered_and_it_ends_with_the_queue(void **state)
{
	struct stage *stage = start(*state);
	uint32_t id;
	int status;

	send_config(stage);
	for (id = 1; id <= 100; id++)
		send_delivery(stage, id, NULL);
	wait_answers(stage, 100);
	for (id = 0; id < 100; id++) {
		assert_int_equal(stage->answers[id].type, MDA_QUEUE_DELIVERED);
		assert_int_equal(stage->answers[id].delivered.envelope_id, stage->answers[id].id);
		assert_reply(&stage->answers[id].delivered.reply, 250, "2.1.5", "");
	}
	assert_true(stage->configured);
	assert_true(stage->ready);
	assert_int_equal(fixture_count(*state, "home/Maildir/new"), 100);
	channel_free(stage->queue);
	assert_int_equal(waitpid(stage->pid, &status, 0), stage->pid);
	assert_int_equal(status, 0);
	channel_free(stage->supervisor);
	event_base_free(stage->base);
}

static void
work_waits_for_the_config(void **state)
{
	struct stage *stage = start(*state);

	send_delivery(stage, 1, NULL);
	channel_flush(stage->queue);
	/* Not a proof that it never would, but it has had its chance. */
	assert_int_not_equal(event_base_loop(stage->base, EVLOOP_NONBLOCK), -1);
	assert_int_equal(stage->count, 0);
	send_config(stage);
	wait_answers(stage, 1);
	assert_non_null(strstr(stage->answers[0].delivered.file, ".mx.example.org,"));
	channel_send(stage->supervisor, SUPERVISOR_CHILD_STOP, 0, 0, -1, NULL);
	wait_end(stage);
}

static void
batch_in_hand_is_finished_when_the_queue_dies(void **state)
{
	struct stage *stage = start(*state);
	uint32_t id;
	int status;

	send_config(stage);
	for (id = 1; id <= 50; id++)
		send_delivery(stage, id, NULL);
	channel_free(stage->queue);
	channel_flush(stage->supervisor);
	assert_int_equal(waitpid(stage->pid, &status, 0), stage->pid);
	assert_int_equal(status, 0);
	assert_int_equal(fixture_count(*state, "home/Maildir/new"), 50);
	assert_int_equal(fixture_count(*state, "home/Maildir/tmp"), 0);
	channel_free(stage->supervisor);
	event_base_free(stage->base);
}

static void
sleep_long(struct ipc_deliver *request)
{
	request->kind = ENVELOPE_PIPE;
	strcpy(request->command, "exec sleep 1000");
}

static void
maildirs_do_not_wait_for_commands(void **state)
{
	struct stage *stage = start(*state);
	uint32_t id;

	send_config(stage);
	for (id = 1; id <= 20; id++)
		send_delivery(stage, id, sleep_long);
	send_delivery(stage, 21, NULL);
	wait_answers(stage, 1);
	assert_int_equal(stage->answers[0].id, 21);
	/* When the supervisor goes, so do they. */
	channel_free(stage->supervisor);
	stage->supervisor = NULL;
	wait_end(stage);
}

static void
give_quota(struct ipc_deliver *request)
{
	request->mailbox.quota_bytes = 1000;
}

static void
usage_is_answered(void **state)
{
	struct stage *stage = start(*state);
	struct delivery *delivery = fixture_delivery(*state, 1, TEXT);
	struct buf payload;

	send_config(stage);
	send_delivery(stage, 1, give_quota);
	wait_answers(stage, 1);
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	give_quota(&delivery->request);
	ipc_mailbox_encode(&payload, &delivery->request.mailbox);
	channel_send(stage->queue, QUEUE_MDA_USAGE, 7, 0, -1, &payload);
	wait_answers(stage, 2);
	assert_int_equal(stage->answers[1].type, MDA_QUEUE_USAGE_DONE);
	assert_int_equal(stage->answers[1].id, 7);
	assert_true(stage->answers[1].usage.known);
	assert_int_equal(stage->answers[1].usage.messages, 1);
	channel_send(stage->supervisor, SUPERVISOR_CHILD_STOP, 0, 0, -1, NULL);
	wait_end(stage);
	buf_free(&payload);
	delivery_free(delivery);
}

/* A frame of the queue's that isn't one: the channel ends, the program with it, in good order. */
static void
what_is_no_request_ends_the_channel(void **state)
{
	static const struct {
		uint16_t type;
		bool descriptor;
		const char *payload;
	} cases[] = {
		{ QUEUE_MDA_DELIVER, true, "junk" },
		{ QUEUE_MDA_DELIVER, false, "" },
		{ QUEUE_MDA_USAGE, false, "junk" },
		{ MDA_QUEUE_DELIVERED, false, "" },
		{ 999, false, "" },
		{ 0, true, "" },
	};
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct stage *stage = start(*state);
		struct buf payload;

		send_config(stage);
		buf_init(&payload, IMSG_PAYLOAD_MAX);
		buf_add_text(&payload, cases[i].payload);
		channel_send(stage->queue, cases[i].type, 1, 0,
		    cases[i].descriptor ? fixture_message(TEXT, strlen(TEXT)) : -1, &payload);
		buf_free(&payload);
		wait_end(stage);
		assert_int_equal(stage->count, 0);
	}
	assert_int_equal(fixture_count(*state, "home"), 0);
}

static void
delivery_without_a_message_ends_the_channel(void **state)
{
	struct delivery *delivery = fixture_delivery(*state, 1, TEXT);
	struct stage *stage;
	int ends[2], kind;

	/* None, and one that isn't a file: reading it could block for ever. */
	for (kind = 0; kind < 2; kind++) {
		struct buf payload;

		stage = start(*state);
		send_config(stage);
		assert_int_equal(pipe(ends), 0);
		buf_init(&payload, IMSG_PAYLOAD_MAX);
		ipc_deliver_encode(&payload, &delivery->request);
		channel_send(
		    stage->queue, QUEUE_MDA_DELIVER, 1, 0, kind == 0 ? -1 : dup(ends[0]), &payload);
		buf_free(&payload);
		wait_end(stage);
		close(ends[0]);
		close(ends[1]);
	}
	assert_int_equal(fixture_count(*state, "home"), 0);
	delivery_free(delivery);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(deliveries_are_answered_and_it_ends_with_the_queue),
		TEST(work_waits_for_the_config),
		TEST(batch_in_hand_is_finished_when_the_queue_dies),
		TEST(maildirs_do_not_wait_for_commands),
		TEST(usage_is_answered),
		TEST(what_is_no_request_ends_the_channel),
		TEST(delivery_without_a_message_ends_the_channel),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
