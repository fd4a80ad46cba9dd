/*
 * One TLS connection, the server's side, over a socket that never blocks.
 */
#ifndef COMMON_TLS_H
#define COMMON_TLS_H

#include <sys/types.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tls;

/* `ready` is called when a handshake that waited for the keeper can go on. The socket stays the
 * caller's. NULL when memory is out. */
struct tls *tls_new(SSL_CTX *, int fd, void (*ready)(void *arg), void *arg);
/* Says farewell (close_notify) if the handshake is over and nothing went wrong. NULL is allowed. */
void tls_free(struct tls *);

enum tls_progress {
	TLS_DONE,
	TLS_WANTS_INPUT,
	TLS_WANTS_OUTPUT,
	TLS_WANTS_KEEPER, /* `ready` will be called */
	TLS_WANTS_TIME,   /* too many wait for the keeper: to be tried again a little later */
	TLS_FAILED,
};
/* The next step of the handshake. */
enum tls_progress tls_handshake(struct tls *);
bool tls_is_open(const struct tls *);
/* Why it failed, for the log; never NULL. */
const char *tls_failure(const struct tls *);

/* Like recv() and send(): 0 at the end of what the peer sends, -1 with errno EAGAIN when the socket
 * has or takes no more now, -1 with another one when the connection is broken. A write may take
 * only a part; what is left comes again with the next call, and perhaps more behind it. */
ssize_t tls_read(struct tls *, void *, size_t);
ssize_t tls_write(struct tls *, const void *, size_t);
/* Nothing more will be written: tells the peer, as far as the socket takes it. */
void tls_end_output(struct tls *);
/* Whether tls_read() has more to say, an end perhaps, without the socket being readable. */
bool tls_may_have_more(const struct tls *);
/* Whether the last tls_read() failed for what TLS has to send itself first. */
bool tls_wants_output(const struct tls *);
/* Whether the peer has sent anything that isn't read yet. */
bool tls_has_input(const struct tls *);

/* What was agreed on. */
const char *tls_version(const struct tls *); /* "TLSv1.3" */
const char *tls_cipher(const struct tls *);  /* "TLS_AES_256_GCM_SHA384" */
const char *tls_sni(const struct tls *);     /* the name that the client asked for, or NULL */
bool tls_is_resumed(const struct tls *);
/* The subject of the client's certificate, which was verified, as RFC 2253 writes it. False when it
 * has none. */
bool tls_subject(const struct tls *, char *text, size_t size);

/* The binding has room for CHANNEL_BINDING_MAX bytes (common/channel_binding.h). */
bool tls_binding_exporter(const struct tls *, uint8_t *, size_t *length);    /* RFC 9266 */
bool tls_binding_certificate(const struct tls *, uint8_t *, size_t *length); /* RFC 5929 4 */

#endif
