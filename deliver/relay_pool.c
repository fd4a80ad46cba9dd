/*
 * All hosts. Once a tick it is looked what has taken too long, what idles for too long, and which
 * hosts nobody has use for; those of an older configuration end as soon as they have nothing to do.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <event2/event.h>

#include "common/clock.h"
#include "common/log.h"
#include "deliver/relay_host_state.h"

#define CONNECTING_MS 1000
#define SLOW_MS       250 /* a host that answers has done so by then, nearly always */
#define HURRY_MS      50
#define HOST_KEEP_MS  (15 * 60000)

struct session *
pool_find_idle(struct pool *pool, const struct host *besides)
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

/* As many hosts that wait for a connection of the pool's may try again. */
static void
feed_starving(struct pool *pool, size_t count)
{
	struct host *host;

	while (count-- > 0 && (host = TAILQ_FIRST(&pool->starving)) != NULL) {
		TAILQ_REMOVE(&pool->starving, host, starving);
		host->is_starving = false;
		host_pump(host);
	}
}

static void
on_reaper(evutil_socket_t fd, short what, void *arg)
{
	struct pool *pool = arg;
	struct session *session;
	size_t starving = 0;

	(void)fd;
	(void)what;
	while ((session = TAILQ_FIRST(&pool->dead)) != NULL) {
		session_list_remove(&pool->dead, session);
		link_free(session_link(session));
		session_free(session);
		starving++;
	}
	feed_starving(pool, starving);
}

static void
free_host(struct host *host)
{
	struct pool *pool = host->pool;
	char stale_key[32];

	if (host->question != 0)
		relay_dns_forget(pool->dns, host->question);
	if (host->credentials_question != 0)
		relay_directory_forget(pool->directory, host->credentials_question);
	host_forget_credentials(host);
	sources_drop(host->sources);
	host_dane_free(host);
	pool_unlist_host(host);
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
	struct link *link = session_link(session);

	if (link->is_dead)
		return;
	if (!link->is_established && now - link->began_ms >= CONNECTING_MS)
		link_count(link, false);
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
		host_pump(host);
	}
	if (TAILQ_EMPTY(&host->sessions) && host->waiting_count == 0 && !host->is_starving &&
	    host->question == 0 && host->credentials_question == 0 &&
	    (host->is_stale || now - host->used_ms > HOST_KEEP_MS)) {
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

/* Finds those that have been connecting for too long. Returns how many; `more`: others may become
 * slow. */
static size_t
find_slow(const struct map *map, int64_t now, bool *more)
{
	size_t count = map_count(map), slow = 0;
	struct host **hosts = (struct host **)map_values(map);
	struct session *session;
	struct link *link;

	for (size_t i = 0; i < count; i++) {
		if (hosts[i]->connecting == 0)
			continue;
		for (session = TAILQ_FIRST(&hosts[i]->sessions); session != NULL;
		     session = session_list_next(session)) {
			link = session_link(session);
			if (link->is_established || !link->is_counted || link->is_slow)
				continue;
			if (now - link->began_ms < SLOW_MS) {
				*more = true;
				continue;
			}
			link_set_slow(link, true);
			slow++;
		}
	}
	free(hosts);
	return slow;
}

static void
on_hurry(evutil_socket_t fd, short what, void *arg)
{
	struct pool *pool = arg;
	int64_t now = clock_monotonic_ms();
	bool more = false;
	size_t slow;

	(void)fd;
	(void)what;
	slow = find_slow(pool->hosts, now, &more);
	slow += find_slow(pool->stale, now, &more);
	if (more)
		pool_watch_connecting(pool);
	feed_starving(pool, slow);
}

void
pool_watch_connecting(struct pool *pool)
{
	const struct timeval interval = { .tv_usec = HURRY_MS * 1000 };

	if (!event_pending(pool->hurry, EV_TIMEOUT, NULL))
		(void)event_add(pool->hurry, &interval);
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
	feed_starving(pool, starving);
}

struct pool *
pool_new(struct event_base *base, struct relay_dns *dns, struct relay_directory *directory,
    struct tls_client *tls, const struct relay_times *times, const struct pool_owner *owner)
{
	struct pool *pool = calloc(1, sizeof(*pool));
	struct timeval tick = { .tv_sec = times->tick_ms / 1000,
		.tv_usec = times->tick_ms % 1000 * 1000 };

	if (pool == NULL)
		fatal("relay");
	pool->base = base;
	pool->dns = dns;
	pool->directory = directory;
	pool->tls = tls;
	pool->times = *times;
	pool->owner = *owner;
	pool->session_owner = (struct session_owner){ .ready = host_session_ready,
		.finished = host_session_finished,
		.closed = host_session_closed,
		.arg = pool };
	pool->hosts = map_new();
	pool->stale = map_new();
	pool->sources = map_new();
	TAILQ_INIT(&pool->listed);
	TAILQ_INIT(&pool->starving);
	TAILQ_INIT(&pool->dead);
	pool->reaper = event_new(base, -1, 0, on_reaper, pool);
	pool->hurry = evtimer_new(base, on_hurry, pool);
	pool->tick = event_new(base, -1, EV_PERSIST, on_tick, pool);
	if (pool->reaper == NULL || pool->tick == NULL || pool->hurry == NULL ||
	    event_priority_set(pool->reaper, 0) == -1 || event_priority_set(pool->tick, 0) == -1 ||
	    event_priority_set(pool->hurry, 0) == -1 || event_add(pool->tick, &tick) == -1)
		fatalx("no events");
	return pool;
}

static void
forget_sources(struct pool *pool)
{
	size_t count = map_count(pool->sources);
	struct sources **all = (struct sources **)map_values(pool->sources);

	for (size_t i = 0; i < count; i++)
		sources_drop(all[i]);
	free(all);
	map_free(pool->sources);
	pool->sources = map_new();
}

struct sources *
pool_sources(struct pool *pool, const struct action_config *action)
{
	struct sources *sources;

	if (*action->relay_source == '\0')
		return NULL;
	sources = map_get(pool->sources, action->name);
	if (sources == NULL) {
		sources = sources_new(pool->config, action, pool->directory);
		if (sources != NULL)
			map_add(pool->sources, action->name, sources);
	}
	return sources;
}

static void
pump_all(const struct map *map)
{
	size_t count = map_count(map);
	struct host **hosts = (struct host **)map_values(map);

	for (size_t i = 0; i < count; i++)
		if (hosts[i]->sources != NULL && hosts[i]->waiting_count > 0)
			host_pump(hosts[i]);
	free(hosts);
}

void
pool_sources_known(void *arg)
{
	const struct pool *pool = arg;

	pump_all(pool->hosts);
	pump_all(pool->stale);
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
			link_free(session_link(session));
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
		link_free(session_link(session));
		session_free(session);
	}
	free_hosts(pool->hosts);
	free_hosts(pool->stale);
	map_free(pool->hosts);
	map_free(pool->stale);
	forget_sources(pool);
	map_free(pool->sources);
	event_free(pool->reaper);
	event_free(pool->tick);
	event_free(pool->hurry);
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
	forget_sources(pool);
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

void
pool_observe(struct pool *pool, outcome_fn observer, void *arg)
{
	pool->observer = observer;
	pool->observer_arg = arg;
}

void
pool_use_local(struct pool *pool, struct local_sockets *local)
{
	pool->local = local;
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
