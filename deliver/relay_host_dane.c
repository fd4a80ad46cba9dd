/*
 * When a host's addresses are known, and signed, its TLSA records are asked for, and with them the
 * policy is settled for all connections that follow. What can't be looked up makes the host one that
 * can't be used: an attacker who may drop the answer must not gain by it (RFC 7672 2.1.3).
 *
 * Records that name an authority make the mail's domain one of the names that the certificate may
 * have, so connections to such a host are shared by the mail of one domain only: the host is then
 * split, into one for each domain.
 */
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "common/clock.h"
#include "common/log.h"
#include "deliver/relay_host_state.h"
#include "deliver/relay_tls.h"

static void on_tlsa(const struct ipc_answer *, bool, void *);

static void
drop_records(struct host *host)
{
	dane_free(host->dane);
	host->dane = NULL;
	host->settings.dane = NULL;
}

void
host_dane_free(struct host *host)
{
	drop_records(host);
	free(host->tlsa_name);
	free(host->tlsa_next);
	free(host->domain);
	free(host->domain_canonical);
}

void
host_settle_policy(struct host *host, enum tlsa_kind tlsa)
{
	host->settings.policy = host->usual_policy;
	host->fit =
	    policy_settle(&host->settings.policy, host->need, host->hop.is_secure, tlsa, host->sts);
}

bool
host_refuses(struct host *host)
{
	struct failure failure;

	if (host->fit == POLICY_FITS)
		return false;
	if (host->fit == POLICY_NOT_NAMED) {
		bool is_final = host->need == TLS_NEED_REQUIRED;

		/* RFC 8461 8.4: as if it could not be reached. RFC 8689 4.2.1: such mail isn't kept. */
		failure_set(&failure, RELAY_FAULT_DESTINATION, is_final ? 550 : 451,
		    is_final ? "5.7.10" : "4.7.0",
		    "%s isn't one of the mail servers that the MTA-STS policy of %s names",
		    host->hop.host, host->domain);
		strlcpy(failure.server.host, host->hop.host, sizeof(failure.server.host));
		host_note_failure(host, POLICY_TYPE_STS, TLS_RESULT_VALIDATION_FAILURE,
		    "the policy doesn't name this host");
		host_fail_waiting(host, &failure);
		return true;
	}
	/* RFC 8689 4.2.1 */
	failure_set(&failure, RELAY_FAULT_NONE, 550, "5.7.10",
	    host->hop.is_secure ? "%s is used without verified TLS, which this message requires"
	                        : "nothing vouches that %s is the right mail server (its domain's "
	                          "MX records aren't signed, and no MTA-STS policy names it), "
	                          "which this message requires",
	    host->hop.host);
	strlcpy(failure.server.host, host->hop.host, sizeof(failure.server.host));
	host_fail_waiting(host, &failure);
	return true;
}

static void
ask(struct host *host)
{
	host->question = relay_dns_ask(
	    host->pool->dns, QUERY_TLSA, host->tlsa_name, host->hop.port, on_tlsa, host);
}

bool
host_ask_tlsa(struct host *host, const struct ipc_answer *addresses)
{
	const char *names[2];
	size_t count = dane_names_to_ask(addresses, host->hop.host, names);

	drop_records(host);
	if (!policy_wants_tlsa(&host->usual_policy, host->need, host->hop.is_secure) ||
	    count == 0) {
		host_settle_policy(host, TLSA_NONE);
		return false;
	}
	free(host->tlsa_name);
	free(host->tlsa_next);
	host->tlsa_next = NULL;
	host->tlsa_name = strdup(names[0]);
	if (count > 1)
		host->tlsa_next = strdup(names[1]);
	if (host->tlsa_name == NULL || (count > 1 && host->tlsa_next == NULL))
		fatal("host");
	ask(host);
	return true;
}

/* A host for each domain instead of this one. */
static void
split(struct host *host)
{
	const struct action_config *action = config_find_action(host->pool->config, host->action);
	struct task_list all = TAILQ_HEAD_INITIALIZER(all);
	struct failure failure;
	struct host *other;
	struct task *task;
	size_t count = 0;

	host->is_split = true;
	host->addresses_state = ADDRESSES_UNKNOWN;
	while ((task = TAILQ_FIRST(&host->waiting)) != NULL) {
		task_wait_no_more(task);
		task_wait(task, &all, &count, false);
	}
	while ((task = TAILQ_FIRST(&all)) != NULL) {
		task_wait_no_more(task);
		other = action == NULL ? NULL : pool_host(host->pool, &host->hop, action, task);
		if (other != NULL && other != host) {
			host_submit(other, task);
			continue;
		}
		failure_set(&failure, RELAY_FAULT_OURS, 451, "4.3.0",
		    "the configuration changed, or there is no memory");
		host->pool->owner.failed(task, &failure, host->pool->owner.arg);
	}
}

static void
log_records(const struct host *host, size_t count, size_t usable)
{
	struct log_line line;

	if (!log_trace_begin(&line, LOG_TRACE_MTA, "tlsa-found"))
		return;
	log_text(&line, "host", host->hop.host);
	log_text(&line, "name", host->tlsa_name);
	log_number(&line, "records", (int64_t)count);
	log_number(&line, "usable", (int64_t)usable);
	log_end(&line);
}

/* False without memory. */
static bool
take_records(struct host *host, const struct ipc_answer *answer)
{
	struct dane *dane = dane_new(answer);
	size_t usable, anchors;

	if (dane == NULL || !dane_add_name(dane, host->tlsa_name) ||
	    !dane_add_name(dane, host->hop.host) ||
	    (host->domain != NULL && !dane_add_name(dane, host->domain)) ||
	    (host->domain_canonical != NULL && !dane_add_name(dane, host->domain_canonical))) {
		dane_free(dane);
		return false;
	}
	usable = tls_client_usable_records(host->pool->tls, dane, &anchors);
	log_records(host, answer->count, usable);
	if (usable == 0) {
		dane_free(dane);
		host_settle_policy(host, TLSA_UNUSABLE);
	} else if (anchors > 0 && host->hop.is_mx && host->domain == NULL) {
		dane_free(dane);
		split(host);
		return true;
	} else {
		host->settings.dane = host->dane = dane;
		host_settle_policy(host, TLSA_USABLE);
	}
	host_addresses_known(
	    host, answer->ttl < host->addresses_ttl ? answer->ttl : host->addresses_ttl);
	return true;
}

static void
on_tlsa(const struct ipc_answer *answer, bool ours, void *arg)
{
	struct host *host = arg;
	struct failure failure;

	host->question = 0;
	if (answer->status == ANSWER_FAILED) {
		failure_set(&failure, ours ? RELAY_FAULT_OURS : RELAY_FAULT_DESTINATION, 451,
		    "4.7.5", "the TLSA records of %s can't be looked up: %s", host->tlsa_name,
		    answer->why);
		strlcpy(failure.server.host, host->hop.host, sizeof(failure.server.host));
		if (!ours)
			host_note_failure(
			    host, POLICY_TYPE_TLSA, TLS_RESULT_DNSSEC_INVALID, failure.reply.text);
		host_has_no_addresses(host, &failure);
	} else if (answer->status == ANSWER_FOUND && answer->secure) {
		if (take_records(host, answer))
			return;
		failure_set(&failure, RELAY_FAULT_OURS, 451, "4.3.0", "no memory");
		host_has_no_addresses(host, &failure);
	} else if (host->tlsa_next != NULL) {
		free(host->tlsa_name);
		host->tlsa_name = host->tlsa_next;
		host->tlsa_next = NULL;
		ask(host);
	} else {
		host_settle_policy(host, TLSA_NONE);
		host_addresses_known(
		    host, answer->ttl < host->addresses_ttl ? answer->ttl : host->addresses_ttl);
	}
}
