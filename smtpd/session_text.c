/*
 * From DATA or BDAT to the 250: the text goes to the receiver (message.c); at its end the queue
 * gets envelopes, transaction and message, and what it answers is the client's answer. No reply is
 * sent earlier.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "common/clock.h"
#include "common/stats.h"
#include "common/dkim.h"
#include "smtpd/received.h"
#include "smtpd/session_state.h"
#include "smtpd/submission.h"

#define RECEIVED_MAX 4096
/* Of a text that is refused already, so much more is read before the session is closed. */
#define REFUSED_MARGIN (1024 * 1024)

static void continue_text(struct session *);

/* One reply, or in LMTP one for each accepted recipient (RFC 2033 4.2, 4.3). */
static void
answer(struct session *s, const struct reply *reply)
{
	size_t i, count = s->lmtp ? s->mail->recipient_count : 1;

	for (i = 0; i < count; i++)
		session_send(s, reply);
	/* However many there are, it was one error. */
	if (count > 1 && reply_is_permanent(reply))
		s->errors -= (uint32_t)count - 1;
}

static void
log_message(struct session *s, const char *event, const struct reply *reply)
{
	const struct mail *mail = s->mail;
	const struct dkim *signer = mail->message == NULL ? NULL : message_signer(mail->message);
	char text[ADDRESS_TEXT_MAX + 1];
	struct log_line line;

	session_log_begin(s, &line, LOG_LEVEL_INFO, event);
	log_hex32(&line, "message", mail->message_id);
	address_format(&mail->command.sender, text, sizeof(text));
	log_text(&line, "from", text);
	if (mail->recipient_count == 1) {
		address_format(&mail->recipients[0].rcpt, text, sizeof(text));
		log_text(&line, "to", text);
	}
	if (s->auth_user != NULL)
		log_text(&line, "user", s->auth_user);
	log_number(&line, "recipients", (int64_t)mail->recipient_count);
	log_number(&line, "size",
	    (int64_t)(mail->message == NULL ? 0 : message_stored_bytes(mail->message)));
	if (signer != NULL && dkim_count(signer) > 0)
		log_text(&line, "dkim", dkim_key(signer, 0)->domain);
	session_log_client(s, &line);
	log_number(&line, "delay_ms", clock_monotonic_ms() - mail->begun_ms);
	if (reply != NULL)
		session_log_reply(&line, reply);
	log_end(&line);
}

static void
count_refused(struct session *s, const struct reply *reply)
{
	stats_add(STATS_SMTP_MESSAGE_REFUSED, 1);
	stats_count_refusal(reply);
	log_message(s, "message-refused", reply);
	session_tell_refused(s, NULL, reply);
}

/* The transaction ends without a message. */
static void
refuse_message(struct session *s, const struct reply *reply)
{
	count_refused(s, reply);
	answer(s, reply);
	session_drop_mail(s);
}

/* From a user's program, not from another server: its header may be put right (RFC 6409 8). */
static bool
is_submission(const struct session *s)
{
	return s->auth_user != NULL || (!s->lmtp && s->client.family == CLIENT_LOCAL);
}

/* An id, our own field in front, and a receiver for the text; false when it was refused. */
static bool
begin_message(struct session *s, enum message_form form, struct reply *reply)
{
	const struct config *config = session_config(s);
	struct message_limits limits = {
		.size = config->max_message_size,
		.text_line = config->limits.text_line,
		.header_size = config->limits.header_size,
		.received = config->limits.received,
		.line_ends = config->line_ends,
		.memory = &s->service->text_memory,
	};
	char tls[64] = "";
	struct received received = {
		.helo = s->helo,
		.client = s->client_text,
		.client_name = s->client_name == NULL ? "" : s->client_name,
		.client_uid = s->client.has_uid ? (int64_t)s->client.uid : -1,
		.mask_source = s->listener->mask_source,
		.hostname = session_hostname(s),
		.protocol = received_protocol(s->lmtp, s->extended, s->mail->command.smtputf8,
		    session_is_encrypted(s), s->auth_user != NULL),
		.tls = tls,
		.user = s->listener->received_auth && s->auth_user != NULL ? s->auth_user : "",
		.wall = clock_wall(),
	};
	struct submission_options submission = {
		.hostname = session_hostname(s),
		.wall = received.wall,
		.masquerade = s->listener->masquerade && s->auth_user != NULL,
		.sender = &s->mail->command.sender,
	};
	struct buf fields;

	if (session_is_encrypted(s))
		snprintf(tls, sizeof(tls), "%s %s", tls_version(s->tls), tls_cipher(s->tls));
	reply_set(reply, 451, "4.3.0", "temporary failure here, try again later");
	if (!upstream_take_id(s->service->upstream, s->mail))
		return false;
	s->mail->message = message_new(&limits, form);
	if (s->mail->message == NULL)
		return false;
	s->mail->is_chunked = form == MESSAGE_BDAT;
	received.message_id = submission.message_id = s->mail->message_id;
	if (is_submission(s) && !message_submit(s->mail->message, &submission))
		return false;
	if (s->mail->recipient_count == 1) /* RFC 5321 4.4, 7.2 */
		received.rcpt = &s->mail->recipients[0].rcpt;
	buf_init(&fields, RECEIVED_MAX);
	received_format(&fields, &received);
	buf_add_u8(&fields, '\0');
	if (buf_ok(&fields))
		message_add_prefix(s->mail->message, (const char *)fields.data);
	else
		message_refuse(s->mail->message, reply);
	buf_free(&fields);
	if (is_submission(s))
		session_prepare_signing(s);
	return true;
}

/* A command out of its order, or text that came too early. */
static void
refuse_command(struct session *s, const struct command *command, unsigned code,
    const char *enhanced, const char *text)
{
	struct log_line line;
	struct reply reply;

	reply_set(&reply, code, enhanced, "%s", text);
	session_log_begin(s, &line, LOG_LEVEL_INFO, "command-refused");
	log_text(&line, "address", s->client_text);
	log_bytes(&line, "command", command->line, command->line_length);
	session_log_reply(&line, &reply);
	log_end(&line);
	session_send(s, &reply);
}

void
session_begin_data(struct session *s, const struct command *command)
{
	struct reply reply;

	/* RFC 2920 3.1: DATA is the last of its group. What is behind it can only be text that
	 * didn't wait for the 354, or commands meant to be taken for such: neither is read. */
	if (session_has_more_input(s)) {
		refuse_command(
		    s, command, 554, "5.5.0", "input behind DATA before its reply, closing");
		session_drop_mail(s);
		s->linger = true;
		session_close(s, "talked ahead");
		return;
	}
	if (s->mail == NULL || s->mail->message != NULL) {
		refuse_command(s, command, 503, "5.5.1",
		    s->mail == NULL ? "MAIL must come first" : "BDAT has begun");
		return;
	}
	if (s->mail->recipient_count == 0) { /* RFC 5321 3.3, RFC 2033 4.2 */
		refuse_command(s, command, s->lmtp ? 503 : 554, "5.5.1", "no valid recipients");
		return;
	}
	if (!begin_message(s, MESSAGE_DATA, &reply)) {
		count_refused(s, &reply);
		session_send(s, &reply);
		session_drop_mail(s);
		return;
	}
	s->text_over = false;
	session_send_line(s, "354 Start mail input; end with <CRLF>.<CRLF>");
	s->state = SESSION_TEXT;
}

/* The chunk is read and dropped, then answered. */
static void
skip_chunk(struct session *s, unsigned code, const char *enhanced, const char *text)
{
	reply_set(&s->chunk_reply, code, enhanced, "%s", text);
	s->state = SESSION_SKIP_CHUNK;
}

static void
end_skipped_chunk(struct session *s)
{
	struct log_line line;

	s->state = SESSION_COMMAND;
	session_log_begin(s, &line, LOG_LEVEL_INFO, "command-refused");
	log_text(&line, "address", s->client_text);
	log_text(&line, "command", "BDAT");
	session_log_reply(&line, &s->chunk_reply);
	log_end(&line);
	if (s->mail != NULL && s->chunk_last)
		answer(s, &s->chunk_reply);
	else
		session_send(s, &s->chunk_reply);
	if (s->mail != NULL && s->mail->recipient_count > 0)
		session_drop_mail(s);
}

void
session_begin_chunk(struct session *s, const struct command *command)
{
	uint64_t most = 2 * session_config(s)->max_message_size + REFUSED_MARGIN;
	struct reply reply;
	bool known = command_parse_bdat(
	    command->argument, command->length, &s->chunk_left, &s->chunk_last, &reply);

	if (known && s->chunk_left > most)
		reply_set(&reply, 552, "5.3.4", "the chunk is too large");
	if (!known || s->chunk_left > most) {
		/* Where the chunk ends isn't known, or too far away to read on. */
		refuse_command(s, command, reply.code, reply.enhanced, reply.text);
		session_drop_mail(s);
		s->linger = true;
		session_close(s, "BDAT size");
		return;
	}
	if (s->mail == NULL)
		skip_chunk(s, 503, "5.5.1", "MAIL must come first");
	else if (s->mail->recipient_count == 0)
		skip_chunk(s, s->lmtp ? 503 : 554, "5.5.1", "no valid recipients");
	else if (s->mail->message == NULL && !begin_message(s, MESSAGE_BDAT, &reply))
		skip_chunk(s, reply.code, reply.enhanced, reply.text);
	else {
		s->state = SESSION_CHUNK;
		if (message_received_bytes(s->mail->message) + s->chunk_left >
		    session_config(s)->max_message_size)
			message_refuse_size(s->mail->message);
	}
	if (s->chunk_left > 0)
		return;
	if (s->state == SESSION_SKIP_CHUNK)
		end_skipped_chunk(s);
	else
		continue_text(s);
}

static void
fill_transaction(const struct session *s, struct transaction *transaction)
{
	const struct mail *mail = s->mail;

	memset(transaction, 0, sizeof(*transaction));
	transaction->message_id = mail->message_id;
	transaction->created_us = clock_wall_us();
	transaction->sender = mail->command.sender;
	transaction->client_family = s->client.family;
	strlcpy(transaction->client, s->client_text, sizeof(transaction->client));
	if (s->client_name != NULL)
		strlcpy(transaction->client_name, s->client_name, sizeof(transaction->client_name));
	strlcpy(transaction->helo, s->helo, sizeof(transaction->helo));
	strlcpy(transaction->tag, s->listener->tag, sizeof(transaction->tag));
	if (s->auth_user != NULL)
		strlcpy(transaction->auth_user, s->auth_user, sizeof(transaction->auth_user));
	transaction->dsn_return = mail->command.dsn_return;
	strlcpy(transaction->dsn_envid, mail->command.envid, sizeof(transaction->dsn_envid));
	transaction->smtputf8 = mail->command.smtputf8;
	transaction->eight_bit = mail->command.eight_bit;
	transaction->tls = s->tls != NULL;
	/* RFC 8689 4.1: the parameter is stronger than the header field. */
	transaction->require_tls = mail->command.require_tls;
	transaction->tls_optional =
	    !mail->command.require_tls && message_says_tls_optional(mail->message);
	transaction->size = message_stored_bytes(mail->message);
}

static void
commit_signed(struct session *s)
{
	struct transaction transaction;
	struct reply reply;
	int fd;

	s->state = SESSION_COMMAND;
	fd = message_take_fd(s->mail->message);
	if (message_is_refused(s->mail->message, &reply)) {
		refuse_message(s, &reply);
		return;
	}
	fill_transaction(s, &transaction);
	s->queue_request =
	    upstream_commit(s->service->upstream, s, s->mail, &transaction, session_facts(s), fd);
	if (s->queue_request == 0) {
		reply_set(&reply, 451, "4.3.0", "temporary failure here, try again later");
		refuse_message(s, &reply);
		return;
	}
	s->mail->committing = true;
	s->state = SESSION_COMMIT_WAIT;
}

/* The message was there before, says a Delivered-To: a mailbox, or where it was forwarded from. */
static bool
was_there(const struct session *s, const struct target *target)
{
	const struct action_config *action =
	    config_find_action(session_config(s), target->action == NULL ? "" : target->action);
	struct address from = s->mail->recipients[target->recipient].rcpt;

	if (envelope_is_pipe(target->kind))
		return false;
	if (target->kind != ENVELOPE_RELAY)
		return message_was_delivered_to(s->mail->message, &target->dest);
	if (*from.domain == '\0')
		strlcpy(from.domain, session_config(s)->hostname, sizeof(from.domain));
	return action != NULL && action->method == ACTION_RELAY &&
	    !address_equal(&from, &target->dest) &&
	    message_was_delivered_to(s->mail->message, &from);
}

/*
 * Nothing but a loop would come of it. What is found later goes back to a sender who may be
 * forged, like the field; of our own users' mail, or that of some recipients, it does.
 */
static bool
goes_round(const struct session *s)
{
	const struct mail *mail = s->mail;

	if (is_submission(s) || message_is_refused(mail->message, NULL))
		return false;
	for (size_t i = 0; i < mail->target_count; i++) {
		if (!was_there(s, &mail->targets[i]))
			return false;
	}
	return mail->target_count > 0;
}

static void
refuse_loop(struct session *s)
{
	struct reply reply;

	reply_set(&reply, 554, "5.4.6", "this is a mail loop: it was here before");
	message_refuse(s->mail->message, &reply);
	commit_signed(s);
}

static void
commit(struct session *s)
{
	if (goes_round(s))
		refuse_loop(s);
	else if (session_begin_signing(s))
		s->state = SESSION_SIGN_WAIT;
	else
		commit_signed(s);
}

void
session_signed(struct session *s)
{
	commit_signed(s);
	session_resume(s);
}

void
session_commit_answered(void *owner, const struct reply *refusal)
{
	struct session *s = owner;
	struct reply reply;

	s->queue_request = 0;
	if (s->state == SESSION_FILE_WAIT) {
		session_file_answered(s, -1, refusal);
		return;
	}
	if (refusal != NULL)
		refuse_message(s, refusal);
	else {
		reply_set(&reply, 250, "2.0.0", "%08x Message accepted for delivery",
		    s->mail->message_id);
		log_message(s, "message-accepted", NULL);
		stats_add(STATS_SMTP_MESSAGE, 1);
		stats_add(STATS_SMTP_BYTES, (int64_t)message_stored_bytes(s->mail->message));
		stats_add_duration(STATS_ACCEPTING, clock_monotonic_ms() - s->mail->begun_ms);
		s->messages++;
		answer(s, &reply);
		session_drop_mail(s);
	}
	s->state = SESSION_COMMAND;
	session_resume(s);
}

/* The text has grown: is there room, is it over, what comes next? */
static void
continue_text(struct session *s)
{
	struct message *message = s->mail->message;
	bool chunked = s->mail->is_chunked;
	bool over = chunked ? s->chunk_left == 0 && s->chunk_last : s->text_over;
	struct reply reply;

	if (over && chunked)
		message_finish(message);
	if (message_needs_file(message)) {
		s->queue_request = upstream_ask_file(s->service->upstream, s, s->mail);
		if (s->queue_request != 0) {
			s->mail->spool_file = true;
			s->state = SESSION_FILE_WAIT;
			return;
		}
		reply_set(&reply, 451, "4.3.0", "temporary failure here, try again later");
		message_refuse(message, &reply);
	}
	if (over) {
		commit(s);
		return;
	}
	if (!chunked || s->chunk_left > 0)
		return;
	s->state = SESSION_COMMAND;
	if (!message_is_refused(message, &reply)) {
		session_reply(s, 250, "2.0.0", "chunk received, %llu bytes so far",
		    (unsigned long long)message_received_bytes(message));
		return;
	}
	/* RFC 3030 2: a failed chunk ends the transaction; it gets one reply, in LMTP too. */
	count_refused(s, &reply);
	session_send(s, &reply);
	session_drop_mail(s);
}

void
session_file_answered(void *owner, int fd, const struct reply *reply)
{
	struct session *s = owner;
	struct reply refusal;

	s->queue_request = 0;
	if (fd != -1)
		message_use_file(s->mail->message, fd);
	else {
		refusal = *reply;
		if (reply_is_success(&refusal))
			reply_set(&refusal, 451, "4.3.0", "temporary failure here");
		message_refuse(s->mail->message, &refusal);
	}
	s->state = s->mail->is_chunked ? SESSION_CHUNK : SESSION_TEXT;
	continue_text(s);
	session_resume(s);
}

/* A client that goes on and on with a text that is refused already. */
static bool
is_endless(const struct session *s)
{
	return message_is_refused(s->mail->message, NULL) &&
	    message_received_bytes(s->mail->message) >
	    2 * session_config(s)->max_message_size + REFUSED_MARGIN;
}

size_t
session_take_text(struct session *s, const char *data, size_t length)
{
	struct reply reply;
	size_t used;

	if (s->state == SESSION_TEXT) {
		used = message_feed(s->mail->message, data, length, &s->text_over);
		if (!s->text_over && is_endless(s)) {
			(void)message_is_refused(s->mail->message, &reply);
			s->linger = true;
			session_close(s, "text too large");
			refuse_message(s, &reply);
			return used;
		}
		continue_text(s);
		return used;
	}
	if (length > s->chunk_left)
		length = (size_t)s->chunk_left;
	used = length;
	if (s->state == SESSION_CHUNK)
		used = message_feed(s->mail->message, data, length, &s->text_over);
	s->chunk_left -= used;
	if (s->state == SESSION_CHUNK)
		continue_text(s);
	else if (s->chunk_left == 0)
		end_skipped_chunk(s);
	return used;
}
