/*
 * Hosts stand in a list in the order of their ids, which are never given twice: a listing in portions
 * holds nothing between two of them, whatever comes and goes meanwhile.
 */
#include <sys/un.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

#include <bsd/string.h>

#include "common/clock.h"
#include "deliver/relay_host_state.h"
#include "deliver/relay_report.h"

_Static_assert(ADDRESSES_MAX <= IPC_HOST_ADDRESSES_MAX, "all of a host's addresses are told");

void
record_connection(struct host_record *record, const struct session *session)
{
	record->connected = clock_wall();
	strlcpy(record->tls, session_server(session)->tls, sizeof(record->tls));
}

void
record_failure(struct host_record *record, const struct failure *failure)
{
	record->failure = clock_wall();
	record->reply = failure->reply;
}

void
record_transaction(struct host_record *record, const struct failure *failure)
{
	record->transactions++;
	if (failure == NULL)
		return;
	record->failed++;
	record_failure(record, failure);
}

void
pool_list_host(struct host *host)
{
	host->id = ++host->pool->last_id;
	TAILQ_INSERT_TAIL(&host->pool->listed, host, listed);
}

void
pool_unlist_host(struct host *host)
{
	TAILQ_REMOVE(&host->pool->listed, host, listed);
}

enum explain_security
report_security(const struct policy *policy, enum policy_fit fit)
{
	if (fit == POLICY_NOT_NAMED)
		return EXPLAIN_NOT_NAMED;
	switch (policy->security) {
	case SECURITY_NONE:
		break;
	case SECURITY_OPPORTUNISTIC:
		return EXPLAIN_OPPORTUNISTIC;
	case SECURITY_ENCRYPTED:
		return EXPLAIN_ENCRYPTED;
	case SECURITY_VERIFIED:
		return EXPLAIN_VERIFIED;
	case SECURITY_DANE:
		return EXPLAIN_DANE;
	}
	return EXPLAIN_PLAIN;
}

void
report_address(const struct sockaddr_storage *address, char *text, size_t size)
{
	const struct sockaddr_un *local = (const struct sockaddr_un *)(const void *)address;
	const void *bytes = address->ss_family == AF_INET6
	    ? (const void *)&((const struct sockaddr_in6 *)address)->sin6_addr
	    : (const void *)&((const struct sockaddr_in *)address)->sin_addr;

	if (address->ss_family == AF_UNIX)
		strlcpy(text, local->sun_path, size);
	else if (inet_ntop(address->ss_family, bytes, text, (socklen_t)size) == NULL)
		*text = '\0';
}

static enum host_state
state_of(const struct host *host)
{
	if (host->established > 0)
		return HOST_CONNECTED;
	if (host_has_failed(host))
		return HOST_FAILED;
	if (host->connecting > 0)
		return HOST_CONNECTING;
	if (host->addresses_state == ADDRESSES_ASKED)
		return HOST_LOOKED_UP;
	return host->record.connected != 0 ? HOST_IDLE : HOST_NEW;
}

/* Until it is looked up, DNS may still change how it is secured. */
static enum explain_security
security_of(const struct host *host)
{
	if (host->addresses_state != ADDRESSES_KNOWN &&
	    policy_wants_tlsa(&host->usual_policy, host->need, host->hop.is_secure))
		return EXPLAIN_UNKNOWN;
	return report_security(&host->settings.policy, host->fit);
}

static void
report_addresses(struct host *host, struct ipc_host *report)
{
	struct session *session;
	size_t at;

	for (size_t i = 0; i < host->addresses.count; i++)
		report_address(&host->addresses.all[i].address, report->addresses.all[i],
		    sizeof(report->addresses.all[i]));
	report->addresses.count = (uint32_t)host->addresses.count;
	for (session = TAILQ_FIRST(&host->sessions); session != NULL;
	     session = session_list_next(session)) {
		at = session_link(session)->address;
		if (session_link(session)->is_established && at < host->addresses.count)
			report->connections[at]++;
	}
}

static void
report_host(struct host *host, struct ipc_host *report)
{
	const struct action_config *action = config_find_action(host->pool->config, host->action);
	const struct host_record *record = &host->record;
	int64_t penalty = host->failed_until_ms - clock_monotonic_ms();

	memset(report, 0, sizeof(*report));
	report->id = host->id;
	strlcpy(report->host, host->hop.host, sizeof(report->host));
	report->port = host->hop.port;
	strlcpy(report->scheme, hop_scheme(&host->hop), sizeof(report->scheme));
	strlcpy(report->action, host->action, sizeof(report->action));
	if (action != NULL)
		strlcpy(report->source, action->relay_source, sizeof(report->source));
	if (host->domain != NULL)
		strlcpy(report->domain, host->domain, sizeof(report->domain));
	report->state = state_of(host);
	report->is_stale = host->is_stale;
	report->security = security_of(host);
	report->implicit_tls = host->settings.policy.implicit;
	report_addresses(host, report);
	report->connecting = host->connecting;
	report->connected = host->established;
	report->window = host->limits.sessions;
	report->waiting = (uint32_t)host->waiting_count;
	report->failures = host->failures;
	report->penalty = host_has_failed(host) ? (uint32_t)(penalty / 1000 + 1) : 0;
	report->transactions = record->transactions;
	report->failed = record->failed;
	report->last_connection = record->connected;
	report->last_failure = record->failure;
	report->reply = record->reply;
	strlcpy(report->tls, record->tls, sizeof(report->tls));
}

uint64_t
pool_report(struct pool *pool, uint64_t cursor, uint32_t most, report_fn each, void *arg)
{
	struct ipc_host report;
	struct host *host;
	uint64_t last = 0;

	TAILQ_FOREACH(host, &pool->listed, listed)
	{
		if (host->id <= cursor)
			continue;
		if (most-- == 0)
			return last;
		report_host(host, &report);
		each(&report, arg);
		last = host->id;
	}
	return 0;
}

void
pool_report_hop(struct pool *pool, const char *action, const struct hop *hop, const char *domain,
    report_fn each, void *arg)
{
	struct ipc_host report;
	struct host *host;

	TAILQ_FOREACH(host, &pool->listed, listed)
	{
		if (host->is_stale || host->is_split || host->hop.port != hop->port ||
		    host->hop.scheme != hop->scheme || strcmp(host->action, action) != 0 ||
		    strcasecmp(host->hop.host, hop->host) != 0 ||
		    (host->domain != NULL && strcasecmp(host->domain, domain) != 0))
			continue;
		report_host(host, &report);
		each(&report, arg);
	}
}

bool
pool_listens_at(
    const struct pool *pool, const struct hop *hop, const struct sockaddr_storage *address)
{
	return hop->scheme == SCHEME_SMTP && own_addresses_listen(pool->own, pool->config, address);
}
