/*
 * directory: answers who may be mailed to and where that goes, for listeners and the queue, and
 * keeps the accounts database for smtpctl.
 *
 * Everything is answered at once, from memory or the database's cache, in the order in which it was
 * asked; only a recipient whose quota must be asked of its mda waits, as a struct job. Listeners
 * and the queue are trusted less than this process: a frame that isn't as its channel says costs
 * them the channel, and the supervisor is told.
 */
#include <sys/queue.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/child.h"
#include "common/clock.h"
#include "common/child_supervisor.h"
#include "common/config.h"
#include "common/imsg.h"
#include "common/ipc_control.h"
#include "common/ipc_directory.h"
#include "common/ipc_mailbox.h"
#include "common/ipc_supervisor.h"
#include "common/landlock.h"
#include "common/log.h"
#include "common/sandbox.h"
#include "lookup/accounts.h"
#include "lookup/auth.h"
#include "lookup/directory_state.h"
#include "lookup/history.h"
#include "lookup/hourly.h"
#include "lookup/login.h"
#include "lookup/mailbox.h"
#include "lookup/policies.h"
#include "lookup/senders.h"
#include "lookup/site.h"
#include "lookup/tls_sender.h"
#include "lookup/tls_sums.h"
#include "lookup/usage.h"

#define STOP_MS         500
#define CHANNEL_BACKLOG (4UL * 1024 * 1024) /* a peer that doesn't read is not read from */
#define JOBS_MAX        10000 /* a peer's: as many as a listener has sessions by default */

struct directory directory = {
	.jobs = TAILQ_HEAD_INITIALIZER(directory.jobs),
	.listings = TAILQ_HEAD_INITIALIZER(directory.listings),
};

struct buf *
directory_payload(void)
{
	buf_clear(&directory.payload);
	return &directory.payload;
}

void
directory_forget(void)
{
	usage_forget(directory.usage);
	if (directory.queue.channel != NULL)
		channel_send(directory.queue.channel, DIRECTORY_FORGET, 0, 0, -1, NULL);
}

/* Recipients */

static void
send_recipient(struct peer *peer, uint32_t id, const struct expanded *expanded)
{
	struct buf *frame;

	if (peer == NULL || peer->channel == NULL)
		return;
	for (size_t i = 0; reply_is_success(&expanded->reply) && i < expanded->count; i++) {
		frame = directory_payload();
		ipc_target_encode(frame, &expanded->targets[i]);
		channel_send(peer->channel, DIRECTORY_TARGET, id, 0, -1, frame);
	}
	frame = directory_payload();
	reply_encode(frame, &expanded->reply);
	channel_send(peer->channel, DIRECTORY_RCPT_DONE, id, 0, -1, frame);
}

struct job *
directory_add_job(struct peer *peer, const struct imsg *imsg, const struct ipc_rcpt *rcpt)
{
	struct job *job;

	if (peer->job_count >= JOBS_MAX)
		return NULL;
	job = calloc(1, sizeof(*job));
	if (job == NULL)
		fatal("out of memory");
	peer->job_count++;
	job->peer = peer;
	job->id = imsg->id;
	job->frame_peer = imsg->peer;
	job->rcpt = *rcpt;
	job->forwards = forward_set_new(directory.forwards, job);
	TAILQ_INSERT_TAIL(&directory.jobs, job, next);
	return job;
}

void
directory_end_job(struct job *job)
{
	TAILQ_REMOVE(&directory.jobs, job, next);
	if (job->peer != NULL)
		job->peer->job_count--;
	forward_set_free(job->forwards);
	expanded_free(&job->expanded);
	free(job);
}

static void
finish_recipient(struct peer *peer, uint32_t id, struct expanded *expanded)
{
	send_recipient(peer, id, expanded);
	expanded_free(expanded);
}

static bool
ask_usage(uint32_t id, const struct ipc_mailbox *mailbox, void *arg)
{
	struct buf *frame = directory_payload();

	(void)arg;
	if (directory.queue.channel == NULL)
		return false;
	ipc_mailbox_encode(frame, mailbox);
	channel_send(directory.queue.channel, DIRECTORY_USAGE, id, 0, -1, frame);
	return true;
}

static void
usage_decided(void *owner, bool fits, void *arg)
{
	struct job *job = owner;

	(void)arg;
	if (!fits)
		reply_set(
		    &job->expanded.reply, 452, "4.2.2", "the mailbox is full, try again later");
	if (job->is_explanation)
		directory_end_explanation(job);
	else
		finish_recipient(job->peer, job->id, &job->expanded);
	directory_end_job(job);
}

void
directory_refuse_hourly(struct reply *reply)
{
	reply_set(reply, 450, "4.7.1", "you have sent %u mails within an hour, try again later",
	    directory.site->config->user_mails_per_hour);
}

/* A user's recipient more; one over the hourly limit is refused or held. */
static void
count_for_user(const struct ipc_rcpt *rcpt, struct expanded *expanded)
{
	const struct config *config = directory.site->config;
	struct log_line line;
	bool first;

	if (config->user_mails_per_hour == 0 || *rcpt->auth_user == '\0' ||
	    !reply_is_success(&expanded->reply) ||
	    hourly_take(directory.hourly, rcpt->auth_user, config->user_mails_per_hour,
	        clock_monotonic_ms(), &first))
		return;
	if (first) {
		log_begin(&line, LOG_LEVEL_WARNING, "user-over-limit");
		log_text(&line, "user", rcpt->auth_user);
		log_number(&line, "mails_per_hour", config->user_mails_per_hour);
		log_text(&line, "action", config->user_mails_hold ? "hold" : "refuse");
		log_end(&line);
	}
	if (!config->user_mails_hold)
		directory_refuse_hourly(&expanded->reply);
	for (size_t i = 0; i < expanded->count; i++)
		expanded->targets[i].held = config->user_mails_hold;
}

/* Only a recipient that is one mailbox is refused for its quota: of a list's members, one that is
 * full shouldn't keep the mail from the others. */
void
directory_check_quota(struct job *job)
{
	const struct ipc_mailbox *mailbox = &job->expanded.mailbox;

	if (!reply_is_success(&job->expanded.reply) || mailbox->reply.code == 0 ||
	    (mailbox->quota_bytes == 0 && mailbox->quota_messages == 0)) {
		usage_decided(job, true, NULL);
		return;
	}
	switch (usage_check(directory.usage, mailbox, job->rcpt.size, job)) {
	case USAGE_FITS:
		usage_decided(job, true, NULL);
		break;
	case USAGE_OVER:
		usage_decided(job, false, NULL);
		break;
	case USAGE_ASKED:
		break;
	}
}

static void
expand_job(struct job *job)
{
	if (job->peer == NULL) {
		directory_end_job(job);
		return;
	}
	for (;;) {
		expand_recipient(directory.site, &job->rcpt, job->forwards, &job->expanded);
		if (!job->expanded.waits)
			break;
		expanded_free(&job->expanded);
		if (!forward_set_gather(job->forwards))
			return;
	}
	if (job->peer->program == PROGRAM_LISTENER)
		count_for_user(&job->rcpt, &job->expanded);
	directory_check_quota(job);
}

static bool
ask_forward(uint32_t id, const struct ipc_mailbox *mailbox, void *arg)
{
	struct buf *frame = directory_payload();

	(void)arg;
	if (directory.queue.channel == NULL)
		return false;
	ipc_mailbox_encode(frame, mailbox);
	channel_send(directory.queue.channel, DIRECTORY_FORWARD, id, 0, -1, frame);
	return true;
}

static void
forwards_known(void *owner, void *arg)
{
	struct job *job = owner;

	(void)arg;
	if (job->is_explanation)
		directory_explain(job);
	else
		expand_job(job);
}

static void
receive_recipient(struct peer *peer, const struct imsg *imsg)
{
	struct buf_reader reader;
	struct ipc_rcpt rcpt;
	struct reply refusal;
	struct job *job;
	struct buf *frame;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_rcpt_decode(&reader, &rcpt) || !buf_reader_done(&reader)) {
		channel_reject(peer->channel, imsg, "a recipient that can't be decoded");
		return;
	}
	/* The queue alone asks for mail of its own, and past the rules. */
	if (peer->program == PROGRAM_LISTENER &&
	    (rcpt.client_family == CLIENT_INTERNAL || *rcpt.user_action != '\0')) {
		channel_reject(peer->channel, imsg, "a listener that says it is the queue");
		return;
	}
	/* Of what the queue asks about again, the sender was checked when it came. */
	if (peer->program == PROGRAM_LISTENER && *rcpt.auth_user != '\0' &&
	    !senders_allow(directory.site, &rcpt, &refusal)) {
		frame = directory_payload();
		reply_encode(frame, &refusal);
		channel_send(peer->channel, DIRECTORY_RCPT_DONE, imsg->id, 0, -1, frame);
		return;
	}
	job = directory_add_job(peer, imsg, &rcpt);
	if (job == NULL) {
		reply_set(&refusal, 451, "4.3.2",
		    "too many recipients wait to be checked, try again later");
		frame = directory_payload();
		reply_encode(frame, &refusal);
		channel_send(peer->channel, DIRECTORY_RCPT_DONE, imsg->id, 0, -1, frame);
		return;
	}
	expand_job(job);
}

/* Mailboxes */

static void
receive_mailbox(struct peer *peer, const struct imsg *imsg)
{
	struct buf_reader reader;
	struct ipc_mailbox_request request;
	struct ipc_mailbox mailbox;
	struct buf *frame;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_mailbox_request_decode(&reader, &request) || !buf_reader_done(&reader)) {
		channel_reject(peer->channel, imsg, "a mailbox that can't be decoded");
		return;
	}
	mailbox_answer(directory.site, &request, &mailbox);
	frame = directory_payload();
	ipc_mailbox_encode(frame, &mailbox);
	channel_send(peer->channel, DIRECTORY_MAILBOX_DONE, imsg->id, 0, -1, frame);
}

static void
receive_forward(struct peer *peer, const struct imsg *imsg)
{
	static struct ipc_forward forward;
	struct buf_reader reader;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_forward_decode(&reader, &forward) || !buf_reader_done(&reader)) {
		channel_reject(peer->channel, imsg, "a .forward that can't be decoded");
		return;
	}
	forwards_answer(directory.forwards, imsg->id, &forward);
}

static void
receive_usage(struct peer *peer, const struct imsg *imsg)
{
	struct buf_reader reader;
	struct ipc_usage usage;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_usage_decode(&reader, &usage) || !buf_reader_done(&reader)) {
		channel_reject(peer->channel, imsg, "a usage that can't be decoded");
		return;
	}
	usage_answer(directory.usage, imsg->id, &usage);
}

/* Logins */

static void
send_challenge(void *owner, uint32_t request, const void *data, size_t length)
{
	const struct peer *peer = owner;
	struct ipc_auth_data challenge = { .length = (uint16_t)length };
	struct buf *frame = directory_payload();

	memcpy(challenge.bytes, data, length);
	ipc_auth_data_encode(frame, &challenge);
	channel_send(peer->channel, DIRECTORY_AUTH_CHALLENGE, request, 0, -1, frame);
}

static void
send_auth_done(void *owner, uint32_t request, const struct ipc_auth_done *done)
{
	const struct peer *peer = owner;
	struct buf *frame = directory_payload();

	ipc_auth_done_encode(frame, done);
	channel_send(peer->channel, DIRECTORY_AUTH_DONE, request, 0, -1, frame);
}

/* Before who logs in for mail hears of it, the supervisor is told which Maildir it is. */
static bool
admit(void *owner, uint64_t session, const char *user, struct reply *why)
{
	const struct peer *peer = owner;
	struct ipc_mailbox_login login = { .session = session };
	struct buf *frame;

	if (peer->program != PROGRAM_MAILACCESS)
		return true;
	if (!login_find_mailbox(directory.site, user, &login.mailbox)) {
		*why = login.mailbox.reply;
		return false;
	}
	frame = directory_payload();
	ipc_mailbox_login_encode(frame, &login);
	channel_send(directory.supervisor.channel, DIRECTORY_SUPERVISOR_LOGIN, 0, 0, -1, frame);
	return true;
}

static const struct auth_calls auth_calls = { send_challenge, send_auth_done, admit };

/* Listeners have no mailboxes to give, and mailaccess takes no mail. */
static bool
is_service_of(const struct peer *peer, const char *service)
{
	bool is_access = strcmp(service, "imap") == 0 || strcmp(service, "pop3") == 0 ||
	    strcmp(service, "sieve") == 0;

	return is_access == (peer->program == PROGRAM_MAILACCESS);
}

static void
receive_auth(struct peer *peer, const struct imsg *imsg)
{
	struct buf_reader reader;
	struct ipc_auth auth;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_auth_decode(&reader, &auth) || !buf_reader_done(&reader))
		channel_reject(peer->channel, imsg, "a login that can't be decoded");
	else if (!is_service_of(peer, auth.service))
		channel_reject(peer->channel, imsg, "a login to a service of others");
	else
		auth_begin(directory.auth, peer, imsg->id, &auth);
	explicit_bzero(&auth, sizeof(auth));
}

static void
receive_auth_response(struct peer *peer, const struct imsg *imsg)
{
	struct buf_reader reader;
	struct ipc_auth_data data;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_auth_data_decode(&reader, &data) || !buf_reader_done(&reader))
		channel_reject(peer->channel, imsg, "a response that can't be decoded");
	else if (!auth_respond(directory.auth, peer, imsg->peer, imsg->id, &data))
		channel_reject(peer->channel, imsg, "a response to a login that wasn't asked");
	explicit_bzero(&data, sizeof(data));
}

static void
receive_report_done(struct peer *peer, const struct imsg *imsg)
{
	struct buf_reader reader;
	struct reply reply;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (reply_decode(&reader, &reply) && buf_reader_done(&reader))
		tls_sender_answered(directory.tls_sender, imsg->id, &reply);
	else
		channel_reject(peer->channel, imsg, "not an answer about a report");
}

/* Peers */

/* A peer that asks and doesn't read its answers is not read from until it has. */
static void
peer_drained(struct channel *channel, void *arg)
{
	struct peer *peer = arg;

	if (peer->paused) {
		peer->paused = false;
		channel_pause(channel, false);
	}
	if (peer->program == PROGRAM_CONTROL)
		directory_continue_listings(channel, NULL);
}

static bool
is_login(const struct imsg *imsg)
{
	return imsg->type == DIRECTORY_AUTH || imsg->type == DIRECTORY_AUTH_RESPONSE ||
	    imsg->type == DIRECTORY_AUTH_CANCEL;
}

/* Whose clients have passwords. */
static bool
logs_in(const struct peer *peer)
{
	return peer->program == PROGRAM_LISTENER || peer->program == PROGRAM_MAILACCESS;
}

static void
receive_peer(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct peer *peer = arg;

	if (peer->program == PROGRAM_RELAY)
		directory_receive_relay(peer, imsg);
	else if (peer->program == PROGRAM_MAILACCESS && !is_login(imsg))
		channel_reject(channel, imsg, "not a message of this channel");
	else if (peer->program == PROGRAM_CONTROL && imsg->type == CONTROL_ACCOUNT)
		directory_receive_account(peer, imsg);
	else if (peer->program == PROGRAM_CONTROL && imsg->type == CONTROL_EXPLAIN)
		directory_receive_explain(peer, imsg);
	else if (peer->program == PROGRAM_CONTROL && imsg->type == CONTROL_SCRIPTS)
		directory_receive_scripts(peer, imsg);
	else if (peer->program == PROGRAM_CONTROL && imsg->type == CONTROL_TRACE_MESSAGE)
		directory_receive_trace(peer, imsg);
	else if (peer->program != PROGRAM_CONTROL && imsg->type == DIRECTORY_RCPT)
		receive_recipient(peer, imsg);
	else if (logs_in(peer) && imsg->type == DIRECTORY_AUTH)
		receive_auth(peer, imsg);
	else if (logs_in(peer) && imsg->type == DIRECTORY_AUTH_RESPONSE)
		receive_auth_response(peer, imsg);
	else if (logs_in(peer) && imsg->type == DIRECTORY_AUTH_CANCEL && imsg->length == 0)
		auth_cancel(directory.auth, peer, imsg->peer);
	else if (peer->program == PROGRAM_QUEUE && imsg->type == DIRECTORY_MAILBOX)
		receive_mailbox(peer, imsg);
	else if (peer->program == PROGRAM_QUEUE && imsg->type == DIRECTORY_USAGE_DONE)
		receive_usage(peer, imsg);
	else if (peer->program == PROGRAM_QUEUE && imsg->type == DIRECTORY_FORWARD_DONE)
		receive_forward(peer, imsg);
	else if (peer->program == PROGRAM_QUEUE && imsg->type == DIRECTORY_REPORT_DONE)
		receive_report_done(peer, imsg);
	else if (peer->program == PROGRAM_QUEUE && imsg->type == DIRECTORY_HISTORY) {
		if (!history_add(directory.history, imsg->payload, imsg->length))
			channel_reject(channel, imsg, "not history");
	} else {
		channel_reject(channel, imsg, "not a message of this channel");
		return;
	}
	if (peer->channel == channel && !peer->paused &&
	    channel_queued(channel) > CHANNEL_BACKLOG) {
		peer->paused = true;
		channel_pause(channel, true);
	}
}

/* What waited for this peer's question or on its answer. */
static void
drop_peer(struct peer *peer)
{
	struct job *job;

	channel_free(peer->channel);
	peer->channel = NULL;
	peer->paused = false;
	peer->job_count = 0;
	auth_drop_peer(directory.auth, peer);
	TAILQ_FOREACH(job, &directory.jobs, next)
	{
		if (job->peer == peer)
			job->peer = NULL;
	}
	if (peer->program == PROGRAM_QUEUE) {
		usage_fail_all(directory.usage, "the queue is restarting");
		forwards_fail_all(directory.forwards, "the queue is restarting");
		tls_sender_set_queue(directory.tls_sender, NULL);
	}
	if (peer->program == PROGRAM_RELAY)
		tls_sender_set_relay(directory.tls_sender, NULL);
	if (peer->program == PROGRAM_CONTROL) {
		directory_end_listings();
		history_forget_asker(directory.history);
	}
}

static void
peer_closed(struct channel *channel, const char *why, void *arg)
{
	struct peer *peer = arg;

	log_debug("the channel to %s is closed: %s", channel_name(channel), why);
	ipc_report_rejected(directory.supervisor.channel, channel, peer->program,
	    peer->program == PROGRAM_LISTENER ? (uint32_t)(peer - directory.listeners) : 0);
	drop_peer(peer);
	if (directory.stopping != NULL && peer->program == PROGRAM_RELAY)
		event_active(directory.stopping, 0, 0);
}

static struct peer *
find_peer(const struct ipc_peer *named)
{
	switch (named->program) {
	case PROGRAM_LISTENER:
		return named->instance < LISTENERS_MAX ? &directory.listeners[named->instance]
		                                       : NULL;
	case PROGRAM_QUEUE:
		return &directory.queue;
	case PROGRAM_CONTROL:
		return &directory.control;
	case PROGRAM_RELAY:
		return &directory.relay;
	case PROGRAM_MAILACCESS:
		return &directory.access;
	case PROGRAM_SUPERVISOR:
	case PROGRAM_DIRECTORY:
	case PROGRAM_RESOLVER:
	case PROGRAM_MDA:
	case PROGRAM_KEEPER:
	case PROGRAM_MAILBOX:
	case PROGRAM_COUNT:
		break;
	}
	return NULL;
}

static bool
connect_peer(const struct ipc_peer *named, int fd)
{
	struct peer *peer = find_peer(named);

	if (peer == NULL)
		return false;
	if (peer->channel != NULL)
		drop_peer(peer);
	peer->program = named->program;
	peer->channel = channel_new(
	    directory.base, program_name(named->program), fd, receive_peer, peer_closed, peer);
	channel_on_drained(peer->channel, peer_drained);
	if (peer->program == PROGRAM_QUEUE)
		tls_sender_set_queue(directory.tls_sender, peer->channel);
	if (peer->program == PROGRAM_RELAY)
		tls_sender_set_relay(directory.tls_sender, peer->channel);
	return true;
}

/* The supervisor */

/* Before the first thread is started. All that it writes is in one directory. */
static void
confine(const char *state_directory)
{
	int fd = open(state_directory, O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd == -1)
		fatal("%s", state_directory);
	(void)landlock_confine(LANDLOCK_READ | LANDLOCK_TCP, fd);
	(void)close(fd);
}

static void
set_config(struct config *config)
{
	struct site *site;

	if (directory.accounts == NULL) {
		char *path;

		confine(config->state_directory);
		if (asprintf(&path, "%s/accounts", config->state_directory) == -1)
			fatal("out of memory");
		directory.accounts = accounts_new(path);
		free(path);
		if (asprintf(&path, "%s/policies", config->state_directory) == -1)
			fatal("out of memory");
		directory.policies = policies_new(path);
		free(path);
		if (asprintf(&path, "%s/tls-results", config->state_directory) == -1)
			fatal("out of memory");
		directory.tls_sums = tls_sums_new(path);
		directory.tls_sender = tls_sender_new(directory.tls_sums);
		free(path);
	}
	site = site_new(config, directory.accounts, directory.privileged);
	auth_set_site(directory.auth, site);
	site_free(directory.site);
	directory.site = site;
	history_configure(directory.history, config);
	tls_sender_configure(directory.tls_sender, config->tls_reports_from);
	directory_forget();
}

static bool
start(uint32_t listeners)
{
	(void)listeners;
	return directory.site != NULL;
}

/* Nothing is in hand but recipients that wait for a usage: they are let through. */
static void
leave(void)
{
	usage_fail_all(directory.usage, "stopping");
	forwards_fail_all(directory.forwards, "stopping");
	for (size_t i = 0; i < LISTENERS_MAX; i++)
		channel_free(directory.listeners[i].channel);
	channel_free(directory.queue.channel);
	channel_free(directory.control.channel);
	channel_free(directory.relay.channel);
	channel_free(directory.access.channel);
	auth_free(directory.auth);
	hourly_free(directory.hourly);
	history_free(directory.history);
	accounts_free(directory.accounts);
	policies_free(directory.policies);
	tls_sender_free(directory.tls_sender);
	tls_sums_free(directory.tls_sums);
	exit(0);
}

static void
stop_waiting(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	leave();
}

/* The relay has ended before, and what it said last may still be in its channel: that is read to its
 * end. */
static void
stop(void)
{
	const struct timeval patience = { .tv_usec = STOP_MS * 1000 };

	if (directory.stopping != NULL)
		return;
	if (directory.relay.channel == NULL)
		leave();
	directory.stopping = event_new(directory.base, -1, 0, stop_waiting, NULL);
	if (directory.stopping == NULL || event_add(directory.stopping, &patience) == -1)
		leave();
}

static const struct child_orders orders = {
	.config = set_config,
	.peer = connect_peer,
	.start = start,
	.stop = stop,
	.unusable = child_supervisor_fatal,
	.gone = leave,
	.log_check_seconds = 1,
};

static void
every_second(evutil_socket_t fd, short what, void *arg)
{
	bool changed;

	(void)fd;
	(void)what;
	(void)arg;
	if (directory.site == NULL)
		return;
	usage_sweep(directory.usage);
	tls_sums_tick(directory.tls_sums, clock_wall());
	tls_sender_tick(directory.tls_sender, clock_wall());
	changed = accounts_retry(directory.accounts);
	if (site_refresh(directory.site) || changed)
		directory_forget();
}

int
main(int argc, char **argv)
{
	const struct timeval second = { .tv_sec = 1 };
	struct child child;

	child_start(&child, "directory", argc, argv);
	sandbox_enter(SANDBOX_SOCKETS | SANDBOX_PROCESSES);
	directory.privileged = child.privileged_start;
	directory.base = child_event_base();
	buf_init(&directory.payload, IMSG_PAYLOAD_MAX);
	directory.usage = usage_new(directory.base, ask_usage, usage_decided, NULL);
	directory.forwards = forwards_new(directory.base, ask_forward, forwards_known, NULL);
	directory.auth = auth_new(directory.base, &auth_calls);
	directory.hourly = hourly_new();
	directory.history = history_new(directory.base, &directory_history_calls);
	child_supervisor_open(&directory.supervisor, directory.base, &child, &orders);
	directory.second = event_new(directory.base, -1, EV_PERSIST, every_second, NULL);
	if (directory.second == NULL || event_add(directory.second, &second) == -1)
		fatalx("cannot make a timer");
	if (event_base_dispatch(directory.base) == -1)
		fatalx("the event loop failed");
	return 0;
}
