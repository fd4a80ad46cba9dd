/*
 * Starting a child, and all that it is handed: its configuration, its page of counters, a channel
 * to each process that it talks to, sockets, and the word to begin.
 *
 * When a child starts, it gets a new socket pair to each process it talks to, and so does the other
 * side, which takes that as the news of the old one's death; who doesn't talk to it notices
 * nothing.
 */
#include <sys/socket.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <event2/event.h>

#include "common/clock.h"
#include "smtpd/supervisor_state.h"

/* Who talks to whom. */
static const struct {
	enum program one, other;
} pairs[] = {
	{ PROGRAM_LISTENER, PROGRAM_QUEUE },
	{ PROGRAM_LISTENER, PROGRAM_DIRECTORY },
	{ PROGRAM_LISTENER, PROGRAM_RESOLVER },
	{ PROGRAM_LISTENER, PROGRAM_KEEPER },
	{ PROGRAM_QUEUE, PROGRAM_KEEPER },
	{ PROGRAM_QUEUE, PROGRAM_DIRECTORY },
	{ PROGRAM_QUEUE, PROGRAM_RELAY },
	{ PROGRAM_RELAY, PROGRAM_DIRECTORY },
	{ PROGRAM_RELAY, PROGRAM_RESOLVER },
	{ PROGRAM_RELAY, PROGRAM_KEEPER },
	{ PROGRAM_CONTROL, PROGRAM_QUEUE },
	{ PROGRAM_CONTROL, PROGRAM_DIRECTORY },
	{ PROGRAM_CONTROL, PROGRAM_RELAY },
	{ PROGRAM_MAILACCESS, PROGRAM_DIRECTORY },
	{ PROGRAM_MAILACCESS, PROGRAM_KEEPER },
};

static bool
do_talk(enum program one, enum program other)
{
	size_t i;

	for (i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
		if ((pairs[i].one == one && pairs[i].other == other) ||
		    (pairs[i].one == other && pairs[i].other == one))
			return true;
	return false;
}

bool
send_config(struct supervisor *supervisor, struct channel *channel, enum program program)
{
	/* One of its own for each: nothing one of them does to it is seen by another. What tables
	 * hold, passwords among it, the directory alone must know; the keys of SRS those who make
	 * and read its addresses. */
	int fd = program == PROGRAM_DIRECTORY
	    ? config_to_fd(supervisor->config)
	    : config_to_fd_without_values(supervisor->config, program == PROGRAM_QUEUE);

	if (fd == -1) {
		log_error("can't hand out the configuration: %m");
		return false;
	}
	channel_send(channel, SUPERVISOR_CHILD_CONFIG, supervisor->generation, 0, fd, NULL);
	return true;
}

static int
open_file(const char *path)
{
	/* A pipe in its place is not waited for. */
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	if (fd == -1 && errno != ENOENT)
		log_warning("can't open %s: %m: the resolver does without what is new in it", path);
	return fd;
}

static void
send_file(struct channel *channel, uint16_t type, const char *path)
{
	int fd = open_file(path);

	if (fd != -1)
		channel_send(channel, type, 0, 0, fd, NULL);
}

static void
send_anchors(struct channel *channel, const char *path)
{
	int fd = -1;

	if (*path == '\0')
		fd = open_file(TRUST_ANCHOR_DEFAULT);
	else if (strcmp(path, TRUST_ANCHOR_NONE) != 0)
		fd = open_file(path);
	channel_send(channel, SUPERVISOR_RESOLVER_ANCHORS, 0, 0, fd, NULL);
}

/* The configuration, behind the system's files that belong to it. */
static bool
configure(struct child_slot *slot)
{
	if (slot->program == PROGRAM_RESOLVER) {
		send_file(slot->channel, SUPERVISOR_RESOLVER_HOSTS, "/etc/hosts");
		send_file(slot->channel, SUPERVISOR_RESOLVER_NAMESERVERS, "/etc/resolv.conf");
		send_anchors(slot->channel, slot->supervisor->config->trust_anchor);
	}
	if (!send_config(slot->supervisor, slot->channel, slot->program))
		return false;
	return slot->program != PROGRAM_RELAY || relay_certificates_send_all(slot);
}

void
send_log(struct supervisor *supervisor, struct channel *channel, bool with_fd)
{
	struct ipc_log log = { .verbose = supervisor->verbose, .trace = supervisor->trace };
	struct buf payload;

	buf_init(&payload, 64);
	ipc_log_encode(&payload, &log);
	channel_send(channel, SUPERVISOR_CHILD_LOG, 0, 0,
	    with_fd ? fcntl(supervisor->log_fd, F_DUPFD_CLOEXEC, 3) : -1, &payload);
	buf_free(&payload);
}

static void
send_peer(struct channel *channel, uint16_t type, const struct child_slot *about, int fd)
{
	struct ipc_peer peer = { .program = about->program, .instance = about->instance };
	struct buf payload;

	buf_init(&payload, 64);
	ipc_peer_encode(&payload, &peer);
	channel_send(channel, type, 0, 0, fd, &payload);
	buf_free(&payload);
}

/* Without all that it needs it is no use to anyone: it starts again, later each time. */
static void
give_up_start(struct child_slot *slot)
{
	log_error("%s can't get all it needs and starts again: more descriptors (ulimit -n) may "
	          "help",
	    slot->name);
	(void)kill(slot->pid, SIGKILL);
}

/* A child gets its own page; control reads everybody's; listeners share one more. */
static bool
send_stats(struct child_slot *slot)
{
	static const struct child_slot ours = { .program = PROGRAM_SUPERVISOR };
	struct supervisor *supervisor = slot->supervisor;
	char path[32];
	size_t i;
	int fd;

	fd = fcntl(slot->stats_fd, F_DUPFD_CLOEXEC, 3);
	if (fd == -1)
		goto fail;
	send_peer(slot->channel, SUPERVISOR_CHILD_STATS, slot, fd);
	if (slot->program == PROGRAM_LISTENER) {
		fd = fcntl(supervisor->clients_fd, F_DUPFD_CLOEXEC, 3);
		if (fd == -1)
			goto fail;
		send_peer(slot->channel, SUPERVISOR_CHILD_STATS, &ours, fd);
	}
	if (slot->program != PROGRAM_CONTROL)
		return true;
	for (i = 0; i < supervisor->child_count; i++) {
		if (&supervisor->children[i] == slot)
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", supervisor->children[i].stats_fd);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd == -1)
			goto fail;
		send_peer(slot->channel, SUPERVISOR_CHILD_STATS, &supervisor->children[i], fd);
	}
	return true;
fail:
	log_error("can't hand out counters: %m");
	return false;
}

static bool
connect_pair(struct child_slot *one, struct child_slot *other)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
		log_error("can't connect %s and %s: %m", one->name, other->name);
		return false;
	}
	send_peer(one->channel, SUPERVISOR_CHILD_PEER, other, ends[0]);
	send_peer(other->channel, SUPERVISOR_CHILD_PEER, one, ends[1]);
	return true;
}

static bool
send_listen(struct channel *channel, uint32_t index, int socket)
{
	struct ipc_listen listen = { .index = index };
	struct buf payload;
	int fd = fcntl(socket, F_DUPFD_CLOEXEC, 3);

	if (fd == -1) {
		log_error("can't hand out a socket: %m");
		return false;
	}
	buf_init(&payload, 64);
	ipc_listen_encode(&payload, &listen);
	channel_send(channel, SUPERVISOR_CHILD_LISTEN, 0, 0, fd, &payload);
	buf_free(&payload);
	return true;
}

static enum program
taker_of(const struct listener_config *listener)
{
	if (listener_is_metrics(listener))
		return PROGRAM_CONTROL;
	return listener_is_access(listener) ? PROGRAM_MAILACCESS : PROGRAM_LISTENER;
}

/* Those of the config's sockets that are this program's. */
static bool
send_sockets(struct child_slot *slot, uint32_t first)
{
	const struct supervisor *supervisor = slot->supervisor;
	bool has_all = true;

	for (size_t i = 0; i < supervisor->sockets.count && has_all; i++)
		if (taker_of(&supervisor->config->listeners[i]) == slot->program)
			has_all = send_listen(
			    slot->channel, first + (uint32_t)i, supervisor->sockets.sockets[i].fd);
	return has_all;
}

/* The sockets it takes connections from, if it does, and the word to begin. */
static void
send_begin(struct child_slot *slot)
{
	struct supervisor *supervisor = slot->supervisor;
	struct ipc_start start_frame = { .listeners = supervisor->listener_count };
	bool has_all = true;
	struct buf payload;

	slot->begun_ms = clock_monotonic_ms();
	if (slot->program == PROGRAM_LISTENER || slot->program == PROGRAM_MAILACCESS) {
		has_all = certificates_send_all(slot) &&
		    (slot->program == PROGRAM_MAILACCESS || dkim_send_list(slot));
		has_all = has_all && send_sockets(slot, 0);
		if (supervisor->smtp_paused && slot->program == PROGRAM_LISTENER)
			channel_send(slot->channel, SUPERVISOR_CHILD_PAUSE, 0, 0, -1, NULL);
	} else if (slot->program == PROGRAM_CONTROL) {
		has_all = send_listen(slot->channel, 0, supervisor->control_socket) &&
		    send_sockets(slot, 1);
	} else if (slot->program == PROGRAM_QUEUE) {
		has_all = dkim_send_list(slot);
	}
	if (!has_all) {
		give_up_start(slot);
		return;
	}
	buf_init(&payload, 64);
	ipc_start_encode(&payload, &start_frame);
	channel_send(slot->channel, SUPERVISOR_CHILD_START, 0, 0, -1, &payload);
	slot->unanswered++;
	buf_free(&payload);
}

static unsigned
descriptors_for(const struct supervisor *supervisor, enum program program)
{
	const struct config *config = supervisor->config;

	switch (program) {
	case PROGRAM_LISTENER:
		/* One listener may hold all sessions, each with a message under way. */
		return config->limits.sessions * 2 + 1024;
	case PROGRAM_MAILACCESS: /* both ends of each */
		return 65536;
	case PROGRAM_MAILBOX:
	case PROGRAM_QUEUE:
		return 65536;
	case PROGRAM_RESOLVER:
	case PROGRAM_RELAY: /* a connection and a message each */
		return 8192;
	case PROGRAM_MDA:
		return config->mda_sessions * 3 + 256;
	case PROGRAM_SUPERVISOR:
	case PROGRAM_DIRECTORY:
	case PROGRAM_CONTROL:
	case PROGRAM_KEEPER:
	case PROGRAM_COUNT:
		break;
	}
	return 4096;
}

static const char *
root_for(const struct supervisor *supervisor, enum program program)
{
	if (!supervisor->accounts.privileged)
		return NULL;
	switch (program) {
	case PROGRAM_LISTENER:
	case PROGRAM_KEEPER:
	case PROGRAM_RELAY:
	case PROGRAM_RESOLVER:
	case PROGRAM_CONTROL:
	case PROGRAM_MAILACCESS:
		return supervisor->empty;
	case PROGRAM_QUEUE:
		return supervisor->config->spool_directory;
	case PROGRAM_SUPERVISOR:
	case PROGRAM_DIRECTORY: /* reads tables and the system's users */
	case PROGRAM_MDA:       /* homes */
	case PROGRAM_MAILBOX:
	case PROGRAM_COUNT:
		break;
	}
	return NULL;
}

/* Forks; the slot then has a pid and a channel. */
static bool
spawn(struct child_slot *slot)
{
	struct supervisor *supervisor = slot->supervisor;
	const struct account *account = &supervisor->accounts.programs[slot->program];
	struct spawn request = { .directory = supervisor->programs,
		.program = slot->program,
		.instance = slot->instance,
		.has_user = supervisor->accounts.privileged,
		.uid = account->uid,
		.gid = account->gid,
		.root = root_for(supervisor, slot->program),
		.descriptors = descriptors_for(supervisor, slot->program),
		.verbose = supervisor->verbose,
		.target = supervisor->log_target,
		.log_fd = supervisor->log_fd,
		.queue_fd = -1 };
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
		return false;
	request.channel_fd = ends[1];
	slot->pid = spawn_program(&request);
	close(ends[1]);
	if (slot->pid == -1) {
		close(ends[0]);
		return false;
	}
	slot->channel =
	    channel_new(supervisor->base, slot->name, ends[0], slot_received, slot_closed, slot);
	return true;
}

/* Starts the slot's program, up to its connections to those that run. */
static void
start_connected(struct child_slot *slot)
{
	struct supervisor *supervisor = slot->supervisor;
	bool has_all;
	size_t i;

	slot->started_ms = clock_monotonic_ms();
	slot->begun_ms = 0;
	slot->is_told_to_stop = false;
	slot->is_killed = false;
	slot->unanswered = 0;
	if (!spawn(slot)) {
		log_error("can't start %s: %m", slot->name);
		if (supervisor->state == SUPERVISOR_STARTING)
			supervisor_start_failed(supervisor, "a program could not be started");
		else
			slot_restart_later(slot);
		return;
	}
	slot->state = CHILD_STARTING;
	slot_log(slot, LOG_LEVEL_INFO, "child-started");
	has_all = configure(slot);
	if (has_all)
		slot->unanswered++;
	if (supervisor->trace != 0)
		send_log(supervisor, slot->channel, false);
	has_all = has_all && send_stats(slot);
	if (slot->program == PROGRAM_KEEPER)
		has_all = has_all && keys_send_all(slot) && dkim_send_keys(slot);
	for (i = 0; i < supervisor->child_count && has_all; i++)
		if (slot_is_running(&supervisor->children[i]) &&
		    do_talk(slot->program, supervisor->children[i].program))
			has_all = connect_pair(slot, &supervisor->children[i]);
	if (!has_all)
		give_up_start(slot);
}

void
slot_start(struct child_slot *slot)
{
	start_connected(slot);
	if (slot_is_running(slot))
		send_begin(slot);
}

/* Those that others come to; they open when the ones behind them are there. */
static bool
is_door(enum program program)
{
	return program == PROGRAM_LISTENER || program == PROGRAM_MAILACCESS ||
	    program == PROGRAM_CONTROL;
}

static void
begin_all(struct supervisor *supervisor, bool doors)
{
	size_t i;

	for (i = 0; i < supervisor->child_count; i++)
		if (slot_is_running(&supervisor->children[i]) &&
		    is_door(supervisor->children[i].program) == doors)
			send_begin(&supervisor->children[i]);
}

void
children_start(struct supervisor *supervisor)
{
	size_t i;

	for (i = 0; i < supervisor->child_count; i++)
		if (slot_is_wanted(&supervisor->children[i]))
			start_connected(&supervisor->children[i]);
	begin_all(supervisor, false);
}

bool
children_have_started(struct supervisor *supervisor)
{
	bool all = true;
	size_t i;

	for (i = 0; i < supervisor->child_count; i++) {
		if (supervisor->children[i].state == CHILD_READY ||
		    !slot_is_wanted(&supervisor->children[i]))
			continue;
		all = false;
		if (!is_door(supervisor->children[i].program))
			return false;
	}
	if (!all && !supervisor->has_opened) {
		supervisor->has_opened = true;
		begin_all(supervisor, true);
	}
	return all;
}

void
children_send_log(struct supervisor *supervisor, bool with_fd)
{
	size_t i;

	for (i = 0; i < supervisor->child_count; i++)
		if (slot_is_running(&supervisor->children[i]))
			send_log(supervisor, supervisor->children[i].channel, with_fd);
}

void
children_send_listeners(struct supervisor *supervisor, uint16_t type)
{
	size_t i;

	for (i = 0; i < supervisor->child_count; i++)
		if (slot_is_running(&supervisor->children[i]) &&
		    supervisor->children[i].program == PROGRAM_LISTENER)
			channel_send(supervisor->children[i].channel, type, 0, 0, -1, NULL);
}

static void
configure_again(struct child_slot *slot)
{
	slot->unanswered++;
	if (!configure(slot))
		give_up_start(slot); /* the next begins with the new config */
	else if (is_door(slot->program))
		send_begin(slot);
}

void
children_configure(struct supervisor *supervisor)
{
	struct child_slot *slot;
	size_t i;

	for (i = 0; i < supervisor->child_count; i++) {
		slot = &supervisor->children[i];
		/* Only now there is something for it to do. */
		if (slot->state == CHILD_DOWN && slot_is_wanted(slot) &&
		    !event_pending(slot->timer, EV_TIMEOUT, NULL))
			slot_start(slot);
		else if (slot_is_running(slot))
			configure_again(slot);
	}
}
