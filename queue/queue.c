/*
 * The queue: keeps mail from the 250 that the listener gives until it is delivered, told to be
 * undeliverable, or removed. This file starts it, wires its channels and keeps time; queue.h says
 * which file does what.
 *
 *	queue check DIRECTORY, queue dump DIRECTORY: the spool looked at offline (check.h)
 */
#include <sys/resource.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/child.h"
#include "common/child_supervisor.h"
#include "common/clock.h"
#include "common/ipc_directory.h"
#include "common/landlock.h"
#include "common/log.h"
#include "common/sandbox.h"
#include "common/stats.h"
#include "queue/bounce.h"
#include "queue/census.h"
#include "queue/check.h"
#include "queue/commit.h"
#include "queue/control.h"
#include "queue/delivery.h"
#include "queue/follow.h"
#include "queue/history.h"
#include "queue/intake.h"
#include "queue/mail.h"
#include "queue/mailbox.h"
#include "queue/mda.h"
#include "queue/queue.h"
#include "queue/relay.h"
#include "queue/report.h"
#include "queue/retry.h"
#include "queue/sign.h"

#define TICK_MS      1000
#define RECLAIM_MS   20   /* between two steps of emptying or making segments */
#define STOP_MS      8000 /* for deliveries in hand */
#define STOP_LOOK_MS 20
#define RUN_WAIT_MS  20   /* deliveries begin, whatever else comes in */
#define KEPT_MAX     1000 /* descriptors of messages before their first try */

static struct {
	struct child child;
	struct queue queue;
	struct child_supervisor supervisor;
	struct channel *control;
	struct event *tick;
	struct event *reclaim;
	struct event *run_wait; /* steady input lets no turn end */
	bool run_waiting;
	struct event *stop;
	int64_t stop_until_ms;
} program;

/* Times. */

static void
set_ms(struct event *event, int64_t ms)
{
	struct timeval after = { ms / 1000, ms % 1000 * 1000 };

	if (evtimer_add(event, &after) == -1)
		fatalx("can't set a timer");
}

void
queue_set_timer(struct queue *queue)
{
	uint32_t due, now;
	struct timeval after = { 0, 0 };

	if (queue->phase != QUEUE_RUNNING)
		return;
	due = scheduler_next_due(queue->scheduler);
	if (due == RETRY_NEVER)
		return;
	now = retry_now();
	after.tv_sec = due > now ? due - now : 0;
	/* The tick looks, too: so the timer is only set where it makes a difference. */
	if (after.tv_sec <= 1)
		evtimer_add(queue->due_timer, &after);
}

void
queue_run_soon(struct queue *queue)
{
	if (queue->run_event == NULL || program.run_waiting)
		return;
	program.run_waiting = true;
	event_active(queue->run_event, EV_TIMEOUT, 0);
	set_ms(program.run_wait, RUN_WAIT_MS);
}

void
queue_count(struct queue *queue)
{
	stats_set(STATS_QUEUE_ENVELOPE, (int64_t)queue->envelopes);
	stats_set(STATS_QUEUE_MESSAGE, (int64_t)index_messages(queue->index));
}

static void
run_event(int fd, short what, void *arg)
{
	struct queue *queue = arg;

	(void)fd;
	(void)what;
	program.run_waiting = false;
	event_del(queue->run_event);
	evtimer_del(program.run_wait);
	commit_begin_deliveries(queue);
	delivery_run(queue);
}

static void
due_event(int fd, short what, void *arg)
{
	struct queue *queue = arg;

	(void)fd;
	(void)what;
	if (queue->phase != QUEUE_RUNNING)
		return;
	delivery_due(queue);
	queue_run_soon(queue);
}

static void
tick_event(int fd, short what, void *arg)
{
	struct queue *queue = arg;

	(void)fd;
	(void)what;
	set_ms(program.tick, TICK_MS);
	journal_tick(queue->journal);
	if (journal_staged(queue->journal, JOURNAL_FIRST) > 0)
		commit_states(queue, COMMIT_LATER);
	intake_tick(queue);
	mda_tick(queue);
	relay_tick(queue);
	bounce_tick(queue);
	scheduler_sweep(queue->scheduler, clock_monotonic_ms());
	census_tick(queue);
	if (queue->phase == QUEUE_RUNNING) {
		delivery_due(queue);
		delivery_look_again(queue);
	}
}

static void
reclaim_event(int fd, short what, void *arg)
{
	struct queue *queue = arg;
	bool more;

	(void)fd;
	(void)what;
	more = journal_reclaim(queue->journal);
	more = journal_prepare(queue->journal) || more;
	set_ms(program.reclaim, more ? RECLAIM_MS : TICK_MS);
}

void
queue_prepare_soon(struct queue *queue)
{
	if (queue->phase == QUEUE_RUNNING)
		set_ms(program.reclaim, 0);
}

/* The directory. */

void
queue_ask_directory(struct queue *queue, struct question *question, enum ipc_directory_type type,
    unsigned deadline_ms)
{
	uint32_t id = pending_add(queue->questions, question, deadline_ms);

	/* Without a directory it fails at its deadline; the tick asks again. */
	if (queue->directory != NULL)
		channel_send(queue->directory, type, id, 0, -1, &queue->payload);
}

static void
question_failed(void *owner, uint32_t id, const char *why, void *arg)
{
	struct question *question = owner;

	(void)id;
	question->failed(arg, question, why);
}

static void
receive_usage_request(struct queue *queue, struct channel *channel, struct imsg *imsg)
{
	struct ipc_mailbox mailbox;
	struct buf_reader reader;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_mailbox_decode(&reader, &mailbox) || !buf_reader_done(&reader))
		channel_reject(channel, imsg, "bad mailbox");
	else
		mda_usage(queue, imsg->id, &mailbox);
}

static void
receive_forward_request(struct queue *queue, struct channel *channel, struct imsg *imsg)
{
	struct ipc_mailbox mailbox;
	struct buf_reader reader;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_mailbox_decode(&reader, &mailbox) || !buf_reader_done(&reader))
		channel_reject(channel, imsg, "bad mailbox");
	else
		mda_forward(queue, imsg->id, &mailbox);
}

static void
directory_received(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct queue *queue = arg;
	struct question *question;

	switch ((enum ipc_directory_type)imsg->type) {
	case DIRECTORY_TARGET:
		question = pending_get(queue->questions, imsg->id);
		if (question != NULL)
			question->answer(queue, question, imsg);
		return;
	case DIRECTORY_RCPT_DONE:
	case DIRECTORY_MAILBOX_DONE:
		question = pending_take(queue->questions, imsg->id);
		if (question != NULL)
			question->answer(queue, question, imsg);
		return;
	case DIRECTORY_FORGET:
		mailbox_forget_all(queue);
		return;
	case DIRECTORY_USAGE:
		receive_usage_request(queue, channel, imsg);
		return;
	case DIRECTORY_FORWARD:
		receive_forward_request(queue, channel, imsg);
		return;
	case DIRECTORY_REPORT:
		if (report_receive(queue, imsg))
			return;
		break;
	case DIRECTORY_RCPT:
	case DIRECTORY_MAILBOX:
	case DIRECTORY_USAGE_DONE:
	case DIRECTORY_FORWARD_DONE:
	case DIRECTORY_REPORT_DONE:
	case DIRECTORY_HISTORY:
	case DIRECTORY_AUTH:
	case DIRECTORY_AUTH_RESPONSE:
	case DIRECTORY_AUTH_CANCEL:
	case DIRECTORY_AUTH_CHALLENGE:
	case DIRECTORY_AUTH_DONE:
		break;
	}
	channel_reject(channel, imsg, "not allowed here");
}

static void
drop_directory(struct queue *queue, const char *why)
{
	struct channel *channel = queue->directory;

	queue->directory = NULL;
	channel_free(channel);
	report_forget_asker(queue);
	pending_fail_all(queue->questions, why);
	mailbox_forget_all(queue);
}

static void
directory_closed(struct channel *channel, const char *why, void *arg)
{
	(void)channel;
	drop_directory(arg, why);
}

/* Control. */

static void
control_received(struct channel *channel, struct imsg *imsg, void *arg)
{
	control_receive(arg, channel, imsg);
}

static void
control_closed(struct channel *channel, const char *why, void *arg)
{
	struct queue *queue = arg;

	(void)why;
	ipc_report_rejected(queue->supervisor, channel, PROGRAM_CONTROL, 0);
	control_acts_forget(queue, channel);
	channel_free(channel);
	program.control = NULL;
}

/* The supervisor. */

static void
open_spool(struct queue *queue)
{
	const char *path = program.child.privileged_start ? "/" : queue->config->spool_directory;
	struct journal_options options = { queue->config->queue_segment_size,
		queue->config->queue_free_percent };
	struct journal_handler handler;

	switch (spool_open(&queue->spool, path)) {
	case SPOOL_OK:
		(void)landlock_confine(0, queue->spool.fd);
		break;
	case SPOOL_BUSY:
		log_error("another queue runs on the spool %s: stop it, or give this one a "
		          "directory of its own",
		    queue->config->spool_directory);
		exit(EX_TEMPFAIL);
	case SPOOL_ERROR:
		exit(EX_CONFIG);
	}
	mail_handler(queue, &handler);
	handler.batch_files = commit_batch_files;
	handler.batch_done = commit_batch_done;
	switch (journal_open(&queue->journal, &queue->spool, &options, &handler)) {
	case JOURNAL_OPENED:
		break;
	case JOURNAL_NEWER_VERSION:
		exit(EX_CONFIG);
	case JOURNAL_UNREADABLE:
		exit(EX_IOERR);
	}
}

static bool
large_is_known(uint32_t message_id, void *arg)
{
	struct queue *queue = arg;
	struct message *message = index_find(queue->index, message_id);

	return message != NULL && message->is_large;
}

static void
schedule_all(struct queue *queue)
{
	struct log_line line;

	mail_recovered(queue);
	log_begin(&line, LOG_LEVEL_INFO, "spool-opened");
	log_number(&line, "messages", (int64_t)index_messages(queue->index));
	log_number(&line, "envelopes", (int64_t)queue->envelopes);
	log_end(&line);
}

static void
set_limits(struct queue *queue)
{
	struct rlimit limit;

	queue->kept_limit = KEPT_MAX;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur / 4 < KEPT_MAX)
		queue->kept_limit = limit.rlim_cur / 4;
}

/* Of the high priority, so that steady input doesn't stop the clock. */
static struct event *
new_timer(struct queue *queue, event_callback_fn callback)
{
	struct event *timer = evtimer_new(queue->base, callback, queue);

	if (timer == NULL || event_priority_set(timer, 0) == -1)
		fatalx("out of memory");
	return timer;
}

static void
first_config(struct queue *queue)
{
	queue->index = index_new();
	queue->scheduler = scheduler_new();
	queue->questions = pending_new(queue->base, question_failed, queue);
	if (queue->index == NULL || queue->scheduler == NULL || queue->questions == NULL)
		fatalx("out of memory");
	set_limits(queue);
	sign_open(queue);
	bounce_open(queue);
	relay_open(queue);
	open_spool(queue);
	spool_large_sweep(
	    &queue->spool, large_is_known, queue, journal_was_damaged(queue->journal));
	history_open(queue);
	commit_open(queue);
	intake_open(queue);
	mda_open(queue);
	control_acts_open(queue);
	queue->run_event = event_new(queue->base, -1, 0, run_event, queue);
	program.run_wait = new_timer(queue, run_event);
	queue->due_timer = new_timer(queue, due_event);
	program.tick = new_timer(queue, tick_event);
	program.reclaim = new_timer(queue, reclaim_event);
	if (queue->run_event == NULL || event_priority_set(queue->run_event, 1) == -1)
		fatalx("out of memory");
	queue->phase = QUEUE_READY;
	schedule_all(queue);
}

static void
take_config(struct config *config)
{
	struct queue *queue = &program.queue;
	struct journal_options options;

	if (queue->phase == QUEUE_STARTING) {
		queue->config = config;
		first_config(queue);
		return;
	}
	config_free(queue->config);
	queue->config = config;
	options =
	    (struct journal_options){ config->queue_segment_size, config->queue_free_percent };
	journal_set_options(queue->journal, &options);
	mailbox_forget_all(queue);
}

static bool
take_peer(const struct ipc_peer *peer, int fd)
{
	struct queue *queue = &program.queue;

	if (queue->phase == QUEUE_STARTING)
		return false;
	switch (peer->program) {
	case PROGRAM_LISTENER:
		intake_set_listener(queue, peer->instance, fd);
		return true;
	case PROGRAM_DIRECTORY:
		if (queue->directory != NULL)
			drop_directory(queue, "the directory was restarted");
		queue->directory = channel_new(
		    queue->base, "directory", fd, directory_received, directory_closed, queue);
		return true;
	case PROGRAM_CONTROL:
		control_acts_forget(queue, program.control);
		channel_free(program.control);
		program.control = channel_new(
		    queue->base, "control", fd, control_received, control_closed, queue);
		return true;
	case PROGRAM_RELAY:
		relay_set_channel(queue, fd);
		return true;
	case PROGRAM_KEEPER:
		sign_set_keeper(queue, fd);
		return true;
	case PROGRAM_SUPERVISOR:
	case PROGRAM_QUEUE:
	case PROGRAM_RESOLVER:
	case PROGRAM_MDA:
	case PROGRAM_MAILACCESS:
	case PROGRAM_MAILBOX:
	case PROGRAM_COUNT:
		break;
	}
	return false;
}

static bool
start(uint32_t listeners)
{
	struct queue *queue = &program.queue;

	(void)listeners;
	if (queue->phase == QUEUE_STARTING)
		return false;
	if (queue->phase == QUEUE_READY) {
		queue->phase = QUEUE_RUNNING;
		queue_count(queue); /* the counters came after the configuration */
		set_ms(program.tick, 0);
		set_ms(program.reclaim, TICK_MS);
		queue_set_timer(queue);
	}
	return true;
}

static void
stop_event(int fd, short what, void *arg)
{
	struct queue *queue = arg;

	(void)fd;
	(void)what;
	if (queue->in_flight > 0 && clock_monotonic_ms() < program.stop_until_ms) {
		set_ms(program.stop, STOP_LOOK_MS);
		return;
	}
	event_base_loopexit(queue->base, NULL);
}

/* No delivery is begun any more; those in hand have some seconds to end. */
static void
stop(void)
{
	struct queue *queue = &program.queue;

	if (queue->phase == QUEUE_STARTING)
		exit(EX_OK);
	if (queue->phase == QUEUE_STOPPING)
		return;
	queue->phase = QUEUE_STOPPING;
	relay_cancel_all(queue);
	control_acts_stop(queue);
	program.stop = new_timer(queue, stop_event);
	program.stop_until_ms = clock_monotonic_ms() + STOP_MS;
	set_ms(program.stop, STOP_LOOK_MS);
}

static bool
take_other(struct channel *channel, struct imsg *imsg)
{
	struct queue *queue = &program.queue;

	(void)channel;
	if (imsg->type == SUPERVISOR_CHILD_DKIM_KEYS)
		return imsg->fd != -1 && queue->phase != QUEUE_STARTING &&
		    sign_take_keys(queue, imsg->fd);
	if (imsg->type != SUPERVISOR_QUEUE_MDA_STARTED)
		return false;
	if (queue->phase != QUEUE_STARTING)
		mda_started(queue, imsg);
	return true;
}

static void
supervisor_gone(void)
{
	if (program.queue.journal != NULL)
		(void)commit_now(&program.queue);
	exit(EX_OK);
}

static const struct child_orders orders = {
	.config = take_config,
	.peer = take_peer,
	.start = start,
	.stop = stop,
	.other = take_other,
	.unusable = child_supervisor_fatal,
	.gone = supervisor_gone,
};

static void
close_all(struct queue *queue)
{
	bool durable = commit_now(queue);

	control_acts_close(queue);
	history_flush(queue);
	channel_flush(queue->supervisor);
	channel_free(program.control);
	channel_free(queue->directory);
	intake_close(queue);
	mda_close(queue);
	relay_close(queue);
	bounce_close(queue);
	follow_close(queue);
	report_close(queue);
	sign_close(queue);
	commit_close(queue);
	history_close(queue);
	journal_close(queue->journal);
	spool_close(&queue->spool);
	log_info("stopped%s", durable ? "" : "; the last changes could not be written");
}

int
main(int argc, char **argv)
{
	struct queue *queue = &program.queue;

	if (argc == 3 && strcmp(argv[1], "check") == 0)
		return check_spool(argv[2]);
	if (argc == 3 && strcmp(argv[1], "dump") == 0)
		return check_dump(argv[2]);
	child_start(&program.child, "queue", argc, argv);
	sandbox_enter(0);
	queue->base = child_event_base();
	buf_init(&queue->payload, IMSG_PAYLOAD_MAX);
	child_supervisor_open(&program.supervisor, queue->base, &program.child, &orders);
	queue->supervisor = program.supervisor.channel;
	if (event_base_dispatch(queue->base) == -1)
		fatalx("the event loop failed");
	close_all(queue);
	return EX_OK;
}
