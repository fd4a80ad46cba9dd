/*
 * Each mechanism is a row of messages, ours and the server's in turn. The first of ours goes with
 * the command, unless it is too long for a line (RFC 4954 4): then the server asks for it. LOGIN
 * answers two questions whose words don't matter.
 */
#include <stdlib.h>
#include <string.h>

#include <openssl/ssl.h>

#include "common/base64.h"
#include "deliver/relay_auth.h"

#define CREDENTIALS_MAX 512 /* each of the two */
#define LINE_MAX_BYTES  510 /* of a command (RFC 5321 4.5.3.1.4), without CRLF */

struct auth {
	enum auth_mechanism mechanism;
	const char *user;
	const char *password;
	unsigned step; /* messages of ours that were sent */
	bool is_proven;
	struct scram *scram;
};

static const char *const names[AUTH_MECHANISM_COUNT] = {
	[AUTH_SCRAM_SHA_256_PLUS] = "SCRAM-SHA-256-PLUS",
	[AUTH_SCRAM_SHA_256] = "SCRAM-SHA-256",
	[AUTH_PLAIN] = "PLAIN",
	[AUTH_LOGIN] = "LOGIN",
};

enum auth_mechanism
auth_choose(const struct extensions *extensions)
{
	enum auth_mechanism mechanism;

	for (mechanism = 0; mechanism < AUTH_MECHANISM_COUNT; mechanism++)
		if (extensions->auth[mechanism])
			break;
	return mechanism;
}

/* RFC 9266 1 is for TLS 1.3, where RFC 5929's kind is the one of older versions that servers have
 * too. */
static struct scram *
bind_scram(const struct auth *auth, SSL *ssl, struct scram_keys *keys)
{
	bool plus = auth->mechanism == AUTH_SCRAM_SHA_256_PLUS;
	uint8_t binding[CHANNEL_BINDING_MAX];
	const char *type = NULL;
	X509 *certificate;
	size_t length = 0;

	if (ssl != NULL && SSL_version(ssl) >= TLS1_3_VERSION) {
		if (channel_binding_exporter(ssl, binding, &length))
			type = "tls-exporter";
	} else if (ssl != NULL) {
		certificate = SSL_get0_peer_certificate(ssl);
		if (certificate != NULL && channel_binding_end_point(certificate, binding, &length))
			type = "tls-server-end-point";
	}
	if (plus && type == NULL)
		return NULL;
	return scram_new(auth->user, auth->password, type, binding, length, plus, keys);
}

struct auth *
auth_new(enum auth_mechanism mechanism, const char *user, const char *password, SSL *ssl,
    struct scram_keys *keys)
{
	bool is_scram = mechanism == AUTH_SCRAM_SHA_256_PLUS || mechanism == AUTH_SCRAM_SHA_256;
	struct auth *auth;

	if (strlen(user) > CREDENTIALS_MAX || strlen(password) > CREDENTIALS_MAX)
		return NULL;
	auth = calloc(1, sizeof(*auth));
	if (auth == NULL)
		return NULL;
	auth->mechanism = mechanism;
	auth->user = user;
	auth->password = password;
	if (is_scram) {
		auth->scram = bind_scram(auth, ssl, keys);
		if (auth->scram == NULL) {
			free(auth);
			return NULL;
		}
	}
	return auth;
}

void
auth_free(struct auth *auth)
{
	if (auth == NULL)
		return;
	scram_free(auth->scram);
	free(auth);
}

static void
add_base64(struct buf *buf, const void *data, size_t length)
{
	char text[BASE64_LENGTH(SCRAM_MESSAGE_MAX) + 1];

	base64_encode(data, length, text);
	buf_add_text(buf, text);
	explicit_bzero(text, sizeof(text));
}

/* RFC 4616 2 */
static size_t
make_plain(const struct auth *auth, char message[SCRAM_MESSAGE_MAX])
{
	size_t user = strlen(auth->user), password = strlen(auth->password);

	message[0] = '\0';
	memcpy(message + 1, auth->user, user + 1);
	memcpy(message + user + 2, auth->password, password);
	return user + password + 2;
}

/* The first message, of a mechanism whose client speaks first. */
static size_t
make_first(struct auth *auth, char message[SCRAM_MESSAGE_MAX])
{
	return auth->scram != NULL ? scram_make_first(auth->scram, message)
	                           : make_plain(auth, message);
}

void
auth_begin(struct auth *auth, struct buf *buf)
{
	char message[SCRAM_MESSAGE_MAX];
	size_t length, name = strlen(names[auth->mechanism]);

	buf_printf(buf, "AUTH %s", names[auth->mechanism]);
	if (auth->mechanism != AUTH_LOGIN) {
		length = make_first(auth, message);
		if (5 + name + 1 + BASE64_LENGTH(length) <= LINE_MAX_BYTES) {
			buf_add_text(buf, " ");
			add_base64(buf, message, length);
			auth->step = 1;
		}
		explicit_bzero(message, sizeof(message));
	}
	buf_add_text(buf, "\r\n");
}

/* What answers the challenge, of a mechanism whose first message has been sent. */
static bool
answer_scram(
    struct auth *auth, const char *challenge, char *message, size_t *length, const char **why)
{
	char text[SCRAM_TEXT];
	size_t size;

	if (!base64_decode(challenge, strlen(challenge), text, sizeof(text), &size)) {
		*why = "its answer to SCRAM is no base64, or too long";
		return false;
	}
	if (auth->step == 1) {
		if (!scram_take_first(auth->scram, text, size, why))
			return false;
		*length = scram_make_final(auth->scram, message);
		*why = "SCRAM can't be computed here";
		return *length > 0;
	}
	if (!scram_take_final(auth->scram, text, size, why))
		return false;
	/* RFC 4954 4: what comes with success comes as a challenge, answered by nothing. */
	auth->is_proven = true;
	*length = 0;
	return true;
}

bool
auth_answer(struct auth *auth, const char *challenge, struct buf *buf, const char **why)
{
	char message[SCRAM_MESSAGE_MAX];
	size_t length = 0;
	bool goes_on = true;

	*why = "it asks for more than AUTH has";
	switch (auth->mechanism) {
	case AUTH_SCRAM_SHA_256_PLUS:
	case AUTH_SCRAM_SHA_256:
		if (auth->step == 0)
			length = make_first(auth, message);
		else
			goes_on = auth->step < 3 && !auth->is_proven &&
			    answer_scram(auth, challenge, message, &length, why);
		break;
	case AUTH_PLAIN:
		goes_on = auth->step == 0;
		length = make_first(auth, message);
		break;
	case AUTH_LOGIN:
		goes_on = auth->step < 2;
		length = strlen(auth->step == 0 ? auth->user : auth->password);
		memcpy(message, auth->step == 0 ? auth->user : auth->password, length);
		break;
	case AUTH_MECHANISM_COUNT:
		goes_on = false;
		break;
	}
	if (goes_on) {
		add_base64(buf, message, length);
		buf_add_text(buf, "\r\n");
		auth->step++;
	}
	explicit_bzero(message, sizeof(message));
	return goes_on;
}

bool
auth_is_complete(const struct auth *auth)
{
	return auth->scram == NULL || auth->is_proven;
}
