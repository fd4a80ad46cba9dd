/*
 * The listing of destinations. Its cursor is a part of the scheduler's hash of lines, so that it
 * holds nothing between two portions; a line may come twice when the hash has grown meanwhile.
 *
 * An explanation counts the envelopes of a line, which knows only those that it may give out: its
 * cursor is that of the index.
 */
#include <string.h>
#include <strings.h>

#include <bsd/string.h>

#include "queue/control.h"
#include "queue/relay.h"
#include "queue/relay_memory.h"
#include "queue/retry.h"

#define COUNT_MAX   20000 /* messages looked at for one portion */
#define LOOK_AT_MAX 20000 /* lines looked at for one portion, most of them perhaps mailboxes */

struct listing {
	struct queue *queue;
	struct channel *channel;
	const struct imsg *imsg;
	const char *domain; /* NULL: all */
	uint32_t left;
	uint32_t looked;
};

static enum destination_state
state_of(const struct queue *queue, const struct line *line)
{
	switch (relay_line_stop(queue, line)) {
	case RELAY_STOP_AWAY:
		return DESTINATION_NO_RELAY;
	case RELAY_STOP_PAUSED:
	case RELAY_STOP_DOMAIN_PAUSED:
		return DESTINATION_PAUSED;
	case RELAY_STOP_PUT_OFF:
		return DESTINATION_PUT_OFF;
	case RELAY_STOP_WINDOW:
	case RELAY_STOP_NOT:
		break;
	}
	return DESTINATION_RUNNING;
}

static void
fill(struct ipc_destination *to, const struct queue *queue, const struct line *line)
{
	const struct destination *known = line->destination;

	memset(to, 0, sizeof(*to));
	strlcpy(to->to, line->text, sizeof(to->to));
	strlcpy(to->action, line->action, sizeof(to->action));
	to->state = state_of(queue, line);
	to->queued = line->references;
	to->waiting = line->waiting;
	to->in_flight = line->in_flight;
	to->window = line->window;
	if (known == NULL)
		return;
	to->failures = known->failures;
	to->last_failure = known->failed;
	if (destination_is_put_off(line))
		to->next_try = retry_to_wall(known->until);
	to->reply = known->reply;
	strlcpy(to->host, known->host == NULL ? "" : known->host, sizeof(to->host));
}

static bool
list_line(struct line *line, void *arg)
{
	struct listing *listing = arg;
	struct ipc_destination destination;

	listing->looked++;
	if (line->kind != ENVELOPE_RELAY || (line->references == 0 && line->destination == NULL) ||
	    (listing->domain != NULL && strcasecmp(line->text, listing->domain) != 0))
		return listing->looked < LOOK_AT_MAX;
	fill(&destination, listing->queue, line);
	buf_clear(&listing->queue->payload);
	ipc_destination_encode(&listing->queue->payload, &destination);
	channel_send(listing->channel, CONTROL_DESTINATION, listing->imsg->id, listing->imsg->peer,
	    -1, &listing->queue->payload);
	if (listing->left > 0)
		listing->left--;
	return listing->left > 0 && listing->looked < LOOK_AT_MAX;
}

uint64_t
control_destinations(struct queue *queue, struct channel *channel, const struct imsg *imsg,
    const struct ipc_filter *filter)
{
	struct listing listing = { queue, channel, imsg, *filter->to == '@' ? filter->to + 1 : NULL,
		filter->portion, 0 };
	size_t part = (size_t)filter->cursor;

	return scheduler_some_lines(queue->scheduler, &part, list_line, &listing) ? part : 0;
}

/* Explanations */

static enum explain_stop
stop_of(enum relay_stop stop)
{
	switch (stop) {
	case RELAY_STOP_NOT:
		break;
	case RELAY_STOP_AWAY:
		return EXPLAIN_STOP_NO_RELAY;
	case RELAY_STOP_PAUSED:
		return EXPLAIN_STOP_PAUSED;
	case RELAY_STOP_DOMAIN_PAUSED:
		return EXPLAIN_STOP_DOMAIN_PAUSED;
	case RELAY_STOP_PUT_OFF:
		return EXPLAIN_STOP_PUT_OFF;
	case RELAY_STOP_WINDOW:
		return EXPLAIN_STOP_WINDOW;
	}
	return EXPLAIN_STOP_NOT;
}

static void
count_entry(struct ipc_explain_queue *counts, const struct entry *entry)
{
	int64_t next_try;

	switch ((enum entry_state)entry->state) {
	case ENTRY_NEW:
	case ENTRY_WAITING:
		counts->waiting++;
		next_try = retry_to_wall(entry->next_try);
		if (counts->next_try == 0 || next_try < counts->next_try)
			counts->next_try = next_try;
		break;
	case ENTRY_READY:
		counts->ready++;
		break;
	case ENTRY_INFLIGHT:
		counts->in_flight++;
		break;
	case ENTRY_HELD:
		counts->held++;
		break;
	case ENTRY_BOUNCING:
		counts->bouncing++;
		break;
	case ENTRY_DONE:
		break;
	}
}

/* Counts a portion of the envelopes in these lines; the next cursor, 0 at the end. */
static uint64_t
count_lines(const struct queue *queue, const struct line *one, const struct line *other,
    uint64_t cursor, struct ipc_explain_queue *counts)
{
	const struct message *message = index_from(queue->index, cursor);
	uint32_t looked = 0;

	for (; message != NULL; message = index_next(queue->index, message)) {
		if (looked++ >= COUNT_MAX)
			return index_number(queue->index, message);
		for (uint32_t i = 0; i < message->count; i++) {
			const struct entry *entry = &message->entries[i];

			if (entry->line != NULL && (entry->line == one || entry->line == other))
				count_entry(counts, entry);
		}
	}
	return 0;
}

static bool
has_mail(const struct line *line)
{
	return line != NULL && line->references > 0;
}

static void
send_line(
    struct queue *queue, struct channel *channel, const struct imsg *imsg, const struct line *line)
{
	struct ipc_destination destination;

	fill(&destination, queue, line);
	buf_clear(&queue->payload);
	ipc_destination_encode(&queue->payload, &destination);
	channel_send(channel, CONTROL_DESTINATION, imsg->id, imsg->peer, -1, &queue->payload);
}

bool
control_explain(
    struct queue *queue, struct channel *channel, const struct imsg *imsg, uint64_t *next)
{
	struct ipc_explain_relay asked;
	struct ipc_explain_queue counts = { .stop = EXPLAIN_STOP_NOT };
	struct buf_reader reader;
	struct line *line, *own;
	char text[ADDRESS_TEXT_MAX + 1];

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_explain_relay_decode(&reader, &asked) || !buf_reader_done(&reader))
		return false;
	relay_line_text(queue, asked.action, asked.domain, text, sizeof(text));
	line = scheduler_find_line(queue->scheduler, ENVELOPE_RELAY, text, asked.action);
	/* What goes by smarthosts and was paused, or is. */
	own = scheduler_find_line(queue->scheduler, ENVELOPE_RELAY, asked.domain, asked.action);
	if (asked.cursor == 0 && line != NULL)
		send_line(queue, channel, imsg, line);
	if (asked.cursor == 0 && own != line && has_mail(own))
		send_line(queue, channel, imsg, own);
	counts.stop = stop_of(relay_domain_stop(queue, asked.domain, line));
	*next = has_mail(line) || has_mail(own)
	    ? count_lines(queue, line, own, asked.cursor, &counts)
	    : 0;
	buf_clear(&queue->payload);
	ipc_explain_queue_encode(&queue->payload, &counts);
	channel_send(channel, CONTROL_EXPLAIN_QUEUE, imsg->id, imsg->peer, -1, &queue->payload);
	return true;
}
