/*
 * The maildrop is what the INBOX held at login: numbers stay whatever others do to it meanwhile. A
 * message's unique id is its UID with the folder's UIDVALIDITY, as Dovecot's default is: so nothing is
 * downloaded again by who comes from there.
 *
 * Texts are sent some KiB at a time, as the client reads them.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/event.h>
#include <event2/event_struct.h>

#include "common/clock.h"
#include "common/log.h"
#include "mailbox/connection.h"
#include "mailbox/folder.h"
#include "mailbox/pop3_session.h"

#define LINE_SIZE    512 /* RFC 2449 4: 255 with CRLF; UTF-8 may be longer */
#define ERRORS_MAX   20
#define IDLE_SECONDS 630 /* RFC 1939 3: at least 10 minutes */
#define READ_SIZE    32768
#define TURN_MS      5

#define CAPABILITIES                                                                            \
	"TOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nEXPIRE NEVER\r\nUTF8\r\n" \
	"IMPLEMENTATION Postern\r\n"

enum state {
	STATE_COMMAND,
	STATE_SENDING, /* a message */
	STATE_LISTING, /* LIST or UIDL of all */
	STATE_ENDING,
};

struct entry {
	uint32_t uid;
	bool is_deleted;
	bool has_size;
	uint64_t size; /* with CRLF */
};

struct pop3_session {
	struct event_base *base;
	struct connection *connection;
	struct maildir *maildir;
	const struct pop3_settings *settings;
	uint64_t id;
	void (*ended)(void *);
	void *arg;
	enum state state;
	struct event turn;
	char line[LINE_SIZE];
	size_t line_length; /* LINE_SIZE: it is too long */
	unsigned errors;

	struct folder *folder; /* NULL: the maildrop isn't ours */
	struct entry *entries;
	size_t count;

	/* STATE_LISTING */
	size_t next;
	bool lists_ids;
	/* STATE_SENDING */
	int fd;
	uint64_t file_size; /* when it was opened */
	uint64_t at;
	bool in_header;
	bool at_line;
	bool after_return;
	size_t line_so_far;  /* bytes of the header's line: an empty one ends it */
	uint64_t lines_left; /* of the body; UINT64_MAX: all (RETR) */
};

/* The one that has the maildrop. */
static struct pop3_session *holder;

const char *
pop3_session_capabilities(void)
{
	return CAPABILITIES;
}

static struct evbuffer *
output(struct pop3_session *session)
{
	return connection_output(session->connection);
}

static void __attribute__((format(printf, 2, 3)))
answer(struct pop3_session *session, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	if (evbuffer_add_vprintf(output(session), format, arguments) == -1)
		fatalx("out of memory");
	va_end(arguments);
	(void)evbuffer_add(output(session), "\r\n", 2);
	connection_flush(session->connection);
}

void
pop3_session_stop(struct pop3_session *session, const char *words)
{
	if (session->state == STATE_ENDING)
		return;
	/* In the middle of a text nothing can be said. */
	if (session->state == STATE_COMMAND)
		answer(session, "-ERR [SYS/TEMP] %s", words);
	session->state = STATE_ENDING;
	connection_end(session->connection, words);
}

static void
refuse(struct pop3_session *session, const char *words)
{
	answer(session, "-ERR %s", words);
	if (++session->errors >= ERRORS_MAX)
		pop3_session_stop(session, "too many errors");
}

/* --- entries --- */

/* Its size; a message that is gone has none. */
static bool
find_size(struct pop3_session *session, struct entry *entry)
{
	struct message *message;

	if (entry->has_size)
		return true;
	message = folder_find(session->folder, entry->uid);
	entry->has_size = message != NULL &&
	    folder_message_size(session->folder, message, &entry->size) == MAIL_OK;
	return entry->has_size;
}

/* A message's number as the argument says it; NULL, having answered, when there is none. */
static struct entry *
find_entry(struct pop3_session *session, const char **argument)
{
	size_t number = 0, digits = 0;

	while (isdigit((unsigned char)**argument) && digits++ < 9)
		number = number * 10 + (size_t)(*(*argument)++ - '0');
	while (**argument == ' ')
		(*argument)++;
	if (digits == 0 || number == 0 || number > session->count ||
	    session->entries[number - 1].is_deleted) {
		refuse(session, "there is no such message");
		return NULL;
	}
	return &session->entries[number - 1];
}

static bool
open_maildrop(struct pop3_session *session)
{
	enum mail_result why = MAIL_FAILED;
	size_t length;

	session->folder = folder_open(session->maildir, "INBOX", &why);
	if (session->folder == NULL)
		return false;
	length = folder_length(session->folder);
	session->entries = calloc(length > 0 ? length : 1, sizeof(*session->entries));
	if (session->entries == NULL)
		return false;
	for (size_t position = 0; position < length; position++) {
		const struct message *message = folder_at(session->folder, position);

		if (message->expunged == 0)
			session->entries[session->count++].uid = message->uid;
	}
	return true;
}

/* --- commands --- */

static void
command_stat(struct pop3_session *session, const char *argument)
{
	uint64_t size = 0;
	size_t count = 0;

	(void)argument;
	for (size_t i = 0; i < session->count; i++) {
		if (session->entries[i].is_deleted)
			continue;
		count++;
		if (find_size(session, &session->entries[i]))
			size += session->entries[i].size;
	}
	answer(session, "+OK %zu %llu", count, (unsigned long long)size);
}

static void
write_entry(struct pop3_session *session, const char *before, const struct entry *entry, bool id)
{
	size_t number = (size_t)(entry - session->entries) + 1;

	if (id)
		answer(session, "%s%zu %08x%08x", before, number, entry->uid,
		    folder_uid_validity(session->folder));
	else
		answer(session, "%s%zu %llu", before, number, (unsigned long long)entry->size);
}

static void
list(struct pop3_session *session, const char *argument, bool ids)
{
	struct entry *entry;

	if (*argument == '\0') {
		answer(session, "+OK");
		session->state = STATE_LISTING;
		session->next = 0;
		session->lists_ids = ids;
		connection_read(session->connection, false);
		event_active(&session->turn, EV_TIMEOUT, 0);
		return;
	}
	entry = find_entry(session, &argument);
	if (entry == NULL)
		return;
	(void)find_size(session, entry);
	write_entry(session, "+OK ", entry, ids);
}

static void
command_list(struct pop3_session *session, const char *argument)
{
	list(session, argument, false);
}

static void
command_uidl(struct pop3_session *session, const char *argument)
{
	list(session, argument, true);
}

static void
send_message(struct pop3_session *session, struct entry *entry, uint64_t lines)
{
	if (folder_message_open(session->folder, entry->uid, &session->fd, &session->file_size) !=
	    MAIL_OK) {
		session->fd = -1;
		refuse(session, "the message is gone, or can't be read now");
		return;
	}
	(void)find_size(session, entry);
	answer(session, "+OK %llu octets", (unsigned long long)entry->size);
	session->state = STATE_SENDING;
	session->at = 0;
	session->in_header = session->at_line = true;
	session->after_return = false;
	session->line_so_far = 0;
	session->lines_left = lines;
	connection_read(session->connection, false);
	event_active(&session->turn, EV_TIMEOUT, 0);
}

static void
command_retr(struct pop3_session *session, const char *argument)
{
	struct entry *entry = find_entry(session, &argument);

	if (entry != NULL)
		send_message(session, entry, UINT64_MAX);
}

static void
command_top(struct pop3_session *session, const char *argument)
{
	struct entry *entry = find_entry(session, &argument);
	char *end;
	unsigned long lines;

	if (entry == NULL)
		return;
	errno = 0;
	lines = strtoul(argument, &end, 10);
	if (!isdigit((unsigned char)*argument) || *end != '\0' || errno != 0)
		refuse(session, "TOP takes a message and a number of lines");
	else
		send_message(session, entry, lines);
}

static void
command_dele(struct pop3_session *session, const char *argument)
{
	struct entry *entry = find_entry(session, &argument);

	if (entry == NULL)
		return;
	entry->is_deleted = true;
	answer(session, "+OK marked to be removed");
}

static void
command_rset(struct pop3_session *session, const char *argument)
{
	(void)argument;
	for (size_t i = 0; i < session->count; i++)
		session->entries[i].is_deleted = false;
	answer(session, "+OK nothing is marked");
}

static void
command_noop(struct pop3_session *session, const char *argument)
{
	(void)argument;
	answer(session, "+OK");
}

static void
command_capa(struct pop3_session *session, const char *argument)
{
	(void)argument;
	answer(session, "+OK\r\n" CAPABILITIES ".");
}

static void
command_utf8(struct pop3_session *session, const char *argument)
{
	/* RFC 6856 2: before login; but it does no harm here. */
	(void)argument;
	answer(session, "+OK");
}

/* The UPDATE state (RFC 1939 6): what is marked goes, before +OK is said. */
static void
command_quit(struct pop3_session *session, const char *argument)
{
	uint32_t *uids = calloc(session->count > 0 ? session->count : 1, sizeof(*uids));
	enum mail_result result = MAIL_OK;
	size_t count = 0;

	(void)argument;
	for (size_t i = 0; uids != NULL && i < session->count; i++) {
		if (session->entries[i].is_deleted)
			uids[count++] = session->entries[i].uid;
	}
	if (uids == NULL)
		result = MAIL_FAILED;
	else if (count > 0)
		result = folder_expunge(session->folder, uids, count);
	free(uids);
	if (result == MAIL_OK)
		answer(session, "+OK %zu removed", count);
	else
		answer(session, "-ERR [SYS/TEMP] some deleted messages not removed: %s",
		    mail_result_text(result));
	session->state = STATE_ENDING;
	connection_end(session->connection, "logged out");
}

static const struct {
	const char *name;
	void (*run)(struct pop3_session *, const char *argument);
} commands[] = {
	{ "STAT", command_stat },
	{ "LIST", command_list },
	{ "UIDL", command_uidl },
	{ "RETR", command_retr },
	{ "TOP", command_top },
	{ "DELE", command_dele },
	{ "RSET", command_rset },
	{ "NOOP", command_noop },
	{ "CAPA", command_capa },
	{ "UTF8", command_utf8 },
	{ "QUIT", command_quit },
};

static void
run_line(struct pop3_session *session)
{
	char *line = session->line, *argument;
	size_t length = session->line_length, word;

	session->line_length = 0;
	if (length == LINE_SIZE) {
		refuse(session, "the line is too long");
		return;
	}
	if (length > 0 && line[length - 1] == '\r')
		length--;
	line[length] = '\0';
	if (strlen(line) != length) {
		refuse(session, "there is a NUL in it");
		return;
	}
	word = strcspn(line, " ");
	argument = line + word + strspn(line + word, " ");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strlen(commands[i].name) == word &&
		    strncasecmp(line, commands[i].name, word) == 0) {
			commands[i].run(session, argument);
			return;
		}
	}
	refuse(session, "there is no such command");
}

static size_t
on_input(const char *bytes, size_t length, void *arg)
{
	struct pop3_session *session = arg;
	size_t taken = 0;

	while (taken < length && session->state == STATE_COMMAND) {
		char byte = bytes[taken++];

		if (byte == '\n')
			run_line(session);
		else if (session->line_length < LINE_SIZE - 1)
			session->line[session->line_length++] = byte;
		else
			session->line_length = LINE_SIZE;
	}
	return taken;
}

/* --- what takes several turns --- */

static void
next_command(struct pop3_session *session)
{
	answer(session, ".");
	session->state = STATE_COMMAND;
	connection_read(session->connection, true);
}

static void
continue_list(struct pop3_session *session)
{
	int64_t began = clock_monotonic_ms();

	while (session->next < session->count) {
		struct entry *entry = &session->entries[session->next++];

		if (entry->is_deleted)
			continue;
		if (!session->lists_ids)
			(void)find_size(session, entry);
		write_entry(session, "", entry, session->lists_ids);
		if (connection_is_full(session->connection) ||
		    clock_monotonic_ms() - began >= TURN_MS)
			return;
	}
	next_command(session);
}

/* One stored line's end or a piece of a line, with a dot before a dot. False when TOP has enough. */
static bool
send_piece(struct pop3_session *session, const char *bytes, size_t length, bool has_end)
{
	if (session->at_line && !session->in_header && session->lines_left == 0)
		return false;
	if (session->at_line && length > 0 && bytes[0] == '.')
		(void)evbuffer_add(output(session), ".", 1);
	if (length > 0) {
		session->at_line = false;
		session->after_return = bytes[length - 1] == '\r';
		session->line_so_far += length;
		(void)evbuffer_add(output(session), bytes, length);
	}
	if (!has_end)
		return true;
	(void)evbuffer_add(
	    output(session), session->after_return ? "\n" : "\r\n", session->after_return ? 1 : 2);
	if (session->in_header)
		session->in_header = session->line_so_far > (session->after_return ? 1 : 0);
	else if (session->lines_left != UINT64_MAX)
		session->lines_left--;
	session->at_line = true;
	session->after_return = false;
	session->line_so_far = 0;
	return true;
}

static bool
send_bytes(struct pop3_session *session, const char *bytes, size_t length)
{
	while (length > 0) {
		const char *end = memchr(bytes, '\n', length);
		size_t count = end != NULL ? (size_t)(end - bytes) : length;

		if (!send_piece(session, bytes, count, end != NULL))
			return false;
		count += end != NULL;
		bytes += count;
		length -= count;
	}
	return true;
}

static void
continue_message(struct pop3_session *session)
{
	char bytes[READ_SIZE];
	ssize_t count;

	do
		count = pread(session->fd, bytes, sizeof(bytes), (off_t)session->at);
	while (count == -1 && errno == EINTR);
	if (count > 0) {
		session->at += (uint64_t)count;
		if (send_bytes(session, bytes, (size_t)count)) {
			connection_flush(session->connection);
			return;
		}
	} else if (count == -1 || session->at < session->file_size) {
		/* Cut off, the client must not take it for the whole. */
		log_error("a message of %s can't be read: %s", session->settings->user,
		    count == -1 ? strerror(errno) : "its file has become shorter");
		pop3_session_stop(session, "a message can't be read");
		return;
	}
	(void)close(session->fd); /* only read */
	session->fd = -1;
	if (!session->at_line)
		(void)evbuffer_add(output(session), "\r\n", 2);
	next_command(session);
}

static void
on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct pop3_session *session = arg;

	(void)fd;
	(void)what;
	if (connection_is_full(session->connection))
		return; /* until it is writable */
	if (session->state == STATE_LISTING)
		continue_list(session);
	else if (session->state == STATE_SENDING)
		continue_message(session);
	if ((session->state == STATE_LISTING || session->state == STATE_SENDING) &&
	    !connection_is_full(session->connection))
		event_active(&session->turn, EV_TIMEOUT, 0);
}

static void
on_writable(void *arg)
{
	struct pop3_session *session = arg;

	event_active(&session->turn, EV_TIMEOUT, 0);
}

static void
on_closed(const char *why, void *arg)
{
	struct pop3_session *session = arg;

	connection_log_end("pop3-disconnected", session->id, session->settings->user, why);
	session->ended(session->arg);
}

static const struct connection_calls calls = {
	.input = on_input,
	.writable = on_writable,
	.closed = on_closed,
};

static void
greet(struct pop3_session *session)
{
	if (holder != NULL) {
		answer(session, "-ERR [IN-USE] another session has the maildrop");
	} else if (open_maildrop(session)) {
		holder = session;
		answer(session, "+OK %zu messages", session->count);
		return;
	} else {
		answer(session, "-ERR [SYS/TEMP] the maildrop can't be read now");
	}
	session->state = STATE_ENDING;
	connection_end(session->connection, "no maildrop");
}

struct pop3_session *
pop3_session_new(struct event_base *base, int fd, struct maildir *maildir,
    const struct pop3_settings *settings, const struct pop3_login *login, void (*ended)(void *),
    void *arg)
{
	struct pop3_session *session = calloc(1, sizeof(*session));
	size_t taken;

	if (session == NULL)
		return NULL;
	session->connection = connection_new(base, fd, &calls, session);
	if (session->connection == NULL) {
		free(session);
		return NULL;
	}
	session->base = base;
	session->maildir = maildir;
	session->settings = settings;
	session->id = login->session;
	session->ended = ended;
	session->arg = arg;
	session->fd = -1;
	event_assign(&session->turn, base, -1, 0, on_turn, session);
	connection_set_time(session->connection, IDLE_SECONDS);
	greet(session);
	if (login->input_length > 0 && session->state != STATE_ENDING) {
		taken = on_input(login->input, login->input_length, session);
		connection_put_back(
		    session->connection, login->input + taken, login->input_length - taken);
	}
	return session;
}

void
pop3_session_free(struct pop3_session *session)
{
	if (session == NULL)
		return;
	if (holder == session)
		holder = NULL;
	(void)event_del(&session->turn);
	if (session->fd != -1)
		(void)close(session->fd); /* only read */
	if (session->folder != NULL)
		folder_release(session->folder);
	free(session->entries);
	connection_free(session->connection);
	free(session);
}
