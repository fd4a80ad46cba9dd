/*
 * The switch over the supervisor's frames that all children share. A frame is decoded whole before
 * the program hears of it; one that can't be used is the program's to judge, since some must go on
 * with what they have (sessions, mail) and others can as well be started again.
 */
#include <event2/event.h>

#include "common/child_supervisor.h"
#include "common/log.h"
#include "common/stats.h"

/* Each receive_…() returns why the frame can't be used; NULL: it was. */

static const char *
receive_config(const struct child_orders *orders, struct channel *channel, const struct imsg *imsg)
{
	struct config *config;

	if (orders->config != NULL) {
		config = imsg->fd == -1 ? NULL : config_from_fd(imsg->fd);
		if (config == NULL)
			return "not a config that this program understands: start smtpd anew, if "
			       "this is after an upgrade";
		orders->config(config);
	}
	channel_send(channel, CHILD_SUPERVISOR_CONFIGURED, imsg->id, 0, -1, NULL);
	return NULL;
}

/* PEER and STATS both name a process and carry a descriptor. */
static const char *
receive_process(bool (*take)(const struct ipc_peer *, int fd), struct imsg *imsg)
{
	struct buf_reader reader;
	struct ipc_peer peer;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_peer_decode(&reader, &peer) || !buf_reader_done(&reader) || imsg->fd == -1)
		return "no process or no descriptor";
	if (take == NULL || !take(&peer, imsg->fd))
		return "not a process for this one";
	imsg->fd = -1;
	return NULL;
}

static const char *
receive_stats(const struct child_orders *orders, struct imsg *imsg)
{
	if (orders->stats != NULL)
		return receive_process(orders->stats, imsg);
	if (imsg->fd != -1)
		stats_attach(imsg->fd);
	imsg->fd = -1;
	return NULL;
}

static const char *
receive_listen(const struct child_orders *orders, struct imsg *imsg)
{
	struct buf_reader reader;
	struct ipc_listen listen;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (imsg->fd == -1 || !ipc_listen_decode(&reader, &listen) || !buf_reader_done(&reader) ||
	    orders->listen == NULL || !orders->listen(listen.index, imsg->fd))
		return "not a socket to listen on";
	imsg->fd = -1;
	return NULL;
}

static const char *
receive_start(const struct child_orders *orders, struct channel *channel, const struct imsg *imsg)
{
	struct ipc_start start = { 0 };
	struct buf_reader reader;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_start_decode(&reader, &start))
		start.listeners = 0;
	if (orders->start != NULL && !orders->start(start.listeners))
		return "can't start with what came before";
	channel_send(channel, CHILD_SUPERVISOR_READY, imsg->id, 0, -1, NULL);
	return NULL;
}

static const char *
receive_log(struct imsg *imsg)
{
	struct buf_reader reader;
	struct ipc_log settings;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_log_decode(&reader, &settings) || !buf_reader_done(&reader))
		return "not log settings";
	if (imsg->fd != -1)
		log_set_fd(imsg->fd);
	imsg->fd = -1;
	log_set_level(settings.verbose ? LOG_LEVEL_DEBUG : LOG_LEVEL_INFO);
	log_set_trace(settings.trace);
	return NULL;
}

static const char *
receive(const struct child_orders *orders, struct channel *channel, struct imsg *imsg)
{
	switch ((enum ipc_supervisor_type)imsg->type) {
	case SUPERVISOR_CHILD_CONFIG:
		return receive_config(orders, channel, imsg);
	case SUPERVISOR_CHILD_STATS:
		return receive_stats(orders, imsg);
	case SUPERVISOR_CHILD_PEER:
		return receive_process(orders->peer, imsg);
	case SUPERVISOR_CHILD_LISTEN:
		return receive_listen(orders, imsg);
	case SUPERVISOR_CHILD_START:
		return receive_start(orders, channel, imsg);
	case SUPERVISOR_CHILD_LOG:
		return receive_log(imsg);
	case SUPERVISOR_CHILD_PAUSE:
	case SUPERVISOR_CHILD_RESUME:
		if (orders->pause == NULL)
			break;
		orders->pause(imsg->type == SUPERVISOR_CHILD_PAUSE);
		return NULL;
	case SUPERVISOR_CHILD_STOP:
		orders->stop();
		return NULL;
	case SUPERVISOR_QUEUE_MDA_STARTED:
	case SUPERVISOR_CONTROL_DONE:
	case SUPERVISOR_RESOLVER_HOSTS:
	case SUPERVISOR_RESOLVER_NAMESERVERS:
	case SUPERVISOR_RESOLVER_ANCHORS:
	case SUPERVISOR_CHILD_CERTIFICATE:
	case SUPERVISOR_CHILD_AUTHORITIES:
	case SUPERVISOR_CHILD_TICKET_KEYS:
	case SUPERVISOR_KEEPER_KEY:
	case SUPERVISOR_CHILD_DKIM_KEYS:
	case SUPERVISOR_KEEPER_GENERATE:
	case SUPERVISOR_KEEPER_FORGET:
	case SUPERVISOR_CONTROL_LINE:
	case SUPERVISOR_ACCESS_MAILBOX:
	case SUPERVISOR_MAILBOX_OPEN:
	case SUPERVISOR_MAILBOX_SESSION:
	case SUPERVISOR_RELAY_CONNECTED:
	case SUPERVISOR_CONTROL_SESSION:
		if (orders->other == NULL || !orders->other(channel, imsg))
			break;
		return NULL;
	case CHILD_SUPERVISOR_CONFIGURED:
	case CHILD_SUPERVISOR_READY:
	case CHILD_SUPERVISOR_LOG_LOST:
	case CHILD_SUPERVISOR_REJECTED:
	case QUEUE_SUPERVISOR_MDA_START:
	case CONTROL_SUPERVISOR_REQUEST:
	case KEEPER_SUPERVISOR_KEY_TAKEN:
	case KEEPER_SUPERVISOR_GENERATED:
	case CONTROL_SUPERVISOR_DKIM:
	case DIRECTORY_SUPERVISOR_LOGIN:
	case DIRECTORY_SUPERVISOR_SCRIPTS:
	case MAILBOX_SUPERVISOR_ENDED:
	case RELAY_SUPERVISOR_CONNECT:
		break;
	}
	return "not for this program";
}

static void
on_receive(struct channel *channel, struct imsg *imsg, void *arg)
{
	const struct child_supervisor *supervisor = arg;
	const char *why = receive(supervisor->orders, channel, imsg);

	if (why == NULL)
		return;
	if (supervisor->orders->unusable != NULL)
		supervisor->orders->unusable(channel, imsg, why);
	else
		channel_reject(channel, imsg, why);
}

static void
on_closed(struct channel *channel, const char *why, void *arg)
{
	const struct child_supervisor *supervisor = arg;

	(void)channel;
	log_debug("the supervisor is gone: %s", why);
	supervisor->orders->gone();
}

static void
on_log_check(evutil_socket_t fd, short what, void *arg)
{
	const struct child_supervisor *supervisor = arg;

	(void)fd;
	(void)what;
	if (log_is_lost())
		channel_send(supervisor->channel, CHILD_SUPERVISOR_LOG_LOST, 0, 0, -1, NULL);
}

void
child_supervisor_open(struct child_supervisor *supervisor, struct event_base *base,
    const struct child *child, const struct child_orders *orders)
{
	const struct timeval interval = { .tv_sec = orders->log_check_seconds };

	*supervisor = (struct child_supervisor){ .orders = orders };
	supervisor->channel =
	    channel_new(base, "supervisor", child->channel_fd, on_receive, on_closed, supervisor);
	if (interval.tv_sec == 0)
		return;
	supervisor->log_check = event_new(base, -1, EV_PERSIST, on_log_check, supervisor);
	if (supervisor->log_check == NULL || event_add(supervisor->log_check, &interval) != 0)
		fatalx("no timer");
}

void
child_supervisor_close(struct child_supervisor *supervisor)
{
	channel_free(supervisor->channel);
	if (supervisor->log_check != NULL)
		event_free(supervisor->log_check);
	*supervisor = (struct child_supervisor){ 0 };
}

void
child_supervisor_fatal(struct channel *channel, const struct imsg *imsg, const char *why)
{
	(void)channel;
	fatalx("the supervisor sent a frame of type %u: %s", imsg->type, why);
}
