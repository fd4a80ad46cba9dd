/*
 * Logging in to a smarthost over TLS (RFC 4954): SCRAM-SHA-256-PLUS and SCRAM-SHA-256 (RFC 7677),
 * PLAIN (RFC 4616) and LOGIN.
 */
#ifndef DELIVER_RELAY_AUTH_H
#define DELIVER_RELAY_AUTH_H

#include <stdbool.h>

#include <openssl/types.h>

#include "common/buf.h"
#include "deliver/relay_extensions.h"
#include "deliver/relay_scram.h"

struct auth;

/* The best mechanism of those offered; AUTH_MECHANISM_COUNT: none is known. */
enum auth_mechanism auth_choose(const struct extensions *);
/* `ssl`: the connection's, for its binding. The strings and `keys` are borrowed. NULL without memory,
 * or when the credentials don't fit. */
struct auth *auth_new(
    enum auth_mechanism, const char *user, const char *password, SSL *ssl, struct scram_keys *keys);
/* NULL is allowed. */
void auth_free(struct auth *);
/* Appends the command. */
void auth_begin(struct auth *, struct buf *);
/* Appends what answers a challenge, its text as it came behind "334 ". False, and why, when nothing
 * can: the dialogue is over. */
bool auth_answer(struct auth *, const char *challenge, struct buf *, const char **why)
    __attribute__((warn_unused_result));
/* The server may say that we are logged in: it has proved what the mechanism has it prove. */
bool auth_is_complete(const struct auth *);

#endif
