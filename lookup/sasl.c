/*
 * PLAIN and LOGIN, and the steps of all. What is malformed ends a dialogue; so does an identity to
 * act as that isn't the one that logs in: nobody here acts for another.
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include <bsd/string.h>

#include "lookup/sasl.h"

void
sasl_init(struct sasl *sasl, enum sasl_mechanism mechanism, const struct ipc_binding *exporter,
    const struct ipc_binding *end_point)
{
	memset(sasl, 0, sizeof(*sasl));
	sasl->mechanism = mechanism;
	if (mechanism == SASL_SCRAM_SHA_256 || mechanism == SASL_SCRAM_SHA_256_PLUS)
		sasl->scram = scram_new(mechanism == SASL_SCRAM_SHA_256_PLUS, exporter, end_point);
}

void
sasl_free(struct sasl *sasl)
{
	scram_free(sasl->scram);
	explicit_bzero(sasl, sizeof(*sasl));
}

static enum sasl_wants
challenge(struct sasl *sasl, const char *text)
{
	sasl->message_length = strlcpy(sasl->message, text, sizeof(sasl->message));
	return SASL_CHALLENGE;
}

/* A part of a message as a string: not empty, without a NUL, and not too long. */
static bool
take_text(const char *data, size_t length, char *text, size_t size)
{
	if (length == 0 || length >= size || memchr(data, '\0', length) != NULL)
		return false;
	memcpy(text, data, length);
	text[length] = '\0';
	return true;
}

/* RFC 4616 2: [authzid] NUL authcid NUL passwd. */
static enum sasl_wants
respond_plain(struct sasl *sasl, const char *data, size_t length)
{
	const char *end = data + length, *user, *password;
	char identity[SASL_USER_MAX + 1] = "";

	user = memchr(data, '\0', length);
	if (user == NULL)
		return SASL_MALFORMED;
	user++;
	password = memchr(user, '\0', (size_t)(end - user));
	if (password == NULL)
		return SASL_MALFORMED;
	password++;
	if (!take_text(user, (size_t)(password - user) - 1, sasl->user, sizeof(sasl->user)) ||
	    !take_text(password, (size_t)(end - password), sasl->password, sizeof(sasl->password)))
		return SASL_MALFORMED;
	if (user - data > 1 &&
	    (!take_text(data, (size_t)(user - data) - 1, identity, sizeof(identity)) ||
	        strcasecmp(identity, sasl->user) != 0))
		return SASL_MALFORMED;
	return SASL_PASSWORD;
}

/* Nowhere defined but in an expired draft, and asked for so by all. */
static enum sasl_wants
respond_login(struct sasl *sasl, const char *data, size_t length)
{
	if (sasl->step++ == 0)
		return take_text(data, length, sasl->user, sizeof(sasl->user))
		    ? challenge(sasl, "Password:")
		    : SASL_MALFORMED;
	return take_text(data, length, sasl->password, sizeof(sasl->password)) ? SASL_PASSWORD
	                                                                       : SASL_MALFORMED;
}

static enum sasl_wants
respond_scram(struct sasl *sasl, const char *data, size_t length)
{
	switch (sasl->step++) {
	case 0:
		return scram_take_first(sasl->scram, data, length, sasl->user, sizeof(sasl->user))
		    ? SASL_VERIFIER
		    : SASL_MALFORMED;
	case 1:
		return scram_take_final(sasl->scram, data, length) ? SASL_PROOF : SASL_MALFORMED;
	default:
		/* RFC 5802 leaves nothing to be said. */
		return length == 0 ? SASL_DONE : SASL_MALFORMED;
	}
}

enum sasl_wants
sasl_respond(struct sasl *sasl, const void *data, size_t length)
{
	switch (sasl->mechanism) {
	case SASL_PLAIN:
		return respond_plain(sasl, data, length);
	case SASL_LOGIN:
		return respond_login(sasl, data, length);
	case SASL_SCRAM_SHA_256:
	case SASL_SCRAM_SHA_256_PLUS:
		return respond_scram(sasl, data, length);
	case SASL_MECHANISM_COUNT:
		break;
	}
	return SASL_MALFORMED;
}

void
sasl_begin(struct sasl *sasl)
{
	(void)challenge(sasl, sasl->mechanism == SASL_LOGIN ? "Username:" : "");
}

void
sasl_use_verifier(struct sasl *sasl, const struct scram_verifier *verifier)
{
	sasl->message_length =
	    scram_make_first(sasl->scram, verifier, sasl->message, sizeof(sasl->message));
}

bool
sasl_check_proof(struct sasl *sasl)
{
	return scram_check_proof(
	    sasl->scram, sasl->message, sizeof(sasl->message), &sasl->message_length);
}
