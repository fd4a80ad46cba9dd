/*
 * SCRAM-SHA-256 (RFC 5802, RFC 7677), the client's side: proves to a server that we know the
 * password without sending it, and that the server knows it too. What the server says is read as a
 * stranger's; all of it is bounded.
 */
#ifndef DELIVER_RELAY_SCRAM_H
#define DELIVER_RELAY_SCRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/channel_binding.h"

#define SCRAM_KEY      32  /* SHA-256's output */
#define SCRAM_SALT_MAX 128 /* bytes */
/* RFC 7677 4 asks for at least 4096. More than the most would hold up other connections. */
#define SCRAM_ITERATIONS_LEAST 4096
#define SCRAM_ITERATIONS_MOST  1000000
#define SCRAM_TEXT             768  /* of a message of the server's */
#define SCRAM_MESSAGE_MAX      2048 /* of ours */

/* What a password makes, kept from one login to the next: a server has the same salt and count of
 * iterations each time (RFC 5802 5.1). All zero: nothing yet. */
struct scram_keys {
	uint32_t iterations;
	uint8_t salt[SCRAM_SALT_MAX];
	size_t salt_length;
	uint8_t client[SCRAM_KEY];
	uint8_t server[SCRAM_KEY];
};

struct scram;

/* `type`: of the binding ("tls-exporter"), NULL: none. `plus`: the server takes it; otherwise it is
 * told that we could have bound (RFC 5802 6). Strings are copied but for the password, which like
 * `keys` outlives this. NULL without memory, or when the user's name is too long. */
struct scram *scram_new(const char *user, const char *password, const char *type,
    const uint8_t *binding, size_t length, bool plus, struct scram_keys *keys);
/* Forgets what is secret. NULL is allowed. */
void scram_free(struct scram *);
/* For tests: instead of a random one. */
void scram_set_nonce(struct scram *, const char *);

/* client-first-message; its length. */
size_t scram_make_first(struct scram *, char message[SCRAM_MESSAGE_MAX]);
/* server-first-message. False, and why, when it is none, or asks for what isn't given. */
bool scram_take_first(struct scram *, const char *data, size_t length, const char **why)
    __attribute__((warn_unused_result));
/* client-final-message, after that; its length, 0 when it can't be computed. */
size_t scram_make_final(struct scram *, char message[SCRAM_MESSAGE_MAX]);
/* server-final-message. False, and why, unless it proves that the server knows the password. */
bool scram_take_final(struct scram *, const char *data, size_t length, const char **why)
    __attribute__((warn_unused_result));

#endif
