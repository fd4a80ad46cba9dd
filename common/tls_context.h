/*
 * What a config's listeners encrypt with: certificates and authorities as the supervisor hands them
 * out, made into a context of OpenSSL's for each certificate of each listener. Private keys are the
 * keeper's: common/keeper_provider.h must have been started.
 */
#ifndef COMMON_TLS_CONTEXT_H
#define COMMON_TLS_CONTEXT_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/config.h"
#include "common/imsg.h"
#include "common/ipc_supervisor.h"

struct tls_contexts;

/* For the config, which outlives it; empty. `tickets` too is the caller's, outlives all contexts made
 * of it, and may change at any time. Never NULL. */
struct tls_contexts *tls_contexts_new(const struct config *, const struct ipc_ticket_keys *tickets);
void tls_contexts_free(struct tls_contexts *);

/* Files of PEM: a certificate with its chain, or authorities. False when there is nothing usable in
 * it, and then what there was stays. */
bool tls_contexts_take_certificate(struct tls_contexts *, uint32_t index, const uint8_t *, size_t);
bool tls_contexts_take_authorities(struct tls_contexts *, uint32_t index, const uint8_t *, size_t);
/* The same for a frame of SUPERVISOR_CHILD_CERTIFICATE or SUPERVISOR_CHILD_AUTHORITIES; a file that is
 * of no use is said in the log. With `build` the contexts are made of it. False when the frame can't be
 * decoded. */
bool tls_contexts_take(struct tls_contexts *, const struct imsg *, bool build);
/* Makes the contexts of what has come; sessions keep those they have. */
void tls_contexts_build(struct tls_contexts *);

/* The default of that listener, or NULL: it has no certificate. Its SNI callback finds the others. */
SSL_CTX *tls_contexts_get(const struct tls_contexts *, const struct listener_config *);

#endif
