/*
 * An OpenSSL provider, "postern", whose private keys are elsewhere: keys that it makes hold the
 * public half, and signing with one asks the keeper (keeper_client.h).
 *
 * Nothing blocks. Whoever signs does so within an ASYNC job (SSL_MODE_ASYNC), which pauses until the
 * keeper has answered, and says before each call into OpenSSL who is to be told then:
 *
 *	keeper_provider_use(&wait);
 *	result = SSL_do_handshake(ssl);
 *	keeper_provider_use(NULL);
 *
 * When that comes back with SSL_ERROR_WANT_ASYNC, `ready` is called later, once, and the same call
 * is made again. With SSL_ERROR_WANT_ASYNC_JOB too many wait already: it is made again a little later.
 * A job that is paused uses its SSL: before that one is freed the wait is cancelled
 * and the call made a last time, which ends the job by failing.
 */
#ifndef COMMON_KEEPER_PROVIDER_H
#define COMMON_KEEPER_PROVIDER_H

#include <openssl/evp.h>
#include <stdbool.h>

struct keeper_client;
struct keeper_operation;

struct keeper_wait {
	void (*ready)(void *arg);
	void *arg;
	struct keeper_operation *operation; /* the provider's: NULL, nothing is waited for */
	char *why; /* a signature failed: words for the log, or NULL; whose wait it is frees them */
};

/* The property query for SSL_CTX_new_ex() and its like: all but keys of the keeper's are OpenSSL's
 * own. */
#define KEEPER_PROPERTIES "?provider=default"

/* Once in a process, before anything else of OpenSSL: sees to its settings too, which no file of
 * the system changes. Dies (fatal) when it can't. */
void keeper_provider_start(struct keeper_client *);
/* Before anything of TLS: loads the providers, which a process that never needs them is
 * spared. */
void keeper_provider_need(void);
/* No key of it may be left. */
void keeper_provider_stop(void);

/* A key that signs by the keeper with what belongs to `public`; NULL when it can't be made. RSA, EC
 * and Ed25519. */
EVP_PKEY *keeper_provider_key(EVP_PKEY *public);

void keeper_provider_use(struct keeper_wait *);
/* The signature fails when its job goes on. `ready` isn't called. */
void keeper_provider_cancel(struct keeper_wait *);

#endif
