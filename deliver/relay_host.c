/*
 * A host has its tasks in one line, first come, first served. As long as it isn't known to answer,
 * one connection at a time is made to it: a dead host takes no more than that, and when it has
 * failed all that wait for it go elsewhere at once. When it answers, others follow, up to its limit.
 *
 * All connections together have a limit too. One that idles at another host gives way; one that has
 * been connecting for over a second isn't counted, so that hosts that don't answer keep nobody else
 * from being served.
 */
#include <sys/socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>
#include <event2/event.h>

#include "common/clock.h"
#include "common/log.h"
#include "deliver/relay_addresses.h"
#include "deliver/relay_host.h"
#include "deliver/relay_limits.h"
#include "deliver/relay_map.h"
#include "deliver/relay_session.h"

#define ADDRESSES_TTL_MS (5 * 60000)  /* at most, whatever DNS says */
#define FAILED_FIRST_MS  30000        /* a host that has failed is tried last for that long, */
#define FAILED_LAST_MS   (10 * 60000) /* twice as long each time, up to this */
#define CONNECTING_MS    1000
#define HOLD_MS          5000
#define HOST_KEEP_MS     (15 * 60000)
#define KEY_MAX          1024

enum addresses_state {
	ADDRESSES_UNKNOWN,
	ADDRESSES_ASKED,
	ADDRESSES_KNOWN,
};

struct host {
	struct pool *pool;
	char key[KEY_MAX];
	struct hop hop;
	struct session_settings settings;
	struct limits limits;
	bool is_stale;    /* of an older configuration */
	bool is_pumping;  /* tasks and connections are being brought together */
	bool is_starving; /* waits for a connection of the pool's */
	TAILQ_ENTRY(host) starving;

	enum addresses_state addresses_state;
	uint32_t question;
	int64_t addresses_expire_ms;
	struct addresses addresses;

	struct task_list waiting;
	size_t waiting_count;
	struct session_list sessions;
	unsigned connecting;
	unsigned established;
	int64_t allowance; /* messages of this second, in sixtieths */

	unsigned failures;
	int64_t failed_until_ms;
	int64_t hold_until_ms; /* another connection than those it has was refused */
	int64_t used_ms;
};

/* A session's place in its host, its note. */
struct link {
	struct host *host;
	uint32_t tried; /* addresses, a bit each */
	size_t address; /* connected to */
	bool is_established;
	bool is_counted;
	bool is_dead;
	int64_t began_ms;
};

struct pool {
	struct event_base *base;
	const struct config *config;
	struct relay_dns *dns;
	struct tls_client *tls;
	struct relay_times times;
	struct pool_owner owner;
	struct session_owner session_owner;
	struct map *hosts;
	struct map *stale; /* by their address as text */
	TAILQ_HEAD(, host) starving;
	struct session_list dead; /* to be freed */
	struct event *reaper;
	struct event *tick;
	unsigned counted;
	size_t session_count;
	uint32_t *rule_sessions; /* connections that each of the config's mta_limits counts */
	struct own_addresses *own;
};

static void pump(struct host *);

/* Addresses */

/* Everyone who waits for the host hears why. */
static void
fail_waiting(struct host *host, const struct failure *failure, const char *dialogue)
{
	struct task_list all = TAILQ_HEAD_INITIALIZER(all);
	struct task *task;
	size_t count = 0;

	/* They may come back to the host meanwhile, or others. */
	while ((task = TAILQ_FIRST(&host->waiting)) != NULL) {
		task_wait_no_more(task);
		task_wait(task, &all, &count, false);
	}
	while ((task = TAILQ_FIRST(&all)) != NULL) {
		task_wait_no_more(task);
		if (dialogue != NULL)
			task_note_dialogue(task, dialogue);
		host->pool->owner.failed(task, failure, host->pool->owner.arg);
	}
}

static void
note_host_failure(struct host *host)
{
	int64_t last = FAILED_FIRST_MS << (host->failures > 5 ? 5 : host->failures);

	host->failures++;
	host->failed_until_ms =
	    clock_monotonic_ms() + (last < FAILED_LAST_MS ? last : FAILED_LAST_MS);
}

static void
addresses_failed(struct host *host, const struct ipc_answer *answer, bool ours)
{
	struct failure failure;

	if (answer->status == ANSWER_FAILED)
		failure_set(&failure, ours ? RELAY_FAULT_OURS : RELAY_FAULT_DESTINATION, 451,
		    "4.4.3", "the addresses of %s can't be looked up: %s", host->hop.host,
		    answer->why);
	else if (host->hop.is_implicit)
		failure_set(&failure, RELAY_FAULT_NONE, 550, "5.1.2",
		    "the domain %s has no mail server in DNS", host->hop.host);
	else
		failure_set(&failure, RELAY_FAULT_NONE, 550, "5.4.4",
		    "the mail server %s has no address in DNS", host->hop.host);
	strlcpy(failure.server.host, host->hop.host, sizeof(failure.server.host));
	host->addresses_state = ADDRESSES_UNKNOWN;
	if (failure.fault != RELAY_FAULT_OURS)
		note_host_failure(host);
	fail_waiting(host, &failure, NULL);
}

static void
on_addresses(const struct ipc_answer *answer, bool ours, void *arg)
{
	struct host *host = arg;
	int64_t ttl_ms = (int64_t)answer->ttl * 1000;

	host->question = 0;
	host->addresses.count = 0;
	for (uint32_t i = 0; answer->status == ANSWER_FOUND && i < answer->count; i++) {
		const struct answer_record *record = &answer->records[i];

		if (record->family == CLIENT_INET4 && record->length == 4)
			addresses_add(&host->addresses, AF_INET, record->data, host->hop.port);
		else if (record->family == CLIENT_INET6 && record->length == 16)
			addresses_add(&host->addresses, AF_INET6, record->data, host->hop.port);
	}
	if (host->addresses.count == 0) {
		addresses_failed(host, answer, ours);
		return;
	}
	addresses_order(&host->addresses);
	host->addresses_state = ADDRESSES_KNOWN;
	host->addresses_expire_ms =
	    clock_monotonic_ms() + (ttl_ms < ADDRESSES_TTL_MS ? ttl_ms : ADDRESSES_TTL_MS);
	pump(host);
}

/* True when there are addresses to connect to; otherwise it is called again when there are. */
static bool
has_addresses(struct host *host)
{
	if (host->hop.is_address && host->addresses_state == ADDRESSES_UNKNOWN) {
		(void)addresses_add_text(&host->addresses, host->hop.host, host->hop.port);
		host->addresses_state = ADDRESSES_KNOWN;
		host->addresses_expire_ms = INT64_MAX;
	}
	/* What is connected right now is good enough as it is. */
	if (host->addresses_state == ADDRESSES_KNOWN &&
	    (clock_monotonic_ms() < host->addresses_expire_ms ||
	        host->established + host->connecting > 0))
		return true;
	if (host->addresses_state != ADDRESSES_ASKED) {
		host->addresses_state = ADDRESSES_ASKED;
		host->question = relay_dns_ask(
		    host->pool->dns, QUERY_ADDRESSES, host->hop.host, 0, on_addresses, host);
	}
	return false;
}

/* Sessions */

static struct link *
link_of(struct session *session)
{
	return session_note(session);
}

static void
count_session(struct link *link, bool counted)
{
	struct pool *pool = link->host->pool;

	if (link->is_counted == counted)
		return;
	link->is_counted = counted;
	if (counted)
		pool->counted++;
	else
		pool->counted--;
	if (link->host->limits.total_rule != LIMITS_NO_RULE && !link->host->is_stale)
		pool->rule_sessions[link->host->limits.total_rule] += counted ? 1 : UINT32_MAX;
}

/* It may be freed when the callbacks that it called us from have returned. */
static void
bury(struct session *session)
{
	struct link *link = link_of(session);
	struct host *host = link->host;

	if (link->is_established)
		host->established--;
	else
		host->connecting--;
	count_session(link, false);
	link->is_dead = true;
	host->pool->session_count--;
	session_list_remove(&host->sessions, session);
	session_list_add(&host->pool->dead, session);
	event_active(host->pool->reaper, 0, 0);
}

/* The next address of its host that this session hasn't tried, one that has failed lately last. */
static bool
connect_next(struct session *session)
{
	struct link *link = link_of(session);
	struct host *host = link->host;
	int64_t now = clock_monotonic_ms();
	size_t chosen = ADDRESSES_MAX;

	for (size_t i = 0; i < host->addresses.count; i++) {
		if ((link->tried & (1U << i)) != 0)
			continue;
		if (chosen == ADDRESSES_MAX ||
		    (host->addresses.all[chosen].failed_until_ms > now &&
		        host->addresses.all[i].failed_until_ms <= now))
			chosen = i;
	}
	if (chosen == ADDRESSES_MAX)
		return false;
	link->tried |= 1U << chosen;
	link->address = chosen;
	session_connect(session, (const struct sockaddr *)&host->addresses.all[chosen].address,
	    host->addresses.all[chosen].length, NULL, 0);
	return true;
}

static void
log_session(const struct session *session, enum log_level level, const char *event,
    const struct failure *failure)
{
	const struct server_words *server = session_server(session);
	struct log_line line;

	log_begin(&line, level, event);
	log_text(&line, "host", server->host);
	log_text(&line, "address", server->address);
	if (*server->tls != '\0')
		log_text(&line, "tls", server->tls);
	if (failure != NULL)
		log_text(&line, "reason", failure->reply.text);
	log_end(&line);
}

static void
on_ready(struct session *session, void *arg)
{
	struct link *link = link_of(session);
	struct host *host = link->host;

	(void)arg;
	if (!link->is_established) {
		link->is_established = true;
		host->connecting--;
		host->established++;
		count_session(link, true);
		host->failures = 0;
		host->failed_until_ms = 0;
		host->addresses.all[link->address].failed_until_ms = 0;
		log_session(session, LOG_LEVEL_INFO, "relay-connected", NULL);
	}
	pump(host);
}

static void
on_finished(struct session *session, struct task *task, enum transaction_outcome outcome,
    const struct failure *failure, void *arg)
{
	struct host *host = link_of(session)->host;
	struct pool *pool = host->pool;

	(void)arg;
	task->state = TASK_WAITING;
	switch (outcome) {
	case TRANSACTION_DONE:
		if (task->left == 0)
			pool->owner.done(task, pool->owner.arg);
		else /* the rest in another transaction */
			task_wait(task, &host->waiting, &host->waiting_count, true);
		return;
	case TRANSACTION_AGAIN:
		task->retries++;
		task_wait(task, &host->waiting, &host->waiting_count, true);
		return;
	case TRANSACTION_HOST:
		if (failure->fault == RELAY_FAULT_DESTINATION)
			note_host_failure(host);
		pool->owner.failed(task, failure, pool->owner.arg);
		return;
	}
}

static void
on_closed(struct session *session, const struct failure *failure, void *arg)
{
	struct link *link = link_of(session);
	struct host *host = link->host;
	char dialogue[IPC_RELAY_DIALOGUE_MAX + 1];

	(void)arg;
	if (failure != NULL && !link->is_established) {
		log_session(session, LOG_LEVEL_INFO, "relay-not-connected", failure);
		host->addresses.all[link->address].failed_until_ms =
		    clock_monotonic_ms() + FAILED_FIRST_MS;
		if (failure->fault != RELAY_FAULT_OURS && connect_next(session))
			return;
		/* connect_next() may have ended here already. */
		if (link->is_dead)
			return;
		bury(session);
		host->hold_until_ms = clock_monotonic_ms() + HOLD_MS;
		/* Others may do better, or are about to find out. */
		if (host->established == 0 && host->connecting == 0) {
			if (failure->fault != RELAY_FAULT_OURS)
				note_host_failure(host);
			session_dialogue(session, dialogue);
			fail_waiting(host, failure, dialogue);
		}
	} else if (!link->is_dead) {
		bury(session);
	}
	pump(host);
}

/* The least recently used of all connections that have nothing to do, of other hosts. */
static struct session *
find_idle(struct pool *pool, const struct host *besides)
{
	struct session *session, *found = NULL;
	struct host **hosts = (struct host **)map_values(pool->hosts);

	for (size_t i = 0; i < map_count(pool->hosts); i++) {
		if (hosts[i] == besides || hosts[i]->waiting_count > 0)
			continue;
		for (session = TAILQ_FIRST(&hosts[i]->sessions); session != NULL;
		     session = session_list_next(session))
			if (session_is_ready(session) &&
			    (found == NULL ||
			        session_idle_since(session) < session_idle_since(found)))
				found = session;
	}
	free(hosts);
	return found;
}

static void
starve(struct host *host, bool evict)
{
	struct session *idle;

	if (host->is_starving)
		return;
	host->is_starving = true;
	TAILQ_INSERT_TAIL(&host->pool->starving, host, starving);
	idle = evict ? find_idle(host->pool, host) : NULL;
	if (idle != NULL)
		session_quit(idle);
}

static bool
may_open(struct host *host)
{
	struct pool *pool = host->pool;

	if (host->established + host->connecting >= host->limits.sessions)
		return false;
	/* Until it has answered, one at a time. */
	if (host->established == 0 && host->connecting > 0)
		return false;
	if (host->established > 0 && clock_monotonic_ms() < host->hold_until_ms)
		return false;
	if (host->limits.total_rule != LIMITS_NO_RULE && !host->is_stale &&
	    pool->rule_sessions[host->limits.total_rule] >= host->limits.sessions_total) {
		starve(host, false);
		return false;
	}
	if (pool->counted < pool->config->mta_sessions)
		return true;
	starve(host, true);
	return false;
}

/* False when there is no memory. */
static bool
open_session(struct host *host)
{
	struct pool *pool = host->pool;
	struct link *link = calloc(1, sizeof(*link));
	struct session *session =
	    link == NULL ? NULL : session_new(pool->base, &host->settings, &pool->session_owner);
	struct failure failure;

	if (session == NULL) {
		free(link);
		failure_set(&failure, RELAY_FAULT_OURS, 451, "4.3.0", "no memory");
		if (host->established + host->connecting == 0)
			fail_waiting(host, &failure, NULL);
		return false;
	}
	link->host = host;
	link->began_ms = clock_monotonic_ms();
	session_set_note(session, link);
	session_list_add(&host->sessions, session);
	host->connecting++;
	pool->session_count++;
	count_session(link, true);
	(void)connect_next(session);
	return true;
}

/* RFC 5321 2.1 and 5.1: mail for elsewhere that would come here has no place to go. */
static bool
leads_here(struct host *host)
{
	struct failure failure;

	if (host->hop.scheme != SCHEME_SMTP || host->hop.is_address)
		return false;
	for (size_t i = 0; i < host->addresses.count; i++) {
		if (!own_addresses_listen(
		        host->pool->own, host->pool->config, &host->addresses.all[i].address))
			continue;
		failure_set(&failure, RELAY_FAULT_NONE, 554, "5.4.6",
		    "mail for %s would come back to this server, whose address is that of %s",
		    host->hop.host, host->hop.host);
		strlcpy(failure.server.host, host->hop.host, sizeof(failure.server.host));
		fail_waiting(host, &failure, NULL);
		return true;
	}
	return false;
}

/* A connection that has time for a task; NULL. */
static struct session *
ready_session(struct host *host)
{
	struct session *session;

	for (session = TAILQ_FIRST(&host->sessions); session != NULL;
	     session = session_list_next(session))
		if (session_is_ready(session))
			return session;
	return NULL;
}

/* `mta limit messages-per-minute` */
static bool
is_allowed(struct host *host)
{
	if (host->limits.messages_per_minute == 0)
		return true;
	if (host->allowance < 60)
		return false;
	host->allowance -= 60;
	return true;
}

/* Brings the tasks that wait and the connections together, and makes new ones. */
static void
pump(struct host *host)
{
	struct session *session;
	struct task *task;

	/* What it calls calls it back. */
	if (host->is_pumping)
		return;
	host->is_pumping = true;
	host->used_ms = clock_monotonic_ms();
	while (host->waiting_count > 0 && (session = ready_session(host)) != NULL) {
		if (!is_allowed(host))
			break;
		task = TAILQ_FIRST(&host->waiting);
		task_wait_no_more(task);
		session_give(session, task);
	}
	while (host->waiting_count > host->connecting && ready_session(host) == NULL &&
	    has_addresses(host) && !leads_here(host) && may_open(host))
		if (!open_session(host))
			break;
	host->is_pumping = false;
}

/* The pool */

static void
on_reaper(evutil_socket_t fd, short what, void *arg)
{
	struct pool *pool = arg;
	struct session *session;
	struct host *host;
	unsigned starving = 0;

	(void)fd;
	(void)what;
	while ((session = TAILQ_FIRST(&pool->dead)) != NULL) {
		session_list_remove(&pool->dead, session);
		free(link_of(session));
		session_free(session);
		starving++;
	}
	/* As many as went may come. */
	while (starving-- > 0 && (host = TAILQ_FIRST(&pool->starving)) != NULL) {
		TAILQ_REMOVE(&pool->starving, host, starving);
		host->is_starving = false;
		pump(host);
	}
}

static void
free_host(struct host *host)
{
	struct pool *pool = host->pool;
	char stale_key[32];

	if (host->question != 0)
		relay_dns_forget(pool->dns, host->question);
	if (host->is_starving)
		TAILQ_REMOVE(&pool->starving, host, starving);
	snprintf(stale_key, sizeof(stale_key), "%p", (void *)host);
	if (host->is_stale)
		map_remove(pool->stale, stale_key);
	else
		map_remove(pool->hosts, host->key);
	free(host);
}

static void
check_session(struct session *session, int64_t now)
{
	struct link *link = link_of(session);

	if (link->is_dead)
		return;
	if (!link->is_established && now - link->began_ms >= CONNECTING_MS)
		count_session(link, false);
	if (session_is_ready(session) &&
	    (now - session_idle_since(session) >= link->host->settings.times->idle_ms ||
	        link->host->is_stale))
		session_quit(session);
	else
		session_check(session, now);
}

/* Checks a host's sessions; frees one that nobody uses. */
static void
check_host(struct host *host, int64_t now)
{
	size_t count = 0, most = host->established + host->connecting;
	struct session **sessions = calloc(most + 1, sizeof(struct session *)), *session;
	int64_t per_tick =
	    (int64_t)host->limits.messages_per_minute * host->pool->times.tick_ms / 1000;

	if (sessions == NULL)
		fatal("relay");
	/* The list changes; the sessions stay until the reaper comes. */
	for (session = TAILQ_FIRST(&host->sessions); session != NULL && count < most;
	     session = session_list_next(session))
		sessions[count++] = session;
	for (size_t i = 0; i < count; i++)
		check_session(sessions[i], now);
	free(sessions);
	if (host->limits.messages_per_minute > 0) {
		host->allowance += per_tick > 0 ? per_tick : 1;
		if (host->allowance > host->limits.messages_per_minute + 60)
			host->allowance = host->limits.messages_per_minute + 60;
		pump(host);
	}
	if (TAILQ_EMPTY(&host->sessions) && host->waiting_count == 0 && !host->is_starving &&
	    host->question == 0 && (host->is_stale || now - host->used_ms > HOST_KEEP_MS)) {
		/* Buried ones point to it. */
		on_reaper(-1, 0, host->pool);
		free_host(host);
	}
}

static void
check_hosts(const struct map *map, int64_t now)
{
	size_t count = map_count(map);
	struct host **hosts = (struct host **)map_values(map);

	for (size_t i = 0; i < count; i++)
		check_host(hosts[i], now);
	free(hosts);
}

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct pool *pool = arg;
	int64_t now = clock_monotonic_ms();
	struct host *host;
	size_t starving = 0;

	(void)fd;
	(void)what;
	check_hosts(pool->hosts, now);
	check_hosts(pool->stale, now);
	TAILQ_FOREACH(host, &pool->starving, starving)
	starving++;
	while (starving-- > 0 && (host = TAILQ_FIRST(&pool->starving)) != NULL) {
		TAILQ_REMOVE(&pool->starving, host, starving);
		host->is_starving = false;
		pump(host);
	}
}

struct pool *
pool_new(struct event_base *base, struct relay_dns *dns, struct tls_client *tls,
    const struct relay_times *times, const struct pool_owner *owner)
{
	struct pool *pool = calloc(1, sizeof(*pool));
	struct timeval tick = { .tv_sec = times->tick_ms / 1000,
		.tv_usec = times->tick_ms % 1000 * 1000 };

	if (pool == NULL)
		fatal("relay");
	pool->base = base;
	pool->dns = dns;
	pool->tls = tls;
	pool->times = *times;
	pool->owner = *owner;
	pool->session_owner = (struct session_owner){
		.ready = on_ready, .finished = on_finished, .closed = on_closed, .arg = pool
	};
	pool->hosts = map_new();
	pool->stale = map_new();
	TAILQ_INIT(&pool->starving);
	TAILQ_INIT(&pool->dead);
	pool->reaper = event_new(base, -1, 0, on_reaper, pool);
	pool->tick = event_new(base, -1, EV_PERSIST, on_tick, pool);
	if (pool->reaper == NULL || pool->tick == NULL ||
	    event_priority_set(pool->reaper, 0) == -1 || event_priority_set(pool->tick, 0) == -1 ||
	    event_add(pool->tick, &tick) == -1)
		fatalx("no events");
	return pool;
}

static void
free_hosts(struct map *map)
{
	size_t count = map_count(map);
	struct host **hosts = (struct host **)map_values(map);
	struct session *session;

	for (size_t i = 0; i < count; i++) {
		while ((session = TAILQ_FIRST(&hosts[i]->sessions)) != NULL) {
			session_list_remove(&hosts[i]->sessions, session);
			free(link_of(session));
			session_free(session);
		}
		free_host(hosts[i]);
	}
	free(hosts);
}

void
pool_free(struct pool *pool)
{
	struct session *session;

	if (pool == NULL)
		return;
	while ((session = TAILQ_FIRST(&pool->dead)) != NULL) {
		session_list_remove(&pool->dead, session);
		free(link_of(session));
		session_free(session);
	}
	free_hosts(pool->hosts);
	free_hosts(pool->stale);
	map_free(pool->hosts);
	map_free(pool->stale);
	event_free(pool->reaper);
	event_free(pool->tick);
	free(pool->rule_sessions);
	own_addresses_free(pool->own);
	free(pool);
}

void
pool_configure(struct pool *pool, const struct config *config)
{
	size_t count = map_count(pool->hosts);
	struct host **hosts = (struct host **)map_values(pool->hosts);
	char stale_key[32];

	for (size_t i = 0; i < count; i++) {
		map_remove(pool->hosts, hosts[i]->key);
		hosts[i]->is_stale = true;
		snprintf(stale_key, sizeof(stale_key), "%p", (void *)hosts[i]);
		map_add(pool->stale, stale_key, hosts[i]);
	}
	free(hosts);
	pool->config = config;
	free(pool->rule_sessions);
	pool->rule_sessions = calloc(config->mta_limit_count + 1, sizeof(uint32_t));
	if (pool->rule_sessions == NULL)
		fatal("relay");
	if (config->mta_connect_time > 0)
		pool->times.connect_ms = config->mta_connect_time * 1000;
	if (config->mta_idle_time > 0)
		pool->times.idle_ms = config->mta_idle_time * 1000;
	own_addresses_free(pool->own);
	pool->own = own_addresses_new();
}

static void
set_up_session(struct host *host, const struct action_config *action)
{
	const struct config *config = host->pool->config;
	struct session_settings *settings = &host->settings;

	strlcpy(settings->host, host->hop.host, sizeof(settings->host));
	strlcpy(settings->helo, *action->relay_helo != '\0' ? action->relay_helo : config->hostname,
	    sizeof(settings->helo));
	strlcpy(settings->mail_from, action->relay_mail_from, sizeof(settings->mail_from));
	strlcpy(settings->ca, action->relay_ca, sizeof(settings->ca));
	settings->lmtp = host->hop.scheme == SCHEME_LMTP;
	settings->policy = policy_for(action, host->hop.scheme);
	settings->tls = host->pool->tls;
	settings->messages = host->limits.messages;
	settings->recipients = host->limits.recipients;
	settings->pause_ms = host->limits.pause_ms;
	settings->times = &host->pool->times;
}

struct host *
pool_host(struct pool *pool, const struct hop *hop, const struct action_config *action,
    const char *domain)
{
	struct limits limits;
	struct host *host;
	char key[KEY_MAX];

	limits_for(&limits, pool->config, domain, hop->host);
	snprintf(key, sizeof(key), "%s %d %s@%s:%u %s", action->name, (int)hop->scheme, hop->label,
	    hop->host, hop->port, limits.of_domain ? domain : "");
	host = map_get(pool->hosts, key);
	if (host != NULL)
		return host;
	host = calloc(1, sizeof(*host));
	if (host == NULL)
		return NULL;
	host->pool = pool;
	strlcpy(host->key, key, sizeof(host->key));
	host->hop = *hop;
	host->limits = limits;
	host->allowance = limits.messages_per_minute + 60;
	host->used_ms = clock_monotonic_ms();
	TAILQ_INIT(&host->waiting);
	TAILQ_INIT(&host->sessions);
	set_up_session(host, action);
	map_add(pool->hosts, key, host);
	return host;
}

bool
host_has_failed(const struct host *host)
{
	return host->established == 0 && host->failed_until_ms > clock_monotonic_ms();
}

void
host_submit(struct host *host, struct task *task)
{
	task->state = TASK_WAITING;
	task_wait(task, &host->waiting, &host->waiting_count, false);
	pump(host);
}

static bool
abandon_hosts(const struct map *map)
{
	size_t count = map_count(map);
	struct host **hosts = (struct host **)map_values(map);
	struct session *session, *next;
	bool all = true;

	for (size_t i = 0; i < count; i++) {
		for (session = TAILQ_FIRST(&hosts[i]->sessions); session != NULL; session = next) {
			next = session_list_next(session);
			if (session_task(session) != NULL && !session_abandon(session))
				all = false;
		}
	}
	free(hosts);
	return all;
}

bool
pool_abandon(struct pool *pool)
{
	bool fresh = abandon_hosts(pool->hosts), stale = abandon_hosts(pool->stale);

	return fresh && stale;
}

void
pool_quit_idle(struct pool *pool)
{
	size_t count = map_count(pool->hosts);
	struct host **hosts = (struct host **)map_values(pool->hosts);
	struct session *session, *next;

	for (size_t i = 0; i < count; i++) {
		for (session = TAILQ_FIRST(&hosts[i]->sessions); session != NULL; session = next) {
			next = session_list_next(session);
			session_quit(session);
		}
	}
	free(hosts);
}

size_t
pool_session_count(const struct pool *pool)
{
	return pool->session_count;
}
