/*
 * What the tests of TLS share: certificates made on the spot, and a keeper within the test that
 * signs by the keys of the real one.
 */
#ifndef TEST_TLS_FIXTURE_H
#define TEST_TLS_FIXTURE_H

#include <sys/socket.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/string.h>
#include <cmocka.h>
#include <event2/event.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#include "common/imsg.h"
#include "common/keeper_client.h"
#include "common/keeper_provider.h"
#include "smtpd/keeper_keys.h"

/* A certificate and its key, in PEM. */
struct pair {
	EVP_PKEY *private;
	X509 *certificate;
	char *certificate_text;
	char *key_text;
};

static inline EVP_PKEY *
make_private(const char *kind)
{
	if (strcmp(kind, "rsa") == 0)
		return EVP_PKEY_Q_keygen(NULL, "provider=default", "RSA", (size_t)2048);
	if (strcmp(kind, "ec") == 0)
		return EVP_PKEY_Q_keygen(NULL, "provider=default", "EC", "P-256");
	return EVP_PKEY_Q_keygen(NULL, "provider=default", "ED25519");
}

static inline void
add_extension(X509 *certificate, int nid, const char *value)
{
	X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

	assert_non_null(extension);
	assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
	X509_EXTENSION_free(extension);
}

static inline char *
text_of(BIO *bio)
{
	char *data, *text;
	long length = BIO_get_mem_data(bio, &data);

	text = strndup(data, (size_t)length);
	BIO_free(bio);
	return text;
}

/* `names`: "DNS:mail.example.org,DNS:…"; `issuer` NULL: signed by itself, an authority. */
static inline struct pair
make_pair(const char *kind, const char *names, const struct pair *issuer)
{
	struct pair pair = { .private = make_private(kind), .certificate = X509_new() };
	EVP_PKEY *signer = issuer == NULL ? pair.private : issuer->private;
	X509 *x509 = pair.certificate;
	static long serial = 1000;
	char common_name[64];
	X509_NAME *name;
	BIO *bio;

	assert_non_null(pair.private);
	X509_set_version(x509, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x509), ++serial);
	X509_gmtime_adj(X509_getm_notBefore(x509), -60);
	X509_gmtime_adj(X509_getm_notAfter(x509), 3600);
	X509_set_pubkey(x509, pair.private);
	snprintf(common_name, sizeof(common_name), "%.*s", (int)strcspn(names + 4, ","), names + 4);
	name = X509_get_subject_name(x509);
	X509_NAME_add_entry_by_txt(
	    name, "CN", MBSTRING_ASC, (const unsigned char *)common_name, -1, -1, 0);
	X509_set_issuer_name(
	    x509, issuer == NULL ? name : X509_get_subject_name(issuer->certificate));
	if (issuer == NULL)
		add_extension(x509, NID_basic_constraints, "critical,CA:TRUE");
	add_extension(x509, NID_subject_alt_name, names);
	assert_true(
	    X509_sign(x509, signer, EVP_PKEY_is_a(signer, "ED25519") ? NULL : EVP_sha256()) > 0);
	bio = BIO_new(BIO_s_mem());
	PEM_write_bio_X509(bio, x509);
	pair.certificate_text = text_of(bio);
	bio = BIO_new(BIO_s_mem());
	PEM_write_bio_PrivateKey(bio, pair.private, NULL, NULL, 0, NULL, NULL);
	pair.key_text = text_of(bio);
	return pair;
}

static inline void
free_pair(struct pair *pair)
{
	EVP_PKEY_free(pair->private);
	X509_free(pair->certificate);
	free(pair->certificate_text);
	free(pair->key_text);
}

/* The keeper: keys, and the end of a channel. */
static struct {
	struct keys *keys;
	struct channel *channel;
	bool silent;
	unsigned asked;
} test_keeper;

static inline bool
give_key(const char *name, const struct pair *pair, char *why, size_t size)
{
	struct ipc_key request = { .kind = KEEPER_TLS };
	uint8_t id[KEEPER_ID_SIZE];
	char *text;
	bool taken;

	strlcpy(request.name, name, sizeof(request.name));
	request.key_length = (uint32_t)strlen(pair->key_text);
	request.certificate_length = (uint32_t)strlen(pair->certificate_text);
	assert_true(asprintf(&text, "%s%s", pair->key_text, pair->certificate_text) > 0);
	taken = keys_take(test_keeper.keys, &request, (const uint8_t *)text, id, why, size);
	free(text);
	return taken;
}

static inline void
on_keeper_asked(struct channel *channel, struct imsg *imsg, void *arg)
{
	uint8_t signature[KEEPER_SIGNATURE_MAX];
	struct ipc_sign_refused refused;
	struct buf_reader reader;
	struct ipc_sign sign;
	struct buf payload;
	const char *why;
	size_t length;

	(void)arg;
	test_keeper.asked++;
	buf_reader_init(&reader, imsg->payload, imsg->length);
	assert_int_equal(imsg->type, KEEPER_SIGN);
	assert_true(ipc_sign_decode(&reader, &sign));
	if (test_keeper.silent)
		return;
	why = keys_sign(test_keeper.keys, &sign, signature, &length);
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	if (why == NULL)
		buf_add(&payload, signature, length);
	else {
		strlcpy(refused.words, why, sizeof(refused.words));
		ipc_sign_refused_encode(&payload, &refused);
	}
	channel_send(
	    channel, why == NULL ? KEEPER_SIGNED : KEEPER_REFUSED, imsg->id, 0, -1, &payload);
	buf_free(&payload);
}

static inline void
on_keeper_closed(struct channel *channel, const char *why, void *arg)
{
	(void)why;
	(void)arg;
	channel_free(channel);
	if (test_keeper.channel == channel)
		test_keeper.channel = NULL;
}

/* A keeper, or its next life, behind the client. */
static inline void
connect_keeper(struct event_base *base, struct keeper_client *client)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	channel_free(test_keeper.channel);
	test_keeper.channel =
	    channel_new(base, "listener", ends[0], on_keeper_asked, on_keeper_closed, NULL);
	keeper_client_set_channel(client, ends[1]);
}

#endif
