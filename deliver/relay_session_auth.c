/*
 * A session's login (relay_auth.h): the command, and each reply to it. A refusal is ours to mend, not
 * the mail's fault: it waits until the administrator has put the credentials right.
 */
#include <string.h>

#include "common/log.h"
#include "deliver/relay_auth.h"
#include "deliver/relay_session_state.h"

void
session_forget_auth(struct session *session)
{
	auth_free(session->auth);
	session->auth = NULL;
	explicit_bzero(session->challenge, sizeof(session->challenge));
}

void
session_begin_auth(struct session *session)
{
	const struct session_settings *settings = session->settings;
	enum auth_mechanism mechanism;
	struct failure failure;

	if (connection_ssl(session->connection) == NULL) {
		failure_set(&failure, RELAY_FAULT_OURS, 451, "4.7.10",
		    "%s offers no TLS, and the password isn't sent without", settings->host);
		session_fail(session, &failure);
		return;
	}
	mechanism = auth_choose(&session->extensions);
	if (mechanism == AUTH_MECHANISM_COUNT) {
		failure_set(&failure, RELAY_FAULT_OURS, 451, "4.7.0",
		    "%s offers no AUTH by a mechanism that is known here", settings->host);
		session_fail(session, &failure);
		return;
	}
	session_expect(session, SESSION_AUTH, settings->times->command_ms);
	session_forget_auth(session);
	session->auth = auth_new(mechanism, settings->user, settings->password,
	    connection_ssl(session->connection), settings->scram_keys);
	if (session->auth == NULL) {
		session_fail_words(session, "4.7.0", "the credentials for it can't be sent");
		return;
	}
	auth_begin(session->auth, connection_output(session->connection));
	dialogue_add(&session->dialogue, DIALOGUE_SENT, "AUTH ...", 8);
	connection_flush(session->connection);
}

void
session_auth_replied(struct session *session, const struct reply *reply)
{
	const struct session_settings *settings = session->settings;
	struct failure failure;
	const char *why;

	if (reply->code == 334) {
		if (!auth_answer(session->auth, session->challenge,
		        connection_output(session->connection), &why)) {
			session_fail_words(session, "4.7.0", why);
			return;
		}
		dialogue_add(&session->dialogue, DIALOGUE_SENT, "...", 3);
		connection_flush(session->connection);
		return;
	}
	if (reply_is_success(reply) && !auth_is_complete(session->auth)) {
		session_fail_words(session, "4.7.0",
		    "it takes our login without a proof that it knows the password");
		return;
	}
	if (reply_is_success(reply)) {
		session_forget_auth(session);
		session_become_ready(session);
		return;
	}
	/* The message can't help it: it waits until the administrator has put that right. */
	session_failure_of_reply(session, reply, RELAY_FAULT_OURS, &failure);
	if (reply_is_permanent(reply)) {
		log_error(
		    "%s refuses our credentials: %u %s", settings->host, reply->code, reply->text);
		reply_set(&failure.reply, 454, "4.7.8", "%s refuses our credentials: %u %s",
		    settings->host, reply->code, reply->text);
		failure.remote = false;
	}
	session_fail(session, &failure);
}
