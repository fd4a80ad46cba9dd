/* The resolver as a process: peers that break its rules are named to the supervisor, and it goes
 * on. */
#include "test_program.h"

#include <bsd/string.h>

#include "common/ipc_listener_resolver.h"
#include "common/ipc_relay_resolver.h"

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

static void
ask_for_address(struct peer *relay)
{
	struct ipc_query query = { .kind = QUERY_ADDRESSES };
	struct buf payload;
	unsigned answers = relay->answers;

	/* Known without asking anybody. */
	strlcpy(query.name, "localhost", sizeof(query.name));
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_query_encode(&payload, &query);
	channel_send(relay->channel, RELAY_RESOLVER_QUERY, 8, 0, -1, &payload);
	buf_free(&payload);
	UNTIL(relay->answers > answers);
	assert_int_equal(relay->last_type, RESOLVER_RELAY_ANSWER);
}

static void
a_relay_that_breaks_the_rules_is_named_and_no_other(void **state)
{
	struct peer relay = { .program = PROGRAM_RELAY };
	struct peer listener = { .program = PROGRAM_LISTENER };
	struct config *config = config_new();
	struct channel *kept;

	(void)state;
	start_program("resolver", config);
	connect_peer(&relay);
	connect_peer(&listener);
	ask_for_address(&relay);
	kept = listener.channel;
	assert_true(send_noise(&relay, 6) > 6);
	assert_ptr_equal(listener.channel, kept);
	ask_for_address(&relay);
	ask_for_name(&listener);
	stop_program();
	free_peer(&relay);
	free_peer(&listener);
	event_base_free(program.base);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_listener_that_breaks_the_rules_is_named_and_no_other),
		cmocka_unit_test(a_relay_that_breaks_the_rules_is_named_and_no_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
