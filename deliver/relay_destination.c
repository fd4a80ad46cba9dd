/*
 * A task remembers the hosts that it was tried at as bits, by their place in its route, which it
 * holds: another route may be found meanwhile. Hosts that could not be reached lately are tried
 * last, and are tried.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>
#include <event2/event.h>

#include "common/clock.h"
#include "common/log.h"
#include "deliver/relay_addresses.h"
#include "deliver/relay_destination.h"
#include "deliver/relay_map.h"
#include "deliver/relay_route.h"

#define ROUTE_LEAST_MS 5000
#define ROUTE_MOST_MS  (5 * 60000)
#define SWEEP_SECONDS  30
#define KEY_MAX        (ACTION_NAME_MAX + ADDRESS_DOMAIN_MAX + 2)

_Static_assert(ROUTE_HOPS_MAX <= 64, "a bit for each hop");

struct destination {
	struct destinations *all;
	char key[KEY_MAX];
	char domain[ADDRESS_DOMAIN_MAX + 1];
	char action[ACTION_NAME_MAX + 1];
	struct route *route; /* NULL: not known */
	struct route *found; /* waits for the domain's policy */
	uint32_t found_ttl;
	struct sts_question *policy_question; /* NULL: none is open */
	bool has_policy;                      /* or knows that there is none, */
	struct sts_policy *policy;            /* then NULL; held */
	uint32_t question;                    /* to DNS; 0: none is open */
	uint32_t lookup;                      /* to the directory */
	struct task_list waiting;
	size_t waiting_count;
	TAILQ_HEAD(, route_watch) watches;
};

struct destinations {
	struct relay_dns *dns;
	struct relay_directory *directory;
	struct sts *sts; /* NULL: no policies are looked for */
	struct pool *pool;
	const struct config *config;
	struct map *map;
	struct event *sweep;
};

static void
finish_with(struct task *task, const struct failure *failure)
{
	task_note_failure(task, failure);
	task_finish(task, NULL);
}

/* Gives the task to the next host; ends it when there is none. */
static void
next_host(struct destinations *all, struct task *task)
{
	const struct action_config *action = config_find_action(all->config, task->message.action);
	struct host *host, *chosen = NULL;
	struct failure failure;
	size_t chosen_hop = 0;

	for (size_t i = 0; action != NULL && i < task->route->count; i++) {
		if ((task->tried & (1ULL << i)) != 0)
			continue;
		host = pool_host(all->pool, &task->route->hops[i], action, task);
		if (host == NULL)
			continue;
		if (chosen == NULL || (host_has_failed(chosen) && !host_has_failed(host))) {
			chosen = host;
			chosen_hop = i;
		}
		if (!host_has_failed(chosen))
			break;
	}
	if (chosen == NULL || task->is_cancelled) {
		failure_set(&failure, RELAY_FAULT_OURS, 451, "4.3.0",
		    task->is_cancelled ? "taken back" : "there is no memory, or no such action");
		task_finish(task, &failure);
		return;
	}
	task->tried |= 1ULL << chosen_hop;
	task->retries = 0;
	host_submit(chosen, task);
}

static void
on_done(struct task *task, void *arg)
{
	(void)arg;
	task_finish(task, NULL);
}

static void
on_failed(struct task *task, const struct failure *failure, void *arg)
{
	/* RFC 8461 5: the next attempt asks for a newer policy first. */
	if (task->route != NULL && task->route->sts != NULL &&
	    task->route->sts->mode == STS_MODE_ENFORCE)
		task->route->expires_ms = 0;
	task_note_failure(task, failure);
	next_host(arg, task);
}

static int64_t
route_lifetime(uint32_t ttl)
{
	int64_t ms = (int64_t)ttl * 1000;

	if (ms < ROUTE_LEAST_MS)
		return ROUTE_LEAST_MS;
	return ms > ROUTE_MOST_MS ? ROUTE_MOST_MS : ms;
}

static void
tell_watches(struct destination *destination, const struct failure *failure)
{
	struct route *route = failure == NULL ? route_hold(destination->route) : NULL;
	struct route_watch *watch;

	while ((watch = TAILQ_FIRST(&destination->watches)) != NULL) {
		destinations_unwatch(watch);
		watch->known(route, failure, watch->arg);
	}
	route_drop(route);
}

/* All that wait for the route go on; or end, without one. */
static void
release(struct destination *destination, const struct failure *failure)
{
	struct destinations *all = destination->all;
	struct task_list waiting = TAILQ_HEAD_INITIALIZER(waiting);
	struct route *route = failure == NULL ? route_hold(destination->route) : NULL;
	struct task *task;
	size_t count = 0;

	while ((task = TAILQ_FIRST(&destination->waiting)) != NULL) {
		task_wait_no_more(task);
		task_wait(task, &waiting, &count, false);
	}
	while ((task = TAILQ_FIRST(&waiting)) != NULL) {
		task_wait_no_more(task);
		if (route == NULL) {
			finish_with(task, failure);
			continue;
		}
		task->route = route_hold(route);
		next_host(all, task);
	}
	route_drop(route);
	tell_watches(destination, failure);
}

static void
log_route(const struct destination *destination)
{
	struct log_line line;
	char hosts[512] = "";

	if (!log_trace_begin(&line, LOG_TRACE_MTA, "route-found"))
		return;
	for (size_t i = 0; i < destination->route->count; i++) {
		size_t used = strlen(hosts);

		snprintf(hosts + used, sizeof(hosts) - used, "%s%u:%s", i == 0 ? "" : " ",
		    destination->route->hops[i].preference, destination->route->hops[i].host);
	}
	log_text(&line, "domain", destination->domain);
	log_text(&line, "action", destination->action);
	log_text(&line, "hosts", hosts);
	if (destination->route->sts != NULL)
		log_text(&line, "sts", sts_mode_name(destination->route->sts->mode));
	log_end(&line);
}

static void
set_route(struct destination *destination, struct route *route, uint32_t ttl)
{
	route_drop(destination->route);
	destination->route = route = route_trim(route);
	route->expires_ms = clock_monotonic_ms() + route_lifetime(ttl);
	log_route(destination);
	release(destination, NULL);
}

static void on_mx(const struct ipc_answer *, bool, void *);

static void
forget_policy(struct destination *destination)
{
	if (destination->policy_question != NULL)
		sts_forget(destination->policy_question);
	destination->policy_question = NULL;
	destination->has_policy = false;
	sts_policy_drop(destination->policy);
	destination->policy = NULL;
	route_drop(destination->found);
	destination->found = NULL;
}

/* When its hosts and its policy are known, the route is. */
static void
join_route(struct destination *destination)
{
	struct route *route = destination->found;

	if (route == NULL || !destination->has_policy)
		return;
	destination->found = NULL;
	route->sts = sts_policy_hold(destination->policy);
	forget_policy(destination);
	set_route(destination, route, destination->found_ttl);
}

static void
on_policy(struct sts_policy *policy, bool is_unsure, void *arg)
{
	struct destination *destination = arg;
	struct failure failure;

	destination->policy_question = NULL;
	if (is_unsure) {
		if (destination->question != 0)
			relay_dns_forget(destination->all->dns, destination->question);
		destination->question = 0;
		forget_policy(destination);
		failure_set(&failure, RELAY_FAULT_OURS, 451, "4.3.0",
		    "it can't be looked up now which MTA-STS policy of %s is kept here",
		    destination->domain);
		release(destination, &failure);
		return;
	}
	destination->has_policy = true;
	destination->policy = sts_policy_hold(policy);
	join_route(destination);
}

/* What the domain says of itself in DNS: its mail servers, and its policy. */
static void
ask_domain(struct destination *destination, const char *name)
{
	struct destinations *all = destination->all;

	forget_policy(destination);
	destination->has_policy = all->sts == NULL || !sts_is_enabled(all->sts);
	if (!destination->has_policy)
		destination->policy_question = sts_ask(all->sts, name, on_policy, destination);
	destination->question = relay_dns_ask(all->dns, QUERY_MX, name, 0, on_mx, destination);
}

static void
on_mx(const struct ipc_answer *answer, bool ours, void *arg)
{
	struct destination *destination = arg;
	const struct config *config = destination->all->config;
	const struct action_config *action = config_find_action(config, destination->action);
	const char *own[2] = { config->hostname, "" };
	struct route *route = route_new();
	struct failure failure;

	destination->question = 0;
	if (action != NULL && *action->relay_helo != '\0')
		own[1] = action->relay_helo;
	if (action != NULL && action->relay_backup && *action->relay_backup_name != '\0')
		own[1] = action->relay_backup_name;
	if (route == NULL) {
		failure_set(&failure, RELAY_FAULT_OURS, 451, "4.3.0", "no memory");
		forget_policy(destination);
		release(destination, &failure);
	} else if (!route_add_mx(route, destination->domain, answer, own, &failure)) {
		route_drop(route);
		if (ours)
			failure.fault = RELAY_FAULT_OURS;
		forget_policy(destination);
		release(destination, &failure);
	} else {
		destination->found = route;
		destination->found_ttl = answer->ttl;
		join_route(destination);
	}
}

/* Without DNS: smarthosts, */
static void
route_by_smarthosts(struct destination *destination, const char *hosts)
{
	struct route *route = route_new();
	struct failure failure;

	if (route != NULL && route_add_smarthosts(route, hosts)) {
		set_route(destination, route, UINT32_MAX);
		return;
	}
	failure_set(&failure, RELAY_FAULT_OURS, 451, "4.3.5",
	    route == NULL ? "no memory" : "the configuration's hosts can't be understood");
	route_drop(route);
	release(destination, &failure);
}

static bool
may_be_used(const struct config *config, const struct hop *hop)
{
	uint8_t bytes[16];
	int family = inet_pton(AF_INET, hop->host, bytes) == 1 ? AF_INET : AF_INET6;

	if (family == AF_INET6 && inet_pton(AF_INET6, hop->host, bytes) != 1)
		return false;
	return !hop_is_public_only(hop, config) || !address_is_private(family, bytes);
}

/* or the domain is an address literal. */
static void
route_by_literal(struct destination *destination)
{
	struct route *route = route_new();
	struct failure failure;
	bool is_literal = route != NULL && route_add_literal(route, destination->domain);

	if (is_literal && may_be_used(destination->all->config, &route->hops[0])) {
		set_route(destination, route, UINT32_MAX);
		return;
	}
	if (route == NULL)
		failure_set(&failure, RELAY_FAULT_OURS, 451, "4.3.0", "no memory");
	else if (is_literal)
		failure_set(&failure, RELAY_FAULT_NONE, 550, "5.4.4",
		    "%s is in a private network, " ROUTE_PRIVATE, destination->domain);
	else
		failure_set(&failure, RELAY_FAULT_NONE, 550, "5.1.2",
		    "the address literal %s can't be understood", destination->domain);
	route_drop(route);
	release(destination, &failure);
}

/* By the action's smarthosts, or else by DNS. */
static void
find_usual_route(struct destination *destination, const struct action_config *action)
{
	char name[HOSTNAME_MAX + 1];
	struct failure failure;

	if (*action->relay_hosts != '\0') {
		route_by_smarthosts(destination, action->relay_hosts);
	} else if (*destination->domain == '[') {
		route_by_literal(destination);
	} else if (!address_domain_key(destination->domain, name, sizeof(name))) {
		failure_set(&failure, RELAY_FAULT_NONE, 550, "5.1.2",
		    "the domain of the recipient isn't a name that DNS could have");
		release(destination, &failure);
	} else {
		ask_domain(destination, name);
	}
}

/* What the action's table of domains says of this one. */
static void
on_hosts(const struct ipc_relay_found *found, void *arg)
{
	struct destination *destination = arg;
	const struct action_config *action =
	    config_find_action(destination->all->config, destination->action);
	struct failure failure;

	destination->lookup = 0;
	if (found->status == RELAY_FOUND) {
		route_by_smarthosts(destination, found->value);
	} else if (found->status == RELAY_FOUND_NONE && action != NULL) {
		find_usual_route(destination, action);
	} else {
		failure_set(&failure, RELAY_FAULT_OURS, 451, "4.3.5",
		    "the table that says where mail for %s goes can't be read",
		    destination->domain);
		release(destination, &failure);
	}
}

/* Begins to find a route; the tasks that wait hear of it, perhaps at once. */
static void
find_route(struct destination *destination)
{
	const struct action_config *action =
	    config_find_action(destination->all->config, destination->action);
	struct failure failure;

	if (action == NULL || (action->method != ACTION_RELAY && action->method != ACTION_LMTP)) {
		failure_set(&failure, RELAY_FAULT_OURS, 451, "4.3.5",
		    "there is no relay action %s in the configuration", destination->action);
		release(destination, &failure);
	} else if (*action->relay_domains != '\0' && *destination->domain != '[') {
		destination->lookup =
		    relay_directory_ask(destination->all->directory, RELAY_LOOKUP_HOSTS,
		        destination->action, destination->domain, on_hosts, destination);
	} else {
		find_usual_route(destination, action);
	}
}

static struct destination *
get_destination(struct destinations *all, const char *action_name, const char *domain)
{
	const struct action_config *action = config_find_action(all->config, action_name);
	struct destination *destination;
	char key[KEY_MAX];

	/* Smarthosts get the mail of all domains. */
	snprintf(key, sizeof(key), "%s %s", action_name,
	    action != NULL && *action->relay_hosts != '\0' && *action->relay_domains == '\0'
	        ? ""
	        : domain);
	destination = map_get(all->map, key);
	if (destination != NULL)
		return destination;
	destination = calloc(1, sizeof(*destination));
	if (destination == NULL)
		return NULL;
	destination->all = all;
	strlcpy(destination->key, key, sizeof(destination->key));
	strlcpy(destination->domain, domain, sizeof(destination->domain));
	strlcpy(destination->action, action_name, sizeof(destination->action));
	TAILQ_INIT(&destination->waiting);
	TAILQ_INIT(&destination->watches);
	map_add(all->map, key, destination);
	return destination;
}

static bool
is_asking(const struct destination *destination)
{
	return destination->question != 0 || destination->lookup != 0 ||
	    destination->policy_question != NULL;
}

void
destinations_submit(struct destinations *all, struct task *task)
{
	struct destination *destination =
	    get_destination(all, task->message.action, task->message.domain);
	struct failure failure;

	if (destination == NULL) {
		failure_set(&failure, RELAY_FAULT_OURS, 451, "4.3.0", "no memory");
		finish_with(task, &failure);
		return;
	}
	if (destination->route != NULL && clock_monotonic_ms() < destination->route->expires_ms) {
		task->route = route_hold(destination->route);
		next_host(all, task);
		return;
	}
	task->state = TASK_ROUTING;
	task_wait(task, &destination->waiting, &destination->waiting_count, false);
	if (!is_asking(destination))
		find_route(destination);
}

void
destinations_watch(
    struct destinations *all, const char *action, const char *domain, struct route_watch *watch)
{
	struct destination *destination = get_destination(all, action, domain);
	struct failure failure;

	watch->destination = NULL;
	if (destination == NULL) {
		failure_set(&failure, RELAY_FAULT_OURS, 451, "4.3.0", "no memory");
		watch->known(NULL, &failure, watch->arg);
		return;
	}
	watch->destination = destination;
	TAILQ_INSERT_TAIL(&destination->watches, watch, entry);
	if (destination->route != NULL && clock_monotonic_ms() < destination->route->expires_ms)
		tell_watches(destination, NULL);
	else if (!is_asking(destination))
		find_route(destination);
}

void
destinations_unwatch(struct route_watch *watch)
{
	if (watch->destination != NULL)
		TAILQ_REMOVE(&watch->destination->watches, watch, entry);
	watch->destination = NULL;
}

static void
free_destination(struct destination *destination)
{
	struct route_watch *watch;

	while ((watch = TAILQ_FIRST(&destination->watches)) != NULL)
		destinations_unwatch(watch);
	if (destination->question != 0)
		relay_dns_forget(destination->all->dns, destination->question);
	if (destination->lookup != 0)
		relay_directory_forget(destination->all->directory, destination->lookup);
	forget_policy(destination);
	route_drop(destination->route);
	map_remove(destination->all->map, destination->key);
	free(destination);
}

/* Frees those that nobody has use for; all that nobody waits for when `any`. */
static void
sweep(struct destinations *all, bool any)
{
	size_t count = map_count(all->map);
	struct destination **list = (struct destination **)map_values(all->map);
	int64_t now = clock_monotonic_ms();

	for (size_t i = 0; i < count; i++) {
		if (list[i]->waiting_count > 0 || is_asking(list[i]) ||
		    !TAILQ_EMPTY(&list[i]->watches))
			continue;
		if (any || list[i]->route == NULL || list[i]->route->expires_ms <= now)
			free_destination(list[i]);
	}
	free(list);
}

static void
on_sweep(evutil_socket_t fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	sweep(arg, false);
}

struct destinations *
destinations_new(struct event_base *base, struct relay_dns *dns, struct relay_directory *directory)
{
	struct destinations *all = calloc(1, sizeof(*all));
	struct timeval interval = { .tv_sec = SWEEP_SECONDS };

	if (all == NULL)
		fatal("relay");
	all->dns = dns;
	all->directory = directory;
	all->map = map_new();
	all->sweep = event_new(base, -1, EV_PERSIST, on_sweep, all);
	if (all->sweep == NULL || event_add(all->sweep, &interval) == -1)
		fatalx("no events");
	return all;
}

void
destinations_free(struct destinations *all)
{
	size_t count = map_count(all->map);
	struct destination **list = (struct destination **)map_values(all->map);

	for (size_t i = 0; i < count; i++)
		free_destination(list[i]);
	free(list);
	map_free(all->map);
	event_free(all->sweep);
	free(all);
}

struct pool_owner
destinations_pool_owner(struct destinations *all)
{
	return (struct pool_owner){ .done = on_done, .failed = on_failed, .arg = all };
}

void
destinations_set_sts(struct destinations *all, struct sts *sts)
{
	all->sts = sts;
}

void
destinations_configure(struct destinations *all, struct pool *pool, const struct config *config)
{
	all->pool = pool;
	all->config = config;
	sweep(all, true);
}
