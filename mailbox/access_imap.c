/*
 * IMAP before login (RFC 9051 6.1, 6.2; RFC 3501): the commands are read by the same parser as after it,
 * with less room. All that isn't named here has to wait for the login.
 */
#include <stdio.h>
#include <string.h>

#include <bsd/string.h>

#include "mailbox/access.h"
#include "mailbox/imap_command.h"

static void
write_capabilities(const struct access_session *session, char *text, size_t size)
{
	char mechanisms[128];

	/* RFC 9051 6.1.1: LOGINDISABLED as long as LOGIN would be refused. */
	access_auth_list(session, " AUTH=", mechanisms, sizeof(mechanisms));
	snprintf(text, size, "IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE%s%s",
	    access_offers_tls(session) ? " STARTTLS" : "",
	    access_auth_is_allowed(session) ? mechanisms : " LOGINDISABLED");
}

static void
greet(struct access_session *session)
{
	char capabilities[256];

	write_capabilities(session, capabilities, sizeof(capabilities));
	access_send(session, "* OK [CAPABILITY %s] %s\r\n", capabilities,
	    *session->listener->hostname != '\0' ? session->listener->hostname
	                                         : session->settings->config->hostname);
}

static void
refuse(struct access_session *session, enum access_refusal refusal, const char *words)
{
	static const char *const codes[] = {
		/* RFC 5530 3 */
		[ACCESS_FAILED] = "NO [AUTHENTICATIONFAILED]",
		[ACCESS_NOT_NOW] = "NO [UNAVAILABLE]",
		[ACCESS_NEEDS_TLS] = "NO [PRIVACYREQUIRED]",
		[ACCESS_WRONG] = "BAD",
	};

	access_send(session, "%s %s %s\r\n", session->tag, codes[refusal], words);
}

static void
bye(struct access_session *session, const char *words)
{
	access_send(session, "* BYE %s\r\n", words);
}

static void
log_in(struct access_session *session, const struct imap_command *command)
{
	access_auth_password(session, command->login.user.data, command->login.user.length,
	    command->login.password.data, command->login.password.length);
}

static void
authenticate(struct access_session *session, const struct imap_command *command)
{
	const struct imap_string *initial = &command->authenticate.initial;
	const char *bytes = initial->data == NULL ? "" : initial->data;

	access_auth_begin(session, command->authenticate.mechanism.data,
	    command->authenticate.mechanism.length,
	    command->authenticate.has_initial ? bytes : NULL, initial->length);
}

static void
run(struct access_session *session, const struct imap_command *command)
{
	char capabilities[256];

	switch (command->verb) {
	case IMAP_CAPABILITY:
		write_capabilities(session, capabilities, sizeof(capabilities));
		access_send(
		    session, "* CAPABILITY %s\r\n%s OK Done\r\n", capabilities, session->tag);
		return;
	case IMAP_NOOP:
		access_send(session, "%s OK Done\r\n", session->tag);
		return;
	case IMAP_ID: /* RFC 2971 */
		access_send(session, "* ID (\"name\" \"Postern\")\r\n%s OK Done\r\n", session->tag);
		return;
	case IMAP_LOGOUT:
		access_send(session, "* BYE Until next time\r\n%s OK Done\r\n", session->tag);
		access_end(session, "logged out");
		return;
	case IMAP_STARTTLS:
		if (!access_offers_tls(session))
			break;
		access_send(session, "%s OK Begin TLS now\r\n", session->tag);
		access_start_tls(session);
		return;
	case IMAP_LOGIN:
		log_in(session, command);
		return;
	case IMAP_AUTHENTICATE:
		authenticate(session, command);
		return;
	case IMAP_ENABLE:
	case IMAP_SELECT:
	case IMAP_EXAMINE:
	case IMAP_CREATE:
	case IMAP_DELETE:
	case IMAP_RENAME:
	case IMAP_SUBSCRIBE:
	case IMAP_UNSUBSCRIBE:
	case IMAP_LIST:
	case IMAP_LSUB:
	case IMAP_NAMESPACE:
	case IMAP_STATUS:
	case IMAP_APPEND:
	case IMAP_IDLE:
	case IMAP_CHECK:
	case IMAP_CLOSE:
	case IMAP_UNSELECT:
	case IMAP_EXPUNGE:
	case IMAP_SEARCH:
	case IMAP_SORT:
	case IMAP_THREAD:
	case IMAP_FETCH:
	case IMAP_STORE:
	case IMAP_COPY:
	case IMAP_MOVE:
	case IMAP_REPLACE:
	case IMAP_GETQUOTA:
	case IMAP_GETQUOTAROOT:
	case IMAP_SETQUOTA:
	case IMAP_GETMETADATA:
	case IMAP_SETMETADATA:
	case IMAP_NOTIFY:
	case IMAP_COMPRESS:
	case IMAP_VERB_COUNT:
		break;
	}
	access_send(session, "%s BAD Not now: log in first\r\n", session->tag);
	(void)access_count_error(session);
}

/* The tag, for this command's answers: "*" when it has none, or one too long to be one. */
static void
take_tag(struct access_session *session, const struct imap_command *command)
{
	const struct imap_string *tag = &command->tag;

	if (tag->length == 0 || tag->length > MAILBOX_TAG_MAX)
		strlcpy(session->tag, "*", sizeof(session->tag));
	else {
		memcpy(session->tag, tag->data, tag->length);
		session->tag[tag->length] = '\0';
	}
}

static void
take_command(struct access_session *session, bool is_refused)
{
	struct imap_input *input = &session->imap;
	struct imap_command command;

	imap_command_parse(&command, (const char *)input->command.data, input->command.length);
	take_tag(session, &command);
	if (is_refused || command.why != NULL) {
		access_send(session, "%s BAD %s\r\n", session->tag,
		    is_refused ? "The command is too long before login" : command.why);
		(void)access_count_error(session);
	} else
		run(session, &command);
	imap_command_free(&command);
	if (input->command.length > 0) /* perhaps a password */
		explicit_bzero(input->command.data, input->command.length);
	imap_input_next(input);
}

/* A line of a SASL dialogue: no command. */
static size_t
take_response(struct access_session *session, const char *bytes, size_t length)
{
	const char *end = memchr(bytes, '\n', length);
	size_t line;

	if (end == NULL) {
		if (length >= ACCESS_LINE_MAX) {
			bye(session, "That line is too long");
			access_end(session, "line too long");
		}
		return 0;
	}
	line = (size_t)(end - bytes);
	access_auth_respond(session, bytes, line > 0 && bytes[line - 1] == '\r' ? line - 1 : line);
	return line + 1;
}

static size_t
take_input(struct access_session *session, char *bytes, size_t length)
{
	enum imap_input_event event;
	size_t used = 0, more = 0;

	if (session->state == ACCESS_RESPONSE)
		return take_response(session, bytes, length);
	event = imap_input_take(&session->imap, bytes, length, &used);
	if (event == IMAP_INPUT_MESSAGE) { /* of an APPEND */
		imap_input_refuse(&session->imap);
		event = imap_input_take(&session->imap, bytes + used, length - used, &more);
		used += more;
	}
	switch (event) {
	case IMAP_INPUT_MORE:
	case IMAP_INPUT_TEXT:
	case IMAP_INPUT_MESSAGE_END:
	case IMAP_INPUT_MESSAGE:
		break;
	case IMAP_INPUT_CONTINUE:
		access_send(session, "+ Go on\r\n");
		break;
	case IMAP_INPUT_COMMAND:
		take_command(session, false);
		break;
	case IMAP_INPUT_REFUSED:
		take_command(session, true);
		break;
	case IMAP_INPUT_CLOSE:
		bye(session, "That is more than can be taken");
		access_end(session, "too much before login");
		break;
	}
	return used;
}

const struct access_protocol access_imap = {
	.name = "imap",
	.greet = greet,
	.input = take_input,
	.challenge = access_challenge,
	.refuse = refuse,
	.bye = bye,
	.full = "* BYE [LIMIT] ", /* RFC 5530 3 */
	.full_end = "",
};
