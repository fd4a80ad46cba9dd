/*
 * Children that run: what they say, what more trusted ones say of them, and how they end and are
 * started again (supervisor_start.c). Each runs in a slot that outlives it: the slot keeps its page
 * of counters and its place in the schedule of restarts.
 *
 * A child that breaks the rules of its channel is killed, and then treated like any that died; so
 * is one of which a more trusted child says that it broke the rules of theirs.
 */
#include <sys/mman.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <bsd/string.h>
#include <event2/event.h>

#include "common/clock.h"
#include "common/stats.h"
#include "common/crowd.h"
#include "smtpd/supervisor_state.h"

#define GRACE_MS 500   /* between the end of a child's channel and its own */
#define START_MS 60000 /* until a program must be ready */

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
	{ PROGRAM_KEEPER, PROGRAM_LISTENER },
	{ PROGRAM_KEEPER, PROGRAM_RELAY },
	{ PROGRAM_KEEPER, PROGRAM_QUEUE },
	{ PROGRAM_QUEUE, PROGRAM_RELAY },
	{ PROGRAM_DIRECTORY, PROGRAM_RELAY },
	{ PROGRAM_RESOLVER, PROGRAM_RELAY },
	{ PROGRAM_CONTROL, PROGRAM_RELAY },
	{ PROGRAM_DIRECTORY, PROGRAM_MAILACCESS },
	{ PROGRAM_KEEPER, PROGRAM_MAILACCESS },
};

/* The program that a line is about. */
static void
add_program(struct log_line *line, const struct child_slot *slot)
{
	log_text(line, "program", program_name(slot->program));
	if (slot->program == PROGRAM_LISTENER)
		log_number(line, "instance", slot->instance);
}

void
slot_log(struct child_slot *slot, enum log_level level, const char *event)
{
	struct log_line line;

	log_begin(&line, level, event);
	add_program(&line, slot);
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

bool
slot_is_running(const struct child_slot *slot)
{
	return slot->state != CHILD_DOWN && slot->channel != NULL;
}

bool
slot_is_wanted(const struct child_slot *slot)
{
	return slot->program != PROGRAM_MAILACCESS || config_has_access(slot->supervisor->config);
}

void
slot_restart_later(struct child_slot *slot)
{
	int64_t lived_ms = clock_monotonic_ms() - slot->started_ms;
	unsigned delay_ms = backoff_next_ms(&slot->backoff, lived_ms);
	struct timeval delay = { .tv_sec = delay_ms / 1000, .tv_usec = delay_ms % 1000 * 1000 };
	struct log_line line;

	log_begin(&line, delay_ms > 0 ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO, "child-restarts");
	add_program(&line, slot);
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
	else if (slot->supervisor->state <= SUPERVISOR_RUNNING && slot_is_wanted(slot))
		slot_start(slot);
}

void
slot_closed(struct channel *channel, const char *why, void *arg)
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
	add_program(&line, slot);
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
			slot_log(slot, LOG_LEVEL_DEBUG, "child-ready");
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
	case KEEPER_SUPERVISOR_KEY_TAKEN:
		return slot->program == PROGRAM_KEEPER && keys_taken(supervisor, imsg);
	case KEEPER_SUPERVISOR_GENERATED:
		return slot->program == PROGRAM_KEEPER && dkim_generated(supervisor, imsg);
	case CONTROL_SUPERVISOR_DKIM:
		return slot->program == PROGRAM_CONTROL &&
		    dkim_requested(supervisor, channel, imsg);
	case DIRECTORY_SUPERVISOR_LOGIN:
	case DIRECTORY_SUPERVISOR_SCRIPTS:
		return slot->program == PROGRAM_DIRECTORY && mailbox_login(supervisor, imsg);
	case RELAY_SUPERVISOR_CONNECT:
		return slot->program == PROGRAM_RELAY && socket_connect(supervisor, channel, imsg);
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
	case SUPERVISOR_CONTROL_SESSION:
	case MAILBOX_SUPERVISOR_ENDED:
	case SUPERVISOR_RELAY_CONNECTED:
		break;
	}
	return false;
}

void
slot_received(struct channel *channel, struct imsg *imsg, void *arg)
{
	if (!handle(arg, channel, imsg))
		channel_reject(channel, imsg, "not allowed here");
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
	add_slot(supervisor, PROGRAM_RELAY, 0);
	add_slot(supervisor, PROGRAM_CONTROL, 0);
	add_slot(supervisor, PROGRAM_KEEPER, 0);
	add_slot(supervisor, PROGRAM_MAILACCESS, 0);
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
	add_program(&line, slot);
	log_number(&line, "pid", pid);
	log_exit_status(&line, status);
	log_end(&line);
	if (slot->program == PROGRAM_KEEPER)
		keys_give_up_check(supervisor, "the keeper ended while it checked the keys");
	dkim_child_ended(supervisor, slot->program);
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
	} else if (supervisor->state <= SUPERVISOR_RUNNING && slot_is_wanted(slot)) {
		slot_restart_later(slot);
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
		if (slot->program != program || !slot_is_running(slot) || slot->is_told_to_stop)
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
		slot_log(slot, LOG_LEVEL_WARNING, "child-killed");
		(void)kill(slot->pid, SIGKILL);
	}
}
