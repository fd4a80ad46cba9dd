/* Which certificates are good enough for a host: handshakes in memory, with certificates of every
 * kind. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include "common/memory_file.h"
#include "deliver/relay_dane.h"
#include "deliver/relay_tls.h"

#define DAY 86400

struct pair {
	EVP_PKEY *key;
	X509 *certificate;
};

static struct {
	struct tls_client *client;
	struct pair root, other_root, server;
} w;

static void
add_extension(X509 *certificate, X509 *issuer, int kind, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;

	X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, kind, value);
	assert_non_null(extension);
	assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
	X509_EXTENSION_free(extension);
}

/* Names: as in openssl's config, "DNS:mx.test,IP:192.0.2.1"; NULL: none but the common one. */
static struct pair
make_pair(const char *common, const char *names, const struct pair *issuer, long from, long until)
{
	static long serial;
	struct pair pair = { .key = EVP_EC_gen("P-256"), .certificate = X509_new() };
	X509_NAME *name = X509_NAME_new();

	assert_non_null(pair.key);
	assert_int_equal(X509_set_version(pair.certificate, X509_VERSION_3), 1);
	ASN1_INTEGER_set(X509_get_serialNumber(pair.certificate), ++serial);
	X509_gmtime_adj(X509_getm_notBefore(pair.certificate), from);
	X509_gmtime_adj(X509_getm_notAfter(pair.certificate), until);
	X509_NAME_add_entry_by_txt(
	    name, "CN", MBSTRING_ASC, (const unsigned char *)common, -1, -1, 0);
	X509_set_subject_name(pair.certificate, name);
	X509_set_issuer_name(
	    pair.certificate, issuer == NULL ? name : X509_get_subject_name(issuer->certificate));
	X509_set_pubkey(pair.certificate, pair.key);
	X509_NAME_free(name);
	if (issuer == NULL)
		add_extension(
		    pair.certificate, pair.certificate, NID_basic_constraints, "critical,CA:TRUE");
	if (names != NULL)
		add_extension(pair.certificate,
		    issuer == NULL ? pair.certificate : issuer->certificate, NID_subject_alt_name,
		    names);
	assert_int_not_equal(
	    X509_sign(pair.certificate, issuer == NULL ? pair.key : issuer->key, EVP_sha256()), 0);
	return pair;
}

static void
free_pair(struct pair *pair)
{
	EVP_PKEY_free(pair->key);
	X509_free(pair->certificate);
	*pair = (struct pair){ .key = NULL };
}

static void
trust(const struct pair *root, const char *ca)
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *pem;
	long length;

	assert_int_equal(PEM_write_bio_X509(bio, root->certificate), 1);
	length = BIO_get_mem_data(bio, &pem);
	assert_true(
	    tls_client_set_authorities(w.client, ca, memory_file_make("ca", pem, (size_t)length)));
	BIO_free(bio);
}

static int
set_up(void **state)
{
	(void)state;
	w.client = tls_client_new();
	w.root = make_pair("root", NULL, NULL, -DAY, DAY);
	w.other_root = make_pair("other root", NULL, NULL, -DAY, DAY);
	trust(&w.root, "");
	trust(&w.other_root, "other");
	return 0;
}

static int
tear_down(void **state)
{
	(void)state;
	tls_client_free(w.client);
	free_pair(&w.root);
	free_pair(&w.other_root);
	free_pair(&w.server);
	return 0;
}

static SSL *
make_server(const struct pair *pair, const struct pair *issuer)
{
	SSL_CTX *context = SSL_CTX_new(TLS_server_method());
	SSL *ssl;

	assert_int_equal(SSL_CTX_use_certificate(context, pair->certificate), 1);
	assert_int_equal(SSL_CTX_use_PrivateKey(context, pair->key), 1);
	if (issuer != NULL)
		assert_int_equal(SSL_CTX_add1_chain_cert(context, issuer->certificate), 1);
	ssl = SSL_new(context);
	SSL_CTX_free(context);
	assert_non_null(ssl);
	return ssl;
}

/* Whether the client (freed) takes what the server shows. `sni`: what it asked for. */
static bool
shake_hands(SSL *client, const struct pair *pair, const struct pair *issuer, const char *sni)
{
	SSL *server = make_server(pair, issuer);
	BIO *one, *other;
	bool is_good = false;

	assert_non_null(client);
	assert_int_equal(BIO_new_bio_pair(&one, 0, &other, 0), 1);
	SSL_set_bio(client, one, one);
	SSL_set_bio(server, other, other);
	SSL_set_connect_state(client);
	SSL_set_accept_state(server);
	for (int i = 0; i < 10 && !is_good; i++) {
		is_good = SSL_do_handshake(client) == 1;
		(void)SSL_do_handshake(server);
	}
	if (is_good && sni != NULL) {
		assert_non_null(SSL_get_servername(server, TLSEXT_NAMETYPE_host_name));
		assert_string_equal(SSL_get_servername(server, TLSEXT_NAMETYPE_host_name), sni);
	}
	SSL_free(client);
	SSL_free(server);
	return is_good;
}

static void
test_verified_certificates(void **state)
{
	static const struct {
		const char *common, *names, *host, *ca;
		long from, until;
		bool is_good;
	} table[] = {
		{ "x", "DNS:mx.a.test", "mx.a.test", "", -DAY, DAY, true },
		{ "x", "DNS:MX.a.TEST", "mx.A.test", "", -DAY, DAY, true },
		{ "x", "DNS:b.test,DNS:mx.a.test", "mx.a.test", "", -DAY, DAY, true },
		{ "x", "DNS:mx.b.test", "mx.a.test", "", -DAY, DAY, false },
		{ "x", "DNS:a.test", "mx.a.test", "", -DAY, DAY, false },
		/* Wildcards are one whole label, the first. */
		{ "x", "DNS:*.a.test", "mx.a.test", "", -DAY, DAY, true },
		{ "x", "DNS:*.a.test", "a.test", "", -DAY, DAY, false },
		{ "x", "DNS:*.a.test", "mx.in.a.test", "", -DAY, DAY, false },
		{ "x", "DNS:m*.a.test", "mx.a.test", "", -DAY, DAY, false },
		{ "x", "DNS:mx.*.test", "mx.a.test", "", -DAY, DAY, false },
		/* The common name counts where there is no other. */
		{ "mx.a.test", NULL, "mx.a.test", "", -DAY, DAY, true },
		{ "mx.a.test", "DNS:mx.b.test", "mx.a.test", "", -DAY, DAY, false },
		/* Addresses are no names, and names no addresses. */
		{ "x", "IP:192.0.2.1", "192.0.2.1", "", -DAY, DAY, true },
		{ "x", "IP:2001:db8::1", "2001:db8::1", "", -DAY, DAY, true },
		{ "x", "IP:192.0.2.2", "192.0.2.1", "", -DAY, DAY, false },
		{ "x", "DNS:192.0.2.1", "192.0.2.1", "", -DAY, DAY, false },
		{ "192.0.2.1", NULL, "192.0.2.1", "", -DAY, DAY, false },
		/* Time, and who says so. */
		{ "x", "DNS:mx.a.test", "mx.a.test", "", -2 * DAY, -DAY, false },
		{ "x", "DNS:mx.a.test", "mx.a.test", "", DAY, 2 * DAY, false },
		{ "x", "DNS:mx.a.test", "mx.a.test", "other", -DAY, DAY, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		print_message("row %zu\n", i);
		w.server = make_pair(
		    table[i].common, table[i].names, &w.root, table[i].from, table[i].until);
		assert_int_equal(
		    shake_hands(tls_client_ssl(w.client, table[i].host, true, table[i].ca),
		        &w.server, NULL, NULL),
		    table[i].is_good);
		/* Without verification all are. */
		assert_true(shake_hands(
		    tls_client_ssl(w.client, table[i].host, false, ""), &w.server, NULL, NULL));
		free_pair(&w.server);
	}
	assert_null(tls_client_ssl(w.client, "mx.a.test", true, "missing"));
}

static void
test_a_certificate_of_its_own_is_not_verified(void **state)
{
	(void)state;
	w.server = make_pair("mx.a.test", "DNS:mx.a.test", NULL, -DAY, DAY);
	assert_false(
	    shake_hands(tls_client_ssl(w.client, "mx.a.test", true, ""), &w.server, NULL, NULL));
}

static void
test_name_by_a_dns_id_only(void **state)
{
	SSL *ssl = tls_client_ssl(w.client, "mx.a.test", true, "");

	(void)state;
	w.server = make_pair("mx.a.test", NULL, &w.root, -DAY, DAY);
	tls_client_dns_ids_only(ssl);
	assert_false(shake_hands(ssl, &w.server, NULL, NULL));
	free_pair(&w.server);
	w.server = make_pair("x", "DNS:mx.a.test", &w.root, -DAY, DAY);
	ssl = tls_client_ssl(w.client, "mx.a.test", true, "");
	tls_client_dns_ids_only(ssl);
	assert_true(shake_hands(ssl, &w.server, NULL, "mx.a.test"));
}

/* How the verification of a handshake that needn't be verified has ended. */
static long
watch(const char *names, long until, const char *ca)
{
	SSL *ssl = tls_client_watched_ssl(w.client, "mx.a.test", ca);
	long result;

	assert_int_equal(SSL_up_ref(ssl), 1);
	tls_client_dns_ids_only(ssl);
	w.server = make_pair("mx.a.test", names, &w.root, -DAY, until);
	assert_true(shake_hands(ssl, &w.server, NULL, "mx.a.test"));
	result = SSL_get_verify_result(ssl);
	SSL_free(ssl);
	free_pair(&w.server);
	return result;
}

static void
test_what_verification_would_have_come_to(void **state)
{
	(void)state;
	assert_int_equal(watch("DNS:mx.a.test", DAY, ""), X509_V_OK);
	assert_int_equal(watch("DNS:mx.b.test", DAY, ""), X509_V_ERR_HOSTNAME_MISMATCH);
	assert_int_equal(watch(NULL, DAY, ""), X509_V_ERR_HOSTNAME_MISMATCH);
	assert_int_equal(watch("DNS:mx.a.test", -3600, ""), X509_V_ERR_CERT_HAS_EXPIRED);
	assert_int_not_equal(watch("DNS:mx.a.test", DAY, "other"), X509_V_OK);
	assert_int_not_equal(watch("DNS:mx.a.test", DAY, "missing"), X509_V_OK);
}

/* The record's data for a certificate. */
static size_t
record_data(const X509 *certificate, int selector, int matching, uint8_t *data, size_t size)
{
	uint8_t *der = NULL;
	int length = selector == 0 ? i2d_X509(certificate, &der)
	                           : i2d_PUBKEY(X509_get0_pubkey(certificate), &der);
	unsigned digest = 0;

	assert_true(length > 0 && (size_t)length <= size);
	if (matching == 0) {
		memcpy(data, der, (size_t)length);
		digest = (unsigned)length;
	} else {
		assert_int_equal(EVP_Digest(der, (size_t)length, data, &digest,
		                     matching == 1 ? EVP_sha256() : EVP_sha512(), NULL),
		    1);
	}
	OPENSSL_free(der);
	return digest;
}

static struct dane *
make_dane(int usage, int selector, int matching, const X509 *certificate)
{
	static struct ipc_answer answer;
	static uint8_t data[4096], nothing[32];
	struct dane *dane;

	answer.count = 2;
	answer.records[0] = (struct answer_record){ .usage = (uint8_t)usage,
		.selector = (uint8_t)selector,
		.matching = (uint8_t)matching,
		.data = data };
	answer.records[0].length =
	    (uint16_t)record_data(certificate, selector, matching, data, sizeof(data));
	/* Beside it one that fits nothing, as during a change of keys. */
	answer.records[1] = (struct answer_record){
		.usage = 3, .selector = 1, .matching = 1, .data = nothing, .length = 32
	};
	dane = dane_new(&answer);
	assert_non_null(dane);
	assert_true(dane_add_name(dane, "mx.a.test"));
	assert_true(dane_add_name(dane, "far.test"));
	return dane;
}

static void
test_certificates_that_records_name(void **state)
{
	static const struct {
		int usage;
		bool of_root; /* what the record is about */
		bool is_right;
		const char *names;
		long until;
		bool is_good;
	} table[] = {
		{ 3, false, true, "DNS:mx.a.test", DAY, true },
		{ 3, false, true, "DNS:elsewhere.test", DAY, true },
		{ 3, false, true, "DNS:mx.a.test", -3600, true }, /* RFC 7672 3.1.1 */
		{ 3, false, false, "DNS:mx.a.test", DAY, false },
		{ 3, true, true, "DNS:mx.a.test", DAY, false }, /* the root isn't the host's */
		{ 2, true, true, "DNS:mx.a.test", DAY, true },
		{ 2, true, true, "DNS:far.test", DAY, true },
		{ 2, true, true, "DNS:*.a.test", DAY, true },
		{ 2, true, true, "DNS:elsewhere.test", DAY, false },
		{ 2, true, true, "DNS:mx.a.test", -3600, false },
		{ 2, true, false, "DNS:mx.a.test", DAY, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		w.server = make_pair("x", table[i].names, &w.root, -DAY, table[i].until);
		/* Selectors and ways of matching. */
		for (int kind = 0; kind < 6; kind++) {
			const struct pair *named = table[i].of_root ? &w.root : &w.server;
			struct dane *dane = make_dane(table[i].usage, kind % 2, kind / 2,
			    table[i].is_right ? named->certificate : w.other_root.certificate);

			print_message("row %zu, kind %d\n", i, kind);
			assert_int_equal(shake_hands(tls_client_dane_ssl(w.client, dane), &w.server,
			                     &w.root, "mx.a.test"),
			    table[i].is_good);
			dane_free(dane);
		}
		free_pair(&w.server);
	}
}

static void
test_authorities_that_cannot_be_read_leave_those_before(void **state)
{
	static const char junk[] = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

	(void)state;
	w.server = make_pair("x", "DNS:mx.a.test", &w.root, -DAY, DAY);
	assert_true(
	    shake_hands(tls_client_ssl(w.client, "mx.a.test", true, ""), &w.server, NULL, NULL));
	assert_true(
	    tls_client_set_authorities(w.client, "", memory_file_make("ca", junk, sizeof(junk))));
	assert_true(
	    shake_hands(tls_client_ssl(w.client, "mx.a.test", true, ""), &w.server, NULL, NULL));
	assert_true(tls_client_set_authorities(
	    w.client, "new", memory_file_make("ca", junk, sizeof(junk))));
	assert_null(tls_client_ssl(w.client, "mx.a.test", true, "new"));
	/* Good ones are there again. */
	trust(&w.root, "new");
	assert_true(
	    shake_hands(tls_client_ssl(w.client, "mx.a.test", true, "new"), &w.server, NULL, NULL));
	free_pair(&w.server);
}

int
main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(verified_certificates),
		TEST(a_certificate_of_its_own_is_not_verified),
		TEST(name_by_a_dns_id_only),
		TEST(what_verification_would_have_come_to),
		TEST(certificates_that_records_name),
		TEST(authorities_that_cannot_be_read_leave_those_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
