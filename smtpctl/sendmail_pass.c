/*
 * Bytes in both directions. A client whose first line ends in a bare LF, somebody at a terminal, is
 * taken to mean CRLF by each LF; from any other they are passed as they are.
 *
 * A client may have written all of its dialogue before the first reply, as a file of commands is
 * given to other programs by this name. The server takes that for somebody who puts words into
 * another's mouth; so each command is passed on when the one before it was answered.
 */
#include <sys/socket.h>
#include <err.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sysexits.h>
#include <unistd.h>

#include "common/write.h"
#include "smtpctl/sendmail_pass.h"

#define CHUNK    32768
#define WORD_MAX 32 /* of a command: more than "BDAT" and the size */

enum line_ends {
	ENDS_UNKNOWN,
	ENDS_CRLF,
	ENDS_LF,
};

/* Whose turn it is, and what comes next from the client. */
enum turn {
	TURN_SERVER,
	TURN_COMMAND,
	TURN_TEXT,  /* behind 354, up to the dot */
	TURN_CHUNK, /* behind BDAT */
	TURN_RAW,   /* behind STARTTLS: nothing of it can be read here */
};

/* Where in the text the client is: only CRLF ends a line for the server. */
enum text_state {
	TEXT_START,
	TEXT_DOT,
	TEXT_DOT_CR,
	TEXT_CR,
	TEXT_OTHER,
};

struct pass {
	int fd;
	enum line_ends ends;
	enum turn turn;
	enum text_state text;
	char word[WORD_MAX]; /* how the last command begins */
	size_t word_length;
	bool quits;
	uint64_t chunk; /* bytes left of it */
	char code[4];   /* of the reply's line, and what is behind it */
	size_t code_length;
	char last;         /* byte of the client's */
	bool ended;        /* its input */
	size_t start, end; /* of what of it is held back */
	char held[CHUNK];
};

static bool
is_command(const struct pass *pass, const char *name)
{
	size_t length = strlen(name);

	return pass->word_length >= length && strncasecmp(pass->word, name, length) == 0 &&
	    (pass->word_length == length || pass->word[length] == ' ');
}

static void
end_command(struct pass *pass)
{
	while (pass->word_length > 0 && pass->word[pass->word_length - 1] == '\r')
		pass->word_length--;
	pass->word[pass->word_length] = '\0';
	pass->quits = is_command(pass, "QUIT");
	pass->chunk = is_command(pass, "BDAT") ? strtoull(pass->word + 4, NULL, 10) : 0;
	pass->turn = pass->chunk > 0 ? TURN_CHUNK : TURN_SERVER;
}

static enum text_state
follow_text(enum text_state state, char c)
{
	switch (state) {
	case TEXT_START:
		if (c == '.')
			return TEXT_DOT;
		break;
	case TEXT_DOT:
		if (c == '\r')
			return TEXT_DOT_CR;
		break;
	case TEXT_DOT_CR:
	case TEXT_CR:
		if (c == '\n')
			return TEXT_START;
		break;
	case TEXT_OTHER:
		break;
	}
	return c == '\r' ? TEXT_CR : TEXT_OTHER;
}

/* A byte goes to the server. */
static void
follow(struct pass *pass, char c)
{
	enum text_state before = pass->text;

	switch (pass->turn) {
	case TURN_COMMAND:
		if (c == '\n')
			end_command(pass);
		else if (pass->word_length < sizeof(pass->word) - 1)
			pass->word[pass->word_length++] = c;
		break;
	case TURN_TEXT:
		pass->text = follow_text(before, c);
		if (before == TEXT_DOT_CR && pass->text == TEXT_START)
			pass->turn = TURN_SERVER;
		break;
	case TURN_CHUNK:
		if (--pass->chunk == 0)
			pass->turn = TURN_SERVER;
		break;
	case TURN_SERVER:
	case TURN_RAW:
		break;
	}
}

/* Sends what is held, as far as it is the client's turn. */
static bool
pass_on(struct pass *pass)
{
	char translated[2 * CHUNK];
	size_t length = 0;

	/* Behind QUIT nobody listens. */
	while (pass->start < pass->end && pass->turn != TURN_SERVER && !pass->quits) {
		char c = pass->held[pass->start++];
		bool is_line = pass->turn == TURN_COMMAND || pass->turn == TURN_TEXT;

		if (c == '\n' && pass->ends == ENDS_UNKNOWN)
			pass->ends = pass->last == '\r' ? ENDS_CRLF : ENDS_LF;
		if (c == '\n' && pass->ends == ENDS_LF && pass->last != '\r' && is_line) {
			follow(pass, '\r');
			translated[length++] = '\r';
		}
		follow(pass, c);
		translated[length++] = c;
		pass->last = c;
	}
	return write_all(pass->fd, translated, length);
}

/* The last line of a reply. */
static void
take_reply(struct pass *pass)
{
	if (pass->turn != TURN_SERVER)
		return; /* unasked: it will close */
	if (is_command(pass, "DATA") && strncmp(pass->code, "354", 3) == 0) {
		pass->turn = TURN_TEXT;
		pass->text = TEXT_START;
		return;
	}
	pass->turn = is_command(pass, "STARTTLS") && *pass->code == '2' ? TURN_RAW : TURN_COMMAND;
	pass->word_length = 0;
}

static void
follow_replies(struct pass *pass, const char *bytes, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		if (bytes[i] == '\n') {
			if (pass->code_length >= 3 && pass->code[3] != '-')
				take_reply(pass);
			pass->code_length = 0;
			memset(pass->code, 0, sizeof(pass->code));
		} else if (pass->code_length < sizeof(pass->code)) {
			pass->code[pass->code_length++] = bytes[i];
		}
	}
}

/* The server has closed: whether that was the client's wish. */
static int
status_at_end(const struct pass *pass)
{
	bool is_all =
	    pass->start == pass->end && pass->turn != TURN_TEXT && pass->turn != TURN_CHUNK;

	return is_all || pass->quits ? EX_OK : EX_TEMPFAIL;
}

static int
pass_all(struct pass *pass)
{
	struct pollfd wait[2] = { { .fd = pass->fd, .events = POLLIN }, { .events = POLLIN } };
	char replies[CHUNK];
	ssize_t count;

	for (;;) {
		/* A client must not speak before it is greeted; this one may have begun. */
		wait[1].fd =
		    pass->turn == TURN_SERVER || pass->ended || pass->quits ? -1 : STDIN_FILENO;
		if (poll(wait, 2, -1) == -1) {
			if (errno == EINTR)
				continue;
			warn("poll");
			return EX_OSERR;
		}
		if (wait[0].revents != 0) {
			count = read(pass->fd, replies, sizeof(replies));
			if (count <= 0)
				return count == 0 ? status_at_end(pass) : EX_TEMPFAIL;
			if (!write_all(STDOUT_FILENO, replies, (size_t)count))
				return EX_IOERR;
			follow_replies(pass, replies, (size_t)count);
		} else if (wait[1].revents != 0) {
			count = read(STDIN_FILENO, pass->held, sizeof(pass->held));
			pass->start = 0;
			pass->end = count > 0 ? (size_t)count : 0;
			pass->ended = count <= 0;
			if (pass->ended)
				(void)shutdown(pass->fd, SHUT_WR);
		}
		if (!pass_on(pass))
			return EX_TEMPFAIL;
	}
}

int
sendmail_pass(int fd)
{
	struct pass *pass = calloc(1, sizeof(*pass));
	int status;

	if (pass == NULL)
		return EX_OSERR;
	(void)signal(SIGPIPE, SIG_IGN);
	pass->fd = fd;
	pass->turn = TURN_SERVER; /* it greets */
	status = pass_all(pass);
	free(pass);
	return status;
}
