/*
 * The life of a suite: how it starts, reloads, restarts what died, and stops.
 */
#include "test_smtpd_supervisor_fixture.h"

static void
programs_are_connected_and_begin_in_order(void **state)
{
	struct fixture *f = *state;

	await(f, "listener0 start", 1);
	assert_int_equal(run(f, "nothing"), 0);
	assert_true(f->was_started);
	assert_int_equal(count(f, "queue config of first.example.test"), 1);
	assert_int_equal(count(f, "listener0 peer queue 0"), 1);
	assert_int_equal(count(f, "listener0 peer directory 0"), 1);
	assert_int_equal(count(f, "listener0 peer resolver 0"), 1);
	assert_int_equal(count(f, "listener0 peer control"), 0);
	assert_int_equal(count(f, "queue peer listener 0"), 1);
	assert_int_equal(count(f, "queue peer directory 0"), 1);
	assert_int_equal(count(f, "resolver peer queue"), 0);
	assert_int_equal(count(f, "control peer queue 0"), 1);
	/* Mail is taken when there is a queue to take it. */
	assert_true(position(f, "queue start") < position(f, "listener0 start"));
	assert_true(position(f, "directory start") < position(f, "listener0 start"));
	/* And at the end its way is cleared from the front. */
	assert_true(position(f, "listener0 stop") < position(f, "queue stop"));
	assert_true(position(f, "queue stop") < position(f, "directory stop"));
}

static void
a_killed_child_is_started_again(void **state)
{
	struct fixture *f = *state;

	await(f, "listener0 start", 2);
	await(f, "queue peer listener 0", 2);
	assert_started_again(f, "crash", "listener0");
}

static void
a_program_that_ends_before_it_is_ready_fails_the_start(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(run(f, "dead start"), 69);
	assert_false(f->was_started);
	assert_non_null(strstr(f->supervisor.why, "resolver"));
	assert_non_null(strstr(f->supervisor.why, "status 3"));
}

static void
an_mda_is_started_for_whom_mail_may_be_delivered_to(void **state)
{
	struct fixture *f = *state;

	await(f, "queue answer 9 yes socket", 1);
	await(f, "mda start", 1);
	assert_int_equal(run(f, "mda"), 0);
	assert_int_equal(count(f, "queue answer 7 no nothing: "), 1);
	assert_int_equal(count(f, "queue start"), 1);
	assert_int_equal(count(f, "mda stop"), 1);
}

static void
a_reload_is_answered_when_all_have_the_new_config(void **state)
{
	struct fixture *f = *state;

	f->config_later = "smtp hostname second.example.test";
	await(f, "control answer 21 yes", 1);
	assert_int_equal(run(f, "reload"), 0);
	assert_int_equal(count(f, "queue config of second.example.test"), 1);
	assert_int_equal(count(f, "listener0 start"), 2);
	assert_true(position(f, "listener0 start\n") < position(f, "control answer 21"));
	assert_int_equal(count(f, "control start"), 2);
}

static void
an_older_mda_of_the_same_owner_is_killed_after_a_while(void **state)
{
	struct fixture *f = *state;

	await(f, "queue answer 10 yes socket", 1);
	await(f, "queue saw the older mda end", 1);
	assert_int_equal(run(f, "older mda"), 0);
	assert_int_equal(count(f, "mda start"), 2);
	assert_int_equal(count(f, "mda stop"), 1);
}

static void
a_reload_that_not_all_confirm_names_who_does_not(void **state)
{
	struct fixture *f = *state;

	await(f, "control answer 21 no", 1);
	assert_int_equal(run(f, "no confirmation"), 0);
	assert_non_null(strstr(f->heard, "by: directory\n"));
}

/* The new control gets the answer to its own reload only. */
static void
a_reload_whose_asker_died_is_answered_to_nobody(void **state)
{
	struct fixture *f = *state;

	if (geteuid() == 0)
		skip(); /* since the reload, a new one would run as its own account, locked in */
	await(f, "control answer 34 yes", 1);
	assert_int_equal(run(f, "control dies"), 0);
	assert_int_equal(count(f, "control start"), 2);
	assert_int_equal(count(f, "control answer 21"), 0);
}

static void
all_the_descriptors_there_are_may_be_used(void **state)
{
	struct fixture *f = *state;
	struct rlimit limit;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_max <= 128)
		skip();
	limit.rlim_cur = 128;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
	await(f, "queue start", 1);
	assert_int_equal(run(f, "nothing"), 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	assert_true(limit.rlim_cur == limit.rlim_max);
}

static void
a_bad_config_is_refused_with_its_line_and_nothing_changes(void **state)
{
	struct fixture *f = *state;

	f->config_later = "smtp hostname second.example.test\nlissten on nowhere";
	await(f, "control answer 21 no", 1);
	assert_int_equal(run(f, "reload"), 0);
	assert_non_null(strstr(f->heard, "smtpd.conf:6: \"lissten\""));
	assert_int_equal(count(f, "queue config of first.example.test"), 1);
	assert_int_equal(count(f, "queue config of second.example.test"), 0);
}

static void
other_directories_take_a_restart(void **state)
{
	struct fixture *f = *state;

	f->config_later = "directory spool \"/elsewhere\"";
	await(f, "control answer 21 no", 1);
	assert_int_equal(run(f, "reload"), 0);
	assert_non_null(strstr(f->heard, "restart"));
	assert_int_equal(count(f, "queue config of"), 1);
}

static void
a_request_to_stop_stops(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(run(f, "stop"), 0);
	assert_int_equal(count(f, "control answer 41 yes"), 1);
	assert_int_equal(count(f, "queue stop"), 1);
}

static void
smtp_is_paused_and_resumed(void **state)
{
	struct fixture *f = *state;

	await(f, "control answer 34 yes nothing: running", 1);
	await(f, "listener0 resume", 1);
	assert_int_equal(run(f, "pause"), 0);
	assert_int_equal(count(f, "control answer 32 yes nothing: paused"), 1);
	assert_int_equal(count(f, "listener0 pause"), 1);
}

int
main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		WITH(programs_are_connected_and_begin_in_order),
		WITH(a_killed_child_is_started_again),
		WITH(a_program_that_ends_before_it_is_ready_fails_the_start),
		WITH(an_mda_is_started_for_whom_mail_may_be_delivered_to),
		WITH(a_reload_is_answered_when_all_have_the_new_config),
		WITH(an_older_mda_of_the_same_owner_is_killed_after_a_while),
		WITH(a_reload_that_not_all_confirm_names_who_does_not),
		WITH(a_reload_whose_asker_died_is_answered_to_nobody),
		WITH(all_the_descriptors_there_are_may_be_used),
		WITH(a_bad_config_is_refused_with_its_line_and_nothing_changes),
		WITH(other_directories_take_a_restart),
		WITH(a_request_to_stop_stops),
		WITH(smtp_is_paused_and_resumed),
	};
	int status = stand_in_by_name(argc, argv);

	return status != -1 ? status : cmocka_run_group_tests(tests, NULL, NULL);
}
