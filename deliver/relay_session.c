/*
 * From the connection to where mail can be sent: greeting, EHLO (or HELO), STARTTLS and EHLO again,
 * AUTH. What the server sends goes through the reply parser, and each complete reply to the state
 * that waits for it. A server that speaks out of turn is hung up on.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>
#include <event2/event.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#include "common/clock.h"
#include "common/log.h"
#include "deliver/relay_session_state.h"
#include "deliver/relay_tls.h"

static void on_event(enum connection_event, const char *, void *);
static void on_input(const uint8_t *, size_t, void *);
static void on_line(unsigned, const char *, bool, void *);

static void
on_pause(evutil_socket_t fd, short what, void *arg)
{
	struct session *session = arg;

	(void)fd;
	(void)what;
	session_expect(session, SESSION_READY, 0);
	session->ready_ms = clock_monotonic_ms();
	session->owner->ready(session, session->owner->arg);
}

struct session *
session_new(struct event_base *base, const struct session_settings *settings,
    const struct session_owner *owner)
{
	struct session *session = calloc(1, sizeof(*session));
	struct connection_user user = { .event = on_event, .input = on_input, .arg = session };

	if (session == NULL)
		return NULL;
	session->base = base;
	session->settings = settings;
	session->owner = owner;
	session->connection = connection_new(base, &user);
	session->pause = evtimer_new(base, on_pause, session);
	buf_init(&session->mail.chunk, 4 * RELAY_TEXT_CHUNK);
	if (session->connection == NULL || session->pause == NULL) {
		session_free(session);
		return NULL;
	}
	connection_use_local(session->connection, settings->local);
	return session;
}

void
session_free(struct session *session)
{
	if (session == NULL)
		return;
	connection_free(session->connection);
	session_forget_auth(session);
	SSL_free(session->handshake);
	if (session->pause != NULL)
		event_free(session->pause);
	buf_free(&session->mail.chunk);
	free(session->mail.indexes);
	free(session);
}

void
session_expect(struct session *session, enum session_state state, unsigned within_ms)
{
	session->state = state;
	session->deadline_ms = within_ms == 0 ? 0 : clock_monotonic_ms() + within_ms;
	session->progress = connection_sent(session->connection);
}

void
session_say(struct session *session, size_t start)
{
	const struct buf *output = connection_output(session->connection);

	if (output->length > start)
		dialogue_add(&session->dialogue, DIALOGUE_SENT, (const char *)output->data + start,
		    output->length - start);
}

static void
say(struct session *session, const char *command)
{
	struct buf *output = connection_output(session->connection);
	size_t start = output->length;

	buf_printf(output, "%s\r\n", command);
	session_say(session, start);
	connection_flush(session->connection);
}

/* The connection is gone, or of no use; whoever waits on it is told. */
static void
end(struct session *session, const struct failure *failure)
{
	connection_close(session->connection);
	session_forget_auth(session);
	(void)event_del(session->pause);
	session->state = SESSION_CLOSED;
	session->deadline_ms = 0;
	session->owner->closed(session, failure, session->owner->arg);
}

void
session_fail(struct session *session, const struct failure *failure)
{
	enum session_state state = session->state;

	dialogue_add(
	    &session->dialogue, DIALOGUE_NOTE, failure->reply.text, strlen(failure->reply.text));
	if (session->mail.task != NULL)
		mail_lost(session, failure);
	/* A kept connection may end when nothing is under way; that is nobody's fault. */
	if (state == SESSION_READY || state == SESSION_PAUSE || state == SESSION_QUIT)
		end(session, NULL);
	else
		end(session, failure);
}

void
session_fail_words(struct session *session, const char *enhanced, const char *words)
{
	struct failure failure;

	failure_set(&failure, RELAY_FAULT_DESTINATION, 451, enhanced, "%s: %s",
	    session->settings->host, words);
	failure.server = session->server;
	session_fail(session, &failure);
}

void
session_failure_of_reply(const struct session *session, const struct reply *reply,
    enum relay_fault fault, struct failure *failure)
{
	memset(failure, 0, sizeof(*failure));
	failure->reply = *reply;
	failure->fault = fault;
	failure->remote = true;
	failure->server = session->server;
	/* 2xx and 3xx where they make no sense. */
	if (!reply_is_temporary(reply) && !reply_is_permanent(reply)) {
		failure->remote = false;
		reply_set(&failure->reply, 451, "4.5.0", "%s answers %u where that makes no sense",
		    session->settings->host, reply->code);
	}
}

/* The server refuses all: by its greeting, or to EHLO and HELO. */
static void
refused(struct session *session, const struct reply *reply)
{
	struct failure failure;

	session_failure_of_reply(session, reply, RELAY_FAULT_DESTINATION, &failure);
	session_fail(session, &failure);
}

void
session_become_ready(struct session *session)
{
	/* What nobody asked for would be taken for the reply to the next command, and so on: in the
	 * end for the one that says that mail was taken. */
	if (session->has_more) {
		session_fail_words(session, "4.5.0", "it speaks out of turn");
		return;
	}
	session->was_ready = true;
	dialogue_transaction(&session->dialogue);
	session_expect(session, SESSION_READY, 0);
	session->ready_ms = clock_monotonic_ms();
	session->owner->ready(session, session->owner->arg);
}

void
session_next(struct session *session, bool counts)
{
	uint32_t most = session->settings->messages, pause_ms = session->settings->pause_ms;
	const struct timeval pause = { .tv_sec = pause_ms / 1000,
		.tv_usec = pause_ms % 1000 * 1000 };

	session->sent += counts;
	if (session->extensions.mail_max > 0 && session->extensions.mail_max < most)
		most = session->extensions.mail_max;
	if (session->sent >= most) {
		session->state = SESSION_READY;
		session_quit(session);
	} else if (pause_ms > 0 && event_add(session->pause, &pause) == 0) {
		session_expect(session, SESSION_PAUSE, 0);
	} else {
		session_become_ready(session);
	}
}

static void
say_hello(struct session *session, bool extended)
{
	char command[HOSTNAME_MAX + 16];

	snprintf(command, sizeof(command), "%s %s",
	    session->settings->lmtp ? "LHLO"
	        : extended          ? "EHLO"
	                            : "HELO",
	    *session->helo != '\0' ? session->helo : session->settings->helo);
	memset(&session->extensions, 0, sizeof(session->extensions));
	session_expect(
	    session, extended ? SESSION_EHLO : SESSION_HELO, session->settings->times->command_ms);
	say(session, command);
}

static void
begin_handshake(struct session *session)
{
	const struct session_settings *settings = session->settings;
	struct failure failure;
	SSL *ssl = NULL;

	if (settings->tls != NULL && settings->policy.security == SECURITY_DANE)
		ssl = tls_client_dane_ssl(settings->tls, settings->dane);
	else if (settings->tls != NULL && settings->policy.is_watched &&
	    settings->policy.security == SECURITY_OPPORTUNISTIC)
		ssl = tls_client_watched_ssl(settings->tls, settings->host, settings->ca);
	else if (settings->tls != NULL)
		ssl = tls_client_ssl(settings->tls, settings->host,
		    settings->policy.security == SECURITY_VERIFIED, settings->ca);
	if (ssl != NULL && settings->policy.is_dns_id)
		tls_client_dns_ids_only(ssl);
	if (ssl != NULL &&
	    ((*settings->pki != '\0' && !tls_client_show(settings->tls, ssl, settings->pki)) ||
	        !tls_client_restrict(ssl, settings->ciphers, settings->tls_1_3_only))) {
		SSL_free(ssl);
		ssl = NULL;
	}
	if (ssl == NULL) {
		failure_set(&failure, RELAY_FAULT_OURS, 451, "4.7.5",
		    "TLS to %s can't be had here: the log says why", settings->host);
		session_fail(session, &failure);
		return;
	}
	SSL_free(session->handshake);
	session->handshake = SSL_up_ref(ssl) == 1 ? ssl : NULL;
	session_expect(session, SESSION_HANDSHAKE, settings->times->handshake_ms);
	connection_secure(session->connection, ssl);
}

/* What came of TLS, when not all is well. */
static void
note_tls(struct session *session, enum tls_result result, const char *why)
{
	session->tls_result = result;
	strlcpy(session->tls_reason, why, sizeof(session->tls_reason));
}

/* How the certificate failed; or that the rest did. */
static enum tls_result
handshake_result(const struct session *session)
{
	enum tls_result result = TLS_RESULT_SUCCESS;

	if (session->handshake != NULL)
		result = tls_result_of_certificate(SSL_get_verify_result(session->handshake));
	return result != TLS_RESULT_SUCCESS ? result : TLS_RESULT_VALIDATION_FAILURE;
}

/* TLS can't be had, and must. */
static void
no_tls(struct session *session, const char *enhanced, const char *words)
{
	bool is_final = session->settings->need == TLS_NEED_REQUIRED;
	bool is_sts = session->settings->policy.type == POLICY_TYPE_STS &&
	    session->settings->policy.security == SECURITY_VERIFIED &&
	    !session->settings->policy.is_watched;
	struct failure failure;

	/* RFC 8689 4.2.1: such mail isn't kept until it can be. */
	failure_set(&failure, RELAY_FAULT_DESTINATION, is_final ? 550 : 451,
	    is_final ? "5.7.10" : enhanced, "%s: %s%s", session->settings->host, words,
	    is_sts ? " (the domain's MTA-STS policy asks for TLS with a good certificate)" : "");
	failure.server = session->server;
	session_fail(session, &failure);
}

/* EHLO has been answered. */
static void
secure_or_ready(struct session *session)
{
	const struct policy *policy = &session->settings->policy;
	bool is_secure = connection_ssl(session->connection) != NULL;
	bool wanted = policy->security != SECURITY_NONE && !session->plain_only;

	if (!is_secure && wanted && session->extensions.starttls) {
		session_expect(session, SESSION_STARTTLS, session->settings->times->command_ms);
		say(session, "STARTTLS");
		return;
	}
	if (!is_secure && policy->security != SECURITY_NONE && !session->plain_only)
		note_tls(session, TLS_RESULT_STARTTLS_NOT_SUPPORTED, "it doesn't offer STARTTLS");
	if (!is_secure && policy_needs_tls(policy)) {
		no_tls(session, "4.7.10",
		    policy->security == SECURITY_DANE
		        ? "it offers no TLS, which its TLSA records promise"
		        : "it offers no TLS, which is required");
	} else if (session->settings->user != NULL) {
		session_begin_auth(session);
	} else {
		session_become_ready(session);
	}
}

static void
starttls_answered(struct session *session, const struct reply *reply)
{
	if (reply->code == 220)
		begin_handshake(session);
	else if (reply->code == 421)
		refused(session, reply);
	else {
		note_tls(session, TLS_RESULT_STARTTLS_NOT_SUPPORTED,
		    "it offers STARTTLS and refuses it");
		if (session->settings->policy.security == SECURITY_OPPORTUNISTIC) {
			session->plain_only = true;
			secure_or_ready(session);
		} else {
			no_tls(session, "4.7.0", "it offers STARTTLS and refuses it");
		}
	}
}

static void
on_reply(struct session *session, const struct reply *reply)
{
	switch (session->state) {
	case SESSION_GREETING:
		if (reply_is_success(reply))
			say_hello(session, true);
		else
			refused(session, reply);
		break;
	case SESSION_EHLO:
		if (reply_is_success(reply))
			secure_or_ready(session);
		/* RFC 5321 3.2: older servers know HELO only. LMTP has no such thing. */
		else if (reply_is_permanent(reply) && !session->settings->lmtp)
			say_hello(session, false);
		else
			refused(session, reply);
		break;
	case SESSION_HELO:
		if (reply_is_success(reply))
			secure_or_ready(session);
		else
			refused(session, reply);
		break;
	case SESSION_STARTTLS:
		starttls_answered(session, reply);
		break;
	case SESSION_AUTH:
		session_auth_replied(session, reply);
		break;
	case SESSION_RSET:
	case SESSION_MAIL:
	case SESSION_RCPT:
	case SESSION_DATA:
	case SESSION_TEXT:
	case SESSION_END:
		mail_reply(session, reply);
		break;
	case SESSION_QUIT:
		end(session, NULL);
		break;
	case SESSION_READY:
	case SESSION_PAUSE:
		/* "421 idle for too long", most likely. */
		end(session, NULL);
		break;
	case SESSION_HANDSHAKE:
	case SESSION_CONNECTING:
	case SESSION_CLOSED:
		break;
	}
}

static void
on_line(unsigned code, const char *text, bool first, void *arg)
{
	struct session *session = arg;
	char line[REPLY_LINE_MAX + 8];
	int length = snprintf(line, sizeof(line), "%u %s", code, text);

	dialogue_add(&session->dialogue, DIALOGUE_RECEIVED, line, (size_t)length);
	if (session->state == SESSION_AUTH && code == 334)
		strlcpy(session->challenge, text, sizeof(session->challenge));
	if (session->state == SESSION_EHLO && code / 100 == 2 && !first)
		extensions_add_line(&session->extensions, text);
}

static void
on_input(const uint8_t *data, size_t length, void *arg)
{
	struct session *session = arg;
	enum session_state before;
	struct reply reply;
	size_t used;

	while (length > 0) {
		switch (reply_parser_feed(&session->parser, data, length, &used)) {
		case REPLY_MORE:
			return;
		case REPLY_BROKEN:
			session_fail_words(session, "4.5.0", session->parser.why);
			return;
		case REPLY_COMPLETE:
			break;
		}
		data += used;
		length -= used;
		before = session->state;
		/* RFC 3207 4.2: nothing said before the handshake counts after it. */
		if (before == SESSION_STARTTLS && length > 0) {
			session_fail_words(session, "4.7.0", "it speaks between STARTTLS and TLS");
			return;
		}
		reply = session->parser.reply;
		session->has_more = length > 0;
		on_reply(session, &reply);
		if (!connection_is_open(session->connection))
			return;
	}
}

/* A policy of mode testing: would it have been kept? (RFC 8461 5) */
static void
watch(struct session *session)
{
	long verified = SSL_get_verify_result(connection_ssl(session->connection));

	if (session->settings->policy.security == SECURITY_OPPORTUNISTIC && verified != X509_V_OK)
		note_tls(session, tls_result_of_certificate(verified),
		    X509_verify_cert_error_string(verified));
	else if (session->settings->policy.is_other)
		note_tls(
		    session, TLS_RESULT_VALIDATION_FAILURE, "the policy doesn't name this host");
}

static void
secured(struct session *session)
{
	tls_client_words(connection_ssl(session->connection), session->settings->policy.security,
	    session->server.tls, sizeof(session->server.tls));
	dialogue_add(
	    &session->dialogue, DIALOGUE_NOTE, session->server.tls, strlen(session->server.tls));
	if (session->settings->policy.is_watched)
		watch(session);
	reply_parser_init(&session->parser, on_line, session);
	if (session->settings->policy.implicit)
		session_expect(session, SESSION_GREETING, session->settings->times->greeting_ms);
	else
		say_hello(session, true);
}

/* Without TLS, on a new connection, where that is allowed. */
static void
handshake_failed(struct session *session, const char *why, bool is_ours)
{
	enum tls_result result;
	struct failure failure;

	if (is_ours) {
		failure_set(&failure, RELAY_FAULT_OURS, 451, "4.3.0", "TLS to %s: %s",
		    session->settings->host, why);
		log_error("%s", failure.reply.text);
		session_fail(session, &failure);
		return;
	}
	result = handshake_result(session);
	note_tls(session, result, why);
	if (session->settings->policy.security == SECURITY_OPPORTUNISTIC &&
	    !session->settings->policy.implicit) {
		log_info("%s (%s): %s: goes on without TLS", session->server.host,
		    session->server.address, why);
		session_connect(session, (const struct sockaddr *)&session->address,
		    session->address_length,
		    session->source_length == 0 ? NULL : (const struct sockaddr *)&session->source,
		    session->source_length);
		session->plain_only = true;
		note_tls(session, result, why);
		return;
	}
	no_tls(session, "4.7.5", why);
}

/* Where it connects to, as text. */
static const char *
place(const struct session *session)
{
	return session->address.ss_family == AF_UNIX
	    ? ((const struct sockaddr_un *)(const void *)&session->address)->sun_path
	    : session->server.address;
}

static void
on_event(enum connection_event event, const char *why, void *arg)
{
	struct session *session = arg;
	char words[300];

	switch (event) {
	case CONNECTION_OPENED:
		connection_own_address(session->connection, session->own_address);
		dialogue_add(&session->dialogue, DIALOGUE_NOTE, "connected", 9);
		if (session->settings->policy.implicit)
			begin_handshake(session);
		else
			session_expect(
			    session, SESSION_GREETING, session->settings->times->greeting_ms);
		return;
	case CONNECTION_SECURED:
		secured(session);
		return;
	case CONNECTION_DRAINED:
		if (session->state == SESSION_TEXT)
			mail_drained(session);
		return;
	case CONNECTION_CLOSED:
	case CONNECTION_UNSIGNED:
		break;
	}
	if (session->state == SESSION_HANDSHAKE) {
		handshake_failed(session, why, event == CONNECTION_UNSIGNED);
		return;
	}
	if (session->state == SESSION_CONNECTING)
		snprintf(words, sizeof(words), "can't connect to %s: %s", place(session), why);
	else
		snprintf(words, sizeof(words), "%s", why);
	session_fail_words(
	    session, session->state == SESSION_CONNECTING ? "4.4.1" : "4.4.2", words);
}

static void
name_address(struct session *session, const struct sockaddr *address)
{
	const struct sockaddr_un *local = (const struct sockaddr_un *)(const void *)address;
	const void *bytes = address->sa_family == AF_INET6
	    ? (const void *)&((const struct sockaddr_in6 *)address)->sin6_addr
	    : (const void *)&((const struct sockaddr_in *)address)->sin_addr;
	char name[HOSTNAME_MAX + CLIENT_TEXT_MAX + 4];

	if (address->sa_family == AF_UNIX)
		strlcpy(session->server.address, local->sun_path, sizeof(session->server.address));
	else if (inet_ntop(address->sa_family, bytes, session->server.address,
	             sizeof(session->server.address)) == NULL)
		session->server.address[0] = '\0';
	strlcpy(session->server.host, session->settings->host, sizeof(session->server.host));
	session->server.tls[0] = '\0';
	snprintf(name, sizeof(name), "%s[%s]", session->server.host, session->server.address);
	dialogue_start(&session->dialogue, name);
}

void
session_connect(struct session *session, const struct sockaddr *address, socklen_t length,
    const struct sockaddr *source, socklen_t source_length)
{
	struct failure failure;
	char why[200];
	bool is_ours;

	/* It may be its own address that is connected to again. */
	memmove(&session->address, address, length);
	session->address_length = length;
	if (source != NULL)
		memmove(&session->source, source, source_length);
	session->source_length = source == NULL ? 0 : source_length;
	name_address(session, (const struct sockaddr *)&session->address);
	reply_parser_init(&session->parser, on_line, session);
	memset(&session->extensions, 0, sizeof(session->extensions));
	session->was_ready = session->plain_only = session->needs_reset = false;
	session->has_more = false;
	session->tls_result = TLS_RESULT_SUCCESS;
	*session->own_address = '\0';
	session->sent = 0;
	session_expect(session, SESSION_CONNECTING, session->settings->times->connect_ms);
	if (connection_open(session->connection, (const struct sockaddr *)&session->address,
	        session->address_length,
	        source == NULL ? NULL : (const struct sockaddr *)&session->source,
	        session->source_length, &is_ours, why, sizeof(why)))
		return;
	failure_set(&failure, is_ours ? RELAY_FAULT_OURS : RELAY_FAULT_DESTINATION, 451, "4.4.1",
	    "%s: can't connect to %s: %s", session->settings->host, place(session), why);
	failure.server = session->server;
	session_fail(session, &failure);
}

void
session_set_helo(struct session *session, const char *name)
{
	strlcpy(session->helo, name, sizeof(session->helo));
}

void
session_give(struct session *session, struct task *task)
{
	dialogue_transaction(&session->dialogue);
	mail_begin(session, task);
}

void
session_quit(struct session *session)
{
	if (session->state != SESSION_READY && session->state != SESSION_PAUSE)
		return;
	(void)event_del(session->pause);
	session_expect(session, SESSION_QUIT, session->settings->times->quit_ms);
	say(session, "QUIT");
}

bool
session_abandon(struct session *session)
{
	if (session->mail.task != NULL && session->mail.is_unsure)
		return false;
	if (session->state != SESSION_CLOSED) {
		if (session->mail.task != NULL)
			session->mail.task->state = TASK_DONE;
		session->mail.task = NULL;
		end(session, NULL);
	}
	return true;
}

/* In a transaction that may still be given up without a doubt. */
static bool
is_before_end_of_text(enum session_state state)
{
	switch (state) {
	case SESSION_RSET:
	case SESSION_MAIL:
	case SESSION_RCPT:
	case SESSION_DATA:
	case SESSION_TEXT:
		return true;
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
	case SESSION_END:
	case SESSION_QUIT:
		break;
	}
	return false;
}

void
session_check(struct session *session, int64_t now_ms)
{
	static const char *const waits[] = {
		[SESSION_CLOSED] = "",
		[SESSION_CONNECTING] = "it doesn't answer to the connection",
		[SESSION_GREETING] = "no greeting came",
		[SESSION_EHLO] = "no reply to EHLO came",
		[SESSION_HELO] = "no reply to HELO came",
		[SESSION_STARTTLS] = "no reply to STARTTLS came",
		[SESSION_HANDSHAKE] = "the TLS handshake didn't end",
		[SESSION_AUTH] = "no reply to AUTH came",
		[SESSION_READY] = "",
		[SESSION_PAUSE] = "",
		[SESSION_RSET] = "no reply to RSET came",
		[SESSION_MAIL] = "no reply to MAIL came",
		[SESSION_RCPT] = "no reply to RCPT came",
		[SESSION_DATA] = "no reply to DATA came",
		[SESSION_TEXT] = "it doesn't take the text",
		[SESSION_END] = "no reply to the text came",
		[SESSION_QUIT] = "no reply to QUIT came",
	};
	uint64_t sent = connection_sent(session->connection);
	char words[100];

	if (is_before_end_of_text(session->state) && now_ms >= session->transaction_until_ms) {
		session_fail_words(session, "4.4.2", "timed out: it takes the message too slowly");
		return;
	}
	if (session->deadline_ms == 0 || now_ms < session->deadline_ms)
		return;
	/* RFC 5321 4.5.3.2.5 is about each block. */
	if (session->state == SESSION_TEXT && sent != session->progress) {
		session_expect(session, SESSION_TEXT, session->settings->times->block_ms);
		return;
	}
	if (session->state == SESSION_HANDSHAKE) {
		connection_close(session->connection);
		handshake_failed(session, waits[SESSION_HANDSHAKE], false);
		return;
	}
	snprintf(words, sizeof(words), "timed out: %s", waits[session->state]);
	session_fail_words(
	    session, session->state == SESSION_CONNECTING ? "4.4.1" : "4.4.2", words);
}

bool
session_is_ready(const struct session *session)
{
	return session->state == SESSION_READY;
}

bool
session_was_ready(const struct session *session)
{
	return session->was_ready;
}

struct task *
session_task(const struct session *session)
{
	return session->mail.task;
}

int64_t
session_idle_since(const struct session *session)
{
	return session->ready_ms;
}

void
session_dialogue(const struct session *session, char text[IPC_RELAY_DIALOGUE_MAX + 1])
{
	dialogue_format(&session->dialogue, text);
}

const struct server_words *
session_server(const struct session *session)
{
	return &session->server;
}

enum tls_result
session_tls_result(const struct session *session, const char **reason)
{
	*reason = session->tls_result == TLS_RESULT_SUCCESS ? "" : session->tls_reason;
	return session->tls_result;
}

const char *
session_own_address(const struct session *session)
{
	return session->own_address;
}

void
session_list_add(struct session_list *list, struct session *session)
{
	TAILQ_INSERT_TAIL(list, session, entry);
}

void
session_list_remove(struct session_list *list, struct session *session)
{
	TAILQ_REMOVE(list, session, entry);
}

struct session *
session_list_next(struct session *session)
{
	return TAILQ_NEXT(session, entry);
}

void
session_set_note(struct session *session, void *note)
{
	session->note = note;
}

void *
session_note(const struct session *session)
{
	return session->note;
}
