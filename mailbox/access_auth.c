/*
 * Logins: the channel to the directory, which knows what their messages mean, and the word of the
 * supervisor, which brings the mailbox. That comes for a session by its number, before or after the
 * directory's answer: whichever is the last begins the session on the mailbox.
 *
 * What a client says in a login is never logged.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <bsd/string.h>
#include <event2/event.h>

#include "common/base64.h"
#include "common/channel_binding.h"
#include "common/imsg.h"
#include "common/ipc_supervisor.h"
#include "common/log.h"
#include "common/pending.h"
#include "mailbox/access.h"

#define MARGIN_MS 30000 /* over what the directory may take */
#define WAIT_MS   (AUTH_HOLD_MAX * 1000 + MARGIN_MS)

struct access_auth {
	struct event_base *base;
	struct channel *channel; /* NULL: the directory isn't there */
	struct pending *waiting;
	struct buf payload;
};

static const struct {
	const char *name;
	enum sasl_mechanism mechanism;
} mechanisms[] = {
	{ "SCRAM-SHA-256-PLUS", SASL_SCRAM_SHA_256_PLUS },
	{ "SCRAM-SHA-256", SASL_SCRAM_SHA_256 },
	{ "PLAIN", SASL_PLAIN },
	{ "LOGIN", SASL_LOGIN },
};
#define MECHANISM_COUNT (sizeof(mechanisms) / sizeof(mechanisms[0]))

static void
set_bindings(const struct access_session *session, struct ipc_binding *exporter,
    struct ipc_binding *end_point)
{
	size_t length;

	_Static_assert(CHANNEL_BINDING_MAX <= AUTH_BINDING_MAX, "a binding fits");
	if (session->tls == NULL)
		return;
	if (tls_binding_exporter(session->tls, exporter->bytes, &length))
		exporter->length = (uint8_t)length;
	if (tls_binding_certificate(session->tls, end_point->bytes, &length))
		end_point->length = (uint8_t)length;
}

bool
access_auth_is_allowed(const struct access_session *session)
{
	return session->tls != NULL ||
	    (session->listener->auth_without_tls && session->listener->tls != LISTEN_TLS_REQUIRED);
}

/* As for submission: tables of credentials usually hold hashes. */
static bool
is_offered(const struct access_session *session, enum sasl_mechanism mechanism)
{
	struct ipc_binding exporter = { 0 }, end_point = { 0 };
	bool verifiers = strcmp(session->listener->auth_table, "accounts") == 0;

	switch (mechanism) {
	case SASL_PLAIN:
	case SASL_LOGIN:
		return true;
	case SASL_SCRAM_SHA_256:
		return verifiers;
	case SASL_SCRAM_SHA_256_PLUS:
		set_bindings(session, &exporter, &end_point);
		return verifiers && exporter.length + end_point.length > 0;
	case SASL_MECHANISM_COUNT:
		break;
	}
	return false;
}

void
access_auth_list(const struct access_session *session, const char *prefix, char *text, size_t size)
{
	*text = '\0';
	for (size_t i = 0; i < MECHANISM_COUNT; i++) {
		if (!is_offered(session, mechanisms[i].mechanism))
			continue;
		strlcat(text, prefix, size);
		strlcat(text, mechanisms[i].name, size);
	}
}

/* --- to the directory --- */

static void
refuse(struct access_session *session, enum access_refusal refusal, const char *words)
{
	access_auth_forget(session);
	session->access->descriptors -= session->may_open ? 1 : 0;
	session->may_open = session->is_login_good = false;
	session->state = ACCESS_COMMAND;
	access_protocol(session)->refuse(session, refusal, words);
	if (access_count_error(session))
		access_resume(session);
}

static const char not_now[] = "Logins can't be checked now, try again later";

/* Passwords don't stay in the buffer of what was sent last. */
static bool
ask(struct access_session *session, uint16_t type, uint32_t login)
{
	struct access_auth *auth = session->access->auth;

	if (auth->channel == NULL) {
		explicit_bzero(auth->payload.data, auth->payload.length);
		refuse(session, ACCESS_NOT_NOW, not_now);
		return false;
	}
	session->request = pending_add(auth->waiting, session, WAIT_MS);
	channel_send(auth->channel, type, session->request, login, -1, &auth->payload);
	explicit_bzero(auth->payload.data, auth->payload.length);
	session->state = ACCESS_CHECKING;
	return true;
}

static void
begin(struct access_session *session, struct ipc_auth *auth)
{
	struct buf *payload = &session->access->auth->payload;
	struct access *access = session->access;

	if (access->descriptors >= access->descriptors_max) {
		refuse(session, ACCESS_NOT_NOW, "Too many sessions, try again later");
		return;
	}
	access->descriptors++;
	session->may_open = true;
	strlcpy(auth->service, access_protocol(session)->name, sizeof(auth->service));
	strlcpy(auth->table, session->listener->auth_table, sizeof(auth->table));
	auth->session = session->id;
	auth->client_family = (uint8_t)session->family;
	memcpy(auth->client_address, session->address, sizeof(auth->client_address));
	set_bindings(session, &auth->exporter, &auth->end_point);
	buf_clear(payload);
	ipc_auth_encode(payload, auth);
	if (ask(session, DIRECTORY_AUTH, 0))
		session->login = session->request;
}

void
access_auth_password(struct access_session *session, const char *user, size_t user_length,
    const char *password, size_t password_length)
{
	struct ipc_auth auth = { .mechanism = SASL_PLAIN, .has_initial = true };
	uint8_t *at = auth.initial.bytes;

	if (!access_auth_is_allowed(session)) {
		refuse(session, ACCESS_NEEDS_TLS, "Encryption is required before a login");
		return;
	}
	if (user_length + password_length + 2 > sizeof(auth.initial.bytes)) {
		refuse(session, ACCESS_WRONG, "The name or the password is too long");
		return;
	}
	*at++ = '\0'; /* RFC 4616 2: for whom, who, password */
	memcpy(at, user, user_length);
	at += user_length;
	*at++ = '\0';
	memcpy(at, password, password_length);
	auth.initial.length = (uint16_t)(user_length + password_length + 2);
	begin(session, &auth);
	explicit_bzero(&auth, sizeof(auth));
}

static bool
decode(const char *text, size_t length, struct ipc_auth_data *data)
{
	size_t decoded;

	if (!base64_decode(text, length, data->bytes, sizeof(data->bytes), &decoded))
		return false;
	data->length = (uint16_t)decoded;
	return true;
}

void
access_auth_begin(struct access_session *session, const char *mechanism, size_t length,
    const char *initial, size_t initial_length)
{
	struct ipc_auth auth = { .has_initial = initial != NULL };
	size_t i;

	if (!access_auth_is_allowed(session)) {
		refuse(session, ACCESS_NEEDS_TLS, "Encryption is required before a login");
		return;
	}
	for (i = 0; i < MECHANISM_COUNT; i++)
		if (strlen(mechanisms[i].name) == length &&
		    strncasecmp(mechanisms[i].name, mechanism, length) == 0 &&
		    is_offered(session, mechanisms[i].mechanism))
			break;
	if (i == MECHANISM_COUNT) {
		refuse(session, ACCESS_WRONG, "This mechanism is not offered");
		return;
	}
	auth.mechanism = mechanisms[i].mechanism;
	/* "=" alone is an initial response without a byte. */
	if (initial != NULL && initial_length > 0 && !(initial_length == 1 && *initial == '=') &&
	    !decode(initial, initial_length, &auth.initial))
		refuse(session, ACCESS_WRONG, "Not base64");
	else
		begin(session, &auth);
	explicit_bzero(&auth, sizeof(auth));
}

void
access_auth_respond(struct access_session *session, const char *line, size_t length)
{
	struct buf *payload = &session->access->auth->payload;
	struct ipc_auth_data data;

	if (length == 1 && *line == '*') {
		refuse(session, ACCESS_WRONG, "Authentication cancelled");
		return;
	}
	if (!decode(line, length, &data)) {
		refuse(session, ACCESS_WRONG, "Not base64, authentication cancelled");
		return;
	}
	buf_clear(payload);
	ipc_auth_data_encode(payload, &data);
	explicit_bzero(&data, sizeof(data));
	(void)ask(session, DIRECTORY_AUTH_RESPONSE, session->login);
}

void
access_auth_forget(struct access_session *session)
{
	struct access_auth *auth = session->access->auth;

	if (session->login == 0)
		return;
	pending_cancel(auth->waiting, session->request);
	if (auth->channel != NULL)
		channel_send(auth->channel, DIRECTORY_AUTH_CANCEL, 0, session->login, -1, NULL);
	session->login = session->request = 0;
}

/* --- from the directory and the supervisor --- */

void
access_challenge(struct access_session *session, const char *text)
{
	access_send(session, "+ %s\r\n", text);
}

static void
challenge(struct access_session *session, const struct ipc_auth_data *data)
{
	char text[BASE64_LENGTH(AUTH_DATA_MAX) + 1];

	session->request = 0;
	base64_encode(data->bytes, data->length, text);
	access_protocol(session)->challenge(session, text);
	session->state = ACCESS_RESPONSE;
	access_resume(session);
}

static void
finish(struct access_session *session, const struct ipc_auth_done *done)
{
	session->login = session->request = 0;
	if (!reply_is_success(&done->reply)) {
		refuse(session, done->reply.code < 500 ? ACCESS_NOT_NOW : ACCESS_FAILED,
		    done->reply.code < 500 ? "Not now, try again later" : "Authentication failed");
		return;
	}
	session->is_login_good = true;
	session->state = ACCESS_OPENING;
	if (session->mailbox_fd != -1)
		access_relay_begin(session);
}

void
access_auth_opened(struct access *access, uint64_t id, int fd)
{
	struct access_session *session;

	LIST_FOREACH(session, &access->sessions, entry)
	if (session->id == id)
		break;
	if (session == NULL || session->mailbox_fd != -1 ||
	    (session->state != ACCESS_CHECKING && session->state != ACCESS_OPENING)) {
		if (fd != -1)
			(void)close(fd); /* the client is gone; so is the session there */
		return;
	}
	if (fd == -1) {
		refuse(session, ACCESS_NOT_NOW, "The mailbox can't be opened now");
		return;
	}
	session->mailbox_fd = fd;
	if (session->is_login_good)
		access_relay_begin(session);
}

static void
on_receive(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct access_auth *auth = arg;
	struct access_session *session;
	struct ipc_auth_data data;
	struct ipc_auth_done done;
	struct buf_reader reader;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (imsg->type == DIRECTORY_AUTH_CHALLENGE && ipc_auth_data_decode(&reader, &data) &&
	    buf_reader_done(&reader)) {
		session = pending_take(auth->waiting, imsg->id);
		if (session != NULL)
			challenge(session, &data);
	} else if (imsg->type == DIRECTORY_AUTH_DONE && ipc_auth_done_decode(&reader, &done) &&
	    buf_reader_done(&reader)) {
		session = pending_take(auth->waiting, imsg->id);
		if (session != NULL)
			finish(session, &done);
	} else
		channel_reject(channel, imsg, "not a message of this channel");
}

static void
on_closed(struct channel *channel, const char *why, void *arg)
{
	struct access_auth *auth = arg;

	log_debug("the channel to directory is closed: %s", why);
	auth->channel = NULL;
	channel_free(channel);
	pending_fail_all(auth->waiting, why);
}

static void
on_failed(void *owner, uint32_t id, const char *why, void *arg)
{
	struct access_session *session = owner;

	(void)id;
	(void)why;
	(void)arg;
	session->login = session->request = 0;
	refuse(session, ACCESS_NOT_NOW, not_now);
}

struct access_auth *
access_auth_new(struct event_base *base)
{
	struct access_auth *auth = calloc(1, sizeof(*auth));

	if (auth == NULL)
		fatal("logins");
	auth->base = base;
	auth->waiting = pending_new(base, on_failed, auth);
	buf_init(&auth->payload, IMSG_PAYLOAD_MAX);
	return auth;
}

void
access_auth_free(struct access_auth *auth)
{
	channel_free(auth->channel);
	pending_free(auth->waiting);
	buf_free(&auth->payload);
	free(auth);
}

void
access_auth_set_channel(struct access_auth *auth, int fd)
{
	channel_free(auth->channel);
	auth->channel = NULL;
	pending_fail_all(auth->waiting, "it was replaced");
	auth->channel = channel_new(auth->base, "directory", fd, on_receive, on_closed, auth);
}
