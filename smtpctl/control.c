/*
 * control: the suite's end of the control socket. It accepts smtpctl's connections, knows each
 * caller by the kernel's word, and passes what is allowed on to the queue, the directory and the
 * supervisor. It keeps no mail and no state of its own. Who wants numbers alone has them from it by
 * HTTP (control_metrics.h).
 */
#include <stdlib.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/child.h"
#include "common/child_supervisor.h"
#include "common/landlock.h"
#include "common/log.h"
#include "common/sandbox.h"
#include "smtpctl/control_client.h"
#include "smtpctl/control_metrics.h"
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
	struct child_supervisor supervisor;
	struct control_stats *stats;
	struct control_clients *clients;
	struct relay *relay;
	struct metrics *metrics;
	enum control_state state;
	int listen_fd; /* until START; -1 */
} control;

static bool
take_stats(const struct ipc_peer *peer, int fd)
{
	control_stats_set_page(control.stats, peer, fd);
	close(fd);
	return true;
}

static bool
take_peer(const struct ipc_peer *peer, int fd)
{
	relay_set_peer(control.relay, peer->program, fd);
	return true;
}

static bool
take_socket(uint32_t index, int fd)
{
	if (index > 0) {
		metrics_add_socket(control.metrics, fd);
		return true;
	}
	if (control.listen_fd != -1)
		close(control.listen_fd);
	control.listen_fd = fd;
	return true;
}

static bool
start(uint32_t listeners)
{
	(void)listeners;
	if (control.listen_fd != -1 && control.state != CONTROL_STOPPING) {
		control_clients_listen(control.clients, control.listen_fd);
		control.listen_fd = -1;
	}
	if (control.state != CONTROL_STOPPING)
		metrics_start(control.metrics);
	if (control.state == CONTROL_STARTING)
		control.state = CONTROL_RUNNING;
	return true;
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
	metrics_stop(control.metrics);
	(void)event_base_loopexit(control.base, &limit);
	control_clients_stop(control.clients, leave, NULL);
}

static bool
take_answer(struct channel *channel, struct imsg *imsg)
{
	switch (imsg->type) {
	case SUPERVISOR_CONTROL_DONE:
	case SUPERVISOR_CONTROL_LINE:
		relay_receive_supervisor(control.relay, channel, imsg);
		return true;
	case SUPERVISOR_CONTROL_SESSION:
		relay_receive_session(control.relay, channel, imsg);
		return true;
	}
	return false;
}

/* Nothing can be carried out any more. */
static void
supervisor_gone(void)
{
	exit(0);
}

/* Nothing in the config concerns control. */
static const struct child_orders orders = {
	.stats = take_stats,
	.peer = take_peer,
	.listen = take_socket,
	.start = start,
	.stop = stop,
	.other = take_answer,
	.gone = supervisor_gone,
	.log_check_seconds = LOG_CHECK_SECONDS,
};

int
main(int argc, char **argv)
{
	child_start(&control.child, "control", argc, argv);
	(void)landlock_confine(0, -1);
	sandbox_enter(0);
	control.listen_fd = -1;
	control.base = child_event_base();
	control.stats = control_stats_new();
	control.clients = control_clients_new(control.base, control.child.privileged_start);
	control.relay =
	    relay_new(control.base, &control_client_caller, control.clients, control.stats);
	control_clients_set_relay(control.clients, control.relay);
	control.metrics = metrics_new(control.base, control.stats);
	child_supervisor_open(&control.supervisor, control.base, &control.child, &orders);
	relay_set_supervisor(control.relay, control.supervisor.channel);
	if (event_base_dispatch(control.base) == -1)
		fatalx("control: the event loop failed");
	metrics_free(control.metrics);
	control_clients_free(control.clients);
	relay_free(control.relay);
	control_stats_free(control.stats);
	child_supervisor_close(&control.supervisor);
	event_base_free(control.base);
	return 0;
}
