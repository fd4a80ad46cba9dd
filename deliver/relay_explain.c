/*
 * A job asks for the route, then for the addresses of all hosts at once, then for TLSA records where
 * they matter; what each host is secured by is worked out by the functions that decide it for mail.
 * It is answered as a whole when the last question is, or its time is over: what DNS hasn't said by
 * then is told as such.
 */
#include <sys/queue.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>
#include <event2/event.h>

#include "common/clock.h"
#include "common/ipc_control.h"
#include "common/log.h"
#include "deliver/relay_explain.h"
#include "deliver/relay_host_state.h"
#include "deliver/relay_tls.h"

struct job;

struct hop_job {
	struct job *job;
	const struct hop *hop;
	uint32_t question; /* to DNS; 0: none is open */
	struct policy policy;
	char tlsa_next[HOSTNAME_MAX + 1]; /* to be asked for when there is nothing; "" */
	struct ipc_explain_host told;
};

struct job {
	LIST_ENTRY(job) entry;
	struct explainer *explainer;
	uint32_t id;
	struct ipc_explain_relay asked;
	struct route_watch watch;
	struct event *timer;
	struct route *route; /* NULL: not known yet */
	struct ipc_explain_route told;
	size_t open; /* hosts that DNS is asked about */
	struct hop_job hops[ROUTE_HOPS_MAX];
};

struct explainer {
	struct event_base *base;
	struct destinations *destinations;
	struct pool *pool;
	void (*answer)(uint32_t id, uint16_t type, const struct buf *, void *arg);
	void *arg;
	LIST_HEAD(, job) jobs;
	size_t job_count;
};

struct explainer *
explainer_new(struct event_base *base, struct destinations *destinations, struct pool *pool,
    void (*answer)(uint32_t id, uint16_t type, const struct buf *, void *arg), void *arg)
{
	struct explainer *explainer = calloc(1, sizeof(*explainer));

	if (explainer == NULL)
		fatal("relay");
	explainer->base = base;
	explainer->destinations = destinations;
	explainer->pool = pool;
	explainer->answer = answer;
	explainer->arg = arg;
	LIST_INIT(&explainer->jobs);
	return explainer;
}

static void
free_job(struct job *job)
{
	destinations_unwatch(&job->watch);
	for (size_t i = 0; job->route != NULL && i < job->route->count; i++)
		if (job->hops[i].question != 0)
			relay_dns_forget(job->explainer->pool->dns, job->hops[i].question);
	route_drop(job->route);
	event_free(job->timer);
	LIST_REMOVE(job, entry);
	job->explainer->job_count--;
	free(job);
}

void
explainer_forget_all(struct explainer *explainer)
{
	struct job *job;

	while ((job = LIST_FIRST(&explainer->jobs)) != NULL)
		free_job(job);
}

void
explainer_free(struct explainer *explainer)
{
	if (explainer == NULL)
		return;
	explainer_forget_all(explainer);
	free(explainer);
}

/* The answer */

static void
send_host(const struct ipc_host *host, void *arg)
{
	const struct job *job = arg;
	struct buf payload;

	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_host_encode(&payload, host);
	job->explainer->answer(job->id, CONTROL_HOST, &payload, job->explainer->arg);
	buf_free(&payload);
}

static void
send_hops(struct job *job)
{
	struct explainer *explainer = job->explainer;
	struct buf payload;
	char domain[ADDRESS_DOMAIN_MAX + 1];

	if (!address_domain_key(job->asked.domain, domain, sizeof(domain)))
		*domain = '\0';
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	for (size_t i = 0; i < job->route->count; i++) {
		buf_clear(&payload);
		ipc_explain_host_encode(&payload, &job->hops[i].told);
		explainer->answer(job->id, CONTROL_EXPLAIN_HOST, &payload, explainer->arg);
		pool_report_hop(
		    explainer->pool, job->asked.action, job->hops[i].hop, domain, send_host, job);
	}
	buf_free(&payload);
}

static void
finish(struct job *job)
{
	struct explainer *explainer = job->explainer;
	struct ipc_result result = { .exit_code = 0 };
	struct buf payload;

	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_explain_route_encode(&payload, &job->told);
	explainer->answer(job->id, CONTROL_EXPLAIN_ROUTE, &payload, explainer->arg);
	if (job->route != NULL)
		send_hops(job);
	buf_clear(&payload);
	ipc_result_encode(&payload, &result);
	explainer->answer(job->id, CONTROL_DONE, &payload, explainer->arg);
	buf_free(&payload);
	free_job(job);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct job *job = arg;

	(void)fd;
	(void)what;
	if (job->route == NULL)
		reply_set(&job->told.reply, 451, "4.4.3",
		    "the mail servers of %s can't be looked up: DNS has not answered yet",
		    job->asked.domain);
	finish(job);
}

/* A host is done with. */
static void
hop_told(struct hop_job *hop)
{
	if (--hop->job->open == 0)
		finish(hop->job);
}

/* DNS about a host */

static void
settle(struct hop_job *hop, enum tlsa_kind kind)
{
	enum policy_fit fit = policy_settle(&hop->policy, TLS_NEED_USUAL, hop->hop->is_secure, kind,
	    route_verdict(hop->job->route, hop->hop));

	hop->told.security = report_security(&hop->policy, fit);
	hop->told.implicit_tls = hop->policy.implicit;
}

/* Of the records those that can be used. */
static size_t
usable_records(const struct hop_job *hop, const struct ipc_answer *answer)
{
	struct dane *dane = dane_new(answer);
	size_t usable = 0, anchors;

	if (dane != NULL && dane_add_name(dane, hop->hop->host))
		usable = tls_client_usable_records(hop->job->explainer->pool->tls, dane, &anchors);
	dane_free(dane);
	return usable;
}

static void on_tlsa(const struct ipc_answer *, bool, void *);

static void
ask_tlsa(struct hop_job *hop, const char *name)
{
	/* Until DNS has decided, nothing would be sent. */
	hop->told.tlsa = EXPLAIN_TLSA_SILENT;
	hop->told.security = EXPLAIN_UNKNOWN;
	hop->question = relay_dns_ask(
	    hop->job->explainer->pool->dns, QUERY_TLSA, name, hop->hop->port, on_tlsa, hop);
}

static void
on_tlsa(const struct ipc_answer *answer, bool ours, void *arg)
{
	struct hop_job *hop = arg;
	char next[HOSTNAME_MAX + 1];

	(void)ours;
	hop->question = 0;
	if (answer->status == ANSWER_FAILED) {
		hop->told.tlsa = EXPLAIN_TLSA_FAILED;
		strlcpy(hop->told.words, answer->why, sizeof(hop->told.words));
	} else if (answer->status == ANSWER_FOUND && answer->secure) {
		hop->told.tlsa_count = (uint32_t)usable_records(hop, answer);
		hop->told.tlsa =
		    hop->told.tlsa_count > 0 ? EXPLAIN_TLSA_USABLE : EXPLAIN_TLSA_UNUSABLE;
		settle(hop, hop->told.tlsa_count > 0 ? TLSA_USABLE : TLSA_UNUSABLE);
	} else if (*hop->tlsa_next != '\0') {
		strlcpy(next, hop->tlsa_next, sizeof(next));
		*hop->tlsa_next = '\0';
		ask_tlsa(hop, next);
		return;
	} else {
		hop->told.tlsa = EXPLAIN_TLSA_NONE;
		settle(hop, TLSA_NONE);
	}
	hop_told(hop);
}

static void
take_addresses(struct hop_job *hop, const struct addresses *addresses)
{
	for (size_t i = 0; i < addresses->count; i++) {
		const struct sockaddr_storage *address = &addresses->all[i].address;

		report_address(
		    address, hop->told.addresses.all[i], sizeof(hop->told.addresses.all[i]));
		hop->told.is_here |= pool_listens_at(hop->job->explainer->pool, hop->hop, address);
	}
	hop->told.addresses.count = (uint32_t)addresses->count;
}

static void
on_addresses(const struct ipc_answer *answer, bool ours, void *arg)
{
	struct hop_job *hop = arg;
	struct addresses addresses = { .count = 0 };
	const struct config *config = hop->job->explainer->pool->config;
	struct limits limits;
	const char *names[2];
	size_t count;

	(void)ours;
	hop->question = 0;
	hop->told.is_secure = answer->secure;
	addresses_add_answer(
	    &addresses, answer, hop->hop->port, hop_is_public_only(hop->hop, config));
	limits_for(&limits, config, hop->job->asked.domain, hop->hop->host);
	count = addresses.count;
	addresses_keep(&addresses, limits.family);
	if (answer->status == ANSWER_FAILED) {
		hop->told.dns = EXPLAIN_DNS_FAILED;
		strlcpy(hop->told.words, answer->why, sizeof(hop->told.words));
	} else if (count > 0 && addresses.count == 0) {
		hop->told.dns = EXPLAIN_DNS_FAILED;
		strlcpy(hop->told.words,
		    limits.family == RELAY_INET4 ? "it has no IPv4 address (mta limit)"
		                                 : "it has no IPv6 address (mta limit)",
		    sizeof(hop->told.words));
	} else if (answer->status == ANSWER_FOUND && answer->count > 0 && addresses.count == 0) {
		hop->told.dns = EXPLAIN_DNS_FAILED;
		strlcpy(hop->told.words, "it is in a private network, " ROUTE_PRIVATE,
		    sizeof(hop->told.words));
	} else
		hop->told.dns = addresses.count > 0 ? EXPLAIN_DNS_FOUND : EXPLAIN_DNS_NONE;
	take_addresses(hop, &addresses);
	count = dane_names_to_ask(answer, hop->hop->host, names);
	if (addresses.count > 0 && count > 0 &&
	    policy_wants_tlsa(&hop->policy, TLS_NEED_USUAL, hop->hop->is_secure)) {
		if (count > 1)
			strlcpy(hop->tlsa_next, names[1], sizeof(hop->tlsa_next));
		ask_tlsa(hop, names[0]);
		return;
	}
	hop_told(hop);
}

static void
begin_hop(struct hop_job *hop, const struct action_config *action)
{
	struct ipc_explain_host *told = &hop->told;
	struct addresses addresses = { .count = 0 };

	strlcpy(told->host, hop->hop->host, sizeof(told->host));
	told->port = hop->hop->port;
	told->preference = hop->hop->preference;
	strlcpy(told->scheme, hop_scheme(hop->hop), sizeof(told->scheme));
	told->is_address = hop->hop->is_address;
	hop->policy = policy_for(action, hop->hop->scheme);
	settle(hop, TLSA_NONE);
	if (hop->hop->is_address) {
		(void)addresses_add_text(&addresses, hop->hop->host, hop->hop->port);
		take_addresses(hop, &addresses);
		return;
	}
	told->dns = EXPLAIN_DNS_SILENT;
	hop->job->open++;
	hop->question = relay_dns_ask(
	    hop->job->explainer->pool->dns, QUERY_ADDRESSES, hop->hop->host, 0, on_addresses, hop);
}

/* The route */

static enum explain_origin
origin_of(const struct route *route, const struct action_config *action)
{
	if (route->hops[0].is_implicit)
		return EXPLAIN_BY_NAME;
	if (route->hops[0].is_mx)
		return EXPLAIN_BY_MX;
	return *action->relay_hosts != '\0' || *action->relay_domains != '\0'
	    ? EXPLAIN_BY_SMARTHOSTS
	    : EXPLAIN_BY_LITERAL;
}

static void
tell_sts(struct ipc_explain_route *told, const struct route *route)
{
	if (route->sts == NULL)
		return;
	switch (route->sts->mode) {
	case STS_MODE_NONE:
	case STS_MODE_COUNT:
		return;
	case STS_MODE_TESTING:
		told->sts = EXPLAIN_STS_TESTING;
		break;
	case STS_MODE_ENFORCE:
		told->sts = EXPLAIN_STS_ENFORCE;
		break;
	}
	strlcpy(told->sts_mx, route->sts->mx, sizeof(told->sts_mx));
}

static void
on_route(const struct route *route, const struct failure *failure, void *arg)
{
	struct job *job = arg;
	const struct action_config *action =
	    config_find_action(job->explainer->pool->config, job->asked.action);
	struct ipc_explain_route *told = &job->told;
	int64_t left_ms;

	if (route == NULL || action == NULL || route->count == 0) {
		if (failure != NULL)
			told->reply = failure->reply;
		else
			reply_set(&told->reply, 451, "4.3.5",
			    "there is no relay action %s in the configuration", job->asked.action);
		finish(job);
		return;
	}
	/* Held by what it is: nothing of it changes. */
	job->route = route_hold((struct route *)(uintptr_t)route);
	left_ms = route->expires_ms - clock_monotonic_ms();
	reply_set(&told->reply, 250, "2.0.0", "found");
	told->origin = origin_of(route, action);
	told->is_secure = route->hops[0].is_secure;
	told->count = (uint32_t)route->count;
	told->seconds = left_ms > 0 ? (uint32_t)(left_ms / 1000) : 0;
	tell_sts(told, route);
	if (route->canonical != NULL)
		strlcpy(told->canonical, route->canonical, sizeof(told->canonical));
	for (size_t i = 0; i < route->count; i++) {
		job->hops[i].job = job;
		job->hops[i].hop = &job->route->hops[i];
		begin_hop(&job->hops[i], action);
	}
	if (job->open == 0)
		finish(job);
}

bool
explainer_begin(struct explainer *explainer, uint32_t id, const struct ipc_explain_relay *asked,
    unsigned within_ms)
{
	struct timeval limit = { .tv_sec = within_ms / 1000, .tv_usec = within_ms % 1000 * 1000 };
	struct job *job;

	if (explainer->job_count >= EXPLAIN_JOBS_MAX)
		return false;
	job = calloc(1, sizeof(*job));
	if (job == NULL)
		return false;
	job->explainer = explainer;
	job->id = id;
	job->asked = *asked;
	job->watch = (struct route_watch){ .known = on_route, .arg = job };
	job->timer = evtimer_new(explainer->base, on_timer, job);
	if (job->timer == NULL || evtimer_add(job->timer, &limit) != 0)
		fatalx("no events");
	LIST_INSERT_HEAD(&explainer->jobs, job, entry);
	explainer->job_count++;
	destinations_watch(
	    explainer->destinations, job->asked.action, job->asked.domain, &job->watch);
	return true;
}
