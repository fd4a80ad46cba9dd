/*
 * Events gather in one frame for a tenth of a second, or until it is full.
 *
 * Recipients that listeners refuse come from anybody who can connect, so that a flood of them would
 * push all else out of the history: of those a bounded number is told, and of one network's fewer, so
 * that it doesn't hide those of others.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <bsd/string.h>
#include <event2/event.h>

#include "common/clock.h"
#include "common/ipc_directory.h"
#include "common/log.h"
#include "common/stats.h"
#include "queue/history.h"
#include "queue/record.h"
#include "queue/retry.h"

#define GATHER_MS  100
#define QUEUED_MAX (1024 * 1024) /* bytes that the directory hasn't read */
/* Refusals: so many at once, and then one in so many milliseconds. */
#define REFUSALS_BURST    200
#define REFUSALS_MS       200
#define NETWORKS          256 /* by hash */
#define NETWORK_BURST     20
#define NETWORK_MS        10000
#define NETWORK_V4_DOTS   3 /* of an address, that belong to its network */
#define NETWORK_V6_COLONS 3

static struct {
	struct buf frame;
	size_t count; /* of its events */
	struct event *gather;
	bool is_waiting;
	/* When the next refusal is due, of all and of a network, counted from then. */
	int64_t refusals_ms;
	int64_t network_ms[NETWORKS];
} history;

static void
on_gather(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	history_flush(arg);
}

void
history_open(struct queue *queue)
{
	memset(&history, 0, sizeof(history));
	buf_init(&history.frame, IMSG_PAYLOAD_MAX);
	history.gather = evtimer_new(queue->base, on_gather, queue);
	if (history.gather == NULL || event_priority_set(history.gather, 0) == -1)
		fatalx("out of memory");
}

void
history_close(struct queue *queue)
{
	(void)queue;
	buf_free(&history.frame);
	if (history.gather != NULL)
		event_free(history.gather);
	history.gather = NULL;
}

void
history_flush(struct queue *queue)
{
	history.is_waiting = false;
	if (history.gather != NULL)
		(void)evtimer_del(history.gather);
	if (history.count == 0)
		return;
	if (queue->directory == NULL || channel_queued(queue->directory) > QUEUED_MAX)
		stats_add(STATS_HISTORY_DROPPED, (int64_t)history.count);
	else
		channel_send(queue->directory, DIRECTORY_HISTORY, 0, 0, -1, &history.frame);
	buf_clear(&history.frame);
	history.count = 0;
}

bool
history_is_on(const struct queue *queue)
{
	return history.gather != NULL && !queue->config->history_off;
}

static void
tell(struct queue *queue, const struct history_event *event)
{
	static const struct timeval later = { .tv_usec = GATHER_MS * 1000 };
	size_t length = history.frame.length;

	history_event_encode(&history.frame, event);
	if (!buf_ok(&history.frame)) {
		history.frame.failed = false;
		history.frame.length = length;
		history_flush(queue);
		history_event_encode(&history.frame, event);
	}
	if (!buf_ok(&history.frame))
		fatalx("out of memory");
	history.count++;
	if (!history.is_waiting) {
		history.is_waiting = true;
		evtimer_add(history.gather, &later);
	}
}

/* A number as a field. */
struct digits {
	char text[24];
};

static const char *
decimal(struct digits *digits, int64_t value)
{
	snprintf(digits->text, sizeof(digits->text), "%" PRId64, value);
	return digits->text;
}

/* Empty strings say nothing. */
static const char *
words(const char *text)
{
	return *text == '\0' ? NULL : text;
}

static const char *
method(const struct queue *queue, const struct envelope *envelope)
{
	static const char *const names[ENVELOPE_KIND_COUNT] = {
		[ENVELOPE_MAILDIR] = "mailbox",
		[ENVELOPE_PIPE] = "command",
		[ENVELOPE_RELAY] = "relay",
		[ENVELOPE_USER_PIPE] = "command",
		[ENVELOPE_USER_FILE] = "mbox",
		[ENVELOPE_FORWARD] = "mailbox",
	};
	const struct action_config *action = config_find_action(queue->config, envelope->action);
	bool is_mailbox = envelope->kind == ENVELOPE_MAILDIR || envelope->kind == ENVELOPE_FORWARD;

	if (action != NULL && envelope->kind == ENVELOPE_RELAY && action->method == ACTION_LMTP)
		return "lmtp";
	if (action != NULL && is_mailbox && action->method == ACTION_MBOX)
		return "mbox";
	if (action != NULL && is_mailbox && action->method == ACTION_MDA)
		return "command";
	return names[envelope->kind];
}

/* Messages as they come */

static void
tell_recipient(struct queue *queue, const struct envelope *envelope, int64_t now_us, uint32_t rule)
{
	char rcpt[ADDRESS_TEXT_MAX + 1], dest[ADDRESS_TEXT_MAX + 1];
	struct history_event event = { .kind = HISTORY_RECIPIENT,
		.time_us = now_us,
		.message_id = envelope_id_message(envelope->id),
		.number = (uint32_t)envelope->id };
	struct digits line;

	address_format(&envelope->rcpt, rcpt, sizeof(rcpt));
	address_format(&envelope->dest, dest, sizeof(dest));
	event.fields[HISTORY_RCPT] = rcpt;
	event.fields[HISTORY_DEST] = dest;
	event.fields[HISTORY_METHOD] = method(queue, envelope);
	event.fields[HISTORY_ACTION] = words(envelope->action);
	if (rule != 0)
		event.fields[HISTORY_RULE] = decimal(&line, rule);
	if (envelope->state == ENVELOPE_HELD)
		event.fields[HISTORY_ABOUT] = "held";
	tell(queue, &event);
}

void
history_received(struct queue *queue, const uint8_t *data, size_t length, const uint8_t *facts_data,
    size_t facts_length)
{
	static struct ipc_facts facts;
	struct history_event event = { .kind = HISTORY_RECEIVED };
	const struct transaction *transaction;
	char from[ADDRESS_TEXT_MAX + 1];
	struct message_head head;
	struct envelope envelope;
	uint32_t warned, offset;
	struct buf_reader reader;
	struct digits size;

	if (!history_is_on(queue) || !message_decode(data, length, &head))
		return;
	buf_reader_init(&reader, facts_data, facts_length);
	if (facts_data == NULL || !ipc_facts_decode(&reader, &facts))
		memset(&facts, 0, sizeof(facts));
	transaction = &head.transaction;
	event.time_us = clock_wall_us();
	event.message_id = transaction->message_id;
	address_format(&transaction->sender, from, sizeof(from));
	event.fields[HISTORY_FROM] = from;
	event.fields[HISTORY_CLIENT] = words(transaction->client);
	event.fields[HISTORY_CLIENT_NAME] = words(transaction->client_name);
	event.fields[HISTORY_HELO] = words(transaction->helo);
	event.fields[HISTORY_USER] = words(transaction->auth_user);
	event.fields[HISTORY_TAG] = words(transaction->tag);
	event.fields[HISTORY_SIZE] = decimal(&size, (int64_t)transaction->size);
	if (transaction->is_bounce)
		event.fields[HISTORY_ABOUT] = "bounce";
	event.fields[HISTORY_TLS] = words(facts.tls);
	event.fields[HISTORY_HEADER_ID] = words(facts.header_id);
	event.fields[HISTORY_CHECKS] = words(facts.checks);
	tell(queue, &event);
	for (uint32_t i = 0; i < head.envelope_count; i++) {
		if (!message_next_envelope(&head, &envelope, &warned, &offset))
			return;
		tell_recipient(
		    queue, &envelope, event.time_us, i < facts.rule_count ? facts.rules[i] : 0);
	}
}

/* The bucket of a client's network: 192.0.2, 2001:db8:1. */
static size_t
network_of(const char *client)
{
	size_t ends = strchr(client, ':') != NULL ? NETWORK_V6_COLONS : NETWORK_V4_DOTS;
	uint32_t hash = 2166136261U;

	for (; *client != '\0' && ends > 0; client++) {
		hash = (hash ^ (unsigned char)*client) * 16777619U;
		if (*client == '.' || *client == ':')
			ends--;
	}
	return hash % NETWORKS;
}

static bool
has_turn(int64_t *due_ms, int64_t now, int64_t each_ms, int64_t burst)
{
	if (*due_ms < now)
		*due_ms = now;
	if (*due_ms > now + burst * each_ms)
		return false;
	*due_ms += each_ms;
	return true;
}

static bool
may_tell_refusal(const char *client)
{
	int64_t now = clock_monotonic_ms();

	return has_turn(&history.network_ms[network_of(client == NULL ? "" : client)], now,
	           NETWORK_MS, NETWORK_BURST) &&
	    has_turn(&history.refusals_ms, now, REFUSALS_MS, REFUSALS_BURST);
}

bool
history_refused(struct queue *queue, const void *payload, size_t length)
{
	struct history_scratch scratch;
	struct history_event event;
	struct buf_reader reader;

	buf_reader_init(&reader, payload, length);
	if (!history_event_decode(&reader, &event, &scratch) || !buf_reader_done(&reader) ||
	    event.kind != HISTORY_REFUSED || event.message_id != 0 || event.number != 0)
		return false;
	if (!history_is_on(queue))
		return true;
	event.time_us = clock_wall_us();
	if (may_tell_refusal(event.fields[HISTORY_CLIENT]))
		tell(queue, &event);
	else
		stats_add(STATS_HISTORY_DROPPED, 1);
	return true;
}

/* What becomes of them */

/* What is said of every try. */
struct attempt {
	struct history_event event;
	char dest[ADDRESS_TEXT_MAX + 1];
	char reply[REPLY_TEXT_MAX + 32];
	struct digits tries;
	struct digits delivery_ms;
	struct digits delay_ms;
	struct digits next_try;
};

static void
begin_attempt(struct attempt *attempt, const struct queue *queue, enum history_kind kind,
    struct entry *entry, const struct transaction *transaction, const struct envelope *envelope,
    const struct reply *reply)
{
	struct history_event *event = &attempt->event;

	memset(event, 0, sizeof(*event));
	event->kind = kind;
	event->time_us = clock_wall_us();
	event->message_id = entry_message(entry)->id;
	event->number = entry->number;
	event->fields[HISTORY_TRIES] = decimal(&attempt->tries, entry->tries);
	reply_format(reply, attempt->reply, sizeof(attempt->reply));
	event->fields[HISTORY_REPLY] = attempt->reply;
	if (envelope == NULL)
		return;
	address_format(&envelope->dest, attempt->dest, sizeof(attempt->dest));
	event->fields[HISTORY_DEST] = attempt->dest;
	event->fields[HISTORY_METHOD] = method(queue, envelope);
	event->fields[HISTORY_DELAY_MS] =
	    decimal(&attempt->delay_ms, (event->time_us - transaction->created_us) / 1000);
}

void
history_delivered(struct queue *queue, struct entry *entry, const struct transaction *transaction,
    const struct envelope *envelope, const struct reply *reply, const char *user, const char *place,
    int64_t delivery_ms)
{
	struct attempt attempt;
	const char **fields = attempt.event.fields;

	if (!history_is_on(queue))
		return;
	begin_attempt(&attempt, queue, HISTORY_DELIVERED, entry, transaction, envelope, reply);
	fields[HISTORY_MAILBOX] = words(user);
	fields[HISTORY_FILE] = words(place);
	fields[HISTORY_DELIVERY_MS] = decimal(&attempt.delivery_ms, delivery_ms);
	tell(queue, &attempt.event);
}

void
history_relayed(struct queue *queue, struct entry *entry, const struct transaction *transaction,
    const struct envelope *envelope, const struct ipc_relay_result *result, int64_t delivery_ms)
{
	struct attempt attempt;
	const char **fields = attempt.event.fields;

	if (!history_is_on(queue))
		return;
	begin_attempt(
	    &attempt, queue, HISTORY_DELIVERED, entry, transaction, envelope, &result->reply);
	fields[HISTORY_HOST] = words(result->host);
	fields[HISTORY_ADDRESS] = words(result->address);
	fields[HISTORY_TLS] = words(result->tls);
	fields[HISTORY_DELIVERY_MS] = decimal(&attempt.delivery_ms, delivery_ms);
	tell(queue, &attempt.event);
}

void
history_failed(struct queue *queue, enum history_kind kind, struct entry *entry,
    const struct transaction *transaction, const struct envelope *envelope,
    const struct reply *reply, const char *host, const char *address, const char *tls)
{
	struct attempt attempt;
	const char **fields = attempt.event.fields;

	if (!history_is_on(queue))
		return;
	begin_attempt(&attempt, queue, kind, entry, transaction, envelope, reply);
	fields[HISTORY_HOST] = words(host);
	fields[HISTORY_ADDRESS] = words(address);
	fields[HISTORY_TLS] = words(tls);
	if (kind == HISTORY_DEFERRED && entry->state == ENTRY_WAITING)
		fields[HISTORY_NEXT_TRY] =
		    decimal(&attempt.next_try, (int64_t)entry->next_try - (int64_t)retry_now());
	tell(queue, &attempt.event);
}

static void
tell_made(struct queue *queue, enum history_kind kind, uint64_t envelope_id, uint32_t made_id,
    const char *about, const char *to)
{
	struct history_event event = { .kind = kind,
		.time_us = clock_wall_us(),
		.message_id = envelope_id_message(envelope_id),
		.number = (uint32_t)envelope_id };
	char id[HISTORY_ID_SIZE];

	if (!history_is_on(queue))
		return;
	snprintf(id, sizeof(id), "%08" PRIx32, made_id);
	event.fields[HISTORY_DEST] = to;
	event.fields[HISTORY_BOUNCE] = id;
	event.fields[HISTORY_ABOUT] = about;
	tell(queue, &event);
}

void
history_notified(
    struct queue *queue, uint64_t envelope_id, uint32_t dsn_id, const char *about, const char *to)
{
	tell_made(queue, HISTORY_NOTIFIED, envelope_id, dsn_id, about, to);
}

void
history_sent_on(struct queue *queue, uint64_t envelope_id, uint32_t message_id, const char *about,
    const char *to)
{
	tell_made(queue, HISTORY_SENT_ON, envelope_id, message_id, about, to);
}

void
history_acted(struct queue *queue, enum history_kind kind, uint64_t envelope_id, uint32_t uid)
{
	struct history_event event = { .kind = kind,
		.time_us = clock_wall_us(),
		.message_id = envelope_id_message(envelope_id),
		.number = (uint32_t)envelope_id };
	struct digits number;

	if (!history_is_on(queue))
		return;
	event.fields[HISTORY_UID] = decimal(&number, uid);
	tell(queue, &event);
}
