/*
 * AUTH (RFC 4954): the command, the lines of its dialogue, and their answers. Base64 is undone and
 * made here; what the messages mean is the directory's to know.
 *
 * Passwords pass here in the clear, and clients that are refused may go on to send theirs as if
 * they weren't. So no line of a login is logged or traced, nor one that isn't a command behind it.
 */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <bsd/string.h>

#include "common/base64.h"
#include "smtpd/session_state.h"

#define LINE_LONGEST 12288 /* with its CRLF: RFC 4954 4 */
#define MARGIN_MS    30000 /* over what the directory may take */

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

static bool
get_binding(const struct session *s, const char *type, struct ipc_binding *binding)
{
	uint8_t bytes[SESSION_BINDING_MAX];
	size_t length;

	_Static_assert(SESSION_BINDING_MAX <= AUTH_BINDING_MAX, "a binding fits");
	if (!session_channel_binding(s, type, bytes, &length))
		return false;
	memcpy(binding->bytes, bytes, length);
	binding->length = (uint8_t)length;
	return true;
}

static bool
can_bind(const struct session *s)
{
	struct ipc_binding binding;

	return get_binding(s, "tls-exporter", &binding) ||
	    get_binding(s, "tls-server-end-point", &binding);
}

static bool
is_allowed(const struct session *s)
{
	return s->listener->auth != LISTEN_AUTH_NONE &&
	    (session_is_encrypted(s) || s->listener->auth_without_tls);
}

/* Tables of credentials usually hold hashes, and who offers SCRAM is asked for it by clients that
 * could log in otherwise. */
static bool
is_offered(const struct session *s, enum sasl_mechanism mechanism)
{
	bool verifiers = strcmp(s->listener->auth_table, "accounts") == 0;

	switch (mechanism) {
	case SASL_PLAIN:
	case SASL_LOGIN:
		return true;
	case SASL_SCRAM_SHA_256:
		return verifiers;
	case SASL_SCRAM_SHA_256_PLUS:
		return verifiers && can_bind(s);
	case SASL_MECHANISM_COUNT:
		break;
	}
	return false;
}

void
session_send_auth_extension(struct session *s)
{
	char list[128] = "";

	if (!is_allowed(s) || s->auth_user != NULL)
		return;
	for (size_t i = 0; i < MECHANISM_COUNT; i++) {
		if (!is_offered(s, mechanisms[i].mechanism))
			continue;
		strlcat(list, " ", sizeof(list));
		strlcat(list, mechanisms[i].name, sizeof(list));
	}
	session_send_line(s, "250-AUTH%s", list);
}

static void
log_refused(struct session *s, const struct reply *reply)
{
	struct log_line line;

	session_log_begin(s, &line, LOG_LEVEL_INFO, "command-refused");
	log_text(&line, "address", s->client_text);
	log_text(&line, "command", "AUTH");
	session_log_reply(&line, reply);
	log_end(&line);
}

/* The login is over, without success. */
static void
refuse(struct session *s, unsigned code, const char *enhanced, const char *text)
{
	struct reply reply;

	session_forget_login(s);
	s->auth_refused = true;
	reply_set(&reply, code, enhanced, "%s", text);
	log_refused(s, &reply);
	session_send(s, &reply);
	s->state = SESSION_COMMAND;
}

void
session_forget_login(struct session *s)
{
	if (s->auth_login != 0)
		upstream_cancel_auth(s->service->upstream, s->auth_login, s->auth_request);
	s->auth_login = s->auth_request = 0;
}

/* What came instead of a command that could be a login. */
static bool
refuse_untimely(struct session *s)
{
	if (s->listener->auth == LISTEN_AUTH_NONE)
		refuse(s, 502, "5.5.1", "AUTH is not offered");
	else if (!s->extended || s->helo == NULL)
		refuse(s, 503, "5.5.1", s->lmtp ? "say LHLO first" : "say EHLO first");
	else if (s->auth_user != NULL)
		refuse(s, 503, "5.5.1", "already authenticated");
	else if (s->mail != NULL)
		refuse(s, 503, "5.5.1", "not during a mail transaction");
	else if (!is_allowed(s))
		refuse(s, 538, "5.7.11", "encryption is required, say STARTTLS first");
	else
		return false;
	return true;
}

static const char deferred[] = "logins can't be checked now, try again later";

static void
begin(struct session *s, struct ipc_auth *auth)
{
	strlcpy(auth->service, s->lmtp ? "lmtp" : "smtp", sizeof(auth->service));
	strlcpy(auth->table, s->listener->auth_table, sizeof(auth->table));
	auth->session = s->id;
	auth->client_family = (uint8_t)s->client.family;
	memcpy(auth->client_address, s->client.address, sizeof(auth->client_address));
	(void)get_binding(s, "tls-exporter", &auth->exporter);
	(void)get_binding(s, "tls-server-end-point", &auth->end_point);
	s->auth_login = s->auth_request =
	    upstream_begin_auth(s->service->upstream, s, auth, AUTH_HOLD_MAX * 1000 + MARGIN_MS);
	if (s->auth_login == 0)
		refuse(s, 454, "4.7.0", deferred);
	else
		s->state = SESSION_AUTH_WAIT;
}

/* What was read stays in the process's buffer until the next client has sent as much: passwords
 * don't. The bytes are those of a line that has been used up. */
static void
wipe(const char *text, size_t length)
{
	explicit_bzero((void *)(uintptr_t)text, length);
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

static void
start(struct session *s, const struct command *command)
{
	const char *argument = command->argument, *end = argument + command->length;
	const char *blank = memchr(argument, ' ', command->length);
	size_t length = blank == NULL ? command->length : (size_t)(blank - argument), i;
	struct ipc_auth auth = { .has_initial = blank != NULL };

	if (refuse_untimely(s))
		return;
	for (i = 0; i < MECHANISM_COUNT; i++) {
		if (strlen(mechanisms[i].name) == length &&
		    strncasecmp(mechanisms[i].name, argument, length) == 0 &&
		    is_offered(s, mechanisms[i].mechanism))
			break;
	}
	if (length == 0) {
		refuse(s, 501, "5.5.4", "a mechanism must follow");
		return;
	}
	if (i == MECHANISM_COUNT) {
		refuse(s, 504, "5.5.4", "this mechanism is not offered");
		return;
	}
	auth.mechanism = mechanisms[i].mechanism;
	s->auth_mechanism = mechanisms[i].name;
	/* "=" alone is an initial response without a byte. */
	if (blank != NULL && !(end - blank == 2 && blank[1] == '=') &&
	    !decode(blank + 1, (size_t)(end - blank) - 1, &auth.initial))
		refuse(s, 501, "5.5.2", "not base64");
	else
		begin(s, &auth);
	explicit_bzero(&auth, sizeof(auth));
}

void
session_auth(struct session *s, const struct command *command)
{
	start(s, command);
	wipe(command->argument, command->length);
}

static void
respond(struct session *s, const char *text, size_t length)
{
	struct ipc_auth_data data;

	session_trace(s, "smtp-auth-response", "", 0);
	if (length == 1 && *text == '*') {
		refuse(s, 501, "5.7.0", "authentication cancelled"); /* RFC 4954 4 */
		return;
	}
	if (!decode(text, length, &data)) {
		refuse(s, 501, "5.5.2", "not base64, authentication cancelled");
		return;
	}
	s->auth_request = upstream_respond_auth(
	    s->service->upstream, s, s->auth_login, &data, AUTH_HOLD_MAX * 1000 + MARGIN_MS);
	explicit_bzero(&data, sizeof(data));
	if (s->auth_request == 0)
		refuse(s, 454, "4.7.0", deferred);
	else
		s->state = SESSION_AUTH_WAIT;
}

size_t
session_take_auth_line(struct session *s, const char *data, size_t length)
{
	const char *end = memchr(data, '\n', length < LINE_LONGEST ? length : LINE_LONGEST);
	size_t used;

	if (end == NULL) {
		if (length >= LINE_LONGEST) {
			refuse(s, 500, "5.5.6", "line too long, authentication cancelled");
			s->dropped = 0;
			s->state = SESSION_SKIP_LINE;
		}
		return 0;
	}
	used = (size_t)(end + 1 - data);
	s->input_behind = length - used;
	if (end > data && end[-1] == '\r')
		respond(s, data, used - 2);
	else if (session_config(s)->line_ends == LINE_ENDS_NORMALISE)
		respond(s, data, used - 1);
	else /* RFC 5321 2.3.8 */
		refuse(s, 500, "5.5.2", "a line must end with CR LF, authentication cancelled");
	wipe(data, used);
	return used;
}

void
session_auth_challenged(void *owner, const void *data, size_t length)
{
	struct session *s = owner;
	char text[BASE64_LENGTH(AUTH_DATA_MAX) + 1];

	s->auth_request = 0;
	if (s->service->stopping) {
		session_forget_login(s);
		session_shut(s, "4.3.2", "shutdown", "is shutting down");
		session_settle(s);
		return;
	}
	base64_encode(data, length, text);
	session_send_line(s, "334 %s", text);
	s->state = SESSION_AUTH;
	session_resume(s);
}

void
session_auth_answered(void *owner, const struct ipc_auth_done *done)
{
	struct session *s = owner;

	s->auth_login = s->auth_request = 0;
	s->state = SESSION_COMMAND;
	if (reply_is_success(&done->reply) && *done->user != '\0')
		s->auth_user = strdup(done->user);
	if (s->auth_user != NULL)
		session_send(s, &done->reply);
	else if (reply_is_success(&done->reply))
		refuse(s, 454, "4.7.0", deferred);
	else {
		s->auth_refused = true;
		session_send(s, &done->reply); /* the directory has logged it */
	}
	session_resume(s);
}
