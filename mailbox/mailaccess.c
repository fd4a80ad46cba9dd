/*
 * mailaccess: takes POP3 and IMAP connections, encrypts them, and lets nobody in whose password the
 * directory doesn't find right. It sees no mail but the bytes that it carries between a client and that
 * client's mailbox process, and no private key.
 */
#include <sys/resource.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/child.h"
#include "common/child_supervisor.h"
#include "common/ipc_mailbox.h"
#include "common/keeper_client.h"
#include "common/keeper_provider.h"
#include "common/landlock.h"
#include "common/log.h"
#include "common/sandbox.h"
#include "mailbox/access.h"

#define ACCEPT_AT_ONCE    8
#define ACCEPT_PAUSE_MS   100 /* no descriptors: others must close some first */
#define STOP_SECONDS      8
#define KEEPER_MS         5000 /* for a signature */
#define DESCRIPTORS_SPARE 64   /* channels, sockets, log */

struct door { /* a listening socket */
	struct event readable;
	int fd;
	struct access_settings *settings;
	const struct listener_config *listener;
};

struct doors {
	struct door *doors;
	size_t count;
};

static struct {
	struct child child;
	struct child_supervisor supervisor;
	struct access access;
	struct access_settings *settings; /* of sessions to come */
	struct keeper_client *keeper;
	struct ipc_ticket_keys tickets;
	bool is_configuring; /* between CONFIG and START */
	struct doors open;
	struct doors next; /* named since the last CONFIG, not yet started */
	struct event *resume;
	struct event *give_up;
} mailaccess;

static void
set_accepting(bool accepting)
{
	for (size_t i = 0; i < mailaccess.open.count; i++) {
		struct event *readable = &mailaccess.open.doors[i].readable;

		if (!accepting)
			(void)event_del(readable);
		else if (event_add(readable, NULL) == -1)
			fatalx("can't watch a listening socket");
	}
}

static void
on_resume(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	set_accepting(true);
}

/* IPv4 in IPv6 is IPv4, so that one client is one client whatever socket it finds. */
static enum client_family
read_client(const struct sockaddr_storage *from, uint8_t address[16])
{
	const struct sockaddr_in6 *inet6 = (const struct sockaddr_in6 *)from;
	const struct sockaddr_in *inet4 = (const struct sockaddr_in *)from;

	memset(address, 0, 16);
	if (from->ss_family == AF_INET) {
		memcpy(address, &inet4->sin_addr, 4);
		return CLIENT_INET4;
	}
	if (from->ss_family != AF_INET6)
		return CLIENT_LOCAL;
	if (IN6_IS_ADDR_V4MAPPED(&inet6->sin6_addr)) {
		memcpy(address, inet6->sin6_addr.s6_addr + 12, 4);
		return CLIENT_INET4;
	}
	memcpy(address, &inet6->sin6_addr, 16);
	return CLIENT_INET6;
}

static void
on_connection(evutil_socket_t fd, short what, void *arg)
{
	struct timeval pause = { .tv_usec = ACCEPT_PAUSE_MS * 1000 };
	struct door *door = arg;
	struct sockaddr_storage from;
	enum client_family family;
	uint8_t address[16];
	socklen_t length;
	int connection;

	(void)what;
	for (int i = 0; i < ACCEPT_AT_ONCE; i++) {
		length = sizeof(from);
		memset(&from, 0, sizeof(from));
		connection =
		    accept4(fd, (struct sockaddr *)&from, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (connection != -1) {
			family = read_client(&from, address);
			access_session_start(&mailaccess.access, door->settings, door->listener,
			    family, address, connection);
			continue;
		}
		if (errno == ECONNABORTED || errno == EINTR)
			continue;
		if (errno == EAGAIN || errno == EWOULDBLOCK)
			return;
		log_warning("accept: %m");
		set_accepting(false);
		if (event_add(mailaccess.resume, &pause) != 0)
			fatalx("no timer");
		return;
	}
}

static void
close_doors(struct doors *doors)
{
	for (size_t i = 0; i < doors->count; i++) {
		if (event_initialized(&doors->doors[i].readable))
			(void)event_del(&doors->doors[i].readable);
		(void)close(doors->doors[i].fd); /* the supervisor has it too */
		access_settings_release(doors->doors[i].settings);
	}
	free(doors->doors);
	*doors = (struct doors){ 0 };
}

/* From the supervisor */

static void
take_config(struct config *config)
{
	close_doors(&mailaccess.next);
	access_settings_release(mailaccess.settings);
	mailaccess.settings = access_settings_new(config);
	mailaccess.settings->tls = tls_contexts_new(config, &mailaccess.tickets);
	mailaccess.is_configuring = true;
}

static bool
take_peer(const struct ipc_peer *peer, int fd)
{
	if (peer->program == PROGRAM_KEEPER)
		keeper_client_set_channel(mailaccess.keeper, fd);
	else if (peer->program == PROGRAM_DIRECTORY)
		access_auth_set_channel(mailaccess.access.auth, fd);
	else
		return false;
	return true;
}

static bool
take_mailbox(struct imsg *imsg)
{
	struct ipc_mailbox_opened opened;
	struct buf_reader reader;
	int fd = imsg->fd;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_mailbox_opened_decode(&reader, &opened))
		return false;
	imsg->fd = -1;
	access_auth_opened(&mailaccess.access, opened.session, fd);
	return true;
}

static bool
take_other(struct channel *channel, struct imsg *imsg)
{
	struct ipc_ticket_keys tickets;
	struct buf_reader reader;

	(void)channel;
	if (imsg->type == SUPERVISOR_ACCESS_MAILBOX)
		return take_mailbox(imsg);
	if (imsg->type == SUPERVISOR_CHILD_CERTIFICATE ||
	    imsg->type == SUPERVISOR_CHILD_AUTHORITIES)
		return mailaccess.settings != NULL &&
		    tls_contexts_take(mailaccess.settings->tls, imsg, !mailaccess.is_configuring);
	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (imsg->type != SUPERVISOR_CHILD_TICKET_KEYS ||
	    !ipc_ticket_keys_decode(&reader, &tickets))
		return false;
	mailaccess.tickets = tickets;
	return true;
}

static bool
take_door(uint32_t index, int fd)
{
	struct door *door;
	int on = 1;

	if (mailaccess.settings == NULL || index >= mailaccess.settings->config->listener_count)
		return false;
	door = reallocarray(mailaccess.next.doors, mailaccess.next.count + 1, sizeof(struct door));
	if (door == NULL)
		fatal("doors");
	mailaccess.next.doors = door;
	door += mailaccess.next.count++;
	memset(door, 0, sizeof(*door));
	door->fd = fd;
	door->settings = mailaccess.settings;
	door->settings->references++;
	door->listener = &mailaccess.settings->config->listeners[index];
	if (evutil_make_socket_nonblocking(fd) == -1)
		fatal("listening socket");
	/* Accepted sockets have it from this one. */
	(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return true;
}

static bool
take_start(uint32_t listeners)
{
	(void)listeners;
	if (mailaccess.settings == NULL)
		return false;
	if (mailaccess.is_configuring)
		tls_contexts_build(mailaccess.settings->tls);
	mailaccess.is_configuring = false;
	close_doors(&mailaccess.open);
	mailaccess.open = mailaccess.next;
	mailaccess.next = (struct doors){ 0 };
	for (size_t i = 0; i < mailaccess.open.count; i++) {
		struct door *door = &mailaccess.open.doors[i];

		event_assign(&door->readable, mailaccess.access.base, door->fd,
		    EV_READ | EV_PERSIST, on_connection, door);
	}
	set_accepting(!mailaccess.access.is_stopping);
	return true;
}

static void
leave(void)
{
	(void)event_base_loopbreak(mailaccess.access.base);
}

static void
on_give_up(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	leave();
}

/* The mailboxes' processes, which stop as well, end the sessions of who is logged in. */
static void
take_stop(void)
{
	struct timeval limit = { .tv_sec = STOP_SECONDS };

	close_doors(&mailaccess.open);
	close_doors(&mailaccess.next);
	if (event_add(mailaccess.give_up, &limit) != 0)
		leave();
	access_stop(&mailaccess.access);
}

/* Its sessions go on with what there is. */
static void
unusable(struct channel *channel, const struct imsg *imsg, const char *why)
{
	(void)channel;
	if (imsg->type == SUPERVISOR_CHILD_CONFIG)
		log_error("the configuration can't be read; the old one stays");
	else
		log_error("the supervisor sent a frame of type %u: %s", imsg->type, why);
}

static const struct child_orders orders = {
	.config = take_config,
	.peer = take_peer,
	.listen = take_door,
	.start = take_start,
	.stop = take_stop,
	.other = take_other,
	.unusable = unusable,
	.gone = leave,
	.log_check_seconds = 1,
};

static size_t
descriptors_max(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == -1 || limit.rlim_cur == RLIM_INFINITY)
		return SIZE_MAX;
	if (limit.rlim_cur <= 2 * DESCRIPTORS_SPARE)
		return limit.rlim_cur / 2;
	return limit.rlim_cur - DESCRIPTORS_SPARE;
}

int
main(int argc, char **argv)
{
	struct access *access = &mailaccess.access;

	child_start(&mailaccess.child, "mailaccess", argc, argv);
	(void)landlock_confine(0, -1);
	sandbox_enter(0);
	access->base = child_event_base();
	LIST_INIT(&access->sessions);
	access->descriptors_max = descriptors_max();
	access->drained = leave;
	access->refusals.event = "access-refused";
	access->crowd = crowd_new(-1, 0, 1);
	if (access->crowd == NULL)
		fatal("a table of sessions");
	access->auth = access_auth_new(access->base);
	mailaccess.keeper = keeper_client_new(access->base, KEEPER_MS);
	keeper_provider_start(mailaccess.keeper);
	mailaccess.resume = evtimer_new(access->base, on_resume, NULL);
	mailaccess.give_up = evtimer_new(access->base, on_give_up, NULL);
	if (mailaccess.resume == NULL || mailaccess.give_up == NULL)
		fatalx("no memory for events");
	child_supervisor_open(&mailaccess.supervisor, access->base, &mailaccess.child, &orders);
	if (event_base_dispatch(access->base) == -1)
		fatalx("event loop failed");

	close_doors(&mailaccess.open);
	close_doors(&mailaccess.next);
	access_free(access);
	access_auth_free(access->auth);
	crowd_free(access->crowd);
	access_settings_release(mailaccess.settings);
	keeper_client_free(mailaccess.keeper);
	keeper_provider_stop();
	explicit_bzero(&mailaccess.tickets, sizeof(mailaccess.tickets));
	child_supervisor_close(&mailaccess.supervisor);
	event_free(mailaccess.resume);
	event_free(mailaccess.give_up);
	event_base_free(access->base);
	return 0;
}
