/*
 * Runs one command: listens to it, limits its time, and leaves nothing of it behind.
 *
 * Its standard input is a file that has all of the message before it begins: the end of a pipe whose
 * writer was killed looks like the end of the message.
 *
 * The command leads a session of its own and is killed as a group. What left the group is found as
 * orphans: this process is made the reaper of its descendants (PR_SET_CHILD_SUBREAPER), so each
 * process whose parent has died becomes its child, is listed under /proc and killed in turn. That is
 * done as well when this process is told to end: what it left might deliver once more beside the next try.
 */
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include <bsd/unistd.h>

#include "common/clock.h"
#include "common/write.h"
#include "deliver/command.h"
#include "deliver/mbox_text.h"
#include "deliver/template.h"
#include "deliver/text.h"

#define KILL_AFTER_MS    5000 /* from SIGTERM to SIGKILL */
#define ORPHANS_MS       5000 /* for killing what is left */
#define COLLECT_REST_MAX 64   /* packets, some at a time, and connections */
#define DESCRIPTORS_MAX  256
#define ENVIRONMENT_MAX  16

/* One running command. */
struct run {
	pid_t pid;
	int output;  /* from its standard output and error; -1 at its end */
	int signals; /* a signalfd for SIGCHLD and SIGTERM */
	bool exited;
	bool stopped; /* by SIGTERM */
	int64_t terminate_ms;
	int64_t kill_ms;
	struct collect *collect; /* or NULL */
	struct command_result *result;
};

static bool
set(char **environment, size_t *count, const char *name, const char *value)
{
	char *at;

	if (asprintf(&environment[*count], "%s=%s", name, value) == -1) {
		environment[*count] = NULL;
		return false;
	}
	for (at = environment[*count]; *at != '\0'; at++) {
		unsigned char byte = (unsigned char)*at;

		if (byte < 0x20 || byte == 0x7f)
			*at = '?';
	}
	(*count)++;
	return true;
}

char **
command_environment(const struct ipc_deliver *request, const char *delimiters)
{
	const struct ipc_mailbox *mailbox = &request->mailbox;
	char sender[ADDRESS_TEXT_MAX + 1], rcpt[ADDRESS_TEXT_MAX + 1], dest[ADDRESS_TEXT_MAX + 1];
	char extension[ADDRESS_LOCAL_MAX + 1], home[PATH_TEXT_MAX + 1];
	char **environment = calloc(ENVIRONMENT_MAX, sizeof(*environment));
	struct address base = request->rcpt;
	size_t count = 0;

	if (environment == NULL)
		return NULL;
	address_format(&request->sender, sender, sizeof(sender));
	address_format(&request->rcpt, rcpt, sizeof(rcpt));
	address_format(&request->dest, dest, sizeof(dest));
	address_split_detail(&base, delimiters, extension, sizeof(extension));
	template_home(request, home);
	if (set(environment, &count, "PATH", "/usr/local/bin:/usr/bin:/bin") &&
	    set(environment, &count, "SHELL", "/bin/sh") &&
	    set(environment, &count, "HOME", *home != '\0' ? home : "/") &&
	    set(environment, &count, "USER", mailbox->user) &&
	    set(environment, &count, "LOGNAME", mailbox->user) &&
	    set(environment, &count, "SENDER", sender) &&
	    set(environment, &count, "RECIPIENT", dest) &&
	    set(environment, &count, "ORIGINAL_RECIPIENT", rcpt) &&
	    set(environment, &count, "LOCAL", request->dest.local) &&
	    set(environment, &count, "DOMAIN", request->dest.domain) &&
	    set(environment, &count, "EXTENSION", extension))
		return environment;
	command_strings_free(environment);
	return NULL;
}

const char *
command_words(const struct ipc_deliver *request)
{
	return envelope_is_pipe(request->kind) ? request->command : request->mailbox.command;
}

char **
command_arguments(const struct ipc_deliver *request, const char *delimiters,
    const struct template_mda *mda, const char **why)
{
	char **arguments = calloc(TEMPLATE_ARGUMENTS_MAX + 5, sizeof(*arguments));
	struct template_command command = { .count = 0 };
	const char *words[4] = { "sh", "-c", request->command, "sh" };
	bool good = arguments != NULL;

	*why = "out of memory";
	if (good && !envelope_is_pipe(request->kind)) {
		good = template_expand(request, delimiters, mda, &command, why);
		words[2] = (const char *)command.script.data;
	}
	for (size_t i = 0; good && i < 4; i++)
		good = (arguments[i] = strdup(words[i])) != NULL;
	for (size_t i = 0; good && i < command.count; i++) {
		arguments[4 + i] = command.arguments[i];
		command.arguments[i] = NULL;
	}
	if (!envelope_is_pipe(request->kind))
		template_free(&command);
	if (good)
		return arguments;
	command_strings_free(arguments);
	return NULL;
}

void
command_strings_free(char **strings)
{
	size_t i;

	if (strings == NULL)
		return;
	for (i = 0; strings[i] != NULL; i++)
		free(strings[i]);
	free(strings);
}

static void
go_home(const struct ipc_deliver *request)
{
	char home[PATH_TEXT_MAX + 1];

	template_home(request, home);
	if (*home != '\0' && chdir(home) == 0)
		return;
	/* Who delivers for a user may put things there: not while it isn't mounted. To an alias's
	 * command it is no business. */
	if (!envelope_is_pipe(request->kind) && request->mailbox.home[0] != '\0') {
		dprintf(STDERR_FILENO, "home directory %.200s: %s\n", home, strerror(errno));
		_exit(EX_TEMPFAIL);
	}
	if (chdir("/") == -1)
		_exit(EX_OSERR);
}

/* Where the limit is lower already it stays so: it can't be raised. */
static bool
set_limit(__rlimit_resource_t resource, rlim_t soft, rlim_t hard)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit) == -1)
		return false;
	if (hard < limit.rlim_max)
		limit.rlim_max = hard;
	limit.rlim_cur = soft < limit.rlim_max ? soft : limit.rlim_max;
	return setrlimit(resource, &limit) == 0;
}

/* In the command's process, up to the exec. */
_Noreturn static void
become_command(const struct ipc_deliver *request, char **arguments, char **environment,
    unsigned seconds, int input, int output, pid_t parent)
{
	sigset_t none;

	sigemptyset(&none);
	if (setsid() == -1 || prctl(PR_SET_PDEATHSIG, SIGKILL) == -1 || getppid() != parent ||
	    signal(SIGPIPE, SIG_DFL) == SIG_ERR || signal(SIGHUP, SIG_DFL) == SIG_ERR ||
	    signal(SIGINT, SIG_DFL) == SIG_ERR || signal(SIGXFSZ, SIG_DFL) == SIG_ERR ||
	    sigprocmask(SIG_SETMASK, &none, NULL) == -1 || dup2(input, 0) == -1 ||
	    dup2(output, 1) == -1 || dup2(output, 2) == -1)
		_exit(EX_OSERR);
	closefrom(3);
	if (!set_limit(RLIMIT_CPU, seconds, seconds + 5) || !set_limit(RLIMIT_CORE, 0, 0) ||
	    !set_limit(RLIMIT_NOFILE, DESCRIPTORS_MAX, DESCRIPTORS_MAX))
		_exit(EX_OSERR);
	go_home(request);
	execve("/bin/sh", arguments, environment);
	_exit(EX_OSERR);
}

/* Before the trace fields, as programs that a line "|command" runs have been given it by every
 * mailer since sendmail. */
static bool
write_from_line(const struct ipc_deliver *request, int fd)
{
	struct buf line;
	bool good;

	if (!envelope_is_pipe(request->kind))
		return true;
	buf_init(&line, TEXT_CHUNK);
	mbox_from_line(request, &line);
	good = buf_ok(&line);
	errno = ENOMEM;
	good = good && write_all(fd, line.data, line.length);
	buf_free(&line);
	return good;
}

/* The command's standard input; -1 with errno. */
static int
make_input(const struct ipc_deliver *request, int message)
{
	uint8_t *chunk = malloc(TEXT_CHUNK);
	int fd = chunk == NULL ? -1 : collect_open_nameless(), error;
	char delivered_to[ADDRESS_TEXT_MAX + 1];
	struct text text;

	address_format(&request->dest, delivered_to, sizeof(delivered_to));
	text_begin(&text, message, request->size);
	if (fd != -1 &&
	    (!write_from_line(request, fd) ||
	        !text_write(&text, fd, &request->sender, delivered_to, chunk) ||
	        lseek(fd, 0, SEEK_SET) == -1)) {
		error = errno;
		close(fd);
		fd = -1;
		errno = error;
	}
	free(chunk);
	return fd;
}

static bool
start(struct run *run, const struct ipc_deliver *request, char **arguments, char **environment,
    unsigned seconds, int input)
{
	int output[2];
	pid_t self = getpid();
	sigset_t heeded;

	sigemptyset(&heeded);
	sigaddset(&heeded, SIGCHLD);
	sigaddset(&heeded, SIGTERM);
	if (signal(SIGPIPE, SIG_IGN) == SIG_ERR || prctl(PR_SET_CHILD_SUBREAPER, 1) == -1 ||
	    sigprocmask(SIG_BLOCK, &heeded, NULL) == -1)
		return false;
	run->signals = signalfd(-1, &heeded, SFD_NONBLOCK | SFD_CLOEXEC);
	if (run->signals == -1 || pipe2(output, O_CLOEXEC) == -1 ||
	    fcntl(output[0], F_SETFL, O_NONBLOCK) == -1)
		return false;
	run->pid = fork();
	if (run->pid == 0)
		become_command(request, arguments, environment, seconds, input, output[1], self);
	close(output[1]);
	run->output = output[0];
	return run->pid != -1;
}

/* Keeps the first bytes and drops the rest, at most some a call: the time limit must be looked at.
 */
static void
listen_to(struct run *run)
{
	struct command_result *result = run->result;
	char dropped[65536];
	int turns;

	for (turns = 0; turns < 16; turns++) {
		size_t room = COMMAND_OUTPUT_MAX - result->output_length;
		ssize_t got = room > 0
		    ? read(run->output, result->output + result->output_length, room)
		    : read(run->output, dropped, sizeof(dropped));

		if (got == -1 && (errno == EAGAIN || errno == EINTR))
			return;
		if (got <= 0) {
			close(run->output);
			run->output = -1;
			return;
		}
		if (room > 0)
			result->output_length += (uint32_t)got;
	}
}

/* Buries whoever died; notices the command itself, and that this process is to end. */
static void
reap(struct run *run)
{
	struct signalfd_siginfo signal;
	pid_t pid;
	int status;

	while (read(run->signals, &signal, sizeof(signal)) == sizeof(signal))
		run->stopped = run->stopped || signal.ssi_signo == SIGTERM;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == run->pid) {
			run->exited = true;
			run->result->status = status;
		}
	}
}

static void
watch_time(struct run *run)
{
	int64_t now = clock_monotonic_ms();

	if (now >= run->kill_ms)
		kill(-run->pid, SIGKILL);
	else if (now >= run->terminate_ms && !run->result->timed_out) {
		run->result->timed_out = true;
		kill(-run->pid, SIGTERM);
	}
}

/* Until something is there, which is taken; signals are for reap(). */
static void
wait_for_some(struct run *run, int64_t within_ms)
{
	struct pollfd fds[4] = { { .fd = run->output, .events = POLLIN },
		{ .fd = run->signals, .events = POLLIN }, { .fd = -1 }, { .fd = -1 } };

	if (run->collect != NULL)
		collect_poll(run->collect, &fds[2]);
	(void)poll(fds, 4, (int)within_ms);
	if (fds[0].fd != -1 && fds[0].revents != 0)
		listen_to(run);
	if (fds[2].revents != 0 || fds[3].revents != 0)
		collect_attend(run->collect);
}

static void
attend(struct run *run)
{
	while (!run->exited && !run->stopped) {
		int64_t now = clock_monotonic_ms(), next;

		next = run->result->timed_out ? run->kill_ms : run->terminate_ms;
		/* After the last SIGKILL it can only be a matter of time. */
		if (next < now)
			next = now + 100;
		wait_for_some(run, next - now);
		reap(run);
		if (!run->exited)
			watch_time(run);
	}
	if (run->output != -1)
		listen_to(run);
}

/* Those that the command started and didn't wait for, as vacation(1) does with sendmail, may end. */
static void
wait_for_what_is_left(struct run *run)
{
	int64_t until = clock_monotonic_ms() + COMMAND_LINGER_MS, now;

	while (!run->stopped && (now = clock_monotonic_ms()) < until) {
		reap(run);
		if (waitpid(-1, NULL, WNOHANG) == -1)
			return;
		wait_for_some(run, until - now);
	}
}

/* Sends SIGKILL to each child of this process; false when they can't be listed. */
static bool
kill_children(void)
{
	char path[64];
	FILE *list;
	int pid;

	snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	list = fopen(path, "re");
	if (list == NULL)
		return false;
	while (fscanf(list, "%d", &pid) == 1)
		kill(pid, SIGKILL);
	fclose(list);
	return true;
}

/* Each killed parent may leave children of its own: until there are none. */
static void
kill_what_is_left(struct run *run)
{
	int64_t until = clock_monotonic_ms() + ORPHANS_MS;
	struct pollfd signals = { .fd = run->signals, .events = POLLIN };

	kill(-run->pid, SIGKILL);
	while (waitpid(-1, NULL, WNOHANG) != -1 && clock_monotonic_ms() < until) {
		if (!kill_children())
			return;
		(void)poll(&signals, 1, 10);
		reap(run);
	}
}

/* What came by processes that have ended may still wait. Others may connect as well, so not for ever. */
static void
collect_rest(struct collect *collect)
{
	struct pollfd fds[2];

	for (int i = 0; i < COLLECT_REST_MAX; i++) {
		collect_poll(collect, fds);
		if (poll(fds, 2, 0) <= 0)
			return;
		collect_attend(collect);
	}
}

void
command_run(const struct ipc_deliver *request, int message, char **arguments, char **environment,
    unsigned seconds, struct collect *collect, struct command_result *result)
{
	struct run run = {
		.pid = -1, .output = -1, .signals = -1, .collect = collect, .result = result
	};
	int input;

	memset(result, 0, sizeof(*result));
	input = make_input(request, message);
	if (input == -1 || !start(&run, request, arguments, environment, seconds, input)) {
		result->error = errno;
		if (input != -1)
			close(input);
		return;
	}
	close(input);
	result->started = true;
	run.terminate_ms = clock_monotonic_ms() + (int64_t)seconds * 1000;
	run.kill_ms = run.terminate_ms + KILL_AFTER_MS;
	attend(&run);
	if (!result->timed_out)
		wait_for_what_is_left(&run);
	kill_what_is_left(&run);
	if (run.stopped && !run.exited)
		_exit(EX_TEMPFAIL);
	if (collect != NULL) {
		collect_rest(collect);
		result->collected = collect->state;
		result->collected_size = collect->size;
	}
}

struct exit_meaning {
	int status;
	unsigned code;
	const char *enhanced;
	const char *words;
};

static const struct exit_meaning meanings[] = {
	{ EX_USAGE, 550, "5.3.0", "wrong usage" },
	{ EX_DATAERR, 550, "5.6.0", "wrong data" },
	{ EX_NOINPUT, 550, "5.3.0", "no input" },
	{ EX_NOUSER, 550, "5.1.1", "no such user" },
	{ EX_NOHOST, 550, "5.1.2", "no such host" },
	{ EX_UNAVAILABLE, 550, "5.3.0", "service not available" },
	{ EX_SOFTWARE, 550, "5.3.0", "internal error" },
	{ EX_OSERR, 451, "4.3.0", "system error" },
	{ EX_OSFILE, 451, "4.3.5", "a system file is missing" },
	/* procmail's, when the disk is full */
	{ EX_CANTCREAT, 451, "4.2.0", "can't make a file" },
	{ EX_IOERR, 451, "4.3.0", "input or output error" },
	{ EX_TEMPFAIL, 451, "4.3.0", "temporary failure" },
	{ EX_PROTOCOL, 550, "5.5.0", "protocol error" },
	{ EX_NOPERM, 550, "5.7.0", "not permitted" },
	{ EX_CONFIG, 451, "4.3.5", "wrong configuration" },
	{ 126, 451, "4.3.5", "it can't be run" },
	{ 127, 451, "4.3.5", "it was not found" },
};

/* The output's first line that isn't empty, for a reply. */
static void
first_line(const struct command_result *result, char *line, size_t size)
{
	size_t at = 0, length = 0;

	while (at < result->output_length && memchr("\r\n", result->output[at], 2) != NULL)
		at++;
	while (at < result->output_length && length < size - 1 && result->output[at] != '\n' &&
	    result->output[at] != '\0')
		line[length++] = result->output[at++];
	line[length] = '\0';
}

void
command_reply(const struct command_result *result, const char *command, struct reply *reply)
{
	char line[151];
	size_t i;
	int status;

	first_line(result, line, sizeof(line));
	if (!result->started) {
		reply_set(reply, 451, "4.3.0", "command \"%.150s\" was not run: %s", command,
		    strerror(result->error));
		return;
	}
	if (result->timed_out) {
		reply_set(
		    reply, 451, "4.3.0", "command \"%.150s\" took too long and was ended", command);
		return;
	}
	if (!WIFEXITED(result->status)) {
		reply_set(reply, 451, "4.3.0", "command \"%.150s\" was ended by signal %d", command,
		    WTERMSIG(result->status));
		return;
	}
	status = WEXITSTATUS(result->status);
	if (status == 0) {
		reply_set(reply, 250, "2.1.5", "delivered to command");
		return;
	}
	for (i = 0; i < sizeof(meanings) / sizeof(meanings[0]); i++) {
		if (meanings[i].status == status) {
			reply_set(reply, meanings[i].code, meanings[i].enhanced,
			    "command \"%.100s\" failed, %s (exit status %d)%s%s", command,
			    meanings[i].words, status, line[0] != '\0' ? ": " : "", line);
			return;
		}
	}
	/* So a shell says that what it ran was killed: for want of memory, say. */
	if (status > 128 && status <= 128 + SIGRTMAX) {
		reply_set(reply, 451, "4.3.0",
		    "command \"%.100s\" failed, a process of it was ended by signal %d%s%s",
		    command, status - 128, line[0] != '\0' ? ": " : "", line);
		return;
	}
	reply_set(reply, 550, "5.3.0", "command \"%.100s\" failed (exit status %d)%s%s", command,
	    status, line[0] != '\0' ? ": " : "", line);
}
