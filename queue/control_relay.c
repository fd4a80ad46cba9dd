/*
 * The listing of destinations. Its cursor is a part of the scheduler's hash of lines, so that it
 * holds nothing between two portions; a line may come twice when the hash has grown meanwhile.
 */
#include <string.h>
#include <strings.h>

#include <bsd/string.h>

#include "queue/control.h"
#include "queue/relay.h"
#include "queue/relay_memory.h"
#include "queue/retry.h"

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
