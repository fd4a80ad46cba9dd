/*
 * One event for reading and one for writing, on a socket that doesn't block. What is to be written
 * is tried at once, when it is flushed; the event for writing is only for what was left over.
 * Encrypted, the same calls go through OpenSSL, which may want to read in order to write and the
 * other way round: the socket being ready for either, both are tried.
 *
 * A handshake that shows a certificate waits for the keeper (common/keeper_provider.h). Meanwhile the
 * socket isn't looked at: what it says is there when the handshake goes on.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include "common/keeper_provider.h"
#include "deliver/relay_connection.h"
#include "deliver/relay_local.h"

#define READ_SIZE     16384
#define READS_AT_ONCE 4
#define ROUNDS_MAX    8
#define KEEP_OUTPUT   (256 * 1024) /* a larger buffer is given back when it is empty */
#define RETRY_US      20000        /* too many handshakes wait for the keeper */

enum state {
	CLOSED,
	CONNECTING,
	OPEN,
	HANDSHAKE,
	SECURE,
};

struct connection {
	struct event_base *base;
	struct connection_user user;
	enum state state;
	int fd;
	struct event *readable;
	struct event *writable;
	SSL *ssl;
	struct local_sockets *local;  /* NULL: there are none */
	struct local_wait local_wait; /* for a Unix socket */
	struct keeper_wait keeper;
	struct event *retry; /* of a handshake; NULL until one is needed */
	bool wants_read;     /* OpenSSL, to go on writing */
	bool wants_write;    /* and to go on reading */
	bool is_flushing;
	bool is_deaf; /* takes no more; what it said before may still come */
	struct buf output;
	size_t output_start;
	uint64_t sent;
	uint64_t opened; /* how often: a callback may have opened another */
};

static void on_keeper(void *);
static void on_local(int, const char *, void *);

struct connection *
connection_new(struct event_base *base, const struct connection_user *user)
{
	struct connection *connection = calloc(1, sizeof(*connection));

	if (connection == NULL)
		return NULL;
	connection->base = base;
	connection->user = *user;
	connection->fd = -1;
	connection->keeper.ready = on_keeper;
	connection->keeper.arg = connection;
	connection->local_wait.connected = on_local;
	connection->local_wait.arg = connection;
	buf_init(&connection->output, CONNECTION_OUTPUT_MAX);
	return connection;
}

void
connection_use_local(struct connection *connection, struct local_sockets *local)
{
	connection->local = local;
}

/* A step of the handshake. */
static int
connect_ssl(struct connection *connection)
{
	int result;

	ERR_clear_error();
	keeper_provider_use(&connection->keeper);
	result = SSL_connect(connection->ssl);
	keeper_provider_use(NULL);
	return result;
}

/* A paused handshake stands on its SSL, and must come to its end before that does. */
static void
forget_keeper(struct connection *connection)
{
	if (connection->keeper.operation != NULL) {
		keeper_provider_cancel(&connection->keeper);
		(void)connect_ssl(connection);
	}
	free(connection->keeper.why);
	connection->keeper.why = NULL;
	if (connection->retry != NULL)
		event_free(connection->retry);
	connection->retry = NULL;
}

void
connection_close(struct connection *connection)
{
	if (connection->readable != NULL)
		event_free(connection->readable);
	if (connection->writable != NULL)
		event_free(connection->writable);
	connection->readable = connection->writable = NULL;
	local_wait_end(&connection->local_wait);
	forget_keeper(connection);
	if (connection->state == SECURE) {
		ERR_clear_error();
		(void)SSL_shutdown(connection->ssl); /* its close_notify goes, or not */
	}
	SSL_free(connection->ssl);
	connection->ssl = NULL;
	if (connection->fd != -1)
		close(connection->fd);
	connection->fd = -1;
	connection->state = CLOSED;
	connection->wants_read = connection->wants_write = false;
	connection->is_flushing = false;
	buf_free(&connection->output);
	connection->output_start = 0;
}

void
connection_free(struct connection *connection)
{
	if (connection == NULL)
		return;
	connection_close(connection);
	free(connection);
}

static void
tell(struct connection *connection, enum connection_event event, const char *why)
{
	char words[256];

	snprintf(words, sizeof(words), "%s", why); /* it may be OpenSSL's or errno's */
	connection_close(connection);
	connection->user.event(event, words, connection->user.arg);
}

static void
tell_closed(struct connection *connection, const char *why)
{
	tell(connection, CONNECTION_CLOSED, why);
}

static void
ssl_words(const struct connection *connection, char *words, size_t size)
{
	long verified = SSL_get_verify_result(connection->ssl);
	unsigned long error = ERR_peek_last_error();
	const char *reason = error != 0 ? ERR_reason_error_string(error) : NULL;

	if (verified != X509_V_OK && SSL_get_verify_mode(connection->ssl) != SSL_VERIFY_NONE)
		snprintf(words, size, "its certificate isn't good: %s",
		    X509_verify_cert_error_string(verified));
	else
		snprintf(words, size, "TLS failed: %s",
		    reason != NULL ? reason : "the connection was closed");
	ERR_clear_error();
}

static void
want_write(struct connection *connection, bool wanted)
{
	if (wanted == (event_pending(connection->writable, EV_WRITE, NULL) != 0))
		return;
	if (wanted)
		(void)event_add(connection->writable, NULL);
	else
		(void)event_del(connection->writable);
}

/* An answer of OpenSSL's that is no success: true when it can go on later. */
static bool
may_go_on(struct connection *connection, int result, bool *end)
{
	*end = false;
	switch (SSL_get_error(connection->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		return true;
	case SSL_ERROR_WANT_WRITE:
		connection->wants_write = true;
		want_write(connection, true);
		return true;
	case SSL_ERROR_ZERO_RETURN:
		*end = true;
		return false;
	case SSL_ERROR_SYSCALL:
		*end = errno == 0 || errno == ECONNRESET || errno == EPIPE;
		return false;
	default:
		return false;
	}
}

static void
on_retry(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	on_keeper(arg);
}

/* True when the handshake waits: for the keeper's answer, or that others get theirs. */
static bool
waits_for_keeper(struct connection *connection, int result)
{
	const struct timeval later = { .tv_usec = RETRY_US };
	int error = SSL_get_error(connection->ssl, result);

	if (error != SSL_ERROR_WANT_ASYNC && error != SSL_ERROR_WANT_ASYNC_JOB)
		return false;
	(void)event_del(connection->readable);
	(void)event_del(connection->writable);
	if (error == SSL_ERROR_WANT_ASYNC)
		return true;
	if (connection->retry == NULL)
		connection->retry = evtimer_new(connection->base, on_retry, connection);
	return connection->retry != NULL && event_add(connection->retry, &later) == 0;
}

static void
shake_hands(struct connection *connection)
{
	char words[256];
	bool end;
	int result = connect_ssl(connection);

	if (result == 1) {
		connection->state = SECURE;
		SSL_clear_mode(connection->ssl, SSL_MODE_ASYNC);
		connection->user.event(CONNECTION_SECURED, "", connection->user.arg);
		return;
	}
	if (waits_for_keeper(connection, result) || may_go_on(connection, result, &end))
		return;
	if (connection->keeper.why != NULL) {
		snprintf(words, sizeof(words), "no signature by the key of our certificate: %s",
		    connection->keeper.why);
		ERR_clear_error();
		tell(connection, CONNECTION_UNSIGNED, words);
		return;
	}
	ssl_words(connection, words, sizeof(words));
	tell_closed(connection, words);
}

/* Bytes read, 0: none now, -1: the connection is closed and its user told. */
static ssize_t
receive(struct connection *connection, uint8_t *data, size_t size)
{
	char words[256];
	ssize_t count;
	bool end;

	if (connection->ssl == NULL) {
		do
			count = recv(connection->fd, data, size, 0);
		while (count == -1 && errno == EINTR);
		if (count > 0)
			return count;
		if (count == -1 && (errno == EAGAIN || errno == EWOULDBLOCK))
			return 0;
		tell_closed(connection, count == 0 ? "it closed the connection" : strerror(errno));
		return -1;
	}
	ERR_clear_error();
	errno = 0;
	count = SSL_read(connection->ssl, data, (int)size);
	if (count > 0)
		return count;
	if (may_go_on(connection, (int)count, &end))
		return 0;
	ssl_words(connection, words, sizeof(words));
	tell_closed(connection, end ? "it closed the connection" : words);
	return -1;
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct connection *connection = arg;
	uint64_t opened = connection->opened;
	uint8_t data[READ_SIZE];
	ssize_t count;

	(void)fd;
	(void)what;
	if (connection->state == HANDSHAKE) {
		shake_hands(connection);
		/* What came in the same packet as the end of the handshake makes no event. */
		if (connection->state != SECURE || connection->opened != opened)
			return;
	}
	/* More than once only for OpenSSL, which may hold what the socket no longer has. */
	for (int i = 0; i < READS_AT_ONCE || connection->ssl != NULL; i++) {
		count = receive(connection, data, sizeof(data));
		if (count <= 0)
			break;
		connection->user.input(data, (size_t)count, connection->user.arg);
		if (connection->opened != opened ||
		    (connection->state != OPEN && connection->state != SECURE))
			return;
		if (connection->ssl == NULL ? count < (ssize_t)sizeof(data)
		                            : SSL_pending(connection->ssl) == 0)
			break;
	}
	if (count >= 0 && connection->wants_read) {
		connection->wants_read = false;
		connection_flush(connection);
	}
}

/* The handshake goes on. */
static void
on_keeper(void *arg)
{
	struct connection *connection = arg;

	if (connection->state != HANDSHAKE)
		return;
	if (event_add(connection->readable, NULL) == -1) {
		tell_closed(connection, "no memory");
		return;
	}
	on_readable(connection->fd, 0, connection);
}

static void
connected(struct connection *connection)
{
	int error = 0, one = 1;
	socklen_t length = sizeof(error);

	if (getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &error, &length) == -1)
		error = errno;
	if (error != 0) {
		tell_closed(connection, strerror(error));
		return;
	}
	/* Unix sockets have no such thing. */
	(void)setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	connection->state = OPEN;
	want_write(connection, false);
	if (event_add(connection->readable, NULL) == -1) {
		tell_closed(connection, "no memory");
		return;
	}
	connection->user.event(CONNECTION_OPENED, "", connection->user.arg);
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct connection *connection = arg;
	uint64_t opened = connection->opened;

	switch (connection->state) {
	case CONNECTING:
		connected(connection);
		return;
	case HANDSHAKE:
		want_write(connection, false);
		shake_hands(connection);
		return;
	case OPEN:
	case SECURE:
		if (connection->wants_write) {
			connection->wants_write = false;
			on_readable(fd, what, arg);
			if (connection->opened != opened || connection->state == CLOSED)
				return;
		}
		connection_flush(connection);
		return;
	case CLOSED:
		return;
	}
}

static bool
make_events(struct connection *connection)
{
	connection->readable = event_new(
	    connection->base, connection->fd, EV_READ | EV_PERSIST, on_readable, connection);
	connection->writable = event_new(
	    connection->base, connection->fd, EV_WRITE | EV_PERSIST, on_writable, connection);
	return connection->readable != NULL && connection->writable != NULL &&
	    event_add(connection->writable, NULL) == 0;
}

/* A Unix socket is there, connected: that is found out like that of others. */
static void
on_local(int fd, const char *why, void *arg)
{
	struct connection *connection = arg;

	connection->fd = fd;
	if (fd == -1)
		tell_closed(connection, why);
	else if (!make_events(connection))
		tell_closed(connection, "no memory");
}

static bool
open_local(struct connection *connection, const struct sockaddr_un *to, bool *is_ours, char *why,
    size_t size)
{
	if (connection->local == NULL) {
		*is_ours = true;
		snprintf(why, size, "Unix sockets can't be had here");
		return false;
	}
	connection->state = CONNECTING;
	local_sockets_ask(connection->local, to->sun_path, &connection->local_wait);
	return true;
}

bool
connection_open(struct connection *connection, const struct sockaddr *to, socklen_t length,
    const struct sockaddr *source, socklen_t source_length, bool *is_ours, char *why, size_t size)
{
	int fd;

	*is_ours = false;
	connection_close(connection);
	connection->opened++;
	connection->sent = 0;
	connection->is_deaf = false;
	if (to->sa_family == AF_UNIX)
		return open_local(
		    connection, (const struct sockaddr_un *)(const void *)to, is_ours, why, size);
	fd = socket(to->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	connection->fd = fd;
	if (fd == -1) {
		*is_ours = errno != EAFNOSUPPORT;
		snprintf(why, size, "socket: %s", strerror(errno));
		return false;
	}
	if (source != NULL && bind(fd, source, source_length) == -1) {
		*is_ours = true;
		snprintf(why, size, "can't connect from the source address: %s", strerror(errno));
		connection_close(connection);
		return false;
	}
	if (!make_events(connection)) {
		*is_ours = true;
		snprintf(why, size, "no memory");
		connection_close(connection);
		return false;
	}
	connection->state = CONNECTING;
	if (connect(fd, to, length) == 0 || errno == EINPROGRESS)
		return true;
	/* Ports have run out; or this machine has no IPv6, which is no reason to give up. */
	*is_ours = errno == ENOMEM || (errno == EADDRNOTAVAIL && to->sa_family == AF_INET);
	snprintf(why, size, "%s", strerror(errno));
	connection_close(connection);
	return false;
}

void
connection_secure(struct connection *connection, SSL *ssl)
{
	connection->ssl = ssl;
	if (SSL_set_fd(ssl, connection->fd) != 1) {
		tell_closed(connection, "no memory");
		return;
	}
	SSL_set_connect_state(ssl);
	SSL_set_mode(ssl,
	    SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
	        SSL_MODE_RELEASE_BUFFERS);
	connection->state = HANDSHAKE;
	shake_hands(connection);
}

SSL *
connection_ssl(const struct connection *connection)
{
	return connection->state == SECURE ? connection->ssl : NULL;
}

struct buf *
connection_output(struct connection *connection)
{
	return &connection->output;
}

/* Bytes written, 0: none now, -1: the connection is closed and its user told. */
static ssize_t
transmit(struct connection *connection, const uint8_t *data, size_t length)
{
	char words[256];
	ssize_t count;
	bool end;

	if (connection->is_deaf)
		return (ssize_t)length;
	if (connection->ssl == NULL) {
		do
			count = send(connection->fd, data, length, MSG_NOSIGNAL);
		while (count == -1 && errno == EINTR);
		if (count >= 0)
			return count;
		if (errno == EAGAIN || errno == EWOULDBLOCK) {
			want_write(connection, true);
			return 0;
		}
		/* Its last words come first, and then the end. */
		if (errno == EPIPE || errno == ECONNRESET) {
			connection->is_deaf = true;
			return (ssize_t)length;
		}
		tell_closed(connection, strerror(errno));
		return -1;
	}
	ERR_clear_error();
	errno = 0;
	count = SSL_write(connection->ssl, data, (int)length);
	if (count > 0)
		return count;
	if (may_go_on(connection, (int)count, &end)) {
		connection->wants_read = !connection->wants_write;
		if (connection->wants_write)
			connection->wants_write = false; /* to write, that is */
		return 0;
	}
	ssl_words(connection, words, sizeof(words));
	tell_closed(connection, end ? "it closed the connection" : words);
	return -1;
}

/* True when all was written, and the connection is what it was. */
static bool
write_output(struct connection *connection)
{
	struct buf *output = &connection->output;
	size_t left = output->length - connection->output_start;
	ssize_t count;

	while (left > 0) {
		count = transmit(connection, output->data + connection->output_start, left);
		if (count <= 0)
			return false;
		connection->output_start += (size_t)count;
		connection->sent += (uint64_t)count;
		left -= (size_t)count;
	}
	connection->output_start = 0;
	if (output->capacity > KEEP_OUTPUT)
		buf_free(output);
	else
		buf_clear(output);
	want_write(connection, false);
	return true;
}

void
connection_flush(struct connection *connection)
{
	uint64_t opened = connection->opened;

	/* Who is told that all is written may write more: that is this loop's to do, and not
	 * without end while others wait. */
	if (!connection_is_open(connection) || connection->is_flushing)
		return;
	connection->is_flushing = true;
	for (int round = 0; round < ROUNDS_MAX && connection->output.length > 0; round++) {
		if (!buf_ok(&connection->output)) {
			tell_closed(connection, "no memory for what is to be sent");
			return;
		}
		if (!write_output(connection))
			break;
		connection->user.event(CONNECTION_DRAINED, "", connection->user.arg);
		if (connection->opened != opened || !connection_is_open(connection))
			return;
	}
	connection->is_flushing = false;
	if (connection_is_open(connection) && connection->output.length > 0 &&
	    !connection->wants_read)
		want_write(connection, true);
}

size_t
connection_waiting(const struct connection *connection)
{
	return connection->output.length - connection->output_start;
}

uint64_t
connection_sent(const struct connection *connection)
{
	return connection->sent;
}

void
connection_own_address(const struct connection *connection, char text[CLIENT_TEXT_MAX + 1])
{
	struct sockaddr_storage address = { .ss_family = AF_UNSPEC };
	socklen_t length = sizeof(address);
	const void *bytes;

	*text = '\0';
	if (connection->fd == -1 ||
	    getsockname(connection->fd, (struct sockaddr *)&address, &length) == -1)
		return;
	if (address.ss_family == AF_INET6)
		bytes = &((const struct sockaddr_in6 *)&address)->sin6_addr;
	else if (address.ss_family == AF_INET)
		bytes = &((const struct sockaddr_in *)&address)->sin_addr;
	else
		return;
	(void)inet_ntop(address.ss_family, bytes, text, CLIENT_TEXT_MAX + 1);
}

bool
connection_is_open(const struct connection *connection)
{
	return connection->state == OPEN || connection->state == SECURE;
}

bool
connection_is_deaf(const struct connection *connection)
{
	return connection->is_deaf;
}
