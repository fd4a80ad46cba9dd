/*
 * APPEND, of one message or several (RFC 9051 6.3.12, RFC 3502), and REPLACE (RFC 8508): each message
 * goes to tmp/ as it comes; when the command is complete all are put in place or none. What is wrong is
 * known before a message comes where that can be, so that a client that waits for "+" needn't send it.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mailbox/imap_session_state.h"

#define BYTES_MAX (512 * 1024 * 1024) /* of all messages of a command */

struct imap_append_job {
	struct folder *folder;
	size_t count;
	struct append **messages; /* IMAP_MESSAGES_MAX at most */
	uint64_t bytes;
	enum mail_result result;
	const char *why; /* BAD, with these words; or NO with `code` */
	const char *code;
};

void
imap_append_free(struct imap_session *session)
{
	struct imap_append_job *job = session->append;

	if (job == NULL)
		return;
	for (size_t i = 0; i < job->count; i++)
		append_free(job->messages[i]);
	free(job->messages);
	if (job->folder != NULL)
		folder_release(job->folder);
	free(job);
	session->append = NULL;
}

/* The folder, opened with the first message. */
static void
open_folder(struct imap_session *session, struct imap_append_job *job)
{
	char name[FOLDER_NAME_SIZE];

	job->result = MAIL_BAD_NAME;
	if (!imap_name_clean(session, &session->command.append.mailbox, name))
		return;
	job->folder = folder_open(session->maildir, name, &job->result);
	if (job->folder != NULL)
		job->result = MAIL_OK;
}

static bool
is_failed(const struct imap_append_job *job)
{
	return job->why != NULL || job->result != MAIL_OK;
}

/* The message's flags and date, which stand before it. */
static void
set_properties(struct imap_append_job *job, const struct imap_append_message *message)
{
	uint32_t bits = 0, bit;
	char name[IMAP_KEYWORD_MAX + 1];

	bits |= message->flags.system & IMAP_FLAG_DRAFT ? MESSAGE_DRAFT : 0;
	bits |= message->flags.system & IMAP_FLAG_FLAGGED ? MESSAGE_FLAGGED : 0;
	bits |= message->flags.system & IMAP_FLAG_ANSWERED ? MESSAGE_ANSWERED : 0;
	bits |= message->flags.system & IMAP_FLAG_SEEN ? MESSAGE_SEEN : 0;
	bits |= message->flags.system & IMAP_FLAG_DELETED ? MESSAGE_DELETED : 0;
	for (size_t i = 0; i < message->flags.keyword_count; i++) {
		memcpy(name, message->flags.keywords[i].data, message->flags.keywords[i].length);
		name[message->flags.keywords[i].length] = '\0';
		job->result = folder_keyword(job->folder, name, true, &bit);
		if (job->result != MAIL_OK)
			return;
		bits |= bit;
	}
	append_set(job->messages[job->count - 1], bits, message->has_date ? message->date : 0);
}

static void
begin_message(struct imap_session *session, struct imap_append_job *job)
{
	const struct imap_append *append = &session->command.append;
	const struct imap_append_message *message = &append->messages[append->message_count - 1];
	struct append **messages;

	if (message->size > session->settings->message_limit ||
	    job->bytes + message->size > BYTES_MAX) {
		job->code = "TOOBIG"; /* RFC 7889 5 */
		job->why = "The message is larger than can be";
		return;
	}
	if (message->size == 0) { /* RFC 3502 6.3.11: some clients cancel so */
		job->code = "CANNOT";
		job->why = "A message can't be empty";
		return;
	}
	messages = reallocarray(job->messages, job->count + 1, sizeof(*messages));
	if (messages == NULL) {
		job->result = MAIL_FAILED;
		return;
	}
	job->messages = messages;
	job->result = append_begin(job->folder, message->size, &messages[job->count]);
	if (job->result != MAIL_OK)
		return;
	job->count++;
	job->bytes += message->size;
	set_properties(job, message);
}

void
imap_append_message(struct imap_session *session)
{
	const struct buf *text = &session->input.command;
	struct imap_append_job *job = session->append;

	if (job == NULL) {
		job = calloc(1, sizeof(*job));
		if (job == NULL) {
			imap_input_refuse(&session->input);
			return;
		}
		session->append = job;
	}
	imap_command_free(&session->command);
	imap_command_parse_so_far(&session->command, (const char *)text->data, text->length);
	job->why = session->command.why;
	if (!is_failed(job) && session->command.verb == IMAP_REPLACE &&
	    (session->selected.folder == NULL || session->selected.is_read_only)) {
		job->code = "CANNOT";
		job->why = "No mailbox that can be written is selected";
	}
	if (!is_failed(job) && session->command.verb == IMAP_REPLACE && imap_is_gone(session)) {
		job->code = "NONEXISTENT";
		job->why = "The selected mailbox is gone";
	}
	if (!is_failed(job) && job->folder == NULL)
		open_folder(session, job);
	if (!is_failed(job))
		begin_message(session, job);
	if (is_failed(job)) {
		imap_input_refuse(&session->input);
	} else if (session->input.synchronizing) {
		buf_add_text(&session->text, "+ Go on\r\n");
		imap_flush(session);
	}
}

void
imap_append_text(struct imap_session *session, const char *bytes, size_t length)
{
	struct imap_append_job *job = session->append;

	if (job != NULL && !is_failed(job))
		append_write(job->messages[job->count - 1], bytes, length);
}

void
imap_append_end(struct imap_session *session)
{
	(void)session; /* what became of it folder_append() tells */
}

static void
answer_failure(struct imap_session *session, struct imap_append_job *job)
{
	const char *why = job->why;
	enum mail_result result = job->result;
	bool is_bad = why != NULL && job->code == NULL;

	if (why != NULL)
		imap_answer(session, is_bad ? IMAP_BAD : IMAP_NO, is_bad ? "" : job->code, why);
	else if (result == MAIL_ABSENT) /* RFC 9051 6.3.12 */
		imap_answer(session, IMAP_NO, "TRYCREATE", "There is no such mailbox");
	else
		imap_answer_result(session, result, "");
}

/* RFC 4315 3 */
static void
write_uids(struct buf *code, struct folder *folder, const uint32_t *uids, size_t count)
{
	struct imap_set_writer writer;

	buf_printf(code, "APPENDUID %u ", folder_uid_validity(folder));
	imap_set_begin(&writer, code);
	for (size_t i = 0; i < count; i++)
		imap_set_add(&writer, uids[i]);
	(void)imap_set_end(&writer);
	buf_add_u8(code, 0);
}

/* REPLACE: the old message goes only when the new one is there (RFC 8508 3.4). */
static enum mail_result
remove_replaced(struct imap_session *session, uint32_t uid)
{
	return folder_expunge(session->selected.folder, &uid, 1);
}

/* The UID of the message to be replaced; 0 when there is none. */
static uint32_t
find_replaced(struct imap_session *session)
{
	struct folder_view *view = session->selected.view;
	uint32_t number = session->command.append.replaced;
	const struct message *message;

	if (number == IMAP_SET_STAR)
		number = (uint32_t)folder_view_count(view);
	else if (session->command.uid)
		number = (uint32_t)folder_view_sequence(view, number);
	message = folder_view_message(view, number);
	return message != NULL && message->expunged == 0 ? message->uid : 0;
}

static void
put_in_place(struct imap_session *session, struct imap_append_job *job)
{
	bool is_replace = session->command.verb == IMAP_REPLACE;
	uint32_t *uids = reallocarray(NULL, job->count, sizeof(*uids)), replaced = 0;
	enum mail_result result;
	struct buf code;

	if (uids == NULL) {
		imap_answer_result(session, MAIL_FAILED, "");
		return;
	}
	if (is_replace)
		replaced = find_replaced(session);
	if (is_replace && replaced == 0) {
		free(uids);
		imap_answer(session, IMAP_NO, "NONEXISTENT", "There is no message to be replaced");
		return;
	}
	result = folder_append(job->folder, job->messages, job->count, uids);
	if (result != MAIL_OK) {
		free(uids);
		job->result = result;
		answer_failure(session, job);
		return;
	}
	buf_init(&code, 64 * 1024);
	write_uids(&code, job->folder, uids, job->count);
	free(uids);
	if (is_replace) {
		buf_printf(&session->text, "* OK [%s] Stored\r\n", (char *)code.data);
		result = remove_replaced(session, replaced);
		imap_answer_result(session, result, "Replaced");
	} else {
		imap_answer(session, IMAP_OK, buf_ok(&code) ? (char *)code.data : "", "Stored");
	}
	buf_free(&code);
}

void
imap_append(struct imap_session *session)
{
	const struct buf *text = &session->input.command;
	struct imap_append_job *job = session->append;

	session->state = IMAP_WORKING;
	connection_read(session->connection, false);
	imap_command_free(&session->command);
	if (job != NULL && is_failed(job)) {
		/* Of what was refused only the tag counts. */
		imap_command_parse_so_far(
		    &session->command, (const char *)text->data, text->length);
		session->command.why = NULL;
		answer_failure(session, job);
		return;
	}
	imap_command_parse(&session->command, (const char *)text->data, text->length);
	if (session->command.why != NULL || job == NULL)
		imap_answer(session, IMAP_BAD, "",
		    session->command.why != NULL ? session->command.why : "No message came");
	else
		put_in_place(session, job);
}
