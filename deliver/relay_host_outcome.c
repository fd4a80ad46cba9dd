/*
 * A connection may serve many domains, each with a policy of its own, and its outcome is told to each
 * once: when it takes up the first message for it, or when all that wait for it are turned away.
 */
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "common/log.h"
#include "deliver/relay_host_state.h"

#define NOTED_MAX 200 /* domains of a connection; more aren't told */

const char *
host_policy_words(const struct host *host)
{
	switch (host->settings.policy.type) {
	case POLICY_TYPE_TLSA:
		return "dane";
	case POLICY_TYPE_STS:
		return host->settings.policy.is_watched ? "sts-testing" : "sts";
	case POLICY_TYPE_NONE:
	case POLICY_TYPE_COUNT:
		break;
	}
	return "";
}

void
link_free(struct link *link)
{
	if (link != NULL && link->noted != NULL)
		map_free(link->noted);
	free(link);
}

/* A policy that is being tested would have kept the mail back. */
static void
log_test(const struct outcome_note *note)
{
	struct log_line line;

	log_begin(&line, LOG_LEVEL_INFO, "sts-policy-would-fail");
	log_text(&line, "domain", note->domain);
	log_text(&line, "host", note->mx);
	log_text(&line, "address", note->mx_address);
	log_text(&line, "result", tls_result_name(note->result));
	log_text(&line, "reason", note->reason);
	log_end(&line);
}

static void
tell(const struct host *host, const struct task *task, const struct outcome_note *what)
{
	struct outcome_note note = *what;
	char domain[HOSTNAME_MAX + 1];

	if (!address_domain_key(task->message.domain, domain, sizeof(domain)))
		return;
	note.domain = domain;
	if (note.type == POLICY_TYPE_STS && task->route != NULL)
		note.sts = task->route->sts;
	if (note.type == POLICY_TYPE_TLSA)
		note.dane = host->dane;
	if (host->settings.policy.is_watched && note.result != TLS_RESULT_SUCCESS)
		log_test(&note);
	if (host->pool->observer != NULL)
		host->pool->observer(&note, host->pool->observer_arg);
}

static void
describe(struct outcome_note *note, const struct session *session)
{
	const struct server_words *server = session_server(session);

	memset(note, 0, sizeof(*note));
	note->type = session_link(session)->host->settings.policy.type;
	note->result = session_tls_result(session, &note->reason);
	note->mx = server->host;
	note->mx_address = server->address;
	note->own_address = session_own_address(session);
}

void
host_note_session(const struct session *session, const struct task *task)
{
	struct link *link = session_link(session);
	const struct host *host = link->host;
	struct outcome_note note;

	/* Mail that the configuration or the sender takes elsewhere, or doesn't care, is no matter of
	 * the domain's. */
	if (!host->hop.is_mx || host->need == TLS_NEED_OPTIONAL ||
	    (host->pool->observer == NULL && !host->settings.policy.is_watched))
		return;
	if (link->noted == NULL)
		link->noted = map_new();
	if (map_count(link->noted) >= NOTED_MAX ||
	    map_get(link->noted, task->message.domain) != NULL)
		return;
	map_add(link->noted, task->message.domain, link);
	describe(&note, session);
	tell(host, task, &note);
}

/* Each domain of those that wait, once. */
static void
tell_waiting(const struct host *host, const struct outcome_note *note)
{
	struct map *told;
	struct task *task;

	if (!host->hop.is_mx || host->pool->observer == NULL)
		return;
	told = map_new();
	TAILQ_FOREACH(task, &host->waiting, entry)
	{
		if (map_count(told) >= NOTED_MAX || map_get(told, task->message.domain) != NULL)
			continue;
		map_add(told, task->message.domain, task);
		tell(host, task, note);
	}
	map_free(told);
}

void
host_note_failed_session(const struct session *session)
{
	struct outcome_note note;

	describe(&note, session);
	if (note.result != TLS_RESULT_SUCCESS)
		tell_waiting(session_link(session)->host, &note);
}

void
host_note_failure(
    const struct host *host, enum policy_type type, enum tls_result result, const char *reason)
{
	const struct outcome_note note = { .type = type,
		.result = result,
		.mx = host->hop.host,
		.mx_address = "",
		.own_address = "",
		.reason = reason };

	tell_waiting(host, &note);
}
