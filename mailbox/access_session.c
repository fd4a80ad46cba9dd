/*
 * A connection is read only while it may say something: not while a login is checked. What it has said
 * too early waits in its input, and goes to the mailbox when the login is good.
 */
#include <sys/socket.h>
#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/stdlib.h>
#include <bsd/string.h>
#include <event2/buffer.h>
#include <event2/event.h>

#include "common/log.h"
#include "common/stats.h"
#include "mailbox/access.h"

#define LOGIN_SECONDS 180 /* RFC 9051 5.4 gives those who aren't logged in no more */
#define END_SECONDS   10
#define RETRY_MS      50
#define IMAP_MAX      ACCESS_INPUT_SIZE

static void on_readable(evutil_socket_t, short, void *);

const struct access_protocol *
access_protocol(const struct access_session *session)
{
	switch (session->protocol) {
	case MAILBOX_IMAP:
		return &access_imap;
	case MAILBOX_POP3:
		return &access_pop3;
	case MAILBOX_SIEVE:
	case MAILBOX_PROTOCOL_COUNT:
		break;
	}
	return &access_sieve;
}

void
access_count(const struct access_session *session, enum stats_key imap, int64_t count)
{
	stats_add((enum stats_key)((int)imap + (int)session->protocol), count);
}

/* --- configurations --- */

struct access_settings *
access_settings_new(struct config *config)
{
	struct access_settings *settings = calloc(1, sizeof(*settings));

	if (settings == NULL)
		fatal("settings");
	settings->config = config;
	settings->references = 1;
	return settings;
}

void
access_settings_release(struct access_settings *settings)
{
	if (settings == NULL || --settings->references > 0)
		return;
	tls_contexts_free(settings->tls);
	config_free(settings->config);
	free(settings);
}

/* --- the log --- */

static void
log_session(struct access_session *session, const char *what, const char *reason)
{
	char event[32];
	struct log_line line;

	snprintf(event, sizeof(event), "%s-%s", access_protocol(session)->name, what);
	log_begin(&line, LOG_LEVEL_INFO, event);
	log_hex64(&line, "session", session->id);
	log_text(&line, "address", session->client);
	if (*session->listener->tag != '\0')
		log_text(&line, "tag", session->listener->tag);
	if (session->tls != NULL && tls_is_open(session->tls)) {
		log_text(&line, "tls", tls_version(session->tls));
		log_text(&line, "cipher", tls_cipher(session->tls));
	}
	if (reason != NULL)
		log_text(&line, "reason", reason);
	log_end(&line);
}

/* --- bytes --- */

ssize_t
access_read(struct access_session *session, void *bytes, size_t size)
{
	ssize_t count;

	if (session->tls == NULL)
		return recv(session->fd, bytes, size, 0);
	count = tls_read(session->tls, bytes, size);
	if (count == -1 && tls_wants_output(session->tls))
		(void)event_add(&session->writable, NULL);
	return count;
}

bool
access_flush(struct access_session *session)
{
	size_t length;
	ssize_t count;
	unsigned char *bytes;

	while ((length = evbuffer_get_length(session->output)) > 0) {
		if (length > ACCESS_INPUT_SIZE)
			length = ACCESS_INPUT_SIZE;
		bytes = evbuffer_pullup(session->output, (ev_ssize_t)length);
		if (bytes == NULL)
			fatalx("out of memory");
		count = session->tls == NULL ? send(session->fd, bytes, length, MSG_NOSIGNAL)
		                             : tls_write(session->tls, bytes, length);
		if (count == -1 && (errno == EAGAIN || errno == EINTR)) {
			(void)event_add(&session->writable, NULL);
			return true;
		}
		if (count <= 0)
			return false;
		(void)evbuffer_drain(session->output, (size_t)count);
	}
	return true;
}

void
access_send(struct access_session *session, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	if (evbuffer_add_vprintf(session->output, format, arguments) == -1)
		fatalx("out of memory");
	va_end(arguments);
	event_active(&session->writable, EV_WRITE, 0);
}

/* Those that are silent have none. */
static void
need_input(struct access_session *session)
{
	if (session->input == NULL)
		session->input = malloc(ACCESS_INPUT_SIZE);
	if (session->input == NULL)
		fatal("input");
}

void
access_input_free(struct access_session *session)
{
	if (session->input != NULL)
		explicit_bzero(session->input, session->input_length); /* passwords */
	free(session->input);
	session->input = NULL;
	session->input_length = 0;
}

/* --- its life --- */

static void
close_if(struct event *event)
{
	if (event_initialized(event))
		(void)event_del(event);
}

void
access_session_free(struct access_session *session)
{
	struct access *access = session->access;

	if (session->end_reason != NULL) /* else the mailbox's process tells */
		log_session(session, "disconnected", session->end_reason);
	access_auth_forget(session);
	access_session_leave_crowd(session);
	(void)event_del(&session->readable);
	(void)event_del(&session->writable);
	(void)event_del(&session->timer);
	(void)event_del(&session->retry);
	close_if(&session->mailbox_readable);
	close_if(&session->mailbox_writable);
	tls_free(session->tls);
	(void)close(session->fd);
	if (session->mailbox_fd != -1)
		(void)close(session->mailbox_fd);
	evbuffer_free(session->output);
	if (session->to_mailbox != NULL)
		evbuffer_free(session->to_mailbox);
	access_input_free(session);
	imap_input_free(&session->imap);
	free(session->pop3_user);
	access_sieve_end(session);
	access_settings_release(session->settings);
	LIST_REMOVE(session, entry);
	access_count(session, STATS_IMAP_SESSION, -1);
	access->descriptors -= session->may_open ? 2 : 1;
	free(session);
	if (access->is_stopping && LIST_EMPTY(&access->sessions))
		access->drained();
}

static void
set_timer(struct access_session *session, time_t seconds)
{
	struct timeval limit = { .tv_sec = seconds };

	if (event_add(&session->timer, &limit) != 0)
		fatalx("no memory for a timer");
}

static void
set_login_timer(struct access_session *session)
{
	time_t limit = session->settings->config->limits.session_time;

	set_timer(session, limit < LOGIN_SECONDS ? limit : LOGIN_SECONDS);
}

void
access_end(struct access_session *session, const char *reason)
{
	if (session->state == ACCESS_ENDING)
		return;
	access_auth_forget(session);
	(void)event_del(&session->readable);
	session->state = ACCESS_ENDING;
	session->end_reason = reason;
	set_timer(session, END_SECONDS);
	event_active(&session->writable, EV_WRITE, 0);
}

static void
hang_up(struct access_session *session, const char *words, const char *reason)
{
	if (session->state == ACCESS_ENDING)
		return;
	if (session->state != ACCESS_HANDSHAKE)
		access_protocol(session)->bye(session, words);
	access_end(session, reason);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct access_session *session = arg;

	(void)fd;
	(void)what;
	if (session->state == ACCESS_ENDING)
		access_session_free(session);
	else
		hang_up(session, "You took too long to log in",
		    session->state == ACCESS_HANDSHAKE ? "handshake timeout" : "no login in time");
}

bool
access_count_error(struct access_session *session)
{
	if (++session->errors < session->settings->config->limits.errors)
		return true;
	hang_up(session, "Too many commands that aren't any", "too many errors");
	return false;
}

/* --- TLS --- */

bool
access_offers_tls(const struct access_session *session)
{
	return session->tls == NULL && session->listener->tls != LISTEN_TLS_NONE &&
	    tls_contexts_get(session->settings->tls, session->listener) != NULL;
}

static void
shake_hands(struct access_session *session)
{
	struct timeval retry = { .tv_usec = RETRY_MS * 1000 };

	switch (tls_handshake(session->tls)) {
	case TLS_DONE:
		session->state = ACCESS_COMMAND;
		set_login_timer(session);
		log_session(session, "tls", NULL);
		access_count(session, STATS_IMAP_TLS, 1);
		if (session->listener->tls == LISTEN_TLS_IMPLICIT ||
		    access_protocol(session)->greets_after_tls)
			access_protocol(session)->greet(session);
		access_resume(session);
		break;
	case TLS_WANTS_INPUT:
		(void)event_add(&session->readable, NULL);
		break;
	case TLS_WANTS_OUTPUT:
		(void)event_del(&session->readable);
		(void)event_add(&session->writable, NULL);
		break;
	case TLS_WANTS_KEEPER:
		(void)event_del(&session->readable);
		break;
	case TLS_WANTS_TIME:
		(void)event_del(&session->readable);
		(void)event_add(&session->retry, &retry);
		break;
	case TLS_FAILED:
		session->end_reason = tls_failure(session->tls);
		log_session(session, "tls-failed", session->end_reason);
		access_count(session, STATS_IMAP_TLS_FAILED, 1);
		session->end_reason = "no TLS";
		access_session_free(session);
		break;
	}
}

static void
on_retry(evutil_socket_t fd, short what, void *arg)
{
	struct access_session *session = arg;

	(void)fd;
	(void)what;
	if (session->state == ACCESS_HANDSHAKE && session->tls != NULL)
		shake_hands(session);
}

static void
on_keeper(void *arg)
{
	struct access_session *session = arg;

	if (session->state == ACCESS_HANDSHAKE)
		event_active(&session->retry, EV_TIMEOUT, 0);
}

/* False when there is no certificate. */
static bool
begin_tls(struct access_session *session)
{
	SSL_CTX *context = tls_contexts_get(session->settings->tls, session->listener);

	session->wants_tls = false;
	session->state = ACCESS_HANDSHAKE;
	set_timer(session, session->settings->config->limits.handshake_time);
	if (context != NULL)
		session->tls = tls_new(context, session->fd, on_keeper, session);
	return session->tls != NULL;
}

void
access_start_tls(struct access_session *session)
{
	session->state = ACCESS_HANDSHAKE;
	session->wants_tls = true;
	explicit_bzero(session->input, session->input_length);
	session->input_length = 0; /* RFC 9051 6.2.1: nothing of before counts */
	(void)event_del(&session->readable);
}

/* --- what comes --- */

/* Gives the input to the protocol while it takes some. */
static void
use_input(struct access_session *session)
{
	size_t used;

	while (session->input_length > 0 &&
	    (session->state == ACCESS_COMMAND || session->state == ACCESS_RESPONSE)) {
		used =
		    access_protocol(session)->input(session, session->input, session->input_length);
		if (used == 0 || session->input_length < used)
			break;
		session->input_length -= used;
		memmove(session->input, session->input + used, session->input_length);
		explicit_bzero(session->input + session->input_length, used); /* passwords */
	}
	if (session->input_length == 0)
		access_input_free(session);
	if (session->state == ACCESS_COMMAND || session->state == ACCESS_RESPONSE)
		(void)event_add(&session->readable, NULL);
	else if (session->state != ACCESS_HANDSHAKE)
		(void)event_del(&session->readable);
}

void
access_resume(struct access_session *session)
{
	event_active(&session->readable, EV_READ, 0);
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct access_session *session = arg;
	ssize_t count;

	(void)fd;
	(void)what;
	if (session->state == ACCESS_RELAYING) {
		access_relay_readable(session);
		return;
	}
	if (session->state == ACCESS_HANDSHAKE) {
		if (session->tls != NULL)
			shake_hands(session);
		return;
	}
	if (session->state != ACCESS_COMMAND && session->state != ACCESS_RESPONSE)
		return;
	use_input(session);
	if (session->state != ACCESS_COMMAND && session->state != ACCESS_RESPONSE)
		return;
	need_input(session);
	count = access_read(session, session->input + session->input_length,
	    ACCESS_INPUT_SIZE - session->input_length);
	if (count == -1 && (errno == EAGAIN || errno == EINTR))
		return;
	if (count <= 0) {
		session->end_reason = "client closed";
		access_session_free(session);
		return;
	}
	session->input_length += (size_t)count;
	/* Whatever is left, of TLS too, is looked at in the next turn. */
	if (session->tls != NULL && tls_may_have_more(session->tls))
		access_resume(session);
	use_input(session);
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct access_session *session = arg;

	(void)fd;
	(void)what;
	if (session->state == ACCESS_HANDSHAKE && session->tls != NULL) {
		shake_hands(session);
		return;
	}
	if (!access_flush(session)) {
		if (session->end_reason == NULL && session->state != ACCESS_RELAYING)
			session->end_reason = "client closed";
		access_session_free(session);
		return;
	}
	if (evbuffer_get_length(session->output) > 0)
		return;
	if (session->state == ACCESS_ENDING) {
		access_session_free(session);
	} else if (session->state == ACCESS_RELAYING) {
		access_relay_written(session);
	} else if (session->wants_tls) {
		if (begin_tls(session)) {
			shake_hands(session);
		} else {
			session->end_reason = "no certificate";
			access_session_free(session);
		}
	} else if (session->tls != NULL && tls_may_have_more(session->tls))
		access_resume(session);
}

static void
describe_client(struct access_session *session)
{
	char text[INET6_ADDRSTRLEN] = "";

	strlcpy(session->client, "local", sizeof(session->client));
	if (session->family == CLIENT_INET4)
		inet_ntop(AF_INET, session->address, session->client, sizeof(session->client));
	else if (session->family == CLIENT_INET6 &&
	    inet_ntop(AF_INET6, session->address, text, sizeof(text)) != NULL)
		snprintf(session->client, sizeof(session->client), "IPv6:%s", text);
}

/* Who has logged in is a user, and no stranger whose address or network may be one of many. */
void
access_session_leave_crowd(struct access_session *session)
{
	if (session->in_crowd)
		crowd_leave(session->access->crowd, session->family, session->address);
	session->in_crowd = false;
}

/* False when there are too many: it was told, in one write, and nothing is kept of it. */
static bool
let_in(struct access_session *session)
{
	struct access *access = session->access;
	enum crowd_answer answer = CROWD_FULL;
	char text[256];
	int length;

	/* An eighth is left to those who are in and log in. */
	if (access->descriptors < access->descriptors_max - access->descriptors_max / 8)
		answer = crowd_enter(access->crowd, &session->settings->config->limits,
		    session->family, session->address);
	session->in_crowd = answer == CROWD_ENTERED;
	if (session->in_crowd)
		return true;
	length = snprintf(text, sizeof(text), "%s%s%s\r\n", access_protocol(session)->full,
	    crowd_words(answer), access_protocol(session)->full_end);
	/* Nobody would understand it in the place of a handshake. */
	if (session->listener->tls != LISTEN_TLS_IMPLICIT && length > 0 &&
	    (size_t)length < sizeof(text))
		(void)send(session->fd, text, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT);
	access_count(session, STATS_IMAP_REFUSED, 1);
	crowd_log_refusal(&access->refusals, session->client, crowd_words(answer));
	return false;
}

void
access_session_start(struct access *access, struct access_settings *settings,
    const struct listener_config *listener, enum client_family family, const uint8_t address[16],
    int fd)
{
	struct access_session *session = calloc(1, sizeof(*session));

	if (session == NULL)
		fatal("a session");
	session->access = access;
	session->settings = settings;
	session->listener = listener;
	session->protocol = listener->protocol == LISTEN_IMAP ? MAILBOX_IMAP
	    : listener->protocol == LISTEN_POP3               ? MAILBOX_POP3
	                                                      : MAILBOX_SIEVE;
	session->fd = fd;
	session->mailbox_fd = -1;
	session->family = family;
	memcpy(session->address, address, sizeof(session->address));
	describe_client(session);
	if (!let_in(session)) {
		(void)close(fd); /* it was told, or is gone */
		free(session);
		return;
	}
	settings->references++;
	arc4random_buf(&session->id, sizeof(session->id));
	session->output = evbuffer_new();
	if (session->output == NULL)
		fatal("a session");
	imap_input_init(&session->imap, IMAP_MAX);
	if (session->protocol == MAILBOX_SIEVE)
		access_sieve_begin(session);
	event_assign(
	    &session->readable, access->base, fd, EV_READ | EV_PERSIST, on_readable, session);
	event_assign(&session->writable, access->base, fd, EV_WRITE, on_writable, session);
	event_assign(&session->timer, access->base, -1, EV_TIMEOUT, on_timer, session);
	event_assign(&session->retry, access->base, -1, EV_TIMEOUT, on_retry, session);
	LIST_INSERT_HEAD(&access->sessions, session, entry);
	access_count(session, STATS_IMAP_CONNECTED, 1);
	access_count(session, STATS_IMAP_SESSION, 1);
	access->descriptors++;
	log_session(session, "connected", NULL);
	set_login_timer(session);
	if (listener->tls == LISTEN_TLS_IMPLICIT) {
		session->state = ACCESS_HANDSHAKE;
		if (begin_tls(session)) {
			shake_hands(session);
			return;
		}
		session->end_reason = "no certificate";
		access_session_free(session);
		return;
	}
	session->state = ACCESS_COMMAND;
	access_protocol(session)->greet(session);
	(void)event_add(&session->readable, NULL);
}

void
access_stop(struct access *access)
{
	struct access_session *session;

	access->is_stopping = true;
	LIST_FOREACH(session, &access->sessions, entry)
	if (session->state != ACCESS_RELAYING)
		hang_up(session, "The mail server stops, come again later", "shutdown");
	if (LIST_EMPTY(&access->sessions))
		access->drained();
}

void
access_free(struct access *access)
{
	struct access_session *session;

	access->is_stopping = false;
	while ((session = LIST_FIRST(&access->sessions)) != NULL) {
		session->end_reason = "shutdown";
		access_session_free(session);
	}
}
