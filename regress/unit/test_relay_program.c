/* The relay as a process: tasks are answered, taken back and forgotten; a peer that breaks the rules
 * ends it, so that it is started again. */
#include "test_program.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sysexits.h>

#include <bsd/string.h>

#include "common/ipc_queue_relay.h"
#include "common/ipc_relay_directory.h"
#include "common/ipc_relay_resolver.h"
#include "common/memory_file.h"

/* A port of loopback where nobody listens; or somebody who never says a word, by `*fd`. */
static unsigned
make_port(int *fd)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof(address);
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(s, (struct sockaddr *)&address, sizeof(address)), 0);
	assert_int_equal(getsockname(s, (struct sockaddr *)&address, &length), 0);
	if (fd == NULL) {
		close(s);
	} else {
		assert_int_equal(listen(s, 16), 0);
		*fd = s;
	}
	return ntohs(address.sin_port);
}

static void
start_relay(unsigned port)
{
	struct config *config = config_new();
	struct action_config *action = calloc(1, sizeof(*action));
	char host[64];

	assert_non_null(action);
	snprintf(host, sizeof(host), "smtp+notls://127.0.0.1:%u", port);
	action->name = strdup("out");
	action->method = ACTION_RELAY;
	action->relay_hosts = strdup(host);
	config_complete_action(action);
	free(config->hostname);
	config->hostname = strdup("relay.test");
	config->actions = action;
	config->action_count = 1;
	start_program("relay", config);
}

static void
submit(struct peer *queue, uint32_t id, uint32_t recipients)
{
	struct ipc_relay_message message = { .message_id = 1, .recipients = recipients, .size = 3 };
	struct ipc_relay_rcpt rcpt = { .envelope_id = 0 };
	struct buf payload;

	strlcpy(message.action, "out", sizeof(message.action));
	strlcpy(message.domain, "far.test", sizeof(message.domain));
	strlcpy(rcpt.dest.local, "x", sizeof(rcpt.dest.local));
	strlcpy(rcpt.dest.domain, "far.test", sizeof(rcpt.dest.domain));
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_relay_message_encode(&payload, &message);
	channel_send(queue->channel, QUEUE_RELAY_MESSAGE, id, 0, memory_file_make("m", "x\r\n", 3),
	    &payload);
	for (uint32_t i = 0; i < recipients; i++) {
		buf_clear(&payload);
		rcpt.envelope_id++;
		ipc_relay_rcpt_encode(&payload, &rcpt);
		channel_send(queue->channel, QUEUE_RELAY_RCPT, id, 0, -1, &payload);
	}
	buf_free(&payload);
}

static void
a_task_has_a_result_for_each_recipient_and_an_end(void **state)
{
	struct peer queue = { .program = PROGRAM_QUEUE };

	(void)state;
	start_relay(make_port(NULL));
	connect_peer(&queue);
	submit(&queue, 5, 3);
	UNTIL(queue.answers == 4);
	assert_int_equal(queue.last_type, RELAY_QUEUE_DONE);
	stop_program();
	free_peer(&queue);
	event_base_free(program.base);
}

static void
a_task_that_waits_is_taken_back(void **state)
{
	struct peer queue = { .program = PROGRAM_QUEUE };
	int silent;

	(void)state;
	start_relay(make_port(&silent));
	connect_peer(&queue);
	submit(&queue, 5, 2);
	channel_send(queue.channel, QUEUE_RELAY_CANCEL, 4, 0, -1, NULL); /* none such */
	channel_send(queue.channel, QUEUE_RELAY_CANCEL, 5, 0, -1, NULL);
	UNTIL(queue.answers == 3);
	assert_int_equal(queue.last_type, RELAY_QUEUE_DONE);
	free_peer(&queue);
	kill(program.pid, SIGKILL);
	waitpid(program.pid, NULL, 0);
	channel_free(program.supervisor);
	event_base_free(program.base);
	close(silent);
}

static void
a_queue_that_died_leaves_nothing_to_the_next(void **state)
{
	struct peer queue = { .program = PROGRAM_QUEUE };

	(void)state;
	start_relay(make_port(NULL));
	connect_peer(&queue);
	submit(&queue, 5, 2);
	connect_peer(&queue); /* in its place */
	queue.answers = 0;
	submit(&queue, 5, 1);
	UNTIL(queue.answers == 2);
	assert_int_equal(queue.last_type, RELAY_QUEUE_DONE);
	stop_program();
	free_peer(&queue);
	event_base_free(program.base);
}

static void
ends_when_told_nonsense_by(enum program other, uint16_t type)
{
	struct peer peer = { .program = other };
	struct buf payload;
	int status;

	start_relay(make_port(NULL));
	connect_peer(&peer);
	buf_init(&payload, 64);
	buf_add_text(&payload, "nonsense");
	channel_send(peer.channel, type, 1, 0, -1, &payload);
	buf_free(&payload);
	UNTIL(program.supervisor == NULL && peer.channel == NULL);
	assert_int_equal(waitpid(program.pid, &status, 0), program.pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == EX_SOFTWARE);
	event_base_free(program.base);
}

static void
a_peer_that_breaks_the_rules_ends_it(void **state)
{
	(void)state;
	ends_when_told_nonsense_by(PROGRAM_QUEUE, QUEUE_RELAY_MESSAGE);
	ends_when_told_nonsense_by(PROGRAM_QUEUE, QUEUE_RELAY_RCPT);
	ends_when_told_nonsense_by(PROGRAM_QUEUE, RELAY_QUEUE_DONE);
	ends_when_told_nonsense_by(PROGRAM_RESOLVER, RESOLVER_RELAY_ANSWER);
	ends_when_told_nonsense_by(PROGRAM_DIRECTORY, DIRECTORY_RELAY_FOUND);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_task_has_a_result_for_each_recipient_and_an_end),
		cmocka_unit_test(a_task_that_waits_is_taken_back),
		cmocka_unit_test(a_queue_that_died_leaves_nothing_to_the_next),
		cmocka_unit_test(a_peer_that_breaks_the_rules_ends_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
