/*
 * The listener: takes connections and runs a session on each. One process a core; all of them
 * accept from the same sockets, a few connections at a time, so that none takes everything.
 *
 * What it has is a set of sockets, replaced as a whole when the supervisor says START, and the
 * service that sessions share. It holds no secret and writes no file.
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
#include <event2/event_struct.h>

#include "common/child.h"
#include "common/child_supervisor.h"
#include "common/keeper_client.h"
#include "common/keeper_provider.h"
#include "common/landlock.h"
#include "common/log.h"
#include "common/sandbox.h"
#include "common/stats.h"
#include "smtpd/session.h"
#include "common/tls_context.h"

#define ACCEPT_AT_ONCE    8
#define ACCEPT_PAUSE_MS   100 /* no descriptors: others must close some first */
#define STOP_SECONDS      10
#define LOG_CHECK_SECONDS 1
#define KEEPER_MS         5000 /* for a signature */
#define DESCRIPTORS_SPARE 64   /* channels, sockets, log */

struct door { /* a listening socket */
	struct event readable;
	int fd;
	struct settings *settings;
	const struct listener_config *listener;
};

struct doors {
	struct door *doors;
	size_t count;
};

static struct {
	struct child child;
	struct event_base *base;
	struct child_supervisor supervisor;
	struct service service;
	struct settings *settings; /* of sessions to come */
	struct keeper_client *keeper;
	struct ipc_ticket_keys tickets;
	bool is_configuring; /* between CONFIG and START */
	struct doors open;
	struct doors next; /* named since the last CONFIG, not yet started */
	unsigned processes;
	int crowd_fd; /* shared memory for the crowd, until START */
	int spare_fd; /* given up for a moment when there are no descriptors */
	bool paused;
	bool stopping;
	bool full_logged;
	struct event *resume;  /* after ACCEPT_PAUSE_MS */
	struct event *give_up; /* after STOP_SECONDS */
} listener;

static void
add_door(struct door *door)
{
	if (event_add(&door->readable, NULL) == -1)
		fatalx("can't watch a listening socket");
}

static void
set_accepting(void)
{
	bool accepting =
	    !listener.paused && !listener.stopping && evtimer_pending(listener.resume, NULL) == 0;
	size_t i;

	for (i = 0; i < listener.open.count; i++) {
		if (accepting)
			add_door(&listener.open.doors[i]);
		else
			(void)event_del(&listener.open.doors[i].readable);
	}
}

static const char *
advice_when_full(int error)
{
	switch (error) {
	case EMFILE:
		return "raise the limit of open files, or lower smtp limit sessions";
	case ENFILE:
		return "raise the system's limit of open files (fs.file-max)";
	default:
		return "give the machine more memory, or lower smtp limit sessions";
	}
}

/* No descriptor for a new connection: one is told so with the spare, then all wait a moment. */
static void
meet_full(struct door *door, int error)
{
	static const char words[] = "421 4.3.2 too many connections, try again later\r\n";
	struct timeval delay = { .tv_usec = ACCEPT_PAUSE_MS * 1000 };
	int fd;

	if (!listener.full_logged)
		log_error("no descriptors left to accept connections: %s; %s", strerror(error),
		    advice_when_full(error));
	listener.full_logged = true;
	if (listener.spare_fd != -1) {
		(void)close(listener.spare_fd); /* a copy of a socket, nothing to lose */
		fd = accept4(door->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd != -1) {
			(void)send(fd, words, sizeof(words) - 1, MSG_NOSIGNAL);
			(void)close(fd); /* told as well as can be */
			stats_add(STATS_SMTP_REFUSED, 1);
		}
		listener.spare_fd = fcntl(door->fd, F_DUPFD_CLOEXEC, 0);
	}
	if (evtimer_add(listener.resume, &delay) == 0)
		set_accepting();
}

/* IPv4 in IPv6 is IPv4, so that one client is one client whatever socket it finds. */
static void
client_from(const struct sockaddr_storage *address, struct client *client)
{
	const struct sockaddr_in6 *inet6 = (const struct sockaddr_in6 *)address;
	const struct sockaddr_in *inet4 = (const struct sockaddr_in *)address;

	memset(client, 0, sizeof(*client));
	if (address->ss_family == AF_INET) {
		client->family = CLIENT_INET4;
		memcpy(client->address, &inet4->sin_addr, 4);
	} else if (address->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&inet6->sin6_addr)) {
		client->family = CLIENT_INET4;
		memcpy(client->address, inet6->sin6_addr.s6_addr + 12, 4);
	} else if (address->ss_family == AF_INET6) {
		client->family = CLIENT_INET6;
		memcpy(client->address, &inet6->sin6_addr, 16);
	} else
		client->family = CLIENT_LOCAL;
}

/* Who connected to a Unix socket, as the kernel knows. */
static void
client_find_user(int fd, struct client *client)
{
	struct ucred peer;
	socklen_t length = sizeof(peer);

	client->has_uid = getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
	    length == sizeof(peer) && peer.uid != (uid_t)-1;
	client->uid = client->has_uid ? peer.uid : 0;
	memcpy(client->address, &client->uid, sizeof(client->uid)); /* who counts in the crowd */
}

static void
on_connection(evutil_socket_t fd, short what, void *arg)
{
	struct door *door = arg;
	struct sockaddr_storage address;
	struct client client;
	socklen_t length;
	int i, connection;

	(void)what;
	for (i = 0; i < ACCEPT_AT_ONCE; i++) {
		length = sizeof(address);
		memset(&address, 0, sizeof(address));
		connection =
		    accept4(fd, (struct sockaddr *)&address, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (connection == -1) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS ||
			    errno == ENOMEM)
				meet_full(door, errno);
			else if (errno == ECONNABORTED || errno == EINTR)
				continue;
			else if (errno != EAGAIN && errno != EWOULDBLOCK)
				log_warning("accept: %s", strerror(errno));
			return; /* another listener was faster, or all are served */
		}
		listener.full_logged = false;
		client_from(&address, &client);
		if (client.family == CLIENT_LOCAL)
			client_find_user(connection, &client);
		session_start(
		    &listener.service, door->settings, door->listener, &client, connection);
	}
}

static void
on_resume(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	set_accepting();
}

static void
close_doors(struct doors *doors)
{
	size_t i;

	for (i = 0; i < doors->count; i++) {
		if (event_initialized(&doors->doors[i].readable))
			(void)event_del(&doors->doors[i].readable);
		(void)close(doors->doors[i].fd); /* the supervisor has it too */
		settings_release(doors->doors[i].settings);
	}
	free(doors->doors);
	doors->doors = NULL;
	doors->count = 0;
}

/* From the supervisor */

static void
take_config(struct config *config)
{
	close_doors(&listener.next);
	settings_release(listener.settings);
	listener.settings = settings_new(listener.base, config);
	listener.settings->tls = tls_contexts_new(config, &listener.tickets);
	listener.is_configuring = true;
}

static bool
take_stats(const struct ipc_peer *peer, int fd)
{
	if (peer->program == PROGRAM_LISTENER)
		stats_attach(fd);
	else if (peer->program == PROGRAM_SUPERVISOR && listener.crowd_fd == -1)
		listener.crowd_fd = fd; /* where all listeners count their clients */
	else
		return false;
	return true;
}

static bool
take_peer(const struct ipc_peer *peer, int fd)
{
	if (peer->program == PROGRAM_KEEPER)
		keeper_client_set_channel(listener.keeper, fd);
	else
		upstream_set_channel(listener.service.upstream, peer->program, fd);
	return true;
}

static bool
take_other(struct channel *channel, struct imsg *imsg)
{
	struct ipc_ticket_keys tickets;
	struct buf_reader reader;

	(void)channel;
	if (imsg->type == SUPERVISOR_CHILD_DKIM_KEYS)
		return imsg->fd != -1 && dkim_keys_take(&listener.service.dkim, imsg->fd);
	if (imsg->type == SUPERVISOR_CHILD_CERTIFICATE ||
	    imsg->type == SUPERVISOR_CHILD_AUTHORITIES)
		return listener.settings != NULL &&
		    tls_contexts_take(listener.settings->tls, imsg, !listener.is_configuring);
	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (imsg->type != SUPERVISOR_CHILD_TICKET_KEYS ||
	    !ipc_ticket_keys_decode(&reader, &tickets))
		return false;
	listener.tickets = tickets;
	return true;
}

/* No table but those written in smtpd.conf itself can be read here. */
static void
check_proxies(const struct door *door)
{
	const struct table_config *table;

	if (*door->listener->proxy_trusted == '\0')
		return;
	table = config_find_table(door->settings->config, door->listener->proxy_trusted);
	if (table == NULL || table->backend != TABLE_STATIC)
		log_error("proxy-v2 trusts nobody: write the addresses of table \"%s\" into "
		          "smtpd.conf",
		    door->listener->proxy_trusted);
}

static bool
take_door(uint32_t index, int fd)
{
	struct door *doors;
	int on = 1;

	if (listener.settings == NULL || index >= listener.settings->config->listener_count)
		return false;
	doors = reallocarray(listener.next.doors, listener.next.count + 1, sizeof(struct door));
	if (doors == NULL)
		fatal("doors");
	listener.next.doors = doors;
	doors += listener.next.count++;
	memset(doors, 0, sizeof(*doors));
	doors->fd = fd;
	doors->settings = listener.settings;
	doors->settings->references++;
	doors->listener = &listener.settings->config->listeners[index];
	if (evutil_make_socket_nonblocking(doors->fd) == -1)
		fatal("listening socket");
	check_proxies(doors);
	/* Accepted sockets have it from this one: each reply is one segment, and must not wait for
	 * the last one's acknowledgement. Unix sockets have no such option. */
	(void)setsockopt(doors->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return true;
}

static void
make_crowd(void)
{
	if (listener.service.crowd != NULL) {
		crowd_set_processes(listener.service.crowd, listener.processes);
		return;
	}
	listener.service.crowd =
	    crowd_new(listener.crowd_fd, listener.child.instance, listener.processes);
	listener.crowd_fd = -1;
	if (listener.service.crowd == NULL)
		fatal("crowd");
}

static bool
take_start(uint32_t listeners)
{
	size_t i;

	if (listeners == 0 || listener.settings == NULL)
		return false;
	listener.processes = listeners;
	if (listener.is_configuring)
		tls_contexts_build(listener.settings->tls);
	listener.is_configuring = false;
	make_crowd();
	close_doors(&listener.open);
	listener.open = listener.next;
	listener.next = (struct doors){ 0 };
	for (i = 0; i < listener.open.count; i++) {
		struct door *door = &listener.open.doors[i];

		event_assign(&door->readable, listener.base, door->fd, EV_READ | EV_PERSIST,
		    on_connection, door);
	}
	/* One of a door that is closed now would keep its port open, with nobody behind it. */
	if (listener.spare_fd != -1)
		(void)close(listener.spare_fd);
	listener.spare_fd =
	    listener.open.count == 0 ? -1 : fcntl(listener.open.doors[0].fd, F_DUPFD_CLOEXEC, 0);
	set_accepting();
	return true;
}

static void
take_pause(bool paused)
{
	listener.paused = paused;
	set_accepting();
}

static void
leave(void)
{
	(void)event_base_loopbreak(listener.base);
}

static void
on_drained(struct service *service)
{
	(void)service;
	leave();
}

static void
on_give_up(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	log_warning("%zu sessions did not end in time", listener.service.session_count);
	leave();
}

static void
take_stop(void)
{
	struct timeval delay = { .tv_sec = STOP_SECONDS };

	if (listener.stopping)
		return;
	listener.stopping = true;
	close_doors(&listener.open);
	close_doors(&listener.next);
	listener.service.drained = on_drained;
	if (evtimer_add(listener.give_up, &delay) == -1)
		leave();
	service_stop(&listener.service);
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
	.stats = take_stats,
	.peer = take_peer,
	.listen = take_door,
	.start = take_start,
	.pause = take_pause,
	.stop = take_stop,
	.other = take_other,
	.unusable = unusable,
	.gone = leave,
	.log_check_seconds = LOG_CHECK_SECONDS,
};

/* Sessions for which there are descriptors: each may need one more for its message. */
static size_t
session_max(void)
{
	struct rlimit limit;
	size_t descriptors;

	if (getrlimit(RLIMIT_NOFILE, &limit) == -1 || limit.rlim_cur == RLIM_INFINITY)
		return SIZE_MAX;
	descriptors = (size_t)limit.rlim_cur;
	if (descriptors <= 2 * DESCRIPTORS_SPARE)
		return descriptors / 2;
	return descriptors - DESCRIPTORS_SPARE - descriptors / 16;
}

int
main(int argc, char **argv)
{
	child_start(&listener.child, "listener", argc, argv);
	(void)landlock_confine(0, -1);
	sandbox_enter(0);
	listener.base = child_event_base();
	listener.crowd_fd = listener.spare_fd = -1;
	listener.processes = 1;
	listener.keeper = keeper_client_new(listener.base, KEEPER_MS);
	keeper_provider_start(listener.keeper);
	service_init(&listener.service, listener.base);
	listener.service.keeper = listener.keeper;
	listener.service.session_max = session_max();
	listener.resume = evtimer_new(listener.base, on_resume, NULL);
	listener.give_up = evtimer_new(listener.base, on_give_up, NULL);
	if (listener.resume == NULL || listener.give_up == NULL)
		fatalx("no memory for events");
	child_supervisor_open(&listener.supervisor, listener.base, &listener.child, &orders);
	if (event_base_dispatch(listener.base) == -1)
		fatalx("event loop failed");

	close_doors(&listener.open);
	close_doors(&listener.next);
	service_free(&listener.service);
	settings_release(listener.settings);
	keeper_client_free(listener.keeper);
	keeper_provider_stop();
	explicit_bzero(&listener.tickets, sizeof(listener.tickets));
	child_supervisor_close(&listener.supervisor);
	event_free(listener.resume);
	event_free(listener.give_up);
	event_base_free(listener.base);
	return 0;
}
