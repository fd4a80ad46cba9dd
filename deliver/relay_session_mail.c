/*
 * A transaction. With PIPELINING all of the envelope is one write, DATA included (RFC 2920 3.1), and
 * the replies are taken in the same order as the commands; without, each waits for the one before.
 * Text goes by BDAT where the server offers CHUNKING, and then only after a recipient was taken: a
 * server that forgets to read a chunk it refuses would take text for commands.
 *
 * A reply to RCPT is that recipient's; one to MAIL, DATA or the text belongs to all that were
 * offered. What is no reply to a command but the end of the connection is the host's, and its
 * recipients wait for another host; once all of the text was sent, they are answered, for the server
 * may have it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "common/clock.h"
#include "deliver/relay_session_state.h"

/* The transaction is over: its task goes back. */
static void
finish(struct session *session, enum transaction_outcome outcome, const struct failure *failure)
{
	struct mail *mail = &session->mail;
	struct task *task = mail->task;
	char dialogue[IPC_RELAY_DIALOGUE_MAX + 1];

	mail->task = NULL;
	buf_clear(&mail->chunk);
	if (mail->has_failed && outcome != TRANSACTION_AGAIN) {
		session_dialogue(session, dialogue);
		task_note_dialogue(task, dialogue);
	}
	task_take_back(task);
	session->owner->finished(session, task, outcome, failure, session->owner->arg);
}

static void
finish_and_next(
    struct session *session, enum transaction_outcome outcome, const struct failure *failure)
{
	finish(session, outcome, failure);
	session_next(session, true);
}

/* The reply goes to all recipients of the transaction in that state. */
static void
answer_all(struct session *session, enum rcpt_state state, const struct reply *reply)
{
	struct mail *mail = &session->mail;
	struct failure failure;

	session_failure_of_reply(session, reply, RELAY_FAULT_NONE, &failure);
	mail->has_failed = true;
	task_fail_rcpts(mail->task, state, &failure);
}

void
mail_lost(struct session *session, const struct failure *failure)
{
	struct mail *mail = &session->mail;
	struct failure unsure;

	mail->has_failed = true;
	if (mail->is_unsure && mail->taken > 0 && !connection_is_deaf(session->connection)) {
		unsure = *failure;
		reply_set(&unsure.reply, 451, "4.4.2",
		    "%.300s (after the text was sent: it may have been delivered)",
		    failure->reply.text);
		task_fail_rcpts(mail->task, RCPT_TAKEN, &unsure);
		finish(session, TRANSACTION_DONE, NULL);
	} else if (session->sent > 0 && !mail->has_replied && mail->task->retries == 0) {
		finish(session, TRANSACTION_AGAIN, failure);
	} else {
		finish(session, TRANSACTION_HOST, failure);
	}
}

/* The message needs what this host doesn't offer; another might. */
static void
does_not_fit(struct session *session, unsigned code, const char *enhanced, const char *words)
{
	struct failure failure;

	failure_set(
	    &failure, RELAY_FAULT_NONE, code, enhanced, "%s %s", session->settings->host, words);
	failure.server = session->server;
	session->mail.has_failed = true;
	finish(session, TRANSACTION_HOST, &failure);
	session_next(session, false);
}

static bool
is_ascii(const char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text > 126)
			return false;
	return true;
}

/* The address as this server can take it; false when it can't. */
static bool
wire_address(const struct session *session, const char *address, char *text, size_t size)
{
	const char *at = strrchr(address, '@');
	char local[ADDRESS_TEXT_MAX + 1], key[ADDRESS_DOMAIN_MAX + 1];

	strlcpy(text, address, size);
	if (is_ascii(address) || session->extensions.smtputf8)
		return true;
	/* RFC 6531 3.2: a domain has an ASCII form, a local part has none. */
	if (at == NULL)
		return false;
	strlcpy(local, address, sizeof(local));
	local[at + 1 - address] = '\0';
	if (!is_ascii(local) || !address_domain_key(at + 1, key, sizeof(key)))
		return false;
	strlcpy(text, local, size);
	return strlcat(text, key, size) < size;
}

static bool
has_domain(const char *address)
{
	const char *at = strrchr(address, '@');

	return at != NULL && strchr(at, '"') == NULL;
}

/* The sender that this session says: the action may have another, or another half of it. */
static void
choose_sender(const struct session *session, const char *sender, char *text, size_t size)
{
	const char *instead = session->settings->mail_from, *at = strrchr(sender, '@');
	size_t local = at == NULL ? strlen(sender) : (size_t)(at - sender);

	if (*instead == '\0' || *instead == '@' || *sender == '\0')
		strlcpy(text, sender, size);
	else
		strlcpy(text, instead, size);
	if (*instead == '@' && *sender != '\0' && local < size)
		strlcpy(text + local, instead, size - local);
	/* A name that stands in quotes may hold an "@" of its own. */
	if (*instead != '\0' && *sender != '\0' && at != NULL && !has_domain(instead))
		(void)strlcat(text, at, size);
}

/* RFC 3461 4: bytes that aren't plain as "+" and two digits. */
static void
add_xtext(struct buf *output, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text > ' ' && *text <= '~' && *text != '+' && *text != '=')
			buf_add(output, text, 1);
		else
			buf_printf(output, "+%02X", (unsigned)(unsigned char)*text);
	}
}

/* Without what line ends and dots add. */
static uint64_t
text_size(const struct task *task)
{
	return task->message.size + (task->fields == NULL ? 0 : strlen(task->fields));
}

static void
add_mail(struct session *session, const char *sender, bool utf8)
{
	const struct ipc_relay_message *message = &session->mail.task->message;
	struct buf *output = connection_output(session->connection);
	const struct extensions *extensions = &session->extensions;

	buf_printf(output, "MAIL FROM:<%s>", sender);
	if (extensions->size)
		buf_printf(output, " SIZE=%llu", (unsigned long long)text_size(session->mail.task));
	if (message->eight_bit && extensions->eight_bit)
		buf_add_text(output, " BODY=8BITMIME");
	if (utf8)
		buf_add_text(output, " SMTPUTF8");
	if (message->require_tls && extensions->requiretls && *session->server.tls != '\0')
		buf_add_text(output, " REQUIRETLS");
	if (extensions->dsn && message->dsn_return != DSN_RETURN_UNSET)
		buf_add_text(
		    output, message->dsn_return == DSN_RETURN_FULL ? " RET=FULL" : " RET=HDRS");
	if (extensions->dsn && *message->dsn_envid != '\0') {
		buf_add_text(output, " ENVID=");
		add_xtext(output, message->dsn_envid);
	}
	buf_add_text(output, "\r\n");
}

static void
add_rcpt(struct session *session, const struct task_rcpt *rcpt)
{
	static const struct {
		uint8_t flag;
		const char *word;
	} words[] = {
		{ DSN_NOTIFY_NEVER, "NEVER" },
		{ DSN_NOTIFY_SUCCESS, "SUCCESS" },
		{ DSN_NOTIFY_FAILURE, "FAILURE" },
		{ DSN_NOTIFY_DELAY, "DELAY" },
	};
	struct buf *output = connection_output(session->connection);
	char address[ADDRESS_TEXT_MAX + 1];
	bool first = true;

	(void)wire_address(session, rcpt->dest, address, sizeof(address));
	buf_printf(output, "RCPT TO:<%s>", address);
	for (size_t i = 0; i < 4 && session->extensions.dsn; i++) {
		if ((rcpt->dsn_notify & words[i].flag) == 0)
			continue;
		buf_printf(output, "%s%s", first ? " NOTIFY=" : ",", words[i].word);
		first = false;
	}
	if (session->extensions.dsn && rcpt->dsn_orcpt != NULL)
		buf_printf(output, " ORCPT=%s", rcpt->dsn_orcpt);
	buf_add_text(output, "\r\n");
}

static struct task_rcpt *
offered_rcpt(const struct mail *mail, uint32_t number)
{
	return &mail->task->rcpts[mail->indexes[number]];
}

/* Chooses recipients. False when none is left, or there is no memory. */
static bool
choose_rcpts(struct session *session)
{
	struct mail *mail = &session->mail;
	struct task *task = mail->task;
	uint32_t most = session->settings->recipients;
	char address[ADDRESS_TEXT_MAX + 1];
	struct failure failure;
	uint32_t *indexes;

	if (session->extensions.rcpt_max > 0 && session->extensions.rcpt_max < most)
		most = session->extensions.rcpt_max;
	indexes = reallocarray(
	    mail->indexes, task->rcpt_count < most ? task->rcpt_count : most, sizeof(*indexes));
	if (indexes == NULL)
		return false;
	mail->indexes = indexes;
	for (uint32_t i = 0; i < task->rcpt_count && mail->offered < most; i++) {
		struct task_rcpt *rcpt = &task->rcpts[i];

		if (rcpt->state != RCPT_WAITING)
			continue;
		if (!wire_address(session, rcpt->dest, address, sizeof(address))) {
			failure_set(&failure, RELAY_FAULT_NONE, 553, "5.6.7",
			    "%s takes no address beyond ASCII", session->settings->host);
			mail->has_failed = true;
			task_answer(task, rcpt, &failure.reply, RELAY_FAULT_NONE, false, false,
			    &session->server);
			continue;
		}
		rcpt->state = RCPT_OFFERED;
		mail->indexes[mail->offered++] = i;
	}
	return mail->offered > 0;
}

static void
nobody_offered(struct session *session)
{
	struct task *task = session->mail.task;
	struct failure failure;

	failure_set(&failure, RELAY_FAULT_OURS, 451, "4.3.0", "no memory");
	/* All that waited may have been answered: none of them can be said here. */
	finish(session, task->left == 0 ? TRANSACTION_DONE : TRANSACTION_HOST, &failure);
	session_next(session, false);
}

/* What stands behind the last reply before the text would be taken for the reply to the text, and
 * so mail for delivered that the server hasn't seen. */
static bool
speaks_ahead(struct session *session)
{
	if (!session->has_more)
		return false;
	session_fail_words(session, "4.5.0", "it speaks out of turn");
	return true;
}

/* Says DATA, or begins with the chunks. */
static void
ask_for_text(struct session *session)
{
	struct buf *output = connection_output(session->connection);
	struct mail *mail = &session->mail;

	if (speaks_ahead(session))
		return;
	mail->data_asked = true;
	if (session->extensions.chunking) {
		relay_text_begin(&mail->text, mail->task->fd, mail->task->message.size, false,
		    &mail->task->lines);
		relay_text_put_before(&mail->text, mail->task->fields);
		session_expect(session, SESSION_TEXT, session->settings->times->block_ms);
		mail_drained(session);
		return;
	}
	session_expect(session, SESSION_DATA, session->settings->times->data_ms);
	session_say(session, (buf_add_text(output, "DATA\r\n"), output->length - 6));
	connection_flush(session->connection);
}

static void
ask_rcpts(struct session *session, uint32_t until)
{
	struct mail *mail = &session->mail;

	for (; mail->asked < until; mail->asked++)
		add_rcpt(session, offered_rcpt(mail, mail->asked));
}

/* The envelope, or its first command. */
static void
say_envelope(struct session *session, bool with_reset)
{
	struct buf *output = connection_output(session->connection);
	const struct relay_times *times = session->settings->times;
	struct mail *mail = &session->mail;
	const struct ipc_relay_message *message = &mail->task->message;
	size_t start = output->length;
	char from[ADDRESS_TEXT_MAX + 1], sender[ADDRESS_TEXT_MAX + 1];
	bool utf8 = message->smtputf8;

	for (uint32_t i = 0; i < mail->offered && !utf8; i++)
		utf8 = session->extensions.smtputf8 && !is_ascii(offered_rcpt(mail, i)->dest);
	choose_sender(session, mail->task->sender, from, sizeof(from));
	(void)wire_address(session, from, sender, sizeof(sender));
	if (with_reset)
		buf_add_text(output, "RSET\r\n");
	if (!with_reset || session->extensions.pipelining)
		add_mail(session, sender, utf8 || !is_ascii(sender));
	if (session->extensions.pipelining) {
		ask_rcpts(session, mail->offered);
		if (!session->extensions.chunking) {
			mail->data_asked = true;
			buf_add_text(output, "DATA\r\n");
		}
	}
	session_say(session, start);
	session->transaction_until_ms = clock_monotonic_ms() + times->transaction_ms;
	session_expect(session, with_reset ? SESSION_RSET : SESSION_MAIL,
	    with_reset ? times->command_ms : times->mail_ms);
	connection_flush(session->connection);
}

void
mail_begin(struct session *session, struct task *task)
{
	const struct ipc_relay_message *message = &task->message;
	const struct extensions *extensions = &session->extensions;
	struct mail *mail = &session->mail;
	char from[ADDRESS_TEXT_MAX + 1], sender[ADDRESS_TEXT_MAX + 1];
	bool utf8 = message->smtputf8, with_reset = session->needs_reset;
	char words[100];

	mail->task = task;
	mail->offered = mail->asked = mail->answered = mail->taken = mail->chunks = 0;
	mail->mail_taken = mail->has_replied = mail->has_failed = false;
	mail->data_asked = mail->text_done = mail->is_unsure = false;
	task->state = TASK_SENDING;
	choose_sender(session, task->sender, from, sizeof(from));
	utf8 |= !wire_address(session, from, sender, sizeof(sender));
	if (utf8 && !extensions->smtputf8) {
		does_not_fit(session, 550, "5.6.7",
		    "doesn't take international mail (SMTPUTF8), which this is");
	} else if (message->eight_bit && !extensions->eight_bit) {
		does_not_fit(
		    session, 550, "5.6.1", "doesn't take 8-bit text (8BITMIME), which this is");
	} else if (extensions->size_max > 0 && text_size(mail->task) > extensions->size_max) {
		snprintf(words, sizeof(words), "takes messages of up to %llu bytes; this has %llu",
		    (unsigned long long)extensions->size_max,
		    (unsigned long long)text_size(mail->task));
		does_not_fit(session, 552, "5.3.4", words);
	} else if (session->settings->need == TLS_NEED_REQUIRED && !extensions->requiretls) {
		/* RFC 8689 4.2.1; the connection is what the policy demands. */
		does_not_fit(
		    session, 550, "5.7.30", "doesn't promise the TLS that this message requires");
	} else if (!choose_rcpts(session)) {
		nobody_offered(session);
	} else {
		session->needs_reset = false;
		say_envelope(session, with_reset);
	}
}

/* The host is done with this connection (421), or speaks nonsense. */
static void
hang_up(struct session *session, const struct reply *reply)
{
	struct failure failure;

	session_failure_of_reply(session, reply, RELAY_FAULT_DESTINATION, &failure);
	session_fail(session, &failure);
}

/* The recipients have been replied to and none is left to send the text to. */
static void
nobody_taken(struct session *session)
{
	struct mail *mail = &session->mail;
	struct failure failure;

	session->needs_reset = mail->mail_taken;
	if (mail->mail_taken) {
		finish_and_next(session, TRANSACTION_DONE, NULL);
	} else if (reply_is_permanent(&mail->mail_reply)) {
		answer_all(session, RCPT_OFFERED, &mail->mail_reply);
		finish_and_next(session, TRANSACTION_DONE, NULL);
	} else {
		session_failure_of_reply(
		    session, &mail->mail_reply, RELAY_FAULT_DESTINATION, &failure);
		mail->has_failed = true;
		finish_and_next(session, TRANSACTION_HOST, &failure);
	}
}

static void
mail_answered(struct session *session, const struct reply *reply)
{
	struct mail *mail = &session->mail;

	mail->mail_reply = *reply;
	mail->mail_taken = reply_is_success(reply);
	if (!mail->mail_taken && !reply_is_temporary(reply) && !reply_is_permanent(reply)) {
		hang_up(session, reply); /* 354 to MAIL */
		return;
	}
	if (!mail->mail_taken && mail->asked == 0) {
		nobody_taken(session);
		return;
	}
	session_expect(session, SESSION_RCPT, session->settings->times->rcpt_ms);
	if (mail->asked == 0) {
		struct buf *output = connection_output(session->connection);
		size_t start = output->length;

		ask_rcpts(session, 1);
		session_say(session, start);
		connection_flush(session->connection);
	}
}

/* RFC 5321 4.5.3.1.10: the server takes no more recipients, but may in another transaction. */
static bool
is_too_many(const struct mail *mail, const struct reply *reply)
{
	return mail->taken > 0 &&
	    ((reply->code == 452 &&
	         (*reply->enhanced == '\0' || strcmp(reply->enhanced, "4.5.3") == 0)) ||
	        (reply->code == 552 && strcmp(reply->enhanced, "5.5.3") == 0));
}

static void
rcpt_answered(struct session *session, const struct reply *reply)
{
	struct buf *output = connection_output(session->connection);
	struct mail *mail = &session->mail;
	struct task_rcpt *rcpt = offered_rcpt(mail, mail->answered);
	struct failure failure;
	size_t start = output->length;

	/* After a refused MAIL these mean nothing. */
	if (mail->mail_taken) {
		if (reply_is_success(reply)) {
			rcpt->state = RCPT_TAKEN;
			mail->taken++;
		} else if (is_too_many(mail, reply)) {
			rcpt->state = RCPT_WAITING;
		} else if (reply->code / 100 == 3) {
			hang_up(session, reply);
			return;
		} else {
			session_failure_of_reply(session, reply, RELAY_FAULT_NONE, &failure);
			mail->has_failed = true;
			task_answer(mail->task, rcpt, &failure.reply, failure.fault, failure.remote,
			    false, &session->server);
		}
	}
	mail->answered++;
	if (mail->answered < mail->offered) {
		session_expect(session, SESSION_RCPT, session->settings->times->rcpt_ms);
		if (mail->asked == mail->answered) {
			ask_rcpts(session, mail->asked + 1);
			session_say(session, start);
			connection_flush(session->connection);
		}
	} else if (mail->data_asked) {
		session_expect(session, SESSION_DATA, session->settings->times->data_ms);
	} else if (mail->taken > 0) {
		ask_for_text(session);
	} else {
		nobody_taken(session);
	}
}

static void
data_answered(struct session *session, const struct reply *reply)
{
	struct buf *output = connection_output(session->connection);
	struct mail *mail = &session->mail;

	if (reply->code / 100 == 3) {
		if (speaks_ahead(session))
			return;
		relay_text_begin(&mail->text, mail->task->fd, mail->task->message.size, true,
		    &mail->task->lines);
		relay_text_put_before(&mail->text, mail->task->fields);
		if (mail->taken > 0) {
			session_expect(session, SESSION_TEXT, session->settings->times->block_ms);
			mail_drained(session);
			return;
		}
		/* RFC 2920 3.1: there is nobody to send it to, but it has to end. */
		buf_add_text(output, ".\r\n");
		session_expect(session, SESSION_END, session->settings->times->end_ms);
		connection_flush(session->connection);
	} else if (reply_is_success(reply)) {
		hang_up(session, reply); /* does it take commands now, or text? */
	} else if (mail->taken == 0) {
		nobody_taken(session);
	} else {
		answer_all(session, RCPT_TAKEN, reply);
		session->needs_reset = true;
		finish_and_next(session, TRANSACTION_DONE, NULL);
	}
}

/* The reply to the text, for one recipient of LMTP or all. */
static void
text_answered(struct session *session, const struct reply *reply)
{
	struct mail *mail = &session->mail;
	bool is_each = session->settings->lmtp, is_success = reply_is_success(reply);
	struct failure failure;
	uint32_t i;

	session_failure_of_reply(session, reply, RELAY_FAULT_NONE, &failure);
	if (!is_success)
		mail->has_failed = true;
	for (i = 0; i < mail->offered; i++) {
		struct task_rcpt *rcpt = offered_rcpt(mail, i);

		if (rcpt->state != RCPT_TAKEN)
			continue;
		task_answer(mail->task, rcpt, is_success ? reply : &failure.reply, RELAY_FAULT_NONE,
		    is_success || failure.remote, is_success && session->extensions.dsn,
		    &session->server);
		mail->taken--;
		if (is_each)
			break;
	}
	if (mail->taken > 0)
		session_expect(session, SESSION_END, session->settings->times->end_ms);
	else if (!mail->mail_taken)
		nobody_taken(session);
	else
		finish_and_next(session, TRANSACTION_DONE, NULL);
}

/* A reply while text is sent: to a chunk, or the server has enough. */
static void
reply_in_text(struct session *session, const struct reply *reply)
{
	struct mail *mail = &session->mail;
	struct failure failure;

	if (session->extensions.chunking && reply_is_success(reply) && mail->chunks > 0) {
		mail->chunks--;
		return;
	}
	/* What was begun can't be taken back: there is no going on with this connection. */
	answer_all(session, RCPT_TAKEN, reply);
	mail->taken = 0;
	failure_set(&failure, RELAY_FAULT_NONE, 451, "4.3.0",
	    "%s answered before the text had ended", session->settings->host);
	failure.server = session->server;
	session_fail(session, &failure);
}

static void
reply_at_end(struct session *session, const struct reply *reply)
{
	struct mail *mail = &session->mail;

	/* Replies to all but the last chunk come first. */
	if (mail->chunks > 1 && reply_is_success(reply)) {
		mail->chunks--;
	} else if (mail->chunks > 1 || reply->code / 100 == 3) {
		reply_in_text(session, reply);
	} else {
		mail->chunks = 0;
		text_answered(session, reply);
	}
}

void
mail_reply(struct session *session, const struct reply *reply)
{
	struct mail *mail = &session->mail;

	mail->has_replied = true;
	if (reply->code == 421) {
		/* Where it has the whole text, it says with this that it won't deliver it. */
		mail->is_unsure = false;
		hang_up(session, reply);
		return;
	}
	switch (session->state) {
	case SESSION_RSET:
		if (session->extensions.pipelining)
			session_expect(session, SESSION_MAIL, session->settings->times->mail_ms);
		else
			say_envelope(session, false);
		break;
	case SESSION_MAIL:
		mail_answered(session, reply);
		break;
	case SESSION_RCPT:
		rcpt_answered(session, reply);
		break;
	case SESSION_DATA:
		data_answered(session, reply);
		break;
	case SESSION_TEXT:
		reply_in_text(session, reply);
		break;
	case SESSION_END:
		reply_at_end(session, reply);
		break;
	case SESSION_CLOSED:
	case SESSION_CONNECTING:
	case SESSION_GREETING:
	case SESSION_EHLO:
	case SESSION_HELO:
	case SESSION_STARTTLS:
	case SESSION_HANDSHAKE:
	case SESSION_AUTH:
	case SESSION_READY:
	case SESSION_PAUSE:
	case SESSION_QUIT:
		break;
	}
}

/* Reads on into the output: text as it goes after DATA. */
static bool
add_text(struct session *session)
{
	struct buf *output = connection_output(session->connection);
	struct mail *mail = &session->mail;

	if (!relay_text_is_done(&mail->text) && !relay_text_read(&mail->text, output))
		return false;
	if (relay_text_is_done(&mail->text)) {
		buf_add_text(output, ".\r\n");
		mail->text_done = true;
	}
	return true;
}

static bool
add_chunk(struct session *session)
{
	struct buf *output = connection_output(session->connection);
	struct mail *mail = &session->mail;
	size_t start = output->length;

	buf_clear(&mail->chunk);
	if (!relay_text_is_done(&mail->text) && !relay_text_read(&mail->text, &mail->chunk))
		return false;
	mail->text_done = relay_text_is_done(&mail->text);
	buf_printf(output, "BDAT %zu%s\r\n", mail->chunk.length, mail->text_done ? " LAST" : "");
	session_say(session, start);
	buf_add(output, mail->chunk.data, mail->chunk.length);
	mail->chunks++;
	return true;
}

void
mail_drained(struct session *session)
{
	struct mail *mail = &session->mail;
	struct failure failure;
	bool read;

	if (mail->text_done) {
		mail->is_unsure = true;
		session_expect(session, SESSION_END, session->settings->times->end_ms);
		return;
	}
	read = session->extensions.chunking ? add_chunk(session) : add_text(session);
	if (!read) {
		failure_set(&failure, RELAY_FAULT_OURS, 451, "4.3.0",
		    "the message can't be read: %s", strerror(errno));
		session_fail(session, &failure);
		return;
	}
	connection_flush(session->connection);
}
