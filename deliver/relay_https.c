/*
 * An exchange waits in line, looks the server's addresses up, and tries them until one speaks TLS
 * with the right certificate; from there on what goes wrong is the answer. One timer goes with it:
 * for the address that is tried, or for all of the time that there is.
 *
 * What has ended is freed in the next turn of the loop, since its connection may be what calls.
 */
#include <sys/queue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>
#include <event2/event.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include "common/clock.h"
#include "common/log.h"
#include "deliver/relay_addresses.h"
#include "deliver/relay_connection.h"
#include "deliver/relay_dns.h"
#include "deliver/relay_http.h"
#include "deliver/relay_https.h"
#include "deliver/relay_tls.h"

enum exchange_state {
	EXCHANGE_IN_LINE,
	EXCHANGE_LOOKING,    /* for addresses */
	EXCHANGE_CONNECTING, /* TLS included */
	EXCHANGE_ASKING,     /* all is sent, or about to be; the answer comes */
	EXCHANGE_ENDED,
};

struct https_exchange {
	TAILQ_ENTRY(https_exchange) entry;
	struct https *https;
	enum exchange_state state;
	https_fn done;
	void *arg;
	char host[HOSTNAME_MAX + 1];
	char ca[ACTION_NAME_MAX + 1];
	uint16_t port;
	struct buf request;
	size_t answer_max;
	int64_t deadline_ms;
	struct event *timer;
	uint32_t question; /* 0: none is open */
	struct addresses addresses;
	size_t next; /* address */
	struct connection *connection;
	SSL *ssl; /* held: what it says when the connection has ended */
	struct http_response response;
	enum https_status failure; /* of the address before */
	char why[HTTPS_WORDS_MAX];
};

TAILQ_HEAD(exchange_list, https_exchange);

struct https {
	struct event_base *base;
	struct relay_dns *dns;
	struct tls_client *tls;
	bool refuses_private;
	struct exchange_list waiting;
	struct exchange_list open;
	struct exchange_list ended;
	size_t open_count;
	struct event *reaper;
};

static void begin(struct https_exchange *);
static void try_next_address(struct https_exchange *);

static void
free_exchange(struct https_exchange *exchange)
{
	event_free(exchange->timer);
	connection_free(exchange->connection);
	SSL_free(exchange->ssl);
	buf_free(&exchange->request);
	http_response_free(&exchange->response);
	free(exchange);
}

static void
on_reaper(evutil_socket_t fd, short what, void *arg)
{
	struct https *https = arg;
	struct https_exchange *exchange;

	(void)fd;
	(void)what;
	while ((exchange = TAILQ_FIRST(&https->ended)) != NULL) {
		TAILQ_REMOVE(&https->ended, exchange, entry);
		free_exchange(exchange);
	}
	while (https->open_count < HTTPS_AT_ONCE &&
	    (exchange = TAILQ_FIRST(&https->waiting)) != NULL) {
		TAILQ_REMOVE(&https->waiting, exchange, entry);
		TAILQ_INSERT_TAIL(&https->open, exchange, entry);
		https->open_count++;
		begin(exchange);
	}
}

/* Nothing more comes of it. */
static void
end(struct https_exchange *exchange)
{
	struct https *https = exchange->https;

	if (exchange->question != 0)
		relay_dns_forget(https->dns, exchange->question);
	exchange->question = 0;
	connection_close(exchange->connection);
	(void)event_del(exchange->timer);
	if (exchange->state == EXCHANGE_IN_LINE) {
		TAILQ_REMOVE(&https->waiting, exchange, entry);
	} else {
		TAILQ_REMOVE(&https->open, exchange, entry);
		https->open_count--;
	}
	exchange->state = EXCHANGE_ENDED;
	TAILQ_INSERT_TAIL(&https->ended, exchange, entry);
	event_active(https->reaper, 0, 0);
}

static void
answer(struct https_exchange *exchange, enum https_status status, const char *why)
{
	struct https_answer words = { .status = status, .why = why, .type = "" };

	if (exchange->response.has_head)
		words.code = exchange->response.code;
	if (status == HTTPS_ANSWERED) {
		words.type = exchange->response.type;
		words.content = exchange->response.content.data;
		words.content_length = exchange->response.content.length;
	}
	end(exchange);
	exchange->done(&words, exchange->arg);
}

/* The timer is for whatever comes first of that moment and the end of all. */
static void
set_timer(struct https_exchange *exchange, int64_t until_ms)
{
	int64_t left;
	struct timeval time;

	if (until_ms > exchange->deadline_ms)
		until_ms = exchange->deadline_ms;
	left = until_ms - clock_monotonic_ms();
	if (left < 0)
		left = 0;
	time = (struct timeval){ .tv_sec = left / 1000, .tv_usec = left % 1000 * 1000 };
	if (event_add(exchange->timer, &time) == -1)
		fatal("event_add");
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct https_exchange *exchange = arg;
	char why[HTTPS_WORDS_MAX];

	(void)fd;
	(void)what;
	if (exchange->state == EXCHANGE_CONNECTING && exchange->next < exchange->addresses.count &&
	    clock_monotonic_ms() < exchange->deadline_ms) {
		exchange->failure = HTTPS_NO_CONNECTION;
		snprintf(exchange->why, sizeof(exchange->why), "can't connect to %s: timed out",
		    exchange->host);
		try_next_address(exchange);
		return;
	}
	if (exchange->state == EXCHANGE_IN_LINE) {
		answer(exchange, HTTPS_OURS, "too many web servers are being asked");
		return;
	}
	snprintf(why, sizeof(why), "%s didn't answer in time", exchange->host);
	answer(exchange, HTTPS_TOO_SLOW, why);
}

/* This address has failed; perhaps there is another. */
static void
address_failed(struct https_exchange *exchange, enum https_status status, const char *why)
{
	exchange->failure = status;
	strlcpy(exchange->why, why, sizeof(exchange->why));
	try_next_address(exchange);
}

static void
secure(struct https_exchange *exchange)
{
	SSL *ssl = tls_client_ssl(exchange->https->tls, exchange->host, true, exchange->ca);

	if (ssl == NULL) {
		answer(exchange, HTTPS_OURS, "TLS can't be had here: the log says why");
		return;
	}
	tls_client_dns_ids_only(ssl);
	SSL_free(exchange->ssl);
	exchange->ssl = SSL_up_ref(ssl) == 1 ? ssl : NULL;
	connection_secure(exchange->connection, ssl);
}

static void
ask(struct https_exchange *exchange)
{
	exchange->state = EXCHANGE_ASKING;
	http_response_free(&exchange->response);
	http_response_init(&exchange->response, exchange->answer_max);
	set_timer(exchange, exchange->deadline_ms);
	buf_add(connection_output(exchange->connection), exchange->request.data,
	    exchange->request.length);
	connection_flush(exchange->connection);
}

static void
take_result(struct https_exchange *exchange, enum http_result result)
{
	char why[HTTPS_WORDS_MAX];

	switch (result) {
	case HTTP_MORE:
		return;
	case HTTP_DONE:
		answer(exchange, HTTPS_ANSWERED, "");
		return;
	case HTTP_TOO_LARGE:
		snprintf(why, sizeof(why), "%s answers with more than %zu bytes", exchange->host,
		    exchange->answer_max);
		answer(exchange, HTTPS_TOO_LARGE, why);
		return;
	case HTTP_BROKEN:
		break;
	}
	snprintf(
	    why, sizeof(why), "what %s answers is no HTTP that is understood here", exchange->host);
	answer(exchange, HTTPS_BROKEN, why);
}

static void
on_input(const uint8_t *data, size_t length, void *arg)
{
	struct https_exchange *exchange = arg;

	if (exchange->state == EXCHANGE_ASKING)
		take_result(exchange, http_response_feed(&exchange->response, data, length));
}

/* A close_notify came: what ends with the connection is whole (RFC 9112 9.8). */
static bool
has_ended_well(const struct https_exchange *exchange)
{
	return exchange->ssl != NULL &&
	    (SSL_get_shutdown(exchange->ssl) & SSL_RECEIVED_SHUTDOWN) != 0;
}

static void
closed(struct https_exchange *exchange, const char *why)
{
	char words[HTTPS_WORDS_MAX];
	bool is_bad;

	if (exchange->state == EXCHANGE_CONNECTING) {
		is_bad = exchange->ssl != NULL && SSL_get_verify_result(exchange->ssl) != X509_V_OK;
		snprintf(words, sizeof(words),
		    exchange->ssl == NULL ? "can't connect to %s: %s" : "%s: %s", exchange->host,
		    why);
		address_failed(
		    exchange, is_bad ? HTTPS_BAD_CERTIFICATE : HTTPS_NO_CONNECTION, words);
		return;
	}
	if (has_ended_well(exchange) && exchange->response.state == HTTP_UNTIL_END) {
		take_result(exchange, http_response_end(&exchange->response));
		return;
	}
	snprintf(words, sizeof(words), "%s: the answer is cut off: %s", exchange->host, why);
	answer(exchange, HTTPS_BROKEN, words);
}

static void
on_event(enum connection_event event, const char *why, void *arg)
{
	struct https_exchange *exchange = arg;

	if (event == CONNECTION_OPENED)
		secure(exchange);
	else if (event == CONNECTION_SECURED)
		ask(exchange);
	else if (event != CONNECTION_DRAINED)
		closed(exchange, why);
}

static void
try_next_address(struct https_exchange *exchange)
{
	const struct host_address *address;
	char why[200];
	bool is_ours;

	while (exchange->next < exchange->addresses.count) {
		address = &exchange->addresses.all[exchange->next++];
		SSL_free(exchange->ssl);
		exchange->ssl = NULL;
		exchange->state = EXCHANGE_CONNECTING;
		if (connection_open(exchange->connection,
		        (const struct sockaddr *)&address->address, address->length, NULL, 0,
		        &is_ours, why, sizeof(why))) {
			set_timer(exchange,
			    exchange->next < exchange->addresses.count
			        ? clock_monotonic_ms() + HTTPS_ADDRESS_TIME
			        : exchange->deadline_ms);
			return;
		}
		exchange->failure = is_ours ? HTTPS_OURS : HTTPS_NO_CONNECTION;
		snprintf(exchange->why, sizeof(exchange->why), "can't connect to %s: %s",
		    exchange->host, why);
	}
	answer(exchange, exchange->failure, exchange->why);
}

static void
on_addresses(const struct ipc_answer *found, bool ours, void *arg)
{
	struct https_exchange *exchange = arg;
	char why[HTTPS_WORDS_MAX];

	exchange->question = 0;
	addresses_add_answer(
	    &exchange->addresses, found, exchange->port, exchange->https->refuses_private);
	if (exchange->addresses.count > 0) {
		addresses_order(&exchange->addresses);
		try_next_address(exchange);
		return;
	}
	if (found->status == ANSWER_FAILED)
		snprintf(why, sizeof(why), "the addresses of %s can't be looked up: %s",
		    exchange->host, found->why);
	else if (found->status == ANSWER_FOUND && found->count > 0)
		snprintf(why, sizeof(why), "%s is in a private network, where it isn't asked",
		    exchange->host);
	else
		snprintf(why, sizeof(why), "%s has no address in DNS", exchange->host);
	answer(exchange, ours ? HTTPS_OURS : HTTPS_NO_ADDRESS, why);
}

static void
begin(struct https_exchange *exchange)
{
	exchange->state = EXCHANGE_LOOKING;
	exchange->question = relay_dns_ask(
	    exchange->https->dns, QUERY_ADDRESSES, exchange->host, 0, on_addresses, exchange);
}

/* RFC 9112 3 and 9.6 */
static void
write_request(struct https_exchange *exchange, const struct https_request *request)
{
	struct buf *buf = &exchange->request;
	bool is_post = request->content != NULL;

	buf_init(buf, HTTPS_POST_MAX + HTTPS_PATH_MAX + 1024);
	buf_printf(buf, "%s %s HTTP/1.1\r\nHost: %s", is_post ? "POST" : "GET", request->path,
	    request->host);
	if (request->port != HTTPS_PORT)
		buf_printf(buf, ":%u", request->port);
	buf_printf(buf, "\r\nConnection: close\r\nUser-Agent: Postern\r\n");
	if (is_post)
		buf_printf(buf, "Content-Type: %s\r\nContent-Length: %zu\r\n",
		    request->content_type, request->content_length);
	buf_add_text(buf, "\r\n");
	if (is_post)
		buf_add(buf, request->content, request->content_length);
	if (!buf_ok(buf) || strlen(request->path) > HTTPS_PATH_MAX)
		fatalx("a request of that size");
}

struct https_exchange *
https_ask(struct https *https, const struct https_request *request, https_fn done, void *arg)
{
	struct https_exchange *exchange = calloc(1, sizeof(*exchange));
	const struct connection_user user = {
		.event = on_event, .input = on_input, .arg = exchange
	};

	if (exchange == NULL)
		fatal("https");
	exchange->https = https;
	exchange->done = done;
	exchange->arg = arg;
	exchange->port = request->port;
	exchange->answer_max = request->answer_max;
	strlcpy(exchange->host, request->host, sizeof(exchange->host));
	strlcpy(exchange->ca, request->ca, sizeof(exchange->ca));
	write_request(exchange, request);
	http_response_init(&exchange->response, request->answer_max);
	exchange->connection = connection_new(https->base, &user);
	exchange->timer = event_new(https->base, -1, 0, on_timer, exchange);
	if (exchange->connection == NULL || exchange->timer == NULL)
		fatal("https");
	exchange->deadline_ms = clock_monotonic_ms() + request->time_ms;
	set_timer(exchange, exchange->deadline_ms);
	TAILQ_INSERT_TAIL(&https->waiting, exchange, entry);
	event_active(https->reaper, 0, 0);
	return exchange;
}

void
https_forget(struct https_exchange *exchange)
{
	end(exchange);
}

void
https_refuse_private(struct https *https, bool refuse)
{
	https->refuses_private = refuse;
}

struct https *
https_new(struct event_base *base, struct relay_dns *dns, struct tls_client *tls)
{
	struct https *https = calloc(1, sizeof(*https));

	if (https == NULL)
		fatal("https");
	https->base = base;
	https->dns = dns;
	https->tls = tls;
	TAILQ_INIT(&https->waiting);
	TAILQ_INIT(&https->open);
	TAILQ_INIT(&https->ended);
	https->reaper = event_new(base, -1, 0, on_reaper, https);
	if (https->reaper == NULL)
		fatalx("no events");
	return https;
}

void
https_free(struct https *https)
{
	struct https_exchange *exchange;

	if (https == NULL)
		return;
	while ((exchange = TAILQ_FIRST(&https->waiting)) != NULL)
		end(exchange);
	while ((exchange = TAILQ_FIRST(&https->open)) != NULL)
		end(exchange);
	while ((exchange = TAILQ_FIRST(&https->ended)) != NULL) {
		TAILQ_REMOVE(&https->ended, exchange, entry);
		free_exchange(exchange);
	}
	event_free(https->reaper);
	free(https);
}
