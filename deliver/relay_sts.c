/*
 * For each domain that was asked for lately there is an entry. What the directory keeps and the TXT
 * record are asked for at once; when both are known it is decided whether to fetch. Who asked is
 * answered when that is over, or when he has waited for long enough: then by what is in force without
 * it. The fetch goes on, for those who come later.
 *
 * A policy stays in force until it runs out, whatever becomes of its record and its web server (RFC
 * 8461 3.1 and 5.1): that is what it is for.
 *
 * Once a minute the directory is asked which policies are due to be fetched again, one after the
 * other, and a few are fetched at a time.
 */
#include <sys/queue.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/stdlib.h>
#include <bsd/string.h>
#include <event2/event.h>

#include "common/clock.h"
#include "common/log.h"
#include "deliver/relay_directory.h"
#include "deliver/relay_dns.h"
#include "deliver/relay_https.h"
#include "deliver/relay_map.h"
#include "deliver/relay_sts.h"
#include "deliver/relay_sts_policy.h"

#define RECORD_PREFIX "_mta-sts." /* RFC 8461 3.1 */
#define HOST_PREFIX   "mta-sts."
#define DOMAIN_MAX    (HOSTNAME_MAX - (int)sizeof(RECORD_PREFIX) + 1)
#define POLICY_PATH   "/.well-known/mta-sts.txt" /* RFC 8461 3.2 */
#define KEEP_MS       (10 * 60000)
#define REFRESHES_MAX 8

struct entry;

struct sts_question {
	TAILQ_ENTRY(sts_question) next;
	struct entry *entry;
	struct event *timer;
	sts_fn done;
	void *arg;
};

struct entry {
	struct sts *sts;
	char domain[HOSTNAME_MAX + 1];
	struct sts_policy *policy; /* the last one, held; NULL: none is known */
	bool is_known;             /* what the directory keeps */
	bool is_refresh;           /* it is fetched whatever its record says (RFC 8461 10.2) */
	uint32_t kept_question;    /* 0: none is open */
	uint32_t record_question;
	struct https_exchange *exchange; /* NULL: none is open */
	char id[IPC_STS_ID_MAX + 1];     /* of its record; "" it has none */
	char tried_id[IPC_STS_ID_MAX + 1];
	bool has_failed; /* the last fetch */
	int64_t began_ms;
	int64_t fetch_after_ms;
	int64_t refresh_after_ms;
	int64_t used_ms;
	TAILQ_HEAD(sts_questions, sts_question) questions;
};

struct sts {
	struct event_base *base;
	struct relay_dns *dns;
	struct relay_directory *directory;
	struct https *https;
	struct sts_times times;
	bool is_enabled;
	outcome_fn observer;
	void *observer_arg;
	struct map *entries; /* by domain */
	struct event *tick;
	uint32_t due_question; /* 0: none is open */
	bool is_walking;
	char after[HOSTNAME_MAX + 1]; /* where the walk goes on */
	unsigned refreshes;           /* under way */
};

static void decide(struct entry *);
static void walk_on(struct sts *);

static struct sts_policy *
in_force(const struct entry *entry)
{
	return sts_policy_time_left(entry->policy) > 0 ? entry->policy : NULL;
}

/* Answers */

static void
free_question(struct sts_question *question)
{
	TAILQ_REMOVE(&question->entry->questions, question, next);
	event_free(question->timer);
	free(question);
}

static void
answer(struct sts_question *question, bool is_unsure)
{
	struct sts_policy *policy = is_unsure ? NULL : sts_policy_hold(in_force(question->entry));
	sts_fn done = question->done;
	void *arg = question->arg;

	free_question(question);
	done(policy, is_unsure, arg);
	sts_policy_drop(policy);
}

/* All that asked so far; those who ask meanwhile begin anew. */
static void
answer_all(struct entry *entry, bool is_unsure)
{
	struct sts_question *question, *last = TAILQ_LAST(&entry->questions, sts_questions);

	while ((question = TAILQ_FIRST(&entry->questions)) != NULL) {
		bool is_last = question == last;

		answer(question, is_unsure);
		if (is_last)
			return;
	}
}

static void
trace(const struct entry *entry, const char *how)
{
	const struct sts_policy *policy = in_force(entry);
	struct log_line line;

	if (!log_trace_begin(&line, LOG_TRACE_MTA, "sts-policy-used"))
		return;
	log_text(&line, "domain", entry->domain);
	log_text(&line, "record", entry->id);
	log_text(&line, "in_force", policy == NULL ? "none" : sts_mode_name(policy->mode));
	log_text(&line, "id", policy == NULL ? "" : policy->id);
	log_text(&line, "mx", policy == NULL ? "" : policy->mx);
	log_text(&line, "how", how);
	log_end(&line);
}

static void
end_refresh(struct entry *entry)
{
	if (!entry->is_refresh)
		return;
	entry->is_refresh = false;
	entry->sts->refreshes--;
	walk_on(entry->sts);
}

/* Nothing more is to be found out for now. */
static void
settle(struct entry *entry, const char *how)
{
	trace(entry, how);
	end_refresh(entry);
	answer_all(entry, false);
}

/* The web server's answer */

static void
note_failure(const struct entry *entry, enum tls_result result, const char *why)
{
	struct outcome_note note = { .domain = entry->domain,
		.type = POLICY_TYPE_STS,
		.result = result,
		.sts = in_force(entry),
		.mx = "",
		.mx_address = "",
		.own_address = "",
		.reason = why };

	if (entry->sts->observer != NULL)
		entry->sts->observer(&note, entry->sts->observer_arg);
}

static void
fetch_failed(struct entry *entry, enum tls_result result, const char *why)
{
	const struct sts_policy *policy = in_force(entry);
	int64_t now = clock_monotonic_ms();
	struct log_line line;

	entry->has_failed = true;
	entry->fetch_after_ms = now + entry->sts->times.failed_ms;
	entry->refresh_after_ms = now + entry->sts->times.refresh_ms;
	/* RFC 8461 8.3 and 10.2: who has said that he has none any more may take it away. */
	if (policy == NULL || policy->mode != STS_MODE_NONE) {
		/* RFC 8461 10.2: long before it runs out. */
		log_begin(&line, policy != NULL ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO,
		    "sts-policy-not-fetched");
		log_text(&line, "domain", entry->domain);
		log_text(&line, "reason", why);
		log_text(&line, "in_force", policy == NULL ? "none" : sts_mode_name(policy->mode));
		if (policy != NULL)
			log_number(&line, "good_for_s", sts_policy_time_left(policy));
		log_end(&line);
		note_failure(entry, result, why);
	}
	settle(entry, "not fetched");
}

static void
log_policy(const struct sts_policy *policy)
{
	struct log_line line;

	log_begin(&line, LOG_LEVEL_INFO, "sts-policy-fetched");
	log_text(&line, "domain", policy->domain);
	log_text(&line, "id", policy->id);
	log_text(&line, "mode", sts_mode_name(policy->mode));
	log_number(&line, "max_age", policy->max_age);
	log_text(&line, "mx", policy->mx);
	log_end(&line);
}

static void
take_policy(struct entry *entry, const struct https_answer *got)
{
	static struct ipc_sts_policy policy;
	char words[200], why[300];

	memset(&policy, 0, sizeof(policy));
	if (!sts_policy_parse(&policy, got->content, got->content_length, words, sizeof(words))) {
		snprintf(why, sizeof(why), "the policy can't be used: %s", words);
		fetch_failed(entry, TLS_RESULT_STS_POLICY_INVALID, why);
		return;
	}
	strlcpy(policy.domain, entry->domain, sizeof(policy.domain));
	strlcpy(policy.id, entry->tried_id, sizeof(policy.id));
	policy.fetched = clock_wall();
	sts_policy_drop(entry->policy);
	entry->policy = sts_policy_new(&policy);
	entry->has_failed = false;
	entry->fetch_after_ms = clock_monotonic_ms() + entry->sts->times.same_ms;
	log_policy(entry->policy);
	(void)relay_directory_keep_policy(entry->sts->directory, &policy);
	settle(entry, "fetched");
}

static void
on_fetched(const struct https_answer *got, void *arg)
{
	struct entry *entry = arg;
	char why[300];

	entry->exchange = NULL;
	if (got->status == HTTPS_BAD_CERTIFICATE) {
		fetch_failed(entry, TLS_RESULT_STS_WEBPKI_INVALID, got->why);
	} else if (got->status != HTTPS_ANSWERED) {
		fetch_failed(entry, TLS_RESULT_STS_POLICY_FETCH_ERROR, got->why);
	} else if (got->code != 200) { /* RFC 8461 3.3 */
		snprintf(why, sizeof(why), "the web server answers %u, not 200", got->code);
		fetch_failed(entry, TLS_RESULT_STS_POLICY_FETCH_ERROR, why);
	} else if (strcmp(got->type, "text/plain") != 0) { /* RFC 8461 3.2 */
		snprintf(why, sizeof(why), "what the web server has is \"%s\", not text/plain",
		    got->type);
		fetch_failed(entry, TLS_RESULT_STS_POLICY_INVALID, why);
	} else {
		take_policy(entry, got);
	}
}

static void
fetch(struct entry *entry)
{
	char host[HOSTNAME_MAX + 1];
	const struct https_request request = { .host = host,
		.port = HTTPS_PORT,
		.path = POLICY_PATH,
		.ca = "",
		.answer_max = STS_TEXT_MAX,
		.time_ms = entry->sts->times.fetch_ms };

	snprintf(host, sizeof(host), "%s%.*s", HOST_PREFIX, DOMAIN_MAX, entry->domain);
	/* Without a record it is a refresh of the last one. */
	strlcpy(entry->tried_id, *entry->id != '\0' ? entry->id : entry->policy->id,
	    sizeof(entry->tried_id));
	entry->exchange = https_ask(entry->sts->https, &request, on_fetched, entry);
}

/* What is known */

static bool
may_fetch(const struct entry *entry)
{
	return clock_monotonic_ms() >= entry->fetch_after_ms ||
	    (!entry->has_failed && strcmp(entry->id, entry->tried_id) != 0);
}

static void
decide(struct entry *entry)
{
	const struct sts_policy *policy = in_force(entry);
	bool wants;

	if (entry->kept_question != 0 || entry->record_question != 0)
		return;
	wants = (entry->is_refresh && policy != NULL) ||
	    (*entry->id != '\0' && (policy == NULL || strcmp(policy->id, entry->id) != 0));
	if (wants && may_fetch(entry))
		fetch(entry);
	else
		settle(entry, wants ? "not fetched again yet" : "as known");
}

static void
on_kept(const struct ipc_sts_found *found, bool is_away, void *arg)
{
	struct entry *entry = arg;

	entry->kept_question = 0;
	if (is_away) {
		/* It may keep one: without it mail isn't sent. */
		end_refresh(entry);
		answer_all(entry, true);
		return;
	}
	entry->is_known = true;
	if (found->status == RELAY_FOUND && entry->policy == NULL)
		entry->policy = sts_policy_new(&found->policy);
	decide(entry);
}

static void
on_record(const struct ipc_answer *found, bool ours, void *arg)
{
	struct entry *entry = arg;

	(void)ours;
	entry->record_question = 0;
	(void)sts_record_id(found, entry->id);
	if (entry->is_known)
		decide(entry);
}

static bool
is_busy(const struct entry *entry)
{
	return entry->kept_question != 0 || entry->record_question != 0 || entry->exchange != NULL;
}

static void
begin(struct entry *entry)
{
	char name[HOSTNAME_MAX + 1];

	if (is_busy(entry))
		return;
	entry->began_ms = clock_monotonic_ms();
	*entry->id = '\0';
	if (!entry->is_known)
		entry->kept_question = relay_directory_ask_policy(
		    entry->sts->directory, entry->domain, false, on_kept, entry);
	snprintf(name, sizeof(name), "%s%.*s", RECORD_PREFIX, DOMAIN_MAX, entry->domain);
	entry->record_question =
	    relay_dns_ask(entry->sts->dns, QUERY_TXT, name, 0, on_record, entry);
}

/* Entries and questions */

static struct entry *
get_entry(struct sts *sts, const char *domain)
{
	struct entry *entry = map_get(sts->entries, domain);

	if (entry == NULL) {
		entry = calloc(1, sizeof(*entry));
		if (entry == NULL)
			fatal("policy");
		entry->sts = sts;
		strlcpy(entry->domain, domain, sizeof(entry->domain));
		TAILQ_INIT(&entry->questions);
		map_add(sts->entries, domain, entry);
	}
	entry->used_ms = clock_monotonic_ms();
	return entry;
}

static void
free_entry(struct entry *entry)
{
	struct sts_question *question;

	if (entry->kept_question != 0)
		relay_directory_forget(entry->sts->directory, entry->kept_question);
	if (entry->record_question != 0)
		relay_dns_forget(entry->sts->dns, entry->record_question);
	if (entry->exchange != NULL)
		https_forget(entry->exchange);
	while ((question = TAILQ_FIRST(&entry->questions)) != NULL)
		free_question(question);
	sts_policy_drop(entry->policy);
	map_remove(entry->sts->entries, entry->domain);
	free(entry);
}

/* He has waited for long enough. */
static void
on_waited(evutil_socket_t fd, short what, void *arg)
{
	struct sts_question *question = arg;
	struct entry *entry = question->entry;

	(void)fd;
	(void)what;
	trace(entry, "not waited for");
	answer(question, !entry->is_known);
}

struct sts_question *
sts_ask(struct sts *sts, const char *domain, sts_fn done, void *arg)
{
	struct sts_question *question = calloc(1, sizeof(*question));
	struct entry *entry = get_entry(sts, domain);
	struct timeval time = { .tv_sec = 0 };
	int64_t left;

	if (question == NULL)
		fatal("policy");
	question->entry = entry;
	question->done = done;
	question->arg = arg;
	question->timer = event_new(sts->base, -1, 0, on_waited, question);
	/* A name that leaves no room for the record's has none, at once. */
	if (strlen(domain) > DOMAIN_MAX)
		entry->is_known = true;
	else
		begin(entry);
	/* Nobody waits longer than the first one did. */
	left =
	    entry->began_ms == 0 ? 0 : entry->began_ms + sts->times.wait_ms - clock_monotonic_ms();
	if (left > 0)
		time = (struct timeval){ .tv_sec = left / 1000, .tv_usec = left % 1000 * 1000 };
	if (question->timer == NULL || event_add(question->timer, &time) == -1)
		fatal("event_add");
	TAILQ_INSERT_TAIL(&entry->questions, question, next);
	return question;
}

void
sts_forget(struct sts_question *question)
{
	free_question(question);
}

/* Refreshing */

static void
refresh(struct sts *sts, const struct ipc_sts_policy *due)
{
	struct entry *entry = get_entry(sts, due->domain);
	static struct ipc_sts_policy newer;

	if (entry->is_refresh || is_busy(entry) || clock_monotonic_ms() < entry->refresh_after_ms)
		return;
	if (entry->policy != NULL && entry->policy->fetched > due->fetched) {
		newer = *due;
		strlcpy(newer.id, entry->policy->id, sizeof(newer.id));
		newer.mode = entry->policy->mode;
		newer.max_age = entry->policy->max_age;
		newer.fetched = entry->policy->fetched;
		strlcpy(newer.mx, entry->policy->mx, sizeof(newer.mx));
		(void)relay_directory_keep_policy(sts->directory, &newer);
		return;
	}
	if (entry->policy == NULL)
		entry->policy = sts_policy_new(due);
	entry->is_known = true;
	entry->is_refresh = true;
	sts->refreshes++;
	begin(entry);
}

static void
set_tick(struct sts *sts, unsigned ms)
{
	const struct timeval time = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	if (event_add(sts->tick, &time) == -1)
		fatal("event_add");
}

static void
on_due(const struct ipc_sts_found *found, bool is_away, void *arg)
{
	struct sts *sts = arg;

	sts->due_question = 0;
	if (is_away || found->status == RELAY_FOUND_BROKEN ||
	    (found->status == RELAY_FOUND_NONE && *found->after == '\0')) {
		sts->is_walking = false;
		if (is_away) /* it comes back soon */
			set_tick(sts, sts->times.first_ms);
		return;
	}
	strlcpy(sts->after, found->status == RELAY_FOUND ? found->policy.domain : found->after,
	    sizeof(sts->after));
	if (found->status == RELAY_FOUND)
		refresh(sts, &found->policy);
	walk_on(sts);
}

static void
walk_on(struct sts *sts)
{
	if (sts->is_walking && sts->due_question == 0 && sts->refreshes < REFRESHES_MAX)
		sts->due_question =
		    relay_directory_ask_policy(sts->directory, sts->after, true, on_due, sts);
}

static void
sweep(struct sts *sts)
{
	size_t count = map_count(sts->entries);
	struct entry **all = (struct entry **)map_values(sts->entries);
	int64_t now = clock_monotonic_ms();

	for (size_t i = 0; i < count; i++)
		if (!is_busy(all[i]) && TAILQ_EMPTY(&all[i]->questions) && !all[i]->is_refresh &&
		    now >= all[i]->fetch_after_ms && now >= all[i]->refresh_after_ms &&
		    now - all[i]->used_ms >= KEEP_MS)
			free_entry(all[i]);
	free(all);
}

static void
on_tick(evutil_socket_t fd, short what, void *arg)
{
	struct sts *sts = arg;

	(void)fd;
	(void)what;
	sweep(sts);
	set_tick(sts, sts->times.tick_ms);
	if (!sts->is_enabled || sts->is_walking)
		return;
	sts->is_walking = true;
	*sts->after = '\0';
	walk_on(sts);
}

struct sts *
sts_new(struct event_base *base, struct relay_dns *dns, struct relay_directory *directory,
    struct https *https, const struct sts_times *times)
{
	struct sts *sts = calloc(1, sizeof(*sts));

	if (sts == NULL)
		fatal("policy");
	sts->base = base;
	sts->dns = dns;
	sts->directory = directory;
	sts->https = https;
	sts->times = *times;
	sts->entries = map_new();
	sts->tick = event_new(base, -1, 0, on_tick, sts);
	if (sts->tick == NULL)
		fatalx("no events");
	return sts;
}

void
sts_free(struct sts *sts)
{
	size_t count;
	struct entry **all;

	if (sts == NULL)
		return;
	if (sts->due_question != 0)
		relay_directory_forget(sts->directory, sts->due_question);
	count = map_count(sts->entries);
	all = (struct entry **)map_values(sts->entries);
	for (size_t i = 0; i < count; i++)
		free_entry(all[i]);
	free(all);
	map_free(sts->entries);
	event_free(sts->tick);
	free(sts);
}

void
sts_enable(struct sts *sts, bool enabled)
{
	/* Relays that were started together don't come together. */
	if (enabled && !sts->is_enabled)
		set_tick(sts, sts->times.first_ms + arc4random_uniform(sts->times.first_ms + 1));
	sts->is_enabled = enabled;
}

bool
sts_is_enabled(const struct sts *sts)
{
	return sts->is_enabled;
}

void
sts_observe(struct sts *sts, outcome_fn observer, void *arg)
{
	sts->observer = observer;
	sts->observer_arg = arg;
}
