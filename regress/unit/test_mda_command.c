/*
 * Commands: what they are given, what their end means, and that nothing of them stays. The runner
 * is tested with a real event loop and real processes.
 */
#include "test_mda_fixture.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <signal.h>
#include <sysexits.h>

#include <event2/event.h>

#include "common/clock.h"
#include "deliver/command.h"
#include "deliver/runner.h"

#define TEXT "Subject: x\r\n\r\nline\r\n"
#define FROM "From sender@client.test  "

struct outcome {
	struct event_base *base;
	size_t wanted;
	size_t count;
	struct ipc_delivered results[64];
};

static void
done(struct delivery *delivery, void *arg)
{
	struct outcome *outcome = arg;

	outcome->results[outcome->count++] = delivery->result;
	delivery_free(delivery);
	if (outcome->count == outcome->wanted)
		event_base_loopexit(outcome->base, NULL);
}

static struct delivery *
make_pipe(struct fixture *fixture, const char *command, const char *text)
{
	struct delivery *delivery = fixture_delivery(fixture, 1, text);

	delivery->request.kind = ENVELOPE_PIPE;
	snprintf(delivery->request.command, sizeof(delivery->request.command), "%s", command);
	return delivery;
}

/* Runs one command through a runner; static result. */
static const struct reply *
run_delivery(struct delivery *delivery, unsigned seconds)
{
	static struct outcome outcome;
	struct runner *runner;

	memset(&outcome, 0, sizeof(outcome));
	outcome.base = event_base_new();
	outcome.wanted = 1;
	assert_non_null(outcome.base);
	runner = runner_new(outcome.base, seconds, done, &outcome);
	runner_set_delimiters(runner, "+");
	runner_start(runner, delivery);
	if (outcome.count == 0)
		assert_int_equal(event_base_dispatch(outcome.base), 0);
	assert_int_equal(outcome.count, 1);
	assert_int_equal(runner_count(runner), 0);
	runner_free(runner);
	event_base_free(outcome.base);
	return &outcome.results[0].reply;
}

static const struct reply *
run(struct fixture *fixture, const char *command)
{
	return run_delivery(make_pipe(fixture, command, TEXT), 20);
}

static void
command_reads_the_message_with_its_fields(void **state)
{
	const char *text;

	assert_reply(run(*state, "cat >message"), 250, "2.1.5", "delivered to command");
	text = fixture_read(*state, "home/message");
	assert_memory_equal(text, FROM, strlen(FROM));
	assert_string_equal(strchr(text, '\n') + 1,
	    "Return-Path: <sender@client.test>\nDelivered-To: user@example.test\n"
	    "Subject: x\n\nline\n");
}

static void
environment_is_the_mails_and_nothing_of_ours(void **state)
{
	struct fixture *fixture = *state;
	char expected[1024];

	assert_int_equal(setenv("SECRET", "x", 1), 0);
	assert_reply(
	    run(fixture, "env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= | sort >env"), 250, "2.1.5", "");
	snprintf(expected, sizeof(expected),
	    "DOMAIN=example.test\nEXTENSION=x\nHOME=%s\nLOCAL=user\nLOGNAME=user\n"
	    "ORIGINAL_RECIPIENT=user+x@example.test\nPATH=/usr/local/bin:/usr/bin:/bin\n"
	    "RECIPIENT=user@example.test\nSENDER=sender@client.test\nSHELL=/bin/sh\nUSER=user\n",
	    fixture->home);
	assert_string_equal(fixture_read(fixture, "home/env"), expected);
}

/* What a peer says is a value, never a piece of the command. */
static void
sender_that_looks_like_a_command_is_not_run(void **state)
{
	struct fixture *fixture = *state;
	struct delivery *delivery = make_pipe(fixture, "echo \"$SENDER\" >sender", TEXT);

	assert_int_equal(
	    address_parse("\"$(touch hit);`touch hit`\"@client.test", 0, &delivery->request.sender),
	    ADDRESS_OK);
	assert_reply(run_delivery(delivery, 20), 250, "2.1.5", "");
	assert_string_equal(
	    fixture_read(fixture, "home/sender"), "\"$(touch hit);`touch hit`\"@client.test\n");
	assert_int_equal(fixture_count(fixture, "home"), 1);
}

static void
control_bytes_do_not_reach_the_environment(void **state)
{
	struct fixture *fixture = *state;
	struct delivery *delivery = make_pipe(fixture, "echo \"$SENDER\" >sender", TEXT);

	strcpy(delivery->request.sender.local, "a\nb\x1b\x7f");
	assert_reply(run_delivery(delivery, 20), 250, "2.1.5", "");
	assert_null(strpbrk(fixture_read(fixture, "home/sender"), "\x1b\x7f"));
	assert_string_equal(strchr(fixture_read(fixture, "home/sender"), '\n'), "\n");
}

static void
exit_status_becomes_an_enhanced_code(void **state)
{
	static const struct {
		int status;
		unsigned code;
		const char *enhanced;
	} cases[] = {
		{ EX_USAGE, 550, "5.3.0" },
		{ EX_DATAERR, 550, "5.6.0" },
		{ EX_NOUSER, 550, "5.1.1" },
		{ EX_UNAVAILABLE, 550, "5.3.0" },
		{ EX_OSERR, 451, "4.3.0" },
		{ EX_CANTCREAT, 451, "4.2.0" },
		{ EX_IOERR, 451, "4.3.0" },
		{ EX_TEMPFAIL, 451, "4.3.0" },
		{ EX_NOPERM, 550, "5.7.0" },
		{ EX_CONFIG, 451, "4.3.5" },
		{ 1, 550, "5.3.0" },
		{ 127, 451, "4.3.5" },
		{ 255, 550, "5.3.0" },
	};
	char command[64], words[64];
	size_t i;

	for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(command, sizeof(command), "cat >/dev/null; exit %d", cases[i].status);
		snprintf(words, sizeof(words), "(exit status %d)", cases[i].status);
		assert_reply(run(*state, command), cases[i].code, cases[i].enhanced, words);
	}
}

static void
missing_command_waits_for_the_administrator(void **state)
{
	assert_reply(run(*state, "/nonexistent/filter"), 451, "4.3.5", "it was not found");
}

static void
end_by_a_signal_is_temporary(void **state)
{
	assert_reply(run(*state, "kill -SEGV $$"), 451, "4.3.0", "ended by signal 11");
}

/* The shell ends by itself and says so by its status, as when memory is out for what it ran. */
static void
death_of_what_the_shell_ran_is_temporary(void **state)
{
	assert_reply(
	    run(*state, "sh -c 'kill -KILL $$' && :"), 451, "4.3.0", "was ended by signal 9");
	assert_reply(run(*state, "exit 128"), 550, "5.3.0", "(exit status 128)");
	assert_reply(run(*state, "exit 193"), 550, "5.3.0", "(exit status 193)");
}

static void
limits_that_are_lower_already_stay(void **state)
{
	const struct rlimit low = { .rlim_cur = 100, .rlim_max = 100 };
	pid_t pid = fork();
	int status;

	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		if (setrlimit(RLIMIT_NOFILE, &low) == -1 || setrlimit(RLIMIT_CPU, &low) == -1)
			_exit(2);
		_exit(run_delivery(make_pipe(*state, "test $(ulimit -n) = 100", TEXT), 300)->code !=
		    250);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static void
first_line_of_output_explains_the_failure(void **state)
{
	const struct reply *reply =
	    run(*state, "printf 'no\\033 such\\rlist\\nsecond line\\n' >&2; exit 67");

	assert_reply(reply, 550, "5.1.1", ": no? such?list");
	assert_string_equal(strrchr(reply->text, ':'), ": no? such?list");
	assert_reply(run(*state, "printf '\\r\\n\\nwords\\n'; exit 67"), 550, "5.1.1", ": words");
}

static void
command_that_never_reads_has_its_own_status_count(void **state)
{
	char *text = malloc(1000001);

	assert_non_null(text);
	memset(text, 'x', 1000000);
	text[1000000] = '\0';
	assert_reply(run_delivery(make_pipe(*state, "exit 0", text), 20), 250, "2.1.5", "");
	assert_reply(
	    run_delivery(make_pipe(*state, "exec <&-; exit 75", text), 20), 451, "4.3.0", "75");
	free(text);
}

static void
large_message_is_read_whole(void **state)
{
	char *text = malloc(3000001);

	assert_non_null(text);
	memset(text, 'x', 3000000);
	text[3000000] = '\0';
	assert_reply(
	    run_delivery(make_pipe(*state, "sleep 0.1; wc -c >count", text), 20), 250, "2.1.5", "");
	assert_int_equal(atoi(fixture_read(*state, "home/count")),
	    strlen(FROM) + strlen("Thu Jan  1 00:00:00 1970\n") + 3000066);
	free(text);
}

static void
command_that_writes_much_is_drained(void **state)
{
	assert_reply(run(*state, "head -c 200000000 /dev/zero; exit 67"), 550, "5.1.1", "");
}

static void
command_that_sleeps_for_ever_is_ended(void **state)
{
	int64_t start = clock_monotonic_ms();

	assert_reply(run_delivery(make_pipe(*state, "echo $$ >pid; exec sleep 1000", TEXT), 1), 451,
	    "4.3.0", "took too long");
	assert_in_range(clock_monotonic_ms() - start, 900, 4000);
	assert_int_equal(kill(atoi(fixture_read(*state, "home/pid")), 0), -1);
	assert_int_equal(errno, ESRCH);
}

static bool
is_alive(pid_t pid)
{
	char path[64], state = '\0';
	FILE *stat;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	stat = fopen(path, "re");
	if (stat == NULL)
		return false;
	if (fscanf(stat, "%*d %*s %c", &state) != 1)
		state = '\0';
	fclose(stat);
	/* Dead, but not yet buried by its last parent. */
	return state != 'Z' && state != 'X' && state != '\0';
}

static void
children_left_behind_are_killed(void **state)
{
	pid_t group, session;

	assert_reply(run(*state,
	                 "sleep 1000 & echo $! >group; "
	                 "setsid sh -c 'echo $$ >session; exec sleep 1000' & "
	                 "until test -s session; do sleep 0.01; done; exit 0"),
	    250, "2.1.5", "");
	group = atoi(fixture_read(*state, "home/group"));
	session = atoi(fixture_read(*state, "home/session"));
	assert_in_range(group, 2, INT32_MAX);
	assert_in_range(session, 2, INT32_MAX);
	assert_false(is_alive(group));
	assert_false(is_alive(session));
}

static void
text_cut_short_is_not_taken_for_a_whole_one(void **state)
{
	struct delivery *delivery = make_pipe(*state, "cat >/dev/null", TEXT);

	delivery->request.size += 10;
	assert_reply(run_delivery(delivery, 20), 451, "4.3.0", "");
}

/* Also when the failure comes before the command is more than a fork of this process. */
static void
text_that_cannot_be_read_is_never_ended_for_the_command(void **state)
{
	for (int i = 0; i < 40; i++) {
		struct delivery *delivery = make_pipe(*state, "cat >/dev/null; echo >whole", "");

		/* Reading fails at once: a directory. */
		close(delivery->message);
		delivery->message = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		delivery->request.size = 10;
		assert_reply(run_delivery(delivery, 20), 451, "4.3.0", "");
		assert_int_equal(access(fixture_path(*state, "home/whole"), F_OK), -1);
	}
}

static void
no_descriptor_of_ours_reaches_the_command(void **state)
{
	int ours = open("/dev/null", O_RDONLY); /* not close-on-exec */

	assert_int_not_equal(ours, -1);
	/* ls has one of its own, for the directory. */
	assert_reply(run(*state, "ls /proc/self/fd >fds"), 250, "2.1.5", "");
	assert_string_equal(fixture_read(*state, "home/fds"), "0\n1\n2\n3\n");
	close(ours);
}

static void
commands_run_side_by_side_and_the_rest_wait(void **state)
{
	static struct outcome outcome;
	struct fixture *fixture = *state;
	struct runner *runner;
	int64_t start = clock_monotonic_ms();
	size_t i;

	memset(&outcome, 0, sizeof(outcome));
	outcome.base = event_base_new();
	outcome.wanted = 40;
	runner = runner_new(outcome.base, 20, done, &outcome);
	for (i = 0; i < 40; i++)
		runner_start(runner, make_pipe(fixture, "sleep 0.2", TEXT));
	assert_int_equal(runner_count(runner), 40);
	assert_int_equal(event_base_dispatch(outcome.base), 0);
	assert_int_equal(outcome.count, 40);
	for (i = 0; i < 40; i++)
		assert_reply(&outcome.results[i].reply, 250, "2.1.5", "");
	/* One after another they would take 8 s. */
	assert_in_range(clock_monotonic_ms() - start, 600, 7000);
	runner_free(runner);
	event_base_free(outcome.base);
}

/* The queue would take an mda that answers for none of them for a stuck one. */
static void
who_waits_too_long_for_others_commands_is_put_off(void **state)
{
	static struct outcome outcome;
	struct fixture *fixture = *state;
	struct runner *runner;
	size_t i, ended = 0, put_off = 0;

	memset(&outcome, 0, sizeof(outcome));
	outcome.base = event_base_new();
	outcome.wanted = 20;
	runner = runner_new(outcome.base, 1, done, &outcome);
	for (i = 0; i < 20; i++)
		runner_start(runner, make_pipe(fixture, "exec sleep 1000", TEXT));
	assert_int_equal(event_base_dispatch(outcome.base), 0);
	for (i = 0; i < outcome.count; i++) {
		assert_int_equal(outcome.results[i].reply.code, 451);
		ended += strstr(outcome.results[i].reply.text, "took too long") != NULL;
		put_off += strstr(outcome.results[i].reply.text, "must wait") != NULL;
	}
	assert_int_equal(ended, 16);
	assert_int_equal(put_off, 4);
	runner_free(runner);
	event_base_free(outcome.base);
}

static void
commands_die_with_the_runner(void **state)
{
	static struct outcome outcome;
	struct fixture *fixture = *state;
	struct runner *runner;
	pid_t pids[3];

	memset(&outcome, 0, sizeof(outcome));
	outcome.base = event_base_new();
	runner = runner_new(outcome.base, 20, done, &outcome);
	runner_start(runner,
	    make_pipe(fixture,
	        "sleep 1000 & setsid sleep 1000 & echo $$ $! $(pgrep -P $$ -o) >pids; mv pids all; "
	        "sleep 1000; :",
	        TEXT));
	while (access(fixture_path(fixture, "home/all"), F_OK) == -1)
		usleep(1000);
	assert_int_equal(
	    sscanf(fixture_read(fixture, "home/all"), "%d %d %d", &pids[0], &pids[1], &pids[2]), 3);
	for (size_t i = 0; i < 3; i++)
		assert_true(is_alive(pids[i]));
	runner_free(runner);
	for (size_t i = 0; i < 3; i++)
		assert_false(is_alive(pids[i]));
	assert_int_equal(outcome.count, 0);
	event_base_free(outcome.base);
}

/* Of this process, the only one. */
static pid_t
child(void)
{
	char path[64];
	FILE *list;
	int pid = 0;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	list = fopen(path, "re");
	assert_non_null(list);
	assert_int_equal(fscanf(list, "%d", &pid), 1);
	fclose(list);
	return pid;
}

/* Something that it left behind may read on when the job and the command itself are dead. */
static void
what_a_command_reads_is_whole_whoever_dies(void **state)
{
	static struct outcome outcome;
	static char text[256 * 1024]; /* more than a pipe holds */
	struct fixture *fixture = *state;
	struct runner *runner;
	struct stat info;

	memset(text, 'x', sizeof(text) - 1);
	memset(&outcome, 0, sizeof(outcome));
	outcome.base = event_base_new();
	runner = runner_new(outcome.base, 20, done, &outcome);
	runner_start(runner,
	    make_pipe(fixture,
	        "exec 3<&0; { while [ ! -e go ]; do sleep 0.02; done; cat <&3 >part; mv part "
	        "whole; } & "
	        "echo >begun; wait",
	        text));
	while (access(fixture_path(fixture, "home/begun"), F_OK) == -1)
		usleep(1000);
	assert_int_equal(kill(child(), SIGKILL), 0);
	runner_free(runner);
	assert_int_not_equal(open(fixture_path(fixture, "home/go"), O_CREAT | O_CLOEXEC, 0644), -1);
	while (stat(fixture_path(fixture, "home/whole"), &info) == -1)
		usleep(1000);
	assert_true(info.st_size > (off_t)strlen(text));
	event_base_free(outcome.base);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(command_reads_the_message_with_its_fields),
		TEST(environment_is_the_mails_and_nothing_of_ours),
		TEST(sender_that_looks_like_a_command_is_not_run),
		TEST(control_bytes_do_not_reach_the_environment),
		TEST(exit_status_becomes_an_enhanced_code),
		TEST(missing_command_waits_for_the_administrator),
		TEST(end_by_a_signal_is_temporary),
		TEST(death_of_what_the_shell_ran_is_temporary),
		TEST(limits_that_are_lower_already_stay),
		TEST(first_line_of_output_explains_the_failure),
		TEST(command_that_never_reads_has_its_own_status_count),
		TEST(large_message_is_read_whole),
		TEST(command_that_writes_much_is_drained),
		TEST(command_that_sleeps_for_ever_is_ended),
		TEST(children_left_behind_are_killed),
		TEST(text_cut_short_is_not_taken_for_a_whole_one),
		TEST(text_that_cannot_be_read_is_never_ended_for_the_command),
		TEST(no_descriptor_of_ours_reaches_the_command),
		TEST(commands_run_side_by_side_and_the_rest_wait),
		TEST(who_waits_too_long_for_others_commands_is_put_off),
		TEST(commands_die_with_the_runner),
		TEST(what_a_command_reads_is_whole_whoever_dies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
