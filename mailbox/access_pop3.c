/* POP3 before login: the AUTHORIZATION state (RFC 1939 4, 7; RFC 2449, RFC 2595, RFC 5034). */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <bsd/string.h>

#include "common/log.h"
#include "mailbox/access.h"

#define LINE_LONGEST 512 /* RFC 2449 4 has 255; names and passwords may be longer */

static void
greet(struct access_session *session)
{
	access_send(session, "+OK %s\r\n",
	    *session->listener->hostname != '\0' ? session->listener->hostname
	                                         : session->settings->config->hostname);
}

static void
refuse(struct access_session *session, enum access_refusal refusal, const char *words)
{
	static const char *const codes[] = {
		/* RFC 3206 */
		[ACCESS_FAILED] = "[AUTH] ",
		[ACCESS_NOT_NOW] = "[SYS/TEMP] ",
		[ACCESS_NEEDS_TLS] = "",
		[ACCESS_WRONG] = "",
	};

	access_send(session, "-ERR %s%s\r\n", codes[refusal], words);
}

static void
bye(struct access_session *session, const char *words)
{
	access_send(session, "-ERR [SYS/TEMP] %s\r\n", words);
}

static void
wrong(struct access_session *session, const char *words)
{
	access_send(session, "-ERR %s\r\n", words);
	(void)access_count_error(session);
}

static void
command_capa(struct access_session *session, const char *argument)
{
	char mechanisms[128];

	(void)argument;
	access_auth_list(session, " ", mechanisms, sizeof(mechanisms));
	access_send(session,
	    "+OK\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nUTF8\r\n");
	if (access_auth_is_allowed(session))
		access_send(session, "USER\r\nSASL%s\r\n", mechanisms);
	if (access_offers_tls(session))
		access_send(session, "STLS\r\n");
	access_send(session, ".\r\n");
}

static void
command_user(struct access_session *session, const char *argument)
{
	if (!access_auth_is_allowed(session)) {
		refuse(session, ACCESS_NEEDS_TLS, "Encryption is required, say STLS first");
		(void)access_count_error(session);
		return;
	}
	if (*argument == '\0') {
		wrong(session, "A name must follow");
		return;
	}
	free(session->pop3_user);
	session->pop3_user = strdup(argument);
	if (session->pop3_user == NULL)
		fatal("a name");
	/* RFC 1939 7: whether there is such a user isn't told. */
	access_send(session, "+OK\r\n");
}

static void
command_pass(struct access_session *session, const char *argument)
{
	char *user = session->pop3_user;

	if (user == NULL) {
		wrong(session, "Say USER first");
		return;
	}
	session->pop3_user = NULL;
	access_auth_password(session, user, strlen(user), argument, strlen(argument));
	free(user);
}

static void
command_auth(struct access_session *session, const char *argument)
{
	size_t length = strcspn(argument, " ");
	const char *initial = argument[length] == ' ' ? argument + length + 1 : NULL;

	if (length == 0)
		wrong(session, "A mechanism must follow");
	else
		access_auth_begin(
		    session, argument, length, initial, initial == NULL ? 0 : strlen(initial));
}

static void
command_stls(struct access_session *session, const char *argument)
{
	(void)argument;
	if (!access_offers_tls(session)) {
		wrong(session, "There is no TLS to begin");
		return;
	}
	access_send(session, "+OK Begin TLS now\r\n");
	free(session->pop3_user);
	session->pop3_user = NULL;
	access_start_tls(session);
}

static void
command_ok(struct access_session *session, const char *argument)
{
	(void)argument;
	access_send(session, "+OK\r\n");
}

static void
command_quit(struct access_session *session, const char *argument)
{
	(void)argument;
	access_send(session, "+OK Until next time\r\n");
	access_end(session, "logged out");
}

static const struct {
	const char *name;
	void (*run)(struct access_session *, const char *argument);
} commands[] = {
	{ "CAPA", command_capa },
	{ "USER", command_user },
	{ "PASS", command_pass },
	{ "AUTH", command_auth },
	{ "STLS", command_stls },
	{ "UTF8", command_ok }, /* RFC 6856 2: all text is UTF-8 anyway */
	{ "NOOP", command_ok },
	{ "QUIT", command_quit },
};

static void
run(struct access_session *session, char *line)
{
	size_t word = strcspn(line, " ");
	/* What follows the one space is the argument: a password may begin with others. */
	const char *argument = line[word] == ' ' ? line + word + 1 : line + word;

	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strlen(commands[i].name) == word &&
		    strncasecmp(line, commands[i].name, word) == 0) {
			commands[i].run(session, argument);
			return;
		}
	}
	wrong(session, "Not now: log in first");
}

static size_t
take_input(struct access_session *session, char *bytes, size_t length)
{
	size_t longest = session->state == ACCESS_RESPONSE ? ACCESS_LINE_MAX : ACCESS_LINE_MAX / 2;
	char *end = memchr(bytes, '\n', length);
	size_t line;

	if (end == NULL && length < longest)
		return 0;
	if (end == NULL) {
		bye(session, "That line is too long");
		access_end(session, "line too long");
		return 0;
	}
	line = (size_t)(end - bytes);
	if (line > 0 && bytes[line - 1] == '\r')
		line--;
	bytes[line] = '\0';
	if (session->state == ACCESS_RESPONSE)
		access_auth_respond(session, bytes, line);
	else if (strlen(bytes) != line)
		wrong(session, "There is a NUL in it");
	else if (line > LINE_LONGEST && strncasecmp(bytes, "AUTH ", 5) != 0)
		wrong(session, "The line is too long");
	else
		run(session, bytes);
	return (size_t)(end - bytes) + 1;
}

const struct access_protocol access_pop3 = {
	.name = "pop3",
	.greet = greet,
	.input = take_input,
	.challenge = access_challenge,
	.refuse = refuse,
	.bye = bye,
	.full = "-ERR [SYS/TEMP] ", /* RFC 3206 4 */
	.full_end = "",
};
