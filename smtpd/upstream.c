/*
 * Three channels, a set of waiting requests for each, and the stock of message ids. Ids are asked
 * for when the stock runs low, so that no session waits for one. A queue that starts anew chooses
 * new ids and knows nothing of what the last one handed out: `generation` tells whose an id is.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/imsg.h"
#include "common/ipc_listener_queue.h"
#include "common/log.h"
#include "common/pending.h"
#include "smtpd/upstream.h"

#define IDS_LOW            512
#define IDS_WANTED         1024
#define IDS_OUTSTANDING    60000 /* given to us and not used: the queue would not give more */
#define FILE_TIME_MS       30000
#define COMMIT_TIME_MS     300000        /* clients wait 10 minutes: RFC 5321 4.5.3.2.6 */
#define REFUSED_QUEUED_MAX (1024 * 1024) /* bytes that the queue hasn't read: then none is told */
#define IDS_TIME_MS        30000

struct peer {
	struct upstream *upstream;
	enum program program;
	struct channel *channel; /* NULL while the process is away */
	struct pending *waiting;
};

struct upstream {
	struct event_base *base;
	struct upstream_calls calls;
	struct peer queue;
	struct peer directory;
	struct peer resolver;
	struct pending *logins; /* at the directory too */
	struct reply state;     /* of the queue */
	unsigned generation;
	uint32_t *stock;
	size_t stock_count;
	size_t stock_capacity;
	size_t outstanding; /* in the stock or in a transaction */
	bool ids_asked;
	struct buf payload; /* for what is being sent */
};

static const struct reply away = { 451, "4.3.0", "temporary failure here, try again later" };

static void on_request_failed(void *, uint32_t, const char *, void *);
static void on_login_failed(void *, uint32_t, const char *, void *);

static void
peer_init(struct upstream *upstream, struct peer *peer, enum program program)
{
	peer->upstream = upstream;
	peer->program = program;
	peer->waiting = pending_new(upstream->base, on_request_failed, peer);
}

struct upstream *
upstream_new(struct event_base *base, const struct upstream_calls *calls)
{
	struct upstream *upstream = calloc(1, sizeof(*upstream));

	if (upstream == NULL)
		fatal("upstream");
	upstream->base = base;
	upstream->calls = *calls;
	upstream->state = away;
	buf_init(&upstream->payload, IMSG_PAYLOAD_MAX);
	peer_init(upstream, &upstream->queue, PROGRAM_QUEUE);
	peer_init(upstream, &upstream->directory, PROGRAM_DIRECTORY);
	peer_init(upstream, &upstream->resolver, PROGRAM_RESOLVER);
	upstream->logins = pending_new(base, on_login_failed, upstream);
	return upstream;
}

static void
peer_free(struct peer *peer)
{
	channel_free(peer->channel);
	pending_free(peer->waiting);
}

void
upstream_free(struct upstream *upstream)
{
	if (upstream == NULL)
		return;
	peer_free(&upstream->queue);
	peer_free(&upstream->directory);
	peer_free(&upstream->resolver);
	pending_free(upstream->logins);
	buf_free(&upstream->payload);
	free(upstream->stock);
	free(upstream);
}

/* An owner equal to the upstream itself waits for ids. */
static void
on_request_failed(void *owner, uint32_t id, const char *why, void *arg)
{
	struct peer *peer = arg;
	struct upstream *upstream = peer->upstream;

	log_debug("request %u to %s failed: %s", id, program_name(peer->program), why);
	if (owner == upstream)
		upstream->ids_asked = false;
	else if (peer == &upstream->resolver)
		upstream->calls.named(owner, NULL);
	else if (peer == &upstream->directory)
		upstream->calls.rcpt_answered(owner, &away);
	else
		/* A file or a commit: the session knows which, and its end is the same. */
		upstream->calls.commit_answered(owner, &away);
}

static void
on_login_failed(void *owner, uint32_t id, const char *why, void *arg)
{
	struct upstream *upstream = arg;
	struct ipc_auth_done done = { .user = "" };

	log_debug("login %u failed: %s", id, why);
	reply_set(&done.reply, 454, "4.7.0", "temporary authentication failure, try again later");
	upstream->calls.auth_answered(owner, &done);
}

static void
lose_peer(struct peer *peer, const char *why)
{
	struct upstream *upstream = peer->upstream;

	channel_free(peer->channel);
	peer->channel = NULL;
	if (peer == &upstream->queue) {
		upstream->generation++;
		upstream->stock_count = 0;
		upstream->outstanding = 0;
		upstream->state = away;
	}
	pending_fail_all(peer->waiting, why);
	if (peer == &upstream->directory)
		pending_fail_all(upstream->logins, why);
}

static void
on_closed(struct channel *channel, const char *why, void *arg)
{
	struct peer *peer = arg;

	(void)channel;
	log_warning("%s is away: %s", program_name(peer->program), why);
	lose_peer(peer, why);
}

static void
ask_for_ids(struct upstream *upstream)
{
	uint32_t id;

	if (upstream->ids_asked || upstream->queue.channel == NULL ||
	    upstream->stock_count >= IDS_LOW ||
	    upstream->outstanding + IDS_WANTED > IDS_OUTSTANDING)
		return;
	upstream->ids_asked = true;
	buf_clear(&upstream->payload);
	ipc_ids_request_encode(&upstream->payload, IDS_WANTED);
	id = pending_add(upstream->queue.waiting, upstream, IDS_TIME_MS);
	channel_send(upstream->queue.channel, LISTENER_QUEUE_IDS, id, 0, -1, &upstream->payload);
}

/* Room for so many more, beside those that may come back. */
static bool
make_room(struct upstream *upstream, size_t count)
{
	size_t capacity = upstream->outstanding + count;
	uint32_t *stock;

	if (capacity <= upstream->stock_capacity)
		return true;
	stock = reallocarray(upstream->stock, capacity, sizeof(*stock));
	if (stock == NULL)
		return false;
	upstream->stock = stock;
	upstream->stock_capacity = capacity;
	return true;
}

static bool
receive_ids(struct upstream *upstream, const struct imsg *imsg)
{
	struct buf_reader reader;
	struct ipc_ids ids;
	uint32_t i;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_ids_decode(&reader, &ids))
		return false;
	(void)pending_take(upstream->queue.waiting, imsg->id);
	upstream->ids_asked = false;
	if (!make_room(upstream, ids.count))
		return true; /* asked for again when needed */
	for (i = 0; i < ids.count; i++)
		upstream->stock[upstream->stock_count++] = ids.ids[i];
	upstream->outstanding += ids.count;
	return true;
}

static bool
decode_reply(const struct imsg *imsg, struct reply *reply)
{
	struct buf_reader reader;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	return reply_decode(&reader, reply) && buf_reader_done(&reader);
}

static void
answer_file(struct upstream *upstream, struct imsg *imsg, const struct reply *reply)
{
	void *owner = pending_take(upstream->queue.waiting, imsg->id);
	int fd = imsg->fd;

	if (owner == NULL || owner == upstream)
		return; /* too late: the descriptor is closed by the channel */
	imsg->fd = -1;
	upstream->calls.file_answered(owner, fd, reply);
}

static void
answer_commit(struct upstream *upstream, const struct imsg *imsg, const struct reply *refusal)
{
	void *owner = pending_take(upstream->queue.waiting, imsg->id);

	if (owner != NULL && owner != upstream)
		upstream->calls.commit_answered(owner, refusal);
}

static void
on_queue(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct upstream *upstream = ((struct peer *)arg)->upstream;
	struct reply reply = away;

	switch (imsg->type) {
	case QUEUE_LISTENER_IDS:
		if (!receive_ids(upstream, imsg))
			channel_reject(channel, imsg, "bad ids");
		break;
	case QUEUE_LISTENER_STATE:
		if (!decode_reply(imsg, &reply)) {
			channel_reject(channel, imsg, "bad reply");
			break;
		}
		upstream->state = reply;
		ask_for_ids(upstream);
		break;
	case QUEUE_LISTENER_SPOOL_FILE:
		if (imsg->fd == -1 && !decode_reply(imsg, &reply))
			channel_reject(channel, imsg, "bad reply");
		else
			answer_file(upstream, imsg, &reply);
		break;
	case QUEUE_LISTENER_COMMITTED:
		answer_commit(upstream, imsg, NULL);
		break;
	case QUEUE_LISTENER_REFUSED:
		if (!decode_reply(imsg, &reply))
			channel_reject(channel, imsg, "bad reply");
		else
			answer_commit(upstream, imsg, reply_is_success(&reply) ? &away : &reply);
		break;
	default:
		channel_reject(channel, imsg, "unknown type");
		break;
	}
}

static void
on_challenge(struct upstream *upstream, struct channel *channel, const struct imsg *imsg)
{
	struct ipc_auth_data challenge;
	struct buf_reader reader;
	void *owner;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_auth_data_decode(&reader, &challenge) || !buf_reader_done(&reader)) {
		channel_reject(channel, imsg, "bad challenge");
		return;
	}
	owner = pending_take(upstream->logins, imsg->id);
	if (owner != NULL)
		upstream->calls.auth_challenged(owner, challenge.bytes, challenge.length);
}

static void
on_auth_done(struct upstream *upstream, struct channel *channel, const struct imsg *imsg)
{
	struct ipc_auth_done done;
	struct buf_reader reader;
	void *owner;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_auth_done_decode(&reader, &done) || !buf_reader_done(&reader)) {
		channel_reject(channel, imsg, "bad end of a login");
		return;
	}
	owner = pending_take(upstream->logins, imsg->id);
	if (owner != NULL)
		upstream->calls.auth_answered(owner, &done);
}

static void
on_directory(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct upstream *upstream = ((struct peer *)arg)->upstream;
	struct buf_reader reader;
	struct ipc_target target;
	struct reply reply;
	void *owner;

	switch (imsg->type) {
	case DIRECTORY_TARGET:
		buf_reader_init(&reader, imsg->payload, imsg->length);
		if (!ipc_target_decode(&reader, &target) || !buf_reader_done(&reader) ||
		    address_is_null(&target.dest) ||
		    envelope_has_command(target.kind) != (*target.command != '\0')) {
			channel_reject(channel, imsg, "bad target");
			break;
		}
		owner = pending_get(upstream->directory.waiting, imsg->id);
		if (owner != NULL)
			upstream->calls.target(owner, &target);
		break;
	case DIRECTORY_RCPT_DONE:
		if (!decode_reply(imsg, &reply)) {
			channel_reject(channel, imsg, "bad reply");
			break;
		}
		owner = pending_take(upstream->directory.waiting, imsg->id);
		if (owner != NULL)
			upstream->calls.rcpt_answered(owner, &reply);
		break;
	case DIRECTORY_AUTH_CHALLENGE:
		on_challenge(upstream, channel, imsg);
		break;
	case DIRECTORY_AUTH_DONE:
		on_auth_done(upstream, channel, imsg);
		break;
	default:
		channel_reject(channel, imsg, "unknown type");
		break;
	}
}

static void
on_resolver(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct upstream *upstream = ((struct peer *)arg)->upstream;
	struct ipc_resolved resolved;
	struct buf_reader reader;
	void *owner;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (imsg->type != RESOLVER_LISTENER_NAME || !ipc_resolved_decode(&reader, &resolved) ||
	    !buf_reader_done(&reader)) {
		channel_reject(channel, imsg, "not a name");
		return;
	}
	owner = pending_take(upstream->resolver.waiting, imsg->id);
	if (owner != NULL)
		upstream->calls.named(owner,
		    resolved.status == RESOLVE_CONFIRMED  ? resolved.name
		        : resolved.status == RESOLVE_NONE ? ""
		                                          : NULL);
}

static void
open_peer(struct upstream *upstream, struct peer *peer, int fd, channel_receive_fn receive)
{
	lose_peer(peer, "it was replaced");
	peer->channel =
	    channel_new(upstream->base, program_name(peer->program), fd, receive, on_closed, peer);
}

void
upstream_set_channel(struct upstream *upstream, enum program program, int fd)
{
	switch (program) {
	case PROGRAM_QUEUE:
		open_peer(upstream, &upstream->queue, fd, on_queue);
		break;
	case PROGRAM_DIRECTORY:
		open_peer(upstream, &upstream->directory, fd, on_directory);
		break;
	case PROGRAM_RESOLVER:
		open_peer(upstream, &upstream->resolver, fd, on_resolver);
		break;
	case PROGRAM_SUPERVISOR:
	case PROGRAM_LISTENER:
	case PROGRAM_CONTROL:
	case PROGRAM_MDA:
	case PROGRAM_KEEPER:
	case PROGRAM_RELAY:
	case PROGRAM_MAILACCESS:
	case PROGRAM_MAILBOX:
	case PROGRAM_COUNT:
		(void)close(fd); /* nothing to say to that one */
		break;
	}
}

const struct reply *
upstream_refusal(const struct upstream *upstream)
{
	return reply_is_success(&upstream->state) ? NULL : &upstream->state;
}

uint32_t
upstream_ask_name(struct upstream *upstream, void *owner, enum client_family family,
    const uint8_t address[16], unsigned limit_ms)
{
	struct ipc_resolve resolve = { .family = (uint8_t)family };
	uint32_t id;

	if (upstream->resolver.channel == NULL)
		return 0;
	memcpy(resolve.address, address, sizeof(resolve.address));
	buf_clear(&upstream->payload);
	ipc_resolve_encode(&upstream->payload, &resolve);
	id = pending_add(upstream->resolver.waiting, owner, limit_ms);
	channel_send(
	    upstream->resolver.channel, LISTENER_RESOLVER_NAME, id, 0, -1, &upstream->payload);
	return id;
}

uint32_t
upstream_ask_rcpt(
    struct upstream *upstream, void *owner, const struct ipc_rcpt *rcpt, unsigned limit_ms)
{
	uint32_t id;

	if (upstream->directory.channel == NULL)
		return 0;
	buf_clear(&upstream->payload);
	ipc_rcpt_encode(&upstream->payload, rcpt);
	id = pending_add(upstream->directory.waiting, owner, limit_ms);
	channel_send(upstream->directory.channel, DIRECTORY_RCPT, id, 0, -1, &upstream->payload);
	return id;
}

/* Passwords don't stay in the buffer of what was sent last. */
static void
send_login(struct upstream *upstream, uint16_t type, uint32_t id, uint32_t login)
{
	channel_send(upstream->directory.channel, type, id, login, -1, &upstream->payload);
	explicit_bzero(upstream->payload.data, upstream->payload.length);
}

uint32_t
upstream_begin_auth(
    struct upstream *upstream, void *owner, const struct ipc_auth *auth, unsigned limit_ms)
{
	uint32_t id;

	if (upstream->directory.channel == NULL)
		return 0;
	buf_clear(&upstream->payload);
	ipc_auth_encode(&upstream->payload, auth);
	id = pending_add(upstream->logins, owner, limit_ms);
	send_login(upstream, DIRECTORY_AUTH, id, 0);
	return id;
}

uint32_t
upstream_respond_auth(struct upstream *upstream, void *owner, uint32_t login,
    const struct ipc_auth_data *data, unsigned limit_ms)
{
	uint32_t id;

	if (upstream->directory.channel == NULL)
		return 0;
	buf_clear(&upstream->payload);
	ipc_auth_data_encode(&upstream->payload, data);
	id = pending_add(upstream->logins, owner, limit_ms);
	send_login(upstream, DIRECTORY_AUTH_RESPONSE, id, login);
	return id;
}

void
upstream_cancel_auth(struct upstream *upstream, uint32_t login, uint32_t request)
{
	pending_cancel(upstream->logins, request);
	if (upstream->directory.channel != NULL)
		channel_send(
		    upstream->directory.channel, DIRECTORY_AUTH_CANCEL, 0, login, -1, NULL);
}

static bool
queue_knows(const struct upstream *upstream, const struct mail *mail)
{
	return upstream->queue.channel != NULL && mail->message_id != 0 &&
	    mail->generation == upstream->generation;
}

uint32_t
upstream_ask_file(struct upstream *upstream, void *owner, const struct mail *mail)
{
	uint32_t id;

	if (!queue_knows(upstream, mail))
		return 0;
	id = pending_add(upstream->queue.waiting, owner, FILE_TIME_MS);
	channel_send(
	    upstream->queue.channel, LISTENER_QUEUE_SPOOL_FILE, id, mail->message_id, -1, NULL);
	return id;
}

uint32_t
upstream_commit(struct upstream *upstream, void *owner, const struct mail *mail,
    const struct transaction *transaction, const struct ipc_facts *facts, int fd)
{
	struct envelope envelope;
	uint32_t id;
	size_t i;

	if (!queue_knows(upstream, mail)) {
		if (fd != -1)
			(void)close(fd); /* only read from here on */
		return 0;
	}
	id = pending_add(upstream->queue.waiting, owner, COMMIT_TIME_MS);
	upstream->outstanding--;
	for (i = 0; i < mail->target_count; i++) {
		mail_make_envelope(mail, i, &envelope);
		buf_clear(&upstream->payload);
		envelope_encode(&upstream->payload, &envelope);
		channel_send(upstream->queue.channel, LISTENER_QUEUE_ENVELOPE, id, mail->message_id,
		    -1, &upstream->payload);
	}
	if (facts != NULL) {
		buf_clear(&upstream->payload);
		ipc_facts_encode(&upstream->payload, facts);
		channel_send(upstream->queue.channel, LISTENER_QUEUE_FACTS, id, mail->message_id,
		    -1, &upstream->payload);
	}
	buf_clear(&upstream->payload);
	transaction_encode(&upstream->payload, transaction);
	channel_send(upstream->queue.channel, LISTENER_QUEUE_COMMIT, id, mail->message_id, fd,
	    &upstream->payload);
	return id;
}

void
upstream_tell_refused(struct upstream *upstream, const struct history_event *event)
{
	if (upstream->queue.channel == NULL ||
	    channel_queued(upstream->queue.channel) > REFUSED_QUEUED_MAX)
		return;
	buf_clear(&upstream->payload);
	history_event_encode(&upstream->payload, event);
	channel_send(upstream->queue.channel, LISTENER_QUEUE_REFUSED, 0, 0, -1, &upstream->payload);
}

void
upstream_cancel_name(struct upstream *upstream, uint32_t request)
{
	pending_cancel(upstream->resolver.waiting, request);
}

void
upstream_cancel_rcpt(struct upstream *upstream, uint32_t request)
{
	pending_cancel(upstream->directory.waiting, request);
}

void
upstream_cancel_queue(struct upstream *upstream, uint32_t request)
{
	pending_cancel(upstream->queue.waiting, request);
}

bool
upstream_take_id(struct upstream *upstream, struct mail *mail)
{
	ask_for_ids(upstream);
	if (upstream->stock_count == 0)
		return false;
	mail->message_id = upstream->stock[--upstream->stock_count];
	mail->generation = upstream->generation;
	mail->spool_file = false;
	ask_for_ids(upstream);
	return true;
}

void
upstream_return_id(struct upstream *upstream, struct mail *mail)
{
	if (mail->message_id == 0 || mail->committing)
		return;
	if (queue_knows(upstream, mail)) {
		if (mail->spool_file)
			channel_send(upstream->queue.channel, LISTENER_QUEUE_ABORT, 0,
			    mail->message_id, -1, NULL);
		upstream->stock[upstream->stock_count++] = mail->message_id;
	}
	mail->message_id = 0;
}
