/* The resolver as a process: listeners that break its rules are named to the supervisor, and it goes
 * on. */
#include "test_program.h"

#include "common/ipc_listener_resolver.h"

static void
ask_for_name(struct peer *listener)
{
	struct ipc_resolve request = { .family = CLIENT_INET4, .address = { 127, 0, 0, 1 } };
	struct buf payload;
	unsigned answers = listener->answers;

	buf_init(&payload, 64);
	ipc_resolve_encode(&payload, &request);
	channel_send(listener->channel, LISTENER_RESOLVER_NAME, 8, 0, -1, &payload);
	buf_free(&payload);
	UNTIL(listener->answers > answers);
}

static void
a_listener_that_breaks_the_rules_is_named_and_no_other(void **state)
{
	struct peer first = { .program = PROGRAM_LISTENER, .instance = 0 };
	struct peer second = { .program = PROGRAM_LISTENER, .instance = 1 };
	struct config *config = config_new();
	struct channel *kept;

	(void)state;
	/* What DNS says here is not the question. */
	config->limits.resolver_time_ms = 100;
	start_program("resolver", config);
	connect_peer(&first);
	connect_peer(&second);
	ask_for_name(&first);
	kept = first.channel;
	assert_true(send_noise(&second, 6) > 6);
	assert_ptr_equal(first.channel, kept);
	ask_for_name(&first);
	ask_for_name(&second);
	stop_program();
	free_peer(&first);
	free_peer(&second);
	event_base_free(program.base);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_listener_that_breaks_the_rules_is_named_and_no_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
