/*
 * The private keys and what is done with them: taken in, checked against their certificates,
 * found by their ids, used for signatures, and forgotten.
 */
#ifndef SMTPD_KEEPER_KEYS_H
#define SMTPD_KEEPER_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/ipc_keeper.h"
#include "common/ipc_supervisor.h"

struct keys;

/* Never NULL. */
struct keys *keys_new(void);
void keys_free(struct keys *);

/*
 * Takes the key in `text`, in PEM: RSA of 2048 to 8192 bits, EC on P-256, P-384 or P-521, or
 * Ed25519. For KEEPER_TLS its certificate stands behind it, and must be of that key; for KEEPER_DKIM
 * EC is none. Fills in `id`, or says why not.
 */
bool keys_take(struct keys *, const struct ipc_key *, const uint8_t *text,
    uint8_t id[KEEPER_ID_SIZE], char *why, size_t size);
/* Forgets the keys of the kind whose names `is_named` doesn't know, at the second such call: until
 * then somebody may still ask for what was current a moment ago. */
void keys_retire(
    struct keys *, enum keeper_kind, bool (*is_named)(const char *name, void *arg), void *arg);
size_t keys_count(const struct keys *);
/* Forgets the kind's keys of that name at once. */
void keys_forget(struct keys *, const struct ipc_forget *);
/* Fills in what is told of a key for DKIM besides its id, which is there. */
bool keys_describe(const struct keys *, struct ipc_key_taken *);
/* A new private key in PEM (PKCS #8), in memory that the caller wipes and frees with
 * OPENSSL_clear_free(); NULL when it can't be made. */
char *keys_generate(enum dkim_algorithm, size_t *length);

/* Signs into `signature`, of KEEPER_SIGNATURE_MAX bytes. NULL, or words why not. */
const char *keys_sign(
    struct keys *, const struct ipc_sign *, uint8_t *signature, size_t *signature_length);

#endif
