/*
 * mailbox: serves all POP3, IMAP and ManageSieve sessions on one Maildir, as its owner. The supervisor says which
 * Maildir (SUPERVISOR_MAILBOX_OPEN), then brings a socket for each session; mailaccess, at its other
 * end, begins with who comes (common/ipc_mailbox.h) and goes on with the client's own bytes.
 *
 * Before it reads any of them it can open nothing any more but what is in the Maildir.
 */
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/event_struct.h>

#include "common/child.h"
#include "common/child_supervisor.h"
#include "common/config.h"
#include "common/imsg.h"
#include "common/ipc_mailbox.h"
#include "common/ipc_supervisor.h"
#include "common/landlock.h"
#include "common/log.h"
#include "common/sandbox.h"
#include "mailbox/imap_session.h"
#include "mailbox/maildir.h"
#include "mailbox/open.h"
#include "mailbox/pop3_session.h"
#include "mailbox/sieve_session.h"

#define BEGIN_SECONDS 30
#define STOP_SECONDS  5
#define STOP_WORDS    "The mail server stops, come again later"

/* A connection, first with mailaccess, which says who comes, then a session's. */
struct visit {
	LIST_ENTRY(visit) entry;
	struct event readable;
	int fd; /* -1: the session's */
	uint8_t bytes[2 + MAILBOX_BEGIN_MAX];
	size_t length;
	struct imap_session *imap;
	struct pop3_session *pop3;
	struct sieve_session *sieve;
	char client[CLIENT_TEXT_MAX + 1];
	bool has_ended;
};

static struct {
	struct child child;
	struct event_base *base;
	struct child_supervisor supervisor;
	struct config *config;
	struct maildir *maildir;
	struct ipc_mailbox opened;
	char *hostname;
	struct imap_settings imap;
	struct pop3_settings pop3;
	struct event *watch;
	struct event *clean; /* visits that have ended */
	struct event *give_up;
	LIST_HEAD(, visit) visits;
	bool is_stopping;
} mailbox;

static void
on_clean(evutil_socket_t fd, short what, void *arg)
{
	struct visit *visit, *next;

	(void)fd;
	(void)what;
	(void)arg;
	for (visit = LIST_FIRST(&mailbox.visits); visit != NULL; visit = next) {
		next = LIST_NEXT(visit, entry);
		if (!visit->has_ended)
			continue;
		imap_session_free(visit->imap);
		pop3_session_free(visit->pop3);
		sieve_session_free(visit->sieve);
		LIST_REMOVE(visit, entry);
		free(visit);
		channel_send(mailbox.supervisor.channel, MAILBOX_SUPERVISOR_ENDED, 0, 0, -1, NULL);
	}
	if (mailbox.is_stopping && LIST_EMPTY(&mailbox.visits))
		(void)event_base_loopbreak(mailbox.base);
}

/* A session calls this from within itself: it is freed when control is back in the event loop. */
static void
on_ended(void *arg)
{
	struct visit *visit = arg;

	visit->has_ended = true;
	event_active(mailbox.clean, EV_TIMEOUT, 0);
}

static void
end_visit(struct visit *visit)
{
	(void)event_del(&visit->readable);
	if (visit->fd != -1)
		(void)close(visit->fd);
	visit->fd = -1;
	on_ended(visit);
}

static void
begin_session(struct visit *visit, const struct ipc_mailbox_begin *begin)
{
	const struct imap_login imap = { .session = begin->session,
		.client = visit->client,
		.tag = begin->tag,
		.input = "",
		.input_length = 0 };
	const struct pop3_login pop3 = {
		.session = begin->session, .input = "", .input_length = 0
	};
	int fd = visit->fd;

	(void)event_del(&visit->readable);
	visit->fd = -1;
	memcpy(visit->client, begin->client, sizeof(visit->client));
	switch (begin->protocol) {
	case MAILBOX_IMAP:
		visit->imap = imap_session_new(
		    mailbox.base, fd, mailbox.maildir, &mailbox.imap, &imap, on_ended, visit);
		break;
	case MAILBOX_POP3:
		visit->pop3 = pop3_session_new(
		    mailbox.base, fd, mailbox.maildir, &mailbox.pop3, &pop3, on_ended, visit);
		break;
	case MAILBOX_SIEVE:
		visit->sieve = sieve_session_new(mailbox.base, fd, mailbox.maildir,
		    mailbox.opened.user, begin->session, on_ended, visit);
		break;
	case MAILBOX_PROTOCOL_COUNT: /* not decoded */
		break;
	}
	if (visit->imap == NULL && visit->pop3 == NULL && visit->sieve == NULL) {
		log_error("no memory for a session");
		on_ended(visit);
	}
}

static void
on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct visit *visit = arg;
	struct ipc_mailbox_begin begin;
	struct buf_reader reader;
	size_t wanted = 2;
	ssize_t count;

	for (;;) {
		if (visit->length >= 2)
			wanted = 2 + (size_t)visit->bytes[0] + 256 * (size_t)visit->bytes[1];
		if (wanted > sizeof(visit->bytes) || (what & EV_TIMEOUT) != 0) {
			log_warning("a session didn't begin as it should");
			end_visit(visit);
			return;
		}
		if (visit->length >= 2 && visit->length == wanted)
			break;
		/* No byte more: those behind it are the session's. */
		count = recv(fd, visit->bytes + visit->length, wanted - visit->length, 0);
		if (count == -1 && (errno == EAGAIN || errno == EINTR))
			return;
		if (count <= 0) {
			end_visit(visit);
			return;
		}
		visit->length += (size_t)count;
	}
	buf_reader_init(&reader, visit->bytes + 2, wanted - 2);
	if (ipc_mailbox_begin_decode(&reader, &begin)) {
		begin_session(visit, &begin);
		return;
	}
	log_warning("a session didn't begin as it should");
	end_visit(visit);
}

static bool
take_session(int fd)
{
	struct timeval limit = { .tv_sec = BEGIN_SECONDS };
	struct visit *visit = calloc(1, sizeof(*visit));

	if (visit == NULL || evutil_make_socket_nonblocking(fd) != 0)
		fatal("a session");
	visit->fd = fd;
	LIST_INSERT_HEAD(&mailbox.visits, visit, entry);
	event_assign(&visit->readable, mailbox.base, fd, EV_READ | EV_PERSIST, on_readable, visit);
	if (event_add(&visit->readable, &limit) != 0)
		fatalx("a session: no memory");
	return true;
}

/* Something in the Maildir may have changed. */
static void
on_watch(evutil_socket_t fd, short what, void *arg)
{
	struct visit *visit;

	(void)what;
	(void)arg;
	if (fd != -1)
		maildir_watch_read(mailbox.maildir);
	LIST_FOREACH(visit, &mailbox.visits, entry)
	if (visit->imap != NULL && !visit->has_ended)
		imap_session_look(visit->imap);
}

static void
watch(void)
{
	struct timeval second = { .tv_sec = 1 };
	int fd = maildir_watch_fd(mailbox.maildir);

	mailbox.watch = event_new(
	    mailbox.base, fd, fd == -1 ? EV_PERSIST : EV_READ | EV_PERSIST, on_watch, NULL);
	if (mailbox.watch == NULL || event_add(mailbox.watch, fd == -1 ? &second : NULL) != 0)
		fatalx("no memory to watch the Maildir");
}

static int
open_root(void)
{
	const struct ipc_mailbox *opened = &mailbox.opened;
	bool at_home =
	    *opened->home != '\0' && strncmp(opened->path, opened->home, strlen(opened->home)) == 0;
	const char *base = at_home ? opened->home : mailbox.config->mail_directory;
	struct stat st;
	int root = -1;

	/* Nothing is made in a home that isn't the user's alone. */
	if (at_home && stat(opened->home, &st) == 0 &&
	    (st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH)) != 0))
		errno = EPERM;
	else
		root = open_directory(base, opened->path);
	if (root == -1) {
		log_error("the Maildir %s can't be opened: %m", opened->path);
		exit(EX_TEMPFAIL);
	}
	return root;
}

static bool
take_maildir(const struct imsg *imsg)
{
	struct quota_limits limits;
	struct buf_reader reader;
	int root;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (mailbox.maildir != NULL || mailbox.config == NULL ||
	    !ipc_mailbox_decode(&reader, &mailbox.opened))
		return false;
	/* Names of files are UTF-8 to iconv() and to comparisons. */
	if (setlocale(LC_CTYPE, "C.UTF-8") == NULL)
		log_warning("there is no locale C.UTF-8: searching is less exact");
	root = open_root();
	(void)landlock_confine(LANDLOCK_CHARSETS, root);
	sandbox_enter(0);
	mailbox.hostname = strdup(mailbox.config->hostname);
	if (mailbox.hostname == NULL)
		fatal("opening");
	limits.bytes = mailbox.opened.quota_bytes;
	limits.messages = mailbox.opened.quota_messages;
	mailbox.maildir = maildir_new(root, mailbox.opened.path, mailbox.hostname, &limits);
	if (mailbox.maildir == NULL)
		exit(EX_TEMPFAIL);
	mailbox.imap.hostname = mailbox.pop3.hostname = mailbox.hostname;
	mailbox.imap.user = mailbox.pop3.user = mailbox.opened.user;
	watch();
	return true;
}

static bool
take_other(struct channel *channel, struct imsg *imsg)
{
	int fd = imsg->fd;

	(void)channel;
	if (imsg->type == SUPERVISOR_MAILBOX_OPEN)
		return take_maildir(imsg);
	if (imsg->type != SUPERVISOR_MAILBOX_SESSION || mailbox.maildir == NULL)
		return false;
	if (fd == -1) { /* it was lost: too many are open */
		channel_send(mailbox.supervisor.channel, MAILBOX_SUPERVISOR_ENDED, 0, 0, -1, NULL);
		return true;
	}
	imsg->fd = -1;
	return take_session(fd);
}

static void
take_config(struct config *config)
{
	config_free(mailbox.config);
	mailbox.config = config;
	mailbox.imap.message_limit = config->max_message_size;
}

static void
leave(void)
{
	(void)event_base_loopbreak(mailbox.base);
}

static void
on_give_up(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	leave();
}

/* What sessions were told they did is done: they need only hear of the end. */
static void
take_stop(void)
{
	struct timeval limit = { .tv_sec = STOP_SECONDS };
	struct visit *visit;

	mailbox.is_stopping = true;
	LIST_FOREACH(visit, &mailbox.visits, entry)
	{
		if (visit->has_ended)
			continue;
		if (visit->imap != NULL)
			imap_session_stop(visit->imap, STOP_WORDS);
		else if (visit->pop3 != NULL)
			pop3_session_stop(visit->pop3, STOP_WORDS);
		else if (visit->sieve != NULL)
			sieve_session_stop(visit->sieve, STOP_WORDS);
		else
			end_visit(visit);
	}
	event_active(mailbox.clean, EV_TIMEOUT, 0);
	if (event_add(mailbox.give_up, &limit) != 0)
		leave();
}

static const struct child_orders orders = {
	.config = take_config,
	.stop = take_stop,
	.other = take_other,
	.unusable = child_supervisor_fatal,
	.gone = leave,
	.log_check_seconds = 1,
};

int
main(int argc, char **argv)
{
	struct visit *visit;

	child_start(&mailbox.child, "mailbox", argc, argv);
	mailbox.base = child_event_base();
	LIST_INIT(&mailbox.visits);
	mailbox.clean = event_new(mailbox.base, -1, 0, on_clean, NULL);
	mailbox.give_up = evtimer_new(mailbox.base, on_give_up, NULL);
	if (mailbox.clean == NULL || mailbox.give_up == NULL)
		fatalx("no memory for events");
	child_supervisor_open(&mailbox.supervisor, mailbox.base, &mailbox.child, &orders);
	if (event_base_dispatch(mailbox.base) == -1)
		fatalx("event loop failed");

	LIST_FOREACH(visit, &mailbox.visits, entry)
	{
		imap_session_free(visit->imap);
		pop3_session_free(visit->pop3);
		sieve_session_free(visit->sieve);
	}
	if (mailbox.watch != NULL)
		event_free(mailbox.watch);
	if (mailbox.maildir != NULL)
		maildir_free(mailbox.maildir);
	child_supervisor_close(&mailbox.supervisor);
	config_free(mailbox.config);
	free(mailbox.hostname);
	return 0;
}
