/*
 * What a program may say to the supervisor, and about which others.
 */
#include "test_smtpd_supervisor_fixture.h"

static void
a_child_that_says_what_is_not_its_to_say_is_restarted(void **state)
{
	struct fixture *f = *state;

	/* Those that talk to the queue hear of the new one. */
	await(f, "queue start", 2);
	await(f, "listener0 peer queue 0", 2);
	await(f, "directory peer queue 0", 2);
	await(f, "control peer queue 0", 2);
	assert_started_again(f, "bad type", "queue");
	assert_int_equal(count(f, "listener0 peer directory 0"), 1);
}

static void
only_the_queue_may_ask_for_an_mda(void **state)
{
	struct fixture *f = *state;

	await(f, "directory start", 2);
	assert_started_again(f, "no asker", "directory");
	assert_int_equal(count(f, "mda"), 0);
}

static void
a_request_out_of_range_costs_its_sender_a_restart(void **state)
{
	struct fixture *f = *state;

	await(f, "control start", 2);
	assert_started_again(f, "bad payload", "control");
}

static void
junk_instead_of_frames_costs_its_sender_a_restart(void **state)
{
	struct fixture *f = *state;

	await(f, "resolver start", 2);
	await(f, "listener0 peer resolver 0", 2);
	assert_started_again(f, "no header", "resolver");
	assert_int_equal(count(f, "queue peer directory 0"), 1);
}

static void
a_child_that_a_more_trusted_one_rejected_is_restarted(void **state)
{
	struct fixture *f = *state;

	f->nudged = PROGRAM_RESOLVER;
	await(f, "listener0 start", 2);
	await(f, "queue peer listener 0", 2);
	await(f, "directory peer listener 0", 2);
	await(f, "resolver peer listener 0", 2);
	assert_started_again(f, "judge listener", "listener0");
}

static void
control_is_restarted_when_the_queue_rejected_it_and_the_queue_lives_on(void **state)
{
	struct fixture *f = *state;

	f->nudged = PROGRAM_QUEUE;
	await(f, "control start", 2);
	await(f, "queue peer control 0", 2);
	await(f, "directory peer control 0", 2);
	assert_started_again(f, "judge control", "control");
}

static void
the_relay_is_restarted_when_the_queue_rejected_it(void **state)
{
	struct fixture *f = *state;

	f->nudged = PROGRAM_QUEUE;
	await(f, "relay start", 2);
	await(f, "queue peer relay 0", 2);
	assert_started_again(f, "judge relay", "relay");
}

static void
the_queue_is_restarted_when_the_directory_rejected_it(void **state)
{
	struct fixture *f = *state;

	f->nudged = PROGRAM_DIRECTORY;
	await(f, "queue start", 2);
	await(f, "directory peer queue 0", 2);
	assert_started_again(f, "judge queue", "queue");
}

/* What it says about one that it may not judge costs it its own life. */
static void
assert_judge_restarted(struct fixture *f, enum program judge, const char *test)
{
	char line[64];

	f->nudged = judge;
	snprintf(line, sizeof(line), "%s start", program_name(judge));
	await(f, line, 2);
	assert_started_again(f, test, program_name(judge));
}

static void
the_queue_can_not_have_the_directory_killed(void **state)
{
	assert_judge_restarted(*state, PROGRAM_QUEUE, "judge directory");
}

static void
control_can_not_have_the_queue_killed(void **state)
{
	assert_judge_restarted(*state, PROGRAM_CONTROL, "judge all");
}

static void
the_relay_can_not_have_the_queue_killed(void **state)
{
	assert_judge_restarted(*state, PROGRAM_RELAY, "relay judges");
}

static void
nobody_judges_its_like(void **state)
{
	assert_judge_restarted(*state, PROGRAM_DIRECTORY, "judge itself");
}

static void
a_listener_that_there_is_not_can_not_be_rejected(void **state)
{
	assert_judge_restarted(*state, PROGRAM_QUEUE, "judge nobody");
}

static void
the_relay_gets_the_sockets_of_the_configuration_alone(void **state)
{
	struct fixture *f = *state;
	char text[300];

	snprintf(text, sizeof(text),
	    "action \"a\" lmtp \"%s/socket\"\naction \"b\" lmtp \"%s/nothing\"", f->folder,
	    f->folder);
	write_config(f, text);
	await(f, "relay answer 54 ", 1);
	assert_int_equal(run(f, "sockets"), 0);
	assert_int_equal(count(f, "relay answer 51 yes socket: \n"), 1);
	assert_int_equal(count(f, "relay answer 52 no nothing: No such file or directory\n"), 1);
	assert_int_equal(count(f, "relay answer 53 no nothing: it is not in the configuration"), 1);
	assert_int_equal(count(f, "relay answer 54 no nothing: it is not in the configuration"), 1);
	assert_int_equal(count(f, "relay start"), 1);
}

static void
a_relative_path_costs_the_relay_a_restart(void **state)
{
	struct fixture *f = *state;

	await(f, "relay start", 2);
	assert_started_again(f, "bad socket", "relay");
}

static void
only_the_relay_may_ask_for_a_socket(void **state)
{
	struct fixture *f = *state;

	await(f, "resolver start", 2);
	await(f, "listener0 peer resolver 0", 2);
	assert_started_again(f, "no relay", "resolver");
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		WITH(a_child_that_says_what_is_not_its_to_say_is_restarted),
		WITH(only_the_queue_may_ask_for_an_mda),
		WITH(a_request_out_of_range_costs_its_sender_a_restart),
		WITH(junk_instead_of_frames_costs_its_sender_a_restart),
		WITH(a_child_that_a_more_trusted_one_rejected_is_restarted),
		WITH(control_is_restarted_when_the_queue_rejected_it_and_the_queue_lives_on),
		WITH(the_queue_is_restarted_when_the_directory_rejected_it),
		WITH(the_queue_can_not_have_the_directory_killed),
		WITH(control_can_not_have_the_queue_killed),
		WITH(the_relay_is_restarted_when_the_queue_rejected_it),
		WITH(the_relay_can_not_have_the_queue_killed),
		WITH(nobody_judges_its_like),
		WITH(a_listener_that_there_is_not_can_not_be_rejected),
		WITH(the_relay_gets_the_sockets_of_the_configuration_alone),
		WITH(a_relative_path_costs_the_relay_a_restart),
		WITH(only_the_relay_may_ask_for_a_socket),
	};
	int status = stand_in_by_name(argc, argv);

	return status != -1 ? status : cmocka_run_group_tests(tests, NULL, NULL);
}
