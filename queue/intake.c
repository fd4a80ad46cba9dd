/*
 * Each id given to a listener is a draft, in which the frames of its message collect: envelopes are
 * decoded, given the queue's own fields and put at once into the form that the journal's record
 * has. COMMIT then needs only the transaction before them and the bytes behind.
 *
 * The bytes come in a memfd that must be sealed against every change; only then does its size mean
 * anything. A spool file must have been closed: then its size and checksum are taken, and recorded.
 * How large one grows before is looked at each second (intake_files.h).
 */
#include <sys/mman.h>
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/stdlib.h>
#include <event2/event.h>

#include "common/clock.h"
#include "common/crc32c.h"
#include "common/ipc_listener_queue.h"
#include "common/ipc_supervisor.h"
#include "common/log.h"
#include "queue/commit.h"
#include "queue/history.h"
#include "queue/intake.h"
#include "queue/intake_files.h"

#define DRAFTS_MAX     65536       /* ids given to one listener and not used */
#define OWN_FIELDS_MAX (64 * 1024) /* that the listener puts before a text of the largest size */
#define OPEN_MAX       64          /* drafts with envelopes: see ipc_listener_queue.h */
#define FILES_MAX      256         /* spool files being written by one listener */
#define BUCKETS        4096
#define SEALS          (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW)
#define LISTENERS_MAX  256

enum draft_state {
	DRAFT_GIVEN, /* an id in the listener's stock */
	DRAFT_OPEN,  /* has envelopes */
};

struct draft {
	struct draft *next;
	uint32_t id;
	enum draft_state state;
	bool has_file;
	bool too_many;
	uint32_t count;
	struct buf envelopes; /* as in the record */
	struct buf facts;     /* for the history */
};

struct listener {
	struct queue *queue;
	struct channel *channel;
	unsigned instance;
	struct draft *buckets[BUCKETS];
	size_t draft_count;
	size_t open_count;
	size_t file_count; /* being written, by drafts */
	struct lingering lingering;
};

struct intake {
	struct listener *listeners[LISTENERS_MAX];
	struct reply state; /* as last told */
	struct buf head;    /* of the record in the making */
	uint64_t
	    size_max; /* of a spool file, since the start: a reload may lower the limit while one
	                     * is written */
};

void
intake_open(struct queue *queue)
{
	struct intake *intake = calloc(1, sizeof(*intake));

	if (intake == NULL)
		fatalx("out of memory");
	queue->intake = intake;
	buf_init(&intake->head, IPC_ENVELOPES_BYTES + 65536);
	commit_refusal(journal_accepts(queue->journal), &intake->state);
}

static struct draft **
find_draft(struct listener *listener, uint32_t id)
{
	struct draft **at = &listener->buckets[id % BUCKETS];

	while (*at != NULL && (*at)->id != id)
		at = &(*at)->next;
	return at;
}

static void
set_file(struct listener *listener, struct draft *draft, bool has_file)
{
	if (has_file && !draft->has_file)
		listener->file_count++;
	else if (!has_file && draft->has_file)
		listener->file_count--;
	draft->has_file = has_file;
}

/* What it has collected is dropped; the id stays. */
static void
reset_draft(struct listener *listener, struct draft *draft)
{
	if (draft->has_file)
		lingering_remove_file(&listener->lingering, &listener->queue->spool, draft->id);
	set_file(listener, draft, false);
	if (draft->state == DRAFT_OPEN)
		listener->open_count--;
	draft->state = DRAFT_GIVEN;
	draft->too_many = false;
	draft->count = 0;
	buf_free(&draft->envelopes);
	buf_free(&draft->facts);
}

/* The id is used up. */
static void
remove_draft(struct listener *listener, struct draft **at)
{
	struct draft *draft = *at;

	*at = draft->next;
	set_file(listener, draft, false);
	if (draft->state == DRAFT_OPEN)
		listener->open_count--;
	listener->draft_count--;
	buf_free(&draft->envelopes);
	buf_free(&draft->facts);
	free(draft);
}

static void
drop_drafts(struct listener *listener)
{
	for (size_t i = 0; i < BUCKETS; i++) {
		while (listener->buckets[i] != NULL) {
			reset_draft(listener, listener->buckets[i]);
			remove_draft(listener, &listener->buckets[i]);
		}
	}
}

static void
free_listener(struct listener *listener)
{
	struct queue *queue = listener->queue;

	channel_free(listener->channel);
	drop_drafts(listener);
	lingering_free(&listener->lingering);
	for (size_t i = 0; i < LISTENERS_MAX; i++) {
		if (queue->intake->listeners[i] == listener)
			queue->intake->listeners[i] = NULL;
	}
	commit_forget_owner(queue, listener);
	free(listener);
}

void
intake_close(struct queue *queue)
{
	for (size_t i = 0; i < LISTENERS_MAX; i++) {
		if (queue->intake->listeners[i] != NULL)
			free_listener(queue->intake->listeners[i]);
	}
	buf_free(&queue->intake->head);
	free(queue->intake);
	queue->intake = NULL;
}

bool
intake_knows_id(const struct queue *queue, uint32_t id)
{
	for (size_t i = 0; i < LISTENERS_MAX; i++) {
		struct listener *listener = queue->intake->listeners[i];

		if (listener != NULL && *find_draft(listener, id) != NULL)
			return true;
	}
	return false;
}

uint32_t
intake_new_id(const struct queue *queue)
{
	uint32_t id;

	do
		id = arc4random();
	while (id == 0 || index_find(queue->index, id) != NULL || intake_knows_id(queue, id));
	return id;
}

static void
send_reply(struct listener *listener, enum ipc_listener_queue_type type, uint32_t request,
    uint32_t message_id, const struct reply *reply)
{
	struct buf *payload = &listener->queue->payload;

	buf_clear(payload);
	reply_encode(payload, reply);
	channel_send(listener->channel, type, request, message_id, -1, payload);
}

static void
receive_ids(struct listener *listener, struct imsg *imsg)
{
	struct queue *queue = listener->queue;
	struct ipc_ids ids = { .count = 0 };
	struct buf_reader reader;
	struct draft *draft, **at;
	uint32_t wanted;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_ids_request_decode(&reader, &wanted)) {
		channel_reject(listener->channel, imsg, "bad request for ids");
		return;
	}
	if (listener->draft_count + wanted > DRAFTS_MAX) {
		channel_reject(listener->channel, imsg, "more ids than it can use");
		return;
	}
	while (ids.count < wanted) {
		draft = calloc(1, sizeof(*draft));
		if (draft == NULL)
			break;
		draft->id = intake_new_id(queue);
		buf_init(&draft->envelopes, IPC_ENVELOPES_BYTES);
		buf_init(&draft->facts, IMSG_PAYLOAD_MAX);
		at = find_draft(listener, draft->id);
		*at = draft;
		listener->draft_count++;
		ids.ids[ids.count++] = draft->id;
	}
	buf_clear(&queue->payload);
	ipc_ids_encode(&queue->payload, &ids);
	channel_send(listener->channel, QUEUE_LISTENER_IDS, imsg->id, 0, -1, &queue->payload);
}

static void
receive_spool_file(struct listener *listener, struct imsg *imsg)
{
	struct draft *draft = *find_draft(listener, imsg->peer);
	struct reply reply;
	int fd;

	if (draft == NULL || draft->has_file || imsg->length != 0) {
		channel_reject(listener->channel, imsg, "a spool file for an id that it hasn't");
		return;
	}
	commit_refusal(journal_accepts(listener->queue->journal), &reply);
	if (reply.code == 250 && listener->file_count + listener->lingering.count >= FILES_MAX)
		reply_set(&reply, 452, "4.3.1", "Too many large messages at once, try again later");
	fd = reply.code == 250 ? spool_large_create(&listener->queue->spool, draft->id) : -1;
	if (fd == -1) {
		if (reply.code == 250) {
			log_error(
			    "spool: can't make a file for a large message: %s", strerror(errno));
			commit_refusal(
			    errno == ENOSPC || errno == EDQUOT ? JOURNAL_FULL : JOURNAL_BROKEN,
			    &reply);
		}
		send_reply(listener, QUEUE_LISTENER_SPOOL_FILE, imsg->id, imsg->peer, &reply);
		return;
	}
	set_file(listener, draft, true);
	channel_send(listener->channel, QUEUE_LISTENER_SPOOL_FILE, imsg->id, imsg->peer, fd, NULL);
}

static uint32_t
ttl_of(const struct config *config, const struct envelope *envelope)
{
	const struct action_config *action = config_find_action(config, envelope->action);

	return action != NULL && action->ttl != 0 ? action->ttl : config->queue_ttl;
}

static void
receive_envelope(struct listener *listener, struct imsg *imsg)
{
	struct draft *draft = *find_draft(listener, imsg->peer);
	struct envelope envelope;
	struct buf_reader reader;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (draft == NULL || !envelope_decode(&reader, &envelope) || !buf_reader_done(&reader) ||
	    (envelope_id_message(envelope.id) != 0 &&
	        envelope_id_message(envelope.id) != draft->id) ||
	    (uint32_t)envelope.id != draft->count + 1 || address_is_null(&envelope.dest) ||
	    envelope_has_command(envelope.kind) != (*envelope.command != '\0')) {
		channel_reject(listener->channel, imsg, "bad envelope");
		return;
	}
	if (draft->state == DRAFT_GIVEN) {
		if (listener->open_count == OPEN_MAX) {
			channel_reject(listener->channel, imsg, "too many messages at once");
			return;
		}
		draft->state = DRAFT_OPEN;
		listener->open_count++;
	}
	draft->count++;
	if (draft->too_many || draft->count > IPC_ENVELOPES_MAX) {
		draft->too_many = true;
		return;
	}
	envelope.id = envelope_id_make(draft->id, draft->count);
	if (envelope.state != ENVELOPE_HELD)
		envelope.state = ENVELOPE_PENDING;
	envelope.tries = 0;
	envelope.last_try = envelope.next_try = 0;
	envelope.expires = clock_wall() + ttl_of(listener->queue->config, &envelope);
	envelope.delay_warned = false;
	memset(&envelope.last_reply, 0, sizeof(envelope.last_reply));
	memset(envelope.last_host, 0, sizeof(envelope.last_host));
	message_encode_envelope(
	    &draft->envelopes, &envelope, envelope.state == ENVELOPE_HELD ? WARNED_LIMIT : 0);
	if (!buf_ok(&draft->envelopes))
		draft->too_many = true;
}

static void
committed(struct queue *queue, struct commit_item *item, const struct reply *refusal)
{
	struct listener *listener = item->owner;

	(void)queue;
	if (listener == NULL)
		return;
	if (refusal == NULL)
		channel_send(listener->channel, QUEUE_LISTENER_COMMITTED, item->request,
		    item->message_id, -1, NULL);
	else
		send_reply(
		    listener, QUEUE_LISTENER_REFUSED, item->request, item->message_id, refusal);
}

/* Opens a spool file, begins to write it out, and takes its checksum; -1 with errno when the disk
 * fails, EINVAL when the file isn't as long as the listener says, or not closed. */
static int
open_file(struct queue *queue, struct transaction *transaction)
{
	struct stat status;
	uint8_t *data;
	uint64_t left = transaction->size;
	ssize_t length;
	uint32_t crc = 0;
	int error = 0, fd = spool_large_open(&queue->spool, transaction->message_id);

	if (fd == -1)
		return -1;
	data = malloc(65536);
	if (data == NULL || fstat(fd, &status) == -1)
		error = errno;
	else if ((uint64_t)status.st_size != transaction->size || spool_file_is_written(fd))
		error = EINVAL;
	/* Only a hint: a failure shows in the sync itself. */
	if (error == 0)
		(void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	while (error == 0 && left > 0) {
		length = read(fd, data, left < 65536 ? (size_t)left : 65536);
		if (length <= 0) {
			error = length == 0 ? EINVAL : errno;
			break;
		}
		crc = crc32c(crc, data, (size_t)length);
		left -= (uint64_t)length;
	}
	transaction->body_crc32c = crc;
	free(data);
	if (error == 0)
		return fd;
	close(fd);
	errno = error;
	return -1;
}

/* For a message that a segment is too small for: from the memfd into a file. */
static bool
move_to_file(struct queue *queue, const struct transaction *transaction, int from)
{
	uint8_t *data = malloc(65536);
	int to = data == NULL ? -1 : spool_large_create(&queue->spool, transaction->message_id);
	uint64_t at = 0;
	ssize_t length;
	bool ok = to != -1;

	while (ok && at < transaction->size) {
		length = pread(from, data, 65536, (off_t)at);
		ok = length > 0 && write(to, data, (size_t)length) == length;
		at += ok ? (uint64_t)length : 0;
	}
	if (to != -1 && close(to) == -1)
		ok = false;
	if (!ok && to != -1)
		spool_large_remove(&queue->spool, transaction->message_id);
	free(data);
	return ok;
}

/* Reads the sealed bytes, which must be exactly `size` and have the checksum said. */
static bool
read_bytes(int fd, const struct transaction *transaction, uint8_t *to)
{
	uint8_t extra;
	size_t at = 0;
	ssize_t length;

	while (at < transaction->size) {
		length = pread(fd, to + at, transaction->size - at, (off_t)at);
		if (length <= 0)
			return false;
		at += (size_t)length;
	}
	return pread(fd, &extra, 1, (off_t)at) == 0 &&
	    (transaction->body_crc32c == 0 ||
	        transaction->body_crc32c == crc32c(0, to, transaction->size));
}

static enum journal_result
stage(struct listener *listener, struct draft *draft, struct transaction *transaction,
    struct commit_item *item, bool *bad)
{
	struct queue *queue = listener->queue;
	struct buf *head = &queue->intake->head;
	enum journal_result result;
	size_t length;
	uint8_t *to;

	for (;;) {
		if (item->is_large) {
			item->file = open_file(queue, transaction);
			item->file_size = transaction->size;
		}
		if (item->is_large && item->file == -1) {
			*bad = errno == EINVAL;
			if (!*bad)
				log_error("spool: can't read the file of message %08x: %s",
				    draft->id, strerror(errno));
			return JOURNAL_BROKEN;
		}
		buf_clear(head);
		message_encode_start(head, transaction, item->is_large, draft->count);
		buf_add(head, draft->envelopes.data, draft->envelopes.length);
		message_encode_effects(head, NULL, 0);
		message_encode_finish(head);
		if (!buf_ok(head))
			return JOURNAL_BROKEN;
		length = head->length + (item->is_large ? 0 : transaction->size);
		result = journal_begin(queue->journal, JOURNAL_FIRST, length, false, &to);
		if (result != JOURNAL_TOO_LARGE || item->is_large)
			break;
		if (!move_to_file(queue, transaction, item->fd))
			return errno == ENOSPC ? JOURNAL_FULL : JOURNAL_BROKEN;
		set_file(listener, draft, true);
		item->is_large = true;
	}
	if (result != JOURNAL_OK)
		return result;
	memcpy(to, head->data, head->length);
	if (!item->is_large && !read_bytes(item->fd, transaction, to + head->length)) {
		journal_cancel(queue->journal, JOURNAL_FIRST);
		*bad = true;
		return JOURNAL_BROKEN;
	}
	journal_end(queue->journal, JOURNAL_FIRST, RECORD_MESSAGE, length, &item->location);
	item->head_length = head->length;
	item->head = malloc(head->length);
	if (item->head == NULL)
		fatalx("out of memory");
	memcpy(item->head, head->data, head->length);
	return JOURNAL_OK;
}

static bool
descriptor_is_right(
    const struct draft *draft, const struct imsg *imsg, const struct transaction *transaction)
{
	int seals;

	if (draft->has_file || imsg->descriptor_lost)
		return imsg->fd == -1;
	if (imsg->fd == -1 || transaction->size > IPC_MEMFD_MAX)
		return false;
	seals = fcntl(imsg->fd, F_GET_SEALS);
	return seals != -1 && (seals & SEALS) == SEALS;
}

static void
receive_commit(struct listener *listener, struct imsg *imsg)
{
	struct queue *queue = listener->queue;
	struct draft **at = find_draft(listener, imsg->peer), *draft = *at;
	struct transaction transaction;
	struct commit_item item = { .fd = -1, .file = -1 };
	enum journal_result result;
	struct buf_reader reader;
	struct reply refusal;
	bool bad = false;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (draft == NULL || !transaction_decode(&reader, &transaction) ||
	    !buf_reader_done(&reader) || transaction.message_id != draft->id || draft->count == 0 ||
	    transaction.is_bounce || transaction.client_family == CLIENT_INTERNAL ||
	    !descriptor_is_right(draft, imsg, &transaction)) {
		channel_reject(listener->channel, imsg, "bad commit");
		return;
	}
	if (transaction.created_us == 0)
		transaction.created_us = clock_wall_us();
	item.message_id = draft->id;
	item.owner = listener;
	item.request = imsg->id;
	item.done = committed;
	item.is_large = draft->has_file;
	item.fd = imsg->fd;
	imsg->fd = -1;
	if (draft->too_many) {
		reply_set(&refusal, 452, "4.5.3", "Too many recipients for one message");
		result = JOURNAL_BROKEN;
	} else if (!item.is_large && item.fd == -1) {
		result = JOURNAL_BROKEN;
		reply_set(&refusal, 451, "4.3.0", "No resources for the message, try again later");
	} else if (item.is_large &&
	    transaction.size > queue->config->max_message_size + OWN_FIELDS_MAX) {
		/* Not read whole. That a reload lowered the limit is no offence. */
		result = JOURNAL_BROKEN;
		reply_set(&refusal, 452, "4.3.1", "Larger than messages may be");
	} else {
		result = stage(listener, draft, &transaction, &item, &bad);
		commit_refusal(result, &refusal);
	}
	if (result == JOURNAL_OK) {
		item.facts = draft->facts.data;
		item.facts_length = draft->facts.length;
		buf_init(&draft->facts, IMSG_PAYLOAD_MAX);
		remove_draft(listener, at);
		commit_message(queue, &item);
		return;
	}
	if (item.fd != -1)
		close(item.fd);
	if (item.file != -1)
		close(item.file);
	if (bad) {
		channel_reject(
		    listener->channel, imsg, "the message is not what its transaction says");
		return;
	}
	reset_draft(listener, draft);
	remove_draft(listener, at);
	send_reply(listener, QUEUE_LISTENER_REFUSED, imsg->id, imsg->peer, &refusal);
	intake_tell_state(queue);
}

static void
receive_facts(struct listener *listener, struct imsg *imsg)
{
	static struct ipc_facts facts;
	struct draft *draft = *find_draft(listener, imsg->peer);
	struct buf_reader reader;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (draft == NULL || draft->state != DRAFT_OPEN || draft->facts.length > 0 ||
	    !ipc_facts_decode(&reader, &facts)) {
		channel_reject(listener->channel, imsg, "bad facts");
		return;
	}
	/* Without memory there are none. */
	if (history_is_on(listener->queue))
		buf_add(&draft->facts, imsg->payload, imsg->length);
}

static void
receive_abort(struct listener *listener, struct imsg *imsg)
{
	struct draft *draft = *find_draft(listener, imsg->peer);

	if (draft == NULL || imsg->length != 0)
		channel_reject(listener->channel, imsg, "abort of an id that it hasn't");
	else
		reset_draft(listener, draft);
}

static void
received(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct listener *listener = arg;

	if (imsg->fd != -1 && imsg->type != LISTENER_QUEUE_COMMIT) {
		channel_reject(channel, imsg, "unexpected descriptor");
		return;
	}
	switch (imsg->type) {
	case LISTENER_QUEUE_IDS:
		receive_ids(listener, imsg);
		return;
	case LISTENER_QUEUE_SPOOL_FILE:
		receive_spool_file(listener, imsg);
		return;
	case LISTENER_QUEUE_ENVELOPE:
		receive_envelope(listener, imsg);
		return;
	case LISTENER_QUEUE_COMMIT:
		receive_commit(listener, imsg);
		return;
	case LISTENER_QUEUE_ABORT:
		receive_abort(listener, imsg);
		return;
	case LISTENER_QUEUE_FACTS:
		receive_facts(listener, imsg);
		return;
	case LISTENER_QUEUE_REFUSED:
		if (!history_refused(listener->queue, imsg->payload, imsg->length))
			channel_reject(channel, imsg, "not a refusal");
		return;
	default:
		channel_reject(channel, imsg, "unknown type");
	}
}

static void
closed(struct channel *channel, const char *why, void *arg)
{
	struct listener *listener = arg;

	log_debug("%s %u: %s", channel_name(channel), listener->instance, why);
	ipc_report_rejected(
	    listener->queue->supervisor, channel, PROGRAM_LISTENER, listener->instance);
	/* One that lives on and keeps files open would go on writing. */
	drop_drafts(listener);
	(void)lingering_look(&listener->lingering, UINT64_MAX);
	if (listener->lingering.count > 0 && !channel_was_rejected(channel))
		ipc_report(listener->queue->supervisor, PROGRAM_LISTENER, listener->instance);
	free_listener(listener);
}

void
intake_set_listener(struct queue *queue, unsigned instance, int fd)
{
	struct listener *listener;

	if (instance >= LISTENERS_MAX) {
		log_error("listener %u: more than %u are not served", instance, LISTENERS_MAX);
		close(fd);
		return;
	}
	if (queue->intake->listeners[instance] != NULL)
		free_listener(queue->intake->listeners[instance]);
	listener = calloc(1, sizeof(*listener));
	if (listener == NULL)
		fatalx("out of memory");
	listener->queue = queue;
	listener->instance = instance;
	listener->channel = channel_new(queue->base, "listener", fd, received, closed, listener);
	queue->intake->listeners[instance] = listener;
	send_reply(listener, QUEUE_LISTENER_STATE, 0, 0, &queue->intake->state);
}

/* What is wrong with the files that it has, or NULL. */
static const char *
look_at_files(struct listener *listener)
{
	uint64_t size_max = listener->queue->intake->size_max;
	const struct draft *draft;
	struct stat status;

	for (size_t i = 0; i < BUCKETS && listener->file_count > 0; i++) {
		for (draft = listener->buckets[i]; draft != NULL; draft = draft->next) {
			if (draft->has_file &&
			    spool_large_stat(&listener->queue->spool, draft->id, &status) &&
			    (uint64_t)status.st_size > size_max)
				return "a spool file larger than messages may be";
		}
	}
	return lingering_look(&listener->lingering, size_max);
}

void
intake_tick(struct queue *queue)
{
	struct imsg imsg = { .type = LISTENER_QUEUE_SPOOL_FILE, .fd = -1 };
	struct intake *intake = queue->intake;
	const char *why;

	if (queue->config->max_message_size + OWN_FIELDS_MAX > intake->size_max)
		intake->size_max = queue->config->max_message_size + OWN_FIELDS_MAX;
	for (size_t i = 0; i < LISTENERS_MAX; i++) {
		if (intake->listeners[i] == NULL)
			continue;
		why = look_at_files(intake->listeners[i]);
		if (why != NULL)
			channel_reject(intake->listeners[i]->channel, &imsg, why);
	}
	intake_tell_state(queue);
}

void
intake_tell_state(struct queue *queue)
{
	struct intake *intake = queue->intake;
	struct reply state;

	commit_refusal(journal_accepts(queue->journal), &state);
	if (state.code == intake->state.code && strcmp(state.enhanced, intake->state.enhanced) == 0)
		return;
	intake->state = state;
	for (size_t i = 0; i < LISTENERS_MAX; i++) {
		if (intake->listeners[i] != NULL)
			send_reply(intake->listeners[i], QUEUE_LISTENER_STATE, 0, 0, &state);
	}
}
