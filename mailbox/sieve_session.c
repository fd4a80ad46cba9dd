/*
 * A command is read whole, its script with it, carried out at once and answered: scripts are small. A
 * client that doesn't read its answers isn't read from.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/buffer.h>

#include "common/log.h"
#include "common/managesieve.h"
#include "common/sieve.h"
#include "mailbox/connection.h"
#include "mailbox/scripts.h"
#include "mailbox/sieve_session.h"

#define COMMAND_MAX  (SIEVE_SCRIPT_MAX + 4096)
#define ANSWER_MAX   (SIEVE_SCRIPT_MAX + 4096) /* of one string */
#define ERRORS_MAX   20
#define IDLE_SECONDS 1800 /* RFC 5804 1.8 */

#define WARNINGS "OK (WARNINGS)" /* RFC 5804 1.3 */

#define SIZE_WORDS "A script has at most 64 KiB"
_Static_assert(SIEVE_SCRIPT_MAX == 64 * 1024, "SIZE_WORDS says so");

struct sieve_session {
	struct connection *connection;
	struct maildir *maildir;
	const char *user;
	uint64_t id;
	void (*ended)(void *);
	void *arg;
	struct managesieve_reader input;
	unsigned errors;
	bool is_ending;
};

/* --- answers --- */

static void __attribute__((format(printf, 2, 3)))
write_text(struct sieve_session *session, const char *format, ...)
{
	struct evbuffer *output = connection_output(session->connection);
	va_list arguments;

	va_start(arguments, format);
	if (evbuffer_add_vprintf(output, format, arguments) == -1)
		fatalx("out of memory");
	va_end(arguments);
}

static void
write_string(struct sieve_session *session, const char *bytes, size_t length)
{
	struct evbuffer *output = connection_output(session->connection);
	struct buf buf;

	buf_init(&buf, 2 * ANSWER_MAX);
	managesieve_add_string(&buf, MANAGESIEVE_SERVER, bytes, length);
	if (!buf_ok(&buf) || evbuffer_add(output, buf.data, buf.length) != 0)
		fatalx("out of memory");
	buf_free(&buf);
}

/* "NO (CODE)" and words. */
static void
answer(struct sieve_session *session, const char *status, const char *words)
{
	write_text(session, "%s ", status);
	write_string(session, words, strlen(words));
	write_text(session, "\r\n");
	connection_flush(session->connection);
}

void
sieve_session_stop(struct sieve_session *session, const char *words)
{
	if (session->is_ending)
		return;
	answer(session, "BYE", words);
	session->is_ending = true;
	connection_end(session->connection, words);
}

static void
wrong(struct sieve_session *session, const char *words)
{
	answer(session, "NO", words);
	if (++session->errors >= ERRORS_MAX)
		sieve_session_stop(session, "too many errors");
}

static void
answer_result(struct sieve_session *session, enum mail_result result)
{
	static const struct {
		const char *status, *words;
	} answers[] = {
		/* RFC 5804 1.3 */
		[MAIL_OK] = { "OK", "Done" },
		[MAIL_ABSENT] = { "NO (NONEXISTENT)", "There is no script of that name" },
		[MAIL_EXISTS] = { "NO (ALREADYEXISTS)", "There is a script of that name already" },
		[MAIL_CANNOT] = { "NO (ACTIVE)", "The active script can't be deleted" },
		[MAIL_LIMIT] = { "NO (QUOTA/MAXSCRIPTS)", "There can't be more scripts" },
		[MAIL_NO_SPACE] = { "NO (TRYLATER)", NULL },
		[MAIL_READ_ONLY] = { "NO (TRYLATER)", NULL },
		[MAIL_BUSY] = { "NO (TRYLATER)", NULL },
		[MAIL_OVER_QUOTA] = { "NO (QUOTA)", NULL },
		[MAIL_BAD_NAME] = { "NO", NULL },
		[MAIL_EXPUNGED] = { "NO", NULL },
		[MAIL_FAILED] = { "NO (TRYLATER)", NULL },
	};
	const char *words = answers[result].words;

	answer(session, answers[result].status, words != NULL ? words : mail_result_text(result));
}

static void
log_change(const struct sieve_session *session, const char *what, const char *name)
{
	struct log_line line;

	log_begin(&line, LOG_LEVEL_INFO, "sieve-changed");
	log_hex64(&line, "session", session->id);
	log_text(&line, "user", session->user);
	log_text(&line, "what", what);
	if (name != NULL)
		log_text(&line, "script", name);
	log_end(&line);
}

/* The answer to a command that changes something, which the log has when it was done. */
static void
answer_change(
    struct sieve_session *session, enum mail_result result, const char *what, const char *name)
{
	if (result == MAIL_OK)
		log_change(session, what, name);
	answer_result(session, result);
}

/* --- arguments --- */

/* The script's name that this argument is; NULL, having answered, when it can't be one. */
static const char *
get_name(struct sieve_session *session, size_t token)
{
	const char *name;

	if (!managesieve_is_text(&session->input, token)) {
		wrong(session, "A script's name is a string, without a NUL");
		return NULL;
	}
	name = managesieve_text(&session->input, token);
	if (sieve_name_is_valid(name))
		return name;
	wrong(session, "This can't be a script's name here");
	return NULL;
}

/* RFC 5804 4: decimal, at most 2^32 - 1. */
static bool
get_number(const struct managesieve_reader *input, size_t token, uint64_t *number)
{
	const char *text, *end;

	if (token >= input->count || input->tokens[token].is_string)
		return false;
	text = managesieve_text(input, token);
	*number = 0;
	for (end = text; *end >= '0' && *end <= '9' && end - text < 10; end++)
		*number = *number * 10 + (uint64_t)(*end - '0');
	return end > text && *end == '\0' && *number <= UINT32_MAX;
}

/* Whether it compiles; if not, that was answered with line and reason. What is hardly meant goes to
 * `warnings`. */
static bool
check(struct sieve_session *session, size_t token, char warnings[SIEVE_WARNINGS_MAX])
{
	char error[SIEVE_ERROR_MAX] = "";
	struct sieve *sieve;

	if (!session->input.tokens[token].is_string) {
		wrong(session, "A script is a string");
		return false;
	}
	if (session->input.tokens[token].length > SIEVE_SCRIPT_MAX) {
		answer(session, "NO (QUOTA/MAXSIZE)", SIZE_WORDS);
		return false;
	}
	sieve = sieve_compile(managesieve_text(&session->input, token),
	    session->input.tokens[token].length, error, sizeof(error));
	if (sieve == NULL) {
		answer(session, "NO", error);
		return false;
	}
	(void)snprintf(warnings, SIEVE_WARNINGS_MAX, "%s", sieve_warnings(sieve));
	sieve_free(sieve);
	return true;
}

/* --- commands --- */

static void
command_capability(struct sieve_session *session)
{
	/* RFC 5804 1.7: no mechanism where there is a login already. */
	write_text(session,
	    "\"IMPLEMENTATION\" \"Postern\"\r\n\"SASL\" \"\"\r\n\"SIEVE\" \"%s\"\r\n"
	    "\"MAXREDIRECTS\" \"%d\"\r\n\"OWNER\" ",
	    sieve_extensions, SIEVE_REDIRECTS_MAX);
	write_string(session, session->user, strlen(session->user));
	write_text(session, "\r\n\"VERSION\" \"1.0\"\r\n");
	answer(session, "OK", "Done");
}

static void
command_have_space(struct sieve_session *session)
{
	const char *name = get_name(session, 1);
	uint64_t size;

	if (name == NULL)
		return;
	if (!get_number(&session->input, 2, &size))
		wrong(session, "A script's size is a number");
	else if (size > SIEVE_SCRIPT_MAX)
		answer(session, "NO (QUOTA/MAXSIZE)", SIZE_WORDS);
	else
		answer_result(session, scripts_have_room(session->maildir, name));
}

static void
command_put(struct sieve_session *session)
{
	const char *name = get_name(session, 1);
	char warnings[SIEVE_WARNINGS_MAX];
	enum mail_result result;

	if (name == NULL || !check(session, 2, warnings))
		return;
	result = scripts_write(session->maildir, name, managesieve_text(&session->input, 2),
	    session->input.tokens[2].length);
	if (result == MAIL_OK)
		log_change(session, "stored", name);
	if (result == MAIL_OK && *warnings != '\0')
		answer(session, WARNINGS, warnings);
	else
		answer_result(session, result);
}

static void
command_check(struct sieve_session *session)
{
	char warnings[SIEVE_WARNINGS_MAX];

	if (!check(session, 1, warnings))
		return;
	if (*warnings != '\0')
		answer(session, WARNINGS, warnings);
	else
		answer(session, "OK", "The script is good");
}

static void
list_script(const char *name, bool is_active, void *arg)
{
	struct sieve_session *session = arg;

	write_string(session, name, strlen(name));
	write_text(session, "%s\r\n", is_active ? " ACTIVE" : "");
}

static void
command_list(struct sieve_session *session)
{
	answer_result(session, scripts_list(session->maildir, list_script, session));
}

static void
command_set_active(struct sieve_session *session)
{
	const char *name = NULL;
	bool is_none =
	    managesieve_is_text(&session->input, 1) && session->input.tokens[1].length == 0;

	if (!is_none && (name = get_name(session, 1)) == NULL)
		return;
	answer_change(session, scripts_activate(session->maildir, name),
	    name != NULL ? "made active" : "none is active", name);
}

static void
command_get(struct sieve_session *session)
{
	const char *name = get_name(session, 1);
	enum mail_result result;
	char *text;
	size_t length;

	if (name == NULL)
		return;
	result = scripts_read(session->maildir, name, &text, &length);
	if (result == MAIL_OK) {
		/* RFC 5804 2.9: a string; what was stored has lines, and a quoted one hasn't. */
		write_text(session, "{%zu}\r\n", length);
		if (evbuffer_add(connection_output(session->connection), text, length) != 0)
			fatalx("out of memory");
		write_text(session, "\r\n");
	}
	free(text);
	answer_result(session, result);
}

static void
command_delete(struct sieve_session *session)
{
	const char *name = get_name(session, 1);

	if (name != NULL)
		answer_change(session, scripts_delete(session->maildir, name), "deleted", name);
}

static void
command_rename(struct sieve_session *session)
{
	const char *from = get_name(session, 1);
	const char *to = from == NULL ? NULL : get_name(session, 2);

	if (to != NULL)
		answer_change(session, scripts_rename(session->maildir, from, to), "renamed", to);
}

static void
command_noop(struct sieve_session *session)
{
	if (session->input.count == 1) {
		answer(session, "OK", "Done");
	} else if (!session->input.tokens[1].is_string) {
		wrong(session, "NOOP takes a string");
	} else {
		/* RFC 5804 2.13 */
		write_text(session, "OK (TAG ");
		write_string(
		    session, managesieve_text(&session->input, 1), session->input.tokens[1].length);
		answer(session, ")", "Done");
	}
}

static void
command_logout(struct sieve_session *session)
{
	answer(session, "OK", "Until next time");
	session->is_ending = true;
	connection_end(session->connection, "logged out");
}

static const struct {
	const char *name;
	size_t least, most; /* arguments */
	void (*run)(struct sieve_session *);
} commands[] = {
	{ "CAPABILITY", 0, 0, command_capability },
	{ "HAVESPACE", 2, 2, command_have_space },
	{ "PUTSCRIPT", 2, 2, command_put },
	{ "CHECKSCRIPT", 1, 1, command_check },
	{ "LISTSCRIPTS", 0, 0, command_list },
	{ "SETACTIVE", 1, 1, command_set_active },
	{ "GETSCRIPT", 1, 1, command_get },
	{ "DELETESCRIPT", 1, 1, command_delete },
	{ "RENAMESCRIPT", 2, 2, command_rename },
	{ "NOOP", 0, 1, command_noop },
	{ "LOGOUT", 0, 0, command_logout },
};

static void
run(struct sieve_session *session)
{
	const struct managesieve_reader *input = &session->input;

	if (input->is_too_large) {
		answer(session, "NO (QUOTA/MAXSIZE)", SIZE_WORDS);
		return;
	}
	if (input->why != NULL) {
		wrong(session, input->why);
		return;
	}
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (!managesieve_is_word(input, 0, commands[i].name))
			continue;
		if (input->count - 1 < commands[i].least)
			wrong(session, "An argument is missing");
		else if (input->count - 1 > commands[i].most)
			wrong(session, "There are too many arguments");
		else
			commands[i].run(session);
		return;
	}
	wrong(session, "There is no such command");
}

/* --- the connection --- */

static size_t
on_input(const char *bytes, size_t length, void *arg)
{
	struct sieve_session *session = arg;
	size_t taken = 0, used;

	while (taken < length && !session->is_ending) {
		enum managesieve_event event =
		    managesieve_take(&session->input, bytes + taken, length - taken, &used);

		taken += used;
		if (event == MANAGESIEVE_LINE) {
			run(session);
			managesieve_next(&session->input);
		} else if (event == MANAGESIEVE_END)
			sieve_session_stop(session, session->input.why);
		if (!session->is_ending && connection_is_full(session->connection)) {
			connection_read(session->connection, false);
			break;
		}
	}
	return taken;
}

static void
on_writable(void *arg)
{
	struct sieve_session *session = arg;

	connection_read(session->connection, true);
}

static void
on_closed(const char *why, void *arg)
{
	struct sieve_session *session = arg;

	connection_log_end("sieve-disconnected", session->id, session->user, why);
	session->ended(session->arg);
}

static const struct connection_calls calls = {
	.input = on_input,
	.writable = on_writable,
	.closed = on_closed,
};

struct sieve_session *
sieve_session_new(struct event_base *base, int fd, struct maildir *maildir, const char *user,
    uint64_t id, void (*ended)(void *arg), void *arg)
{
	struct sieve_session *session = calloc(1, sizeof(*session));

	if (session == NULL)
		return NULL;
	session->connection = connection_new(base, fd, &calls, session);
	if (session->connection == NULL) {
		free(session);
		return NULL;
	}
	session->maildir = maildir;
	session->user = user;
	session->id = id;
	session->ended = ended;
	session->arg = arg;
	managesieve_init(&session->input, MANAGESIEVE_CLIENT, COMMAND_MAX);
	connection_set_time(session->connection, IDLE_SECONDS);
	answer(session, "OK", "Logged in");
	return session;
}

void
sieve_session_free(struct sieve_session *session)
{
	if (session == NULL)
		return;
	connection_free(session->connection);
	managesieve_free(&session->input);
	free(session);
}
