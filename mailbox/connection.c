/*
 * One buffer of this process's is read into for all connections: an idle one has none of its own.
 * With compression what is to be sent goes through zlib when it is flushed, so that a whole answer
 * makes one block.
 */
#include <sys/socket.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <zlib.h>

#include "common/log.h"
#include "mailbox/connection.h"

#define READ_SIZE     32768
#define FULL          (256 * 1024) /* bytes waiting, that is enough for now */
#define NEARLY_EMPTY  (32 * 1024)
#define DEFLATE_LEVEL 5
#define INFLATE_MAX   4 /* KiB out of one in, before others get their turn: zlib bombs */
/* Windows of 32 KiB to read (the client chooses), 8 KiB and little state to write. */
#define INFLATE_BITS  (-15)
#define DEFLATE_BITS  (-13)
#define DEFLATE_STATE 5

struct compression {
	z_stream in;
	z_stream out;
};

struct connection {
	int fd;
	struct event readable;
	struct event writable;
	struct event again; /* what was left over is given once more */
	struct event_base *base;
	struct evbuffer *output; /* written, not flushed when compressed */
	struct evbuffer *packed; /* compressed */
	struct evbuffer *left;   /* read, not taken */
	struct compression *compression;
	const struct connection_calls *calls;
	void *arg;
	unsigned seconds;
	bool is_reading;
	bool is_ending;
	bool is_closed;
	bool was_full;
	bool in_call;
	bool is_doomed; /* to be freed when the call is over */
	const char *why;
};

static char bytes[READ_SIZE];

static void
destroy(struct connection *connection)
{
	(void)event_del(&connection->readable);
	(void)event_del(&connection->writable);
	(void)event_del(&connection->again);
	if (connection->compression != NULL) {
		(void)inflateEnd(&connection->compression->in);
		(void)deflateEnd(&connection->compression->out);
		free(connection->compression);
	}
	evbuffer_free(connection->output);
	evbuffer_free(connection->packed);
	evbuffer_free(connection->left);
	(void)close(connection->fd);
	free(connection);
}

static void
enter(struct connection *connection)
{
	connection->in_call = true;
}

/* False when the connection is no more. */
static bool
leave(struct connection *connection)
{
	connection->in_call = false;
	if (connection->is_doomed) {
		destroy(connection);
		return false;
	}
	return true;
}

static void
close_for(struct connection *connection, const char *why)
{
	if (connection->is_closed)
		return;
	connection->is_closed = true;
	(void)event_del(&connection->readable);
	(void)event_del(&connection->writable);
	(void)event_del(&connection->again);
	connection->calls->closed(why, connection->arg);
}

static void
add_event(struct connection *connection, struct event *event)
{
	struct timeval time = { .tv_sec = connection->seconds };

	if (event_add(event, connection->seconds > 0 ? &time : NULL) != 0)
		fatalx("can't watch a connection");
}

static struct evbuffer *
to_send(struct connection *connection)
{
	return connection->compression != NULL ? connection->packed : connection->output;
}

static size_t
waiting(const struct connection *connection)
{
	return evbuffer_get_length(connection->output) + evbuffer_get_length(connection->packed);
}

/* Gives bytes to the taker; keeps what it leaves. */
static void
give(struct connection *connection, const char *from, size_t length)
{
	size_t taken = 0;

	if (connection->is_reading && !connection->is_closed && !connection->is_doomed &&
	    evbuffer_get_length(connection->left) == 0)
		taken = connection->calls->input(from, length, connection->arg);
	if (connection->is_doomed || connection->is_closed)
		return;
	if (taken < length && evbuffer_add(connection->left, from + taken, length - taken) != 0)
		close_for(connection, "out of memory");
}

static void
unpack(struct connection *connection, size_t length)
{
	z_stream *in = &connection->compression->in;
	char text[READ_SIZE];
	int result = Z_OK;

	in->next_in = (unsigned char *)bytes;
	in->avail_in = (unsigned)length;
	/* All of a piece, so that nothing compressed needs keeping; 1 byte may become 1 KiB. */
	while (result == Z_OK && !connection->is_doomed && !connection->is_closed) {
		in->next_out = (unsigned char *)text;
		in->avail_out = sizeof(text);
		result = inflate(in, Z_SYNC_FLUSH);
		if (sizeof(text) > in->avail_out)
			give(connection, text, sizeof(text) - in->avail_out);
		if (in->avail_in == 0 && in->avail_out > 0)
			return;
		if (!connection->is_doomed &&
		    evbuffer_get_length(connection->left) > INFLATE_MAX * 1024 * READ_SIZE)
			result = Z_DATA_ERROR;
	}
	if (result != Z_OK && result != Z_BUF_ERROR && !connection->is_doomed)
		close_for(connection, "its compressed data is broken");
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct connection *connection = arg;
	ssize_t count;

	if (what & EV_TIMEOUT) {
		enter(connection);
		close_for(connection, "idle for too long");
		(void)leave(connection);
		return;
	}
	/* A piece of compressed text is read only as large as its expansion can be kept. */
	count = recv(fd, bytes, connection->compression != NULL ? READ_SIZE / 4 : READ_SIZE, 0);
	if (count == -1 && (errno == EAGAIN || errno == EINTR))
		return;
	enter(connection);
	if (count == 0)
		close_for(connection, "closed by the client");
	else if (count == -1)
		close_for(connection, strerror(errno));
	else if (connection->compression != NULL)
		unpack(connection, (size_t)count);
	else
		give(connection, bytes, (size_t)count);
	(void)leave(connection);
}

static void
on_again(evutil_socket_t fd, short what, void *arg)
{
	struct connection *connection = arg;
	size_t length = evbuffer_get_length(connection->left), taken;
	const char *from;

	(void)fd;
	(void)what;
	if (!connection->is_reading || connection->is_closed)
		return;
	if (length > 0) {
		from = (const char *)evbuffer_pullup(connection->left, (ev_ssize_t)length);
		enter(connection);
		taken = connection->calls->input(from, length, connection->arg);
		if (!connection->is_doomed)
			(void)evbuffer_drain(connection->left, taken);
		if (!leave(connection) || connection->is_closed)
			return;
	}
	if (connection->is_reading && evbuffer_get_length(connection->left) == 0)
		add_event(connection, &connection->readable);
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct connection *connection = arg;
	struct evbuffer *output = to_send(connection);

	enter(connection);
	if (what & EV_TIMEOUT) {
		close_for(connection, "doesn't read what it asked for");
	} else if (evbuffer_get_length(output) > 0 && evbuffer_write(output, fd) == -1 &&
	    errno != EAGAIN && errno != EINTR) {
		close_for(connection, strerror(errno));
	} else if (evbuffer_get_length(output) > 0) {
		add_event(connection, &connection->writable);
	} else if (connection->is_ending) {
		close_for(connection, connection->why);
	}
	if (!connection->is_closed && !connection->is_doomed && connection->was_full &&
	    waiting(connection) < NEARLY_EMPTY) {
		connection->was_full = false;
		connection->calls->writable(connection->arg);
	}
	(void)leave(connection);
}

struct connection *
connection_new(struct event_base *base, int fd, const struct connection_calls *calls, void *arg)
{
	struct connection *connection = calloc(1, sizeof(*connection));

	if (connection == NULL)
		return NULL;
	connection->fd = fd;
	connection->base = base;
	connection->calls = calls;
	connection->arg = arg;
	connection->output = evbuffer_new();
	connection->packed = evbuffer_new();
	connection->left = evbuffer_new();
	if (connection->output == NULL || connection->packed == NULL || connection->left == NULL) {
		if (connection->output != NULL)
			evbuffer_free(connection->output);
		if (connection->packed != NULL)
			evbuffer_free(connection->packed);
		free(connection);
		return NULL;
	}
	event_assign(
	    &connection->readable, base, fd, EV_READ | EV_PERSIST, on_readable, connection);
	event_assign(&connection->writable, base, fd, EV_WRITE, on_writable, connection);
	event_assign(&connection->again, base, -1, 0, on_again, connection);
	connection_read(connection, true);
	return connection;
}

void
connection_free(struct connection *connection)
{
	if (connection == NULL)
		return;
	if (connection->in_call)
		connection->is_doomed = true;
	else
		destroy(connection);
}

struct evbuffer *
connection_output(struct connection *connection)
{
	return connection->output;
}

/* Compresses all that was written since the last time. */
static void
pack(struct connection *connection)
{
	z_stream *out = &connection->compression->out;
	unsigned char text[8192];
	struct evbuffer_iovec part;

	while (evbuffer_peek(connection->output, -1, NULL, &part, 1) > 0) {
		bool is_last = part.iov_len == evbuffer_get_length(connection->output);

		out->next_in = part.iov_base;
		out->avail_in = (unsigned)part.iov_len;
		do {
			out->next_out = text;
			out->avail_out = sizeof(text);
			(void)deflate(out, is_last ? Z_SYNC_FLUSH : Z_NO_FLUSH);
			if (evbuffer_add(connection->packed, text, sizeof(text) - out->avail_out) !=
			    0)
				fatalx("out of memory");
		} while (out->avail_out == 0);
		(void)evbuffer_drain(connection->output, part.iov_len);
	}
}

void
connection_flush(struct connection *connection)
{
	if (connection->is_closed || connection->is_doomed)
		return;
	if (connection->compression != NULL)
		pack(connection);
	if (evbuffer_get_length(to_send(connection)) > 0 || connection->is_ending)
		add_event(connection, &connection->writable);
	if (connection_is_full(connection))
		connection->was_full = true;
}

bool
connection_is_full(const struct connection *connection)
{
	return waiting(connection) >= FULL;
}

void
connection_read(struct connection *connection, bool on)
{
	if (connection->is_closed || connection->is_ending || connection->is_reading == on)
		return;
	connection->is_reading = on;
	if (!on)
		(void)event_del(&connection->readable);
	else if (evbuffer_get_length(connection->left) > 0 || connection->in_call)
		event_active(&connection->again, EV_TIMEOUT, 0);
	else
		add_event(connection, &connection->readable);
}

void
connection_put_back(struct connection *connection, const char *from, size_t length)
{
	if (length == 0 || connection->is_closed)
		return;
	if (evbuffer_prepend(connection->left, from, length) != 0)
		fatalx("out of memory");
	(void)event_del(&connection->readable);
	if (connection->is_reading)
		event_active(&connection->again, EV_TIMEOUT, 0);
}

void
connection_set_time(struct connection *connection, unsigned seconds)
{
	connection->seconds = seconds;
	if (event_pending(&connection->readable, EV_READ, NULL))
		add_event(connection, &connection->readable);
}

bool
connection_compress(struct connection *connection)
{
	struct compression *compression = calloc(1, sizeof(*compression));

	if (compression == NULL)
		return false;
	if (inflateInit2(&compression->in, INFLATE_BITS) != Z_OK) {
		free(compression);
		return false;
	}
	if (deflateInit2(&compression->out, DEFLATE_LEVEL, Z_DEFLATED, DEFLATE_BITS, DEFLATE_STATE,
	        Z_DEFAULT_STRATEGY) != Z_OK) {
		(void)inflateEnd(&compression->in);
		free(compression);
		return false;
	}
	/* What was flushed before goes first, as it is. */
	(void)evbuffer_add_buffer(connection->packed, connection->output);
	connection->compression = compression;
	return true;
}

bool
connection_is_compressed(const struct connection *connection)
{
	return connection->compression != NULL;
}

void
connection_end(struct connection *connection, const char *why)
{
	if (connection->is_closed || connection->is_ending)
		return;
	connection_read(connection, false);
	connection->is_ending = true;
	connection->why = why;
	connection_flush(connection);
}

void
connection_log_end(const char *event, uint64_t session, const char *user, const char *why)
{
	struct log_line line;

	log_begin(&line, LOG_LEVEL_INFO, event);
	log_hex64(&line, "session", session);
	log_text(&line, "user", user);
	log_text(&line, "reason", why);
	log_end(&line);
}
