/*
 * A client's connection after login: bytes in, bytes out, without blocking; on demand compressed
 * (RFC 4978). Encryption is another process's: what comes here is plain, from the client's socket or
 * from who took TLS off.
 *
 * Output gathers in a buffer and is sent as the client reads. Who writes much asks how much waits
 * (connection_is_full()), stops, and goes on when `writable` is called.
 */
#ifndef MAILBOX_CONNECTION_H
#define MAILBOX_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct evbuffer;
struct event_base;
struct connection;

struct connection_calls {
	/* Bytes have come: takes them and returns how many; after connection_read(false) perhaps not
	 * all. What is left is given again after connection_read(true). */
	size_t (*input)(const char *bytes, size_t length, void *arg);
	/* What was written has been sent but for a little. */
	void (*writable)(void *arg);
	/* The other side is gone, didn't read or write in time, or all was sent after
	 * connection_end(). Nothing is called any more; connection_free() is the caller's. */
	void (*closed)(const char *why, void *arg);
};

/* Takes the socket over, reading at once. NULL without memory. */
struct connection *connection_new(
    struct event_base *, int fd, const struct connection_calls *, void *arg);
/* May be called from any of the calls. */
void connection_free(struct connection *);

/* What is appended here is sent after connection_flush(). */
struct evbuffer *connection_output(struct connection *);
void connection_flush(struct connection *);
/* So much waits that no more should be made before `writable`. */
bool connection_is_full(const struct connection *);

/* Whether to read: turned on, what was left over is given first, when control is back in the event
 * loop. */
void connection_read(struct connection *, bool on);
/* Bytes that were read before are given first. */
void connection_put_back(struct connection *, const char *bytes, size_t length);
/* Seconds without a byte from or to the client; 0 none. */
void connection_set_time(struct connection *, unsigned seconds);
/* Everything from now on is in the deflate format, both ways; what is in the output and not flushed
 * is still sent as it is. False without memory. */
bool connection_compress(struct connection *);
bool connection_is_compressed(const struct connection *);
/* Sends what there is, then calls `closed`. Nothing is read any more. */
void connection_end(struct connection *, const char *why);
/* A session's last line in the log. */
void connection_log_end(const char *event, uint64_t session, const char *user, const char *why);

#endif
