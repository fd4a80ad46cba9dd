/*
 * Messages are taken apart by attribute, each of which must stand where RFC 5802 7 puts it. The
 * texts that the proof is over are kept as they came.
 *
 * User names and passwords are compared as they come, without SASLprep (RFC 4013): it changes only
 * characters beyond ASCII, and few of those that keyboards make.
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
#include "common/log.h"
#include "lookup/scram.h"

#define CLIENT_TEXT  1024 /* of a message of the client's */
#define NONCE_CLIENT 256
#define NONCE_SERVER 24

_Static_assert(SCRAM_SALT_MAX == 2 * SCRAM_KEY, "an invented salt is two digests");

struct scram {
	bool plus;
	struct ipc_binding exporter;
	struct ipc_binding end_point;
	char gs2_header[CLIENT_TEXT + 1]; /* "p=tls-exporter,,": base64 of it comes again */
	const struct ipc_binding *binding;
	char client_first[CLIENT_TEXT + 1]; /* without the header */
	char nonce[NONCE_CLIENT + 2 * NONCE_SERVER + 1];
	char own_nonce[2 * NONCE_SERVER + 1];
	char server_first[SCRAM_MESSAGE_MAX + 1];
	char client_final[CLIENT_TEXT + 1]; /* without the proof */
	uint8_t proof[SCRAM_KEY];
	struct scram_verifier verifier;
};

/* Verifiers */

static bool
take_key(const char *text, size_t length, uint8_t key[SCRAM_KEY])
{
	size_t decoded;

	return base64_decode(text, length, key, SCRAM_KEY, &decoded) && decoded == SCRAM_KEY;
}

bool
scram_verifier_parse(const char *text, struct scram_verifier *verifier)
{
	const char *salt = strchr(text, ','), *stored, *server;
	char *end;
	unsigned long iterations;

	memset(verifier, 0, sizeof(*verifier));
	if (salt == NULL || *text < '1' || *text > '9')
		return false;
	iterations = strtoul(text, &end, 10);
	if (end != salt || iterations > SCRAM_ITERATIONS_MAX)
		return false;
	verifier->iterations = (uint32_t)iterations;
	stored = strchr(++salt, ',');
	server = stored == NULL ? NULL : strchr(stored + 1, ',');
	if (server == NULL)
		return false;
	return base64_decode(salt, (size_t)(stored - salt), verifier->salt, sizeof(verifier->salt),
	           &verifier->salt_length) &&
	    verifier->salt_length > 0 &&
	    take_key(stored + 1, (size_t)(server - stored) - 1, verifier->stored_key) &&
	    take_key(server + 1, strlen(server + 1), verifier->server_key);
}

static void
hmac(const uint8_t *key, size_t key_length, const void *data, size_t length,
    uint8_t result[SCRAM_KEY])
{
	unsigned written = SCRAM_KEY;

	if (HMAC(EVP_sha256(), key, (int)key_length, data, length, result, &written) == NULL ||
	    written != SCRAM_KEY)
		fatalx("HMAC-SHA-256 can't be computed");
}

bool
scram_verifier_check(const struct scram_verifier *verifier, const char *password)
{
	static const char label[] = "Client Key";
	uint8_t salted[SCRAM_KEY], key[SCRAM_KEY], stored[SCRAM_KEY];
	bool right;

	if (PKCS5_PBKDF2_HMAC(password, (int)strlen(password), verifier->salt,
	        (int)verifier->salt_length, (int)verifier->iterations, EVP_sha256(), SCRAM_KEY,
	        salted) != 1)
		return false;
	hmac(salted, sizeof(salted), label, sizeof(label) - 1, key);
	SHA256(key, sizeof(key), stored);
	right = CRYPTO_memcmp(stored, verifier->stored_key, sizeof(stored)) == 0;
	explicit_bzero(salted, sizeof(salted));
	explicit_bzero(key, sizeof(key));
	return right;
}

void
scram_verifier_invent(struct scram_verifier *like, const char *user, const uint8_t secret[32])
{
	hmac(secret, 32, user, strlen(user), like->salt);
	hmac(like->salt, SCRAM_KEY, user, strlen(user), like->salt + SCRAM_KEY);
	arc4random_buf(like->stored_key, sizeof(like->stored_key));
	arc4random_buf(like->server_key, sizeof(like->server_key));
}

/* Messages */

struct scram *
scram_new(bool plus, const struct ipc_binding *exporter, const struct ipc_binding *end_point)
{
	struct scram *scram = calloc(1, sizeof(*scram));
	uint8_t nonce[NONCE_SERVER * 3 / 4];

	if (scram == NULL)
		fatal("out of memory");
	scram->plus = plus;
	scram->exporter = *exporter;
	scram->end_point = *end_point;
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

/* Whether `data` begins with this attribute ("n="); it is then moved behind its value, which goes
 * up to the next comma. */
static bool
take_attribute(const char **data, char name, const char **value, size_t *length)
{
	const char *at = *data;

	if (at[0] != name || at[0] == '\0' || at[1] != '=')
		return false;
	*value = at + 2;
	*length = strcspn(*value, ",");
	*data = *value + *length;
	return true;
}

/* RFC 5802 5.1: "=2C" is a comma, "=3D" an equals sign, another "=" an error. */
static bool
take_user(const char *text, size_t length, char *user, size_t size)
{
	size_t out = 0;

	for (size_t i = 0; i < length; i++) {
		char byte = text[i];

		if (byte == '=') {
			if (length - i < 3)
				return false;
			if (strncmp(text + i, "=2C", 3) == 0)
				byte = ',';
			else if (strncmp(text + i, "=3D", 3) != 0)
				return false;
			i += 2;
		}
		if (out + 1 >= size)
			return false;
		user[out++] = byte;
	}
	user[out] = '\0';
	return out > 0;
}

/* gs2-cbind-flag: how the client wants to bind, as it must be with this mechanism. */
static bool
take_binding(struct scram *scram, const char **data)
{
	const char *value;
	size_t length;

	if (take_attribute(data, 'p', &value, &length)) {
		if (length == 12 && strncmp(value, "tls-exporter", length) == 0)
			scram->binding = &scram->exporter;
		else if (length == 20 && strncmp(value, "tls-server-end-point", length) == 0)
			scram->binding = &scram->end_point;
		return scram->plus && scram->binding != NULL && scram->binding->length > 0;
	}
	if (scram->plus || (**data != 'n' && **data != 'y'))
		return false;
	/* RFC 5802 6: "y" is said by a client that could bind and was told that we couldn't. If we
	 * can, somebody between has taken -PLUS off our list. */
	if (**data == 'y' && (scram->exporter.length > 0 || scram->end_point.length > 0))
		return false;
	(*data)++;
	return true;
}

static bool
take_text(const char *data, size_t length, char text[CLIENT_TEXT + 1])
{
	if (length > CLIENT_TEXT || memchr(data, '\0', length) != NULL)
		return false;
	memcpy(text, data, length);
	text[length] = '\0';
	return true;
}

static bool
is_nonce(const char *text, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (text[i] < '!' || text[i] > '~')
			return false;
	}
	return length > 0 && length <= NONCE_CLIENT;
}

bool
scram_take_first(struct scram *scram, const char *data, size_t length, char *user, size_t user_size)
{
	char text[CLIENT_TEXT + 1], identity[256] = "";
	const char *at = text, *value, *bare;
	size_t size;

	if (!take_text(data, length, text) || !take_binding(scram, &at) || *at++ != ',')
		return false;
	if (take_attribute(&at, 'a', &value, &size) &&
	    !take_user(value, size, identity, sizeof(identity)))
		return false;
	if (*at++ != ',')
		return false;
	bare = at;
	memcpy(scram->gs2_header, text, (size_t)(bare - text));
	scram->gs2_header[bare - text] = '\0';
	/* An "m=" here would be an extension that must be understood: none is. */
	if (!take_attribute(&at, 'n', &value, &size) || !take_user(value, size, user, user_size) ||
	    *at++ != ',')
		return false;
	if (!take_attribute(&at, 'r', &value, &size) || !is_nonce(value, size) ||
	    (*at != '\0' && *at != ','))
		return false;
	if (*identity != '\0' && strcmp(identity, user) != 0)
		return false;
	snprintf(scram->nonce, sizeof(scram->nonce), "%.*s", (int)size, value);
	strlcpy(scram->client_first, bare, sizeof(scram->client_first));
	return true;
}

size_t
scram_make_first(
    struct scram *scram, const struct scram_verifier *verifier, char *message, size_t size)
{
	char salt[BASE64_LENGTH(SCRAM_SALT_MAX) + 1];

	scram->verifier = *verifier;
	strlcat(scram->nonce, scram->own_nonce, sizeof(scram->nonce));
	base64_encode(verifier->salt, verifier->salt_length, salt);
	snprintf(scram->server_first, sizeof(scram->server_first), "r=%s,s=%s,i=%u", scram->nonce,
	    salt, verifier->iterations);
	return strlcpy(message, scram->server_first, size);
}

/* c=: base64 of the header that came first, and of the channel's binding behind it. */
static bool
is_bound(const struct scram *scram, const char *value, size_t length)
{
	uint8_t wanted[CLIENT_TEXT + AUTH_BINDING_MAX], given[CLIENT_TEXT + AUTH_BINDING_MAX];
	size_t count = strlen(scram->gs2_header), decoded;

	memcpy(wanted, scram->gs2_header, count);
	if (scram->binding != NULL) {
		memcpy(wanted + count, scram->binding->bytes, scram->binding->length);
		count += scram->binding->length;
	}
	return base64_decode(value, length, given, sizeof(given), &decoded) && decoded == count &&
	    CRYPTO_memcmp(given, wanted, count) == 0;
}

bool
scram_take_final(struct scram *scram, const char *data, size_t length)
{
	char text[CLIENT_TEXT + 1];
	const char *at = text, *value, *proof;
	size_t size;

	if (!take_text(data, length, text))
		return false;
	if (!take_attribute(&at, 'c', &value, &size) || !is_bound(scram, value, size) ||
	    *at++ != ',')
		return false;
	if (!take_attribute(&at, 'r', &value, &size) || size != strlen(scram->nonce) ||
	    strncmp(value, scram->nonce, size) != 0)
		return false;
	/* Extensions may come between; the proof is last. */
	for (proof = at; proof[0] == ',' && proof[1] != 'p';)
		proof += 1 + strcspn(proof + 1, ",");
	if (*proof != ',')
		return false;
	at = proof + 1;
	if (!take_attribute(&at, 'p', &value, &size) || *at != '\0' ||
	    !take_key(value, size, scram->proof))
		return false;
	memcpy(scram->client_final, text, (size_t)(proof - text));
	scram->client_final[proof - text] = '\0';
	return true;
}

bool
scram_check_proof(struct scram *scram, char *message, size_t size, size_t *length)
{
	char text[sizeof(scram->client_first) + sizeof(scram->server_first) +
	    sizeof(scram->client_final)];
	uint8_t signature[SCRAM_KEY], key[SCRAM_KEY], stored[SCRAM_KEY];
	char encoded[BASE64_LENGTH(SCRAM_KEY) + 1];
	int count;
	bool right;

	/* RFC 5802 3: AuthMessage */
	count = snprintf(text, sizeof(text), "%s,%s,%s", scram->client_first, scram->server_first,
	    scram->client_final);
	hmac(scram->verifier.stored_key, SCRAM_KEY, text, (size_t)count, signature);
	for (size_t i = 0; i < SCRAM_KEY; i++)
		key[i] = scram->proof[i] ^ signature[i];
	SHA256(key, sizeof(key), stored);
	right = CRYPTO_memcmp(stored, scram->verifier.stored_key, sizeof(stored)) == 0;
	hmac(scram->verifier.server_key, SCRAM_KEY, text, (size_t)count, signature);
	base64_encode(signature, sizeof(signature), encoded);
	*length = 0;
	if (right)
		*length = (size_t)snprintf(message, size, "v=%s", encoded);
	explicit_bzero(key, sizeof(key));
	explicit_bzero(signature, sizeof(signature));
	return right;
}
