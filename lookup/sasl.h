/*
 * The server's side of a login's dialogue (RFC 4422), without its input and output: PLAIN, LOGIN,
 * SCRAM-SHA-256 and SCRAM-SHA-256-PLUS. Messages go in and come out as bytes; who the user is and
 * whether a password is right is the caller's to find out.
 */
#ifndef LOOKUP_SASL_H
#define LOOKUP_SASL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/ipc_directory.h"
#include "lookup/scram.h"

#define SASL_USER_MAX     255
#define SASL_PASSWORD_MAX 511 /* libcrypt's limit */

enum sasl_wants {
	SASL_CHALLENGE, /* `message` is to be sent, the client's answer given to sasl_respond() */
	SASL_PASSWORD,  /* whether `password` is `user`'s: the dialogue is over */
	SASL_VERIFIER,  /* of `user`, for sasl_use_verifier() */
	SASL_PROOF,     /* sasl_check_proof() is to be called, when it suits */
	SASL_DONE,      /* the client has proved that it knows the password */
	SASL_MALFORMED, /* not a message of the mechanism: the dialogue is over */
};

struct sasl {
	enum sasl_mechanism mechanism;
	char user[SASL_USER_MAX + 1]; /* as the client gave it; "" not yet known */
	char password[SASL_PASSWORD_MAX + 1];
	char message[SCRAM_MESSAGE_MAX + 1];
	size_t message_length;
	unsigned step;
	struct scram *scram; /* owned; NULL for the others */
};

/* `bindings` may have length 0 each. */
void sasl_init(struct sasl *, enum sasl_mechanism, const struct ipc_binding *exporter,
    const struct ipc_binding *end_point);
/* Forgets all that is secret. */
void sasl_free(struct sasl *);
/* The client's next message. */
enum sasl_wants sasl_respond(struct sasl *, const void *data, size_t length)
    __attribute__((warn_unused_result));
/* After a command without an initial response: the first challenge. */
void sasl_begin(struct sasl *);
/* After SASL_VERIFIER: the message is made. One that isn't the user's, for users that there
 * aren't, leads to the same messages and to a proof that is wrong. */
void sasl_use_verifier(struct sasl *, const struct scram_verifier *);
/* After SASL_PROOF: true, and the message is what the client must hear before it is done. */
bool sasl_check_proof(struct sasl *) __attribute__((warn_unused_result));

#endif
