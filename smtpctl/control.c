/*
 * control: the suite's end of the control socket. It accepts smtpctl's connections, knows each
 * caller by the kernel's word, and passes what is allowed on to the queue, the directory and the
 * supervisor. It keeps no mail and no state of its own.
 */
#include <stdlib.h>
#include <sysexits.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/child.h"
#include "common/imsg.h"
#include "common/ipc_supervisor.h"
#include "common/log.h"
#include "smtpctl/control_client.h"
#include "smtpctl/control_relay.h"
#include "smtpctl/control_stats.h"

/* How long requests in hand may take when the suite stops. */
#define STOP_SECONDS 10
/* How soon a dead connection to syslog is noticed. */
#define LOG_CHECK_SECONDS 5

enum control_state {
	CONTROL_STARTING,
	CONTROL_RUNNING,
	CONTROL_STOPPING,
};

static struct {
	struct child child;
	struct event_base *base;
	struct channel *supervisor;
	struct control_stats *stats;
	struct control_clients *clients;
	struct relay *relay;
	struct event *log_check;
	enum control_state state;
	int listen_fd; /* until START; -1 */
} control;

static void
tell_supervisor(enum ipc_supervisor_type type)
{
	channel_send(control.supervisor, (uint16_t)type, 0, 0, -1, NULL);
}

static int
take_fd(struct imsg *imsg)
{
	int fd = imsg->fd;

	imsg->fd = -1;
	return fd;
}

/* PEER and STATS both name a process and carry a descriptor. */
static void
receive_process(struct channel *channel, struct imsg *imsg)
{
	struct buf_reader reader;
	struct ipc_peer peer;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_peer_decode(&reader, &peer) || !buf_reader_done(&reader) || imsg->fd == -1) {
		channel_reject(channel, imsg, "no process or no descriptor");
		return;
	}
	if (imsg->type == SUPERVISOR_CHILD_STATS)
		control_stats_set_page(control.stats, &peer, imsg->fd);
	else
		relay_set_peer(control.relay, peer.program, take_fd(imsg));
}

static void
receive_listen(struct channel *channel, struct imsg *imsg)
{
	struct buf_reader reader;
	struct ipc_listen listen;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_listen_decode(&reader, &listen) || !buf_reader_done(&reader) || imsg->fd == -1) {
		channel_reject(channel, imsg, "no socket to listen on");
		return;
	}
	if (control.listen_fd != -1)
		close(control.listen_fd);
	control.listen_fd = take_fd(imsg);
}

static void
receive_log(struct channel *channel, struct imsg *imsg)
{
	struct buf_reader reader;
	struct ipc_log settings;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_log_decode(&reader, &settings) || !buf_reader_done(&reader)) {
		channel_reject(channel, imsg, "no log settings");
		return;
	}
	log_set_level(settings.verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
	log_set_trace(settings.trace);
	if (imsg->fd != -1)
		log_set_fd(take_fd(imsg));
}

static void
start(void)
{
	if (control.listen_fd != -1 && control.state != CONTROL_STOPPING) {
		control_clients_listen(control.clients, control.listen_fd);
		control.listen_fd = -1;
	}
	if (control.state == CONTROL_STARTING) {
		control.state = CONTROL_RUNNING;
		tell_supervisor(CHILD_SUPERVISOR_READY);
	}
}

static void
leave(void *arg)
{
	(void)arg;
	(void)event_base_loopexit(control.base, NULL);
}

static void
stop(void)
{
	struct timeval limit = { .tv_sec = STOP_SECONDS };

	if (control.state == CONTROL_STOPPING)
		return;
	control.state = CONTROL_STOPPING;
	(void)event_base_loopexit(control.base, &limit);
	control_clients_stop(control.clients, leave, NULL);
}

static void
on_supervisor(struct channel *channel, struct imsg *imsg, void *arg)
{
	(void)arg;
	switch (imsg->type) {
	case SUPERVISOR_CHILD_CONFIG:
		/* Nothing in it concerns control. */
		tell_supervisor(CHILD_SUPERVISOR_CONFIGURED);
		break;
	case SUPERVISOR_CHILD_STATS:
	case SUPERVISOR_CHILD_PEER:
		receive_process(channel, imsg);
		break;
	case SUPERVISOR_CHILD_LISTEN:
		receive_listen(channel, imsg);
		break;
	case SUPERVISOR_CHILD_START:
		start();
		break;
	case SUPERVISOR_CHILD_LOG:
		receive_log(channel, imsg);
		break;
	case SUPERVISOR_CHILD_PAUSE:
	case SUPERVISOR_CHILD_RESUME:
		break;
	case SUPERVISOR_CHILD_STOP:
		stop();
		break;
	case SUPERVISOR_CONTROL_DONE:
		relay_receive_supervisor(control.relay, channel, imsg);
		break;
	default:
		channel_reject(channel, imsg, "not for control");
		break;
	}
}

static void
on_supervisor_closed(struct channel *channel, const char *why, void *arg)
{
	(void)channel;
	(void)why;
	(void)arg;
	/* Nothing can be carried out any more. */
	exit(0);
}

static void
on_log_check(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	(void)arg;
	if (log_is_lost())
		tell_supervisor(CHILD_SUPERVISOR_LOG_LOST);
}

static void
start_log_check(void)
{
	struct timeval interval = { .tv_sec = LOG_CHECK_SECONDS };

	control.log_check = event_new(control.base, -1, EV_PERSIST, on_log_check, NULL);
	if (control.log_check == NULL || event_add(control.log_check, &interval) != 0)
		fatalx("control: no timer");
}

int
main(int argc, char **argv)
{
	child_start(&control.child, "control", argc, argv);
	control.listen_fd = -1;
	control.base = child_event_base();
	control.stats = control_stats_new();
	control.clients = control_clients_new(control.base, control.child.privileged_start);
	control.relay =
	    relay_new(control.base, &control_client_caller, control.clients, control.stats);
	control_clients_set_relay(control.clients, control.relay);
	control.supervisor = channel_new(control.base, "supervisor", control.child.channel_fd,
	    on_supervisor, on_supervisor_closed, NULL);
	relay_set_supervisor(control.relay, control.supervisor);
	start_log_check();
	if (event_base_dispatch(control.base) == -1)
		fatalx("control: the event loop failed");
	event_free(control.log_check);
	control_clients_free(control.clients);
	relay_free(control.relay);
	control_stats_free(control.stats);
	channel_free(control.supervisor);
	event_base_free(control.base);
	return 0;
}
