/* The keeper as a process: listeners that break its rules are named to the supervisor, and it
 * goes on. */
#include "test_program.h"

#include "common/ipc_keeper.h"

/* A key that it hasn't got: words are an answer too. */
static void
ask(struct peer *listener)
{
	uint8_t digest[32] = { 1 };
	struct ipc_sign sign = { .kind = KEEPER_TLS,
		.algorithm = KEEPER_RSA_PSS_SHA256,
		.data = digest,
		.length = sizeof(digest) };
	struct buf payload;
	unsigned answers = listener->answers;

	buf_init(&payload, 200);
	ipc_sign_encode(&payload, &sign);
	channel_send(listener->channel, KEEPER_SIGN, 8, 0, -1, &payload);
	buf_free(&payload);
	UNTIL(listener->answers > answers);
	assert_int_equal(listener->last_type, KEEPER_REFUSED);
}

static void
a_listener_that_breaks_the_rules_is_named_and_no_other(void **state)
{
	struct peer first = { .program = PROGRAM_LISTENER, .instance = 0 };
	struct peer second = { .program = PROGRAM_LISTENER, .instance = 1 };
	struct channel *kept;

	(void)state;
	start_program("keeper", config_new());
	connect_peer(&first);
	connect_peer(&second);
	ask(&first);
	kept = first.channel;
	assert_true(send_noise(&second, 6) > 6);
	assert_ptr_equal(first.channel, kept);
	ask(&first);
	ask(&second);
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
