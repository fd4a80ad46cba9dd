/*
 * Connections of smtpctl. Each is in one state, and stands in one list in the order in which they
 * last changed it, so that the one to spare is the first that fits.
 *
 * Nothing is read from a connection's next request while an answer waits for its reader: what a
 * caller can make control keep is one portion of a listing, or an account list, which is bounded.
 */
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/clock.h"
#include "common/log.h"
#include "smtpctl/control_client.h"

/* Without a request for so long a connection is closed. */
#define IDLE_SECONDS 60
/* An answer may wait so long for its reader: somebody looks at a listing page by page. */
#define STALL_SECONDS 3600
/* An account list is not sent in portions: a caller who leaves more than this unread is closed. */
#define UNREAD_MAX (32 * 1024 * 1024)
/* Lines about refused callers in a minute. */
#define REFUSALS_LOGGED   10
#define REFUSAL_WINDOW_MS 60000
#define ACCEPT_AT_ONCE    16
#define ACCEPT_RETRY_MS   200

enum client_state {
	CLIENT_NEW,     /* has never sent a whole request */
	CLIENT_IDLE,    /* has had its last answer */
	CLIENT_SENDING, /* has not read all of it yet */
	CLIENT_WORKING, /* a request is in hand */
	CLIENT_ENDED,   /* its channel is dead, its `closed` yet to come */
};

struct client {
	TAILQ_ENTRY(client) all; /* oldest in its state first */
	struct control_clients *clients;
	struct channel *channel;
	struct event *timer;
	enum client_state state;
	uid_t uid;
	uint32_t id; /* of the request in hand */
	struct relay_request *request;
};

struct control_clients {
	struct event_base *base;
	struct relay *relay;
	bool privileged;
	uid_t suite_uid;
	int listen_fd;
	struct event *acceptable;
	struct event *retry;
	TAILQ_HEAD(client_list, client) all;
	size_t count;
	int64_t refusals_since_ms;
	unsigned refusals;
	void (*finished)(void *);
	void *finished_arg;
};

struct control_clients *
control_clients_new(struct event_base *base, bool privileged)
{
	struct control_clients *clients = calloc(1, sizeof(*clients));

	if (clients == NULL)
		fatal("control");
	clients->base = base;
	clients->privileged = privileged;
	clients->suite_uid = geteuid();
	clients->listen_fd = -1;
	TAILQ_INIT(&clients->all);
	return clients;
}

void
control_clients_set_relay(struct control_clients *clients, struct relay *relay)
{
	clients->relay = relay;
}

/* Moves the client behind all others, as the one that did something last. */
static void
set_state(struct client *client, enum client_state state)
{
	struct timeval limit = {
		.tv_sec = state == CLIENT_NEW || state == CLIENT_IDLE ? IDLE_SECONDS : STALL_SECONDS
	};

	client->state = state;
	TAILQ_REMOVE(&client->clients->all, client, all);
	TAILQ_INSERT_TAIL(&client->clients->all, client, all);
	if (evtimer_add(client->timer, &limit) != 0)
		fatalx("control: no timer");
}

static void
check_finished(struct control_clients *clients)
{
	const struct client *client;

	if (clients->finished == NULL || relay_count(clients->relay) > 0)
		return;
	TAILQ_FOREACH(client, &clients->all, all)
	if (client->state == CLIENT_SENDING || client->state == CLIENT_WORKING)
		return;
	clients->finished(clients->finished_arg);
}

static void
destroy(struct client *client)
{
	struct control_clients *clients = client->clients;

	if (client->request != NULL)
		relay_abandon(client->request);
	channel_free(client->channel);
	event_free(client->timer);
	TAILQ_REMOVE(&clients->all, client, all);
	clients->count--;
	free(client);
	check_finished(clients);
}

void
control_clients_free(struct control_clients *clients)
{
	if (clients == NULL)
		return;
	clients->finished = NULL;
	while (!TAILQ_EMPTY(&clients->all))
		destroy(TAILQ_FIRST(&clients->all));
	if (clients->acceptable != NULL)
		event_free(clients->acceptable);
	if (clients->retry != NULL)
		event_free(clients->retry);
	if (clients->listen_fd != -1)
		close(clients->listen_fd);
	free(clients);
}

/* The relay's view of a client. */

static void
client_frame(void *caller, uint16_t type, const struct buf *payload)
{
	struct client *client = caller;

	channel_send(client->channel, type, client->id, 0, -1, payload);
	if (channel_queued(client->channel) > UNREAD_MAX && client->state == CLIENT_WORKING) {
		struct imsg imsg = { .type = type };

		client->state = CLIENT_ENDED;
		channel_reject(client->channel, &imsg, "the caller does not read its answer");
	}
}

static void
send_result(struct channel *channel, uint32_t id, const struct ipc_result *result, int fd)
{
	struct buf payload;

	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_result_encode(&payload, result);
	if (!buf_ok(&payload))
		fatal("answer");
	channel_send(channel, CONTROL_DONE, id, 0, fd, &payload);
	buf_free(&payload);
}

static void
client_done(void *caller, const struct ipc_result *result, int fd)
{
	struct client *client = caller;

	client->request = NULL;
	send_result(client->channel, client->id, result, fd);
	if (client->state != CLIENT_WORKING)
		return;
	channel_flush(client->channel);
	set_state(client, channel_queued(client->channel) == 0 ? CLIENT_IDLE : CLIENT_SENDING);
}

static bool
client_has_read(void *caller)
{
	struct client *client = caller;

	return channel_queued(client->channel) == 0;
}

static void
client_settled(void *arg)
{
	check_finished(arg);
}

const struct relay_caller control_client_caller = { client_frame, client_done, client_has_read,
	client_settled };

static void
on_drained(struct channel *channel, void *arg)
{
	struct client *client = arg;

	(void)channel;
	if (client->state == CLIENT_WORKING && client->request != NULL) {
		set_state(client, CLIENT_WORKING);
		relay_continue(client->request);
	} else if (client->state == CLIENT_SENDING) {
		set_state(client, CLIENT_IDLE);
		check_finished(client->clients);
	}
}

static void
on_receive(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct client *client = arg;
	struct control_order order;
	struct relay_request *request;

	if (client->state == CLIENT_ENDED)
		return;
	if (client->state == CLIENT_WORKING || client->state == CLIENT_SENDING) {
		channel_reject(channel, imsg, "a request before the last one's answer was read");
		return;
	}
	if (!control_order_decode(&order, imsg->type, imsg->payload, imsg->length, client->uid)) {
		channel_reject(channel, imsg, "no such request");
		return;
	}
	client->id = imsg->id;
	set_state(client, CLIENT_WORKING);
	request = relay_begin(client->clients->relay, &order, client);
	if (request != NULL)
		client->request = request;
}

static void
on_closed(struct channel *channel, const char *why, void *arg)
{
	(void)channel;
	log_debug("smtpctl's connection has ended: %s", why);
	destroy(arg);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	destroy(arg);
}

/* The connection that can best be spared: one that never asked for anything, then one that has its
 * answer, then one that doesn't read it; the longest in that state. */
static struct client *
find_spare(struct control_clients *clients)
{
	static const enum client_state order[] = { CLIENT_NEW, CLIENT_IDLE, CLIENT_SENDING };
	struct client *client;

	for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++)
		TAILQ_FOREACH(client, &clients->all, all)
	if (client->state == order[i])
		return client;
	TAILQ_FOREACH(client, &clients->all, all)
	if (client->state == CLIENT_WORKING && channel_queued(client->channel) > 0)
		return client;
	return NULL;
}

static void
ignore_receive(struct channel *channel, struct imsg *imsg, void *arg)
{
	(void)channel;
	(void)imsg;
	(void)arg;
}

static void
ignore_closed(struct channel *channel, const char *why, void *arg)
{
	(void)channel;
	(void)why;
	(void)arg;
}

/* One answer to a question that hasn't been read (id 0), and the end. */
static void
refuse(struct control_clients *clients, int fd, uint32_t exit_code, const char *words)
{
	struct ipc_result result = { .exit_code = exit_code };
	struct channel *channel =
	    channel_new(clients->base, "smtpctl", fd, ignore_receive, ignore_closed, NULL);

	(void)snprintf(result.words, sizeof(result.words), "%s", words);
	send_result(channel, 0, &result, -1);
	channel_free(channel);
}

/* A caller can connect as often as it likes, but not fill the log. */
static void
log_refusal(struct control_clients *clients, uid_t uid)
{
	int64_t now = clock_monotonic_ms();
	struct log_line line;

	if (clients->refusals == 0 || now - clients->refusals_since_ms >= REFUSAL_WINDOW_MS) {
		if (clients->refusals > REFUSALS_LOGGED)
			log_warning("%u more callers of the control socket were refused",
			    clients->refusals - REFUSALS_LOGGED);
		clients->refusals = 0;
		clients->refusals_since_ms = now;
	}
	if (++clients->refusals > REFUSALS_LOGGED)
		return;
	log_begin(&line, LOG_LEVEL_WARNING, "control-refused");
	log_number(&line, "uid", uid);
	log_text(&line, "reason", "need root privileges");
	log_end(&line);
}

static void
add_client(struct control_clients *clients, int fd, uid_t uid)
{
	struct client *client = calloc(1, sizeof(*client));

	if (client == NULL)
		fatal("control");
	client->clients = clients;
	client->uid = uid;
	client->channel = channel_new(clients->base, "smtpctl", fd, on_receive, on_closed, client);
	channel_on_drained(client->channel, on_drained);
	client->timer = evtimer_new(clients->base, on_timer, client);
	if (client->timer == NULL || event_priority_set(client->timer, 0) != 0)
		fatalx("control: no timer");
	TAILQ_INSERT_TAIL(&clients->all, client, all);
	clients->count++;
	set_state(client, CLIENT_NEW);
}

static void
greet(struct control_clients *clients, int fd)
{
	struct ucred caller;
	socklen_t length = sizeof(caller);
	struct client *spare;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &caller, &length) != 0 ||
	    length != sizeof(caller)) {
		log_warning(
		    "a caller of the control socket can't be identified: %s", strerror(errno));
		close(fd);
		return;
	}
	if (!control_order_allows(caller.uid, clients->suite_uid, clients->privileged)) {
		log_refusal(clients, caller.uid);
		refuse(clients, fd, EX_NOPERM, "need root privileges");
		return;
	}
	if (clients->count >= CONTROL_CONNECTIONS_MAX) {
		spare = find_spare(clients);
		if (spare == NULL) {
			refuse(clients, fd, EX_TEMPFAIL, "too many connections");
			return;
		}
		destroy(spare);
	}
	add_client(clients, fd, caller.uid);
}

static void
on_acceptable(evutil_socket_t listen_fd, short what, void *arg)
{
	struct control_clients *clients = arg;
	struct timeval retry = { .tv_usec = ACCEPT_RETRY_MS * 1000 };

	(void)what;
	for (int i = 0; i < ACCEPT_AT_ONCE; i++) {
		int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd != -1) {
			greet(clients, fd);
			continue;
		}
		if (errno == EINTR || errno == ECONNABORTED)
			continue;
		if (errno == EAGAIN || errno == EWOULDBLOCK)
			return;
		/* No descriptors or memory: a short pause instead of a busy loop. */
		log_warning("accepting on the control socket: %s", strerror(errno));
		event_del(clients->acceptable);
		(void)evtimer_add(clients->retry, &retry);
		return;
	}
}

static void
on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct control_clients *clients = arg;

	(void)fd;
	(void)what;
	if (clients->acceptable != NULL)
		(void)event_add(clients->acceptable, NULL);
}

void
control_clients_listen(struct control_clients *clients, int fd)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags == -1 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) == -1)
		fatal("control socket");
	if (clients->acceptable != NULL)
		event_free(clients->acceptable);
	if (clients->listen_fd != -1)
		close(clients->listen_fd);
	clients->listen_fd = fd;
	clients->acceptable =
	    event_new(clients->base, fd, EV_READ | EV_PERSIST, on_acceptable, clients);
	if (clients->retry == NULL)
		clients->retry = evtimer_new(clients->base, on_retry, clients);
	if (clients->acceptable == NULL || clients->retry == NULL ||
	    event_priority_set(clients->acceptable, 0) != 0 ||
	    event_priority_set(clients->retry, 0) != 0 || event_add(clients->acceptable, NULL) != 0)
		fatalx("control socket: no events");
}

void
control_clients_stop(struct control_clients *clients, void (*finished)(void *), void *arg)
{
	if (clients->acceptable != NULL) {
		event_free(clients->acceptable);
		clients->acceptable = NULL;
	}
	if (clients->listen_fd != -1) {
		close(clients->listen_fd);
		clients->listen_fd = -1;
	}
	clients->finished = finished;
	clients->finished_arg = arg;
	check_finished(clients);
}
