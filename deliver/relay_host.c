/*
 * A host has its tasks in one line, first come, first served. As long as it isn't known to answer,
 * one connection at a time is made to it: a dead host takes no more than that, and when it has
 * failed all that wait for it go elsewhere at once. When it answers, others follow, up to its limit.
 *
 * All connections together have a limit too. One that idles at another host gives way; one that has
 * been connecting for a quarter of a second isn't counted, so that hosts that don't answer keep
 * nobody else from being served.
 */
#include <sys/socket.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>
#include <event2/event.h>

#include "common/clock.h"
#include "common/log.h"
#include "deliver/relay_host_state.h"

#define ADDRESSES_TTL_MS (5 * 60000)  /* at most, whatever DNS says */
#define FAILED_FIRST_MS  30000        /* a host that has failed is tried last for that long, */
#define FAILED_LAST_MS   (10 * 60000) /* twice as long each time, up to this */
#define HOLD_MS          5000
#define CREDENTIALS_MS   10000 /* then they are asked for again, before a connection */

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

void
host_fail_waiting(struct host *host, const struct failure *failure)
{
	fail_waiting(host, failure, NULL);
}

void
host_has_no_addresses(struct host *host, const struct failure *failure)
{
	host->addresses_state = ADDRESSES_UNKNOWN;
	record_failure(&host->record, failure);
	/* Its connections are as good as they were. */
	if (host->established > 0) {
		host->addresses_pause_ms = clock_monotonic_ms() + host->pool->times.addresses_ms;
		log_info("%s: no new connections for now", failure->reply.text);
		return;
	}
	if (failure->fault != RELAY_FAULT_OURS)
		note_host_failure(host);
	fail_waiting(host, failure, NULL);
}

/* Some were left out by `mta limit inet4` or `inet6`, if `has_others`. */
static void
addresses_failed(struct host *host, const struct ipc_answer *answer, bool ours, bool has_others)
{
	struct failure failure;

	if (has_others)
		failure_set(&failure, RELAY_FAULT_NONE, 550, "5.4.4",
		    "the mail server %s has no address of %s, and no others are connected to "
		    "(mta limit)",
		    host->hop.host, host->limits.family == RELAY_INET4 ? "IPv4" : "IPv6");
	else if (answer->status == ANSWER_FOUND && answer->count > 0)
		failure_set(&failure, RELAY_FAULT_NONE, 550, "5.4.4",
		    "the mail server %s is in a private network, " ROUTE_PRIVATE, host->hop.host);
	else if (answer->status == ANSWER_FAILED)
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
	host_has_no_addresses(host, &failure);
}

void
host_addresses_known(struct host *host, uint32_t ttl)
{
	int64_t ttl_ms = (int64_t)ttl * 1000;

	if (ttl_ms > ADDRESSES_TTL_MS)
		ttl_ms = ADDRESSES_TTL_MS;
	/* A TTL of 0 is good for what it was asked for (RFC 1035 3.2.1). */
	if (ttl_ms < host->pool->times.addresses_ms)
		ttl_ms = host->pool->times.addresses_ms;
	host->addresses_state = ADDRESSES_KNOWN;
	host->addresses_expire_ms = clock_monotonic_ms() + ttl_ms;
	host_pump(host);
}

static void
on_addresses(const struct ipc_answer *answer, bool ours, void *arg)
{
	struct host *host = arg;
	size_t count;

	host->question = 0;
	host->addresses.count = 0;
	addresses_add_answer(&host->addresses, answer, host->hop.port,
	    hop_is_public_only(&host->hop, host->pool->config));
	count = host->addresses.count;
	addresses_keep(&host->addresses, host->limits.family);
	if (host->addresses.count == 0) {
		addresses_failed(host, answer, ours, count > 0);
		return;
	}
	addresses_order(&host->addresses);
	host->addresses_ttl = answer->ttl;
	if (!host_ask_tlsa(host, answer))
		host_addresses_known(host, answer->ttl);
}

/* True when there are addresses to connect to; otherwise it is called again when there are. */
static bool
has_addresses(struct host *host)
{
	int64_t now = clock_monotonic_ms();

	if (host->hop.is_address && host->addresses_state == ADDRESSES_UNKNOWN) {
		(void)addresses_add_text(&host->addresses, host->hop.host, host->hop.port);
		host->addresses_state = ADDRESSES_KNOWN;
		host->addresses_expire_ms = INT64_MAX;
	}
	if (host->addresses_state == ADDRESSES_KNOWN && now < host->addresses_expire_ms)
		return true;
	/* Those that are being connected know their address by its place among the old ones, and how
	 * it is secured: they come to an end first, and call this. */
	if (host->connecting > 0 || (host->established > 0 && now < host->addresses_pause_ms))
		return false;
	if (host->addresses_state != ADDRESSES_ASKED) {
		host->addresses_state = ADDRESSES_ASKED;
		host->question = relay_dns_ask(
		    host->pool->dns, QUERY_ADDRESSES, host->hop.host, 0, on_addresses, host);
	}
	return false;
}

/* Credentials */

void
host_forget_credentials(struct host *host)
{
	struct session_settings *settings = &host->settings;

	if (settings->user != NULL)
		explicit_bzero(settings->user, strlen(settings->user));
	if (settings->password != NULL)
		explicit_bzero(settings->password, strlen(settings->password));
	free(settings->user);
	free(settings->password);
	settings->user = settings->password = NULL;
	explicit_bzero(&host->scram_keys, sizeof(host->scram_keys));
}

/* "user:password" */
static bool
take_credentials(struct host *host, const char *value)
{
	const char *colon = strchr(value, ':');

	host_forget_credentials(host);
	if (colon == NULL || colon == value)
		return false;
	host->settings.user = strndup(value, (size_t)(colon - value));
	host->settings.password = strdup(colon + 1);
	return host->settings.user != NULL && host->settings.password != NULL;
}

static void
on_credentials(const struct ipc_relay_found *found, void *arg)
{
	struct host *host = arg;
	struct failure failure;

	host->credentials_question = 0;
	if (found->status == RELAY_FOUND && take_credentials(host, found->value)) {
		host->credentials_expire_ms = clock_monotonic_ms() + CREDENTIALS_MS;
		host_pump(host);
		return;
	}
	failure_set(&failure, RELAY_FAULT_OURS, 451, "4.3.5",
	    "no credentials for %s: a line %s = user:password in the action's auth table is "
	    "missing, "
	    "or the table can't be read",
	    host->hop.host, host->hop.label);
	log_error("%s", failure.reply.text);
	fail_waiting(host, &failure, NULL);
}

/* True when a session may begin; otherwise it is called again when one may. None is asked for while
 * there are sessions: those use what they began with. */
static bool
has_credentials(struct host *host)
{
	if (!host->needs_credentials || host->established + host->connecting > 0 ||
	    (host->settings.user != NULL && clock_monotonic_ms() < host->credentials_expire_ms))
		return true;
	if (host->credentials_question == 0)
		host->credentials_question = relay_directory_ask(host->pool->directory,
		    RELAY_LOOKUP_CREDENTIALS, host->action, host->hop.label, on_credentials, host);
	return false;
}

/* Sessions */

struct link *
session_link(const struct session *session)
{
	return session_note(session);
}

void
link_set_slow(struct link *link, bool slow)
{
	if (link->is_slow == slow)
		return;
	link->is_slow = slow;
	if (slow)
		link->host->pool->counted--;
	else
		link->host->pool->counted++;
}

void
link_count(struct link *link, bool counted)
{
	struct pool *pool = link->host->pool;

	link_set_slow(link, false);
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
	struct link *link = session_link(session);
	struct host *host = link->host;

	if (link->is_established)
		host->established--;
	else
		host->connecting--;
	link_count(link, false);
	link->is_dead = true;
	host->pool->session_count--;
	session_list_remove(&host->sessions, session);
	session_list_add(&host->pool->dead, session);
	event_active(host->pool->reaper, 0, 0);
}

/* There is an own address for it, of its kind. */
static bool
can_come_from(const struct host *host, size_t address)
{
	return host->sources == NULL ||
	    sources_have(host->sources, host->addresses.all[address].address.ss_family);
}

/* The next address of its host that this session hasn't tried, one that has failed lately last. */
static bool
connect_next(struct session *session)
{
	struct link *link = session_link(session);
	struct host *host = link->host;
	int64_t now = clock_monotonic_ms();
	size_t chosen = ADDRESSES_MAX;
	const struct sockaddr *source = NULL;
	socklen_t length = 0;
	const char *helo;

	for (size_t i = 0; i < host->addresses.count; i++) {
		if ((link->tried & (1U << i)) != 0 || !can_come_from(host, i))
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
	if (host->sources != NULL) {
		source = sources_next(
		    host->sources, host->addresses.all[chosen].address.ss_family, &length, &helo);
		session_set_helo(session, helo);
	}
	session_connect(session, (const struct sockaddr *)&host->addresses.all[chosen].address,
	    host->addresses.all[chosen].length, source, length);
	return true;
}

/* `src` has addresses, and none of a kind that reaches the host. */
static bool
has_no_source(struct host *host)
{
	struct failure failure;

	for (size_t i = 0; i < host->addresses.count; i++)
		if (can_come_from(host, i))
			return false;
	failure_set(&failure, RELAY_FAULT_OURS, 451, "4.3.5",
	    "none of the action's source addresses is of the kind of the addresses of %s",
	    host->hop.host);
	fail_waiting(host, &failure, NULL);
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
	if (*host_policy_words(session_link(session)->host) != '\0')
		log_text(&line, "policy", host_policy_words(session_link(session)->host));
	if (failure != NULL)
		log_text(&line, "reason", failure->reply.text);
	log_end(&line);
}

void
host_session_ready(struct session *session, void *arg)
{
	struct link *link = session_link(session);
	struct host *host = link->host;

	(void)arg;
	if (!link->is_established) {
		link->is_established = true;
		host->connecting--;
		host->established++;
		link_count(link, true);
		host->failures = 0;
		host->failed_until_ms = 0;
		host->addresses.all[link->address].failed_until_ms = 0;
		record_connection(&host->record, session);
		log_session(session, LOG_LEVEL_INFO, "relay-connected", NULL);
	}
	host_pump(host);
}

void
host_session_finished(struct session *session, struct task *task, enum transaction_outcome outcome,
    const struct failure *failure, void *arg)
{
	struct host *host = session_link(session)->host;
	struct pool *pool = host->pool;

	(void)arg;
	task->state = TASK_WAITING;
	if (outcome != TRANSACTION_AGAIN)
		record_transaction(&host->record, outcome == TRANSACTION_HOST ? failure : NULL);
	if (task->left == 0) {
		pool->owner.done(task, pool->owner.arg);
		return;
	}
	switch (outcome) {
	case TRANSACTION_DONE: /* the rest in another transaction */
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

void
host_session_closed(struct session *session, const struct failure *failure, void *arg)
{
	struct link *link = session_link(session);
	struct host *host = link->host;
	char dialogue[IPC_RELAY_DIALOGUE_MAX + 1];

	(void)arg;
	if (failure != NULL && !link->is_established) {
		record_failure(&host->record, failure);
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
			host_note_failed_session(session);
			fail_waiting(host, failure, dialogue);
		}
	} else if (!link->is_dead) {
		bury(session);
	}
	host_pump(host);
}

static void
starve(struct host *host, bool evict)
{
	struct session *idle;

	if (host->is_starving)
		return;
	host->is_starving = true;
	TAILQ_INSERT_TAIL(&host->pool->starving, host, starving);
	idle = evict ? pool_find_idle(host->pool, host) : NULL;
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
	link_count(link, true);
	pool_watch_connecting(pool);
	(void)connect_next(session);
	return true;
}

/* RFC 5321 2.1 and 5.1: mail for elsewhere that would come here has no place to go. */
static bool
leads_here(struct host *host)
{
	struct failure failure;

	if (host->hop.scheme != SCHEME_SMTP)
		return false;
	for (size_t i = 0; i < host->addresses.count; i++) {
		if (!own_addresses_listen(
		        host->pool->own, host->pool->config, &host->addresses.all[i].address))
			continue;
		failure_set(&failure, RELAY_FAULT_NONE, 554, "5.4.6",
		    "mail for %s would come back to this server, which listens there",
		    host->hop.host);
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

/* How we call ourselves is known for each of our addresses. */
static bool
has_names(struct host *host)
{
	return host->sources == NULL ||
	    sources_are_known(host->sources, pool_sources_known, host->pool);
}

/* Brings the tasks that wait and the connections together, and makes new ones. */
void
host_pump(struct host *host)
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
		host_note_session(session, task);
		session_give(session, task);
	}
	while (host->waiting_count > host->connecting && ready_session(host) == NULL &&
	    has_addresses(host) && !host_refuses(host) && has_credentials(host) &&
	    has_names(host) && !has_no_source(host) && !leads_here(host) && may_open(host))
		if (!open_session(host))
			break;
	host->is_pumping = false;
}

static void
set_up_session(struct host *host, const struct action_config *action)
{
	const struct config *config = host->pool->config;
	struct session_settings *settings = &host->settings;

	/* What others may get to see names no file of ours. */
	strlcpy(settings->host, *host->hop.host == '/' ? "localhost" : host->hop.host,
	    sizeof(settings->host));
	strlcpy(settings->helo, *action->relay_helo != '\0' ? action->relay_helo : config->hostname,
	    sizeof(settings->helo));
	strlcpy(settings->mail_from, action->relay_mail_from, sizeof(settings->mail_from));
	strlcpy(settings->ca, action->relay_ca, sizeof(settings->ca));
	strlcpy(settings->pki, action->relay_pki, sizeof(settings->pki));
	strlcpy(settings->ciphers, action->relay_ciphers, sizeof(settings->ciphers));
	settings->tls_1_3_only = action->relay_tls_1_3_only;
	settings->lmtp = host->hop.scheme == SCHEME_LMTP;
	settings->need = host->need;
	host->usual_policy = policy_for(action, host->hop.scheme);
	host_settle_policy(host, TLSA_NONE);
	settings->tls = host->pool->tls;
	settings->local = host->pool->local;
	settings->scram_keys = &host->scram_keys;
	settings->messages = host->limits.messages;
	settings->recipients = host->limits.recipients;
	settings->pause_ms = host->limits.pause_ms;
	settings->times = &host->pool->times;
}

static struct host *
new_host(struct pool *pool, const struct hop *hop, const struct limits *limits)
{
	struct host *host = calloc(1, sizeof(*host));

	if (host == NULL)
		return NULL;
	host->pool = pool;
	host->hop = *hop;
	host->limits = *limits;
	host->allowance = limits->messages_per_minute + 60;
	host->used_ms = clock_monotonic_ms();
	TAILQ_INIT(&host->waiting);
	TAILQ_INIT(&host->sessions);
	host->needs_credentials = *hop->label != '\0';
	return host;
}

/* Its mail is of that task's domain only. */
static bool
name_domain(struct host *host, const struct task *task)
{
	char name[HOSTNAME_MAX + 1];

	if (address_domain_key(task->message.domain, name, sizeof(name)))
		host->domain = strdup(name);
	else
		host->domain = strdup("");
	if (task->route != NULL && task->route->canonical != NULL)
		host->domain_canonical = strdup(task->route->canonical);
	return host->domain != NULL;
}

static struct host *
get_host(struct pool *pool, const struct hop *hop, const struct action_config *action,
    const struct task *task, bool of_domain)
{
	const char *domain = task->message.domain;
	enum tls_need need = policy_need(&task->message);
	enum sts_verdict sts = route_verdict(task->route, hop);
	struct limits limits;
	struct host *host;
	char key[HOST_KEY_MAX];

	limits_for(&limits, pool->config, domain, hop->host);
	/* What it isn't to be used for is told with the domain's name. */
	of_domain |= limits.of_domain || sts == STS_VERDICT_ENFORCED_OTHER;
	snprintf(key, sizeof(key), "%s %d %s@%s:%u %d%d%d%d %s", action->name, (int)hop->scheme,
	    hop->label, hop->host, hop->port, (int)need, hop->is_secure, hop->is_foreign, (int)sts,
	    of_domain ? domain : "");
	host = map_get(pool->hosts, key);
	if (host != NULL)
		return host;
	host = new_host(pool, hop, &limits);
	if (host == NULL)
		return NULL;
	if (of_domain && !name_domain(host, task)) {
		free(host);
		return NULL;
	}
	host->need = need;
	host->sts = sts;
	strlcpy(host->key, key, sizeof(host->key));
	strlcpy(host->action, action->name, sizeof(host->action));
	set_up_session(host, action);
	host->sources = pool_sources(pool, action);
	if (host->sources != NULL)
		sources_hold(host->sources);
	map_add(pool->hosts, key, host);
	pool_list_host(host);
	return host;
}

struct host *
pool_host(struct pool *pool, const struct hop *hop, const struct action_config *action,
    const struct task *task)
{
	struct host *host = get_host(pool, hop, action, task, false);

	return host != NULL && host->is_split ? get_host(pool, hop, action, task, true) : host;
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
	host_pump(host);
}
