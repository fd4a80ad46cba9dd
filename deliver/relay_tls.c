/*
 * One context without verification, since mail to any host is better encrypted than not, one for
 * each bundle of authorities, and one for DANE, which has its authorities from DNS. All ask for TLS
 * 1.2 or later; without verification also for what is older, and for whatever cipher: the choice
 * there is between that and no encryption at all.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "common/envelope.h"
#include "common/log.h"
#include "deliver/relay_tls.h"

#define BUNDLES_MAX 64

struct bundle {
	char name[ACTION_NAME_MAX + 1];
	SSL_CTX *context;
};

struct tls_client {
	SSL_CTX *unverified;
	SSL_CTX *dane;
	struct bundle bundles[BUNDLES_MAX];
	size_t bundle_count;
};

static SSL_CTX *
new_context(bool verified)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());

	if (context == NULL)
		return NULL;
	if (!verified)
		SSL_CTX_set_security_level(context, 0);
	if (SSL_CTX_set_min_proto_version(context, verified ? TLS1_2_VERSION : TLS1_VERSION) != 1) {
		SSL_CTX_free(context);
		return NULL;
	}
	SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
	SSL_CTX_set_verify(context, verified ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
	return context;
}

struct tls_client *
tls_client_new(void)
{
	struct tls_client *client = calloc(1, sizeof(*client));

	if (client == NULL)
		fatal("tls");
	client->unverified = new_context(false);
	client->dane = new_context(true);
	if (client->unverified == NULL || client->dane == NULL ||
	    SSL_CTX_dane_enable(client->dane) != 1)
		fatalx("no TLS");
	/* RFC 7672 3.1.1 */
	(void)SSL_CTX_dane_set_flags(client->dane, DANE_FLAG_NO_DANE_EE_NAMECHECKS);
	return client;
}

void
tls_client_free(struct tls_client *client)
{
	if (client == NULL)
		return;
	for (size_t i = 0; i < client->bundle_count; i++)
		SSL_CTX_free(client->bundles[i].context);
	SSL_CTX_free(client->unverified);
	SSL_CTX_free(client->dane);
	free(client);
}

/* How many certificates were added. */
static size_t
add_certificates(SSL_CTX *context, const uint8_t *pem, size_t length)
{
	BIO *bio = BIO_new_mem_buf(pem, (int)length);
	size_t count = 0;
	X509 *certificate;

	while (bio != NULL && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
		count += X509_STORE_add_cert(SSL_CTX_get_cert_store(context), certificate) == 1;
		X509_free(certificate);
	}
	BIO_free(bio);
	ERR_clear_error();
	return count;
}

static struct bundle *
find_bundle(struct tls_client *client, const char *ca)
{
	for (size_t i = 0; i < client->bundle_count; i++)
		if (strcmp(client->bundles[i].name, ca) == 0)
			return &client->bundles[i];
	return NULL;
}

bool
tls_client_set_authorities(
    struct tls_client *client, const char *ca, const uint8_t *pem, size_t length)
{
	struct bundle *bundle = find_bundle(client, ca);
	SSL_CTX *context = new_context(true);

	if (context == NULL || add_certificates(context, pem, length) == 0 ||
	    (bundle == NULL && client->bundle_count == BUNDLES_MAX)) {
		SSL_CTX_free(context);
		return false;
	}
	if (bundle == NULL) {
		bundle = &client->bundles[client->bundle_count++];
		strlcpy(bundle->name, ca, sizeof(bundle->name));
	}
	SSL_CTX_free(bundle->context); /* connections that use it hold it */
	bundle->context = context;
	return true;
}

static bool
set_name(SSL *ssl, const char *host, bool verified)
{
	unsigned char address[sizeof(struct in6_addr)];
	bool is_address =
	    inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;

	if (is_address)
		return !verified || X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
	if (SSL_set_tlsext_host_name(ssl, host) != 1)
		return false;
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return !verified || SSL_set1_host(ssl, host) == 1;
}

SSL *
tls_client_ssl(struct tls_client *client, const char *host, bool verified, const char *ca)
{
	struct bundle *bundle = verified ? find_bundle(client, ca) : NULL;
	SSL *ssl;

	if (verified && bundle == NULL) {
		log_error("no certificates of authorities%s%s: %s can't be verified",
		    *ca == '\0' ? "" : " of ca ", ca, host);
		return NULL;
	}
	ssl = SSL_new(verified ? bundle->context : client->unverified);
	if (ssl == NULL || !set_name(ssl, host, verified)) {
		log_error("TLS to %s: %s", host, ERR_error_string(ERR_peek_last_error(), NULL));
		ERR_clear_error();
		SSL_free(ssl);
		return NULL;
	}
	return ssl;
}

/* Those that OpenSSL takes, which are compared with the digests that it knows (RFC 7671 9). */
static size_t
add_records(SSL *ssl, const struct dane *dane, size_t *anchors)
{
	size_t count = 0;

	*anchors = 0;
	for (size_t i = 0; i < dane->count; i++) {
		const struct dane_record *record = &dane->records[i];

		if (SSL_dane_tlsa_add(ssl, record->usage, record->selector, record->matching,
		        record->data, record->length) != 1)
			continue;
		count++;
		*anchors += record->usage == DANE_USAGE_ANCHOR;
	}
	ERR_clear_error();
	return count;
}

/* Wildcards are a whole label (RFC 7672 3.2.3). */
static SSL *
new_dane_ssl(struct tls_client *client, const struct dane *dane, size_t *count, size_t *anchors)
{
	SSL *ssl = SSL_new(client->dane);

	if (ssl == NULL || SSL_dane_enable(ssl, dane->names[0]) != 1) {
		SSL_free(ssl);
		return NULL;
	}
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	for (size_t i = 1; i < dane->name_count; i++)
		if (SSL_add1_host(ssl, dane->names[i]) != 1) {
			SSL_free(ssl);
			return NULL;
		}
	*count = add_records(ssl, dane, anchors);
	return ssl;
}

size_t
tls_client_usable_records(struct tls_client *client, const struct dane *dane, size_t *anchors)
{
	size_t count = 0;
	SSL *ssl;

	*anchors = 0;
	ssl = new_dane_ssl(client, dane, &count, anchors);
	SSL_free(ssl);
	ERR_clear_error();
	return count;
}

SSL *
tls_client_dane_ssl(struct tls_client *client, const struct dane *dane)
{
	size_t count, anchors;
	SSL *ssl = new_dane_ssl(client, dane, &count, &anchors);

	if (ssl == NULL || count == 0) {
		log_error("TLS to %s by its TLSA records: %s", dane->names[0],
		    ERR_error_string(ERR_peek_last_error(), NULL));
		ERR_clear_error();
		SSL_free(ssl);
		return NULL;
	}
	return ssl;
}

void
tls_client_words(const SSL *ssl, enum security security, char *words, size_t size)
{
	snprintf(words, size, "%s %s%s", SSL_get_version(ssl), SSL_get_cipher_name(ssl),
	    security == SECURITY_VERIFIED   ? " verified"
	        : security == SECURITY_DANE ? " dane"
	                                    : "");
}
