/*
 * A request has one state: which peer it waits for, or that its caller reads too slowly for the
 * next portion of its listing. Frames of an answer are passed on as they come, for the peers are
 * trusted with what they show; DONE is decoded, since control logs what came of a change.
 *
 * Show status asks two peers one after the other: the queue for deliveries, the supervisor for
 * SMTP. An explanation asks three, of which two may be away: it goes on without them.
 *
 * The program relay is less trusted than this one: what it answers is decoded here.
 */
#include <sys/socket.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include <bsd/stdlib.h>
#include <bsd/string.h>

#include "common/clock.h"
#include "common/ipc_mailbox.h"
#include "common/log.h"
#include "common/pending.h"
#include "smtpctl/control_explain.h"
#include "smtpctl/control_relay.h"

#define DEADLINE_MS 30000

enum request_state {
	REQUEST_WAITS_FOR_PEER,
	REQUEST_WAITS_FOR_CALLER, /* to read what it has, before more is asked for */
};

struct relay_request {
	struct relay *relay;
	struct control_order order;
	enum request_state state;
	enum control_peer peer;          /* asked last */
	uint16_t asked;                  /* and what */
	unsigned frames;                 /* of its answer so far */
	struct explanation *explanation; /* CONTROL_EXPLAIN */
	uint32_t pending_id;
	bool is_failed_here;            /* no peer has answered it */
	void *caller;                   /* NULL: gone */
	char status[IPC_WORDS_MAX + 1]; /* CONTROL_STATUS: the queue's part */
};

struct peer {
	struct relay *relay;
	enum control_peer peer;
	struct channel *channel; /* NULL: down */
	struct pending *pending;
};

struct relay {
	struct event_base *base;
	struct relay_caller caller;
	void *caller_arg;
	struct control_stats *stats;
	struct peer peers[CONTROL_PEER_COUNT];
	size_t count;
	bool ending; /* relay_free(): there are no callers any more */
};

static const char *
peer_name(enum control_peer peer)
{
	switch (peer) {
	case CONTROL_PEER_QUEUE:
		return "queue";
	case CONTROL_PEER_DIRECTORY:
		return "directory";
	case CONTROL_PEER_RELAY:
		return "relay";
	case CONTROL_PEER_SUPERVISOR:
		return "smtpd";
	case CONTROL_PEER_COUNT:
		break;
	}
	return "control";
}

/* Every change leaves a line that says who, what, and what came of it. Of an account's change it is
 * the directory's, which has the facts; ours only says that it didn't answer. */
static void
log_order(const struct relay_request *request, const struct ipc_result *result)
{
	const struct control_order *order = &request->order;
	struct log_line line;

	if (!order->logged || (order->type == CONTROL_ACCOUNT && !request->is_failed_here))
		return;
	log_begin(&line, LOG_LEVEL_INFO, "control-command");
	log_number(&line, "uid", order->caller_uid);
	log_text(&line, "verb", order->verb);
	log_text(&line, "arguments", order->arguments);
	if (order->type == CONTROL_QUEUE_ACT)
		log_number(&line, "envelopes", (int64_t)result->count);
	log_number(&line, "status", result->exit_code);
	if (result->exit_code != 0)
		log_text(&line, "reason", result->words);
	log_end(&line);
}

static void
free_request(struct relay_request *request)
{
	request->relay->count--;
	explanation_free(request->explanation);
	control_order_free(&request->order);
	free(request);
}

static void
finish(struct relay_request *request, const struct ipc_result *result, int fd)
{
	struct relay *relay = request->relay;

	log_order(request, result);
	if (request->caller != NULL)
		relay->caller.done(request->caller, result, fd);
	else if (fd != -1)
		close(fd);
	free_request(request);
	if (!relay->ending)
		relay->caller.settled(relay->caller_arg);
}

static void __attribute__((format(printf, 3, 4)))
fail(struct relay_request *request, uint32_t exit_code, const char *format, ...)
{
	struct ipc_result result = { .exit_code = exit_code };
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(result.words, sizeof(result.words), format, arguments);
	va_end(arguments);
	request->is_failed_here = true;
	finish(request, &result, -1);
}

static void explain_without(struct relay_request *, const char *why);

/* Whether what the directory has said can be told without this peer's part. */
static bool
does_without(const struct relay_request *request)
{
	return request->explanation != NULL && request->peer != CONTROL_PEER_DIRECTORY &&
	    request->caller != NULL;
}

static void
on_failed(void *owner, uint32_t id, const char *why, void *arg)
{
	struct relay_request *request = owner;

	(void)id;
	(void)arg;
	if (does_without(request)) {
		explain_without(request, why);
		return;
	}
	fail(request, EX_TEMPFAIL, "the %s did not answer (%s)%s", peer_name(request->peer), why,
	    request->order.logged ? "; it may still do what it was told" : "");
}

struct relay *
relay_new(struct event_base *base, const struct relay_caller *caller, void *arg,
    struct control_stats *stats)
{
	struct relay *relay = calloc(1, sizeof(*relay));

	if (relay == NULL)
		fatal("control");
	relay->base = base;
	relay->caller = *caller;
	relay->caller_arg = arg;
	relay->stats = stats;
	for (size_t i = 0; i < CONTROL_PEER_COUNT; i++) {
		relay->peers[i].relay = relay;
		relay->peers[i].peer = (enum control_peer)i;
		relay->peers[i].pending = pending_new(base, on_failed, relay);
	}
	return relay;
}

void
relay_free(struct relay *relay)
{
	if (relay == NULL)
		return;
	relay->ending = true;
	for (size_t i = 0; i < CONTROL_PEER_COUNT; i++) {
		pending_fail_all(relay->peers[i].pending, "stopped");
		pending_free(relay->peers[i].pending);
		if (i != CONTROL_PEER_SUPERVISOR)
			channel_free(relay->peers[i].channel);
	}
	free(relay);
}

size_t
relay_count(const struct relay *relay)
{
	return relay->count;
}

/* Sends the request to a peer, or fails it when the peer is down: false. */
static bool
ask(struct relay_request *request, enum control_peer which, uint16_t type,
    const struct buf *payload)
{
	struct peer *peer = &request->relay->peers[which];

	request->state = REQUEST_WAITS_FOR_PEER;
	request->peer = which;
	request->asked = type;
	request->frames = 0;
	if (peer->channel == NULL && does_without(request)) {
		explain_without(request, "it is not running");
		return true;
	}
	if (peer->channel == NULL) {
		fail(request, EX_TEMPFAIL, "the %s is not running; try again in a moment",
		    peer_name(which));
		return false;
	}
	request->pending_id = pending_add(peer->pending, request, DEADLINE_MS);
	channel_send(peer->channel, type, request->pending_id, 0, -1, payload);
	return true;
}

static void
answer_stats(struct relay_request *request)
{
	struct ipc_result result = { .exit_code = 0 };
	struct buf payload;

	buf_init(&payload, IMSG_PAYLOAD_MAX);
	control_stats_encode(request->relay->stats, &payload);
	if (!buf_ok(&payload))
		fatal("counters");
	request->relay->caller.frame(request->caller, CONTROL_STATS, &payload);
	buf_free(&payload);
	finish(request, &result, -1);
}

struct relay_request *
relay_begin(struct relay *relay, struct control_order *order, void *caller)
{
	struct relay_request *request = calloc(1, sizeof(*request));
	bool waits;

	if (request == NULL)
		fatal("request");
	request->relay = relay;
	request->order = *order;
	request->caller = caller;
	if (order->type == CONTROL_EXPLAIN)
		request->explanation = explanation_new(clock_monotonic_ms());
	relay->count++;
	if (order->peer == CONTROL_PEER_NONE) {
		answer_stats(request);
		return NULL;
	}
	if (order->type == CONTROL_STATUS)
		waits = ask(request, CONTROL_PEER_QUEUE, CONTROL_QUEUE_STATUS, NULL);
	else if (order->type == CONTROL_DKIM)
		waits = ask(request, order->peer, CONTROL_SUPERVISOR_DKIM, &request->order.payload);
	else if (order->peer == CONTROL_PEER_SUPERVISOR)
		waits =
		    ask(request, order->peer, CONTROL_SUPERVISOR_REQUEST, &request->order.payload);
	else
		waits = ask(request, order->peer, (uint16_t)order->type, &request->order.payload);
	return waits ? request : NULL;
}

/* Explanations */

static void
tell(struct relay_request *request, uint16_t type, const struct buf *payload)
{
	if (request->caller != NULL)
		request->relay->caller.frame(request->caller, type, payload);
}

static void __attribute__((format(printf, 2, 3)))
tell_line(struct relay_request *request, const char *format, ...)
{
	char line[IPC_WORDS_MAX + 64];
	struct buf payload;
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	buf_add_string(&payload, line);
	tell(request, CONTROL_LINE, &payload);
	buf_free(&payload);
}

/* Asks whoever comes next, or ends. */
static void
explain_go_on(struct relay_request *request)
{
	struct buf *payload = &request->order.payload;
	enum control_peer next;
	bool begins, more;

	next =
	    explanation_next(request->explanation, clock_monotonic_ms(), payload, &begins, &more);
	if (next == CONTROL_PEER_NONE) {
		if (more)
			tell_line(request, "there are more destinations, which are not looked at");
		finish(request, explanation_result(request->explanation), -1);
		return;
	}
	if (begins)
		tell(request, CONTROL_EXPLAIN_RELAY, payload);
	(void)ask(request, next, CONTROL_EXPLAIN_RELAY, payload);
}

/* As deep as there are destinations, which are few. */
static void
explain_without(struct relay_request *request, const char *why)
{
	tell_line(request, "the %s does not tell its part: %s", peer_name(request->peer), why);
	explain_go_on(request);
}

static void
explain_done(struct relay_request *request, const struct ipc_result *result)
{
	if (request->peer == CONTROL_PEER_DIRECTORY) {
		explanation_set_result(request->explanation, result);
		if (result->exit_code != 0) {
			finish(request, result, -1);
			return;
		}
	} else if (result->exit_code != 0)
		tell_line(request, "the %s does not tell its part: %s", peer_name(request->peer),
		    result->words);
	explain_go_on(request);
}

/* Of something that changes nothing, only the caller has any use. */
static bool
is_for_caller(const struct control_order *order)
{
	return control_order_is_list(order) || order->type == CONTROL_EXPLAIN;
}

void
relay_abandon(struct relay_request *request)
{
	request->caller = NULL;
	if (!is_for_caller(&request->order))
		return;
	if (request->state == REQUEST_WAITS_FOR_PEER)
		pending_cancel(request->relay->peers[request->peer].pending, request->pending_id);
	free_request(request);
}

void
relay_continue(struct relay_request *request)
{
	if (request->state == REQUEST_WAITS_FOR_CALLER)
		(void)ask(request, request->peer, request->asked, &request->order.payload);
}

/* Makes the question for the next portion; false when there can't be one. */
static bool
may_go_on(struct relay_request *request, uint64_t cursor)
{
	if (request->explanation != NULL && request->peer == CONTROL_PEER_QUEUE) {
		explanation_go_on(request->explanation, cursor, &request->order.payload);
		return true;
	}
	return control_order_is_list(&request->order) &&
	    control_order_go_on(&request->order, cursor);
}

/* The next portion is there: it is asked for once the caller has read the last. */
static void
receive_more(struct peer *peer, struct channel *channel, struct imsg *imsg)
{
	struct relay_request *request = pending_get(peer->pending, imsg->id);
	struct buf_reader reader;
	uint64_t cursor;

	if (request == NULL)
		return;
	buf_reader_init(&reader, imsg->payload, imsg->length);
	cursor = buf_get_u64(&reader);
	if (!buf_reader_done(&reader) || imsg->fd != -1 || !may_go_on(request, cursor)) {
		channel_reject(channel, imsg, "a listing's cursor was not expected or is bad");
		return;
	}
	(void)pending_take(peer->pending, imsg->id);
	if (!buf_ok(&request->order.payload))
		fatal("request");
	request->state = REQUEST_WAITS_FOR_CALLER;
	if (request->relay->caller.has_read(request->caller))
		relay_continue(request);
}

static void
pass_on(struct peer *peer, uint16_t type, struct imsg *imsg)
{
	struct relay_request *request = pending_get(peer->pending, imsg->id);
	struct buf payload;

	if (request == NULL || request->caller == NULL)
		return;
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	buf_add(&payload, imsg->payload, imsg->length);
	if (!buf_ok(&payload))
		fatal("answer");
	peer->relay->caller.frame(request->caller, type, &payload);
	buf_free(&payload);
}

/* A frame of the program relay's. */
static void
receive_relay(struct peer *peer, struct channel *channel, struct imsg *imsg)
{
	struct relay_request *request = pending_get(peer->pending, imsg->id);

	if (peer->peer != CONTROL_PEER_RELAY) {
		channel_reject(channel, imsg, "no such answer");
		return;
	}
	if (request == NULL)
		return; /* too late */
	if (!control_relay_frame_is_good(request->order.type, imsg, request->frames++)) {
		channel_reject(channel, imsg, "an answer that was not asked for or cannot be read");
		return;
	}
	pass_on(peer, imsg->type, imsg);
}

static void
receive_step(struct peer *peer, struct channel *channel, struct imsg *imsg)
{
	struct relay_request *request = pending_get(peer->pending, imsg->id);

	if (request == NULL)
		return;
	if (peer->peer != CONTROL_PEER_DIRECTORY || request->explanation == NULL ||
	    !explanation_note_step(request->explanation, imsg)) {
		channel_reject(channel, imsg, "a step that was not asked for or cannot be read");
		return;
	}
	pass_on(peer, imsg->type, imsg);
}

static void
receive_done(struct peer *peer, struct channel *channel, struct imsg *imsg)
{
	struct relay_request *request = pending_get(peer->pending, imsg->id);
	struct ipc_result result;
	struct ipc_control status = { .verb = CONTROL_SMTP_STATUS };
	struct buf_reader reader;
	struct buf payload;
	int fd;

	if (request == NULL)
		return;
	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_result_decode(&reader, &result) || !buf_reader_done(&reader) ||
	    (peer->peer == CONTROL_PEER_RELAY && imsg->fd != -1)) {
		channel_reject(channel, imsg, "a result that cannot be read");
		return;
	}
	(void)pending_take(peer->pending, imsg->id);
	if (request->explanation != NULL) {
		explain_done(request, &result);
		return;
	}
	if (request->order.type != CONTROL_STATUS || result.exit_code != 0) {
		fd = imsg->fd;
		imsg->fd = -1;
		finish(request, &result, fd);
		return;
	}
	memcpy(request->status, result.words, sizeof(request->status));
	status.caller_uid = request->order.caller_uid;
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_control_encode(&payload, &status);
	(void)ask(request, CONTROL_PEER_SUPERVISOR, CONTROL_SUPERVISOR_REQUEST, &payload);
	buf_free(&payload);
}

static void
on_receive(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct peer *peer = arg;

	switch (imsg->type) {
	case CONTROL_EXPLAIN_ROUTE:
	case CONTROL_EXPLAIN_HOST:
	case CONTROL_HOST:
	case CONTROL_HOSTSTAT:
		receive_relay(peer, channel, imsg);
		break;
	case CONTROL_EXPLAIN_STEP:
		receive_step(peer, channel, imsg);
		break;
	case CONTROL_ENVELOPE:
	case CONTROL_DESTINATION:
	case CONTROL_EXPLAIN_QUEUE:
	case CONTROL_HISTORY:
	case CONTROL_LINE:
		if (peer->peer == CONTROL_PEER_RELAY) {
			channel_reject(channel, imsg, "no such answer");
			break;
		}
		pass_on(peer, imsg->type, imsg);
		break;
	case CONTROL_QUEUE_LIST_MORE:
		receive_more(peer, channel, imsg);
		break;
	case CONTROL_DONE:
		receive_done(peer, channel, imsg);
		break;
	default:
		channel_reject(channel, imsg, "no such answer");
		break;
	}
}

/* The supervisor starts it again and sends a new channel. */
static void
on_closed(struct channel *channel, const char *why, void *arg)
{
	struct peer *peer = arg;

	log_warning("the channel to %s has ended: %s", channel_name(channel), why);
	if (peer->peer == CONTROL_PEER_RELAY)
		ipc_report_rejected(
		    peer->relay->peers[CONTROL_PEER_SUPERVISOR].channel, channel, PROGRAM_RELAY, 0);
	peer->channel = NULL;
	channel_free(channel);
	pending_fail_all(peer->pending, "it was stopped");
}

void
relay_set_supervisor(struct relay *relay, struct channel *channel)
{
	relay->peers[CONTROL_PEER_SUPERVISOR].channel = channel;
}

static enum control_peer
peer_of(enum program program)
{
	if (program == PROGRAM_QUEUE)
		return CONTROL_PEER_QUEUE;
	if (program == PROGRAM_DIRECTORY)
		return CONTROL_PEER_DIRECTORY;
	return program == PROGRAM_RELAY ? CONTROL_PEER_RELAY : CONTROL_PEER_NONE;
}

void
relay_set_peer(struct relay *relay, enum program program, int fd)
{
	struct peer *peer;

	if (peer_of(program) == CONTROL_PEER_NONE) {
		log_warning("control has nothing to say to %s", program_name(program));
		close(fd);
		return;
	}
	peer = &relay->peers[peer_of(program)];
	channel_free(peer->channel);
	peer->channel = NULL;
	pending_fail_all(peer->pending, "it was restarted");
	peer->channel =
	    channel_new(relay->base, program_name(program), fd, on_receive, on_closed, peer);
}

void
relay_receive_supervisor(struct relay *relay, struct channel *channel, struct imsg *imsg)
{
	struct pending *pending = relay->peers[CONTROL_PEER_SUPERVISOR].pending;
	struct relay_request *request;
	struct ipc_result result = { .exit_code = 0 };
	struct buf_reader reader;
	struct ipc_done done;

	if (imsg->type == SUPERVISOR_CONTROL_LINE) {
		pass_on(&relay->peers[CONTROL_PEER_SUPERVISOR], CONTROL_LINE, imsg);
		return;
	}
	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_done_decode(&reader, &done) || !buf_reader_done(&reader)) {
		channel_reject(channel, imsg, "an answer that cannot be read");
		return;
	}
	request = pending_take(pending, imsg->id);
	if (request == NULL)
		return;
	if (!done.success && request->order.type == CONTROL_DKIM)
		result.exit_code = EX_DATAERR;
	else if (!done.success)
		result.exit_code = request->order.type == CONTROL_SUPERVISOR &&
		        request->order.supervisor == CONTROL_RELOAD
		    ? EX_CONFIG
		    : EX_TEMPFAIL;
	if (request->order.type == CONTROL_STATUS && done.success) {
		size_t length = strlen(request->status);

		/* The queue's two lines, with or without their last line's end, and ours. */
		while (length > 0 && request->status[length - 1] == '\n')
			length--;
		(void)snprintf(result.words, sizeof(result.words), "%.*s\nSMTP %.32s", (int)length,
		    request->status, done.words);
	} else
		memcpy(result.words, done.words, sizeof(result.words));
	finish(request, &result, -1);
}

/* Says at the session's beginning that it is one of ManageSieve; nobody has read from it yet, and it has
 * room for this. */
static bool
begin_session(int fd)
{
	struct ipc_mailbox_begin begin = { .protocol = MAILBOX_SIEVE };
	struct buf frame;
	bool sent;

	arc4random_buf(&begin.session, sizeof(begin.session));
	strlcpy(begin.client, "local", sizeof(begin.client));
	buf_init(&frame, 2 + MAILBOX_BEGIN_MAX);
	ipc_mailbox_begin_frame(&frame, &begin);
	if (!buf_ok(&frame))
		fatal("a session");
	sent = send(fd, frame.data, frame.length, MSG_NOSIGNAL | MSG_DONTWAIT) ==
	    (ssize_t)frame.length;
	buf_free(&frame);
	return sent;
}

void
relay_receive_session(struct relay *relay, struct channel *channel, struct imsg *imsg)
{
	struct pending *pending = relay->peers[CONTROL_PEER_DIRECTORY].pending;
	struct ipc_mailbox_opened opened;
	struct relay_request *request = NULL;
	struct ipc_result result = { .exit_code = 0 };
	struct buf_reader reader;
	int fd = imsg->fd;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_mailbox_opened_decode(&reader, &opened)) {
		channel_reject(channel, imsg, "a session that cannot be read");
		return;
	}
	if (opened.session <= UINT32_MAX)
		request = pending_get(pending, (uint32_t)opened.session);
	if (request == NULL || request->order.type != CONTROL_SCRIPTS)
		return; /* too late */
	(void)pending_take(pending, (uint32_t)opened.session);
	if (fd == -1 || !begin_session(fd)) {
		fail(request, EX_TEMPFAIL, "the mailbox can't be opened now; the log says why");
		return;
	}
	imsg->fd = -1;
	finish(request, &result, fd);
}
