/*
 * The commands, each in a function of its own: who may say it when (RFC 5321 4.1.4), what it does,
 * and the reply. A command that isn't allowed changes nothing.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <bsd/string.h>

#include "common/stats.h"
#include "smtpd/session_state.h"

#define PENALTY_SECONDS 1

static void
log_refused(struct session *s, const char *event, const struct reply *reply, const char *line,
    size_t length)
{
	struct log_line log;

	session_log_begin(s, &log, LOG_LEVEL_INFO, event);
	log_text(&log, "address", s->client_text);
	log_bytes(&log, "command", line, command_loggable_length(line, length));
	session_log_reply(&log, reply);
	log_end(&log);
}

void
session_refuse(struct session *s, const struct command *command, unsigned code,
    const char *enhanced, const char *text)
{
	struct reply reply;

	reply_set(&reply, code, enhanced, "%s", text);
	log_refused(s, "command-refused", &reply, command->line, command->line_length);
	session_send(s, &reply);
}

static void
log_address(struct log_line *line, const char *key, const struct address *address)
{
	char text[ADDRESS_TEXT_MAX + 1];

	address_format(address, text, sizeof(text));
	log_text(line, key, text);
}

/* HELO, EHLO, LHLO */

static void
send_extensions(struct session *s)
{
	const struct config *config = session_config(s);

	session_send_line(s, "250-%s", session_hostname(s));
	session_send_line(s, "250-PIPELINING");
	session_send_line(s, "250-SIZE %llu", (unsigned long long)config->max_message_size);
	session_send_line(s, "250-8BITMIME");
	session_send_line(s, "250-SMTPUTF8");
	session_send_line(s, "250-ENHANCEDSTATUSCODES");
	if (!s->listener->no_dsn)
		session_send_line(s, "250-DSN");
	session_send_line(s, "250-CHUNKING");
	if (session_offers_tls(s))
		session_send_line(s, "250-STARTTLS");
	if (session_is_encrypted(s)) /* RFC 8689 2 */
		session_send_line(s, "250-REQUIRETLS");
	session_send_auth_extension(s);
	session_send_line(s, "250-LIMITS RCPTMAX=%u MAILMAX=%u", config->limits.recipients,
	    config->limits.transactions); /* RFC 9422 */
	session_send_line(s, "250 HELP");
}

static void
on_greeting(struct session *s, const struct command *command)
{
	char name[HELO_MAX + 1];
	struct reply reply;
	char *helo;

	if (s->lmtp != (command->verb == VERB_LHLO)) { /* RFC 2033 4.1 */
		session_refuse(s, command, 500, "5.5.1",
		    s->lmtp ? "this is LMTP, say LHLO" : "this is not LMTP, say EHLO");
		return;
	}
	/* RFC 2920 3.1: EHLO is the last of its group, as the client can't know yet whether it may
	 * pipeline. The others that must be last (VRFY, EXPN, NOOP) change nothing here: what is
	 * behind them is answered in its order. */
	if (session_has_more_input(s)) {
		session_refuse(s, command, 554, "5.5.0", "input sent ahead of the reply, closing");
		s->linger = true;
		session_close(s, "talked ahead");
		return;
	}
	if (!command_parse_greeting(
	        command->argument, command->length, name, sizeof(name), &reply)) {
		log_refused(s, "command-refused", &reply, command->line, command->line_length);
		session_send(s, &reply);
		return;
	}
	helo = strdup(name);
	if (helo == NULL) {
		session_reply(s, 451, "4.3.0", "out of memory, try again later");
		return;
	}
	free(s->helo);
	s->helo = helo;
	s->extended = command->verb != VERB_HELO;
	session_drop_mail(s); /* RFC 5321 4.1.4: like RSET */
	if (s->extended)
		send_extensions(s);
	else
		session_send_line(s, "250 %s", session_hostname(s));
}

/* MAIL */

/* `mail`: NULL when it can't be understood. */
static void
refuse_mail(struct session *s, const struct command *command, const struct mail_command *mail,
    const struct reply *reply)
{
	stats_count_refusal(reply);
	log_refused(s, "mail-refused", reply, command->line, command->line_length);
	if (mail != NULL)
		session_tell_mail_refused(s, mail, reply);
	session_send(s, reply);
}

static void
on_mail(struct session *s, const struct command *command)
{
	const struct config *config = session_config(s);
	const struct reply *state;
	struct mail_command mail;
	unsigned offers = 0;
	struct reply reply;

	if (s->helo == NULL || s->mail != NULL) {
		session_refuse(s, command, 503, "5.5.1",
		    s->mail != NULL ? "MAIL was given already"
		                    : (s->lmtp ? "say LHLO first" : "say EHLO first"));
		return;
	}
	if (s->listener->auth == LISTEN_AUTH_REQUIRED && s->auth_user == NULL) {
		session_refuse(
		    s, command, 530, "5.7.0", "authentication required"); /* RFC 4954 6 */
		return;
	}
	if (s->name_request != 0) { /* the rules may ask for the client's name */
		s->state = SESSION_NAME_WAIT;
		session_trace(s, "smtp-waits", command->line, command->line_length);
		return;
	}
	if (s->mails >= config->limits.transactions) { /* RFC 9422 4.1 */
		session_shut(s, "4.7.0", "MAILMAX", "enough messages for one session");
		return;
	}
	s->mails++;
	if (!s->listener->no_dsn)
		offers |= MAIL_OFFERS_DSN;
	if (s->listener->auth != LISTEN_AUTH_NONE)
		offers |= MAIL_OFFERS_AUTH;
	if (session_is_encrypted(s))
		offers |= MAIL_OFFERS_REQUIRETLS;
	if (!command_parse_mail(command->argument, command->length, offers, &mail, &reply)) {
		refuse_mail(s, command, NULL, &reply);
		return;
	}
	if (mail.size > config->max_message_size) { /* RFC 1870 6.1 */
		reply_set(&reply, 552, "5.3.4", "message exceeds the maximum of %llu bytes",
		    (unsigned long long)config->max_message_size);
		refuse_mail(s, command, &mail, &reply);
		return;
	}
	state = upstream_refusal(s->service->upstream);
	if (state != NULL) {
		refuse_mail(s, command, &mail, state);
		return;
	}
	s->mail = mail_new(&mail);
	if (s->mail == NULL)
		session_reply(s, 451, "4.3.0", "out of memory, try again later");
	else
		session_reply(s, 250, "2.1.0", "sender ok");
}

/* RCPT */

static void
log_rcpt_refused(struct session *s, const struct reply *reply)
{
	struct log_line line;

	stats_add(STATS_SMTP_RCPT_REJECTED, 1);
	stats_count_refusal(reply);
	session_log_begin(s, &line, LOG_LEVEL_INFO, "rcpt-refused");
	session_log_client(s, &line);
	log_address(&line, "from", &s->mail->command.sender);
	log_address(&line, "to", &s->mail->rcpt.rcpt);
	session_log_reply(&line, reply);
	log_end(&line);
	session_tell_refused(s, &s->mail->rcpt.rcpt, reply);
}

static void
ask_about_rcpt(struct session *s)
{
	struct ipc_rcpt question;
	struct reply reply;

	memset(&question, 0, sizeof(question));
	question.client_family = (uint8_t)s->client.family;
	memcpy(question.client_address, s->client.address, sizeof(question.client_address));
	if (s->client_name != NULL)
		strlcpy(question.client_name, s->client_name, sizeof(question.client_name));
	question.name_unknown = s->name_unknown;
	question.tls = s->tls != NULL;
	strlcpy(question.helo, s->helo, sizeof(question.helo));
	strlcpy(question.tag, s->listener->tag, sizeof(question.tag));
	if (s->auth_user != NULL) {
		strlcpy(question.auth_user, s->auth_user, sizeof(question.auth_user));
		strlcpy(question.senders_table, s->listener->senders_table,
		    sizeof(question.senders_table));
	}
	question.sender = s->mail->command.sender;
	question.rcpt = s->mail->rcpt.rcpt;
	question.size = s->mail->command.size;
	s->rcpt_request = upstream_ask_rcpt(
	    s->service->upstream, s, &question, session_config(s)->limits.lookup_time * 1000);
	if (s->rcpt_request != 0) {
		s->state = SESSION_RCPT_WAIT;
		return;
	}
	reply_set(&reply, 451, "4.3.0", "recipients can't be checked now, try again later");
	log_rcpt_refused(s, &reply);
	session_send(s, &reply);
}

static void
on_rcpt(struct session *s, const struct command *command)
{
	const struct limits_config *limits = &session_config(s)->limits;
	struct reply reply;

	if (s->mail == NULL || s->mail->message != NULL) {
		session_refuse(s, command, 503, "5.5.1",
		    s->mail == NULL ? "MAIL must come first" : "the text has begun");
		return;
	}
	if (!command_parse_rcpt(command->argument, command->length, s->mail->command.smtputf8,
	        !s->listener->no_dsn, &s->mail->rcpt, &reply)) {
		stats_add(STATS_SMTP_RCPT_REJECTED, 1);
		stats_count_refusal(&reply);
		log_refused(s, "rcpt-refused", &reply, command->line, command->line_length);
		session_send(s, &reply);
		return;
	}
	if (s->mail->recipient_count >= limits->recipients) { /* RFC 5321 4.5.3.1.10 */
		reply_set(&reply, 452, "4.5.3", "too many recipients");
		if (!s->mail->limit_logged)
			log_rcpt_refused(s, &reply);
		s->mail->limit_logged = true;
		session_send(s, &reply);
		return;
	}
	ask_about_rcpt(s);
}

void
session_rcpt_target(void *owner, const struct ipc_target *target)
{
	struct session *s = owner;
	struct reply reply;

	if (mail_add_target(s->mail, target, &reply))
		return;
	upstream_cancel_rcpt(s->service->upstream, s->rcpt_request);
	session_rcpt_answered(s, &reply);
}

/* An address that doesn't exist is cheap to ask for; many of them are a search for those that do.
 */
static bool
must_slow_down(struct session *s, const struct reply *reply)
{
	struct timeval delay = { .tv_sec = PENALTY_SECONDS };

	if (reply->code != 550 || strcmp(reply->enhanced, "5.1.1") != 0)
		return false;
	s->unknown_users++;
	return s->unknown_users >= session_config(s)->limits.unknown_users &&
	    event_add(&s->timer, &delay) == 0;
}

void
session_rcpt_answered(void *owner, const struct reply *answer)
{
	struct session *s = owner;
	struct reply reply = *answer;

	s->rcpt_request = 0;
	if (reply_is_success(&reply) && s->mail->targets_named == 0)
		reply_set(&reply, 451, "4.3.0", "the recipient has no destination now");
	if (reply_is_success(&reply) && !mail_accept_rcpt(s->mail))
		reply_set(&reply, 451, "4.3.0", "out of memory, try again later");
	if (reply_is_success(&reply))
		s->recipients++;
	else {
		mail_drop_rcpt(s->mail);
		log_rcpt_refused(s, &reply);
	}
	session_send(s, &reply);
	s->state = must_slow_down(s, &reply) ? SESSION_PENALTY : SESSION_COMMAND;
	session_resume(s);
}

/* The rest */

static void
on_vrfy(struct session *s, const struct command *command)
{
	/* RFC 5321 3.5.3, 7.3: the same for everybody. */
	if (command->length == 0)
		session_refuse(s, command, 501, "5.5.4", "an address must follow");
	else
		session_reply(s, 252, "2.1.5", "cannot verify, but will take mail and try");
}

/* Commands that do nothing: counted, so that they can't be sent for ever. */
static bool
is_idle(enum verb verb)
{
	return verb == VERB_NOOP || verb == VERB_RSET || verb == VERB_VRFY || verb == VERB_EXPN ||
	    verb == VERB_HELP || verb == VERB_EHLO || verb == VERB_HELO || verb == VERB_LHLO;
}

static bool
over_limits(struct session *s, const struct command *command)
{
	const struct limits_config *limits = &session_config(s)->limits;

	if (s->errors >= limits->errors) {
		session_shut(s, "4.7.0", "too many errors", "too many errors");
		return true;
	}
	if (!is_idle(command->verb) || ++s->noops <= limits->noops)
		return false;
	session_shut(s, "4.7.0", "too many idle commands", "too many commands without mail");
	return true;
}

static bool
takes_no_argument(enum verb verb)
{
	return verb == VERB_DATA || verb == VERB_RSET || verb == VERB_QUIT || /* RFC 5321 4.3.2 */
	    verb == VERB_STARTTLS;                                            /* RFC 3207 4 */
}

/* RFC 3207 4: what may be said before STARTTLS where it is required. */
static bool
must_encrypt(const struct session *s, enum verb verb)
{
	return s->listener->tls == LISTEN_TLS_REQUIRED && s->tls == NULL && verb != VERB_EHLO &&
	    verb != VERB_LHLO && verb != VERB_NOOP && verb != VERB_QUIT && verb != VERB_STARTTLS &&
	    verb != VERB_UNKNOWN && verb != VERB_FOREIGN;
}

static void
on_quit(struct session *s)
{
	session_reply(s, 221, "2.0.0", "%s closing connection", session_hostname(s));
	session_drop_mail(s);
	s->linger = s->input_behind > 0;
	session_close(s, "quit");
}

static void
dispatch(struct session *s, const struct command *command)
{
	switch (command->verb) {
	case VERB_HELO:
	case VERB_EHLO:
	case VERB_LHLO:
		on_greeting(s, command);
		break;
	case VERB_MAIL:
		on_mail(s, command);
		break;
	case VERB_RCPT:
		on_rcpt(s, command);
		break;
	case VERB_DATA:
		session_begin_data(s, command);
		break;
	case VERB_BDAT:
		session_begin_chunk(s, command);
		break;
	case VERB_RSET:
		session_drop_mail(s);
		session_reply(s, 250, "2.0.0", "ok");
		break;
	case VERB_NOOP:
		session_reply(s, 250, "2.0.0", "ok");
		break;
	case VERB_QUIT:
		on_quit(s);
		break;
	case VERB_VRFY:
		on_vrfy(s, command);
		break;
	case VERB_EXPN:
		session_refuse(s, command, 502, "5.5.1", "EXPN is not offered");
		break;
	case VERB_STARTTLS:
		session_starttls(s, command);
		break;
	case VERB_AUTH:
		session_auth(s, command);
		break;
	case VERB_HELP:
		session_reply(s, 214, "2.0.0",
		    "%s MAIL RCPT DATA BDAT RSET NOOP VRFY HELP QUIT; RFC 5321",
		    s->lmtp ? "LHLO" : "EHLO HELO");
		break;
	case VERB_UNIMPLEMENTED:
		session_refuse(s, command, 502, "5.5.1", "command not implemented");
		break;
	case VERB_FOREIGN:
		session_refuse(s, command, 554, "5.5.1", "this is a mail server, closing");
		s->linger = true;
		session_close(s, "not SMTP");
		break;
	case VERB_UNKNOWN:
		session_refuse(s, command, 500, "5.5.1", "command not recognized");
		break;
	}
}

void
session_command(struct session *s, const char *line, size_t length)
{
	struct command command;
	struct reply reply;
	bool parsed = command_parse(line, length, &command);

	/* What isn't a command behind a login that was refused may be a password. */
	if (parsed && command.verb != VERB_UNKNOWN && command.verb != VERB_AUTH)
		s->auth_refused = false;
	else if (s->auth_refused && (!parsed || command.verb == VERB_UNKNOWN)) {
		line = command.line = "";
		length = command.line_length = 0;
	}
	if (log_is_traced(LOG_TRACE_SMTP))
		session_trace(s, "smtp-command", line, command_loggable_length(line, length));
	if (!parsed) {
		command.verb = VERB_UNKNOWN;
		if (over_limits(s, &command))
			return;
		reply_set(&reply, 500, "5.5.2", "a control character in a command");
		log_refused(s, "command-refused", &reply, line, length);
		session_send(s, &reply);
		return;
	}
	if (over_limits(s, &command))
		return;
	if (must_encrypt(s, command.verb))
		session_refuse(s, &command, 530, "5.7.0", "must issue a STARTTLS command first");
	else if (takes_no_argument(command.verb) && command.length > 0)
		session_refuse(s, &command, 501, "5.5.4", "no argument is allowed");
	else
		dispatch(s, &command);
}
