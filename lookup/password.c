/*
 * A table of schemes. Digests are compared in constant time; what comes before (finding the scheme,
 * decoding what is stored) depends on nothing that the client has sent.
 */
#include <crypt.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <bsd/string.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "common/base64.h"
#include "lookup/password.h"

#define DIGEST_MAX    64
#define SALTED_MAX    256
#define PBKDF2_LENGTH 20 /* Dovecot's */
#define ROUNDS_MAX    10000000

enum form {
	FORM_CRYPT,
	FORM_PLAIN,
	FORM_DIGEST, /* of the password */
	FORM_SALTED, /* digest of password and salt, then the salt */
	FORM_PBKDF2, /* $1$SALT$ROUNDS$HEX */
	FORM_SCRAM,
};

static const struct scheme {
	const char *name;
	enum form form;
	const char *digest;
} schemes[] = {
	{ "CRYPT", FORM_CRYPT, NULL },
	{ "DES-CRYPT", FORM_CRYPT, NULL },
	{ "MD5-CRYPT", FORM_CRYPT, NULL },
	{ "SHA256-CRYPT", FORM_CRYPT, NULL },
	{ "SHA512-CRYPT", FORM_CRYPT, NULL },
	{ "BLF-CRYPT", FORM_CRYPT, NULL },
	{ "PLAIN", FORM_PLAIN, NULL },
	{ "CLEAR", FORM_PLAIN, NULL },
	{ "CLEARTEXT", FORM_PLAIN, NULL },
	{ "SHA", FORM_DIGEST, "SHA1" },
	{ "SHA1", FORM_DIGEST, "SHA1" },
	{ "SHA256", FORM_DIGEST, "SHA256" },
	{ "SHA512", FORM_DIGEST, "SHA512" },
	{ "SSHA", FORM_SALTED, "SHA1" },
	{ "SSHA256", FORM_SALTED, "SHA256" },
	{ "SSHA512", FORM_SALTED, "SHA512" },
	{ "PBKDF2", FORM_PBKDF2, "SHA1" },
	{ "SCRAM-SHA-256", FORM_SCRAM, NULL },
};

static const struct scheme *
find_scheme(const char *name, size_t length)
{
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		if (strlen(schemes[i].name) == length &&
		    strncasecmp(schemes[i].name, name, length) == 0)
			return &schemes[i];
	}
	return NULL;
}

/* Splits "{SCHEME.ENCODING}data"; without braces it is crypt(3)'s. NULL: not known. */
static const struct scheme *
split(const char *stored, const char **data, bool *hex)
{
	const char *end, *dot;

	*data = stored;
	*hex = false;
	if (*stored != '{')
		return &schemes[0];
	end = strchr(stored, '}');
	if (end == NULL)
		return NULL;
	*data = end + 1;
	stored++;
	dot = memchr(stored, '.', (size_t)(end - stored));
	if (dot == NULL)
		return find_scheme(stored, (size_t)(end - stored));
	if (end - dot == 4 && strncasecmp(dot + 1, "HEX", 3) == 0)
		*hex = true;
	else if (!(end - dot == 4 && strncasecmp(dot + 1, "B64", 3) == 0) &&
	    !(end - dot == 7 && strncasecmp(dot + 1, "BASE64", 6) == 0))
		return NULL;
	return find_scheme(stored, (size_t)(dot - stored));
}

bool
password_from_value(const char *value, char stored[PASSWORD_STORED_MAX + 1])
{
	size_t length = strcspn(value, ":");

	*stored = '\0';
	if (length == 0 || length > PASSWORD_STORED_MAX)
		return false;
	memcpy(stored, value, length);
	stored[length] = '\0';
	return true;
}

bool
password_is_usable(const char *stored)
{
	const char *data;
	bool hex;
	const struct scheme *scheme = split(stored, &data, &hex);
	int salt;

	if (scheme == NULL || *data == '\0')
		return false;
	if (scheme->form != FORM_CRYPT)
		return true;
	salt = crypt_checksalt(data);
	return salt != CRYPT_SALT_INVALID && salt != CRYPT_SALT_METHOD_DISABLED;
}

bool
password_verifier(const char *stored, struct scram_verifier *verifier)
{
	const char *data;
	bool hex;
	const struct scheme *scheme = split(stored, &data, &hex);

	return scheme != NULL && scheme->form == FORM_SCRAM && scram_verifier_parse(data, verifier);
}

/* The length that both texts have in common doesn't show: digests of both are compared. */
static bool
texts_equal(const char *a, const char *b)
{
	uint8_t digest_a[DIGEST_MAX], digest_b[DIGEST_MAX];
	unsigned length_a = 0, length_b = 0;

	return EVP_Digest(a, strlen(a), digest_a, &length_a, EVP_sha256(), NULL) == 1 &&
	    EVP_Digest(b, strlen(b), digest_b, &length_b, EVP_sha256(), NULL) == 1 &&
	    CRYPTO_memcmp(digest_a, digest_b, length_a) == 0;
}

static bool
check_crypt(const char *stored, const char *password)
{
	struct crypt_data *data = calloc(1, sizeof(*data));
	const char *result;
	bool right;

	if (data == NULL)
		return false;
	result = crypt_rn(password, stored, data, sizeof(*data));
	right = result != NULL && texts_equal(result, stored);
	explicit_bzero(data, sizeof(*data));
	free(data);
	return right;
}

static bool
decode_hex(const char *text, uint8_t *bytes, size_t size, size_t *length)
{
	*length = 0;
	for (; *text != '\0'; text += 2) {
		const char digits[3] = { text[0], text[1], '\0' };

		if (!isxdigit((unsigned char)text[0]) || !isxdigit((unsigned char)text[1]) ||
		    *length == size)
			return false;
		bytes[(*length)++] = (uint8_t)strtoul(digits, NULL, 16);
	}
	return true;
}

/* Base64 as it comes, or without its padding. */
static bool
decode_base64(const char *text, uint8_t *bytes, size_t size, size_t *length)
{
	char padded[PASSWORD_STORED_MAX + 4];

	if (strlcpy(padded, text, PASSWORD_STORED_MAX) >= PASSWORD_STORED_MAX)
		return false;
	while (strlen(padded) % 4 != 0)
		strlcat(padded, "=", sizeof(padded));
	return base64_decode(padded, strlen(padded), bytes, size, length);
}

/* Digest, and whatever salt is behind it. */
static bool
check_digest(const struct scheme *scheme, const char *data, bool hex, const char *password)
{
	uint8_t wanted[DIGEST_MAX + SALTED_MAX], digest[DIGEST_MAX];
	const EVP_MD *md = EVP_get_digestbyname(scheme->digest);
	size_t length, size = md == NULL ? 0 : (size_t)EVP_MD_get_size(md);
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	bool right = false;

	if (!hex && strlen(data) == 2 * size && scheme->form == FORM_DIGEST)
		hex = true;
	if (context != NULL && md != NULL &&
	    (hex ? decode_hex : decode_base64)(data, wanted, sizeof(wanted), &length) &&
	    (scheme->form == FORM_DIGEST ? length == size : length > size))
		right = EVP_DigestInit_ex(context, md, NULL) == 1 &&
		    EVP_DigestUpdate(context, password, strlen(password)) == 1 &&
		    EVP_DigestUpdate(context, wanted + size, length - size) == 1 &&
		    EVP_DigestFinal_ex(context, digest, NULL) == 1 &&
		    CRYPTO_memcmp(digest, wanted, size) == 0;
	EVP_MD_CTX_free(context);
	return right;
}

static bool
check_pbkdf2(const char *data, const char *password)
{
	uint8_t wanted[PBKDF2_LENGTH], made[PBKDF2_LENGTH];
	const char *salt, *rounds, *hash;
	char *end;
	unsigned long count;
	size_t length;

	if (strncmp(data, "$1$", 3) != 0)
		return false;
	salt = data + 3;
	rounds = strchr(salt, '$');
	hash = rounds == NULL ? NULL : strchr(rounds + 1, '$');
	if (hash == NULL || rounds[1] < '1' || rounds[1] > '9')
		return false;
	count = strtoul(rounds + 1, &end, 10);
	if (end != hash || count > ROUNDS_MAX ||
	    !decode_hex(hash + 1, wanted, sizeof(wanted), &length) || length != sizeof(wanted))
		return false;
	return PKCS5_PBKDF2_HMAC(password, (int)strlen(password), (const uint8_t *)salt,
	           (int)(rounds - salt), (int)count, EVP_sha1(), sizeof(made), made) == 1 &&
	    CRYPTO_memcmp(made, wanted, sizeof(made)) == 0;
}

bool
password_check(const char *stored, const char *password)
{
	struct scram_verifier verifier;
	const char *data;
	bool hex;
	const struct scheme *scheme = split(stored, &data, &hex);

	if (scheme == NULL)
		return false;
	switch (scheme->form) {
	case FORM_CRYPT:
		return check_crypt(data, password);
	case FORM_PLAIN:
		return texts_equal(data, password);
	case FORM_DIGEST:
	case FORM_SALTED:
		return check_digest(scheme, data, hex, password);
	case FORM_PBKDF2:
		return check_pbkdf2(data, password);
	case FORM_SCRAM:
		return scram_verifier_parse(data, &verifier) &&
		    scram_verifier_check(&verifier, password);
	}
	return false;
}
