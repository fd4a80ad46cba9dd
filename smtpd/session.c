/*
 * Bytes in and out, and the session's life. Every callback ends in session_settle(), where output
 * is sent, events are set by what the state wants, and a dead session is freed; nothing else frees
 * one.
 *
 * The read event stays added while a session waits for another process, and is taken away only if
 * the client really sends something meanwhile: most don't, and each change costs a system call. It
 * carries the idle timeout.
 */
#include <sys/socket.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/string.h>

#include "common/clock.h"
#include "common/stats.h"
#include "smtpd/proxy.h"
#include "smtpd/session_state.h"

#define OUTPUT_MAX     (1024 * 1024) /* LMTP answers each of many recipients */
#define OUTPUT_EARLY   8192          /* sent though there is more input */
#define SKIP_MAX       (64 * 1024)   /* of an endless command line */
#define LINGER_MAX     (256 * 1024)
#define LINGER_SECONDS 2
#define STOP_LINGER_MS 200

static void on_readable(evutil_socket_t, short, void *);
static void on_writable(evutil_socket_t, short, void *);
static void on_timer(evutil_socket_t, short, void *);

const char *
session_hostname(const struct session *s)
{
	return *s->hostname != '\0' ? s->hostname : session_config(s)->hostname;
}

void
session_log_begin(struct session *s, struct log_line *line, enum log_level level, const char *event)
{
	log_begin(line, level, event);
	log_hex64(line, "session", s->id);
}

void
session_log_client(struct session *s, struct log_line *line)
{
	log_text(line, "address", s->client_text);
	if (s->client.has_uid)
		log_number(line, "uid", s->client.uid);
	if (s->client_name != NULL)
		log_text(line, "name", s->client_name);
	if (s->helo != NULL)
		log_text(line, "helo", s->helo);
}

void
session_log_reply(struct log_line *line, const struct reply *reply)
{
	char text[REPLY_TEXT_MAX + 32];

	reply_format(reply, text, sizeof(text));
	log_text(line, "reply", text);
}

void
session_trace(struct session *s, const char *event, const void *text, size_t length)
{
	struct log_line line;

	if (!log_trace_begin(&line, LOG_TRACE_SMTP, event))
		return;
	log_hex64(&line, "session", s->id);
	log_bytes(&line, "line", text, length);
	log_end(&line);
}

/* Output */

void
session_send_line(struct session *s, const char *format, ...)
{
	size_t start = s->output.length;
	va_list arguments;

	va_start(arguments, format);
	buf_vprintf(&s->output, format, arguments);
	va_end(arguments);
	if (log_is_traced(LOG_TRACE_SMTP) && s->output.length > start)
		session_trace(s, "smtp-reply", s->output.data + start, s->output.length - start);
	buf_add(&s->output, "\r\n", 2);
}

void
session_send(struct session *s, const struct reply *reply)
{
	char text[REPLY_TEXT_MAX + 32];

	reply_format(reply, text, sizeof(text));
	buf_add_text(&s->output, text);
	buf_add(&s->output, "\r\n", 2);
	if (reply_is_permanent(reply))
		s->errors++;
	if (log_is_traced(LOG_TRACE_SMTP))
		session_trace(s, "smtp-reply", text, strlen(text));
}

void
session_reply(struct session *s, unsigned code, const char *enhanced, const char *format, ...)
{
	char text[REPLY_TEXT_MAX + 1];
	struct reply reply;
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	reply_set(&reply, code, enhanced, "%s", text);
	session_send(s, &reply);
}

void
session_die(struct session *s, const char *reason)
{
	if (s->end_reason == NULL)
		s->end_reason = reason;
	s->state = SESSION_DEAD;
}

/* `rest`: bytes that wait here, to be sent or for the rest of their line. */
static void
trace_io(const struct session *s, const char *event, ssize_t count, size_t rest)
{
	struct log_line line;

	if (!log_trace_begin(&line, LOG_TRACE_IO, event))
		return;
	log_hex64(&line, "session", s->id);
	log_number(&line, "bytes", count);
	log_number(&line, "waiting", (int64_t)rest);
	log_end(&line);
}

static ssize_t
send_bytes(struct session *s, const void *data, size_t length)
{
	ssize_t count;

	if (session_is_encrypted(s))
		return tls_write(s->tls, data, length);
	do {
		count = send(s->fd, data, length, MSG_NOSIGNAL | MSG_DONTWAIT);
	} while (count == -1 && errno == EINTR);
	return count;
}

/* Behind a PROXY header's `kept` bytes. No byte of a handshake is read here, and behind the last
 * reply all are dropped, whatever they say. */
static ssize_t
receive_bytes(struct session *s, char *data, size_t kept)
{
	size_t size = SERVICE_READ_MAX;

	if (session_is_encrypted(s) && s->state != SESSION_LINGER)
		return tls_read(s->tls, data, size);
	if (s->state == SESSION_PROXY && s->listener->tls == LISTEN_TLS_IMPLICIT)
		size = proxy_missing((const uint8_t *)data - kept, kept);
	return recv(s->fd, data, size, MSG_DONTWAIT);
}

/* A client that doesn't read its replies isn't read from either, and times out. */
static void
await_room(struct session *s)
{
	s->blocked = true;
	if (event_add(&s->writable, s->settings->idle_time) == -1)
		session_die(s, "no memory");
}

/* Sends what there is, as far as the socket takes it. */
static void
flush(struct session *s)
{
	ssize_t count;

	if (!buf_ok(&s->output)) {
		session_die(s, "output overflow");
		return;
	}
	if (s->blocked || s->output_start == s->output.length)
		return;
	count = send_bytes(s, s->output.data + s->output_start, s->output.length - s->output_start);
	if (count == -1 && errno != EAGAIN && errno != EWOULDBLOCK) {
		session_die(s, "connection lost");
		return;
	}
	if (count > 0)
		s->output_start += (size_t)count;
	trace_io(s, "io-written", count, s->output.length - s->output_start);
	if (s->output_start == s->output.length) {
		buf_free(&s->output);
		s->output_start = 0;
		return;
	}
	await_room(s);
}

static bool
wants_input(const struct session *s)
{
	switch (s->state) {
	case SESSION_HANDSHAKE:
		return s->handshake == TLS_WANTS_INPUT && !s->blocked;
	case SESSION_PROXY:
	case SESSION_COMMAND:
	case SESSION_SKIP_LINE:
	case SESSION_AUTH:
	case SESSION_TEXT:
	case SESSION_CHUNK:
	case SESSION_SKIP_CHUNK:
	case SESSION_LINGER:
		return !s->blocked;
	case SESSION_AUTH_WAIT:
	case SESSION_NAME_WAIT:
	case SESSION_RCPT_WAIT:
	case SESSION_PENALTY:
	case SESSION_FILE_WAIT:
	case SESSION_SIGN_WAIT:
	case SESSION_COMMIT_WAIT:
	case SESSION_CLOSING:
	case SESSION_DEAD:
		return false;
	}
	return false;
}

/* End */

void
session_drop_mail(struct session *s)
{
	if (s->mail == NULL)
		return;
	session_forget_signing(s);
	/* Its file is closed before the queue hears that it isn't wanted. */
	message_free(s->mail->message);
	s->mail->message = NULL;
	upstream_return_id(s->service->upstream, s->mail);
	mail_free(s->mail);
	s->mail = NULL;
}

void
session_close(struct session *s, const char *reason)
{
	if (s->state == SESSION_DEAD)
		return;
	if (s->end_reason == NULL)
		s->end_reason = reason;
	s->state = SESSION_CLOSING;
}

void
session_shut(struct session *s, const char *enhanced, const char *reason, const char *text)
{
	session_reply(s, 421, enhanced, "%s %s", session_hostname(s), text);
	s->linger = true;
	session_close(s, reason);
}

static void
session_free(struct session *s)
{
	struct service *service = s->service;
	struct log_line line;

	session_log_begin(s, &line, LOG_LEVEL_INFO, "smtp-disconnected");
	session_log_client(s, &line);
	log_text(&line, "reason", s->end_reason == NULL ? "unknown" : s->end_reason);
	session_log_tls(s, &line);
	log_number(&line, "messages", s->messages);
	log_number(&line, "recipients", s->recipients);
	log_number(&line, "errors", s->errors);
	log_end(&line);
	stats_add(STATS_SMTP_DISCONNECTED, 1);
	service_count_gauge(s->counted_as, -1);

	upstream_cancel_name(service->upstream, s->name_request);
	upstream_cancel_rcpt(service->upstream, s->rcpt_request);
	upstream_cancel_queue(service->upstream, s->queue_request);
	session_forget_login(s);
	session_tell_cut_off(s);
	session_drop_mail(s);
	if (s->counted)
		crowd_leave(service->crowd, s->counted_as, s->client.address);
	(void)event_del(&s->readable);
	(void)event_del(&s->writable);
	(void)event_del(&s->timer);
	tls_free(s->tls);
	(void)close(s->fd); /* all that was to be sent is sent */
	LIST_REMOVE(s, link);
	settings_release(s->settings);
	buf_free(&s->input);
	buf_free(&s->output);
	free(s->client_name);
	free(s->helo);
	free(s->auth_user);
	free(s);
	service->session_count--;
	if (service->stopping && service->session_count == 0 && service->drained != NULL)
		service->drained(service);
}

/* The last reply is sent. A socket closed while bytes wait in it resets the connection, which may
 * destroy that reply on its way: so the client's end is waited for, a little. */
static void
begin_linger(struct session *s)
{
	struct timeval delay = { .tv_sec = LINGER_SECONDS };

	if (s->service->stopping)
		delay = (struct timeval){ .tv_usec = STOP_LINGER_MS * 1000 };
	buf_free(&s->input);
	s->input_start = 0;
	if (s->tls != NULL)
		tls_end_output(s->tls);
	if (!s->linger || shutdown(s->fd, SHUT_WR) == -1 || event_add(&s->timer, &delay) == -1) {
		session_die(s, "closed");
		return;
	}
	s->dropped = 0;
	s->state = SESSION_LINGER;
}

void
session_settle(struct session *s)
{
	switch (s->state) {
	case SESSION_AUTH_WAIT:
	case SESSION_NAME_WAIT:
	case SESSION_RCPT_WAIT:
		break; /* RFC 2920 3.2 (2): the replies of a group leave together */
	case SESSION_HANDSHAKE:
		flush(s); /* STARTTLS's reply, in the clear */
		if (s->blocked || s->state != SESSION_HANDSHAKE)
			break;
		session_handshake(s);
		if (s->state != SESSION_HANDSHAKE && s->state != SESSION_DEAD)
			flush(s);
		break;
	case SESSION_PROXY:
	case SESSION_COMMAND:
	case SESSION_SKIP_LINE:
	case SESSION_AUTH:
	case SESSION_TEXT:
	case SESSION_CHUNK:
	case SESSION_SKIP_CHUNK:
	case SESSION_PENALTY:
	case SESSION_FILE_WAIT:
	case SESSION_SIGN_WAIT:
	case SESSION_COMMIT_WAIT:
	case SESSION_CLOSING:
	case SESSION_LINGER:
		flush(s);
		break;
	case SESSION_DEAD:
		break;
	}
	if (s->state == SESSION_CLOSING && !s->blocked)
		begin_linger(s);
	if (s->state == SESSION_DEAD) {
		session_free(s);
		return;
	}
	if (wants_input(s) && !s->reading) {
		if (event_add(&s->readable, s->settings->idle_time) == -1) {
			session_die(s, "no memory");
			session_free(s);
			return;
		}
		s->reading = true;
	}
	/* What TLS has read already doesn't make the socket readable. */
	if (wants_input(s) && session_is_encrypted(s) && s->state != SESSION_LINGER &&
	    tls_may_have_more(s->tls))
		event_active(&s->readable, EV_READ, 0);
}

/* Input */

bool
session_has_more_input(const struct session *s)
{
	char byte;

	if (session_is_encrypted(s))
		return s->input_behind > 0 || tls_has_input(s->tls);
	return s->input_behind > 0 || recv(s->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* A line that has no end within the limit. */
static void
refuse_long_line(struct session *s)
{
	struct log_line line;

	session_reply(s, 500, "5.5.2", "line too long"); /* RFC 5321 4.5.3.1.10 */
	session_log_begin(s, &line, LOG_LEVEL_INFO, "command-refused");
	log_text(&line, "reply", "500 5.5.2 line too long");
	log_end(&line);
	s->dropped = 0;
	s->state = SESSION_SKIP_LINE;
}

static size_t
take_line(struct session *s, const char *data, size_t length)
{
	size_t limit = session_config(s)->limits.command_line;
	const char *end;
	size_t used;

	if (limit > SERVICE_KEEP_MAX)
		limit = SERVICE_KEEP_MAX;
	end = memchr(data, '\n', length < limit ? length : limit);
	if (end == NULL) {
		if (length >= limit)
			refuse_long_line(s);
		return 0;
	}
	used = (size_t)(end + 1 - data);
	s->input_behind = length - used;
	if (end > data && end[-1] == '\r')
		session_command(s, data, used - 2);
	else if (session_config(s)->line_ends == LINE_ENDS_NORMALISE)
		session_command(s, data, used - 1);
	else { /* RFC 5321 2.3.8: only CRLF ends a line */
		struct log_line line;

		session_reply(s, 500, "5.5.2", "a line must end with CR LF");
		session_log_begin(s, &line, LOG_LEVEL_INFO, "command-refused");
		log_bytes(&line, "command", data,
		    s->auth_refused ? 0 : command_loggable_length(data, used));
		log_text(&line, "reply", "500 5.5.2 a line must end with CR LF");
		log_end(&line);
	}
	/* MAIL that waits for the client's name is looked at again when it has come. */
	return s->state == SESSION_NAME_WAIT ? 0 : used;
}

static size_t
skip_line(struct session *s, const char *data, size_t length)
{
	const char *end = memchr(data, '\n', length);
	size_t used = end == NULL ? length : (size_t)(end + 1 - data);

	s->dropped += used;
	if (end != NULL)
		s->state = SESSION_COMMAND;
	else if (s->dropped > SKIP_MAX)
		session_shut(s, "4.7.0", "command line too long", "line too long, closing");
	return used;
}

/* The next piece of input, by the state: returns how much it was, 0 when more is needed. */
static size_t
run_once(struct session *s, const char *data, size_t length)
{
	switch (s->state) {
	case SESSION_PROXY:
		return session_take_proxy_header(s, data, length);
	case SESSION_COMMAND:
		return take_line(s, data, length);
	case SESSION_SKIP_LINE:
		return skip_line(s, data, length);
	case SESSION_AUTH:
		return session_take_auth_line(s, data, length);
	case SESSION_TEXT:
	case SESSION_CHUNK:
	case SESSION_SKIP_CHUNK:
		return session_take_text(s, data, length);
	case SESSION_LINGER:
		s->dropped += length;
		if (s->dropped > LINGER_MAX)
			session_die(s, "closed");
		return length;
	case SESSION_HANDSHAKE:
	case SESSION_AUTH_WAIT:
	case SESSION_NAME_WAIT:
	case SESSION_RCPT_WAIT:
	case SESSION_PENALTY:
	case SESSION_FILE_WAIT:
	case SESSION_SIGN_WAIT:
	case SESSION_COMMIT_WAIT:
	case SESSION_CLOSING:
	case SESSION_DEAD:
		break;
	}
	return 0;
}

/* Goes on as far as the input and the state allow; returns how much was used. */
static size_t
run(struct session *s, const char *data, size_t length)
{
	size_t used = 0, count = 0;

	if (s->service->stopping && s->state == SESSION_COMMAND)
		session_shut(s, "4.3.2", "shutdown", "is shutting down");
	while (used < length && wants_input(s)) {
		count = run_once(s, data + used, length - used);
		used += count;
		if (s->service->stopping && s->state == SESSION_COMMAND)
			session_shut(s, "4.3.2", "shutdown", "is shutting down");
		if (s->output.length - s->output_start > OUTPUT_EARLY && wants_input(s))
			flush(s);
		if (count == 0 && s->state != SESSION_SKIP_LINE)
			break;
	}
	return used;
}

static void
keep_input(struct session *s, const char *data, size_t length)
{
	if (length == 0)
		return;
	buf_add(&s->input, data, length);
	if (!buf_ok(&s->input))
		session_die(s, "no memory");
}

void
session_resume(struct session *s)
{
	struct buf taken = s->input;
	size_t start = s->input_start, used;

	buf_init(&s->input, SERVICE_KEEP_MAX + SERVICE_READ_MAX);
	s->input_start = 0;
	used = taken.length == start
	    ? run(s, "", 0)
	    : run(s, (const char *)taken.data + start, taken.length - start);
	if (start + used < taken.length && s->state != SESSION_CLOSING &&
	    s->state != SESSION_DEAD) {
		s->input = taken;
		s->input_start = start + used;
	} else
		buf_free(&taken);
	session_settle(s);
}

static void
end_by_timeout(struct session *s, const char *text)
{
	switch (s->state) {
	case SESSION_PROXY:
		session_die(s, "timeout");
		break;
	case SESSION_HANDSHAKE:
		session_fail_tls(s, "the handshake took too long");
		break;
	case SESSION_COMMAND:
	case SESSION_SKIP_LINE:
	case SESSION_AUTH:
	case SESSION_TEXT:
	case SESSION_CHUNK:
	case SESSION_SKIP_CHUNK:
		session_tell_cut_off(s);
		session_drop_mail(s);
		session_shut(s, "4.4.2", "timeout", text);
		break;
	case SESSION_LINGER:
	case SESSION_CLOSING:
		session_die(s, "closed");
		break;
	case SESSION_AUTH_WAIT:
	case SESSION_NAME_WAIT:
	case SESSION_RCPT_WAIT:
	case SESSION_PENALTY:
	case SESSION_FILE_WAIT:
	case SESSION_SIGN_WAIT:
	case SESSION_COMMIT_WAIT:
	case SESSION_DEAD:
		break; /* others have time limits of their own */
	}
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct session *s = arg;
	char *buffer = s->service->buffer;
	size_t kept = s->input.length - s->input_start, used;
	ssize_t count;

	(void)fd;
	if ((what & EV_READ) == 0) {
		if (!s->blocked)
			end_by_timeout(s, "no input for too long");
		session_settle(s);
		return;
	}
	if (!wants_input(s)) {
		(void)event_del(&s->readable);
		s->reading = false;
		return;
	}
	if (s->state == SESSION_HANDSHAKE) {
		session_settle(s);
		return;
	}
	if (s->state != SESSION_LINGER &&
	    clock_monotonic_ms() - s->begun_ms >
	        (int64_t)session_config(s)->limits.session_time * 1000) {
		end_by_timeout(s, "the session took too long");
		session_settle(s);
		return;
	}
	if (kept > SERVICE_KEEP_MAX) {
		session_die(s, "input overflow");
		session_settle(s);
		return;
	}
	if (kept > 0)
		memcpy(buffer, s->input.data + s->input_start, kept);
	count = receive_bytes(s, buffer + kept, kept);
	if (count == -1 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
		if (session_is_encrypted(s) && tls_wants_output(s->tls))
			await_room(s);
		/* What was kept is still kept: only the copy is given up. */
		session_settle(s);
		return;
	}
	trace_io(s, "io-read", count, kept);
	if (count <= 0) {
		session_die(s, count == 0 ? "client closed" : "connection lost");
		session_settle(s);
		return;
	}
	buf_free(&s->input);
	s->input_start = 0;
	used = run(s, buffer, kept + (size_t)count);
	if (s->state != SESSION_CLOSING && s->state != SESSION_DEAD)
		keep_input(s, buffer + used, kept + (size_t)count - used);
	session_settle(s);
}

static void
on_writable(evutil_socket_t fd, short what, void *arg)
{
	struct session *s = arg;

	(void)fd;
	if ((what & EV_WRITE) == 0) {
		session_die(s, "timeout, replies not read");
		session_settle(s);
		return;
	}
	s->blocked = false;
	flush(s);
	if (!s->blocked && wants_input(s))
		session_resume(s);
	else
		session_settle(s);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct session *s = arg;

	(void)fd;
	(void)what;
	if (s->state == SESSION_PENALTY) {
		s->state = SESSION_COMMAND;
		session_resume(s);
	} else if (s->state == SESSION_HANDSHAKE) {
		session_handshake_timer(s);
		session_settle(s);
	} else if (s->state == SESSION_LINGER || s->state == SESSION_PROXY) {
		session_die(s, s->state == SESSION_PROXY ? "no PROXY header in time" : "closed");
		session_settle(s);
	}
}

void
session_named(void *owner, const char *name)
{
	struct session *s = owner;

	s->name_request = 0;
	if (name != NULL && *name != '\0')
		s->client_name = strdup(name);
	s->name_unknown = name == NULL || (*name != '\0' && s->client_name == NULL);
	if (s->state == SESSION_NAME_WAIT) {
		s->state = SESSION_COMMAND;
		session_resume(s);
	}
}

void
session_open(struct session *s)
{
	struct service *service = s->service;

	s->settings->references++;
	s->begun_ms = clock_monotonic_ms();
	buf_init(&s->input, SERVICE_KEEP_MAX + SERVICE_READ_MAX);
	buf_init(&s->output, OUTPUT_MAX);
	event_assign(&s->readable, service->base, s->fd, EV_READ | EV_PERSIST, on_readable, s);
	event_assign(&s->writable, service->base, s->fd, EV_WRITE, on_writable, s);
	event_assign(&s->timer, service->base, -1, EV_TIMEOUT, on_timer, s);
	LIST_INSERT_HEAD(&service->sessions, s, link);
	service->session_count++;
	stats_add(STATS_SMTP_CONNECTED, 1);
	service_count_gauge(s->counted_as, 1);
}

void
service_stop(struct service *service)
{
	struct session *s, *next;

	service->stopping = true;
	for (s = LIST_FIRST(&service->sessions); s != NULL; s = next) {
		next = LIST_NEXT(s, link);
		if (s->state == SESSION_COMMAND || s->state == SESSION_SKIP_LINE ||
		    s->state == SESSION_AUTH || s->state == SESSION_PROXY) {
			session_drop_mail(s);
			session_shut(s, "4.3.2", "shutdown", "is shutting down");
			session_settle(s);
		} else if (s->state == SESSION_HANDSHAKE) {
			session_die(s, "shutdown");
			session_settle(s);
		}
	}
	if (service->session_count == 0 && service->drained != NULL)
		service->drained(service);
}

void
service_abort(struct service *service)
{
	struct session *s;

	while ((s = LIST_FIRST(&service->sessions)) != NULL) {
		session_die(s, "shutdown");
		session_settle(s);
	}
}
