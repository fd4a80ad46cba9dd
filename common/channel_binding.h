/*
 * What binds a login to the TLS connection that it comes by (RFC 5056): both ends compute the same
 * bytes, and somebody between two connections can't. For listeners and for the relay.
 */
#ifndef COMMON_CHANNEL_BINDING_H
#define COMMON_CHANNEL_BINDING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/types.h>

#define CHANNEL_BINDING_MAX 64

/* "tls-exporter" (RFC 9266), of a connection whose handshake is over. False when it has none. */
bool channel_binding_exporter(SSL *, uint8_t binding[CHANNEL_BINDING_MAX], size_t *length)
    __attribute__((warn_unused_result));
/* "tls-server-end-point" (RFC 5929 4): of the server's certificate. */
bool channel_binding_end_point(X509 *, uint8_t binding[CHANNEL_BINDING_MAX], size_t *length)
    __attribute__((warn_unused_result));

#endif
