/*
 * RFC 5804 1.2, 1.3: an answer is lines of data, then one that begins with OK, NO or BYE.
 */
#include <sys/socket.h>
#include <sys/time.h>
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "common/sieve.h"
#include "smtpctl/sieve_client.h"

#define LINE_MAX_SIZE (SIEVE_SCRIPT_MAX + 4096)
#define WAIT_SECONDS  60

struct sieve_client {
	int fd;
	struct managesieve_reader reader;
	char bytes[16384];
	size_t start, end;
	bool warns;
};

struct sieve_client *
sieve_client_new(int fd)
{
	struct timeval limit = { .tv_sec = WAIT_SECONDS };
	struct sieve_client *client = calloc(1, sizeof(*client));

	if (client == NULL || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) != 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) != 0)
		err(EX_OSERR, "session");
	client->fd = fd;
	managesieve_init(&client->reader, MANAGESIEVE_SERVER, LINE_MAX_SIZE);
	return client;
}

void
sieve_client_free(struct sieve_client *client)
{
	if (client == NULL)
		return;
	(void)close(client->fd);
	managesieve_free(&client->reader);
	free(client);
}

static void __attribute__((format(printf, 3, 4)))
set_result(struct ipc_result *result, uint32_t exit_code, const char *format, ...)
{
	va_list arguments;

	memset(result, 0, sizeof(*result));
	result->exit_code = exit_code;
	va_start(arguments, format);
	(void)vsnprintf(result->words, sizeof(result->words), format, arguments);
	va_end(arguments);
}

static bool
send_all(struct sieve_client *client, const struct buf *command)
{
	size_t at = 0;
	ssize_t sent;

	while (at < command->length) {
		sent = send(client->fd, command->data + at, command->length - at, MSG_NOSIGNAL);
		if (sent == -1 && errno == EINTR)
			continue;
		if (sent == -1)
			return false;
		at += (size_t)sent;
	}
	return true;
}

/* A line is in the reader; false when none comes, and the result says why. */
static bool
read_line(struct sieve_client *client, struct ipc_result *result)
{
	enum managesieve_event event;
	size_t used;
	ssize_t count;

	for (;;) {
		event = managesieve_take(&client->reader, client->bytes + client->start,
		    client->end - client->start, &used);
		client->start += used;
		if (event == MANAGESIEVE_LINE && client->reader.why == NULL)
			return true;
		if (event != MANAGESIEVE_MORE) {
			set_result(
			    result, EX_PROTOCOL, "the mailbox's answer: %s", client->reader.why);
			return false;
		}
		count = recv(client->fd, client->bytes, sizeof(client->bytes), 0);
		if (count == -1 && errno == EINTR)
			count = 0;
		else if (count <= 0) {
			set_result(result, EX_TEMPFAIL, "the mailbox doesn't answer: %s",
			    count == 0 ? "it was closed" : strerror(errno));
			return false;
		}
		client->start = 0;
		client->end = (size_t)count;
	}
}

/* Whether it ends an answer; the result is then set. */
static bool
is_last(const struct managesieve_reader *line, struct ipc_result *result)
{
	bool is_ok = managesieve_is_word(line, 0, "OK");
	bool is_bye = managesieve_is_word(line, 0, "BYE");
	bool is_later = managesieve_is_word(line, 2, "TRYLATER");
	size_t last = line->count - 1;

	if (!is_ok && !is_bye && !managesieve_is_word(line, 0, "NO"))
		return false;
	set_result(result,
	    is_ok                    ? 0
	        : is_bye || is_later ? EX_TEMPFAIL
	                             : EX_DATAERR,
	    "%s", last > 0 && line->tokens[last].is_string ? managesieve_text(line, last) : "");
	return true;
}

void
sieve_client_say(struct sieve_client *client, const struct buf *command, sieve_line_fn each,
    void *arg, struct ipc_result *result)
{
	bool is_done = false;

	client->warns = false;
	if (command != NULL && !buf_ok(command))
		errx(EX_OSERR, "no memory");
	if (command != NULL && !send_all(client, command)) {
		set_result(result, EX_TEMPFAIL, "the mailbox: %s", strerror(errno));
		return;
	}
	while (!is_done && read_line(client, result)) {
		is_done = is_last(&client->reader, result);
		client->warns = is_done && managesieve_is_word(&client->reader, 0, "OK") &&
		    managesieve_is_word(&client->reader, 2, "WARNINGS");
		if (!is_done && (each == NULL || !each(&client->reader, arg))) {
			set_result(result, EX_PROTOCOL, "the mailbox answers something else");
			is_done = true;
		}
		managesieve_next(&client->reader);
	}
}

bool
sieve_client_warns(const struct sieve_client *client)
{
	return client->warns;
}
