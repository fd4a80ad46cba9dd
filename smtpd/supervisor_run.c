/*
 * The supervisor's life. It stops in the order in which mail flows, so that what is in hand gets
 * through: listeners end their sessions, then the queue its deliveries, then those that both ask.
 * Each has its time, and who needs longer is killed: what was acknowledged is on disk anyway.
 */
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <errno.h>
#include <fcntl.h>
#include <paths.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <syslog.h>
#include <unistd.h>

#include <bsd/string.h>
#include <event2/event.h>

#include "common/child.h"
#include "common/clock.h"
#include "smtpd/supervisor_offline.h"
#include "smtpd/supervisor_state.h"

/* Since stopping began. */
#define STOP_LISTENERS_MS 10000
#define STOP_QUEUE_MS     13000
#define STOP_RELAY_MS     14000
#define STOP_ALL_MS       15000
#define LOG_RETRY_MS      1000
#define AWAIT_SECONDS     10 /* between lines of the log about who isn't ready */

static void
enter_phase(struct supervisor *supervisor, enum supervisor_state state)
{
	supervisor->state = state;
	switch (state) {
	case SUPERVISOR_STOP_LISTENERS:
		children_stop(supervisor, PROGRAM_LISTENER);
		children_stop(supervisor, PROGRAM_MAILACCESS);
		mailbox_stop_all(supervisor);
		break;
	case SUPERVISOR_STOP_QUEUE:
		children_stop(supervisor, PROGRAM_QUEUE);
		children_stop(supervisor, PROGRAM_CONTROL);
		break;
	case SUPERVISOR_STOP_RELAY:
		children_stop(supervisor, PROGRAM_RELAY);
		mda_stop_all(supervisor);
		break;
	case SUPERVISOR_STOP_ALL:
		children_stop(supervisor, PROGRAM_DIRECTORY);
		children_stop(supervisor, PROGRAM_RESOLVER);
		children_stop(supervisor, PROGRAM_KEEPER);
		break;
	case SUPERVISOR_STOPPED:
		(void)event_base_loopbreak(supervisor->base);
		break;
	case SUPERVISOR_STARTING:
	case SUPERVISOR_RUNNING:
		break;
	}
}

static bool
are_all_gone(const struct supervisor *supervisor)
{
	int program;

	for (program = 0; program < PROGRAM_COUNT; program++)
		if (!children_are_gone(supervisor, (enum program)program))
			return false;
	return TAILQ_EMPTY(&supervisor->mdas) && TAILQ_EMPTY(&supervisor->mailboxes);
}

void
supervisor_check_stopped(struct supervisor *supervisor)
{
	int64_t spent_ms = clock_monotonic_ms() - supervisor->stop_began_ms;

	if (supervisor->state == SUPERVISOR_STOP_LISTENERS &&
	    ((children_are_gone(supervisor, PROGRAM_LISTENER) &&
	         children_are_gone(supervisor, PROGRAM_MAILACCESS)) ||
	        spent_ms >= STOP_LISTENERS_MS))
		enter_phase(supervisor, SUPERVISOR_STOP_QUEUE);
	if (supervisor->state == SUPERVISOR_STOP_QUEUE &&
	    ((children_are_gone(supervisor, PROGRAM_QUEUE) &&
	         children_are_gone(supervisor, PROGRAM_CONTROL)) ||
	        spent_ms >= STOP_QUEUE_MS))
		enter_phase(supervisor, SUPERVISOR_STOP_RELAY);
	if (supervisor->state == SUPERVISOR_STOP_RELAY &&
	    (children_are_gone(supervisor, PROGRAM_RELAY) || spent_ms >= STOP_RELAY_MS))
		enter_phase(supervisor, SUPERVISOR_STOP_ALL);
	if (supervisor->state != SUPERVISOR_STOP_ALL)
		return;
	if (are_all_gone(supervisor)) {
		enter_phase(supervisor, SUPERVISOR_STOPPED);
	} else if (spent_ms >= STOP_ALL_MS) {
		children_kill(supervisor);
		mda_kill_all(supervisor);
		mailbox_kill_all(supervisor);
	}
}

static void
on_phase(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	supervisor_check_stopped(arg);
}

void
supervisor_stop(struct supervisor *supervisor, const char *reason)
{
	struct timeval tick = { .tv_usec = 500000 };
	struct log_line line;

	if (supervisor->state >= SUPERVISOR_STOP_LISTENERS)
		return;
	log_begin(&line, LOG_LEVEL_INFO, "stopping");
	log_text(&line, "reason", reason);
	log_end(&line);
	supervisor->stop_began_ms = clock_monotonic_ms();
	offline_end(supervisor->offline);
	supervisor->offline = NULL;
	listen_set_close(&supervisor->sockets, NULL);
	if (event_add(supervisor->phase, &tick) != 0)
		fatalx("no timer");
	enter_phase(supervisor, SUPERVISOR_STOP_LISTENERS);
	supervisor_check_stopped(supervisor);
}

void
supervisor_start_failed(struct supervisor *supervisor, const char *why)
{
	if (supervisor->state != SUPERVISOR_STARTING)
		return;
	strlcpy(supervisor->why, why, sizeof(supervisor->why));
	supervisor->exit_status = EX_UNAVAILABLE;
	log_error("%s", why);
	supervisor_stop(supervisor, "the start has failed");
}

void
supervisor_check_started(struct supervisor *supervisor)
{
	struct log_line line;

	if (supervisor->state != SUPERVISOR_STARTING || !children_have_started(supervisor))
		return;
	supervisor->state = SUPERVISOR_RUNNING;
	log_begin(&line, LOG_LEVEL_INFO, "started");
	log_number(&line, "pid", getpid());
	log_text(&line, "file", supervisor->config_path);
	log_number(&line, "listeners", supervisor->listener_count);
	log_end(&line);
	if (supervisor->started != NULL)
		supervisor->started(supervisor->started_arg);
	supervisor->offline = offline_begin(supervisor);
}

static void
on_stop_signal(evutil_socket_t number, short what, void *arg)
{
	struct supervisor *supervisor = arg;

	(void)what;
	if (supervisor->state < SUPERVISOR_STOP_LISTENERS) {
		supervisor_stop(supervisor, number == SIGINT ? "SIGINT" : "SIGTERM");
		return;
	}
	/* Asked again: at once. */
	children_kill(supervisor);
	mda_kill_all(supervisor);
	mailbox_kill_all(supervisor);
}

static void
on_hangup(evutil_socket_t number, short what, void *arg)
{
	struct supervisor *supervisor = arg;

	(void)number;
	(void)what;
	if (supervisor->state == SUPERVISOR_RUNNING && !supervisor->reload.in_progress)
		control_reload(supervisor);
	else
		log_warning("no reload now: smtpd starts, stops or reloads already");
}

static void
on_child(evutil_socket_t number, short what, void *arg)
{
	struct supervisor *supervisor = arg;
	int status;
	pid_t pid;

	(void)number;
	(void)what;
	while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0)
		if (WIFSTOPPED(status))
			offline_stopped(supervisor->offline, pid);
		else if (!children_reaped(supervisor, pid, status) &&
		    !offline_reaped(supervisor->offline, pid, status) &&
		    !mailbox_reaped(supervisor, pid, status))
			(void)mda_reaped(supervisor, pid, status);
	supervisor_check_stopped(supervisor);
}

int
supervisor_connect_syslog(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = _PATH_LOG };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), error;

	if (fd == -1 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	error = errno;
	close(fd);
	errno = error;
	return -1;
}

void
supervisor_log_lost(struct supervisor *supervisor)
{
	int64_t now = clock_monotonic_ms();
	int fd, ours;

	if (supervisor->log_target != LOG_TARGET_SYSLOG)
		return;
	supervisor->log_wanted = true;
	if (now - supervisor->log_tried_ms < LOG_RETRY_MS)
		return;
	supervisor->log_tried_ms = now;
	fd = supervisor_connect_syslog();
	if (fd == -1)
		return;
	ours = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (ours == -1) {
		close(fd);
		return;
	}
	log_set_fd(ours);
	close(supervisor->log_fd);
	supervisor->log_fd = fd;
	supervisor->log_wanted = false;
	children_send_log(supervisor, true);
	mda_send_log(supervisor, true);
	mailbox_send_log(supervisor, true);
}

static void
on_check_log(evutil_socket_t fd, short what, void *arg)
{
	struct supervisor *supervisor = arg;

	(void)fd;
	(void)what;
	if (supervisor->log_wanted || log_is_lost())
		supervisor_log_lost(supervisor);
}

static void
on_check_start(evutil_socket_t fd, short what, void *arg)
{
	struct supervisor *supervisor = arg;

	(void)fd;
	(void)what;
	if (supervisor->state == SUPERVISOR_STARTING)
		children_check_start(supervisor);
	else
		(void)event_del(supervisor->check_start);
}

/* Each child and each mda takes some; what is common as a soft limit is too few. */
static void
raise_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		log_warning("can't raise the number of descriptors: %m");
}

static struct event *
add_event(struct event *event, const struct timeval *delay)
{
	if (event == NULL || event_add(event, delay) != 0)
		fatalx("no events");
	return event;
}

static void
add_events(struct supervisor *supervisor)
{
	struct event_base *base = supervisor->base;
	struct timeval second = { .tv_sec = 1 }, wait = { .tv_sec = AWAIT_SECONDS };

	supervisor->on_hangup = add_event(evsignal_new(base, SIGHUP, on_hangup, supervisor), NULL);
	supervisor->on_terminate =
	    add_event(evsignal_new(base, SIGTERM, on_stop_signal, supervisor), NULL);
	supervisor->on_interrupt =
	    add_event(evsignal_new(base, SIGINT, on_stop_signal, supervisor), NULL);
	supervisor->on_child = add_event(evsignal_new(base, SIGCHLD, on_child, supervisor), NULL);
	supervisor->phase = event_new(base, -1, EV_PERSIST, on_phase, supervisor);
	supervisor->check_log =
	    add_event(event_new(base, -1, EV_PERSIST, on_check_log, supervisor), &second);
	supervisor->check_start =
	    add_event(event_new(base, -1, EV_PERSIST, on_check_start, supervisor), &wait);
	if (supervisor->phase == NULL)
		fatalx("no events");
}

static void
free_events(struct supervisor *supervisor)
{
	event_free(supervisor->on_hangup);
	event_free(supervisor->on_terminate);
	event_free(supervisor->on_interrupt);
	event_free(supervisor->on_child);
	event_free(supervisor->phase);
	event_free(supervisor->check_log);
	event_free(supervisor->check_start);
	if (supervisor->reload.timeout != NULL)
		event_free(supervisor->reload.timeout);
}

int
supervisor_run(struct supervisor *supervisor)
{
	supervisor->base = child_event_base();
	supervisor->state = SUPERVISOR_STARTING;
	supervisor->exit_status = EX_OK;
	strlcpy(supervisor->why, "stopped before it had started", sizeof(supervisor->why));
	supervisor->generation = 1;
	TAILQ_INIT(&supervisor->mdas);
	TAILQ_INIT(&supervisor->mailboxes);
	raise_descriptors();
	add_events(supervisor);
	keys_begin(supervisor);
	dkim_begin(supervisor);
	children_init(supervisor);
	children_start(supervisor);
	if (supervisor->state != SUPERVISOR_STOPPED && event_base_dispatch(supervisor->base) == -1)
		fatalx("the event loop has failed");
	children_free(supervisor);
	keys_end(supervisor);
	dkim_end(supervisor);
	free_events(supervisor);
	event_base_free(supervisor->base);
	log_info("stopped");
	return supervisor->exit_status;
}
