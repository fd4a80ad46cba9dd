/*
 * A job is forked off with a pipe to report through. The end of the pipe is the end of the job: its
 * process holds the only other end. A job killed by others reports nothing, which counts as a
 * temporary failure, as does one that outlives its own time limit.
 */
#include <sys/prctl.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bsd/unistd.h>
#include <event2/event.h>

#include "common/clock.h"
#include "common/log.h"
#include "deliver/collect.h"
#include "deliver/command.h"
#include "deliver/failure.h"
#include "deliver/runner.h"

#define RUNNING_MAX   16
#define GRACE_SECONDS 30   /* for a job beyond its command's limit */
#define END_MS        1000 /* for jobs to kill what they run */

struct job {
	TAILQ_ENTRY(job) entry;
	struct runner *runner;
	struct delivery *delivery;
	pid_t pid; /* 0 while waiting, -1 ended */
	int64_t since_ms;
	int report;
	struct event *event;
	size_t received;
	struct command_result result;
	struct collect collect; /* of a wrapper's; its descriptors are -1 else */
};

struct runner {
	struct event_base *base;
	unsigned seconds;
	char delimiters[16];
	char program[PATH_TEXT_MAX + 1];
	runner_done_fn done;
	void *arg;
	size_t running;
	size_t waiting;
	TAILQ_HEAD(, job) jobs; /* the running ones before the waiting ones */
};

static void start_waiting(struct runner *);

struct runner *
runner_new(struct event_base *base, unsigned seconds, runner_done_fn done, void *arg)
{
	struct runner *runner = calloc(1, sizeof(*runner));

	if (runner == NULL)
		fatal("calloc");
	runner->base = base;
	runner->seconds = seconds;
	runner->done = done;
	runner->arg = arg;
	TAILQ_INIT(&runner->jobs);
	return runner;
}

void
runner_set_delimiters(struct runner *runner, const char *delimiters)
{
	snprintf(runner->delimiters, sizeof(runner->delimiters), "%s", delimiters);
}

void
runner_set_program(struct runner *runner, const char *path)
{
	snprintf(runner->program, sizeof(runner->program), "%s", path);
}

bool
runner_is_for(const struct ipc_deliver *request)
{
	return envelope_is_pipe(request->kind) || request->mailbox.form == MAILBOX_COMMAND ||
	    (*request->mailbox.command != '\0' && !request->is_wrapped);
}

static bool
has_wrapper(const struct ipc_deliver *request)
{
	return !envelope_is_pipe(request->kind) && request->mailbox.form != MAILBOX_COMMAND;
}

size_t
runner_count(const struct runner *runner)
{
	return runner->running + runner->waiting;
}

static void
job_free(struct job *job)
{
	struct runner *runner = job->runner;

	TAILQ_REMOVE(&runner->jobs, job, entry);
	if (job->pid == 0)
		runner->waiting--;
	else
		runner->running--;
	if (job->event != NULL)
		event_free(job->event);
	if (job->report != -1)
		close(job->report);
	collect_close(&job->collect);
	free(job);
}

/* Each kills what it runs. Those that are gone then have the pid -1. */
static void
end_jobs(struct runner *runner)
{
	const struct timespec pause = { .tv_nsec = 2 * 1000 * 1000 };
	int64_t until = clock_monotonic_ms() + END_MS;
	struct job *job;
	bool any;

	TAILQ_FOREACH(job, &runner->jobs, entry)
	{
		if (job->pid > 0)
			(void)kill(job->pid, SIGTERM);
	}
	do {
		any = false;
		TAILQ_FOREACH(job, &runner->jobs, entry)
		{
			if (job->pid > 0 && waitpid(job->pid, NULL, WNOHANG) == job->pid)
				job->pid = -1;
			any = any || job->pid > 0;
		}
		if (any)
			nanosleep(&pause, NULL);
	} while (any && clock_monotonic_ms() < until);
}

void
runner_free(struct runner *runner)
{
	struct job *job;

	if (runner == NULL)
		return;
	end_jobs(runner);
	while ((job = TAILQ_FIRST(&runner->jobs)) != NULL) {
		/* Its command dies with it. */
		if (job->pid > 0 && kill(job->pid, SIGKILL) == 0)
			(void)waitpid(job->pid, NULL, 0);
		delivery_free(job->delivery);
		job_free(job);
	}
	free(runner);
}

/* Moves them to 3 and above, each closed on exec, and closes all others. */
static bool
keep_alone(int *const descriptors[], int count)
{
	for (int i = 0; i < count; i++) {
		*descriptors[i] = fcntl(*descriptors[i], F_DUPFD_CLOEXEC, 16);
		if (*descriptors[i] == -1)
			return false;
	}
	for (int i = 0; i < count; i++) {
		*descriptors[i] = dup3(*descriptors[i], 3 + i, O_CLOEXEC);
		if (*descriptors[i] == -1)
			return false;
	}
	closefrom(3 + count);
	return true;
}

/* The job's process: keeps its message, the report's descriptor and a wrapper's alone. */
_Noreturn static void
run_job(const struct job *job, char **arguments, char **environment, int report, pid_t parent)
{
	struct command_result result;
	const uint8_t *at = (const uint8_t *)&result;
	size_t left = sizeof(result);
	struct collect collect = job->collect;
	bool collects = collect.listener != -1;
	int message = job->delivery->message;
	int *const kept[] = { &message, &report, &collect.listener, &collect.file };

	/* It ends its command first, see command_run(). */
	if (prctl(PR_SET_PDEATHSIG, SIGTERM) == -1 || getppid() != parent)
		_exit(1);
	if (!keep_alone(kept, collects ? 4 : 2))
		_exit(1);
	command_run(&job->delivery->request, message, arguments, environment, job->runner->seconds,
	    collects ? &collect : NULL, &result);
	while (left > 0) {
		ssize_t written = write(report, at, left);

		if (written == -1 && errno != EINTR)
			_exit(1);
		if (written > 0) {
			at += written;
			left -= (size_t)written;
		}
	}
	_exit(0);
}

/* The wrapper's command has ended well: what it handed in is the message from now on. One that didn't
 * try to has done with it what is to be done. */
static void
take_collected(struct job *job)
{
	struct delivery *delivery = job->delivery;
	struct ipc_deliver *request = &delivery->request;
	struct stat st;

	switch (job->result.collected) {
	case COLLECT_NOTHING:
		return;
	case COLLECT_SOME:
	case COLLECT_LOST:
		reply_set(&delivery->result.reply, 451, "4.3.5",
		    "command \"%.150s\" ended as if all were well, but the message that it handed "
		    "in wasn't taken",
		    command_words(request));
		return;
	case COLLECT_TWICE:
		reply_set(&delivery->result.reply, 451, "4.3.5",
		    "command \"%.150s\" handed in more than one message", command_words(request));
		return;
	case COLLECT_WHOLE:
		break;
	}
	if (fstat(job->collect.file, &st) == -1 ||
	    (uint64_t)st.st_size != job->result.collected_size) {
		failure_set(&delivery->result.reply, EIO, "take what was handed in by",
		    command_words(request));
		return;
	}
	close(delivery->message);
	delivery->message = job->collect.file;
	job->collect.file = -1;
	request->size = job->result.collected_size;
	request->is_wrapped = true;
	memset(&delivery->result.reply, 0, sizeof(delivery->result.reply));
}

static void
finish(struct job *job)
{
	struct runner *runner = job->runner;
	struct delivery *delivery = job->delivery;
	struct reply *reply = &delivery->result.reply;

	if (job->pid > 0) {
		kill(job->pid, SIGKILL);
		while (waitpid(job->pid, NULL, 0) == -1 && errno == EINTR)
			;
		if (job->received == sizeof(job->result) &&
		    job->result.output_length <= COMMAND_OUTPUT_MAX)
			command_reply(&job->result, command_words(&delivery->request), reply);
		else
			reply_set(reply, 451, "4.3.0", "command \"%.150s\" was interrupted",
			    command_words(&delivery->request));
		if (reply_is_success(reply))
			take_collected(job);
	}
	if (reply_is_success(reply))
		delivery_set_place(delivery, "|", command_words(&delivery->request));
	job_free(job);
	runner->done(delivery, runner->arg);
	start_waiting(runner);
}

static void
on_report(evutil_socket_t fd, short what, void *arg)
{
	struct job *job = arg;
	ssize_t got;

	if ((what & EV_TIMEOUT) == 0) {
		got = read(fd, (uint8_t *)&job->result + job->received,
		    sizeof(job->result) - job->received);
		if (got == -1 && (errno == EAGAIN || errno == EINTR))
			return;
		if (got > 0) {
			job->received += (size_t)got;
			if (job->received < sizeof(job->result))
				return;
		}
	}
	finish(job);
}

/* False with the reply set. */
static bool
start_job(struct job *job)
{
	struct runner *runner = job->runner;
	struct timeval limit = { .tv_sec = runner->seconds + GRACE_SECONDS };
	struct delivery *delivery = job->delivery;
	const struct template_mda mda = { runner->program, job->collect.name };
	const char *why = "";
	char **environment, **arguments;
	pid_t self = getpid(), pid;
	struct log_line line;
	int report[2], error;

	if (has_wrapper(&delivery->request) &&
	    !collect_open(&job->collect, delivery->request.size)) {
		failure_set(&delivery->result.reply, errno, "make what is needed for command",
		    command_words(&delivery->request));
		return false;
	}
	environment = command_environment(&delivery->request, runner->delimiters);
	arguments = command_arguments(&delivery->request, runner->delimiters,
	    has_wrapper(&delivery->request) ? &mda : NULL, &why);
	if (arguments == NULL || environment == NULL ||
	    pipe2(report, O_CLOEXEC | O_NONBLOCK) == -1) {
		error = errno;
		command_strings_free(environment);
		command_strings_free(arguments);
		if (arguments == NULL)
			reply_set(&delivery->result.reply, 451, "4.3.5",
			    "command \"%.150s\" was not run: %s", command_words(&delivery->request),
			    why);
		else
			failure_set(&delivery->result.reply, error, "run command",
			    command_words(&delivery->request));
		return false;
	}
	pid = fork();
	if (pid == 0) {
		int flags = fcntl(report[1], F_GETFL);

		if (flags == -1 || fcntl(report[1], F_SETFL, flags & ~O_NONBLOCK) == -1)
			_exit(1);
		run_job(job, arguments, environment, report[1], self);
	}
	error = errno;
	command_strings_free(environment);
	command_strings_free(arguments);
	close(report[1]);
	if (pid == -1) {
		close(report[0]);
		failure_set(&delivery->result.reply, error, "run command",
		    command_words(&delivery->request));
		return false;
	}
	job->pid = pid;
	job->report = report[0];
	if (job->collect.listener != -1)
		close(job->collect.listener);
	job->collect.listener = -1;
	if (log_trace_begin(&line, LOG_TRACE_MDA, "mda-command")) {
		log_hex64(&line, "envelope", job->delivery->request.envelope_id);
		log_number(&line, "pid", pid);
		log_number(&line, "waited_ms", clock_monotonic_ms() - job->since_ms);
		log_number(&line, "running", (int64_t)runner->running + 1);
		log_end(&line);
	}
	runner->waiting--;
	runner->running++;
	job->event = event_new(runner->base, job->report, EV_READ | EV_PERSIST, on_report, job);
	if (job->event == NULL || event_add(job->event, &limit) == -1)
		fatal("event");
	return true;
}

/* The queue gives up an mda that doesn't answer: who has waited half as long as a command may run
 * is better tried again later. */
static bool
has_waited_too_long(const struct job *job)
{
	return clock_monotonic_ms() - job->since_ms > (int64_t)job->runner->seconds * 500;
}

static void
start_waiting(struct runner *runner)
{
	struct delivery *delivery;
	struct job *job;

	while (runner->running < RUNNING_MAX && runner->waiting > 0) {
		TAILQ_FOREACH(job, &runner->jobs, entry)
		{
			if (job->pid == 0)
				break;
		}
		if (job == NULL)
			return;
		delivery = job->delivery;
		if (has_waited_too_long(job))
			reply_set(&delivery->result.reply, 451, "4.3.2",
			    "too many commands are running, \"%.150s\" must wait",
			    command_words(&delivery->request));
		else if (start_job(job))
			continue;
		job_free(job);
		runner->done(delivery, runner->arg);
	}
}

void
runner_start(struct runner *runner, struct delivery *delivery)
{
	struct job *job = calloc(1, sizeof(*job));

	if (job == NULL) {
		failure_set(&delivery->result.reply, ENOMEM, "run command",
		    command_words(&delivery->request));
		runner->done(delivery, runner->arg);
		return;
	}
	job->runner = runner;
	job->delivery = delivery;
	job->report = -1;
	job->collect.listener = job->collect.connection = job->collect.file = -1;
	job->since_ms = clock_monotonic_ms();
	runner->waiting++;
	TAILQ_INSERT_TAIL(&runner->jobs, job, entry);
	start_waiting(runner);
}
