/*
 * Reading and hashing passwords.
 *
 * A line is read byte by byte: in a shell's loop the rest of standard input belongs to the next
 * command, and no buffer with other passwords is left behind.
 */
#include <bsd/readpassphrase.h>
#include <crypt.h>
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/stdlib.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include "common/base64.h"
#include "common/ipc_control.h"
#include "smtpctl/password.h"

_Static_assert(PASSWORD_MAX < CRYPT_MAX_PASSPHRASE_SIZE, "libcrypt takes every password");
_Static_assert(PASSWORD_HASH >= CRYPT_OUTPUT_SIZE, "every hash has room");

enum password_result
password_read_line(int fd, char *password)
{
	enum password_result result = PASSWORD_OK;
	size_t length = 0;

	for (;;) {
		char byte;
		ssize_t count = read(fd, &byte, 1);

		if (count == -1 && errno == EINTR)
			continue;
		if (count == -1) {
			warn("standard input");
			result = PASSWORD_ERROR;
			break;
		}
		if (count == 0 && length == 0)
			result = PASSWORD_END;
		if (count == 0 || byte == '\n')
			break;
		if (byte == '\0' || length == PASSWORD_MAX) {
			warnx("a password has at most %d bytes and no NUL", PASSWORD_MAX);
			result = PASSWORD_ERROR;
			break;
		}
		password[length++] = byte;
	}
	if (result == PASSWORD_OK && length == 0) {
		warnx("an empty password");
		result = PASSWORD_ERROR;
	}
	if (result != PASSWORD_OK)
		explicit_bzero(password, length);
	else
		password[length] = '\0';
	return result;
}

static enum password_result
read_prompted(char *password)
{
	char again[PASSWORD_MAX + 2];
	char first[PASSWORD_MAX + 2];
	enum password_result result = PASSWORD_ERROR;

	if (readpassphrase("Password: ", first, sizeof(first), RPP_ECHO_OFF) == NULL)
		warn("the password could not be read");
	else if (strlen(first) > PASSWORD_MAX)
		warnx("a password has at most %d bytes", PASSWORD_MAX);
	else if (first[0] == '\0')
		warnx("an empty password");
	else if (readpassphrase("Again: ", again, sizeof(again), RPP_ECHO_OFF) == NULL)
		warn("the password could not be read");
	else if (strcmp(first, again) != 0)
		warnx("the two differ");
	else {
		memcpy(password, first, strlen(first) + 1);
		result = PASSWORD_OK;
	}
	explicit_bzero(first, sizeof(first));
	explicit_bzero(again, sizeof(again));
	return result;
}

enum password_result
password_read(char *password)
{
	if (isatty(STDIN_FILENO) == 1)
		return read_prompted(password);
	return password_read_line(STDIN_FILENO, password);
}

bool
password_hash(char *password, char *hash)
{
	char salt[CRYPT_GENSALT_OUTPUT_SIZE];
	struct crypt_data *data = calloc(1, sizeof(*data));
	const char *result = NULL;

	if (data == NULL)
		warn("password");
	else if (crypt_gensalt_rn("$y$", 0, NULL, 0, salt, sizeof(salt)) == NULL)
		warn("yescrypt");
	else {
		result = crypt_rn(password, salt, data, sizeof(*data));
		if (result == NULL)
			warn("yescrypt");
		else
			memcpy(hash, result, strlen(result) + 1);
	}
	explicit_bzero(password, strlen(password));
	if (data != NULL)
		explicit_bzero(data, sizeof(*data));
	free(data);
	return result != NULL;
}

#define KEY SHA256_DIGEST_LENGTH

static bool
derive(const uint8_t salted[KEY], const char *label, uint8_t key[KEY])
{
	unsigned length;

	return HMAC(EVP_sha256(), salted, KEY, (const uint8_t *)label, strlen(label), key,
	           &length) != NULL &&
	    length == KEY;
}

/* RFC 5802 3: what the server keeps, from which nobody can log in. */
static bool
make_verifier(const char *password, char *text)
{
	uint8_t salt[ACCOUNT_SCRAM_SALT], salted[KEY], client[KEY], stored[KEY], server[KEY];
	char salt_text[BASE64_LENGTH(sizeof(salt)) + 1];
	char stored_text[BASE64_LENGTH(KEY) + 1], server_text[BASE64_LENGTH(KEY) + 1];
	bool made;

	arc4random_buf(salt, sizeof(salt));
	made = PKCS5_PBKDF2_HMAC(password, (int)strlen(password), salt, sizeof(salt),
	           ACCOUNT_SCRAM_ITERATIONS, EVP_sha256(), KEY, salted) == 1 &&
	    derive(salted, "Client Key", client) && derive(salted, "Server Key", server) &&
	    SHA256(client, sizeof(client), stored) != NULL;
	base64_encode(salt, sizeof(salt), salt_text);
	base64_encode(stored, sizeof(stored), stored_text);
	base64_encode(server, sizeof(server), server_text);
	if (made)
		made = snprintf(text, PASSWORD_SCRAM, "%u,%s,%s,%s", ACCOUNT_SCRAM_ITERATIONS,
		           salt_text, stored_text, server_text) < PASSWORD_SCRAM;
	if (!made)
		warnx("SCRAM-SHA-256 can't be computed");
	explicit_bzero(salted, sizeof(salted));
	explicit_bzero(client, sizeof(client));
	return made;
}

bool
password_hash_all(char *password, struct password_hashes *hashes)
{
	bool made = make_verifier(password, hashes->scram);

	return password_hash(password, hashes->crypt) && made;
}
