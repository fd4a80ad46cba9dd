/*
 * What the history of messages is told of a session: of a message that is committed what the queue
 * doesn't know of it, and of one that isn't taken all that there is to know.
 */
#include <stdio.h>
#include <string.h>

#include <bsd/string.h>

#include "common/dkim.h"
#include "smtpd/session_state.h"

#define SUBJECT_MAX 100 /* of a certificate's, as shown */

/* One more of what was found out. */
static void
add_check(char *checks, size_t size, const char *words, const char *more)
{
	if (*checks != '\0')
		(void)strlcat(checks, ", ", size);
	(void)strlcat(checks, words, size);
	(void)strlcat(checks, more, size);
}

static void
check_client(const struct session *s, char *checks, size_t size)
{
	char subject[SUBJECT_MAX + 1], uid[16];

	if (s->client.has_uid) {
		(void)snprintf(uid, sizeof(uid), "%u", (unsigned)s->client.uid);
		add_check(checks, size, "local user ", uid);
	}
	if (s->client.family == CLIENT_LOCAL)
		return;
	add_check(checks, size,
	    s->client_name != NULL && *s->client_name != '\0' ? "name confirmed by DNS"
	        : s->name_unknown                             ? "name unknown: DNS has not answered"
	                                                      : "no name confirmed by DNS",
	    "");
	if (!session_is_encrypted(s))
		add_check(checks, size, "no TLS", "");
	else if (s->listener->tls_verify && tls_subject(s->tls, subject, sizeof(subject)))
		add_check(checks, size, "certificate verified: ", subject);
}

/* In plain words; `mail` is what MAIL has said. */
static void
describe_checks(const struct session *s, const struct mail_command *mail, char *checks, size_t size)
{
	*checks = '\0';
	check_client(s, checks, size);
	if (s->auth_user != NULL && s->auth_mechanism != NULL)
		add_check(checks, size, "logged in by ", s->auth_mechanism);
	if (mail->require_tls)
		add_check(checks, size, "REQUIRETLS", "");
}

static void
describe_tls(const struct session *s, char *text, size_t size)
{
	*text = '\0';
	if (session_is_encrypted(s))
		(void)snprintf(text, size, "%s %s", tls_version(s->tls), tls_cipher(s->tls));
}

/* Empty says nothing. */
static const char *
words(const char *text)
{
	return text == NULL || *text == '\0' ? NULL : text;
}

const struct ipc_facts *
session_facts(const struct session *s)
{
	static struct ipc_facts facts;
	const struct mail *mail = s->mail;
	const struct dkim *signer = message_signer(mail->message);

	if (session_config(s)->history_off)
		return NULL;
	describe_tls(s, facts.tls, sizeof(facts.tls));
	(void)strlcpy(facts.header_id, message_header_id(mail->message), sizeof(facts.header_id));
	describe_checks(s, &mail->command, facts.checks, sizeof(facts.checks));
	if (s->auth_user != NULL && *s->listener->senders_table != '\0')
		add_check(facts.checks, sizeof(facts.checks), "may send as this sender", "");
	if (signer != NULL && dkim_count(signer) > 0)
		add_check(facts.checks, sizeof(facts.checks), "signed by DKIM for ",
		    dkim_key(signer, 0)->domain);
	facts.rule_count = 0;
	while (facts.rule_count < mail->target_count && facts.rule_count < FACTS_RULES_MAX) {
		facts.rules[facts.rule_count] = mail->targets[facts.rule_count].rule;
		facts.rule_count++;
	}
	return &facts;
}

/* `refused`, `message`: NULL when it isn't about one. */
static void
tell(struct session *s, const struct mail_command *mail, const struct address *refused,
    const struct message *message, const char *reply)
{
	struct history_event event = { .kind = HISTORY_REFUSED };
	char from[ADDRESS_TEXT_MAX + 1], rcpt[ADDRESS_TEXT_MAX + 1];
	char tls[FACTS_TEXT_MAX + 1], checks[FACTS_TEXT_MAX + 1];

	address_format(&mail->sender, from, sizeof(from));
	event.fields[HISTORY_FROM] = from;
	if (refused != NULL) {
		address_format(refused, rcpt, sizeof(rcpt));
		event.fields[HISTORY_RCPT] = rcpt;
	}
	if (message != NULL)
		event.fields[HISTORY_HEADER_ID] = words(message_header_id(message));
	event.fields[HISTORY_CLIENT] = s->client_text;
	event.fields[HISTORY_CLIENT_NAME] = words(s->client_name);
	event.fields[HISTORY_HELO] = s->helo;
	event.fields[HISTORY_USER] = s->auth_user;
	event.fields[HISTORY_TAG] = words(s->listener->tag);
	describe_tls(s, tls, sizeof(tls));
	event.fields[HISTORY_TLS] = words(tls);
	describe_checks(s, mail, checks, sizeof(checks));
	event.fields[HISTORY_CHECKS] = words(checks);
	event.fields[HISTORY_REPLY] = reply;
	upstream_tell_refused(s->service->upstream, &event);
}

void
session_tell_mail_refused(
    struct session *s, const struct mail_command *mail, const struct reply *reply)
{
	char text[REPLY_TEXT_MAX + 32];

	if (session_config(s)->history_off)
		return;
	reply_format(reply, text, sizeof(text));
	tell(s, mail, NULL, NULL, text);
}

/* The first recipient stands for all of a message's. */
static const struct address *
first_recipient(const struct mail *mail)
{
	return mail->recipient_count > 0 ? &mail->recipients[0].rcpt : NULL;
}

void
session_tell_refused(struct session *s, const struct address *refused, const struct reply *reply)
{
	char text[REPLY_TEXT_MAX + 32];

	if (session_config(s)->history_off)
		return;
	reply_format(reply, text, sizeof(text));
	tell(s, &s->mail->command, refused != NULL ? refused : first_recipient(s->mail),
	    s->mail->message, text);
}

void
session_tell_cut_off(struct session *s)
{
	if (session_config(s)->history_off || s->mail == NULL || s->mail->message == NULL ||
	    s->mail->committing)
		return;
	tell(s, &s->mail->command, first_recipient(s->mail), s->mail->message,
	    "none: the session ended before the message was whole");
}
