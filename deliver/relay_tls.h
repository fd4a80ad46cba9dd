/* TLS as a client: what the relay's connections are secured with. */
#ifndef DELIVER_RELAY_TLS_H
#define DELIVER_RELAY_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <openssl/types.h>

#include "common/config.h"
#include "deliver/relay_dane.h"
#include "deliver/relay_policy.h"

struct tls_client;

/* Never NULL. */
struct tls_client *tls_client_new(void);
void tls_client_free(struct tls_client *);
/* A file of the certificates of authorities (PEM, at most CA_FILE_MAX bytes), which it owns then, for the
 * config's `ca` of that name; "" the default ones. It is read when a connection needs them; when it can't
 * be used, which is logged then, those that were read before stay. False when there are too many. */
bool tls_client_set_authorities(struct tls_client *, const char *ca, int file)
    __attribute__((warn_unused_result));
/* A certificate (PEM, with its chain behind it) of the config's `pki` of that name; the keeper has its
 * key (common/keeper_provider.h). False when it can't be used; the one from before stays. */
bool tls_client_set_certificate(struct tls_client *, const char *pki, const uint8_t *pem,
    size_t length) __attribute__((warn_unused_result));
/* Forgets those that the config doesn't name. */
void tls_client_keep_certificates(struct tls_client *, const struct config *);
/* Shows the certificate of that `pki` to a server that asks for one. The handshake may then wait for
 * the keeper, and TLS is 1.2 or later. False, with the reason in the log, when there is none. */
bool tls_client_show(struct tls_client *, SSL *, const char *pki)
    __attribute__((warn_unused_result));
/*
 * For a connection to that host. When `verified`, the handshake fails unless the certificate is
 * good by the authorities of `ca` and for the host's name or address. NULL, with the reason in the
 * log, when there are no such authorities or no memory.
 */
SSL *tls_client_ssl(struct tls_client *, const char *host, bool verified, const char *ca);
/* As without `verified`, and SSL_get_verify_result() says afterwards how that would have ended. Without
 * such authorities it says nothing good. */
SSL *tls_client_watched_ssl(struct tls_client *, const char *host, const char *ca);
/* The certificate must have the name as a DNS-ID (RFC 8461 3.3 and 4.2). */
void tls_client_dns_ids_only(SSL *);
/* What the configuration leaves of TLS: these ciphers for TLS 1.2, "" the usual ones, or TLS 1.3 alone.
 * False, with the reason in the log, when that can't be. */
bool tls_client_restrict(SSL *, const char *ciphers, bool tls_1_3_only)
    __attribute__((warn_unused_result));
/* How many of the records OpenSSL can use; `anchors`: of them, those that name an authority. */
size_t tls_client_usable_records(struct tls_client *, const struct dane *, size_t *anchors);
/* The handshake fails unless the certificate is what one of the records says, for the names of
 * `dane` where it names an authority (RFC 7672 3). NULL as above. */
SSL *tls_client_dane_ssl(struct tls_client *, const struct dane *);
/* "TLSv1.3 TLS_AES_256_GCM_SHA384", and behind it how the certificate was verified: "verified" or
 * "dane", or nothing. */
void tls_client_words(const SSL *, enum security, char *words, size_t size);

#endif
