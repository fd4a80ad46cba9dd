/*
 * A connection to another server, by TCP or to a Unix socket, perhaps encrypted: bytes in, bytes out,
 * never blocking. Who speaks on it, and what, is the session's.
 */
#ifndef DELIVER_RELAY_CONNECTION_H
#define DELIVER_RELAY_CONNECTION_H

#include <sys/socket.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/types.h>

#include "common/buf.h"
#include "common/envelope.h"

struct event_base;
struct connection;
struct local_sockets;

enum connection_event {
	CONNECTION_OPENED,  /* can be written to */
	CONNECTION_SECURED, /* the handshake has succeeded */
	CONNECTION_DRAINED, /* all that was to be sent is with the kernel */
	CONNECTION_CLOSED,  /* or could not be opened, or secured; `why` says */
	/* Closed, since the keeper has signed nothing for its certificate. */
	CONNECTION_UNSIGNED,
};

struct connection_user {
	void (*event)(enum connection_event, const char *why, void *arg);
	/* The bytes are good until it returns; all are taken. */
	void (*input)(const uint8_t *data, size_t length, void *arg);
	void *arg;
};

/* Of output that waits to be sent; more is a failure of its buffer. */
#define CONNECTION_OUTPUT_MAX (4 * 1024 * 1024)

/* NULL without memory. */
struct connection *connection_new(struct event_base *, const struct connection_user *);
/* Who connects Unix sockets; without, there are none to be had. */
void connection_use_local(struct connection *, struct local_sockets *);
/* Not to be called from its own callbacks: those call connection_close(). NULL is allowed. */
void connection_free(struct connection *);
/*
 * Begins to connect from `source` (NULL: any address), a socket of its own for each call. OPENED or
 * CLOSED comes later. False when it can't even begin, and *is_ours tells whether that is for want
 * of descriptors or the like here; `why` is then set.
 */
bool connection_open(struct connection *, const struct sockaddr *to, socklen_t,
    const struct sockaddr *source, socklen_t, bool *is_ours, char *why, size_t)
    __attribute__((warn_unused_result));
/* Begins the handshake as a client; takes `ssl` over. */
void connection_secure(struct connection *, SSL *ssl);
/* NULL while it is not encrypted. */
SSL *connection_ssl(const struct connection *);
/* What is appended to this leaves with the next connection_flush(). */
struct buf *connection_output(struct connection *);
/* Writes as much as goes; the rest follows by itself. CLOSED and DRAINED may come from here. */
void connection_flush(struct connection *);
/* Bytes not yet with the kernel. */
size_t connection_waiting(const struct connection *);
/* Bytes that the other side has taken so far, to see progress. */
uint64_t connection_sent(const struct connection *);
/* The address that it comes from, as text; "" while it is closed. */
void connection_own_address(const struct connection *, char text[CLIENT_TEXT_MAX + 1]);
bool connection_is_open(const struct connection *);
/* The other side had closed, or closes it now, when something was to be sent: that is lost. */
bool connection_is_deaf(const struct connection *);
/* Ends it without a word to its user. */
void connection_close(struct connection *);

#endif
