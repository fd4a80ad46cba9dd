/*
 * After login: bytes from the client to the mailbox's process and back, as they are, but for TLS. Each
 * way holds at most what one read brought: while the one side doesn't take it, the other isn't read.
 */
#include <sys/socket.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/buffer.h>
#include <event2/event.h>

#include "common/log.h"
#include "mailbox/access.h"

#define PIECE      32768
#define TLS_RECORD 16384 /* what goes out at once with TLS */

static char piece[PIECE]; /* of one session at a time */

static void
to_mailbox(struct access_session *session)
{
	while (evbuffer_get_length(session->to_mailbox) > 0) {
		if (evbuffer_write(session->to_mailbox, session->mailbox_fd) > 0)
			continue;
		if (errno == EAGAIN || errno == EINTR) {
			(void)event_del(&session->readable);
			(void)event_add(&session->mailbox_writable, NULL);
			return;
		}
		/* It is gone; what it said before is still read. */
		(void)evbuffer_drain(session->to_mailbox, evbuffer_get_length(session->to_mailbox));
		session->client_ended = true;
	}
	if (session->client_ended) {
		(void)event_del(&session->readable);
		(void)shutdown(session->mailbox_fd, SHUT_WR);
	} else
		(void)event_add(&session->readable, NULL);
}

void
access_relay_readable(struct access_session *session)
{
	ssize_t count;

	if (evbuffer_get_length(session->to_mailbox) > 0 || session->client_ended)
		return;
	count = access_read(session, piece, TLS_RECORD);
	if (count == -1 && (errno == EAGAIN || errno == EINTR))
		return;
	if (count <= 0)
		session->client_ended = true;
	else if (evbuffer_add(session->to_mailbox, piece, (size_t)count) != 0)
		fatalx("out of memory");
	else
		access_count(session, STATS_IMAP_RECEIVED, count);
	to_mailbox(session);
	if (session->tls != NULL && !session->client_ended && tls_may_have_more(session->tls))
		access_resume(session);
}

static void
on_mailbox_writable(evutil_socket_t fd, short what, void *arg)
{
	struct access_session *session = arg;

	(void)fd;
	(void)what;
	to_mailbox(session);
	if (session->tls != NULL && !session->client_ended && tls_may_have_more(session->tls))
		access_resume(session);
}

void
access_relay_written(struct access_session *session)
{
	(void)event_add(&session->mailbox_readable, NULL);
	if (session->tls != NULL && !session->client_ended)
		access_resume(session); /* it may have waited for output */
}

/* Sends the piece, or what goes out now without TLS; the rest waits. False when the client is gone. */
static bool
to_client(struct access_session *session, size_t length)
{
	ssize_t sent = 0;

	if (session->tls == NULL && evbuffer_get_length(session->output) == 0) {
		sent = send(session->fd, piece, length, MSG_NOSIGNAL);
		if (sent == -1 && errno != EAGAIN && errno != EINTR)
			return false;
		if (sent == -1)
			sent = 0;
		if ((size_t)sent == length)
			return true;
	}
	if (evbuffer_add(session->output, piece + sent, length - (size_t)sent) != 0)
		fatalx("out of memory");
	return access_flush(session);
}

static void
on_mailbox_readable(evutil_socket_t fd, short what, void *arg)
{
	struct access_session *session = arg;
	ssize_t count = recv(fd, piece, session->tls != NULL ? TLS_RECORD : PIECE, 0);

	(void)what;
	if (count == -1 && (errno == EAGAIN || errno == EINTR))
		return;
	if (count <= 0) {
		(void)event_del(&session->mailbox_readable);
		(void)event_del(&session->mailbox_writable);
		if (!session->has_spoken)
			access_protocol(session)->refuse(
			    session, ACCESS_NOT_NOW, "The mailbox can't be opened now");
		access_end(session, session->has_spoken ? NULL : "the mailbox can't be opened");
		return;
	}
	session->has_spoken = true;
	access_count(session, STATS_IMAP_SENT, count);
	if (!to_client(session, (size_t)count)) {
		access_session_free(session);
		return;
	}
	if (evbuffer_get_length(session->output) > 0)
		(void)event_del(&session->mailbox_readable);
}

/* Who comes, and what the client has sent already. */
static void
introduce(struct access_session *session)
{
	struct ipc_mailbox_begin begin = { .protocol = session->protocol, .session = session->id };
	struct buf frame;

	memcpy(begin.client, session->client, sizeof(begin.client));
	memcpy(begin.tag, session->tag, sizeof(begin.tag));
	buf_init(&frame, 2 + MAILBOX_BEGIN_MAX);
	ipc_mailbox_begin_frame(&frame, &begin);
	if (!buf_ok(&frame))
		fatalx("a session that can't be told");
	if (evbuffer_add(session->to_mailbox, frame.data, frame.length) != 0 ||
	    (session->input_length > 0 &&
	        evbuffer_add(session->to_mailbox, session->input, session->input_length) != 0))
		fatalx("out of memory");
	buf_free(&frame);
}

void
access_relay_begin(struct access_session *session)
{
	struct access *access = session->access;

	session->to_mailbox = evbuffer_new();
	if (session->to_mailbox == NULL || evutil_make_socket_nonblocking(session->mailbox_fd) != 0)
		fatal("a session");
	(void)event_del(&session->timer);
	access_session_leave_crowd(session);
	session->state = ACCESS_RELAYING;
	introduce(session);
	access_input_free(session);
	imap_input_free(&session->imap);
	access_sieve_end(session);
	event_assign(&session->mailbox_readable, access->base, session->mailbox_fd,
	    EV_READ | EV_PERSIST, on_mailbox_readable, session);
	event_assign(&session->mailbox_writable, access->base, session->mailbox_fd, EV_WRITE,
	    on_mailbox_writable, session);
	(void)event_add(&session->mailbox_readable, NULL);
	to_mailbox(session);
	access_resume(session);
}
