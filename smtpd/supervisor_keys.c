/*
 * Keys and certificates on their way from the files (supervisor_tls.c) to who uses them. A
 * certificate reaches the listeners only after the keeper has said that it has the key, so that no
 * handshake finds one without the other. What a keeper says can at worst refuse a change.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <bsd/stdlib.h>
#include <bsd/string.h>
#include <event2/event.h>

#include "smtpd/supervisor_state.h"

#define WATCH_SECONDS   30
#define TICKETS_SECONDS (12 * 3600)
#define CHECK_SECONDS   5 /* that the keeper has for all keys of a change */

/* Sending */

static bool
send_key(struct channel *keeper, uint32_t id, const struct tls_pair *pair)
{
	struct ipc_key key = { .kind = KEEPER_TLS };
	int fd = fcntl(pair->both, F_DUPFD_CLOEXEC, 3);
	struct buf payload;

	if (fd == -1) {
		log_error("can't hand out a key: %m");
		return false;
	}
	strlcpy(key.name, pair->name, sizeof(key.name));
	key.key_length = pair->key_length;
	key.certificate_length = pair->certificate_length;
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_key_encode(&payload, &key);
	channel_send(keeper, SUPERVISOR_KEEPER_KEY, id, 0, fd, &payload);
	buf_free(&payload);
	return true;
}

static bool
send_certificate(struct channel *listener, uint16_t type, uint32_t index, int file)
{
	struct ipc_certificate certificate = { .index = index };
	int fd = fcntl(file, F_DUPFD_CLOEXEC, 3);
	struct buf payload;

	if (fd == -1) {
		log_error("can't hand out a certificate: %m");
		return false;
	}
	buf_init(&payload, 64);
	ipc_certificate_encode(&payload, &certificate);
	channel_send(listener, type, 0, 0, fd, &payload);
	buf_free(&payload);
	return true;
}

static void
send_tickets(const struct supervisor *supervisor, struct channel *listener)
{
	struct buf payload;

	buf_init(&payload, 1024);
	ipc_ticket_keys_encode(&payload, &supervisor->tickets);
	channel_send(listener, SUPERVISOR_CHILD_TICKET_KEYS, 0, 0, -1, &payload);
	explicit_bzero(payload.data, payload.length);
	buf_free(&payload);
}

bool
keys_send_all(struct child_slot *keeper)
{
	struct supervisor *supervisor = keeper->supervisor;
	const struct tls_set *set = supervisor->tls;
	size_t i;

	supervisor->first_key = supervisor->key_requests + 1;
	supervisor->key_requests += (uint32_t)set->pair_count;
	for (i = 0; i < set->pair_count; i++)
		if (!send_key(keeper->channel, supervisor->first_key + (uint32_t)i, &set->pairs[i]))
			return false;
	return true;
}

/* A relay may need all. Listeners need those that clients' certificates are verified by: the system's
 * take a MiB in each. */
static bool
needs_authorities(const struct child_slot *slot, uint32_t index)
{
	const struct config *config = slot->supervisor->config;
	const char *ca = index == IPC_DEFAULT_CA ? "" : config->cas[index].name;

	return slot->program == PROGRAM_RELAY || tls_verifies_clients_by(config, ca);
}

/* With `only_new`, those that have changed. */
static bool
send_authorities(struct child_slot *slot, bool only_new)
{
	const struct tls_set *set = slot->supervisor->tls;
	struct channel *channel = slot->channel;
	uint32_t index;
	size_t i;

	for (i = 0; i < set->authorities_count; i++) {
		index = i + 1 < set->authorities_count ? (uint32_t)i : IPC_DEFAULT_CA;
		if (set->authorities[i].fd != -1 && (set->authorities[i].is_new || !only_new) &&
		    needs_authorities(slot, index) &&
		    !send_certificate(
		        channel, SUPERVISOR_CHILD_AUTHORITIES, index, set->authorities[i].fd))
			return false;
	}
	return true;
}

/* An action shows it to other servers. */
static bool
is_shown_by_relay(const struct config *config, const char *pki)
{
	size_t i;

	for (i = 0; i < config->action_count; i++)
		if (strcmp(config->actions[i].relay_pki, pki) == 0)
			return true;
	return false;
}

/* The same, and certificates: a listener gets all, the relay those that it shows. */
static bool
send_set(struct child_slot *slot, bool only_new)
{
	const struct supervisor *supervisor = slot->supervisor;
	const struct tls_set *set = supervisor->tls;
	size_t i;

	for (i = 0; i < set->pair_count; i++)
		if ((set->pairs[i].is_new || !only_new) &&
		    (slot->program != PROGRAM_RELAY ||
		        is_shown_by_relay(supervisor->config, set->pairs[i].name)) &&
		    !send_certificate(slot->channel, SUPERVISOR_CHILD_CERTIFICATE, (uint32_t)i,
		        set->pairs[i].chain))
			return false;
	return send_authorities(slot, only_new);
}

bool
relay_certificates_send_all(struct child_slot *relay)
{
	return send_set(relay, false);
}

bool
certificates_send_all(struct child_slot *listener)
{
	send_tickets(listener->supervisor, listener->channel);
	return send_set(listener, false);
}

/* Checking */

static void
finish_check(struct supervisor *supervisor, const char *why)
{
	struct key_change *change = &supervisor->key_change;
	struct channel *keeper = children_channel(supervisor, PROGRAM_KEEPER);
	struct tls_set *set = change->set;
	const struct tls_pair *old;
	char reason[WHY_MAX];
	size_t i;

	(void)event_del(change->timeout);
	change->set = NULL;
	/* What the keeper has taken already is given back for what goes on being used. */
	for (i = 0; why != NULL && keeper != NULL && i < set->pair_count; i++) {
		old = tls_set_find(supervisor->tls, set->pairs[i].name);
		if (old != NULL)
			(void)send_key(keeper, 0, old);
	}
	if (why != NULL) {
		strlcpy(reason, why, sizeof(reason)); /* it may stand in the change */
		why = reason;
	}
	change->checked(supervisor, set, why);
}

static void
on_timeout(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	finish_check(arg, "the keeper has not answered in time");
}

void
keys_check(struct supervisor *supervisor, struct tls_set *set, bool lenient,
    void (*checked)(struct supervisor *, struct tls_set *, const char *))
{
	const struct timeval patience = { .tv_sec = CHECK_SECONDS };
	struct channel *keeper = children_channel(supervisor, PROGRAM_KEEPER);
	struct key_change *change = &supervisor->key_change;
	bool sent = true;
	size_t i;

	change->set = set;
	change->lenient = lenient;
	change->checked = checked;
	change->unanswered = 0;
	change->why[0] = '\0';
	change->first_id = supervisor->key_requests + 1;
	supervisor->key_requests += (uint32_t)set->pair_count;
	for (i = 0; i < set->pair_count && sent; i++) {
		if (!set->pairs[i].is_new)
			continue;
		sent = keeper != NULL &&
		    send_key(keeper, change->first_id + (uint32_t)i, &set->pairs[i]);
		change->unanswered++;
	}
	if (!sent)
		finish_check(supervisor, "the keeper isn't there to check a key");
	else if (change->unanswered == 0)
		finish_check(supervisor, NULL);
	else if (event_add(change->timeout, &patience) != 0)
		fatalx("no timer");
}

static void
check_answered(struct supervisor *supervisor, size_t index, const struct ipc_key_taken *taken)
{
	struct key_change *change = &supervisor->key_change;
	struct tls_pair *pair = &change->set->pairs[index];

	if (!pair->is_new || change->unanswered == 0)
		return;
	change->unanswered--;
	if (!taken->success) {
		if (change->lenient && tls_set_put_back(change->set, index, supervisor->tls))
			log_error("pki %s stays as it was: %s (%s, %s)", pair->name, taken->words,
			    pair->certificate, pair->key);
		else if (change->why[0] == '\0')
			snprintf(change->why, sizeof(change->why), "pki %s: %s (%s, %s)",
			    pair->name, taken->words, pair->certificate, pair->key);
	}
	if (change->unanswered == 0)
		finish_check(supervisor, change->why[0] == '\0' ? NULL : change->why);
}

/* A key of the config in use, which a keeper that has just started was given. */
static void
start_answered(struct supervisor *supervisor, size_t index, const struct ipc_key_taken *taken)
{
	const struct tls_pair *pair = &supervisor->tls->pairs[index];
	char why[WHY_MAX];

	if (taken->success)
		return;
	snprintf(why, sizeof(why), "pki %s: %s (%s, %s)", pair->name, taken->words,
	    pair->certificate, pair->key);
	if (supervisor->state == SUPERVISOR_STARTING)
		supervisor_start_failed(supervisor, why);
	else
		log_error("%s", why);
}

bool
keys_taken(struct supervisor *supervisor, const struct imsg *imsg)
{
	const struct key_change *change = &supervisor->key_change;
	struct ipc_key_taken taken;
	struct buf_reader reader;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_key_taken_decode(&reader, &taken) || imsg->fd != -1)
		return false;
	if (dkim_key_taken(supervisor, imsg->id, &taken))
		return true;
	if (change->set != NULL && imsg->id - change->first_id < change->set->pair_count)
		check_answered(supervisor, imsg->id - change->first_id, &taken);
	else if (imsg->id - supervisor->first_key < supervisor->tls->pair_count)
		start_answered(supervisor, imsg->id - supervisor->first_key, &taken);
	return true;
}

void
keys_give_up_check(struct supervisor *supervisor, const char *why)
{
	if (supervisor->key_change.set != NULL)
		finish_check(supervisor, why);
}

/* Watching */

static void
on_files_checked(struct supervisor *supervisor, struct tls_set *set, const char *why)
{
	struct child_slot *slot;
	struct log_line line;
	size_t i;

	if (why != NULL) {
		log_error("keys and certificates stay as they were: %s", why);
		tls_set_free(set);
		return;
	}
	tls_set_free(supervisor->tls);
	supervisor->tls = set;
	for (i = 0; i < set->pair_count; i++) {
		if (!set->pairs[i].is_new)
			continue;
		log_begin(&line, LOG_LEVEL_INFO, "certificate-replaced");
		log_text(&line, "pki", set->pairs[i].name);
		log_text(&line, "file", set->pairs[i].certificate);
		log_end(&line);
	}
	for (i = 0; i < supervisor->child_count; i++) {
		slot = &supervisor->children[i];
		/* One that hasn't begun gets all when it does. */
		if ((slot->program == PROGRAM_LISTENER || slot->program == PROGRAM_MAILACCESS) &&
		    slot_is_running(slot) && slot->begun_ms != 0)
			(void)send_set(slot, true);
		if (slot->program == PROGRAM_RELAY && slot_is_running(slot))
			(void)send_set(slot, true);
	}
	for (i = 0; i < set->pair_count; i++)
		set->pairs[i].is_new = false;
	for (i = 0; i < set->authorities_count; i++)
		set->authorities[i].is_new = false;
}

static void
on_watch(evutil_socket_t fd, short what, void *arg)
{
	struct supervisor *supervisor = arg;
	struct tls_set *set;
	char why[WHY_MAX];

	(void)fd;
	(void)what;
	if (supervisor->state != SUPERVISOR_RUNNING || supervisor->reload.in_progress ||
	    supervisor->key_change.set != NULL || !tls_set_has_changed(supervisor->tls))
		return;
	set = tls_set_load(supervisor->config, supervisor->tls, true, why, sizeof(why));
	if (set == NULL)
		log_error("keys and certificates stay as they were: %s", why);
	else
		keys_check(supervisor, set, true, on_files_checked);
}

/* Tickets */

static void
on_replace_tickets(evutil_socket_t fd, short what, void *arg)
{
	struct supervisor *supervisor = arg;
	size_t i;

	(void)fd;
	(void)what;
	supervisor->tickets.previous = supervisor->tickets.current;
	arc4random_buf(&supervisor->tickets.current, sizeof(supervisor->tickets.current));
	for (i = 0; i < supervisor->child_count; i++)
		if (slot_is_running(&supervisor->children[i]) &&
		    (supervisor->children[i].program == PROGRAM_LISTENER ||
		        supervisor->children[i].program == PROGRAM_MAILACCESS))
			send_tickets(supervisor, supervisor->children[i].channel);
	log_debug("new keys for session tickets");
}

void
keys_begin(struct supervisor *supervisor)
{
	const struct timeval watch = { .tv_sec = WATCH_SECONDS },
	                     day = { .tv_sec = TICKETS_SECONDS };

	arc4random_buf(&supervisor->tickets, sizeof(supervisor->tickets));
	supervisor->key_change.timeout = evtimer_new(supervisor->base, on_timeout, supervisor);
	supervisor->watch_files = event_new(supervisor->base, -1, EV_PERSIST, on_watch, supervisor);
	supervisor->replace_tickets =
	    event_new(supervisor->base, -1, EV_PERSIST, on_replace_tickets, supervisor);
	if (supervisor->key_change.timeout == NULL || supervisor->watch_files == NULL ||
	    supervisor->replace_tickets == NULL ||
	    event_add(supervisor->watch_files, &watch) != 0 ||
	    event_add(supervisor->replace_tickets, &day) != 0)
		fatalx("no timer");
}

void
keys_end(struct supervisor *supervisor)
{
	event_free(supervisor->key_change.timeout);
	event_free(supervisor->watch_files);
	event_free(supervisor->replace_tickets);
	tls_set_free(supervisor->key_change.set);
	tls_set_free(supervisor->tls);
	supervisor->tls = supervisor->key_change.set = NULL;
	explicit_bzero(&supervisor->tickets, sizeof(supervisor->tickets));
}
