/* The queue as a process: peers that break its rules are named to the supervisor, and it goes on. */
#include "test_program.h"

#include "common/ipc_control.h"
#include "common/ipc_listener_queue.h"

static char spool[64];

static struct config *
make_config(void)
{
	struct config *config = config_new();

	strcpy(spool, "/tmp/test-queue-XXXXXX");
	assert_non_null(mkdtemp(spool));
	free(config->spool_directory);
	config->spool_directory = strdup(spool);
	config->queue_segment_size = 4 * 1024 * 1024;
	config->queue_free_percent = 0;
	return config;
}

static void
remove_spool(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf '%s'", spool);
	assert_int_equal(system(command), 0);
}

/* Both that it serves are served. */
static void
assert_serves(struct peer *control, struct peer *listener)
{
	unsigned answers = control->answers;
	struct buf payload;

	channel_send(control->channel, CONTROL_QUEUE_STATUS, 8, 0, -1, NULL);
	UNTIL(control->answers > answers);
	buf_init(&payload, 64);
	ipc_ids_request_encode(&payload, 1);
	channel_send(listener->channel, LISTENER_QUEUE_IDS, 9, 0, -1, &payload);
	buf_free(&payload);
	UNTIL(listener->last_type == QUEUE_LISTENER_IDS);
	listener->last_type = 0;
}

static void
a_control_that_breaks_the_rules_is_named_and_its_successor_served(void **state)
{
	struct peer control = { .program = PROGRAM_CONTROL };
	struct peer listener = { .program = PROGRAM_LISTENER };
	struct channel *kept;

	(void)state;
	start_program("queue", make_config());
	connect_peer(&control);
	connect_peer(&listener);
	assert_serves(&control, &listener);
	kept = listener.channel;
	assert_true(send_noise(&control, 20) > 20);
	assert_ptr_equal(listener.channel, kept);
	assert_serves(&control, &listener);
	stop_program();
	free_peer(&control);
	free_peer(&listener);
	event_base_free(program.base);
	remove_spool();
}

/* Nobody is to blame for a process that ended. */
static void
a_control_that_ends_is_not_named(void **state)
{
	struct peer control = { .program = PROGRAM_CONTROL };
	struct peer listener = { .program = PROGRAM_LISTENER };

	(void)state;
	start_program("queue", make_config());
	connect_peer(&control);
	connect_peer(&listener);
	channel_free(control.channel);
	control.channel = NULL;
	connect_peer(&control);
	assert_serves(&control, &listener);
	assert_int_equal(program.rejected, 0);
	stop_program();
	free_peer(&control);
	free_peer(&listener);
	event_base_free(program.base);
	remove_spool();
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_control_that_breaks_the_rules_is_named_and_its_successor_served),
		cmocka_unit_test(a_control_that_ends_is_not_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
