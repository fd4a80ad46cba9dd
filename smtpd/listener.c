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
#include "common/imsg.h"
#include "common/ipc_supervisor.h"
#include "common/log.h"
#include "common/stats.h"
#include "smtpd/session.h"

#define ACCEPT_AT_ONCE    8
#define ACCEPT_PAUSE_MS   100 /* no descriptors: others must close some first */
#define STOP_SECONDS      10
#define LOG_CHECK_SECONDS 1
#define DESCRIPTORS_SPARE 64 /* channels, sockets, log */

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
	struct channel *supervisor;
	struct service service;
	struct settings *settings; /* of sessions to come */
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
	struct event *log_check;
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

/* No descriptor for a new connection: one is told so with the spare, then all wait a moment. */
static void
meet_full(struct door *door)
{
	static const char words[] = "421 4.3.2 too many connections, try again later\r\n";
	struct timeval delay = { .tv_usec = ACCEPT_PAUSE_MS * 1000 };
	int fd;

	if (!listener.full_logged)
		log_error("no descriptors left to accept connections: raise the limit of open "
		          "files, or lower smtp limit sessions");
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
				meet_full(door);
			else if (errno == ECONNABORTED || errno == EINTR)
				continue;
			else if (errno != EAGAIN && errno != EWOULDBLOCK)
				log_warning("accept: %s", strerror(errno));
			return; /* another listener was faster, or all are served */
		}
		listener.full_logged = false;
		client_from(&address, &client);
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
take_config(struct channel *channel, struct imsg *imsg)
{
	struct config *config;

	config = imsg->fd == -1 ? NULL : config_from_fd(imsg->fd);
	if (config == NULL) {
		log_error("the configuration can't be read; the old one stays");
		return;
	}
	close_doors(&listener.next);
	settings_release(listener.settings);
	listener.settings = settings_new(listener.base, config);
	channel_send(channel, CHILD_SUPERVISOR_CONFIGURED, imsg->id, 0, -1, NULL);
}

static bool
decode_peer(const struct imsg *imsg, struct ipc_peer *peer)
{
	struct buf_reader reader;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	return imsg->fd != -1 && ipc_peer_decode(&reader, peer) && buf_reader_done(&reader);
}

static void
take_stats(struct imsg *imsg)
{
	struct ipc_peer peer;

	if (!decode_peer(imsg, &peer))
		return;
	if (peer.program == PROGRAM_LISTENER)
		stats_attach(imsg->fd);
	else if (peer.program == PROGRAM_SUPERVISOR && listener.crowd_fd == -1)
		listener.crowd_fd = imsg->fd; /* where all listeners count their clients */
	else
		return;
	imsg->fd = -1;
}

static void
take_peer(struct imsg *imsg)
{
	struct ipc_peer peer;

	if (!decode_peer(imsg, &peer))
		return;
	upstream_set_channel(listener.service.upstream, peer.program, imsg->fd);
	imsg->fd = -1;
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

static void
take_door(struct imsg *imsg)
{
	struct buf_reader reader;
	struct ipc_listen listen;
	struct door *doors;
	int on = 1;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (imsg->fd == -1 || !ipc_listen_decode(&reader, &listen) || listener.settings == NULL ||
	    listen.index >= listener.settings->config->listener_count) {
		log_error("a listening socket that the configuration doesn't have");
		return;
	}
	doors = reallocarray(listener.next.doors, listener.next.count + 1, sizeof(struct door));
	if (doors == NULL)
		fatal("doors");
	listener.next.doors = doors;
	doors += listener.next.count++;
	memset(doors, 0, sizeof(*doors));
	doors->fd = imsg->fd;
	imsg->fd = -1;
	doors->settings = listener.settings;
	doors->settings->references++;
	doors->listener = &listener.settings->config->listeners[listen.index];
	if (evutil_make_socket_nonblocking(doors->fd) == -1)
		fatal("listening socket");
	check_proxies(doors);
	/* Accepted sockets have it from this one: each reply is one segment, and must not wait for
	 * the last one's acknowledgement. Unix sockets have no such option. */
	(void)setsockopt(doors->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
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

static void
take_start(struct channel *channel, const struct imsg *imsg)
{
	struct buf_reader reader;
	struct ipc_start start;
	size_t i;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_start_decode(&reader, &start) || listener.settings == NULL) {
		log_error("told to start without a configuration");
		return;
	}
	listener.processes = start.listeners;
	make_crowd();
	close_doors(&listener.open);
	listener.open = listener.next;
	listener.next = (struct doors){ 0 };
	for (i = 0; i < listener.open.count; i++) {
		struct door *door = &listener.open.doors[i];

		event_assign(&door->readable, listener.base, door->fd, EV_READ | EV_PERSIST,
		    on_connection, door);
	}
	if (listener.spare_fd == -1 && listener.open.count > 0)
		listener.spare_fd = fcntl(listener.open.doors[0].fd, F_DUPFD_CLOEXEC, 0);
	set_accepting();
	channel_send(channel, CHILD_SUPERVISOR_READY, 0, 0, -1, NULL);
}

static void
take_log(struct imsg *imsg)
{
	struct buf_reader reader;
	struct ipc_log log;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_log_decode(&reader, &log))
		return;
	if (imsg->fd != -1)
		log_set_fd(imsg->fd);
	imsg->fd = -1;
	log_set_level(log.verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
	log_set_trace(log.trace);
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

static void
on_supervisor(struct channel *channel, struct imsg *imsg, void *arg)
{
	(void)arg;
	switch ((enum ipc_supervisor_type)imsg->type) {
	case SUPERVISOR_CHILD_CONFIG:
		take_config(channel, imsg);
		break;
	case SUPERVISOR_CHILD_STATS:
		take_stats(imsg);
		break;
	case SUPERVISOR_CHILD_PEER:
		take_peer(imsg);
		break;
	case SUPERVISOR_CHILD_LISTEN:
		take_door(imsg);
		break;
	case SUPERVISOR_CHILD_START:
		take_start(channel, imsg);
		break;
	case SUPERVISOR_CHILD_LOG:
		take_log(imsg);
		break;
	case SUPERVISOR_CHILD_PAUSE:
	case SUPERVISOR_CHILD_RESUME:
		listener.paused = imsg->type == SUPERVISOR_CHILD_PAUSE;
		set_accepting();
		break;
	case SUPERVISOR_CHILD_STOP:
		take_stop();
		break;
	case CHILD_SUPERVISOR_CONFIGURED:
	case CHILD_SUPERVISOR_READY:
	case CHILD_SUPERVISOR_LOG_LOST:
	case CHILD_SUPERVISOR_REJECTED:
	case QUEUE_SUPERVISOR_MDA_START:
	case SUPERVISOR_QUEUE_MDA_STARTED:
	case CONTROL_SUPERVISOR_REQUEST:
	case SUPERVISOR_CONTROL_DONE:
	default:
		channel_reject(channel, imsg, "not for a listener");
		break;
	}
}

static void
on_supervisor_closed(struct channel *channel, const char *why, void *arg)
{
	(void)arg;
	log_debug("the supervisor is gone: %s", why);
	channel_free(channel);
	listener.supervisor = NULL;
	leave();
}

static void
on_log_check(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	if (log_is_lost() && listener.supervisor != NULL)
		channel_send(listener.supervisor, CHILD_SUPERVISOR_LOG_LOST, 0, 0, -1, NULL);
}

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
	struct timeval log_delay = { .tv_sec = LOG_CHECK_SECONDS };

	child_start(&listener.child, "listener", argc, argv);
	listener.base = child_event_base();
	listener.crowd_fd = listener.spare_fd = -1;
	listener.processes = 1;
	service_init(&listener.service, listener.base);
	listener.service.session_max = session_max();
	listener.resume = evtimer_new(listener.base, on_resume, NULL);
	listener.give_up = evtimer_new(listener.base, on_give_up, NULL);
	listener.log_check =
	    event_new(listener.base, -1, EV_PERSIST | EV_TIMEOUT, on_log_check, NULL);
	if (listener.resume == NULL || listener.give_up == NULL || listener.log_check == NULL ||
	    event_add(listener.log_check, &log_delay) == -1)
		fatalx("no memory for events");
	listener.supervisor = channel_new(listener.base, "supervisor", listener.child.channel_fd,
	    on_supervisor, on_supervisor_closed, NULL);
	if (event_base_dispatch(listener.base) == -1)
		fatalx("event loop failed");

	close_doors(&listener.open);
	close_doors(&listener.next);
	service_free(&listener.service);
	settings_release(listener.settings);
	channel_free(listener.supervisor);
	event_free(listener.resume);
	event_free(listener.give_up);
	event_free(listener.log_check);
	event_base_free(listener.base);
	return 0;
}
