/*
 * mda processes. The queue asks for one by uid and gid and gets the other end of its channel; it
 * isn't restarted when it dies: the queue asks again when there is mail for that owner.
 */
#include <sys/socket.h>
#include <sys/wait.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "smtpd/supervisor_state.h"

/* More than the queue ever wants (it ends idle ones): a bound for one that was taken over. */
#define PROCESSES_SLACK 16
#define GRACE_SECONDS   10 /* between the end of an mda's channel and its own */
/* A delivery waiting or at work, in a mailbox that no other of its batch goes to: with fewer, the
 * mda would make smaller batches than it is given. */
#define DESCRIPTORS_EACH 20

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct mda *mda = arg;

	(void)fd;
	(void)what;
	(void)kill(mda->pid, SIGKILL);
}

static void
on_closed(struct channel *channel, const char *why, void *arg)
{
	struct timeval grace = { .tv_sec = GRACE_SECONDS };
	struct mda *mda = arg;

	mda->channel = NULL;
	channel_free(channel);
	if (strcmp(why, "closed") != 0) {
		log_warning("mda %d: %s", (int)mda->pid, why);
		(void)kill(mda->pid, SIGKILL);
	} else if (!evtimer_pending(mda->timer, NULL) && event_add(mda->timer, &grace) != 0) {
		fatalx("no timer");
	}
}

static void
on_receive(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct mda *mda = arg;

	if (imsg->length == 0 && imsg->fd == -1) {
		switch ((enum ipc_supervisor_type)imsg->type) {
		case CHILD_SUPERVISOR_CONFIGURED:
		case CHILD_SUPERVISOR_READY:
			return;
		case CHILD_SUPERVISOR_LOG_LOST:
			supervisor_log_lost(mda->supervisor);
			return;
		case CHILD_SUPERVISOR_REJECTED:
		case QUEUE_SUPERVISOR_MDA_START:
		case CONTROL_SUPERVISOR_REQUEST:
		case SUPERVISOR_CHILD_CONFIG:
		case SUPERVISOR_CHILD_STATS:
		case SUPERVISOR_CHILD_PEER:
		case SUPERVISOR_CHILD_LISTEN:
		case SUPERVISOR_CHILD_START:
		case SUPERVISOR_CHILD_LOG:
		case SUPERVISOR_CHILD_PAUSE:
		case SUPERVISOR_CHILD_RESUME:
		case SUPERVISOR_CHILD_STOP:
		case SUPERVISOR_QUEUE_MDA_STARTED:
		case SUPERVISOR_CONTROL_DONE:
		case SUPERVISOR_RESOLVER_HOSTS:
		case SUPERVISOR_RESOLVER_NAMESERVERS:
		case SUPERVISOR_RESOLVER_ANCHORS:
		case SUPERVISOR_CHILD_CERTIFICATE:
		case SUPERVISOR_CHILD_AUTHORITIES:
		case SUPERVISOR_CHILD_TICKET_KEYS:
		case SUPERVISOR_CHILD_DKIM_KEYS:
		case SUPERVISOR_KEEPER_GENERATE:
		case SUPERVISOR_KEEPER_FORGET:
		case SUPERVISOR_CONTROL_LINE:
		case KEEPER_SUPERVISOR_GENERATED:
		case CONTROL_SUPERVISOR_DKIM:
		case SUPERVISOR_KEEPER_KEY:
		case KEEPER_SUPERVISOR_KEY_TAKEN:
		case DIRECTORY_SUPERVISOR_LOGIN:
		case DIRECTORY_SUPERVISOR_SCRIPTS:
		case SUPERVISOR_CONTROL_SESSION:
		case SUPERVISOR_ACCESS_MAILBOX:
		case SUPERVISOR_MAILBOX_OPEN:
		case SUPERVISOR_MAILBOX_SESSION:
		case MAILBOX_SUPERVISOR_ENDED:
		case SUPERVISOR_RELAY_CONNECTED:
		case RELAY_SUPERVISOR_CONNECT:
			break;
		}
	}
	channel_reject(channel, imsg, "not allowed here");
}

static void
begin(struct supervisor *supervisor, struct mda *mda)
{
	struct ipc_start start = { .listeners = supervisor->listener_count };
	struct buf payload;

	(void)send_config(supervisor, mda->channel, PROGRAM_MDA);
	if (supervisor->trace != 0)
		send_log(supervisor, mda->channel, false);
	buf_init(&payload, 64);
	ipc_start_encode(&payload, &start);
	channel_send(mda->channel, SUPERVISOR_CHILD_START, 0, 0, -1, &payload);
	buf_free(&payload);
}

/* The queue's end of the new process's channel, or -1 with the reason. */
static int
spawn(struct supervisor *supervisor, const struct ipc_mda_start *start, gid_t group, char *why,
    size_t size)
{
	struct spawn request = { .directory = supervisor->programs,
		.program = PROGRAM_MDA,
		.has_user = supervisor->accounts.privileged,
		.uid = start->uid,
		.gid = start->gid,
		.for_mbox = start->mail_group,
		.descriptors = supervisor->config->mda_sessions * DESCRIPTORS_EACH + 256,
		.verbose = supervisor->verbose,
		.target = supervisor->log_target,
		.log_fd = supervisor->log_fd };
	struct mda *mda = calloc(1, sizeof(*mda));
	int ours[2] = { -1, -1 }, theirs[2] = { -1, -1 };

	if (mda == NULL || (mda->timer = evtimer_new(supervisor->base, on_timer, mda)) == NULL ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ours) != 0 ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, theirs) != 0)
		goto fail;
	request.channel_fd = ours[1];
	request.queue_fd = theirs[1];
	if (request.has_user)
		request.group_count = accounts_groups(&supervisor->accounts, start->uid, start->gid,
		    request.groups, CHILD_GROUPS_MAX - 1);
	if (start->mail_group)
		request.groups[request.group_count++] = group;
	mda->pid = spawn_program(&request);
	if (mda->pid == -1)
		goto fail;
	close(ours[1]);
	close(theirs[1]);
	mda->supervisor = supervisor;
	mda->uid = start->uid;
	mda->gid = start->gid;
	mda->mail_group = start->mail_group;
	mda->channel = channel_new(supervisor->base, "mda", ours[0], on_receive, on_closed, mda);
	TAILQ_INSERT_TAIL(&supervisor->mdas, mda, entry);
	supervisor->mda_count++;
	begin(supervisor, mda);
	return theirs[0];
fail:
	snprintf(why, size, "can't start an mda: %m");
	if (ours[0] != -1) {
		close(ours[0]);
		close(ours[1]);
	}
	if (theirs[0] != -1) {
		close(theirs[0]);
		close(theirs[1]);
	}
	if (mda != NULL && mda->timer != NULL)
		event_free(mda->timer);
	free(mda);
	return -1;
}

/*
 * The queue has one mda for an owner. When it asks for another, it has closed the channel to the
 * one before: that ends by itself, unless it hangs (in a filesystem that is gone).
 */
static void
end_older(struct supervisor *supervisor, const struct ipc_mda_start *start)
{
	struct timeval grace = { .tv_sec = GRACE_SECONDS };
	struct mda *mda;

	TAILQ_FOREACH(mda, &supervisor->mdas, entry)
	{
		if (mda->uid == start->uid && mda->gid == start->gid &&
		    mda->mail_group == start->mail_group && !evtimer_pending(mda->timer, NULL) &&
		    event_add(mda->timer, &grace) != 0)
			fatalx("no timer");
	}
}

static void
log_started(const struct supervisor *supervisor, const struct ipc_mda_start *start, const char *why)
{
	struct log_line line;

	if (why != NULL) {
		log_begin(&line, LOG_LEVEL_WARNING, "mda-refused");
	} else {
		log_begin(&line, LOG_LEVEL_INFO, "child-started");
		log_text(&line, "program", "mda");
		log_number(&line, "pid", TAILQ_LAST(&supervisor->mdas, mda_list)->pid);
	}
	log_number(&line, "uid", start->uid);
	log_number(&line, "gid", start->gid);
	if (start->mail_group)
		log_text(&line, "group", "mail");
	if (why != NULL)
		log_text(&line, "reason", why);
	log_end(&line);
}

/* Who is in that group can do much to others' mailboxes: it is given only where the configuration
 * has a use for it, whatever the queue asks for. */
static bool
find_group(const struct supervisor *supervisor, gid_t *group, char *why, size_t size)
{
	const struct config *config = supervisor->config;

	if (!supervisor->accounts.privileged)
		return true;
	for (size_t i = 0; i < config->action_count; i++) {
		if (config->actions[i].method == ACTION_MBOX) {
			*group = accounts_mail_group(&supervisor->accounts, why, size);
			return *group != 0;
		}
	}
	snprintf(why, size, "no action delivers to mbox files");
	return false;
}

bool
mda_start(struct supervisor *supervisor, struct channel *queue, const struct imsg *imsg)
{
	struct ipc_mda_start start;
	struct ipc_done done = { .success = false };
	struct buf_reader reader;
	struct buf payload;
	gid_t group = 0;
	int fd = -1;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_mda_start_decode(&reader, &start) || imsg->fd != -1)
		return false;
	end_older(supervisor, &start);
	if (supervisor->state >= SUPERVISOR_STOP_RELAY)
		snprintf(done.words, sizeof(done.words), "the mail server stops");
	else if (supervisor->mda_count >= supervisor->config->mda_processes + PROCESSES_SLACK)
		snprintf(done.words, sizeof(done.words), "too many mda processes");
	else if (accounts_may_deliver(
	             &supervisor->accounts, start.uid, start.gid, done.words, sizeof(done.words)) &&
	    (!start.mail_group || find_group(supervisor, &group, done.words, sizeof(done.words))))
		fd = spawn(supervisor, &start, group, done.words, sizeof(done.words));
	done.success = fd != -1;
	log_started(supervisor, &start, done.success ? NULL : done.words);
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_done_encode(&payload, &done);
	channel_send(queue, SUPERVISOR_QUEUE_MDA_STARTED, imsg->id, imsg->peer, fd, &payload);
	buf_free(&payload);
	return true;
}

bool
mda_reaped(struct supervisor *supervisor, pid_t pid, int status)
{
	struct log_line line;
	struct mda *mda;

	TAILQ_FOREACH(mda, &supervisor->mdas, entry)
	if (mda->pid == pid)
		break;
	if (mda == NULL)
		return false;
	TAILQ_REMOVE(&supervisor->mdas, mda, entry);
	supervisor->mda_count--;
	channel_free(mda->channel);
	if (status == 0)
		log_begin(&line, LOG_LEVEL_DEBUG, "child-finished");
	else
		log_begin(&line, LOG_LEVEL_WARNING, "child-exited");
	log_text(&line, "program", "mda");
	log_number(&line, "pid", pid);
	log_number(&line, "uid", mda->uid);
	log_exit_status(&line, status);
	log_end(&line);
	event_free(mda->timer);
	free(mda);
	return true;
}

void
mda_configure_all(struct supervisor *supervisor)
{
	struct mda *mda;

	TAILQ_FOREACH(mda, &supervisor->mdas, entry)
	{
		if (mda->channel != NULL)
			(void)send_config(supervisor, mda->channel, PROGRAM_MDA);
	}
}

void
mda_send_log(struct supervisor *supervisor, bool with_fd)
{
	struct mda *mda;

	TAILQ_FOREACH(mda, &supervisor->mdas, entry)
	{
		if (mda->channel != NULL)
			send_log(supervisor, mda->channel, with_fd);
	}
}

void
mda_stop_all(struct supervisor *supervisor)
{
	struct mda *mda;

	TAILQ_FOREACH(mda, &supervisor->mdas, entry)
	{
		if (mda->channel == NULL || mda->is_told_to_stop)
			continue;
		mda->is_told_to_stop = true;
		channel_send(mda->channel, SUPERVISOR_CHILD_STOP, 0, 0, -1, NULL);
	}
}

void
mda_kill_all(struct supervisor *supervisor)
{
	struct mda *mda;

	TAILQ_FOREACH(mda, &supervisor->mdas, entry)
	(void)kill(mda->pid, SIGKILL);
}
