/*
 * One context without verification, since mail to any host is better encrypted than not, one for
 * each bundle of authorities, and one for DANE, which has its authorities from DNS. All ask for TLS
 * 1.2 or later; without verification also for what is older, and for whatever cipher: the choice
 * there is between that and no encryption at all.
 *
 * Each is made when it is needed first: a system's authorities alone take a MiB.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/string.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "common/envelope.h"
#include "common/ipc_supervisor.h"
#include "common/keeper_provider.h"
#include "common/log.h"
#include "common/memory_file.h"
#include "deliver/relay_tls.h"

#define BUNDLES_MAX      64
#define CERTIFICATES_MAX 64
#define CHAIN_MAX        16
/* What the keeper signs with. */
#define SIGNATURES                                                                      \
	"ECDSA+SHA256:ECDSA+SHA384:ECDSA+SHA512:ed25519:RSA-PSS+SHA256:RSA-PSS+SHA384:" \
	"RSA-PSS+SHA512:RSA+SHA256:RSA+SHA384:RSA+SHA512"

struct bundle {
	char name[ACTION_NAME_MAX + 1];
	int file;         /* of what is to be read; -1: it was */
	SSL_CTX *context; /* of what was read; NULL: none yet */
};

/* What is shown to servers. */
struct certificate {
	char name[KEY_NAME_MAX + 1];
	X509 *leaf;
	STACK_OF(X509) * chain;
	EVP_PKEY *key; /* the keeper's */
};

struct tls_client {
	SSL_CTX *unverified; /* NULL: not needed yet */
	SSL_CTX *dane;       /* the same */
	struct bundle bundles[BUNDLES_MAX];
	size_t bundle_count;
	struct certificate certificates[CERTIFICATES_MAX];
	size_t certificate_count;
};

static SSL_CTX *
new_context(bool verified)
{
	SSL_CTX *context;

	keeper_provider_need();
	context = SSL_CTX_new_ex(NULL, KEEPER_PROPERTIES, TLS_client_method());
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
	return client;
}

static SSL_CTX *
unverified_context(struct tls_client *client)
{
	if (client->unverified == NULL && (client->unverified = new_context(false)) == NULL)
		fatalx("no TLS");
	return client->unverified;
}

static SSL_CTX *
dane_context(struct tls_client *client)
{
	if (client->dane != NULL)
		return client->dane;
	client->dane = new_context(true);
	if (client->dane == NULL || SSL_CTX_dane_enable(client->dane) != 1)
		fatalx("no TLS");
	/* RFC 7672 3.1.1 */
	(void)SSL_CTX_dane_set_flags(client->dane, DANE_FLAG_NO_DANE_EE_NAMECHECKS);
	return client->dane;
}

static void
certificate_clear(struct certificate *certificate)
{
	X509_free(certificate->leaf);
	sk_X509_pop_free(certificate->chain, X509_free);
	EVP_PKEY_free(certificate->key);
	*certificate = (struct certificate){ .leaf = NULL };
}

void
tls_client_free(struct tls_client *client)
{
	if (client == NULL)
		return;
	for (size_t i = 0; i < client->certificate_count; i++)
		certificate_clear(&client->certificates[i]);
	for (size_t i = 0; i < client->bundle_count; i++) {
		if (client->bundles[i].file != -1)
			close(client->bundles[i].file);
		SSL_CTX_free(client->bundles[i].context);
	}
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

static void
read_bundle(struct bundle *bundle)
{
	SSL_CTX *context = new_context(true);
	size_t length = 0;
	uint8_t *pem = memory_file_read(bundle->file, CA_FILE_MAX, &length);

	close(bundle->file);
	bundle->file = -1;
	if (context != NULL && pem != NULL && add_certificates(context, pem, length) > 0) {
		SSL_CTX_free(bundle->context); /* connections that use it hold it */
		bundle->context = context;
	} else {
		log_error("the certificates of authorities%s%s can't be used",
		    *bundle->name == '\0' ? "" : " of ca ", bundle->name);
		SSL_CTX_free(context);
	}
	free(pem);
}

/* That verify by those authorities; NULL: there are none. */
static SSL_CTX *
bundle_context(struct tls_client *client, const char *ca)
{
	struct bundle *bundle = find_bundle(client, ca);

	if (bundle == NULL)
		return NULL;
	if (bundle->file != -1)
		read_bundle(bundle);
	return bundle->context;
}

bool
tls_client_set_authorities(struct tls_client *client, const char *ca, int file)
{
	struct bundle *bundle = find_bundle(client, ca);

	if (bundle == NULL && client->bundle_count == BUNDLES_MAX) {
		close(file);
		return false;
	}
	if (bundle == NULL) {
		bundle = &client->bundles[client->bundle_count++];
		*bundle = (struct bundle){ .file = -1 };
		strlcpy(bundle->name, ca, sizeof(bundle->name));
	}
	if (bundle->file != -1)
		close(bundle->file);
	bundle->file = file;
	return true;
}

static struct certificate *
find_certificate(struct tls_client *client, const char *pki)
{
	for (size_t i = 0; i < client->certificate_count; i++)
		if (strcmp(client->certificates[i].name, pki) == 0)
			return &client->certificates[i];
	return NULL;
}

/* False when there is none, or no key can belong to it. */
static bool
read_certificate(struct certificate *certificate, const uint8_t *pem, size_t length)
{
	BIO *bio;
	X509 *one;

	keeper_provider_need();
	bio = BIO_new_mem_buf(pem, (int)length);
	certificate->chain = sk_X509_new_null();
	while (bio != NULL && certificate->chain != NULL &&
	    sk_X509_num(certificate->chain) < CHAIN_MAX &&
	    (one = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL) {
		if (certificate->leaf == NULL) {
			certificate->leaf = one;
		} else if (sk_X509_push(certificate->chain, one) == 0) {
			X509_free(one);
			break;
		}
	}
	BIO_free(bio);
	ERR_clear_error(); /* that no more of them follow is one */
	if (certificate->leaf != NULL && X509_get0_pubkey(certificate->leaf) != NULL)
		certificate->key = keeper_provider_key(X509_get0_pubkey(certificate->leaf));
	return certificate->key != NULL;
}

bool
tls_client_set_certificate(
    struct tls_client *client, const char *pki, const uint8_t *pem, size_t length)
{
	struct certificate *place = find_certificate(client, pki);
	struct certificate certificate = { .leaf = NULL };

	if (!read_certificate(&certificate, pem, length) ||
	    strlcpy(certificate.name, pki, sizeof(certificate.name)) >= sizeof(certificate.name) ||
	    (place == NULL && client->certificate_count == CERTIFICATES_MAX)) {
		certificate_clear(&certificate);
		return false;
	}
	if (place == NULL)
		place = &client->certificates[client->certificate_count++];
	else
		certificate_clear(place); /* connections that use it hold it */
	*place = certificate;
	return true;
}

void
tls_client_keep_certificates(struct tls_client *client, const struct config *config)
{
	size_t i = 0;

	while (i < client->certificate_count) {
		if (config_find_pki(config, client->certificates[i].name) != NULL) {
			i++;
			continue;
		}
		certificate_clear(&client->certificates[i]);
		client->certificates[i] = client->certificates[--client->certificate_count];
	}
}

bool
tls_client_show(struct tls_client *client, SSL *ssl, const char *pki)
{
	const struct certificate *certificate = find_certificate(client, pki);

	if (certificate == NULL) {
		log_error("no certificate of pki %s can be used", pki);
		return false;
	}
	if (SSL_set_min_proto_version(ssl, TLS1_2_VERSION) != 1 ||
	    SSL_set1_client_sigalgs_list(ssl, SIGNATURES) != 1 ||
	    SSL_use_cert_and_key(ssl, certificate->leaf, certificate->key, certificate->chain, 1) !=
	        1) {
		log_error("the certificate of pki %s: %s", pki,
		    ERR_error_string(ERR_peek_last_error(), NULL));
		ERR_clear_error();
		return false;
	}
	SSL_set_mode(ssl, SSL_MODE_ASYNC);
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
	SSL_CTX *context = verified ? bundle_context(client, ca) : unverified_context(client);
	SSL *ssl;

	if (context == NULL) {
		log_error("no certificates of authorities%s%s: %s can't be verified",
		    *ca == '\0' ? "" : " of ca ", ca, host);
		return NULL;
	}
	ssl = SSL_new(context);
	if (ssl == NULL || !set_name(ssl, host, verified)) {
		log_error("TLS to %s: %s", host, ERR_error_string(ERR_peek_last_error(), NULL));
		ERR_clear_error();
		SSL_free(ssl);
		return NULL;
	}
	return ssl;
}

bool
tls_client_restrict(SSL *ssl, const char *ciphers, bool tls_1_3_only)
{
	if ((*ciphers == '\0' || SSL_set_cipher_list(ssl, ciphers) == 1) &&
	    (!tls_1_3_only || SSL_set_min_proto_version(ssl, TLS1_3_VERSION) == 1))
		return true;
	log_error("the ciphers \"%s\" of an action can't be used", ciphers);
	ERR_clear_error();
	return false;
}

void
tls_client_dns_ids_only(SSL *ssl)
{
	SSL_set_hostflags(
	    ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
}

SSL *
tls_client_watched_ssl(struct tls_client *client, const char *host, const char *ca)
{
	SSL_CTX *context = bundle_context(client, ca);
	SSL *ssl = tls_client_ssl(client, host, false, ca);

	if (ssl == NULL)
		return NULL;
	/* With SSL_VERIFY_NONE it is verified all the same, and the result kept. */
	if ((context != NULL &&
	        SSL_set1_verify_cert_store(ssl, SSL_CTX_get_cert_store(context)) != 1) ||
	    SSL_set1_host(ssl, host) != 1) {
		log_error("TLS to %s: %s", host, ERR_error_string(ERR_peek_last_error(), NULL));
		ERR_clear_error();
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
	SSL *ssl = SSL_new(dane_context(client));

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
