/*
 * A private key and its certificate as files have them, in PEM: whether they can be used, and are of
 * one another. For keeper, and for `smtpd -n`. `why`, where there is one, is words for whoever can put
 * that right.
 */
#ifndef SMTPD_KEEPER_PAIR_H
#define SMTPD_KEEPER_PAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/types.h>

#include "common/ipc_keeper.h"

#define PAIR_RSA_BITS_MIN 2048

/* RSA of 2048 to 8192 bits, Ed25519, or for TLS EC on P-256, P-384 or P-521; NULL, and why. */
EVP_PKEY *pair_read_key(const uint8_t *text, size_t length, enum keeper_kind, const char **why);
/* The first that is there; NULL, and why. */
X509 *pair_read_certificate(const uint8_t *text, size_t length, const char **why);
/* Whether all that look like certificates are; those behind one that isn't would not be found. */
bool pair_are_certificates(const uint8_t *text, size_t length);
bool pair_belongs(EVP_PKEY *, const X509 *, const char **why);
/* "has expired: renew it" or the like; false when its time is as it should be. */
#define PAIR_TIME_WORDS 64
bool pair_time_words(const X509 *, char words[PAIR_TIME_WORDS]);

#endif
