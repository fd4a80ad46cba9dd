/*
 * mailbox processes: one for each Maildir that somebody is at now. The directory says who has logged
 * in and which Maildir is theirs; that Maildir's process is found, or started as its owner, and gets
 * one end of a socket pair, mailaccess the other. An administrator who looks after a user's Sieve scripts
 * has control at that other end.
 *
 * A process counts as idle when it has told the end of as many sessions as it was given. One that has
 * been idle for a while is told to stop and gets no more sessions: the next login starts another.
 */
#include <sys/socket.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/ipc_mailbox.h"
#include "smtpd/supervisor_state.h"

#define PROCESSES_MAX 4096
#define SESSIONS_MAX  1000 /* of one Maildir */
#define IDLE_SECONDS  60
#define GRACE_SECONDS 10 /* between the end of its channel, or STOP, and its own */
#define DESCRIPTORS   4096

struct mailbox_process {
	TAILQ_ENTRY(mailbox_process) entry;
	struct supervisor *supervisor;
	pid_t pid;
	struct channel *channel; /* NULL once it has closed */
	uid_t uid;
	gid_t gid;
	char *path;
	unsigned sessions;
	bool is_ending;      /* gets no more sessions */
	struct event *timer; /* idle; when ending, until it must have ended */
};

static void
end_within(struct mailbox_process *process, time_t seconds)
{
	struct timeval limit = { .tv_sec = seconds };

	if (event_add(process->timer, &limit) != 0)
		fatalx("no timer");
}

static void
stop(struct mailbox_process *process)
{
	if (process->is_ending)
		return;
	process->is_ending = true;
	if (process->channel != NULL)
		channel_send(process->channel, SUPERVISOR_CHILD_STOP, 0, 0, -1, NULL);
	end_within(process, GRACE_SECONDS);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct mailbox_process *process = arg;

	(void)fd;
	(void)what;
	if (process->is_ending)
		(void)kill(process->pid, SIGKILL);
	else
		stop(process);
}

static void
on_closed(struct channel *channel, const char *why, void *arg)
{
	struct mailbox_process *process = arg;

	process->channel = NULL;
	channel_free(channel);
	process->is_ending = true;
	if (strcmp(why, "closed") != 0) {
		log_warning("mailbox %d: %s", (int)process->pid, why);
		(void)kill(process->pid, SIGKILL);
	} else
		end_within(process, GRACE_SECONDS);
}

static void
on_receive(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct mailbox_process *process = arg;

	if (imsg->length != 0 || imsg->fd != -1) {
		channel_reject(channel, imsg, "not allowed here");
		return;
	}
	if (imsg->type == CHILD_SUPERVISOR_LOG_LOST)
		supervisor_log_lost(process->supervisor);
	else if (imsg->type == MAILBOX_SUPERVISOR_ENDED && process->sessions > 0) {
		if (--process->sessions == 0 && !process->is_ending)
			end_within(process, IDLE_SECONDS);
	} else if (imsg->type != CHILD_SUPERVISOR_CONFIGURED &&
	    imsg->type != CHILD_SUPERVISOR_READY)
		channel_reject(channel, imsg, "not allowed here");
}

static void
log_started(const struct mailbox_process *process, const char *user)
{
	struct log_line line;

	log_begin(&line, LOG_LEVEL_INFO, "child-started");
	log_text(&line, "program", "mailbox");
	log_number(&line, "pid", process->pid);
	log_number(&line, "uid", process->uid);
	log_number(&line, "gid", process->gid);
	log_text(&line, "user", user);
	log_end(&line);
}

static void
begin(struct supervisor *supervisor, struct mailbox_process *process,
    const struct ipc_mailbox *mailbox)
{
	struct buf payload;

	(void)send_config(supervisor, process->channel, PROGRAM_MAILBOX);
	if (supervisor->trace != 0)
		send_log(supervisor, process->channel, false);
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_mailbox_encode(&payload, mailbox);
	channel_send(process->channel, SUPERVISOR_MAILBOX_OPEN, 0, 0, -1, &payload);
	buf_free(&payload);
}

static void
process_free(struct mailbox_process *process)
{
	if (process->timer != NULL)
		event_free(process->timer);
	channel_free(process->channel);
	free(process->path);
	free(process);
}

static struct mailbox_process *
spawn(struct supervisor *supervisor, const struct ipc_mailbox *mailbox)
{
	struct spawn request = { .directory = supervisor->programs,
		.program = PROGRAM_MAILBOX,
		.has_user = supervisor->accounts.privileged,
		.uid = mailbox->uid,
		.gid = mailbox->gid,
		.descriptors = DESCRIPTORS,
		.verbose = supervisor->verbose,
		.target = supervisor->log_target,
		.log_fd = supervisor->log_fd,
		.queue_fd = -1 };
	struct mailbox_process *process = calloc(1, sizeof(*process));
	int ends[2];

	if (process == NULL)
		return NULL;
	process->supervisor = supervisor;
	process->uid = mailbox->uid;
	process->gid = mailbox->gid;
	process->path = strdup(mailbox->path);
	process->timer = evtimer_new(supervisor->base, on_timer, process);
	if (process->path == NULL || process->timer == NULL ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
		process_free(process);
		return NULL;
	}
	request.channel_fd = ends[1];
	/* What his mda may reach, he may. */
	request.group_count = accounts_groups(
	    &supervisor->accounts, mailbox->uid, mailbox->gid, request.groups, CHILD_GROUPS_MAX);
	process->pid = spawn_program(&request);
	close(ends[1]);
	if (process->pid == -1) {
		close(ends[0]);
		process_free(process);
		return NULL;
	}
	process->channel =
	    channel_new(supervisor->base, "mailbox", ends[0], on_receive, on_closed, process);
	TAILQ_INSERT_TAIL(&supervisor->mailboxes, process, entry);
	supervisor->mailbox_count++;
	begin(supervisor, process, mailbox);
	log_started(process, mailbox->user);
	return process;
}

static struct mailbox_process *
find(struct supervisor *supervisor, const struct ipc_mailbox *mailbox)
{
	struct mailbox_process *process;

	TAILQ_FOREACH(process, &supervisor->mailboxes, entry)
	if (!process->is_ending && process->uid == mailbox->uid && process->gid == mailbox->gid &&
	    strcmp(process->path, mailbox->path) == 0)
		break;
	return process;
}

/* The other end of the connection, or -1 with the reason. */
static int
connect_session(
    struct supervisor *supervisor, const struct ipc_mailbox *mailbox, char *why, size_t size)
{
	struct mailbox_process *process = find(supervisor, mailbox);
	int ends[2];

	if (supervisor->state >= SUPERVISOR_STOP_LISTENERS) {
		snprintf(why, size, "the mail server stops");
		return -1;
	}
	if (process == NULL && supervisor->mailbox_count >= PROCESSES_MAX) {
		snprintf(why, size, "too many mailbox processes");
		return -1;
	}
	if (process != NULL && process->sessions >= SESSIONS_MAX) {
		snprintf(why, size, "too many sessions");
		return -1;
	}
	if (process == NULL &&
	    !accounts_may_deliver(&supervisor->accounts, mailbox->uid, mailbox->gid, why, size))
		return -1;
	if (process == NULL)
		process = spawn(supervisor, mailbox);
	if (process == NULL || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
		snprintf(why, size, "can't start a mailbox process: %m");
		return -1;
	}
	process->sessions++;
	(void)event_del(process->timer);
	channel_send(process->channel, SUPERVISOR_MAILBOX_SESSION, 0, 0, ends[1], NULL);
	return ends[0];
}

bool
mailbox_login(struct supervisor *supervisor, const struct imsg *imsg)
{
	bool is_login = imsg->type == DIRECTORY_SUPERVISOR_LOGIN;
	struct channel *channel =
	    children_channel(supervisor, is_login ? PROGRAM_MAILACCESS : PROGRAM_CONTROL);
	struct ipc_mailbox_login login;
	struct ipc_mailbox_opened opened;
	struct buf_reader reader;
	struct log_line line;
	struct buf payload;
	char why[WHY_MAX];
	int fd;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_mailbox_login_decode(&reader, &login) || imsg->fd != -1)
		return false;
	if (channel == NULL)
		return true; /* its client is gone with it */
	fd = connect_session(supervisor, &login.mailbox, why, sizeof(why));
	if (fd == -1) {
		log_begin(&line, LOG_LEVEL_WARNING, "mailbox-refused");
		log_text(&line, "user", login.mailbox.user);
		log_number(&line, "uid", login.mailbox.uid);
		log_text(&line, "reason", why);
		log_end(&line);
	}
	opened.session = login.session;
	buf_init(&payload, 64);
	ipc_mailbox_opened_encode(&payload, &opened);
	channel_send(channel, is_login ? SUPERVISOR_ACCESS_MAILBOX : SUPERVISOR_CONTROL_SESSION, 0,
	    0, fd, &payload);
	buf_free(&payload);
	return true;
}

bool
mailbox_reaped(struct supervisor *supervisor, pid_t pid, int status)
{
	struct mailbox_process *process;
	struct log_line line;

	TAILQ_FOREACH(process, &supervisor->mailboxes, entry)
	if (process->pid == pid)
		break;
	if (process == NULL)
		return false;
	TAILQ_REMOVE(&supervisor->mailboxes, process, entry);
	supervisor->mailbox_count--;
	if (status == 0)
		log_begin(&line, LOG_LEVEL_DEBUG, "child-finished");
	else
		log_begin(&line, LOG_LEVEL_WARNING, "child-exited");
	log_text(&line, "program", "mailbox");
	log_number(&line, "pid", pid);
	log_number(&line, "uid", process->uid);
	log_exit_status(&line, status);
	log_end(&line);
	process_free(process);
	return true;
}

void
mailbox_configure_all(struct supervisor *supervisor)
{
	struct mailbox_process *process;

	TAILQ_FOREACH(process, &supervisor->mailboxes, entry)
	if (process->channel != NULL)
		(void)send_config(supervisor, process->channel, PROGRAM_MAILBOX);
}

void
mailbox_send_log(struct supervisor *supervisor, bool with_fd)
{
	struct mailbox_process *process;

	TAILQ_FOREACH(process, &supervisor->mailboxes, entry)
	if (process->channel != NULL)
		send_log(supervisor, process->channel, with_fd);
}

void
mailbox_stop_all(struct supervisor *supervisor)
{
	struct mailbox_process *process;

	TAILQ_FOREACH(process, &supervisor->mailboxes, entry)
	stop(process);
}

void
mailbox_kill_all(struct supervisor *supervisor)
{
	struct mailbox_process *process;

	TAILQ_FOREACH(process, &supervisor->mailboxes, entry)
	(void)kill(process->pid, SIGKILL);
}
