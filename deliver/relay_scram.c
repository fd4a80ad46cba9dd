/*
 * Messages are taken apart by attribute, each of which must stand where RFC 5802 7 puts it. User name
 * and password are used as the configuration has them, without SASLprep (RFC 4013), which changes
 * only characters beyond ASCII.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/stdlib.h>
#include <bsd/string.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include "common/base64.h"
#include "deliver/relay_scram.h"

#define NONCE_BYTES 18
#define HEADER_MAX  64 /* "p=tls-server-end-point,," */
#define FIRST_MAX   1100

struct scram {
	const char *password;
	struct scram_keys *keys;
	char header[HEADER_MAX]; /* gs2-header */
	uint8_t binding[CHANNEL_BINDING_MAX];
	size_t binding_length; /* 0 unless it is sent */
	char user[FIRST_MAX];  /* escaped */
	char own_nonce[BASE64_LENGTH(NONCE_BYTES) + 1];
	char nonce[SCRAM_TEXT + 1]; /* ours and the server's behind it */
	char first[FIRST_MAX + 64]; /* client-first-message-bare */
	char server_first[SCRAM_TEXT + 1];
	uint8_t server_signature[SCRAM_KEY];
};

/* RFC 5802 5.1; false when it doesn't fit. */
static bool
escape(const char *text, char *escaped, size_t size)
{
	size_t out = 0;

	for (; *text != '\0'; text++) {
		if (out + 4 > size)
			return false;
		if (*text == ',' || *text == '=')
			out += strlcpy(escaped + out, *text == ',' ? "=2C" : "=3D", size - out);
		else
			escaped[out++] = *text;
	}
	escaped[out] = '\0';
	return out > 0;
}

struct scram *
scram_new(const char *user, const char *password, const char *type, const uint8_t *binding,
    size_t length, bool plus, struct scram_keys *keys)
{
	struct scram *scram = calloc(1, sizeof(*scram));
	uint8_t nonce[NONCE_BYTES];

	if (scram == NULL || !escape(user, scram->user, sizeof(scram->user)) ||
	    length > sizeof(scram->binding)) {
		free(scram);
		return NULL;
	}
	scram->password = password;
	scram->keys = keys;
	if (plus && type != NULL) {
		snprintf(scram->header, sizeof(scram->header), "p=%s,,", type);
		memcpy(scram->binding, binding, length);
		scram->binding_length = length;
	} else {
		strlcpy(scram->header, type != NULL ? "y,," : "n,,", sizeof(scram->header));
	}
	arc4random_buf(nonce, sizeof(nonce));
	base64_encode(nonce, sizeof(nonce), scram->own_nonce);
	return scram;
}

void
scram_free(struct scram *scram)
{
	if (scram == NULL)
		return;
	explicit_bzero(scram, sizeof(*scram));
	free(scram);
}

void
scram_set_nonce(struct scram *scram, const char *nonce)
{
	strlcpy(scram->own_nonce, nonce, sizeof(scram->own_nonce));
}

size_t
scram_make_first(struct scram *scram, char message[SCRAM_MESSAGE_MAX])
{
	snprintf(scram->first, sizeof(scram->first), "n=%s,r=%s", scram->user, scram->own_nonce);
	return (size_t)snprintf(message, SCRAM_MESSAGE_MAX, "%s%s", scram->header, scram->first);
}

/* A message of the server's as a string. */
static bool
take_text(const char *data, size_t length, char text[SCRAM_TEXT + 1])
{
	if (length > SCRAM_TEXT || memchr(data, '\0', length) != NULL)
		return false;
	memcpy(text, data, length);
	text[length] = '\0';
	return true;
}

/* Whether `*data` begins with this attribute; it is then moved to the comma behind it, or the end. */
static bool
take_attribute(const char **data, char name, const char **value, size_t *length)
{
	const char *at = *data;

	if (at[0] != name || at[1] != '=')
		return false;
	*value = at + 2;
	*length = strcspn(*value, ",");
	*data = *value + *length;
	return true;
}

/* Ours, and something printable behind it. */
static bool
take_nonce(struct scram *scram, const char *value, size_t length)
{
	size_t own = strlen(scram->own_nonce);

	for (size_t i = 0; i < length; i++)
		if (value[i] < '!' || value[i] > '~')
			return false;
	if (length <= own || strncmp(value, scram->own_nonce, own) != 0)
		return false;
	memcpy(scram->nonce, value, length);
	scram->nonce[length] = '\0';
	return true;
}

/* posit-number; 0 when it is none, or has more than 9 digits. */
static uint32_t
take_count(const char *value, size_t length)
{
	uint32_t count = 0;

	if (length == 0 || length > 9 || value[0] == '0')
		return 0;
	for (size_t i = 0; i < length; i++) {
		if (value[i] < '0' || value[i] > '9')
			return 0;
		count = count * 10 + (uint32_t)(value[i] - '0');
	}
	return count;
}

static bool
hmac(const uint8_t key[SCRAM_KEY], const char *text, uint8_t result[SCRAM_KEY])
{
	unsigned written = 0;

	return HMAC(EVP_sha256(), key, SCRAM_KEY, (const unsigned char *)text, strlen(text), result,
	           &written) != NULL &&
	    written == SCRAM_KEY;
}

/* RFC 5802 3: SaltedPassword, ClientKey and ServerKey. */
static bool
make_keys(const char *password, const uint8_t *salt, size_t length, uint32_t iterations,
    struct scram_keys *keys)
{
	uint8_t salted[SCRAM_KEY];
	bool good;

	if (keys->iterations == iterations && keys->salt_length == length &&
	    memcmp(keys->salt, salt, length) == 0)
		return true;
	keys->iterations = 0;
	good = PKCS5_PBKDF2_HMAC(password, (int)strlen(password), salt, (int)length,
	           (int)iterations, EVP_sha256(), SCRAM_KEY, salted) == 1 &&
	    hmac(salted, "Client Key", keys->client) && hmac(salted, "Server Key", keys->server);
	explicit_bzero(salted, sizeof(salted));
	if (!good)
		return false;
	keys->iterations = iterations;
	keys->salt_length = length;
	memcpy(keys->salt, salt, length);
	return true;
}

bool
scram_take_first(struct scram *scram, const char *data, size_t length, const char **why)
{
	const char *at = scram->server_first, *value;
	uint8_t salt[SCRAM_SALT_MAX];
	size_t size, salt_length;
	uint32_t iterations;

	*why = "its answer to SCRAM is malformed";
	if (!take_text(data, length, scram->server_first) ||
	    !take_attribute(&at, 'r', &value, &size) || *at++ != ',')
		return false;
	if (!take_nonce(scram, value, size)) {
		*why = "its answer to SCRAM is to another login (the nonce isn't ours)";
		return false;
	}
	if (!take_attribute(&at, 's', &value, &size) || *at++ != ',' ||
	    !base64_decode(value, size, salt, sizeof(salt), &salt_length) || salt_length == 0)
		return false;
	/* Extensions that may be ignored stand behind; those that may not, "m=", in front. */
	if (!take_attribute(&at, 'i', &value, &size) || (*at != '\0' && *at != ','))
		return false;
	iterations = take_count(value, size);
	if (iterations < SCRAM_ITERATIONS_LEAST || iterations > SCRAM_ITERATIONS_MOST) {
		*why = "its count of SCRAM's iterations is out of the range from 4096 to 1000000";
		return false;
	}
	if (!make_keys(scram->password, salt, salt_length, iterations, scram->keys)) {
		*why = "SCRAM can't be computed here";
		return false;
	}
	return true;
}

size_t
scram_make_final(struct scram *scram, char message[SCRAM_MESSAGE_MAX])
{
	char bound[HEADER_MAX + CHANNEL_BINDING_MAX];
	char encoded[BASE64_LENGTH(HEADER_MAX + CHANNEL_BINDING_MAX) + 1];
	char final[SCRAM_TEXT + sizeof(encoded) + 8];
	char text[sizeof(scram->first) + sizeof(scram->server_first) + sizeof(final)];
	uint8_t stored[SCRAM_KEY], signature[SCRAM_KEY], proof[SCRAM_KEY];
	size_t length = strlen(scram->header);

	memcpy(bound, scram->header, length);
	memcpy(bound + length, scram->binding, scram->binding_length);
	base64_encode(bound, length + scram->binding_length, encoded);
	snprintf(final, sizeof(final), "c=%s,r=%s", encoded, scram->nonce);
	/* RFC 5802 3: AuthMessage */
	snprintf(text, sizeof(text), "%s,%s,%s", scram->first, scram->server_first, final);
	SHA256(scram->keys->client, SCRAM_KEY, stored);
	if (!hmac(stored, text, signature) ||
	    !hmac(scram->keys->server, text, scram->server_signature))
		return 0;
	for (size_t i = 0; i < SCRAM_KEY; i++)
		proof[i] = scram->keys->client[i] ^ signature[i];
	base64_encode(proof, sizeof(proof), encoded);
	explicit_bzero(signature, sizeof(signature));
	return (size_t)snprintf(message, SCRAM_MESSAGE_MAX, "%s,p=%s", final, encoded);
}

bool
scram_take_final(struct scram *scram, const char *data, size_t length, const char **why)
{
	char text[SCRAM_TEXT + 1];
	const char *at = text, *value;
	uint8_t signature[SCRAM_KEY];
	size_t size, decoded;

	*why = "its proof of knowing the password is malformed";
	if (!take_text(data, length, text))
		return false;
	if (take_attribute(&at, 'e', &value, &size)) {
		*why = "it refuses our proof of knowing the password";
		return false;
	}
	if (!take_attribute(&at, 'v', &value, &size) || (*at != '\0' && *at != ',') ||
	    !base64_decode(value, size, signature, sizeof(signature), &decoded) ||
	    decoded != SCRAM_KEY)
		return false;
	if (CRYPTO_memcmp(signature, scram->server_signature, SCRAM_KEY) == 0)
		return true;
	*why = "it doesn't know the password itself (wrong signature)";
	return false;
}
