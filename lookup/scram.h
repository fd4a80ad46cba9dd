/*
 * SCRAM-SHA-256 (RFC 5802, RFC 7677), the server's side: the client proves that it knows the
 * password, and hears a proof that the server knows its verifier, without the password on its way.
 */
#ifndef LOOKUP_SCRAM_H
#define LOOKUP_SCRAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/ipc_directory.h"

#define SCRAM_MESSAGE_MAX 640 /* of ours */
#define SCRAM_SALT_MAX    64
#define SCRAM_KEY         32 /* SHA-256's output */

/* What is stored for a user: lets passwords be checked, and none be made out of it. */
struct scram_verifier {
	uint32_t iterations;
	uint8_t salt[SCRAM_SALT_MAX];
	size_t salt_length;
	uint8_t stored_key[SCRAM_KEY];
	uint8_t server_key[SCRAM_KEY];
};

#define SCRAM_VERIFIER_TEXT  256
#define SCRAM_ITERATIONS_MAX 10000000
/* "ITERATIONS,SALT,STORED-KEY,SERVER-KEY", the last three in base64, as Dovecot has it. */
bool scram_verifier_parse(const char *text, struct scram_verifier *)
    __attribute__((warn_unused_result));
/* Whether `password` is the one that the verifier was made of. Takes as long as all its
 * iterations. */
bool scram_verifier_check(const struct scram_verifier *, const char *password);
/* One for a user that isn't there: the same for the same name and secret, and nobody's. Its
 * iterations and its salt's length are those of `like`, which it fills. */
void scram_verifier_invent(struct scram_verifier *like, const char *user, const uint8_t secret[32]);

struct scram;

/* `plus`: the channel must be bound to one of these bindings. Never NULL. */
struct scram *scram_new(
    bool plus, const struct ipc_binding *exporter, const struct ipc_binding *end_point);
void scram_free(struct scram *);
/* client-first-message; false when it is malformed, or bound in another way than it must be. */
bool scram_take_first(
    struct scram *, const char *data, size_t length, char *user, size_t user_size);
/* server-first-message; its length. */
size_t scram_make_first(struct scram *, const struct scram_verifier *, char *message, size_t size);
/* client-final-message; false when it is malformed, or bound to another channel. */
bool scram_take_final(struct scram *, const char *data, size_t length);
/* True when the proof is right; then the message is the server-final-message. */
bool scram_check_proof(struct scram *, char *message, size_t size, size_t *length);
/* For tests: the server's part of the nonce. */
void scram_set_nonce(struct scram *, const char *);

#endif
