/*
 * Control hands over a session with the process that serves the user's mailbox, as the user: whatever is
 * read or written there is so by its hands, and nothing by root's.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "common/managesieve.h"
#include "common/sieve.h"
#include "smtpctl/exchange.h"
#include "smtpctl/run_sieve.h"
#include "smtpctl/sieve_client.h"
#include "smtpctl/script_test.h"
#include "smtpctl/text.h"

#define NAME_COLUMN 30

/* What a file, or standard input, holds up to `limit` bytes and one more; NULL, having said why. */
static char *
read_file(const char *path, size_t limit, size_t *length)
{
	int fd = path == NULL ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	char *text = malloc(limit + 1);
	ssize_t count = 1;

	if (text == NULL)
		err(EX_OSERR, "file");
	for (*length = 0; fd != -1 && *length <= limit && count != 0; *length += (size_t)count) {
		do
			count = read(fd, text + *length, limit + 1 - *length);
		while (count == -1 && errno == EINTR);
		if (count == -1)
			break;
	}
	if (fd == -1 || count == -1) {
		warn("%s", path == NULL ? "standard input" : path);
		free(text);
		text = NULL;
	}
	if (path != NULL && fd != -1)
		(void)close(fd);
	return text;
}

static void
add_string(struct buf *buf, const char *text, size_t length)
{
	buf_add_text(buf, " ");
	managesieve_add_string(buf, MANAGESIEVE_CLIENT, text, length);
}

/* A command and its arguments; those that are NULL aren't there. */
static int
say(struct sieve_client *session, const char *verb, const char *name, const char *text,
    size_t text_length, sieve_line_fn each, void *arg)
{
	struct ipc_result result;
	struct buf buf;

	buf_init(&buf, 2 * SIEVE_SCRIPT_MAX);
	buf_add_text(&buf, verb);
	if (name != NULL)
		add_string(&buf, name, strlen(name));
	if (text != NULL)
		add_string(&buf, text, text_length);
	buf_add_text(&buf, "\r\n");
	sieve_client_say(session, &buf, each, arg, &result);
	buf_free(&buf);
	if (result.exit_code == 0 && sieve_client_warns(session))
		warn_words("warning: ", result.words);
	return result.exit_code == 0 ? 0 : fail_result(&result);
}

static int
say_only(struct sieve_client *session, struct output *output, const char *verb, const char *name)
{
	int status = say(session, verb, name, NULL, 0, NULL, NULL);

	return status == 0 ? succeed(output) : status;
}

static int
put(struct sieve_client *session, const struct command *command, struct output *output)
{
	const char *path = command->word_count > 2 ? command->words[2] : NULL;
	size_t length;
	char *text = read_file(path, SIEVE_SCRIPT_MAX, &length);
	int status = EX_NOINPUT;

	if (text != NULL && length > SIEVE_SCRIPT_MAX) {
		warnx("command failed: a script has at most %d KiB", SIEVE_SCRIPT_MAX / 1024);
		status = EX_DATAERR;
	} else if (text != NULL)
		status = say(session, "PUTSCRIPT", command->words[1], text, length, NULL, NULL);
	free(text);
	return status == 0 ? succeed(output) : status;
}

struct listing {
	struct output *output;
	size_t count;
};

static bool
show_script(const struct managesieve_reader *line, void *arg)
{
	struct listing *listing = arg;
	struct output *output = listing->output;
	struct buf *buf = &output->buf;
	bool is_active = managesieve_is_word(line, 1, "ACTIVE");
	const char *name;

	if (!managesieve_is_text(line, 0) || line->count > (is_active ? 2 : 1))
		return false;
	name = managesieve_text(line, 0);
	if (output->format == OUTPUT_JSON) {
		buf_add_text(buf, "{\"name\":");
		text_add_json(buf, name);
		buf_printf(buf, ",\"active\":%s}\n", is_active ? "true" : "false");
	} else if (output->format == OUTPUT_LINES) {
		text_add_field(buf, name);
		buf_printf(buf, "|%s\n", is_active ? "active" : "");
	} else {
		if (listing->count == 0)
			buf_add_text(buf, "STATE  SCRIPT\n");
		buf_add_text(buf, is_active ? "active " : "       ");
		text_add_clean(buf, name, output->width > NAME_COLUMN ? output->width - 8 : 80);
		buf_add_text(buf, "\n");
	}
	listing->count++;
	return true;
}

static int
list(struct sieve_client *session, struct output *output)
{
	struct listing listing = { .output = output };
	int status = say(session, "LISTSCRIPTS", NULL, NULL, 0, show_script, &listing);

	output_flush(output);
	return status;
}

static bool
take_script(const struct managesieve_reader *line, void *arg)
{
	struct buf *script = arg;

	if (line->count != 1 || !line->tokens[0].is_string || script->length > 0)
		return false;
	buf_add(script, managesieve_text(line, 0), line->tokens[0].length);
	return buf_ok(script);
}

static int
get(struct sieve_client *session, const struct command *command, struct buf *script)
{
	return say(session, "GETSCRIPT", command->words[1], NULL, 0, take_script, script);
}

static int
show(struct sieve_client *session, const struct command *command, struct output *output)
{
	int status = get(session, command, &output->buf);

	if (status == 0)
		output_flush(output);
	return status;
}

static int
carry_out(struct sieve_client *session, const struct command *command, struct output *output)
{
	switch (command->sieve) {
	case SCRIPT_PUT:
		return put(session, command, output);
	case SCRIPT_GET:
		return show(session, command, output);
	case SCRIPT_LIST:
		return list(session, output);
	case SCRIPT_ACTIVATE:
		return say_only(session, output, "SETACTIVE", command->words[1]);
	case SCRIPT_DEACTIVATE:
		return say_only(session, output, "SETACTIVE", "");
	case SCRIPT_DELETE:
		return say_only(session, output, "DELETESCRIPT", command->words[1]);
	case SCRIPT_TEST: /* run_test() */
		break;
	}
	return EX_SOFTWARE;
}

/* The session that control hands over; NULL with the status, which was said. */
static struct sieve_client *
open_session(
    const struct command *command, struct client *client, struct output *output, int *status)
{
	struct ipc_scripts scripts;
	struct sieve_client *session;
	struct ipc_result result;
	struct buf payload;
	int fd = -1;

	memset(&scripts, 0, sizeof(scripts));
	(void)snprintf(scripts.user, sizeof(scripts.user), "%s", command->words[0]);
	(void)snprintf(scripts.purpose, sizeof(scripts.purpose), "%s%s%s",
	    command->name + strlen("sieve "), command->word_count > 1 ? " " : "",
	    command->word_count > 1 ? command->words[1] : "");
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_scripts_encode(&payload, &scripts);
	*status =
	    exchange_encoded(client, output, CONTROL_SCRIPTS, &payload, NULL, NULL, &result, &fd);
	if (*status == 0 && fd == -1)
		*status = fail_protocol(output);
	if (*status != 0) {
		if (fd != -1)
			(void)close(fd);
		return NULL;
	}
	session = sieve_client_new(fd);
	sieve_client_say(session, NULL, NULL, NULL, &result);
	if (result.exit_code == 0)
		return session;
	*status = fail_result(&result);
	sieve_client_free(session);
	return NULL;
}

/* The script is the user's, the message a stranger's: they are read when the connections are closed. */
static int
run_test(const struct command *command, struct client *client, struct output *output)
{
	const char *path = command->word_count > 2 ? command->words[2] : NULL;
	struct sieve_client *session;
	struct buf script;
	size_t length;
	char *message = read_file(path, SIEVE_TEXT_MAX, &length);
	int status = EX_NOINPUT;

	buf_init(&script, SIEVE_SCRIPT_MAX);
	session = message == NULL ? NULL : open_session(command, client, output, &status);
	if (session != NULL)
		status = get(session, command, &script);
	sieve_client_free(session);
	client_close(client);
	if (session != NULL && status == 0)
		status = script_test(command->words[0],
		    script.data == NULL ? "" : (const char *)script.data, script.length, message,
		    length, output);
	buf_free(&script);
	free(message);
	return status;
}

int
run_sieve(const struct command *command, struct client *client, struct output *output)
{
	struct sieve_client *session;
	int status;

	if (command->sieve == SCRIPT_TEST)
		return run_test(command, client, output);
	session = open_session(command, client, output, &status);
	if (session == NULL)
		return status;
	status = carry_out(session, command, output);
	sieve_client_free(session);
	return status;
}
