/*
 * Keys, in a list: a server has few. For each way to sign that a key has been asked for there is a
 * context, made once and used again and again, since making one costs more than some signatures.
 *
 * A key that another has replaced stays for one more change: handshakes that began with its
 * certificate are to end well.
 */
#include <sys/queue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/sha.h>
#include <openssl/x509.h>

#include "common/log.h"
#include "smtpd/keeper_keys.h"
#include "smtpd/keeper_pair.h"

#define AGE_MAX 2 /* changes that a key outlives */

struct key {
	LIST_ENTRY(key) link;
	enum keeper_kind kind;
	char *name;
	unsigned age; /* 0: the current one of its name */
	uint8_t id[KEEPER_ID_SIZE];
	EVP_PKEY *private;
	EVP_PKEY_CTX *contexts[KEEPER_ALGORITHM_COUNT]; /* NULL until asked for */
	EVP_MD_CTX *whole;                              /* Ed25519 signs messages */
};

struct keys {
	LIST_HEAD(key_list, key) list;
	size_t count;
};

struct keys *
keys_new(void)
{
	struct keys *keys = calloc(1, sizeof(*keys));

	if (keys == NULL)
		fatal("keys");
	LIST_INIT(&keys->list);
	return keys;
}

static void
key_free(struct keys *keys, struct key *key)
{
	size_t i;

	LIST_REMOVE(key, link);
	keys->count--;
	for (i = 0; i < KEEPER_ALGORITHM_COUNT; i++)
		EVP_PKEY_CTX_free(key->contexts[i]);
	EVP_MD_CTX_free(key->whole);
	EVP_PKEY_free(key->private);
	free(key->name);
	free(key);
}

void
keys_free(struct keys *keys)
{
	struct key *key;

	while ((key = LIST_FIRST(&keys->list)) != NULL)
		key_free(keys, key);
	free(keys);
}

size_t
keys_count(const struct keys *keys)
{
	return keys->count;
}

/* Taking in */

static bool
belongs_to(
    EVP_PKEY *private, const char *name, const uint8_t *text, size_t length, const char **why)
{
	X509 *certificate = pair_read_certificate(text, length, why);
	bool belongs = certificate != NULL && pair_belongs(private, certificate, why);
	char words[PAIR_TIME_WORDS];

	if (belongs && pair_time_words(certificate, words))
		log_warning("the certificate of pki %s %s", name, words);
	X509_free(certificate);
	return belongs;
}

static bool
make_id(EVP_PKEY *private, uint8_t id[KEEPER_ID_SIZE])
{
	unsigned char *der = NULL;
	int length = i2d_PUBKEY(private, &der);

	if (length <= 0)
		return false;
	SHA256(der, (size_t)length, id);
	OPENSSL_free(der);
	return true;
}

static void
grow_older(struct keys *keys, struct key *key)
{
	if (++key->age >= AGE_MAX)
		key_free(keys, key);
}

/* All others of its name are one change older. */
static void
make_current(struct keys *keys, struct key *current)
{
	struct key *key, *next;

	for (key = LIST_FIRST(&keys->list); key != NULL; key = next) {
		next = LIST_NEXT(key, link);
		if (key != current && key->kind == current->kind &&
		    strcmp(key->name, current->name) == 0)
			grow_older(keys, key);
	}
	current->age = 0;
}

static struct key *
find(struct keys *keys, const struct ipc_key *request, const uint8_t id[KEEPER_ID_SIZE])
{
	struct key *key;

	LIST_FOREACH(key, &keys->list, link)
	{
		if (key->kind == request->kind && strcmp(key->name, request->name) == 0 &&
		    memcmp(key->id, id, sizeof(key->id)) == 0)
			return key;
	}
	return NULL;
}

bool
keys_take(struct keys *keys, const struct ipc_key *request, const uint8_t *text,
    uint8_t id[KEEPER_ID_SIZE], char *why, size_t size)
{
	const char *words = "";
	EVP_PKEY *private = pair_read_key(text, request->key_length, request->kind, &words);
	struct key *key = NULL;

	if (private == NULL ||
	    (request->kind == KEEPER_TLS &&
	        !belongs_to(private, request->name, text + request->key_length,
	            request->certificate_length, &words)))
		goto fail;
	words = "no memory for the key";
	if (!make_id(private, id))
		goto fail;
	key = find(keys, request, id);
	if (key != NULL) {
		/* A certificate was renewed, or a change is taken back. */
		if (key->age > 0)
			make_current(keys, key);
		EVP_PKEY_free(private);
		return true;
	}
	key = calloc(1, sizeof(*key));
	if (key == NULL || (key->name = strdup(request->name)) == NULL)
		goto fail;
	key->kind = request->kind;
	memcpy(key->id, id, sizeof(key->id));
	key->private = private;
	make_current(keys, key);
	LIST_INSERT_HEAD(&keys->list, key, link);
	keys->count++;
	return true;
fail:
	strlcpy(why, words, size);
	EVP_PKEY_free(private);
	free(key);
	return false;
}

void
keys_retire(
    struct keys *keys, enum keeper_kind kind, bool (*is_named)(const char *, void *), void *arg)
{
	struct key *key, *next;

	for (key = LIST_FIRST(&keys->list); key != NULL; key = next) {
		next = LIST_NEXT(key, link);
		if (key->kind == kind && !is_named(key->name, arg))
			grow_older(keys, key);
	}
}

void
keys_forget(struct keys *keys, const struct ipc_forget *forget)
{
	struct key *key, *next;

	for (key = LIST_FIRST(&keys->list); key != NULL; key = next) {
		next = LIST_NEXT(key, link);
		if (key->kind == forget->kind && strcmp(key->name, forget->name) == 0)
			key_free(keys, key);
	}
}

static struct key *
find_by_id(const struct keys *keys, enum keeper_kind kind, const uint8_t id[KEEPER_ID_SIZE])
{
	struct key *key;

	LIST_FOREACH(key, &keys->list, link)
	{
		if (key->kind == kind && memcmp(key->id, id, sizeof(key->id)) == 0)
			return key;
	}
	return NULL;
}

/* What a record in DNS shows: of RSA a SubjectPublicKeyInfo, which RFC 6376 3.6.1 names otherwise
 * and its appendix C makes; of Ed25519 the bare key (RFC 8463 4). */
bool
keys_describe(const struct keys *keys, struct ipc_key_taken *taken)
{
	const struct key *key = find_by_id(keys, KEEPER_DKIM, taken->key);
	size_t length = sizeof(taken->public);
	unsigned char *der = NULL;
	int der_length;

	if (key == NULL)
		return false;
	taken->signature_length = (uint16_t)EVP_PKEY_get_size(key->private);
	if (EVP_PKEY_is_a(key->private, "ED25519")) {
		taken->algorithm = DKIM_ED25519_SHA256;
		if (EVP_PKEY_get_raw_public_key(key->private, taken->public, &length) != 1)
			return false;
		taken->public_length = (uint16_t)length;
		return true;
	}
	taken->algorithm = DKIM_RSA_SHA256;
	der_length = i2d_PUBKEY(key->private, &der);
	if (der_length > 0 && (size_t)der_length <= sizeof(taken->public)) {
		memcpy(taken->public, der, (size_t)der_length);
		taken->public_length = (uint16_t)der_length;
	}
	OPENSSL_free(der);
	return taken->public_length > 0;
}

char *
keys_generate(enum dkim_algorithm algorithm, size_t *length)
{
	EVP_PKEY *private = algorithm == DKIM_ED25519_SHA256
	    ? EVP_PKEY_Q_keygen(NULL, NULL, "ED25519")
	    : EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)PAIR_RSA_BITS_MIN);
	BIO *bio = private == NULL ? NULL : BIO_new(BIO_s_secmem());
	char *text, *copy = NULL;
	long size;

	if (bio != NULL && PEM_write_bio_PrivateKey(bio, private, NULL, NULL, 0, NULL, NULL) == 1 &&
	    (size = BIO_get_mem_data(bio, &text)) > 0) {
		*length = (size_t)size;
		copy = OPENSSL_memdup(text, *length);
	}
	BIO_free(bio);
	EVP_PKEY_free(private);
	ERR_clear_error();
	return copy;
}

/* Signing */

static bool
is_for(EVP_PKEY *private, enum keeper_algorithm algorithm)
{
	switch (algorithm) {
	case KEEPER_RSA_PKCS1_SHA256:
	case KEEPER_RSA_PKCS1_SHA384:
	case KEEPER_RSA_PKCS1_SHA512:
	case KEEPER_RSA_PSS_SHA256:
	case KEEPER_RSA_PSS_SHA384:
	case KEEPER_RSA_PSS_SHA512:
		return EVP_PKEY_is_a(private, "RSA");
	case KEEPER_ECDSA_SHA256:
	case KEEPER_ECDSA_SHA384:
	case KEEPER_ECDSA_SHA512:
		return EVP_PKEY_is_a(private, "EC");
	case KEEPER_ED25519:
		return EVP_PKEY_is_a(private, "ED25519");
	case KEEPER_ALGORITHM_COUNT:
		break;
	}
	return false;
}

static bool
set_up(EVP_PKEY_CTX *context, EVP_PKEY *private, enum keeper_algorithm algorithm)
{
	size_t digest = keeper_digest_length(algorithm);
	const EVP_MD *md = digest == 32 ? EVP_sha256() : digest == 48 ? EVP_sha384() : EVP_sha512();
	bool pss = algorithm >= KEEPER_RSA_PSS_SHA256 && algorithm <= KEEPER_RSA_PSS_SHA512;

	if (EVP_PKEY_sign_init(context) != 1)
		return false;
	if (EVP_PKEY_is_a(private, "RSA") &&
	    EVP_PKEY_CTX_set_rsa_padding(
	        context, pss ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING) != 1)
		return false;
	if (EVP_PKEY_CTX_set_signature_md(context, md) != 1)
		return false;
	return !pss || EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) == 1;
}

static EVP_PKEY_CTX *
context_for(struct key *key, enum keeper_algorithm algorithm)
{
	EVP_PKEY_CTX **context = &key->contexts[algorithm];

	if (*context != NULL)
		return *context;
	*context = EVP_PKEY_CTX_new(key->private, NULL);
	if (*context != NULL && !set_up(*context, key->private, algorithm)) {
		EVP_PKEY_CTX_free(*context);
		*context = NULL;
	}
	return *context;
}

static bool
sign_message(struct key *key, const struct ipc_sign *sign, uint8_t *signature, size_t *length)
{
	if (key->whole == NULL)
		key->whole = EVP_MD_CTX_new();
	return key->whole != NULL &&
	    EVP_DigestSignInit(key->whole, NULL, NULL, NULL, key->private) == 1 &&
	    EVP_DigestSign(key->whole, signature, length, sign->data, sign->length) == 1;
}

static bool
sign_digest(struct key *key, const struct ipc_sign *sign, uint8_t *signature, size_t *length)
{
	EVP_PKEY_CTX *context = context_for(key, sign->algorithm);

	return context != NULL &&
	    EVP_PKEY_sign(context, signature, length, sign->data, sign->length) == 1;
}

const char *
keys_sign(
    struct keys *keys, const struct ipc_sign *sign, uint8_t *signature, size_t *signature_length)
{
	struct key *key = find_by_id(keys, sign->kind, sign->key);
	bool done;

	if (key == NULL)
		return "no such key";
	if (!is_for(key->private, sign->algorithm))
		return "not a signature for that key";
	*signature_length = KEEPER_SIGNATURE_MAX;
	done = sign->algorithm == KEEPER_ED25519
	    ? sign_message(key, sign, signature, signature_length)
	    : sign_digest(key, sign, signature, signature_length);
	if (done)
		return NULL;
	ERR_clear_error();
	return "the signature failed";
}
