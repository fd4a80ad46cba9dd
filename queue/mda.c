/*
 * The pool of mda processes, by owner.
 *
 * An owner's struct stays once made; its process comes and goes. Lines with work for it stand in
 * its ring and are served in turn, each as far as its window goes, until the mda has its share of
 * deliveries at once: what it is given together it syncs together.
 *
 * When more owners have work than there may be processes, the idle are dismissed first; then those
 * that have had their time are given nothing more until they are done, and make room.
 */
#include <inttypes.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/stats.h"
#include "queue/delivery.h"
#include "queue/follow.h"
#include "queue/mail.h"
#include "queue/mailbox.h"
#include "queue/mda.h"
#include "queue/pipe.h"

#define FLIGHTS_MAX    1024 /* a power of two: the slot is the request id's low bits */
#define IDLE_MS        (60 * 1000)
#define START_MS       15000
#define STUCK_MS       (15 * 60 * 1000) /* a pipe's command has less time */
#define TURN_MS        1000             /* at least, before it must make room for others */
#define BACKOFF_MS     100
#define BACKOFF_MAX_MS 60000
#define REFUSE_AFTER   3 /* failed starts until its mail is told so */
#define USAGES_MAX     1024
#define USAGE_MS       4000

enum mda_state {
	MDA_DOWN,
	MDA_QUEUED, /* has work, waits for one of the processes */
	MDA_ASKED,  /* the supervisor is asked for it */
	MDA_UP,
	MDA_LEAVING, /* up, but gets nothing more: others wait */
};

struct flight {
	struct entry *entry; /* NULL: free */
	uint32_t request;
	int64_t started_ms;
};

struct mda {
	struct mda *next;
	struct queue *queue;
	uint32_t uid;
	uint32_t gid;
	bool mail_group;
	enum mda_state state;
	struct channel *channel;
	struct ring ring;
	struct flight *flights; /* while it is up */
	uint16_t *free_slots;
	uint32_t free_count;
	uint32_t limit;
	uint32_t in_flight;
	uint32_t start_request;
	int64_t since_ms; /* in this state; MDA_UP: since it last had work */
	int64_t up_ms;
	int64_t not_before_ms;
	unsigned failures; /* in a row */
};

enum usage_state {
	USAGE_FREE,
	USAGE_WAITING, /* for its mda to be up */
	USAGE_ASKED,
};

/* A question of the directory's about a mailbox: how full it is, or what its owner's .forward says.
 */
struct usage {
	enum usage_state state;
	bool is_forward;
	uint32_t directory_id;
	uint32_t request;
	int64_t deadline_ms;
	struct mda *mda;
	struct ipc_mailbox *mailbox; /* USAGE_WAITING */
};

struct mda_pool {
	struct mda *mdas;
	unsigned processes; /* asked for or up */
	uint32_t next_request;
	struct usage usages[USAGES_MAX];
	size_t usage_count;
	struct ipc_deliver deliver; /* too large for the stack of every call */
};

void
mda_open(struct queue *queue)
{
	queue->mdas = calloc(1, sizeof(*queue->mdas));
	if (queue->mdas == NULL)
		fatalx("out of memory");
	queue->mdas->next_request = 1;
}

static struct mda *
find_mda(struct queue *queue, const struct ipc_mailbox *mailbox)
{
	struct mda *mda;

	for (mda = queue->mdas->mdas; mda != NULL; mda = mda->next) {
		if (mda->uid == mailbox->uid && mda->gid == mailbox->gid &&
		    mda->mail_group == mailbox->mail_group)
			return mda;
	}
	mda = calloc(1, sizeof(*mda));
	if (mda == NULL)
		fatalx("out of memory");
	mda->queue = queue;
	mda->uid = mailbox->uid;
	mda->gid = mailbox->gid;
	mda->mail_group = mailbox->mail_group;
	mda->next = queue->mdas->mdas;
	queue->mdas->mdas = mda;
	return mda;
}

static uint32_t
new_request(struct mda_pool *pool, uint32_t slot)
{
	uint32_t request = pool->next_request++ * FLIGHTS_MAX + slot;

	/* 0 is no request. */
	return request != 0 ? request : new_request(pool, slot);
}

static void
set_state(struct queue *queue, struct mda *mda, enum mda_state state)
{
	static const char *const state_names[] = {
		[MDA_DOWN] = "down",
		[MDA_QUEUED] = "wanted",
		[MDA_ASKED] = "starting",
		[MDA_UP] = "up",
		[MDA_LEAVING] = "leaving",
	};
	struct log_line line;
	bool was = mda->state != MDA_DOWN && mda->state != MDA_QUEUED;
	bool is = state != MDA_DOWN && state != MDA_QUEUED;

	if (was && !is)
		queue->mdas->processes--;
	else if (!was && is)
		queue->mdas->processes++;
	if (log_trace_begin(&line, LOG_TRACE_SCHEDULER, "scheduler-mda")) {
		log_number(&line, "uid", mda->uid);
		log_text(&line, "state", state_names[state]);
		log_number(&line, "in_flight", mda->in_flight);
		log_number(&line, "processes", queue->mdas->processes);
		log_end(&line);
	}
	mda->state = state;
	mda->since_ms = clock_monotonic_ms();
	stats_set(STATS_MDA_RUNNING, queue->mdas->processes);
}

/* The directory's questions. */

static void
answer_directory(struct queue *queue, uint32_t id, bool is_forward, const struct ipc_usage *answer,
    const struct ipc_forward *forward)
{
	if (queue->directory == NULL)
		return;
	buf_clear(&queue->payload);
	if (is_forward)
		ipc_forward_encode(&queue->payload, forward);
	else
		ipc_usage_encode(&queue->payload, answer);
	channel_send(queue->directory, is_forward ? DIRECTORY_FORWARD_DONE : DIRECTORY_USAGE_DONE,
	    id, 0, -1, &queue->payload);
}

static void
answer_unknown(struct queue *queue, uint32_t id, bool is_forward)
{
	static const struct ipc_usage unknown;
	static const struct ipc_forward unread = { .state = FORWARD_FAILED,
		.text = "the user's process doesn't answer" };

	answer_directory(queue, id, is_forward, &unknown, &unread);
}

static void
end_usage(struct queue *queue, struct usage *usage)
{
	free(usage->mailbox);
	usage->mailbox = NULL;
	usage->state = USAGE_FREE;
	queue->mdas->usage_count--;
}

static void
give_up_usage(struct queue *queue, struct usage *usage)
{
	answer_unknown(queue, usage->directory_id, usage->is_forward);
	end_usage(queue, usage);
}

static void
fail_usages(struct queue *queue, const struct mda *mda, enum usage_state state)
{
	for (size_t i = 0; i < USAGES_MAX && queue->mdas->usage_count > 0; i++) {
		if (queue->mdas->usages[i].state == state && queue->mdas->usages[i].mda == mda)
			give_up_usage(queue, &queue->mdas->usages[i]);
	}
}

static void
send_usages(struct queue *queue, struct mda *mda)
{
	for (size_t i = 0; i < USAGES_MAX && queue->mdas->usage_count > 0; i++) {
		struct usage *usage = &queue->mdas->usages[i];

		if (usage->state != USAGE_WAITING || usage->mda != mda)
			continue;
		usage->request = new_request(queue->mdas, 0);
		buf_clear(&queue->payload);
		ipc_mailbox_encode(&queue->payload, usage->mailbox);
		channel_send(mda->channel, usage->is_forward ? QUEUE_MDA_FORWARD : QUEUE_MDA_USAGE,
		    usage->request, 0, -1, &queue->payload);
		free(usage->mailbox);
		usage->mailbox = NULL;
		usage->state = USAGE_ASKED;
	}
}

static bool
has_usages(const struct queue *queue, const struct mda *mda)
{
	for (size_t i = 0; i < USAGES_MAX && queue->mdas->usage_count > 0; i++) {
		if (queue->mdas->usages[i].state != USAGE_FREE && queue->mdas->usages[i].mda == mda)
			return true;
	}
	return false;
}

static void
ask_mda(struct queue *queue, uint32_t id, const struct ipc_mailbox *mailbox, bool is_forward)
{
	struct usage *usage = NULL;

	for (size_t i = 0; i < USAGES_MAX && usage == NULL; i++) {
		if (queue->mdas->usages[i].state == USAGE_FREE)
			usage = &queue->mdas->usages[i];
	}
	if (usage == NULL || (usage->mailbox = malloc(sizeof(*mailbox))) == NULL ||
	    queue->phase != QUEUE_RUNNING) {
		answer_unknown(queue, id, is_forward);
		if (usage != NULL) {
			free(usage->mailbox);
			usage->mailbox = NULL;
		}
		return;
	}
	*usage->mailbox = *mailbox;
	usage->state = USAGE_WAITING;
	usage->is_forward = is_forward;
	usage->directory_id = id;
	usage->deadline_ms = clock_monotonic_ms() + USAGE_MS;
	usage->mda = find_mda(queue, mailbox);
	queue->mdas->usage_count++;
	if (usage->mda->state == MDA_UP)
		send_usages(queue, usage->mda);
	queue_run_soon(queue);
}

void
mda_usage(struct queue *queue, uint32_t id, const struct ipc_mailbox *mailbox)
{
	ask_mda(queue, id, mailbox, false);
}

void
mda_forward(struct queue *queue, uint32_t id, const struct ipc_mailbox *mailbox)
{
	ask_mda(queue, id, mailbox, true);
}

/* The processes. */

/* The process is gone or dismissed. */
static void
take_down(struct queue *queue, struct mda *mda)
{
	struct flight *flights = mda->flights;
	uint32_t i;

	channel_free(mda->channel);
	mda->channel = NULL;
	mda->flights = NULL;
	free(mda->free_slots);
	mda->free_slots = NULL;
	mda->free_count = mda->in_flight = 0;
	set_state(queue, mda, MDA_DOWN);
	for (i = 0; flights != NULL && i < mda->limit; i++) {
		if (flights[i].entry == NULL)
			continue;
		scheduler_done(flights[i].entry->line, LINE_NEUTRAL);
		delivery_broken_off(queue, flights[i].entry);
	}
	free(flights);
	fail_usages(queue, mda, USAGE_ASKED);
	queue_run_soon(queue);
}

static void
back_off(struct mda *mda)
{
	int64_t pause = BACKOFF_MS;

	for (unsigned i = 0; i < mda->failures && pause < BACKOFF_MAX_MS; i++)
		pause *= 2;
	mda->failures++;
	mda->not_before_ms =
	    clock_monotonic_ms() + (pause > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : pause);
}

static void
start_failed(struct queue *queue, struct mda *mda, const char *why)
{
	struct reply reply;
	struct line *line;

	log_error("no mda for uid %" PRIu32 ": %s", mda->uid, why);
	set_state(queue, mda, MDA_DOWN);
	fail_usages(queue, mda, USAGE_WAITING);
	back_off(mda);
	if (mda->failures < REFUSE_AFTER)
		return;
	reply_set(&reply, 451, "4.3.0", "No process to deliver with: %s", why);
	while ((line = ring_take(&mda->ring)) != NULL)
		delivery_line_refused(queue, line, &reply);
}

static void
receive_delivered(struct queue *queue, struct mda *mda, struct imsg *imsg)
{
	struct flight *flight = &mda->flights[imsg->id % FLIGHTS_MAX];
	struct ipc_delivered result = { .effects = NULL };
	const char *user;
	struct buf_reader reader;
	struct entry *entry;
	int64_t started_ms;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (imsg->id % FLIGHTS_MAX >= mda->limit || flight->entry == NULL ||
	    flight->request != imsg->id || !ipc_delivered_decode(&reader, &result) ||
	    !buf_reader_done(&reader) || result.envelope_id != entry_id(flight->entry)) {
		ipc_delivered_free(&result);
		channel_reject(mda->channel, imsg, "an answer to what it wasn't given");
		return;
	}
	entry = flight->entry;
	started_ms = flight->started_ms;
	flight->entry = NULL;
	mda->free_slots[mda->free_count++] = (uint16_t)(imsg->id % FLIGHTS_MAX);
	mda->in_flight--;
	mda->failures = 0;
	mda->since_ms = clock_monotonic_ms();
	user = entry->line->mailbox == NULL ? "" : entry->line->mailbox->user;
	if (result.effects != NULL)
		follow_begin(queue, entry, &result, user, started_ms);
	else
		delivery_ended(queue, entry, &result, user, started_ms);
	queue_run_soon(queue);
}

static void
receive_usage(struct queue *queue, struct mda *mda, struct imsg *imsg, bool is_forward)
{
	struct ipc_usage answer = { .known = false };
	static struct ipc_forward forward;
	struct buf_reader reader;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!(is_forward ? ipc_forward_decode(&reader, &forward)
	                 : ipc_usage_decode(&reader, &answer)) ||
	    !buf_reader_done(&reader)) {
		channel_reject(mda->channel, imsg, "bad answer about a mailbox");
		return;
	}
	for (size_t i = 0; i < USAGES_MAX; i++) {
		struct usage *usage = &queue->mdas->usages[i];

		if (usage->state == USAGE_ASKED && usage->mda == mda &&
		    usage->request == imsg->id && usage->is_forward == is_forward) {
			answer_directory(queue, usage->directory_id, is_forward, &answer, &forward);
			end_usage(queue, usage);
			return;
		}
	}
	/* One that was given up on: no answer any more. */
}

static void
received(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct mda *mda = arg;

	if (imsg->fd != -1) {
		channel_reject(channel, imsg, "unexpected descriptor");
		return;
	}
	switch (imsg->type) {
	case MDA_QUEUE_DELIVERED:
		receive_delivered(mda->queue, mda, imsg);
		return;
	case MDA_QUEUE_USAGE_DONE:
		receive_usage(mda->queue, mda, imsg, false);
		return;
	case MDA_QUEUE_FORWARD_DONE:
		receive_usage(mda->queue, mda, imsg, true);
		return;
	default:
		channel_reject(channel, imsg, "unknown type");
	}
}

static void
closed(struct channel *channel, const char *why, void *arg)
{
	struct mda *mda = arg;
	struct queue *queue = mda->queue;

	(void)channel;
	log_warning("the mda of uid %" PRIu32 " ended (%s) with %" PRIu32 " deliveries in hand",
	    mda->uid, why, mda->in_flight);
	back_off(mda);
	take_down(queue, mda);
}

void
mda_started(struct queue *queue, struct imsg *imsg)
{
	struct ipc_done done = { .success = false };
	struct buf_reader reader;
	struct mda *mda;

	for (mda = queue->mdas->mdas; mda != NULL; mda = mda->next) {
		if (mda->state == MDA_ASKED && mda->start_request == imsg->id)
			break;
	}
	/* Too late: closing the descriptor dismisses it. */
	if (mda == NULL)
		return;
	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (imsg->fd == -1) {
		if (!ipc_done_decode(&reader, &done))
			memcpy(done.words, "no reason given", 16);
		start_failed(queue, mda, done.words);
		return;
	}
	mda->limit = queue->config->mda_sessions;
	if (mda->limit < 1 || mda->limit > FLIGHTS_MAX)
		mda->limit = mda->limit < 1 ? 1 : FLIGHTS_MAX;
	mda->flights = calloc(mda->limit, sizeof(struct flight));
	mda->free_slots = calloc(mda->limit, sizeof(uint16_t));
	if (mda->flights == NULL || mda->free_slots == NULL)
		fatalx("out of memory");
	for (mda->free_count = 0; mda->free_count < mda->limit; mda->free_count++)
		mda->free_slots[mda->free_count] = (uint16_t)mda->free_count;
	mda->channel = channel_new(queue->base, "mda", imsg->fd, received, closed, mda);
	imsg->fd = -1;
	set_state(queue, mda, MDA_UP);
	mda->up_ms = mda->since_ms;
	send_usages(queue, mda);
	queue_run_soon(queue);
}

static void
ask_supervisor(struct queue *queue, struct mda *mda)
{
	struct ipc_mda_start start = { mda->uid, mda->gid, mda->mail_group };

	mda->start_request = new_request(queue->mdas, 0);
	set_state(queue, mda, MDA_ASKED);
	buf_clear(&queue->payload);
	ipc_mda_start_encode(&queue->payload, &start);
	channel_send(queue->supervisor, QUEUE_SUPERVISOR_MDA_START, mda->start_request, 0, -1,
	    &queue->payload);
}

static bool
is_idle(const struct queue *queue, const struct mda *mda)
{
	return (mda->state == MDA_UP || mda->state == MDA_LEAVING) && mda->in_flight == 0 &&
	    (mda->ring.head == NULL || mda->state == MDA_LEAVING) && !has_usages(queue, mda);
}

/* Makes room for one more process. */
static bool
make_room(struct queue *queue)
{
	struct mda *mda, *idlest = NULL;

	if (queue->mdas->processes < queue->config->mda_processes)
		return true;
	for (mda = queue->mdas->mdas; mda != NULL; mda = mda->next) {
		if (is_idle(queue, mda) && (idlest == NULL || mda->since_ms < idlest->since_ms))
			idlest = mda;
	}
	if (idlest != NULL) {
		take_down(queue, idlest);
		return true;
	}
	/* The one that has been at it longest is to finish. */
	for (mda = queue->mdas->mdas; mda != NULL; mda = mda->next) {
		if (mda->state == MDA_LEAVING)
			return false;
		if (mda->state == MDA_UP && clock_monotonic_ms() - mda->up_ms > TURN_MS &&
		    (idlest == NULL || mda->up_ms < idlest->up_ms))
			idlest = mda;
	}
	if (idlest != NULL)
		set_state(queue, idlest, MDA_LEAVING);
	return false;
}

static void
start_some(struct queue *queue)
{
	int64_t now = clock_monotonic_ms();
	struct mda *mda, *first;

	for (;;) {
		first = NULL;
		for (mda = queue->mdas->mdas; mda != NULL; mda = mda->next) {
			if (mda->state == MDA_DOWN && now >= mda->not_before_ms &&
			    ((mda->ring.head != NULL && !queue->mda_paused) ||
			        has_usages(queue, mda)))
				set_state(queue, mda, MDA_QUEUED);
			if (mda->state == MDA_QUEUED &&
			    (first == NULL || mda->since_ms < first->since_ms))
				first = mda;
		}
		if (first == NULL || queue->supervisor == NULL || queue->phase != QUEUE_RUNNING ||
		    !make_room(queue))
			return;
		ask_supervisor(queue, first);
	}
}

/* Deliveries. */

static bool
give(struct queue *queue, struct mda *mda, struct line *line, struct entry *entry)
{
	struct ipc_deliver *deliver = &queue->mdas->deliver;
	struct message *message = entry_message(entry);
	struct transaction transaction;
	struct envelope envelope;
	uint32_t slot;
	int fd;

	if (!mail_load(queue, entry, &transaction, &envelope)) {
		delivery_unreadable(queue, entry);
		return false;
	}
	if (envelope_has_command(envelope.kind) &&
	    !pipe_may_run(queue, entry, &transaction, &envelope))
		return false;
	fd = mail_open(queue, message, message->left == 1);
	if (fd == -1) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) {
			log_warning(
			    "no descriptor for a delivery: %s; trying again", strerror(errno));
			scheduler_ready(queue->scheduler, entry);
		} else {
			log_error("spool: can't open message %08" PRIx32 ": %s", message->id,
			    strerror(errno));
			delivery_unreadable(queue, entry);
		}
		return false;
	}
	deliver->envelope_id = envelope.id;
	deliver->kind = envelope.kind;
	deliver->created_us = transaction.created_us;
	deliver->size = transaction.size;
	deliver->maybe_delivered = entry->maybe_delivered;
	deliver->sender = transaction.sender;
	deliver->rcpt = envelope.rcpt;
	deliver->dest = envelope.dest;
	memcpy(deliver->command, envelope.command, sizeof(deliver->command));
	deliver->mailbox = *line->mailbox;
	slot = mda->free_slots[--mda->free_count];
	mda->flights[slot] =
	    (struct flight){ entry, new_request(queue->mdas, slot), clock_monotonic_ms() };
	buf_clear(&queue->payload);
	ipc_deliver_encode(&queue->payload, deliver);
	channel_send(
	    mda->channel, QUEUE_MDA_DELIVER, mda->flights[slot].request, 0, fd, &queue->payload);
	mda->in_flight++;
	queue->in_flight++;
	return true;
}

static void
serve(struct queue *queue, struct mda *mda)
{
	struct line *line;
	struct entry *entry;

	while (
	    mda->state == MDA_UP && mda->free_count > 0 && (line = ring_take(&mda->ring)) != NULL) {
		if (!line_may_run(line))
			continue;
		if (!mailbox_is_known(queue, line))
			continue;
		if (find_mda(queue, line->mailbox) != mda) {
			mda_add_line(queue, line); /* the mailbox has another owner now */
			continue;
		}
		entry = scheduler_take(queue->scheduler, line);
		if (!give(queue, mda, line, entry)) {
			scheduler_done(line, LINE_NEUTRAL);
			if (entry->state == ENTRY_READY)
				continue; /* looked at again in a second */
		}
		if (line_may_run(line))
			ring_add(&mda->ring, line);
	}
}

void
mda_add_line(struct queue *queue, struct line *line)
{
	if (line->ring == NULL)
		ring_add(&find_mda(queue, line->mailbox)->ring, line);
}

void
mda_run(struct queue *queue)
{
	struct mda *mda;

	if (queue->phase != QUEUE_RUNNING)
		return;
	for (mda = queue->mdas->mdas; mda != NULL && !queue->mda_paused; mda = mda->next) {
		if (mda->ring.head != NULL)
			serve(queue, mda);
	}
	start_some(queue);
	stats_set(STATS_SCHEDULER_INFLIGHT, (int64_t)queue->in_flight);
	stats_set(STATS_MDA_PENDING,
	    (int64_t)(scheduler_waiting(queue->scheduler) -
	        scheduler_waiting_relay(queue->scheduler)));
}

static bool
is_stuck(const struct mda *mda, int64_t now)
{
	for (uint32_t i = 0; i < mda->limit && mda->flights != NULL; i++) {
		if (mda->flights[i].entry != NULL && now - mda->flights[i].started_ms > STUCK_MS)
			return true;
	}
	return false;
}

void
mda_tick(struct queue *queue)
{
	int64_t now = clock_monotonic_ms();
	struct mda *mda;

	for (mda = queue->mdas->mdas; mda != NULL; mda = mda->next) {
		if (mda->state == MDA_ASKED && now - mda->since_ms > START_MS)
			start_failed(queue, mda, "the supervisor doesn't answer");
		else if ((mda->state == MDA_UP || mda->state == MDA_LEAVING) &&
		    is_stuck(mda, now)) {
			log_error("the mda of uid %" PRIu32 " doesn't come to an end: given up",
			    mda->uid);
			back_off(mda);
			take_down(queue, mda);
		} else if (is_idle(queue, mda) &&
		    (now - mda->since_ms > IDLE_MS || mda->state == MDA_LEAVING))
			take_down(queue, mda);
	}
	for (size_t i = 0; i < USAGES_MAX && queue->mdas->usage_count > 0; i++) {
		if (queue->mdas->usages[i].state != USAGE_FREE &&
		    now > queue->mdas->usages[i].deadline_ms)
			give_up_usage(queue, &queue->mdas->usages[i]);
	}
}

void
mda_supervisor_lost(struct queue *queue)
{
	for (struct mda *mda = queue->mdas->mdas; mda != NULL; mda = mda->next) {
		if (mda->state == MDA_ASKED)
			set_state(queue, mda, MDA_DOWN);
	}
}

void
mda_close(struct queue *queue)
{
	struct mda *mda;

	while ((mda = queue->mdas->mdas) != NULL) {
		queue->mdas->mdas = mda->next;
		while (ring_take(&mda->ring) != NULL)
			;
		channel_free(mda->channel);
		free(mda->flights);
		free(mda->free_slots);
		free(mda);
	}
	for (size_t i = 0; i < USAGES_MAX; i++)
		free(queue->mdas->usages[i].mailbox);
	free(queue->mdas);
	queue->mdas = NULL;
}
