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
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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
