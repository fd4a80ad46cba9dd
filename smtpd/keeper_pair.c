/* Nobody is there to ask for a passphrase: an encrypted key is none. */
#include <stdio.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "smtpd/keeper_pair.h"

#define RSA_BITS_MAX  8192
#define DAYS_LEFT_MIN 7

static int
no_passphrase(char *text, int size, int writing, void *asked)
{
	(void)text;
	(void)size;
	(void)writing;
	*(bool *)asked = true;
	return -1;
}

static bool
is_good_kind(EVP_PKEY *private, enum keeper_kind kind, const char **why)
{
	char group[32] = "";

	*why = "the key is neither RSA, EC nor Ed25519";
	if (EVP_PKEY_is_a(private, "RSA")) {
		*why = "the RSA key isn't of 2048 to 8192 bits";
		return EVP_PKEY_get_bits(private) >= PAIR_RSA_BITS_MIN &&
		    EVP_PKEY_get_bits(private) <= RSA_BITS_MAX;
	}
	if (EVP_PKEY_is_a(private, "EC") && kind == KEEPER_DKIM) {
		*why = "the key is neither RSA nor Ed25519";
		return false;
	}
	if (EVP_PKEY_is_a(private, "EC")) {
		*why = "the EC key is on none of the curves P-256, P-384, P-521";
		return EVP_PKEY_get_group_name(private, group, sizeof(group), NULL) == 1 &&
		    (strcmp(group, "prime256v1") == 0 || strcmp(group, "secp384r1") == 0 ||
		        strcmp(group, "secp521r1") == 0);
	}
	return EVP_PKEY_is_a(private, "ED25519");
}

EVP_PKEY *
pair_read_key(const uint8_t *text, size_t length, enum keeper_kind kind, const char **why)
{
	BIO *bio = BIO_new_mem_buf(text, (int)length);
	EVP_PKEY *private = NULL;
	bool encrypted = false;

	if (bio != NULL)
	private = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &encrypted);
	BIO_free(bio);
	ERR_clear_error();
	if (private == NULL) {
		*why = encrypted ? "the key is encrypted: nobody is there to ask for its passphrase"
		                 : "no private key in PEM is in the key's file";
	} else if (!is_good_kind(private, kind, why)) {
		EVP_PKEY_free(private);
		private = NULL;
	}
	return private;
}

X509 *
pair_read_certificate(const uint8_t *text, size_t length, const char **why)
{
	BIO *bio = BIO_new_mem_buf(text, (int)length);
	X509 *certificate = bio == NULL ? NULL : PEM_read_bio_X509(bio, NULL, NULL, NULL);

	BIO_free(bio);
	ERR_clear_error();
	*why = "no certificate in PEM is in the certificate's file";
	return certificate;
}

bool
pair_are_certificates(const uint8_t *text, size_t length)
{
	BIO *bio = BIO_new_mem_buf(text, (int)length);
	X509 *certificate;
	unsigned long error;

	while (bio != NULL && (certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL)) != NULL)
		X509_free(certificate);
	error = ERR_peek_last_error();
	BIO_free(bio);
	ERR_clear_error();
	return ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
}

bool
pair_belongs(EVP_PKEY *private, const X509 *certificate, const char **why)
{
	bool belongs = X509_check_private_key(certificate, private) == 1;

	ERR_clear_error();
	*why = "the key isn't the one of the certificate";
	return belongs;
}

/* Clients that look at it would refuse it; those that don't go on. */
bool
pair_time_words(const X509 *certificate, char words[PAIR_TIME_WORDS])
{
	int days, seconds;

	if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0) {
		snprintf(words, PAIR_TIME_WORDS, "isn't valid yet");
		return true;
	}
	if (ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(certificate)) != 1)
		return false;
	if (days < 0 || seconds < 0) {
		snprintf(words, PAIR_TIME_WORDS, "has expired: renew it");
		return true;
	}
	days += seconds > 0;
	snprintf(words, PAIR_TIME_WORDS, "expires within %d day%s", days, days == 1 ? "" : "s");
	return days <= DAYS_LEFT_MIN;
}
