/*
 * ManageSieve before login (RFC 5804 1, 2.1 to 2.4, 2.13). Its answers to challenges are strings and no
 * lines of base64, but by the same reader.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/managesieve.h"
#include "common/sieve.h"
#include "mailbox/access.h"

#define REPLY_MAX 32768 /* a challenge is the longest */

static void __attribute__((format(printf, 3, 4)))
answer(struct access_session *session, const char *status, const char *format, ...)
{
	char words[512];
	struct buf buf;
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(words, sizeof(words), format, arguments);
	va_end(arguments);
	buf_init(&buf, REPLY_MAX);
	managesieve_add_string(&buf, MANAGESIEVE_SERVER, words, strlen(words));
	if (!buf_ok(&buf))
		fatalx("out of memory");
	access_send(session, "%s %.*s\r\n", status, (int)buf.length, (const char *)buf.data);
	buf_free(&buf);
}

/* RFC 5804 1.7 */
static void
write_capabilities(struct access_session *session)
{
	char mechanisms[128] = "";

	if (access_auth_is_allowed(session))
		access_auth_list(session, " ", mechanisms, sizeof(mechanisms));
	access_send(session,
	    "\"IMPLEMENTATION\" \"Postern\"\r\n\"SASL\" \"%s\"\r\n\"SIEVE\" \"%s\"\r\n%s"
	    "\"VERSION\" \"1.0\"\r\n",
	    *mechanisms == ' ' ? mechanisms + 1 : mechanisms, sieve_extensions,
	    access_offers_tls(session) ? "\"STARTTLS\"\r\n" : "");
}

static void
greet(struct access_session *session)
{
	write_capabilities(session);
	answer(session, "OK", "%s",
	    *session->listener->hostname != '\0' ? session->listener->hostname
	                                         : session->settings->config->hostname);
}

static void
refuse(struct access_session *session, enum access_refusal refusal, const char *words)
{
	static const char *const codes[] = {
		/* RFC 5804 1.3 */
		[ACCESS_FAILED] = "NO",
		[ACCESS_NOT_NOW] = "NO (TRYLATER)",
		[ACCESS_NEEDS_TLS] = "NO (ENCRYPT-NEEDED)",
		[ACCESS_WRONG] = "NO",
	};

	answer(session, codes[refusal], "%s", words);
}

static void
bye(struct access_session *session, const char *words)
{
	answer(session, "BYE", "%s", words);
}

static void
challenge(struct access_session *session, const char *text)
{
	struct buf buf;

	buf_init(&buf, REPLY_MAX);
	managesieve_add_string(&buf, MANAGESIEVE_SERVER, text, strlen(text));
	if (!buf_ok(&buf))
		fatalx("out of memory");
	access_send(session, "%.*s\r\n", (int)buf.length, (const char *)buf.data);
	buf_free(&buf);
}

static void
wrong(struct access_session *session, const char *words)
{
	answer(session, "NO", "%s", words);
	(void)access_count_error(session);
}

static void
command_capability(struct access_session *session)
{
	write_capabilities(session);
	answer(session, "OK", "Done");
}

static void
command_authenticate(struct access_session *session)
{
	const struct managesieve_reader *input = session->sieve;
	const struct managesieve_token *tokens = input->tokens;
	bool has_initial = input->count == 3;

	if (input->count < 2 || input->count > 3 || !managesieve_is_text(input, 1) ||
	    (has_initial && !managesieve_is_text(input, 2)))
		wrong(session, "AUTHENTICATE takes a mechanism and perhaps a first response");
	else
		access_auth_begin(session, managesieve_text(input, 1), tokens[1].length,
		    has_initial ? managesieve_text(input, 2) : NULL,
		    has_initial ? tokens[2].length : 0);
}

static void
command_starttls(struct access_session *session)
{
	if (!access_offers_tls(session)) {
		wrong(session, "There is no TLS to begin");
		return;
	}
	answer(session, "OK", "Begin TLS now");
	access_start_tls(session);
}

static void
command_noop(struct access_session *session)
{
	const struct managesieve_reader *input = session->sieve;
	struct buf buf;

	if (input->count == 1) {
		answer(session, "OK", "Done");
		return;
	}
	if (!managesieve_is_text(input, 1)) {
		wrong(session, "NOOP takes a string");
		return;
	}
	/* RFC 5804 2.13 */
	buf_init(&buf, REPLY_MAX);
	managesieve_add_string(
	    &buf, MANAGESIEVE_SERVER, managesieve_text(input, 1), input->tokens[1].length);
	if (!buf_ok(&buf))
		fatalx("out of memory");
	access_send(session, "OK (TAG %.*s) \"Done\"\r\n", (int)buf.length, (const char *)buf.data);
	buf_free(&buf);
}

static void
command_logout(struct access_session *session)
{
	answer(session, "OK", "Until next time");
	access_end(session, "logged out");
}

static const struct {
	const char *name;
	size_t arguments; /* at most */
	void (*run)(struct access_session *);
} commands[] = {
	{ "CAPABILITY", 0, command_capability },
	{ "AUTHENTICATE", 2, command_authenticate },
	{ "STARTTLS", 0, command_starttls },
	{ "NOOP", 1, command_noop },
	{ "LOGOUT", 0, command_logout },
};

static void
run(struct access_session *session)
{
	const struct managesieve_reader *input = session->sieve;

	if (input->why != NULL) {
		wrong(session, input->why);
		return;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (!managesieve_is_word(input, 0, commands[i].name))
			continue;
		if (input->count - 1 > commands[i].arguments)
			wrong(session, "There are too many arguments");
		else
			commands[i].run(session);
		return;
	}
	wrong(session, "Not now: log in first");
}

/* RFC 5804 2.1: a string, which "*" cancels. */
static void
respond(struct access_session *session)
{
	const struct managesieve_reader *input = session->sieve;

	if (input->why == NULL && input->count == 1 && managesieve_is_text(input, 0))
		access_auth_respond(session, managesieve_text(input, 0), input->tokens[0].length);
	else
		access_auth_respond(session, "*", 1);
}

static size_t
take_input(struct access_session *session, char *bytes, size_t length)
{
	size_t used;

	switch (managesieve_take(session->sieve, bytes, length, &used)) {
	case MANAGESIEVE_MORE:
		break;
	case MANAGESIEVE_LINE:
		if (session->state == ACCESS_RESPONSE)
			respond(session);
		else
			run(session);
		managesieve_next(session->sieve);
		break;
	case MANAGESIEVE_END:
		bye(session, session->sieve->why);
		access_end(session, "what it sends can't be understood");
		break;
	}
	return used;
}

void
access_sieve_begin(struct access_session *session)
{
	session->sieve = malloc(sizeof(*session->sieve));
	if (session->sieve == NULL)
		fatal("a session");
	managesieve_init(session->sieve, MANAGESIEVE_CLIENT, ACCESS_LINE_MAX);
}

void
access_sieve_end(struct access_session *session)
{
	if (session->sieve != NULL)
		managesieve_free(session->sieve);
	free(session->sieve);
	session->sieve = NULL;
}

const struct access_protocol access_sieve = {
	.name = "sieve",
	.greet = greet,
	.greets_after_tls = true, /* RFC 5804 2.2 */
	.input = take_input,
	.challenge = challenge,
	.refuse = refuse,
	.bye = bye,
	.full = "BYE (TRYLATER) \"",
	.full_end = "\"",
};
