/* Commands with %{...}: what a shell is given, and that no value is ever read as a command. */
#include "test_mda_fixture.h"

#include <sys/wait.h>

#include "deliver/command.h"
#include "deliver/template.h"

static const struct template_mda mda = { "/libexec/deliver", "postern-1" };
static struct ipc_deliver request;

static int
setup(void **state)
{
	memset(&request, 0, sizeof(request));
	request.kind = ENVELOPE_MAILDIR;
	request.mailbox.form = MAILBOX_COMMAND;
	strcpy(request.sender.local, "bob");
	strcpy(request.sender.domain, "client.test");
	strcpy(request.rcpt.local, "Alice+lists");
	strcpy(request.rcpt.domain, "example.test");
	strcpy(request.dest.local, "alice");
	strcpy(request.dest.domain, "example.test");
	strcpy(request.mailbox.user, "alice");
	strcpy(request.mailbox.path, "/home/alice");
	return fixture_setup(state);
}

static void
set_command(const char *command)
{
	assert_true(strlen(command) < sizeof(request.mailbox.command));
	strcpy(request.mailbox.command, command);
}

/* `script` and the arguments, separated by "|". */
static void
assert_expands(const char *command, const char *script, const char *arguments)
{
	struct template_command expanded;
	char joined[8192] = "";
	const char *why;

	set_command(command);
	assert_true(template_expand(&request, "+", &mda, &expanded, &why));
	assert_string_equal((const char *)expanded.script.data, script);
	for (size_t i = 0; i < expanded.count; i++) {
		strcat(joined, i > 0 ? "|" : "");
		strcat(joined, expanded.arguments[i]);
	}
	assert_string_equal(joined, arguments);
	template_free(&expanded);
}

static void
values_are_arguments_quoted_as_their_place_needs(void **state)
{
	(void)state;
	assert_expands("x", "x", "");
	assert_expands("lda -d %{dest.user}", "lda -d \"${1}\"", "alice");
	assert_expands("a \"%{sender} x\" b", "a \"${1} x\" b", "bob@client.test");
	assert_expands("a '%{sender}'", "a ''\"${1}\"''", "bob@client.test");
	assert_expands("a 'x\"%{dest.domain}'\"'%{dest.domain}'\"", "a 'x\"'\"${1}\"''\"'${2}'\"",
	    "example.test|example.test");
	assert_expands(
	    "a \\\"%{dest.user} \\%{dest.user}", "a \\\"\"${1}\" \\%{dest.user}", "alice");
	assert_expands("a \"\\\"%{dest.user}\"", "a \"\\\"${1}\"", "alice");
	assert_expands("a '\\'%{dest.user}", "a '\\'\"${1}\"", "alice");
	assert_expands("date +%s 100%% %{user.username}%{user.directory}",
	    "date +%s 100% \"${1}\"\"${2}\"", "alice|/home/alice");
}

static void
tokens_are_those_of_the_manual(void **state)
{
	(void)state;
	assert_expands("%{sender}%{sender.user}%{sender.domain}", "\"${1}\"\"${2}\"\"${3}\"",
	    "bob@client.test|bob|client.test");
	assert_expands("%{rcpt}%{rcpt.user:lowercase|strip}%{rcpt.domain[0:2]}",
	    "\"${1}\"\"${2}\"\"${3}\"", "Alice+lists@example.test|alice|exa");
	assert_expands("%{dest:uppercase}%{mbox.from}", "\"${1}\"\"${2}\"",
	    "ALICE@EXAMPLE.TEST|bob@client.test");
	memset(&request.sender, 0, sizeof(request.sender));
	assert_expands("%{mbox.from}%{sender}", "\"${1}\"\"${2}\"", "MAILER-DAEMON|");
}

static void
what_hands_in_is_two_words_in_quotes_too(void **state)
{
	(void)state;
	assert_expands(
	    "filter | %{mda}", "filter | \"${1}\" \"${2}\"", "/libexec/deliver|postern-1");
	assert_expands("sh -c '%{mda}' \"%{mda}\"", "sh -c ''\"${1}\"'' \"${2}\"",
	    "/libexec/deliver postern-1|/libexec/deliver postern-1");
	assert_expands("echo %%{mda}", "echo %{mda}", "");
}

static void
what_is_no_token_is_not_run(void **state)
{
	static const char *const commands[] = { "%{nobody}", "%{rcpt.x}", "%{dest.user", "%{",
		"%{dest.user[9:10]}", "%{dest.user:shout}", "%{mda}", "%{senders}" };
	struct template_command expanded;
	const char *why = NULL;

	(void)state;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		set_command(commands[i]);
		assert_false(template_expand(&request, "+", NULL, &expanded, &why));
		assert_non_null(why);
		template_free(&expanded);
	}
	*request.mailbox.command = '\0';
	for (int i = 0; i <= TEMPLATE_ARGUMENTS_MAX; i++)
		strcat(request.mailbox.command, "%{dest.user}");
	assert_false(template_expand(&request, "+", NULL, &expanded, &why));
	template_free(&expanded);
}

static void
what_could_mean_something_becomes_a_colon(void **state)
{
	(void)state;
	strcpy(request.dest.local, "-f;$(id)`x`\"'\\|&<>*?[~/a b\n\x7f\xc3\xa9%{x}");
	assert_expands("%{dest.user}", "\"${1}\"", ":f:::id::x:::::::::::::a:b::\xc3\xa9::x:");
	assert_expands(
	    "%{dest.user:raw}", "\"${1}\"", "-f;$(id)`x`\"'\\|&<>*?[~/a b::\xc3\xa9%{x}");
}

static char *
output_of(struct fixture *fixture, const char *command)
{
	static char text[4096];
	const char *why;
	char **arguments;
	FILE *file;
	int status;
	pid_t pid;

	set_command(command);
	arguments = command_arguments(&request, "+", NULL, &why);
	assert_non_null(arguments);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		char *environment[] = { NULL };

		if (chdir(fixture->home) == -1 || freopen("../out", "w", stdout) == NULL)
			_exit(1);
		execve("/bin/sh", arguments, environment);
		_exit(1);
	}
	command_strings_free(arguments);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	file = fopen(fixture_path(fixture, "out"), "r");
	assert_non_null(file);
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	return text;
}

/* HOSTILE: by a real shell, with each way to quote, and with :raw too. */
static void
no_value_is_run_by_a_shell(void **state)
{
	static const char *const values[] = { ";touch hit;", "$(touch hit)", "`touch hit`",
		"\";touch hit;\"", "';touch hit;'", "|touch hit", "&touch hit&", ">hit",
		"x\ntouch hit\n", "\\\";touch hit;\\\"", "${IFS}touch${IFS}hit", "*", "-n",
		"%{sender}", "$1", "\"$(touch hit)\"" };
	static const char *const commands[] = { "printf %%s %{dest.user:raw}",
		"printf %%s \"%{dest.user:raw}\"", "printf %%s '%{dest.user:raw}'",
		"printf %%s \"a\"%{dest.user:raw}'b' | sed 's/^a//; s/b$//'",
		"x=%{dest.user:raw}; printf %%s \"$x\"" };
	struct fixture *fixture = *state;

	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		for (size_t k = 0; k < sizeof(commands) / sizeof(commands[0]); k++) {
			char expected[256];

			strcpy(request.dest.local, values[i]);
			strcpy(expected, values[i]);
			/* Control bytes never get there. */
			for (char *at = expected; *at != '\0'; at++)
				*at = *at == '\n' ? ':' : *at;
			assert_string_equal(output_of(fixture, commands[k]), expected);
			assert_int_equal(fixture_count(fixture, "home"), 0);
		}
		/* Nor by a shell within the shell, unless raw. */
		strcpy(request.dest.local, values[i]);
		(void)output_of(fixture, "sh -c 'echo %{dest.user}' 2>&1");
		(void)output_of(fixture, "eval \"echo %{dest.user}\" 2>&1");
		(void)output_of(
		    fixture, "echo \"$(echo %{dest.user:raw})\" `echo %{dest.user:raw}`");
		assert_int_equal(fixture_count(fixture, "home"), 0);
	}
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(values_are_arguments_quoted_as_their_place_needs),
		TEST(tokens_are_those_of_the_manual),
		TEST(what_hands_in_is_two_words_in_quotes_too),
		TEST(what_is_no_token_is_not_run),
		TEST(what_could_mean_something_becomes_a_colon),
		TEST(no_value_is_run_by_a_shell),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
