/*
 * Control's requests. A listing is answered a portion at a time and holds nothing between two of
 * them: its cursor is the number of an envelope, counted over all that were ever queued, so that it
 * stays right whatever comes and goes.
 */
#include <sys/types.h>
#include <errno.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include <bsd/string.h>

#include "common/log.h"
#include "queue/control.h"
#include "queue/delivery.h"
#include "queue/mail.h"
#include "queue/relay.h"
#include "queue/relay_memory.h"

#define PORTION_MAX 1000
#define LOOK_AT_MAX 20000 /* messages looked at for one portion */
#define READ_MAX    2000  /* of which read from the journal */

void
control_send_done(struct queue *queue, const struct control_request *request, int fd, int exit_code,
    uint64_t count, const char *words)
{
	struct ipc_result result = { (uint32_t)exit_code, count, "" };

	if (request->channel == NULL) {
		if (fd != -1)
			close(fd);
		return;
	}
	strlcpy(result.words, words, sizeof(result.words));
	buf_clear(&queue->payload);
	ipc_result_encode(&queue->payload, &result);
	channel_send(
	    request->channel, CONTROL_DONE, request->id, request->peer, fd, &queue->payload);
}

static struct control_request
request_of(struct channel *channel, const struct imsg *imsg)
{
	return (struct control_request){ channel, imsg->id, imsg->peer };
}

static void
send_done(struct queue *queue, struct channel *channel, const struct imsg *imsg, int fd,
    int exit_code, uint64_t count, const char *words)
{
	struct control_request request = request_of(channel, imsg);

	control_send_done(queue, &request, fd, exit_code, count, words);
}

struct listing {
	struct queue *queue;
	struct channel *channel;
	const struct imsg *imsg;
	const struct filter *filter;
	uint64_t first; /* number of the message's first envelope */
	uint64_t next;  /* the cursor when the portion is full */
	uint32_t left;
};

/* How the last attempt at its destination went, when it alone is shown. */
static void
add_dialogue(struct listing *listing, const struct entry *entry)
{
	const char *dialogue = NULL;

	if (envelope_id_message(listing->filter->given.id) != 0 && entry->line != NULL)
		dialogue = destination_dialogue(entry->line);
	buf_add_string(&listing->queue->payload, dialogue == NULL ? "" : dialogue);
}

static bool
list_envelope(void *arg, struct entry *entry, const struct transaction *transaction,
    const struct envelope *envelope)
{
	struct listing *listing = arg;
	uint64_t number = listing->first + entry->index;

	if (number < listing->filter->given.cursor || !filter_entry(listing->filter, entry) ||
	    !filter_envelope(listing->filter, envelope))
		return true;
	if (listing->left == 0) {
		listing->next = number;
		return false;
	}
	listing->left--;
	buf_clear(&listing->queue->payload);
	transaction_encode(&listing->queue->payload, transaction);
	envelope_encode(&listing->queue->payload, envelope);
	add_dialogue(listing, entry);
	channel_send(listing->channel, CONTROL_ENVELOPE, listing->imsg->id, listing->imsg->peer, -1,
	    &listing->queue->payload);
	return true;
}

static bool
any_entry(const struct filter *filter, struct message *message)
{
	for (uint32_t i = 0; i < message->count; i++) {
		if (filter_entry(filter, &message->entries[i]))
			return true;
	}
	return false;
}

static void
list(struct queue *queue, struct channel *channel, struct imsg *imsg)
{
	struct ipc_filter given;
	struct filter filter;
	struct listing listing = { queue, channel, imsg, &filter, 0, 0, 0 };
	struct buf_reader reader;
	struct message *message;
	uint32_t looked = 0, read = 0;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_filter_decode(&reader, &given) || !buf_reader_done(&reader)) {
		channel_reject(channel, imsg, "bad filter");
		return;
	}
	filter_prepare(&filter, &given);
	listing.left =
	    given.portion == 0 || given.portion > PORTION_MAX ? PORTION_MAX : given.portion;
	message = filter_from(&filter, queue->index, given.cursor);
	while (message != NULL && listing.next == 0) {
		if (looked++ >= LOOK_AT_MAX || read >= READ_MAX) {
			listing.next = index_number(queue->index, message);
			break;
		}
		if (filter_message(&filter, message) && any_entry(&filter, message)) {
			read++;
			listing.first = index_number(queue->index, message);
			(void)mail_each(queue, message, list_envelope, &listing);
		}
		message = filter_next(&filter, queue->index, message);
	}
	if (listing.next == 0) {
		send_done(queue, channel, imsg, -1, EX_OK, 0, "");
		return;
	}
	buf_clear(&queue->payload);
	buf_add_u64(&queue->payload, listing.next);
	channel_send(channel, CONTROL_QUEUE_LIST_MORE, imsg->id, imsg->peer, -1, &queue->payload);
}

static void
act(struct queue *queue, struct channel *channel, struct imsg *imsg)
{
	struct control_request request = request_of(channel, imsg);
	struct ipc_act wanted;
	struct buf_reader reader;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_act_decode(&reader, &wanted) || !buf_reader_done(&reader)) {
		channel_reject(channel, imsg, "bad act");
		return;
	}
	control_acts_begin(queue, &request, &wanted);
}

static void
message_text(struct queue *queue, struct channel *channel, struct imsg *imsg)
{
	struct ipc_filter given;
	struct filter filter;
	struct buf_reader reader;
	struct message *message;
	int fd;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_filter_decode(&reader, &given) || !buf_reader_done(&reader) || given.id == 0) {
		channel_reject(channel, imsg, "bad request for a message");
		return;
	}
	filter_prepare(&filter, &given);
	message = filter_from(&filter, queue->index, 0);
	if (message == NULL || !any_entry(&filter, message)) {
		send_done(queue, channel, imsg, -1, EX_DATAERR, 0, "no such message");
		return;
	}
	fd = mail_open(queue, message, false);
	if (fd == -1)
		send_done(queue, channel, imsg, -1, EX_IOERR, 0, strerror(errno));
	else
		send_done(queue, channel, imsg, fd, EX_OK, 1, "");
}

static void
pause_or_resume(struct queue *queue, struct channel *channel, struct imsg *imsg)
{
	struct ipc_pause wanted;
	struct buf_reader reader;
	struct log_line line;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_pause_decode(&reader, &wanted) || !buf_reader_done(&reader)) {
		channel_reject(channel, imsg, "bad pause");
		return;
	}
	if (*wanted.domain != '\0' && !relay_pause_domain(queue, wanted.domain, wanted.paused)) {
		send_done(queue, channel, imsg, -1, EX_TEMPFAIL, 0,
		    "too many domains are paused: resume some first");
		return;
	}
	if (wanted.mda)
		queue->mda_paused = wanted.paused;
	else if (*wanted.domain == '\0')
		queue->mta_paused = wanted.paused;
	log_begin(
	    &line, LOG_LEVEL_INFO, wanted.paused ? "deliveries-paused" : "deliveries-resumed");
	log_text(&line, "what", wanted.mda ? "mda" : "mta");
	if (*wanted.domain != '\0')
		log_text(&line, "for", wanted.domain);
	log_number(&line, "uid", wanted.caller_uid);
	log_end(&line);
	if (!wanted.paused)
		delivery_look_again(queue);
	send_done(queue, channel, imsg, -1, EX_OK, 0, "");
}

static void
status(struct queue *queue, struct channel *channel, struct imsg *imsg)
{
	char words[64];

	if (imsg->length != 0) {
		channel_reject(channel, imsg, "bad request for the status");
		return;
	}
	strlcpy(words, queue->mda_paused ? "MDA paused\n" : "MDA running\n", sizeof(words));
	strlcat(words, queue->mta_paused ? "MTA paused" : "MTA running", sizeof(words));
	send_done(queue, channel, imsg, -1, EX_OK, 0, words);
}

/* `next`: the cursor of the next portion; 0: there is none. */
static void
end_portion(struct queue *queue, struct channel *channel, const struct imsg *imsg, uint64_t next)
{
	if (next == 0) {
		send_done(queue, channel, imsg, -1, EX_OK, 0, "");
		return;
	}
	buf_clear(&queue->payload);
	buf_add_u64(&queue->payload, next);
	channel_send(channel, CONTROL_QUEUE_LIST_MORE, imsg->id, imsg->peer, -1, &queue->payload);
}

static void
list_destinations(struct queue *queue, struct channel *channel, struct imsg *imsg)
{
	struct ipc_filter filter;
	struct buf_reader reader;
	uint64_t next;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_filter_decode(&reader, &filter) || !buf_reader_done(&reader)) {
		channel_reject(channel, imsg, "bad filter");
		return;
	}
	if (filter.portion == 0 || filter.portion > PORTION_MAX)
		filter.portion = PORTION_MAX;
	next = control_destinations(queue, channel, imsg, &filter);
	end_portion(queue, channel, imsg, next);
}

static void
explain(struct queue *queue, struct channel *channel, struct imsg *imsg)
{
	uint64_t next;

	if (control_explain(queue, channel, imsg, &next))
		end_portion(queue, channel, imsg, next);
	else
		channel_reject(channel, imsg, "bad request for an explanation");
}

void
control_receive(struct queue *queue, struct channel *channel, struct imsg *imsg)
{
	if (imsg->fd != -1) {
		channel_reject(channel, imsg, "unexpected descriptor");
		return;
	}
	switch (imsg->type) {
	case CONTROL_QUEUE_LIST:
		list(queue, channel, imsg);
		return;
	case CONTROL_QUEUE_ACT:
		act(queue, channel, imsg);
		return;
	case CONTROL_QUEUE_MESSAGE:
		message_text(queue, channel, imsg);
		return;
	case CONTROL_QUEUE_PAUSE:
		pause_or_resume(queue, channel, imsg);
		return;
	case CONTROL_QUEUE_STATUS:
		status(queue, channel, imsg);
		return;
	case CONTROL_DESTINATION_LIST:
		list_destinations(queue, channel, imsg);
		return;
	case CONTROL_EXPLAIN_RELAY:
		explain(queue, channel, imsg);
		return;
	default:
		channel_reject(channel, imsg, "unknown type");
	}
}
