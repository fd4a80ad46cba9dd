/*
 * A session reads one command, does it, answers, reads the next. While a job is at work nothing more
 * is read; when the client doesn't read what it is sent, the job waits.
 *
 * Removals change sequence numbers, so they are told only where a client must expect them: not in the
 * answers to FETCH, STORE and SEARCH by number (RFC 9051 7.5.1).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/buffer.h>
#include <event2/event.h>

#include "common/clock.h"
#include "common/log.h"
#include "mailbox/imap_session_state.h"
#include "mailbox/mime_structure.h"

#define COMMAND_MAX  (256 * 1024) /* bytes; RFC 7162 4 asks for 8,192 at least */
#define ERRORS_MAX   20           /* BAD in a row */
#define IDLE_SECONDS 1830         /* RFC 9051 5.4: at least 30 minutes */
#define TURN_MS      5

#define CAPABILITIES                                                                              \
	"IMAP4rev1 IMAP4rev2 LITERAL+ SASL-IR ID ENABLE IDLE NAMESPACE UIDPLUS MOVE SPECIAL-USE " \
	"CREATE-SPECIAL-USE LIST-EXTENDED LIST-STATUS CHILDREN ESEARCH SEARCHRES WITHIN SORT "    \
	"THREAD=ORDEREDSUBJECT THREAD=REFERENCES CONDSTORE QRESYNC UNSELECT BINARY MULTIAPPEND "  \
	"APPENDLIMIT REPLACE QUOTA QUOTA=RES-STORAGE QUOTA=RES-MESSAGE STATUS=SIZE OBJECTID "     \
	"SAVEDATE "                                                                               \
	"PREVIEW COMPRESS=DEFLATE METADATA NOTIFY UTF8=ACCEPT"

static int64_t turn_began_ms; /* one session works at a time */

const char *
imap_session_capabilities(void)
{
	return CAPABILITIES;
}

void
imap_flush(struct imap_session *session)
{
	struct evbuffer *output = connection_output(session->connection);

	if (!buf_ok(&session->text)) {
		log_error("an answer to %s is larger than can be", session->settings->user);
		buf_free(&session->text);
		imap_session_stop(session, "An answer was too large");
		return;
	}
	if (session->text.length > 0 &&
	    evbuffer_add(output, session->text.data, session->text.length) != 0)
		fatalx("out of memory");
	buf_free(&session->text);
	connection_flush(session->connection);
}

/* --- answering --- */

/* Whether removals may be told with this command's answer. */
static bool
tells_removals(const struct imap_command *command)
{
	switch (command->verb) {
	case IMAP_FETCH:
	case IMAP_STORE:
	case IMAP_SEARCH:
	case IMAP_SORT:
	case IMAP_THREAD:
		return command->uid;
	case IMAP_CAPABILITY:
	case IMAP_NOOP:
	case IMAP_LOGOUT:
	case IMAP_ID:
	case IMAP_STARTTLS:
	case IMAP_LOGIN:
	case IMAP_AUTHENTICATE:
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
	return true;
}

static void
next_command(struct imap_session *session)
{
	imap_command_free(&session->command);
	memset(&session->command, 0, sizeof(session->command));
	imap_append_free(session);
	imap_input_next(&session->input);
	if (session->state == IMAP_ENDING)
		return;
	session->state = IMAP_READING;
	connection_read(session->connection, true);
}

void
imap_answer(
    struct imap_session *session, enum imap_outcome outcome, const char *code, const char *words)
{
	static const char *const words_of[] = { "OK", "NO", "BAD" };
	const struct imap_string *tag = &session->command.tag;

	if (session->selected.folder != NULL && session->command.why == NULL)
		imap_tell(session, tells_removals(&session->command));
	buf_add(&session->text, tag->data, tag->length);
	buf_printf(&session->text, " %s ", words_of[outcome]);
	if (*code != '\0')
		buf_printf(&session->text, "[%s] ", code);
	buf_printf(&session->text, "%s\r\n", words);
	session->errors = outcome == IMAP_BAD ? session->errors + 1 : 0;
	imap_flush(session);
	if (session->errors >= ERRORS_MAX) {
		imap_session_stop(session, "Too many commands that aren't any");
		return;
	}
	if (session->selected.folder != NULL && folder_is_void(session->selected.folder)) {
		imap_session_stop(session, "The mailbox's index was damaged, open it again");
		return;
	}
	next_command(session);
}

void
imap_answer_result(struct imap_session *session, enum mail_result result, const char *done)
{
	if (result == MAIL_OK)
		imap_answer(session, IMAP_OK, "", done);
	else
		imap_answer(session, IMAP_NO, mail_result_code(result), mail_result_text(result));
}

/* --- jobs --- */

bool
imap_is_turn_over(struct imap_session *session)
{
	if (session->text.length >= 65536)
		imap_flush(session);
	return session->state == IMAP_ENDING || connection_is_full(session->connection) ||
	    clock_coarse_ms() - turn_began_ms >= TURN_MS;
}

static void
end_job(struct imap_session *session)
{
	if (session->job_free != NULL)
		session->job_free(session->job);
	session->job = NULL;
	session->job_free = NULL;
	session->step = NULL;
}

static void
on_turn(evutil_socket_t fd, short what, void *arg)
{
	struct imap_session *session = arg;
	enum imap_progress progress;

	(void)fd;
	(void)what;
	if (session->step == NULL || connection_is_full(session->connection))
		return; /* until it is writable */
	turn_began_ms = clock_coarse_ms();
	session->in_step = true;
	progress = session->step(session);
	session->in_step = false;
	if (progress == IMAP_DONE || session->state == IMAP_ENDING) {
		end_job(session);
		return;
	}
	imap_flush(session);
	if (!connection_is_full(session->connection))
		event_active(&session->turn, EV_TIMEOUT, 0);
}

void
imap_work(struct imap_session *session, enum imap_progress (*step)(struct imap_session *),
    void *job, void (*job_free)(void *))
{
	session->state = IMAP_WORKING;
	session->step = step;
	session->job = job;
	session->job_free = job_free;
	event_active(&session->turn, EV_TIMEOUT, 0);
}

/* --- names --- */

static bool
is_ascii(const char *text)
{
	while (*text != '\0' && (unsigned char)*text < 0x80)
		text++;
	return *text == '\0';
}

bool
imap_name_clean(const struct imap_session *session, const struct imap_string *string,
    char name[FOLDER_NAME_SIZE])
{
	char text[FOLDER_NAME_SIZE], utf8[FOLDER_NAME_SIZE];

	if (string->length >= sizeof(text) || memchr(string->data, '\0', string->length) != NULL)
		return false;
	memcpy(text, string->data, string->length);
	text[string->length] = '\0';
	if (session->is_utf8)
		return folder_name_clean(text, name);
	if (folder_name_utf7_to_utf8(text, utf8, sizeof(utf8)))
		return folder_name_clean(utf8, name);
	/* Older clients write UTF-7 (RFC 3501 5.1.3), some UTF-8 all the same. */
	return !is_ascii(text) && folder_name_clean(text, name);
}

bool
imap_name_from_client(
    struct imap_session *session, const struct imap_string *string, char name[FOLDER_NAME_SIZE])
{
	if (imap_name_clean(session, string, name))
		return true;
	imap_answer_result(session, MAIL_BAD_NAME, "");
	return false;
}

void
imap_write_name(struct imap_session *session, const char *name)
{
	char text[FOLDER_DISK_MAX * 4];

	if (session->is_utf8 || !folder_name_utf8_to_utf7(name, text, sizeof(text))) {
		/* RFC 6855 3: UTF-8 may be quoted. */
		buf_add_u8(&session->text, '"');
		for (; *name != '\0'; name++) {
			if (*name == '"' || *name == '\\')
				buf_add_u8(&session->text, '\\');
			buf_add_u8(&session->text, (uint8_t)*name);
		}
		buf_add_u8(&session->text, '"');
		return;
	}
	imap_write_nstring(&session->text, text);
}

/* --- commands --- */

static void
capability(struct imap_session *session)
{
	buf_add_text(&session->text, "* CAPABILITY " CAPABILITIES "\r\n");
	imap_answer(session, IMAP_OK, "", "These it has");
}

static void
noop(struct imap_session *session)
{
	imap_answer(session, IMAP_OK, "", "Nothing done");
}

static void
logout(struct imap_session *session)
{
	buf_add_text(&session->text, "* BYE See you again\r\n");
	imap_answer(session, IMAP_OK, "", "Logged out");
	session->state = IMAP_ENDING;
	connection_end(session->connection, "logged out");
}

static void
already(struct imap_session *session)
{
	imap_answer(session, IMAP_BAD, "", "You are logged in");
}

static void
idle(struct imap_session *session)
{
	struct imap_string *tag = &session->command.tag;
	char *kept;

	if (imap_is_gone(session)) {
		imap_answer_gone(session);
		return;
	}
	kept = imap_pool_new(&session->command.pool, tag->length);
	if (kept == NULL) {
		imap_answer(session, IMAP_NO, "UNAVAILABLE", "Out of memory");
		return;
	}
	/* The command's text makes room for DONE. */
	memcpy(kept, tag->data, tag->length);
	tag->data = kept;
	if (session->selected.folder != NULL)
		imap_tell(session, true);
	buf_add_text(&session->text, "+ Waiting; say DONE\r\n");
	session->state = IMAP_IDLING;
	imap_input_next(&session->input);
	connection_read(session->connection, true);
	imap_flush(session);
}

static void
close_folder(struct imap_session *session)
{
	imap_close(session, true);
}

static void
unselect(struct imap_session *session)
{
	imap_close(session, false);
}

enum need {
	NEEDS_NOTHING,
	NEEDS_SELECTED, /* a folder, be it gone meanwhile */
	NEEDS_FOLDER,   /* one that is there */
	NEEDS_MESSAGES, /* and its messages */
	NEEDS_WRITING,  /* and not read-only */
};

static const struct {
	void (*run)(struct imap_session *);
	enum need need;
} commands[IMAP_VERB_COUNT] = {
	[IMAP_CAPABILITY] = { capability, NEEDS_NOTHING },
	[IMAP_NOOP] = { noop, NEEDS_NOTHING },
	[IMAP_LOGOUT] = { logout, NEEDS_NOTHING },
	[IMAP_ID] = { imap_id, NEEDS_NOTHING },
	[IMAP_STARTTLS] = { already, NEEDS_NOTHING },
	[IMAP_LOGIN] = { already, NEEDS_NOTHING },
	[IMAP_AUTHENTICATE] = { already, NEEDS_NOTHING },
	[IMAP_ENABLE] = { imap_enable, NEEDS_NOTHING },
	[IMAP_SELECT] = { imap_select, NEEDS_NOTHING },
	[IMAP_EXAMINE] = { imap_select, NEEDS_NOTHING },
	[IMAP_CREATE] = { imap_create, NEEDS_NOTHING },
	[IMAP_DELETE] = { imap_delete, NEEDS_NOTHING },
	[IMAP_RENAME] = { imap_rename, NEEDS_NOTHING },
	[IMAP_SUBSCRIBE] = { imap_subscribe, NEEDS_NOTHING },
	[IMAP_UNSUBSCRIBE] = { imap_subscribe, NEEDS_NOTHING },
	[IMAP_LIST] = { imap_list, NEEDS_NOTHING },
	[IMAP_LSUB] = { imap_list, NEEDS_NOTHING },
	[IMAP_NAMESPACE] = { imap_namespace, NEEDS_NOTHING },
	[IMAP_STATUS] = { imap_status, NEEDS_NOTHING },
	[IMAP_APPEND] = { imap_append, NEEDS_NOTHING },
	[IMAP_IDLE] = { idle, NEEDS_NOTHING },
	[IMAP_CHECK] = { noop, NEEDS_FOLDER },
	[IMAP_CLOSE] = { close_folder, NEEDS_SELECTED },
	[IMAP_UNSELECT] = { unselect, NEEDS_SELECTED },
	[IMAP_EXPUNGE] = { imap_expunge, NEEDS_WRITING },
	[IMAP_SEARCH] = { imap_search, NEEDS_MESSAGES },
	[IMAP_SORT] = { imap_sort, NEEDS_MESSAGES },
	[IMAP_THREAD] = { imap_thread, NEEDS_MESSAGES },
	[IMAP_FETCH] = { imap_fetch, NEEDS_MESSAGES },
	[IMAP_STORE] = { imap_store, NEEDS_WRITING },
	[IMAP_COPY] = { imap_copy, NEEDS_MESSAGES },
	[IMAP_MOVE] = { imap_copy, NEEDS_WRITING },
	[IMAP_REPLACE] = { imap_append, NEEDS_WRITING },
	[IMAP_GETQUOTA] = { imap_quota, NEEDS_NOTHING },
	[IMAP_GETQUOTAROOT] = { imap_quota, NEEDS_NOTHING },
	[IMAP_SETQUOTA] = { imap_quota, NEEDS_NOTHING },
	[IMAP_GETMETADATA] = { imap_metadata, NEEDS_NOTHING },
	[IMAP_SETMETADATA] = { imap_metadata, NEEDS_NOTHING },
	[IMAP_NOTIFY] = { imap_notify, NEEDS_NOTHING },
	[IMAP_COMPRESS] = { imap_compress, NEEDS_NOTHING },
};

static void
run_command(struct imap_session *session)
{
	struct imap_command *command = &session->command;
	const struct buf *text = &session->input.command;
	enum need need;

	session->state = IMAP_WORKING;
	connection_read(session->connection, false);
	imap_command_free(command);
	imap_command_parse(command, (const char *)text->data, text->length);
	if (command->why != NULL) {
		imap_answer(session, command->no_memory ? IMAP_NO : IMAP_BAD,
		    command->no_memory ? "UNAVAILABLE" : "", command->why);
		return;
	}
	need = commands[command->verb].need;
	if (need != NEEDS_NOTHING && session->selected.folder == NULL) {
		imap_answer(session, IMAP_BAD, "CLIENTBUG", "No mailbox is selected");
		return;
	}
	if (need > NEEDS_SELECTED && imap_is_gone(session)) {
		imap_answer_gone(session);
		return;
	}
	if (need == NEEDS_WRITING && session->selected.is_read_only) {
		imap_answer(session, IMAP_NO, "", "The mailbox was opened read-only");
		return;
	}
	if (need > NEEDS_FOLDER && folder_need(session->selected.folder) != MAIL_OK) {
		imap_answer_result(session, MAIL_ABSENT, ""); /* and no more of it */
		return;
	}
	commands[command->verb].run(session);
}

/* "DONE", or what isn't it (RFC 2177 3). */
static void
end_idle(struct imap_session *session)
{
	const struct buf *text = &session->input.command;
	bool is_done = text->length == 4 && strncasecmp((const char *)text->data, "DONE", 4) == 0;

	session->state = IMAP_WORKING;
	connection_read(session->connection, false);
	imap_answer(session, is_done ? IMAP_OK : IMAP_BAD, "",
	    is_done ? "Idle is over" : "DONE was expected");
}

static void
refused_command(struct imap_session *session)
{
	const struct buf *text = &session->input.command;

	connection_read(session->connection, false);
	if (session->append != NULL) { /* it has its reason */
		imap_append(session);
		return;
	}
	imap_command_free(&session->command);
	imap_command_parse(&session->command, (const char *)text->data, text->length);
	if (session->command.tag.length == text->length) /* more of it may have followed */
		session->command.tag = (struct imap_string){ "*", 1 };
	session->command.why = "too long"; /* whatever else it is */
	imap_answer(session, IMAP_BAD, "TOOBIG", "The command is too long");
}

static void
command_is_there(struct imap_session *session)
{
	if (session->state == IMAP_IDLING)
		end_idle(session);
	else if (session->append != NULL)
		imap_append(session);
	else
		run_command(session);
}

static size_t
on_input(const char *bytes, size_t length, void *arg)
{
	struct imap_session *session = arg;
	size_t used, taken = 0;

	/* One command at a time: the rest is given again when it is done. */
	while (session->state == IMAP_READING || session->state == IMAP_IDLING) {
		enum imap_input_event event =
		    imap_input_take(&session->input, bytes + taken, length - taken, &used);

		taken += used;
		switch (event) {
		case IMAP_INPUT_MORE:
			return taken;
		case IMAP_INPUT_CONTINUE:
			buf_add_text(&session->text, "+ Go on\r\n");
			imap_flush(session);
			break;
		case IMAP_INPUT_MESSAGE:
			imap_append_message(session);
			break;
		case IMAP_INPUT_TEXT:
			imap_append_text(session, session->input.text, session->input.text_length);
			break;
		case IMAP_INPUT_MESSAGE_END:
			imap_append_end(session);
			break;
		case IMAP_INPUT_COMMAND:
			command_is_there(session);
			break;
		case IMAP_INPUT_REFUSED:
			refused_command(session);
			break;
		case IMAP_INPUT_CLOSE:
			imap_session_stop(session, "That is more than can be taken");
			break;
		}
	}
	return taken;
}

static void
on_writable(void *arg)
{
	struct imap_session *session = arg;

	if (session->step != NULL)
		event_active(&session->turn, EV_TIMEOUT, 0);
}

static void
on_closed(const char *why, void *arg)
{
	struct imap_session *session = arg;

	connection_log_end("imap-disconnected", session->id, session->settings->user, why);
	session->ended(session->arg);
}

static const struct connection_calls calls = {
	.input = on_input,
	.writable = on_writable,
	.closed = on_closed,
};

struct imap_session *
imap_session_new(struct event_base *base, int fd, struct maildir *maildir,
    const struct imap_settings *settings, const struct imap_login *login, void (*ended)(void *),
    void *arg)
{
	struct imap_session *session = calloc(1, sizeof(*session));
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
	imap_input_init(&session->input, COMMAND_MAX);
	buf_init(&session->text, IMAP_TEXT_MAX);
	event_assign(&session->turn, base, -1, 0, on_turn, session);
	connection_set_time(session->connection, IDLE_SECONDS);
	if (*login->tag != '\0')
		buf_printf(&session->text, "%s OK [CAPABILITY " CAPABILITIES "] Logged in\r\n",
		    login->tag);
	else
		buf_printf(&session->text, "* PREAUTH [CAPABILITY " CAPABILITIES "] %s\r\n",
		    settings->hostname);
	imap_flush(session);
	if (login->input_length > 0) {
		taken = on_input(login->input, login->input_length, session);
		connection_put_back(
		    session->connection, login->input + taken, login->input_length - taken);
	}
	return session;
}

void
imap_session_free(struct imap_session *session)
{
	if (session == NULL)
		return;
	end_job(session);
	(void)event_del(&session->turn);
	imap_append_free(session);
	imap_notify_free(session);
	imap_unselect(session);
	imap_command_free(&session->command);
	imap_input_free(&session->input);
	buf_free(&session->text);
	connection_free(session->connection);
	free(session);
}

void
imap_session_stop(struct imap_session *session, const char *words)
{
	if (session->state == IMAP_ENDING)
		return;
	session->state = IMAP_ENDING;
	if (!session->in_step)
		end_job(session);
	buf_clear(&session->text);
	buf_printf(&session->text, "* BYE %s\r\n", words);
	imap_flush(session);
	connection_end(session->connection, words);
}

void
imap_session_look(struct imap_session *session)
{
	if (session->state == IMAP_IDLING && session->selected.folder != NULL)
		imap_tell(session, true);
	/* Who only waits would never learn of it (RFC 2180 3.3). */
	if (session->state == IMAP_IDLING && imap_is_gone(session)) {
		imap_session_stop(session, "The selected mailbox is gone");
		return;
	}
	if (session->notify != NULL && session->state != IMAP_WORKING &&
	    session->state != IMAP_ENDING)
		imap_notify_look(session);
	imap_flush(session);
}
