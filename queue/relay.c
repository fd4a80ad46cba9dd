/*
 * The channel to program relay and the tasks on it.
 *
 * A task is a message and those of its envelopes that are ready in one line, and were forwarded from
 * the same address or not at all. The line's window
 * counts tasks. All lines share a bounded number of them, and no line may hold more than a part of
 * those that are free: so destinations that are slow to fail leave room for the others, however
 * many they are.
 *
 * The task ends with DONE: until then its line's window isn't freed, and what the relay learnt of
 * the destination decides whether the whole line is put off (relay_memory.h).
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "common/clock.h"
#include "common/ipc_queue_relay.h"
#include "common/ipc_supervisor.h"
#include "common/log.h"
#include "common/stats.h"
#include "queue/delivery.h"
#include "queue/forward.h"
#include "queue/mail.h"
#include "queue/relay.h"
#include "queue/relay_memory.h"
#include "queue/retry.h"

#define TASKS_MAX  2048          /* a power of two: the slot is the request id's low bits */
#define SHARE      4             /* a line holds no more than this part of the free tasks */
#define QUEUED_MAX (1024 * 1024) /* bytes that the relay hasn't read, until it gets no more */
#define STUCK_MS   (24 * 60 * 60 * 1000) /* its turn, and each host's two hours at most */
#define PAUSED_MAX 1000
#define VIA        "via "

struct task {
	uint32_t request; /* 0: free */
	uint32_t message_id;
	struct line *line;
	int64_t started_ms;
	uint32_t failures; /* of its destination, when it began */
	uint32_t count;
	uint32_t left;  /* without a result */
	uint32_t next;  /* the one whose result is expected next */
	bool succeeded; /* a recipient was taken */
	bool reached;   /* or refused, by a host that takes mail */
	bool blamed;    /* a result gave the fault to the destination */
	bool cancelled;
	struct entry **entries; /* NULL: it has its result */
};

struct relays {
	struct queue *queue;
	struct channel *channel; /* NULL while it is away */
	struct ring ring;
	struct task tasks[TASKS_MAX];
	uint16_t free_slots[TASKS_MAX];
	uint32_t free_count;
	uint32_t next_request;
	struct dialogues dialogues;
	char *paused[PAUSED_MAX]; /* domains */
	size_t paused_count;
	/* The task that is being put together. */
	struct ipc_relay_message message;
	struct ipc_relay_rcpt *rcpts;
	size_t rcpt_count;
	size_t rcpt_capacity;
	struct entry **left_out; /* gathered, and not among them; room for as many as `rcpts` */
	size_t left_out_count;
	struct ipc_relay_done done; /* too large for the stack of every call */
};

static void
line_gone(struct line *line, void *arg)
{
	struct relays *relays = arg;

	destination_forget(&relays->dialogues, line);
}

void
relay_open(struct queue *queue)
{
	struct relays *relays = calloc(1, sizeof(*relays));

	if (relays == NULL)
		fatalx("out of memory");
	relays->queue = queue;
	relays->next_request = 1;
	for (; relays->free_count < TASKS_MAX; relays->free_count++)
		relays->free_slots[relays->free_count] =
		    (uint16_t)(TASKS_MAX - 1 - relays->free_count);
	queue->relays = relays;
	scheduler_on_line_gone(queue->scheduler, line_gone, relays);
}

static bool
is_via_hosts(const struct line *line)
{
	return strncmp(line->text, VIA, sizeof(VIA) - 1) == 0;
}

/* Which may run. */

/* Domains are compared as A-labels. */
static bool
is_paused(const struct relays *relays, const char *domain)
{
	char key[ADDRESS_DOMAIN_MAX + 1];

	if (relays == NULL || relays->paused_count == 0)
		return false;
	if (address_domain_key(domain, key, sizeof(key)))
		domain = key;
	for (size_t i = 0; i < relays->paused_count; i++) {
		if (strcmp(relays->paused[i], domain) == 0)
			return true;
	}
	return false;
}

void
relay_line_text(
    const struct queue *queue, const char *action_name, const char *domain, char *text, size_t size)
{
	const struct action_config *action = config_find_action(queue->config, action_name);

	if (action != NULL && *action->relay_hosts != '\0' && *action->relay_domains == '\0' &&
	    !is_paused(queue->relays, domain))
		snprintf(text, size, VIA "%s", action->relay_hosts);
	else
		strlcpy(text, domain, size);
}

bool
relay_pause_domain(struct queue *queue, const char *domain, bool paused)
{
	struct relays *relays = queue->relays;
	char key[ADDRESS_DOMAIN_MAX + 1], *copy;

	if (address_domain_key(domain, key, sizeof(key)))
		domain = key;
	if (paused) {
		if (is_paused(relays, domain))
			return true;
		copy = relays->paused_count == PAUSED_MAX ? NULL : strdup(domain);
		if (copy != NULL)
			relays->paused[relays->paused_count++] = copy;
		return copy != NULL;
	}
	for (size_t i = 0; i < relays->paused_count; i++) {
		if (strcmp(relays->paused[i], domain) != 0)
			continue;
		free(relays->paused[i]);
		relays->paused[i--] = relays->paused[--relays->paused_count];
	}
	return true;
}

enum relay_stop
relay_line_stop(const struct queue *queue, const struct line *line)
{
	const struct relays *relays = queue->relays;

	if (relays->channel == NULL)
		return RELAY_STOP_AWAY;
	if (queue->mta_paused)
		return RELAY_STOP_PAUSED;
	if (is_paused(relays, line->text))
		return RELAY_STOP_DOMAIN_PAUSED;
	if (destination_is_put_off(line))
		return RELAY_STOP_PUT_OFF;
	return line->in_flight < line->window ? RELAY_STOP_NOT : RELAY_STOP_WINDOW;
}

enum relay_stop
relay_domain_stop(const struct queue *queue, const char *domain, const struct line *line)
{
	const struct relays *relays = queue->relays;

	if (relays->channel == NULL)
		return RELAY_STOP_AWAY;
	if (queue->mta_paused)
		return RELAY_STOP_PAUSED;
	if (is_paused(relays, domain))
		return RELAY_STOP_DOMAIN_PAUSED;
	return line == NULL ? RELAY_STOP_NOT : relay_line_stop(queue, line);
}

const char *
relay_stop_words(enum relay_stop stop)
{
	switch (stop) {
	case RELAY_STOP_NOT:
		break;
	case RELAY_STOP_AWAY:
		return "the relay is away";
	case RELAY_STOP_PAUSED:
		return "pause mta";
	case RELAY_STOP_DOMAIN_PAUSED:
		return "pause mta for this domain";
	case RELAY_STOP_PUT_OFF:
		return "its destination can't be reached and is put off";
	case RELAY_STOP_WINDOW:
		return "as many are in flight as the window allows";
	}
	return "none";
}

bool
relay_may_run(const struct queue *queue, const struct line *line)
{
	return line->waiting > 0 && relay_line_stop(queue, line) == RELAY_STOP_NOT;
}

void
relay_add_line(struct queue *queue, struct line *line)
{
	ring_add(&queue->relays->ring, line);
}

void
relay_retry(struct queue *queue, struct line *line)
{
	destination_retry(line);
	delivery_line_ready(queue, line);
}

/* Tasks going out. */

/* Out of the line of its smarthosts, which goes on, into one of its own that waits. */
static void
set_aside(struct queue *queue, struct entry *entry, const struct envelope *envelope)
{
	scheduler_detach(queue->scheduler, entry);
	if (!scheduler_attach_text(
	        queue->scheduler, entry, ENVELOPE_RELAY, envelope->dest.domain, envelope->action))
		fatalx("out of memory");
	mail_ready(queue, entry);
}

/* Null: not forwarded. */
static bool
same_forward(const struct address *one, const struct address *other)
{
	if (address_is_null(one) || address_is_null(other))
		return address_is_null(one) && address_is_null(other);
	return address_equal(one, other);
}

static bool
add_rcpt(void *arg, struct entry *entry, const struct transaction *transaction,
    const struct envelope *envelope)
{
	struct relays *relays = arg;
	struct ipc_relay_message *message = &relays->message;
	struct ipc_relay_rcpt *rcpt = &relays->rcpts[relays->rcpt_count];
	struct address from;

	if (is_via_hosts(entry->line) && is_paused(relays, envelope->dest.domain)) {
		set_aside(relays->queue, entry, envelope);
		relays->left_out[relays->left_out_count++] = entry;
		return true;
	}
	if (!forward_find(relays->queue->config, envelope, &from))
		memset(&from, 0, sizeof(from));
	if (relays->rcpt_count > 0 && !same_forward(&from, &message->forwarded)) {
		mail_ready(relays->queue, entry);
		relays->left_out[relays->left_out_count++] = entry;
		return true;
	}
	if (relays->rcpt_count++ == 0) {
		memset(message, 0, sizeof(*message));
		message->message_id = transaction->message_id;
		strlcpy(message->action, envelope->action, sizeof(message->action));
		strlcpy(message->domain, envelope->dest.domain, sizeof(message->domain));
		message->size = transaction->size;
		message->sender = transaction->sender;
		message->forwarded = from;
		if (!address_is_null(&from))
			forward_sender(relays->queue->config, transaction, envelope, &from,
			    clock_wall(), &message->sender);
		message->smtputf8 = transaction->smtputf8;
		message->eight_bit = transaction->eight_bit;
		message->require_tls = transaction->require_tls;
		message->tls_optional = transaction->tls_optional;
		message->dsn_return = transaction->dsn_return;
		strlcpy(message->dsn_envid, transaction->dsn_envid, sizeof(message->dsn_envid));
	}
	rcpt->envelope_id = envelope->id;
	rcpt->dest = envelope->dest;
	rcpt->dsn_notify = envelope->dsn_notify;
	strlcpy(rcpt->dsn_orcpt, envelope->dsn_orcpt, sizeof(rcpt->dsn_orcpt));
	return true;
}

/* How many recipients one task of the line may have. */
static uint32_t
most_recipients(const struct queue *queue, const struct line *line)
{
	const struct action_config *action;
	uint32_t most = queue->config->mta_recipients;

	/* Its envelopes may have different domains, which only smarthosts take together. */
	if (is_via_hosts(line)) {
		action = config_find_action(queue->config, line->action);
		if (action == NULL || *action->relay_hosts == '\0')
			return 1;
	}
	if (most < 1)
		return 1;
	return most > IPC_RELAY_RCPTS_MAX ? IPC_RELAY_RCPTS_MAX : most;
}

static void
reserve(struct relays *relays, uint32_t count)
{
	struct ipc_relay_rcpt *rcpts;
	struct entry **left_out;

	if (count <= relays->rcpt_capacity)
		return;
	rcpts = reallocarray(relays->rcpts, count, sizeof(*rcpts));
	left_out = reallocarray(relays->left_out, count, sizeof(struct entry *));
	if (rcpts == NULL || left_out == NULL)
		fatalx("out of memory");
	relays->rcpts = rcpts;
	relays->left_out = left_out;
	relays->rcpt_capacity = count;
}

/* `entry` was taken; what else of its message is ready in its line goes along. */
static void
gather(struct queue *queue, struct task *task, struct line *line, struct entry *entry)
{
	struct message *message = entry_message(entry);
	uint32_t most = most_recipients(queue, line), capacity;

	capacity = most < message->left ? most : message->left;
	task->entries = calloc(capacity, sizeof(struct entry *));
	if (task->entries == NULL)
		fatalx("out of memory");
	task->entries[task->count++] = entry;
	for (uint32_t i = 0; i < message->count && task->count < capacity; i++) {
		struct entry *other = &message->entries[i];

		if (other->state != ENTRY_READY || other->line != line)
			continue;
		scheduler_take_along(queue->scheduler, other);
		task->entries[task->count++] = other;
	}
	reserve(queue->relays, task->count);
}

static void
send_task(struct relays *relays, const struct task *task, int fd)
{
	struct buf *payload = &relays->queue->payload;

	relays->message.recipients = task->count;
	buf_clear(payload);
	ipc_relay_message_encode(payload, &relays->message);
	channel_send(relays->channel, QUEUE_RELAY_MESSAGE, task->request, 0, fd, payload);
	for (uint32_t i = 0; i < task->count; i++) {
		buf_clear(payload);
		ipc_relay_rcpt_encode(payload, &relays->rcpts[i]);
		channel_send(relays->channel, QUEUE_RELAY_RCPT, task->request, 0, -1, payload);
	}
}

static void
put_back(struct queue *queue, struct task *task)
{
	for (uint32_t i = 0; i < task->count; i++)
		mail_ready(queue, task->entries[i]);
}

static void
hold_back(struct queue *queue, struct task *task)
{
	for (uint32_t i = 0; i < task->count; i++)
		delivery_unreadable(queue, task->entries[i]);
}

/* Both lists have the same order. */
static void
forget_left_out(const struct relays *relays, struct task *task)
{
	uint32_t kept = 0;
	size_t left_out = 0;

	for (uint32_t i = 0; i < task->count; i++) {
		if (left_out < relays->left_out_count &&
		    task->entries[i] == relays->left_out[left_out])
			left_out++;
		else
			task->entries[kept++] = task->entries[i];
	}
	task->count = kept;
}

/* Loads what was gathered and opens the message. False when nothing can be given out now. */
static bool
prepare(struct queue *queue, struct task *task, int *fd)
{
	struct message *message = entry_message(task->entries[0]);
	struct relays *relays = queue->relays;
	bool ok;

	*fd = -1;
	relays->rcpt_count = relays->left_out_count = 0;
	ok = mail_load_each(queue, message, task->entries, task->count, add_rcpt, relays);
	forget_left_out(relays, task);
	if (!ok)
		hold_back(queue, task);
	if (!ok || task->count == 0)
		return true;
	*fd = mail_open(queue, message, message->left == task->count);
	if (*fd != -1)
		return true;
	if (errno == EMFILE || errno == ENFILE || errno == ENOMEM) {
		log_warning(
		    "no descriptor for a message to relay: %s; trying again", strerror(errno));
		put_back(queue, task);
		return false; /* looked at again in a second */
	}
	log_error("spool: can't open message %08" PRIx32 ": %s", message->id, strerror(errno));
	hold_back(queue, task);
	return true;
}

static uint32_t
new_request(struct relays *relays, uint32_t slot)
{
	uint32_t request = relays->next_request++ * TASKS_MAX + slot;

	/* 0 is no request. */
	return request != 0 ? request : new_request(relays, slot);
}

static bool
give(struct queue *queue, struct line *line)
{
	struct relays *relays = queue->relays;
	struct task task = { .line = line, .started_ms = clock_monotonic_ms() };
	struct entry *entry = scheduler_take(queue->scheduler, line);
	uint32_t slot;
	bool ok;
	int fd;

	gather(queue, &task, line, entry);
	task.message_id = entry_message(entry)->id;
	task.failures = destination_failures(line);
	ok = prepare(queue, &task, &fd);
	if (fd == -1) {
		scheduler_done(line, LINE_NEUTRAL);
		free(task.entries);
		return ok;
	}
	slot = relays->free_slots[--relays->free_count];
	task.request = new_request(relays, slot);
	task.left = task.count;
	relays->tasks[slot] = task;
	queue->in_flight += task.count;
	send_task(relays, &task, fd);
	return true;
}

static void
drained(struct channel *channel, void *arg)
{
	channel_on_drained(channel, NULL);
	queue_run_soon(arg);
}

void
relay_run(struct queue *queue)
{
	struct relays *relays = queue->relays;
	struct line *line;

	while (
	    queue->phase == QUEUE_RUNNING && relays->free_count > 0 && relays->ring.head != NULL) {
		if (relays->channel != NULL && channel_queued(relays->channel) > QUEUED_MAX) {
			channel_on_drained(relays->channel, drained);
			break;
		}
		line = ring_take(&relays->ring);
		if (!relay_may_run(queue, line) || line->in_flight > relays->free_count / SHARE)
			continue;
		if (!give(queue, line))
			break;
		if (relay_may_run(queue, line))
			ring_add(&relays->ring, line);
	}
	stats_set(STATS_SCHEDULER_INFLIGHT, (int64_t)queue->in_flight);
	stats_set(STATS_MTA_RUNNING, TASKS_MAX - (int64_t)relays->free_count);
	stats_set(STATS_MTA_PENDING, (int64_t)scheduler_waiting_relay(queue->scheduler));
}

/* Results coming in. */

static void
log_line_state(const struct line *line, const char *event, bool put_off)
{
	const struct destination *destination = line->destination;
	struct log_line text;
	char reply[REPLY_TEXT_MAX + 32];

	log_begin(&text, LOG_LEVEL_INFO, event);
	log_text(&text, "to", line->text);
	log_text(&text, "action", line->action);
	log_number(&text, "waiting", line->waiting);
	if (put_off) {
		log_number(&text, "failures", destination->failures);
		log_number(&text, "next_try", (int64_t)destination->until - (int64_t)retry_now());
		if (destination->reply.code != 0) {
			reply_format(&destination->reply, reply, sizeof(reply));
			log_text(&text, "reply", reply);
		}
	}
	log_end(&text);
}

static void
free_task(struct relays *relays, struct task *task)
{
	free(task->entries);
	memset(task, 0, sizeof(*task));
	relays->free_slots[relays->free_count++] = (uint16_t)(task - relays->tasks);
}

static void
end_task(struct queue *queue, struct task *task, enum relay_fault fault)
{
	struct line *line = task->line;
	/* What comes back because it was called back says nothing of the destination. */
	bool failed = !task->reached && !task->cancelled && fault != RELAY_FAULT_NONE;

	scheduler_done(line,
	    task->succeeded && !task->blamed                       ? LINE_SUCCESS
	        : task->blamed || fault == RELAY_FAULT_DESTINATION ? LINE_FAILURE
	                                                           : LINE_NEUTRAL);
	if (failed) {
		if (destination_failed(line, fault, task->failures, queue->config))
			log_line_state(line, "destination-put-off", true);
	} else if (task->reached && destination_reached(line))
		log_line_state(line, "destination-reached", false);
	free_task(queue->relays, task);
	delivery_line_ready(queue, line);
	queue_run_soon(queue);
}

static struct task *
find_task(struct relays *relays, uint32_t request)
{
	struct task *task = &relays->tasks[request % TASKS_MAX];

	return request != 0 && task->request == request ? task : NULL;
}

/* Results mostly come in the order of the recipients. */
static struct entry *
take_entry(struct task *task, uint64_t envelope_id)
{
	struct entry *entry;
	uint32_t at;

	for (uint32_t i = 0; i < task->count; i++) {
		at = (task->next + i) % task->count;
		entry = task->entries[at];
		if (entry == NULL || entry_id(entry) != envelope_id)
			continue;
		task->entries[at] = NULL;
		task->next = at + 1;
		task->left--;
		return entry;
	}
	return NULL;
}

static void
receive_result(struct relays *relays, struct imsg *imsg)
{
	struct queue *queue = relays->queue;
	struct task *task = find_task(relays, imsg->id);
	struct ipc_relay_result result;
	struct buf_reader reader;
	struct entry *entry;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	entry = task != NULL && ipc_relay_result_decode(&reader, &result)
	    ? take_entry(task, result.envelope_id)
	    : NULL;
	if (entry == NULL) {
		channel_reject(relays->channel, imsg, "an answer to what it wasn't given");
		return;
	}
	if (task->cancelled && !result.remote && reply_is_temporary(&result.reply)) {
		delivery_given_back(queue, entry);
		return;
	}
	if (result.fault == RELAY_FAULT_DESTINATION)
		task->blamed = true;
	if (reply_is_success(&result.reply))
		task->succeeded = task->reached = true;
	else {
		task->reached |= result.fault == RELAY_FAULT_NONE && result.remote;
		destination_note(task->line, &result);
	}
	delivery_relayed(queue, entry, &result, task->started_ms);
}

static void
receive_done(struct relays *relays, struct imsg *imsg)
{
	struct task *task = find_task(relays, imsg->id);
	struct ipc_relay_done *done = &relays->done;
	struct buf_reader reader;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (task == NULL || task->left > 0 || !ipc_relay_done_decode(&reader, done)) {
		channel_reject(relays->channel, imsg, "the end of what it wasn't given");
		return;
	}
	if (*done->dialogue != '\0')
		destination_keep_dialogue(&relays->dialogues, task->line, done->dialogue);
	end_task(relays->queue, task, done->fault);
}

static void
received(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct relays *relays = arg;

	if (imsg->fd != -1) {
		channel_reject(channel, imsg, "unexpected descriptor");
		return;
	}
	switch (imsg->type) {
	case RELAY_QUEUE_RESULT:
		receive_result(relays, imsg);
		return;
	case RELAY_QUEUE_DONE:
		receive_done(relays, imsg);
		return;
	default:
		channel_reject(channel, imsg, "unknown type");
	}
}

/* It is gone: what it was given is tried again at once, unless that happens again and again. */
static void
break_off(struct queue *queue)
{
	struct relays *relays = queue->relays;

	for (uint32_t slot = 0; slot < TASKS_MAX; slot++) {
		struct task *task = &relays->tasks[slot];

		if (task->request == 0)
			continue;
		scheduler_done(task->line, LINE_NEUTRAL);
		for (uint32_t i = 0; i < task->count; i++) {
			if (task->entries[i] != NULL)
				delivery_broken_off(queue, task->entries[i]);
		}
		free_task(relays, task);
	}
}

static void
drop_channel(struct queue *queue)
{
	channel_free(queue->relays->channel);
	queue->relays->channel = NULL;
	break_off(queue);
}

static void
closed(struct channel *channel, const char *why, void *arg)
{
	struct relays *relays = arg;

	log_warning("the relay ended (%s) with %" PRIu32 " messages in hand", why,
	    TASKS_MAX - relays->free_count);
	ipc_report_rejected(relays->queue->supervisor, channel, PROGRAM_RELAY, 0);
	drop_channel(relays->queue);
}

void
relay_set_channel(struct queue *queue, int fd)
{
	struct relays *relays = queue->relays;

	if (relays->channel != NULL)
		drop_channel(queue);
	relays->channel = channel_new(queue->base, "relay", fd, received, closed, relays);
	if (queue->phase == QUEUE_RUNNING)
		delivery_look_again(queue);
}

void
relay_tick(struct queue *queue)
{
	struct relays *relays = queue->relays;
	int64_t now = clock_monotonic_ms();

	for (uint32_t slot = 0; slot < TASKS_MAX && relays->free_count < TASKS_MAX; slot++) {
		const struct task *task = &relays->tasks[slot];

		if (task->request == 0 || now - task->started_ms <= STUCK_MS)
			continue;
		log_error("the relay doesn't come to an end with message %08" PRIx32 ": it is "
		          "started again",
		    task->message_id);
		/* It would live on with nobody to give it mail. */
		ipc_report(queue->supervisor, PROGRAM_RELAY, 0);
		drop_channel(queue);
		return;
	}
}

void
relay_cancel_all(struct queue *queue)
{
	struct relays *relays = queue->relays;

	for (uint32_t slot = 0; slot < TASKS_MAX && relays->channel != NULL; slot++) {
		struct task *task = &relays->tasks[slot];

		if (task->request == 0)
			continue;
		task->cancelled = true;
		channel_send(relays->channel, QUEUE_RELAY_CANCEL, task->request, 0, -1, NULL);
	}
}

static void
forget(struct line *line, void *arg)
{
	line_gone(line, arg);
}

void
relay_close(struct queue *queue)
{
	struct relays *relays = queue->relays;

	while (ring_take(&relays->ring) != NULL)
		;
	scheduler_on_line_gone(queue->scheduler, NULL, NULL);
	scheduler_each_line(queue->scheduler, forget, relays);
	channel_free(relays->channel);
	for (uint32_t slot = 0; slot < TASKS_MAX; slot++)
		free(relays->tasks[slot].entries);
	for (size_t i = 0; i < relays->paused_count; i++)
		free(relays->paused[i]);
	free(relays->rcpts);
	free(relays->left_out);
	free(relays);
	queue->relays = NULL;
}
