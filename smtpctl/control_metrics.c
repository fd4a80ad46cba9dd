/*
 * libevent's HTTP server does the work. It has no bound on connections, and doesn't tell of their end:
 * each is given a buffer of which we keep a reference, and once a second those are let go that the
 * server has freed, as their callbacks tell, and those hung up on that have lasted too long.
 */
#include <sys/queue.h>
#include <sys/socket.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>

#include "common/clock.h"
#include "common/log.h"
#include "smtpctl/control_metrics.h"
#include "smtpctl/control_metrics_text.h"

#define SOCKETS_MAX  16
#define LOOK_SECONDS 1

struct connection {
	LIST_ENTRY(connection) next;
	struct bufferevent *buffer;
	int64_t began_ms;
};

struct metrics {
	struct event_base *base;
	const struct control_stats *stats;
	struct evhttp *http;
	struct evhttp_bound_socket *bound[SOCKETS_MAX];
	size_t bound_count;
	int waiting[SOCKETS_MAX]; /* for metrics_start() */
	size_t waiting_count;
	LIST_HEAD(, connection) connections;
	size_t connection_count;
	struct event *look; /* while there are connections */
};

static void
set_accepting(struct metrics *metrics, bool accepting)
{
	for (size_t i = 0; i < metrics->bound_count; i++) {
		struct evconnlistener *listener =
		    evhttp_bound_socket_get_listener(metrics->bound[i]);

		if ((accepting ? evconnlistener_enable(listener)
		               : evconnlistener_disable(listener)) != 0)
			log_warning("metrics: a socket can't be watched");
	}
}

static void
forget(struct metrics *metrics, struct connection *connection)
{
	LIST_REMOVE(connection, next);
	(void)bufferevent_decref(connection->buffer);
	free(connection);
	if (metrics->connection_count-- == METRICS_CONNECTIONS_MAX)
		set_accepting(metrics, true);
}

static bool
is_over(const struct connection *connection)
{
	bufferevent_event_cb on_event;

	bufferevent_getcb(connection->buffer, NULL, NULL, &on_event, NULL);
	return on_event == NULL;
}

static void
look(struct metrics *metrics)
{
	int64_t now = clock_monotonic_ms();
	struct connection *connection, *next;

	for (connection = LIST_FIRST(&metrics->connections); connection != NULL;
	     connection = next) {
		next = LIST_NEXT(connection, next);
		if (is_over(connection))
			forget(metrics, connection);
		else if (now - connection->began_ms > METRICS_SECONDS * 1000)
			/* The server then reads its end. */
			(void)shutdown(bufferevent_getfd(connection->buffer), SHUT_RDWR);
	}
}

static void
on_look(evutil_socket_t fd, short what, void *arg)
{
	struct timeval soon = { .tv_sec = LOOK_SECONDS };
	struct metrics *metrics = arg;

	(void)fd;
	(void)what;
	look(metrics);
	if (metrics->connection_count > 0 && evtimer_add(metrics->look, &soon) != 0)
		fatalx("metrics: no timer");
}

/* The buffer of the connection that was just accepted. */
static struct bufferevent *
make_buffer(struct event_base *base, void *arg)
{
	struct timeval soon = { .tv_sec = LOOK_SECONDS };
	struct connection *connection = calloc(1, sizeof(*connection));
	struct metrics *metrics = arg;

	if (connection == NULL)
		fatal("metrics");
	look(metrics);
	connection->began_ms = clock_monotonic_ms();
	connection->buffer = bufferevent_socket_new(base, -1, BEV_OPT_CLOSE_ON_FREE);
	if (connection->buffer == NULL || evtimer_add(metrics->look, &soon) != 0)
		fatalx("metrics: out of memory");
	bufferevent_incref(connection->buffer);
	LIST_INSERT_HEAD(&metrics->connections, connection, next);
	if (++metrics->connection_count == METRICS_CONNECTIONS_MAX)
		set_accepting(metrics, false);
	return connection->buffer;
}

static void
answer(struct evhttp_request *request, void *arg)
{
	struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
	struct metrics *metrics = arg;
	int64_t values[STATS_COUNT];
	uint64_t uptime;
	struct buf text;

	buf_init(&text, METRICS_TEXT_MAX);
	control_stats_sum(metrics->stats, values, &uptime);
	control_metrics_format(&text, values, uptime);
	if (!buf_ok(&text) ||
	    evhttp_add_header(
	        headers, "Content-Type", "text/plain; version=0.0.4; charset=utf-8") != 0 ||
	    evbuffer_add(evhttp_request_get_output_buffer(request), text.data, text.length) != 0)
		evhttp_send_error(request, HTTP_INTERNAL, NULL);
	else
		evhttp_send_reply(request, HTTP_OK, "OK", NULL);
	buf_free(&text);
}

static void
answer_other(struct evhttp_request *request, void *arg)
{
	(void)arg;
	evhttp_send_error(request, HTTP_NOTFOUND, NULL);
}

struct metrics *
metrics_new(struct event_base *base, const struct control_stats *stats)
{
	struct metrics *metrics = calloc(1, sizeof(*metrics));

	if (metrics == NULL)
		fatal("metrics");
	metrics->base = base;
	metrics->stats = stats;
	metrics->look = evtimer_new(base, on_look, metrics);
	if (metrics->look == NULL)
		fatalx("metrics: out of memory");
	LIST_INIT(&metrics->connections);
	return metrics;
}

static void
make_server(struct metrics *metrics)
{
	metrics->http = evhttp_new(metrics->base);
	if (metrics->http == NULL || evhttp_set_cb(metrics->http, "/metrics", answer, metrics) != 0)
		fatalx("metrics: out of memory");
	evhttp_set_gencb(metrics->http, answer_other, NULL);
	evhttp_set_bevcb(metrics->http, make_buffer, metrics);
	evhttp_set_allowed_methods(metrics->http, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD);
	evhttp_set_max_headers_size(metrics->http, METRICS_REQUEST_MAX);
	evhttp_set_max_body_size(metrics->http, 0);
	evhttp_set_timeout(metrics->http, METRICS_IDLE_SECONDS);
}

void
metrics_add_socket(struct metrics *metrics, int fd)
{
	if (metrics->waiting_count == SOCKETS_MAX || evutil_make_socket_nonblocking(fd) != 0) {
		log_warning("metrics: one socket too many");
		close(fd);
		return;
	}
	metrics->waiting[metrics->waiting_count++] = fd;
}

void
metrics_stop(struct metrics *metrics)
{
	while (metrics->bound_count > 0)
		evhttp_del_accept_socket(metrics->http, metrics->bound[--metrics->bound_count]);
}

void
metrics_start(struct metrics *metrics)
{
	struct evhttp_bound_socket *bound;

	metrics_stop(metrics);
	if (metrics->http == NULL && metrics->waiting_count > 0)
		make_server(metrics);
	for (size_t i = 0; i < metrics->waiting_count; i++) {
		bound = evhttp_accept_socket_with_handle(metrics->http, metrics->waiting[i]);
		if (bound == NULL)
			fatalx("metrics: out of memory");
		metrics->bound[metrics->bound_count++] = bound;
	}
	metrics->waiting_count = 0;
	if (metrics->connection_count >= METRICS_CONNECTIONS_MAX)
		set_accepting(metrics, false);
}

void
metrics_free(struct metrics *metrics)
{
	if (metrics == NULL)
		return;
	metrics_stop(metrics);
	while (metrics->waiting_count > 0)
		close(metrics->waiting[--metrics->waiting_count]);
	if (metrics->http != NULL)
		evhttp_free(metrics->http);
	while (!LIST_EMPTY(&metrics->connections))
		forget(metrics, LIST_FIRST(&metrics->connections));
	event_free(metrics->look);
	free(metrics);
}
