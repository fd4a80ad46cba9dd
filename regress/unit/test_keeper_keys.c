/*
 * The keeper's keys: which are taken, for how long, and what is signed by them.
 */
#include <openssl/err.h>

#include "regress/unit/test_tls_fixture.h"

static int
set_up(void **state)
{
	(void)state;
	test_keeper.keys = keys_new();
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	keys_free(test_keeper.keys);
	return 0;
}

static void
id_of(const struct pair *pair, uint8_t id[KEEPER_ID_SIZE])
{
	unsigned char *der = NULL;
	int length = i2d_PUBKEY(pair->private, &der);

	assert_true(length > 0);
	assert_int_equal(EVP_Digest(der, (size_t)length, id, NULL, EVP_sha256(), NULL), 1);
	OPENSSL_free(der);
}

static const uint8_t digest[64] =
    "not the digest of anything, but of the right length all the same";

static const char *
sign(const struct pair *pair, enum keeper_kind kind, enum keeper_algorithm algorithm,
    uint8_t *signature, size_t *length)
{
	struct ipc_sign request = { .kind = kind, .algorithm = algorithm, .data = digest };

	id_of(pair, request.key);
	request.length = keeper_digest_length(algorithm);
	if (request.length == 0)
		request.length = sizeof(digest);
	return keys_sign(test_keeper.keys, &request, signature, length);
}

static bool
has(const struct pair *pair)
{
	uint8_t signature[KEEPER_SIGNATURE_MAX];
	size_t length;

	return sign(pair, KEEPER_TLS, KEEPER_ECDSA_SHA256, signature, &length) == NULL;
}

static bool
verifies(const struct pair *pair, enum keeper_algorithm algorithm, const uint8_t *signature,
    size_t length)
{
	EVP_PKEY_CTX *context = EVP_PKEY_CTX_new(pair->private, NULL);
	size_t size = keeper_digest_length(algorithm);
	bool good;

	assert_int_equal(EVP_PKEY_verify_init(context), 1);
	if (EVP_PKEY_is_a(pair->private, "RSA"))
		EVP_PKEY_CTX_set_rsa_padding(context,
		    algorithm >= KEEPER_RSA_PSS_SHA256 ? RSA_PKCS1_PSS_PADDING : RSA_PKCS1_PADDING);
	EVP_PKEY_CTX_set_signature_md(context,
	    size == 32       ? EVP_sha256()
	        : size == 48 ? EVP_sha384()
	                     : EVP_sha512());
	if (algorithm >= KEEPER_RSA_PSS_SHA256 && algorithm <= KEEPER_RSA_PSS_SHA512)
		EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST);
	good = EVP_PKEY_verify(context, signature, length, digest, size) == 1;
	EVP_PKEY_CTX_free(context);
	return good;
}

static void
each_kind_of_key_signs_what_it_can_and_nothing_else(void **state)
{
	static const char *const kinds[] = { "rsa", "ec", "ed25519" };
	uint8_t signature[KEEPER_SIGNATURE_MAX];
	enum keeper_algorithm algorithm;
	size_t i, length;

	(void)state;
	for (i = 0; i < 3; i++) {
		struct pair pair = make_pair(kinds[i], "DNS:a.test", NULL);

		assert_true(give_key(kinds[i], &pair, NULL, 0));
		for (algorithm = 0; algorithm < KEEPER_ALGORITHM_COUNT; algorithm++) {
			bool fits = i == 0 ? algorithm <= KEEPER_RSA_PSS_SHA512
			    : i == 1
			    ? algorithm >= KEEPER_ECDSA_SHA256 && algorithm <= KEEPER_ECDSA_SHA512
			    : algorithm == KEEPER_ED25519;
			const char *why = sign(&pair, KEEPER_TLS, algorithm, signature, &length);

			assert_int_equal(why == NULL, fits);
			if (fits && algorithm != KEEPER_ED25519)
				assert_true(verifies(&pair, algorithm, signature, length));
			/* Twice, as a context is used again. */
			if (fits) {
				assert_null(sign(&pair, KEEPER_TLS, algorithm, signature, &length));
				assert_non_null(
				    sign(&pair, KEEPER_DKIM, algorithm, signature, &length));
			}
		}
		free_pair(&pair);
	}
	assert_int_equal(ERR_peek_error(), 0);
}

static void
refused(const struct pair *pair, const char *words)
{
	char why[200] = "";

	assert_false(give_key("x", pair, why, sizeof(why)));
	if (strstr(why, words) == NULL)
		fail_msg("\"%s\" says nothing of \"%s\"", why, words);
	assert_int_equal(keys_count(test_keeper.keys), 0);
}

static void
what_is_no_good_key_is_refused_with_words(void **state)
{
	struct pair good = make_pair("ec", "DNS:a.test", NULL), bad = good;
	struct pair other = make_pair("ec", "DNS:a.test", NULL);
	BIO *bio;

	(void)state;
	bad.key_text = other.key_text;
	refused(&bad, "isn't the one of the certificate");
	bad = good;
	bad.key_text = good.certificate_text;
	refused(&bad, "no private key");
	bad = good;
	bad.certificate_text = good.key_text;
	refused(&bad, "no certificate");
	bad = good;
	bad.key_text = strdup("");
	refused(&bad, "no private key");
	free(bad.key_text);

	bio = BIO_new(BIO_s_mem());
	PEM_write_bio_PrivateKey(
	    bio, good.private, EVP_aes_128_cbc(), (const unsigned char *)"secret", 6, NULL, NULL);
	bad.key_text = text_of(bio);
	refused(&bad, "is encrypted");
	free(bad.key_text);

	bad.private = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)1024);
	bio = BIO_new(BIO_s_mem());
	PEM_write_bio_PrivateKey(bio, bad.private, NULL, NULL, 0, NULL, NULL);
	bad.key_text = text_of(bio);
	refused(&bad, "2048");
	free(bad.key_text);
	EVP_PKEY_free(bad.private);

	bad.private = EVP_PKEY_Q_keygen(NULL, NULL, "EC", "secp256k1");
	bio = BIO_new(BIO_s_mem());
	PEM_write_bio_PrivateKey(bio, bad.private, NULL, NULL, 0, NULL, NULL);
	bad.key_text = text_of(bio);
	refused(&bad, "P-256");
	free(bad.key_text);
	EVP_PKEY_free(bad.private);

	bad.private = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
	bio = BIO_new(BIO_s_mem());
	PEM_write_bio_PrivateKey(bio, bad.private, NULL, NULL, 0, NULL, NULL);
	bad.key_text = text_of(bio);
	refused(&bad, "neither");
	free(bad.key_text);
	EVP_PKEY_free(bad.private);
	free_pair(&good);
	free_pair(&other);
}

/* As the supervisor does with what the keeper made. */
static bool
give_dkim_key(const char *name, const char *text, size_t length, struct ipc_key_taken *taken)
{
	struct ipc_key request = { .kind = KEEPER_DKIM, .key_length = (uint32_t)length };

	memset(taken, 0, sizeof(*taken));
	strlcpy(request.name, name, sizeof(request.name));
	return keys_take(test_keeper.keys, &request, (const uint8_t *)text, taken->key,
	           taken->words, sizeof(taken->words)) &&
	    keys_describe(test_keeper.keys, taken);
}

static void
keys_for_dkim_are_made_and_sign_nothing_else(void **state)
{
	static const enum keeper_algorithm algorithms[DKIM_ALGORITHM_COUNT] = {
		[DKIM_RSA_SHA256] = KEEPER_RSA_PKCS1_SHA256,
		[DKIM_ED25519_SHA256] = KEEPER_ED25519,
	};
	struct ipc_forget forget = { .kind = KEEPER_TLS, .name = "a.test.s" };
	uint8_t signature[KEEPER_SIGNATURE_MAX];
	struct ipc_key_taken taken;
	struct ipc_sign request;
	size_t length;
	char *text;
	int i;

	(void)state;
	for (i = 0; i < DKIM_ALGORITHM_COUNT; i++) {
		text = keys_generate((enum dkim_algorithm)i, &length);
		assert_int_equal(strncmp(text, "-----BEGIN PRIVATE KEY-----", 27), 0);
		assert_true(give_dkim_key("a.test.s", text, length, &taken));
		OPENSSL_clear_free(text, length);
		assert_int_equal(taken.algorithm, i);
		assert_int_equal(taken.signature_length, i == DKIM_RSA_SHA256 ? 256 : 64);
		assert_int_equal(taken.public_length, i == DKIM_RSA_SHA256 ? 294 : 32);
		request = (struct ipc_sign){ .kind = KEEPER_DKIM,
			.algorithm = algorithms[i],
			.data = digest,
			.length = 32 };
		memcpy(request.key, taken.key, sizeof(request.key));
		assert_null(keys_sign(test_keeper.keys, &request, signature, &length));
		assert_int_equal(length, taken.signature_length);
		request.kind = KEEPER_TLS;
		assert_non_null(keys_sign(test_keeper.keys, &request, signature, &length));
	}
	request.kind = KEEPER_DKIM;
	keys_forget(test_keeper.keys, &forget);
	assert_null(keys_sign(test_keeper.keys, &request, signature, &length));
	forget.kind = KEEPER_DKIM;
	keys_forget(test_keeper.keys, &forget);
	assert_non_null(keys_sign(test_keeper.keys, &request, signature, &length));
	assert_int_equal(keys_count(test_keeper.keys), 0);
}

static void
a_curve_is_no_key_for_dkim(void **state)
{
	struct pair pair = make_pair("ec", "DNS:a.test", NULL);
	struct ipc_key_taken taken;

	(void)state;
	assert_false(give_dkim_key("a.test.s", pair.key_text, strlen(pair.key_text), &taken));
	assert_non_null(strstr(taken.words, "neither RSA nor Ed25519"));
	free_pair(&pair);
}

static void
a_replaced_key_signs_until_the_next_change(void **state)
{
	struct pair pairs[3];
	size_t i;

	(void)state;
	for (i = 0; i < 3; i++)
		pairs[i] = make_pair("ec", "DNS:a.test", NULL);
	assert_true(give_key("mx", &pairs[0], NULL, 0));
	assert_true(give_key("mx", &pairs[0], NULL, 0)); /* once more: no change */
	assert_int_equal(keys_count(test_keeper.keys), 1);
	assert_true(give_key("mx", &pairs[1], NULL, 0));
	assert_true(has(&pairs[0]) && has(&pairs[1]));
	assert_true(give_key("mx", &pairs[2], NULL, 0));
	assert_true(!has(&pairs[0]) && has(&pairs[1]) && has(&pairs[2]));
	/* A change taken back. */
	assert_true(give_key("mx", &pairs[1], NULL, 0));
	assert_true(has(&pairs[1]) && has(&pairs[2]));
	assert_true(give_key("other", &pairs[0], NULL, 0));
	assert_true(has(&pairs[0]) && has(&pairs[1]) && has(&pairs[2]));
	for (i = 0; i < 3; i++)
		free_pair(&pairs[i]);
}

static bool
is_mx(const char *name, void *arg)
{
	(void)arg;
	return strcmp(name, "mx") == 0;
}

static void
a_key_of_no_pki_any_more_signs_until_the_next_config(void **state)
{
	struct pair mx = make_pair("ec", "DNS:a.test", NULL),
	            old = make_pair("ec", "DNS:b.test", NULL);

	(void)state;
	assert_true(give_key("mx", &mx, NULL, 0));
	assert_true(give_key("old", &old, NULL, 0));
	keys_retire(test_keeper.keys, KEEPER_DKIM, is_mx, NULL);
	keys_retire(test_keeper.keys, KEEPER_TLS, is_mx, NULL);
	assert_true(has(&mx) && has(&old));
	keys_retire(test_keeper.keys, KEEPER_TLS, is_mx, NULL);
	assert_true(has(&mx));
	assert_false(has(&old));
	free_pair(&mx);
	free_pair(&old);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(each_kind_of_key_signs_what_it_can_and_nothing_else),
		TEST(what_is_no_good_key_is_refused_with_words),
		TEST(keys_for_dkim_are_made_and_sign_nothing_else),
		TEST(a_curve_is_no_key_for_dkim),
		TEST(a_replaced_key_signs_until_the_next_change),
		TEST(a_key_of_no_pki_any_more_signs_until_the_next_config),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
