/*
 * Children. Each runs in a slot that outlives it: the slot keeps its page of counters and its place
 * in the schedule of restarts. When a child starts, it gets a new socket pair to each process it
 * talks to, and so does the other side, which takes that as the news of the old one's death; who
 * doesn't talk to it notices nothing.
 *
 * A child that breaks the rules of its channel is killed, and then treated like any that died; so
 * is one of which a more trusted child says that it broke the rules of theirs.
 */
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bsd/string.h>
#include <event2/event.h>

#include "common/clock.h"
#include "common/stats.h"
#include "smtpd/crowd.h"
#include "smtpd/supervisor_state.h"

#define GRACE_MS 500   /* between the end of a child's channel and its own */
#define START_MS 60000 /* until a program must be ready */

/* Who talks to whom. */
static const struct {
	enum program one, other;
} pairs[] = {
	{ PROGRAM_LISTENER, PROGRAM_QUEUE },
	{ PROGRAM_LISTENER, PROGRAM_DIRECTORY },
	{ PROGRAM_LISTENER, PROGRAM_RESOLVER },
	{ PROGRAM_QUEUE, PROGRAM_DIRECTORY },
	{ PROGRAM_CONTROL, PROGRAM_QUEUE },
	{ PROGRAM_CONTROL, PROGRAM_DIRECTORY },
};

/* Whose word counts against whom: always that of the more privileged of the two. */
static const struct {
	enum program judge, judged;
} judges[] = {
	{ PROGRAM_QUEUE, PROGRAM_LISTENER },
	{ PROGRAM_QUEUE, PROGRAM_CONTROL },
	{ PROGRAM_DIRECTORY, PROGRAM_LISTENER },
	{ PROGRAM_DIRECTORY, PROGRAM_CONTROL },
	{ PROGRAM_DIRECTORY, PROGRAM_QUEUE },
	{ PROGRAM_RESOLVER, PROGRAM_LISTENER },
};

static void start(struct child_slot *);

static void
log_child(struct child_slot *slot, enum log_level level, const char *event)
{
	struct log_line line;

	log_begin(&line, level, event);
	log_text(&line, "program", program_name(slot->program));
	if (slot->program == PROGRAM_LISTENER)
		log_number(&line, "instance", slot->instance);
	log_number(&line, "pid", slot->pid);
	log_end(&line);
}

void
log_exit_status(struct log_line *line, int status)
{
	if (WIFSIGNALED(status))
		log_number(line, "signal", WTERMSIG(status));
	else
		log_number(line, "status", WEXITSTATUS(status));
}

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

static bool
is_running(const struct child_slot *slot)
{
	return slot->state != CHILD_DOWN && slot->channel != NULL;
}

static void
schedule_restart(struct child_slot *slot)
{
	int64_t lived_ms = clock_monotonic_ms() - slot->started_ms;
	unsigned delay_ms = backoff_next_ms(&slot->backoff, lived_ms);
	struct timeval delay = { .tv_sec = delay_ms / 1000, .tv_usec = delay_ms % 1000 * 1000 };
	struct log_line line;

	log_begin(&line, delay_ms > 0 ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, "child-restarts");
	log_text(&line, "program", program_name(slot->program));
	if (slot->program == PROGRAM_LISTENER)
		log_number(&line, "instance", slot->instance);
	log_number(&line, "delay_ms", delay_ms);
	log_end(&line);
	if (event_add(slot->timer, &delay) != 0)
		fatalx("no timer");
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct child_slot *slot = arg;

	(void)fd;
	(void)what;
	if (slot->state != CHILD_DOWN)
		(void)kill(slot->pid, SIGKILL); /* out of reach, and still there */
	else if (slot->supervisor->state <= SUPERVISOR_RUNNING)
		start(slot);
}

static void
on_closed(struct channel *channel, const char *why, void *arg)
{
	struct timeval grace = { .tv_usec = GRACE_MS * 1000 };
	struct child_slot *slot = arg;
	struct log_line line;

	if (strcmp(why, "closed") != 0) {
		log_begin(&line, LOG_LEVEL_WARNING, "child-channel-closed");
		log_text(&line, "program", program_name(slot->program));
		log_number(&line, "pid", slot->pid);
		log_text(&line, "reason", why);
		log_end(&line);
	}
	slot->channel = NULL;
	channel_free(channel);
	if (slot->state == CHILD_DOWN || slot->is_told_to_stop)
		return;
	/* One that closed its end is ending, or can't be reached; one that broke the rules must. */
	if (strcmp(why, "closed") != 0)
		(void)kill(slot->pid, SIGKILL);
	else if (event_add(slot->timer, &grace) != 0)
		fatalx("no timer");
}

static bool
is_bare(const struct imsg *imsg)
{
	return imsg->length == 0 && imsg->fd == -1;
}

/* CONFIG and START are answered in their order; the ids of the answers don't matter. */
static void
answered(struct child_slot *slot)
{
	if (slot->unanswered == 0)
		return;
	slot->unanswered--;
	if (slot->unanswered == 0)
		control_child_configured(slot->supervisor);
}

static bool
may_judge(enum program judge, enum program judged)
{
	size_t i;

	for (i = 0; i < sizeof(judges) / sizeof(judges[0]); i++)
		if (judges[i].judge == judge && judges[i].judged == judged)
			return true;
	return false;
}

/* It has lost that channel for good, and comes back only with another life. One that has died in
 * the meantime may have been replaced already: then the new one is replaced once more. */
static bool
child_rejected(struct child_slot *judge, const struct imsg *imsg)
{
	struct supervisor *supervisor = judge->supervisor;
	struct child_slot *slot = NULL;
	struct buf_reader reader;
	struct ipc_peer peer;
	struct log_line line;
	size_t i;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_peer_decode(&reader, &peer) || imsg->fd != -1 ||
	    !may_judge(judge->program, peer.program))
		return false;
	for (i = 0; i < supervisor->child_count; i++)
		if (supervisor->children[i].program == peer.program &&
		    supervisor->children[i].instance == peer.instance)
			slot = &supervisor->children[i];
	if (slot == NULL)
		return false;
	if (slot->state == CHILD_DOWN)
		return true;
	log_begin(&line, LOG_LEVEL_WARNING, "child-rejected");
	log_text(&line, "program", program_name(slot->program));
	if (slot->program == PROGRAM_LISTENER)
		log_number(&line, "instance", slot->instance);
	log_number(&line, "pid", slot->pid);
	log_text(&line, "by", program_name(judge->program));
	log_end(&line);
	(void)kill(slot->pid, SIGKILL);
	return true;
}

/* False when the child may not send that. */
static bool
handle(struct child_slot *slot, struct channel *channel, const struct imsg *imsg)
{
	struct supervisor *supervisor = slot->supervisor;

	switch ((enum ipc_supervisor_type)imsg->type) {
	case CHILD_SUPERVISOR_CONFIGURED:
		if (!is_bare(imsg))
			return false;
		answered(slot);
		return true;
	case CHILD_SUPERVISOR_READY:
		if (!is_bare(imsg))
			return false;
		if (slot->state == CHILD_STARTING) {
			slot->state = CHILD_READY;
			log_child(slot, LOG_LEVEL_DEBUG, "child-ready");
			supervisor_check_started(supervisor);
		}
		answered(slot);
		return true;
	case CHILD_SUPERVISOR_LOG_LOST:
		if (!is_bare(imsg))
			return false;
		supervisor_log_lost(supervisor);
		return true;
	case CHILD_SUPERVISOR_REJECTED:
		return child_rejected(slot, imsg);
	case QUEUE_SUPERVISOR_MDA_START:
		return slot->program == PROGRAM_QUEUE && mda_start(supervisor, channel, imsg);
	case CONTROL_SUPERVISOR_REQUEST:
		return slot->program == PROGRAM_CONTROL &&
		    control_request(supervisor, channel, imsg);
	case SUPERVISOR_CHILD_CONFIG:
	case SUPERVISOR_CHILD_STATS:
	case SUPERVISOR_CHILD_PEER:
	case SUPERVISOR_CHILD_LISTEN:
	case SUPERVISOR_CHILD_START:
	case SUPERVISOR_CHILD_LOG:
	case SUPERVISOR_CHILD_PAUSE:
	case SUPERVISOR_CHILD_RESUME:
	case SUPERVISOR_CHILD_STOP:
	case SUPERVISOR_QUEUE_MDA_STARTED:
	case SUPERVISOR_CONTROL_DONE:
		break;
	}
	return false;
}

static void
on_receive(struct channel *channel, struct imsg *imsg, void *arg)
{
	if (!handle(arg, channel, imsg))
		channel_reject(channel, imsg, "not allowed here");
}

bool
send_config(struct supervisor *supervisor, struct channel *channel)
{
	/* One of its own for each: nothing one of them does to it is seen by another. */
	int fd = config_to_fd(supervisor->config);

	if (fd == -1) {
		log_error("can't hand out the configuration: %m");
		return false;
	}
	channel_send(channel, SUPERVISOR_CHILD_CONFIG, supervisor->generation, 0, fd, NULL);
	return true;
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

/* The sockets it takes connections from, if it does, and the word to begin. */
static void
send_begin(struct child_slot *slot)
{
	struct supervisor *supervisor = slot->supervisor;
	struct ipc_start start_frame = { .listeners = supervisor->listener_count };
	bool has_all = true;
	struct buf payload;
	size_t i;

	slot->begun_ms = clock_monotonic_ms();
	if (slot->program == PROGRAM_LISTENER) {
		for (i = 0; i < supervisor->sockets.count && has_all; i++)
			has_all = send_listen(
			    slot->channel, (uint32_t)i, supervisor->sockets.sockets[i].fd);
		if (supervisor->smtp_paused)
			channel_send(slot->channel, SUPERVISOR_CHILD_PAUSE, 0, 0, -1, NULL);
	} else if (slot->program == PROGRAM_CONTROL) {
		has_all = send_listen(slot->channel, 0, supervisor->control_socket);
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
	case PROGRAM_QUEUE:
		return 65536;
	case PROGRAM_RESOLVER:
		return 8192;
	case PROGRAM_MDA:
		return config->mda_sessions * 3 + 256;
	case PROGRAM_SUPERVISOR:
	case PROGRAM_DIRECTORY:
	case PROGRAM_CONTROL:
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
	case PROGRAM_RESOLVER:
	case PROGRAM_CONTROL:
		return supervisor->empty;
	case PROGRAM_QUEUE:
		return supervisor->config->spool_directory;
	case PROGRAM_SUPERVISOR:
	case PROGRAM_DIRECTORY: /* reads tables and the system's users */
	case PROGRAM_MDA:       /* homes */
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
	    channel_new(supervisor->base, slot->name, ends[0], on_receive, on_closed, slot);
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
			schedule_restart(slot);
		return;
	}
	slot->state = CHILD_STARTING;
	log_child(slot, LOG_LEVEL_INFO, "child-started");
	has_all = send_config(supervisor, slot->channel);
	if (has_all)
		slot->unanswered++;
	if (supervisor->trace != 0)
		send_log(supervisor, slot->channel, false);
	has_all = has_all && send_stats(slot);
	for (i = 0; i < supervisor->child_count && has_all; i++)
		if (is_running(&supervisor->children[i]) &&
		    do_talk(slot->program, supervisor->children[i].program))
			has_all = connect_pair(slot, &supervisor->children[i]);
	if (!has_all)
		give_up_start(slot);
}

static void
start(struct child_slot *slot)
{
	start_connected(slot);
	if (is_running(slot))
		send_begin(slot);
}

/* Those that others come to; they open when the ones behind them are there. */
static bool
is_door(enum program program)
{
	return program == PROGRAM_LISTENER || program == PROGRAM_CONTROL;
}

static void
begin_all(struct supervisor *supervisor, bool doors)
{
	size_t i;

	for (i = 0; i < supervisor->child_count; i++)
		if (is_running(&supervisor->children[i]) &&
		    is_door(supervisor->children[i].program) == doors)
			send_begin(&supervisor->children[i]);
}

void
children_start(struct supervisor *supervisor)
{
	size_t i;

	for (i = 0; i < supervisor->child_count; i++)
		start_connected(&supervisor->children[i]);
	begin_all(supervisor, false);
}

bool
children_have_started(struct supervisor *supervisor)
{
	bool all = true;
	size_t i;

	for (i = 0; i < supervisor->child_count; i++) {
		if (supervisor->children[i].state == CHILD_READY)
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

static void
add_slot(struct supervisor *supervisor, enum program program, unsigned instance)
{
	struct child_slot *slot = &supervisor->children[supervisor->child_count++];

	slot->supervisor = supervisor;
	slot->program = program;
	slot->instance = instance;
	if (program == PROGRAM_LISTENER)
		snprintf(slot->name, sizeof(slot->name), "listener %u", instance);
	else
		snprintf(slot->name, sizeof(slot->name), "%s", program_name(program));
	slot->timer = evtimer_new(supervisor->base, on_timer, slot);
	slot->stats_fd = stats_make_page();
	if (slot->timer == NULL || slot->stats_fd == -1)
		fatal("preparing %s", slot->name);
}

void
children_init(struct supervisor *supervisor)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned i;

	supervisor->listener_count = cores < 1 ? 1
	    : cores > LISTENERS_MAX            ? LISTENERS_MAX
	                                       : (unsigned)cores;
	/* Nobody makes it smaller under the others, nor fills the memory by way of it. */
	supervisor->clients_fd = memfd_create("clients", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (supervisor->clients_fd == -1 || ftruncate(supervisor->clients_fd, CROWD_BYTES) == -1 ||
	    fcntl(supervisor->clients_fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) ==
	        -1)
		fatal("memory for listeners");
	add_slot(supervisor, PROGRAM_QUEUE, 0);
	add_slot(supervisor, PROGRAM_DIRECTORY, 0);
	add_slot(supervisor, PROGRAM_RESOLVER, 0);
	add_slot(supervisor, PROGRAM_CONTROL, 0);
	for (i = 0; i < supervisor->listener_count; i++)
		add_slot(supervisor, PROGRAM_LISTENER, i);
}

void
children_free(struct supervisor *supervisor)
{
	struct child_slot *slot;
	size_t i;

	for (i = 0; i < supervisor->child_count; i++) {
		slot = &supervisor->children[i];
		channel_free(slot->channel);
		event_free(slot->timer);
		close(slot->stats_fd);
	}
	close(supervisor->clients_fd);
	supervisor->child_count = 0;
}

bool
children_reaped(struct supervisor *supervisor, pid_t pid, int status)
{
	struct child_slot *slot = NULL;
	struct log_line line;
	char why[WHY_MAX];
	bool was_ready;
	size_t i;

	for (i = 0; i < supervisor->child_count; i++)
		if (supervisor->children[i].state != CHILD_DOWN &&
		    supervisor->children[i].pid == pid)
			slot = &supervisor->children[i];
	if (slot == NULL)
		return false;
	was_ready = slot->state == CHILD_READY;
	slot->state = CHILD_DOWN;
	channel_free(slot->channel);
	slot->channel = NULL;
	if (slot->is_told_to_stop && status == 0)
		log_begin(&line, LOG_LEVEL_DEBUG, "child-finished");
	else
		log_begin(&line, LOG_LEVEL_WARNING, "child-exited");
	log_text(&line, "program", program_name(slot->program));
	if (slot->program == PROGRAM_LISTENER)
		log_number(&line, "instance", slot->instance);
	log_number(&line, "pid", pid);
	log_exit_status(&line, status);
	log_end(&line);
	/* The next one numbers its requests anew. */
	if (slot->program == PROGRAM_CONTROL)
		supervisor->reload.has_caller = false;
	if (slot->unanswered > 0) {
		slot->unanswered = 0; /* the next begins with the new config */
		control_child_configured(supervisor);
	}
	if (supervisor->state == SUPERVISOR_STARTING && !was_ready) {
		snprintf(why, sizeof(why),
		    "%s ended with %s %d before it was ready; the log, or "
		    "smtpd -d, says why",
		    slot->name, WIFSIGNALED(status) ? "signal" : "status",
		    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
		supervisor_start_failed(supervisor, why);
	} else if (supervisor->state <= SUPERVISOR_RUNNING) {
		schedule_restart(slot);
	}
	return true;
}

struct channel *
children_channel(const struct supervisor *supervisor, enum program program)
{
	size_t i;

	for (i = 0; i < supervisor->child_count; i++)
		if (supervisor->children[i].program == program)
			return supervisor->children[i].channel;
	return NULL;
}

bool
children_are_configuring(const struct supervisor *supervisor)
{
	size_t i;

	for (i = 0; i < supervisor->child_count; i++)
		if (supervisor->children[i].unanswered > 0)
			return true;
	return false;
}

void
children_name_configuring(const struct supervisor *supervisor, char *names, size_t size)
{
	size_t i;

	*names = '\0';
	for (i = 0; i < supervisor->child_count; i++) {
		if (supervisor->children[i].unanswered == 0)
			continue;
		if (*names != '\0')
			strlcat(names, ", ", size);
		strlcat(names, supervisor->children[i].name, size);
	}
}

/* Those that wait for others to be ready have not begun. */
void
children_check_start(struct supervisor *supervisor)
{
	const struct child_slot *slot;
	struct log_line line;
	char why[WHY_MAX];
	int64_t waited_ms;
	size_t i;

	for (i = 0; i < supervisor->child_count; i++) {
		slot = &supervisor->children[i];
		if (slot->state != CHILD_STARTING || slot->begun_ms == 0)
			continue;
		waited_ms = clock_monotonic_ms() - slot->begun_ms;
		log_begin(&line, LOG_LEVEL_WARNING, "child-awaited");
		log_text(&line, "program", slot->name);
		log_number(&line, "pid", slot->pid);
		log_number(&line, "delay_ms", waited_ms);
		log_end(&line);
		/* The queue may have a large spool to read. */
		if (slot->program == PROGRAM_QUEUE || waited_ms < START_MS)
			continue;
		snprintf(why, sizeof(why),
		    "%s isn't ready after %d s; the log, or smtpd -d, says why", slot->name,
		    START_MS / 1000);
		supervisor_start_failed(supervisor, why);
		return;
	}
}

void
children_stop(struct supervisor *supervisor, enum program program)
{
	struct child_slot *slot;
	size_t i;

	for (i = 0; i < supervisor->child_count; i++) {
		slot = &supervisor->children[i];
		if (slot->program != program || !is_running(slot) || slot->is_told_to_stop)
			continue;
		slot->is_told_to_stop = true;
		channel_send(slot->channel, SUPERVISOR_CHILD_STOP, 0, 0, -1, NULL);
	}
}

bool
children_are_gone(const struct supervisor *supervisor, enum program program)
{
	size_t i;

	for (i = 0; i < supervisor->child_count; i++)
		if (supervisor->children[i].program == program &&
		    supervisor->children[i].state != CHILD_DOWN)
			return false;
	return true;
}

void
children_kill(struct supervisor *supervisor)
{
	struct child_slot *slot;
	size_t i;

	for (i = 0; i < supervisor->child_count; i++) {
		slot = &supervisor->children[i];
		if (slot->state == CHILD_DOWN || slot->is_killed)
			continue;
		slot->is_killed = true;
		log_child(slot, LOG_LEVEL_WARNING, "child-killed");
		(void)kill(slot->pid, SIGKILL);
	}
}

void
children_send_log(struct supervisor *supervisor, bool with_fd)
{
	size_t i;

	for (i = 0; i < supervisor->child_count; i++)
		if (is_running(&supervisor->children[i]))
			send_log(supervisor, supervisor->children[i].channel, with_fd);
}

void
children_send_listeners(struct supervisor *supervisor, uint16_t type)
{
	size_t i;

	for (i = 0; i < supervisor->child_count; i++)
		if (is_running(&supervisor->children[i]) &&
		    supervisor->children[i].program == PROGRAM_LISTENER)
			channel_send(supervisor->children[i].channel, type, 0, 0, -1, NULL);
}

void
children_configure(struct supervisor *supervisor)
{
	struct child_slot *slot;
	size_t i;

	for (i = 0; i < supervisor->child_count; i++) {
		slot = &supervisor->children[i];
		if (!is_running(slot))
			continue;
		slot->unanswered++;
		if (!send_config(supervisor, slot->channel)) {
			give_up_start(slot); /* the next begins with the new config */
			continue;
		}
		if (slot->program == PROGRAM_LISTENER)
			send_begin(slot);
	}
}
