/*
 * A query has a part for each question that it puts to DNS: one, or for addresses two at once, and
 * then perhaps a third: whether the CNAME that led to an insecure address is secure itself. Its
 * timer ends it whatever DNS does.
 *
 * DNS may answer while it is being asked. All parts of a query are open before the first is asked,
 * so that only the last can end it; nothing here touches a query after asking its last part.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <sys/queue.h>

#include <bsd/string.h>
#include <event2/event.h>
#include <event2/event_struct.h>

#include "common/clock.h"
#include "common/log.h"
#include "lookup/resolver_query.h"
#include "lookup/resolver_records.h"

#define LABEL_MAX  63
#define NAME_BYTES 253 /* RFC 1035 2.3.4, as text */
#define PARTS_MAX  2
#define HOSTS_TTL  60

enum query_state {
	QUERY_RECORDS, /* waits for the records that were asked for */
	QUERY_ALIAS,   /* waits for the word whether the first CNAME is secure */
};

struct part {
	struct query *query;
	enum dns_type type;
	bool is_open;
	void *question;
	enum answer_status status;
	bool secure;
	struct records *records; /* of an answer without failure */
	char why[IPC_ANSWER_WHY_MAX + 1];
};

struct query {
	TAILQ_ENTRY(query) entry;
	struct queries *queries;
	enum query_state state;
	struct ipc_query request;
	char name[HOSTNAME_MAX + 2]; /* as it is asked for, with the root's dot */
	void *owner;
	uint32_t id;
	size_t part_count;
	struct part parts[PARTS_MAX];
	struct part alias;
	int64_t began_ms;
	int64_t deadline_ms;
	struct event timer;
};

struct queries {
	TAILQ_HEAD(query_list, query) list;
	struct event_base *base;
	bool has_source;
	struct dns_source source;
	char why[IPC_ANSWER_WHY_MAX + 1]; /* there is no source */
	const struct hosts *hosts;
	queries_done_fn done;
	void *arg;
	uint32_t limit_ms;
	uint32_t patience_ms;
	size_t count;
};

struct queries *
queries_new(struct event_base *base, const struct hosts *hosts, queries_done_fn done, void *arg)
{
	struct queries *queries = calloc(1, sizeof(*queries));

	if (queries == NULL)
		fatal("queries");
	TAILQ_INIT(&queries->list);
	queries->base = base;
	queries->hosts = hosts;
	queries->done = done;
	queries->arg = arg;
	queries->limit_ms = IPC_QUERY_TIME_MS;
	queries->patience_ms = QUERY_PATIENCE_MS;
	return queries;
}

/* Words of others' go into the relay's replies and the log as printable ASCII. */
static void
set_why(char why[IPC_ANSWER_WHY_MAX + 1], const char *words)
{
	strlcpy(why, words, IPC_ANSWER_WHY_MAX + 1);
	for (; *why != '\0'; why++) {
		if (!isascii((unsigned char)*why) || !isprint((unsigned char)*why))
			*why = '?';
	}
}

void
queries_set_source(struct queries *queries, const struct dns_source *source, const char *why)
{
	queries->has_source = source != NULL;
	if (source != NULL)
		queries->source = *source;
	set_why(queries->why, why);
}

void
queries_set_time(struct queries *queries, uint32_t limit_ms, uint32_t patience_ms)
{
	queries->limit_ms = limit_ms;
	queries->patience_ms = patience_ms;
}

void
queries_set_hosts(struct queries *queries, const struct hosts *hosts)
{
	queries->hosts = hosts;
}

size_t
queries_count(const struct queries *queries)
{
	return queries->count;
}

/* The answer */

static const char *
kind_word(enum query_kind kind)
{
	switch (kind) {
	case QUERY_MX:
		return "MX";
	case QUERY_ADDRESSES:
		return "A,AAAA";
	case QUERY_TLSA:
		return "TLSA";
	case QUERY_TXT:
		return "TXT";
	case QUERY_KIND_COUNT:
		break;
	}
	return "";
}

/* Records as text, as many as fit: for people who read the log. */
static void
records_text(const struct ipc_answer *answer, enum query_kind kind, char *text, size_t size)
{
	char address[INET6_ADDRSTRLEN];
	size_t length = 0;

	*text = '\0';
	for (uint32_t i = 0; i < answer->count && length < size; i++) {
		const struct answer_record *record = &answer->records[i];
		const char *comma = i == 0 ? "" : ",";

		if (kind == QUERY_MX)
			length += (size_t)snprintf(text + length, size - length, "%s%u:%.*s", comma,
			    record->preference, (int)record->length, (const char *)record->data);
		else if (kind == QUERY_ADDRESSES)
			length += (size_t)snprintf(text + length, size - length, "%s%s", comma,
			    inet_ntop(record->family == CLIENT_INET4 ? AF_INET : AF_INET6,
			        record->data, address, sizeof(address)));
		else if (kind == QUERY_TLSA)
			length += (size_t)snprintf(text + length, size - length, "%s%u:%u:%u",
			    comma, record->usage, record->selector, record->matching);
	}
}

static void
trace(const struct ipc_query *request, const char *source, const struct ipc_answer *answer,
    int64_t time_ms)
{
	static const char *const words[] = {
		[ANSWER_FOUND] = "found",
		[ANSWER_NO_DATA] = "no-data",
		[ANSWER_NO_NAME] = "no-such-name",
		[ANSWER_FAILED] = "failed",
	};
	char text[512];
	struct log_line line;

	if (!log_trace_begin(&line, LOG_TRACE_LOOKUP, "relay-looked-up"))
		return;
	log_text(&line, "name", request->name);
	log_text(&line, "type", kind_word(request->kind));
	if (request->kind == QUERY_TLSA)
		log_number(&line, "port", request->port);
	log_text(&line, "source", source);
	log_text(&line, "result", words[answer->status]);
	log_text(&line, "secure", answer->secure ? "yes" : "no");
	if (*answer->canonical != '\0')
		log_text(&line, "canonical", answer->canonical);
	records_text(answer, request->kind, text, sizeof(text));
	if (*text != '\0')
		log_text(&line, "answer", text);
	if (answer->cut)
		log_text(&line, "cut", "yes");
	if (*answer->why != '\0')
		log_text(&line, "reason", answer->why);
	log_number(&line, "time_ms", time_ms);
	log_end(&line);
}

/* For what is answered without asking DNS. */
static void
answer_at_once(struct queries *queries, const struct ipc_query *request, void *owner, uint32_t id,
    const char *source, enum answer_status status, const char *why)
{
	struct ipc_answer answer = { .status = status };

	set_why(answer.why, why);
	trace(request, source, &answer, 0);
	queries->done(owner, id, &answer, queries->arg);
}

static void
part_forget(struct part *part)
{
	struct queries *queries = part->query->queries;

	if (part->question != NULL)
		queries->source.forget(queries->source.arg, part->question);
	part->question = NULL;
	part->is_open = false;
}

static void
query_unlink(struct query *query)
{
	for (size_t i = 0; i < query->part_count; i++)
		part_forget(&query->parts[i]);
	part_forget(&query->alias);
	evtimer_del(&query->timer);
	TAILQ_REMOVE(&query->queries->list, query, entry);
	query->queries->count--;
}

static void
query_free(struct query *query)
{
	for (size_t i = 0; i < query->part_count; i++)
		free(query->parts[i].records);
	free(query->alias.records);
	free(query);
}

void
queries_free(struct queries *queries)
{
	struct query *query;

	while ((query = TAILQ_FIRST(&queries->list)) != NULL) {
		query_unlink(query);
		query_free(query);
	}
	free(queries);
}

/* Tells who asked. The query is out of the list by then: an answer may bring new ones. */
static void
query_finish(struct query *query, const struct ipc_answer *answer)
{
	query_unlink(query);
	if (log_is_traced(LOG_TRACE_LOOKUP))
		trace(&query->request, "dns", answer, clock_monotonic_ms() - query->began_ms);
	query->queries->done(query->owner, query->id, answer, query->queries->arg);
	query_free(query);
}

static void
query_fail(struct query *query, const char *why)
{
	struct ipc_answer answer = { .status = ANSWER_FAILED };

	set_why(answer.why, why);
	query_finish(query, &answer);
}

/* The part that speaks for the query: one that found something, else one that is sure. */
static const struct part *
best_part(const struct query *query)
{
	const struct part *best = &query->parts[0];

	for (size_t i = 1; i < query->part_count; i++) {
		static const unsigned ranks[ANSWER_STATUS_COUNT] = {
			[ANSWER_FOUND] = 3,
			[ANSWER_FAILED] = 2, /* there may be something */
			[ANSWER_NO_DATA] = 1,
			[ANSWER_NO_NAME] = 0,
		};

		if (ranks[query->parts[i].status] > ranks[best->status])
			best = &query->parts[i];
	}
	return best;
}

/* One of each in turn: when not all fit, both families are there. */
static void
add_records(struct ipc_answer *answer, const struct records *const *records, size_t count)
{
	for (uint32_t i = 0; i < IPC_ANSWER_RECORDS_MAX; i++) {
		for (size_t j = 0; j < count; j++) {
			if (i >= records[j]->count)
				continue;
			if (answer->count == IPC_ANSWER_RECORDS_MAX) {
				answer->cut = true;
				return;
			}
			answer->records[answer->count++] = records[j]->records[i];
		}
	}
}

static void
query_answer(struct query *query)
{
	const struct part *best = best_part(query);
	struct ipc_answer answer = { .status = best->status, .secure = best->secure };
	const struct records *found[PARTS_MAX];
	size_t count = 0;

	strlcpy(answer.why, best->why, sizeof(answer.why));
	for (size_t i = 0; i < query->part_count; i++) {
		const struct part *part = &query->parts[i];

		if (part->status != best->status || part->records == NULL)
			continue;
		if (count == 0 || part->records->ttl < answer.ttl)
			answer.ttl = part->records->ttl;
		answer.secure &= part->secure;
		answer.cut |= part->records->cut;
		found[count++] = part->records;
	}
	if (count > 0)
		strlcpy(answer.canonical, found[0]->canonical, sizeof(answer.canonical));
	add_records(&answer, found, count);
	if (*answer.canonical != '\0' && query->request.kind == QUERY_ADDRESSES)
		answer.canonical_secure =
		    answer.secure || (query->state == QUERY_ALIAS && query->alias.secure);
	query_finish(query, &answer);
}

/* Questions */

static void on_answer(void *, const struct dns_answer *);
static void part_done(struct part *);

static void
part_fail(struct part *part, const char *why)
{
	part->status = ANSWER_FAILED;
	part->secure = false;
	set_why(part->why, why);
}

static void
part_ask(struct part *part)
{
	struct query *query = part->query;
	struct dns_source *source = &query->queries->source;

	if (source->ask(source->arg, query->name, part->type, on_answer, part, &part->question))
		return;
	part_fail(part, "too many questions to DNS at once");
	part_done(part);
}

static void
part_open(struct part *part, struct query *query, enum dns_type type)
{
	part->query = query;
	part->type = type;
	part->is_open = true;
}

/* What a packet says; the records of one that has nothing are kept for its CNAMEs and its ttl. */
static void
part_read(struct part *part, const struct dns_answer *answer)
{
	bool has_packet = answer->length > 0;

	part->secure = answer->secure;
	part->status = answer->status == DNS_NO_NAME ? ANSWER_NO_NAME : ANSWER_NO_DATA;
	if (!has_packet)
		return;
	part->records = malloc(sizeof(*part->records));
	if (part->records == NULL) {
		part_fail(part, "the resolver is out of memory");
		return;
	}
	if (!records_read(
	        part->records, answer->packet, answer->length, part->query->name, part->type)) {
		free(part->records);
		part->records = NULL;
		part_fail(part, "the answer of its name servers makes no sense");
		return;
	}
	if (part->records->count > 0)
		part->status = ANSWER_FOUND;
}

static void
on_answer(void *asker, const struct dns_answer *answer)
{
	struct part *part = asker;

	part->question = NULL;
	if (answer->status == DNS_FAILED)
		part_fail(part, answer->why);
	else
		part_read(part, answer);
	part_done(part);
}

static int64_t
time_left(const struct query *query)
{
	int64_t left = query->deadline_ms - clock_monotonic_ms();

	return left < 0 ? 0 : left;
}

/* Without a timer it would never end. */
static void
set_timer(struct query *query, int64_t time_ms)
{
	struct timeval time = { time_ms / 1000, (suseconds_t)(time_ms % 1000) * 1000 };

	if (evtimer_add(&query->timer, &time) == -1)
		fatalx("no timer");
}

/* Of those parts that found something. */
static bool
found_is_secure(const struct query *query)
{
	for (size_t i = 0; i < query->part_count; i++) {
		if (query->parts[i].status == ANSWER_FOUND && !query->parts[i].secure)
			return false;
	}
	return true;
}

/* All records that are to be had are here. */
static void
query_complete(struct query *query)
{
	const struct part *best = best_part(query);

	if (query->request.kind != QUERY_ADDRESSES || best->status != ANSWER_FOUND ||
	    *best->records->canonical == '\0' || found_is_secure(query)) {
		query_answer(query);
		return;
	}
	query->state = QUERY_ALIAS;
	set_timer(query, time_left(query));
	part_open(&query->alias, query, DNS_CNAME);
	part_ask(&query->alias);
}

static void
part_done(struct part *part)
{
	struct query *query = part->query;
	bool is_open = false, is_found = false;

	part->is_open = false;
	switch (query->state) {
	case QUERY_RECORDS:
		for (size_t i = 0; i < query->part_count; i++) {
			is_open |= query->parts[i].is_open;
			is_found |=
			    !query->parts[i].is_open && query->parts[i].status == ANSWER_FOUND;
		}
		if (!is_open)
			query_complete(query);
		else if (is_found && time_left(query) > query->queries->patience_ms)
			set_timer(query, query->queries->patience_ms);
		return;
	case QUERY_ALIAS:
		/* RFC 7672 2.2.2: an error isn't taken for "insecure". */
		if (part->status == ANSWER_FAILED)
			query_fail(query, part->why);
		else
			query_answer(query);
		return;
	}
}

static void
on_time(int fd, short what, void *arg)
{
	struct query *query = arg;
	char why[IPC_ANSWER_WHY_MAX + 1];

	(void)fd;
	(void)what;
	snprintf(why, sizeof(why), "no answer from DNS within %u ms", query->queries->limit_ms);
	if (query->state == QUERY_ALIAS) {
		query_fail(query, why);
		return;
	}
	for (size_t i = 0; i < query->part_count; i++) {
		struct part *part = &query->parts[i];

		if (!part->is_open)
			continue;
		part_forget(part);
		part_fail(part, why);
	}
	query_complete(query);
}

/* Queries */

/* Whether DNS may be asked for the name: labels of 1 to 63 letters, digits, hyphens and underscores
 * (RFC 2181 11 allows more, of which none is of use to mail). Without a dot at its end. */
static bool
name_fits(const char *name)
{
	const char *at = name;

	if (strlen(name) > NAME_BYTES)
		return false;
	for (;;) {
		size_t label = strcspn(at, ".");

		if (label < 1 || label > LABEL_MAX)
			return false;
		for (size_t i = 0; i < label; i++) {
			if (!isascii((unsigned char)at[i]) ||
			    (!isalnum((unsigned char)at[i]) && at[i] != '-' && at[i] != '_'))
				return false;
		}
		at += label;
		if (*at == '\0')
			return true;
		at++;
	}
}

/* The name that DNS is asked for; false when there can be none such. */
static bool
name_of(const struct ipc_query *request, char *name, size_t size)
{
	size_t length;
	int written;

	if (request->kind == QUERY_TLSA) /* RFC 6698 3 */
		written = snprintf(name, size, "_%u._tcp.%s", request->port, request->name);
	else
		written = snprintf(name, size, "%s", request->name);
	if (written < 1 || (size_t)written >= size)
		return false;
	length = (size_t)written;
	if (name[length - 1] == '.')
		name[--length] = '\0';
	/* With the root's dot no search list can come into it. */
	return name_fits(name) && strlcat(name, ".", size) < size;
}

/* Whether /etc/hosts has the name, and so the answer. */
static bool
answer_from_hosts(
    struct queries *queries, const struct ipc_query *request, void *owner, uint32_t id)
{
	struct ipc_answer answer = { .status = ANSWER_FOUND, .ttl = HOSTS_TTL };
	struct ipc_resolve addresses[IPC_ANSWER_RECORDS_MAX];
	size_t count;

	if (request->kind != QUERY_ADDRESSES)
		return false;
	count = hosts_addresses(queries->hosts, request->name, addresses, IPC_ANSWER_RECORDS_MAX);
	if (count == 0)
		return false;
	for (size_t i = 0; i < count; i++) {
		struct answer_record *record = &answer.records[answer.count++];

		record->family = addresses[i].family;
		record->length = addresses[i].family == CLIENT_INET4 ? 4 : 16;
		record->data = addresses[i].address;
	}
	trace(request, "hosts", &answer, 0);
	queries->done(owner, id, &answer, queries->arg);
	return true;
}

static struct query *
query_new(struct queries *queries, const struct ipc_query *request, void *owner, uint32_t id)
{
	struct query *query = calloc(1, sizeof(*query));

	if (query == NULL)
		return NULL;
	query->queries = queries;
	query->state = QUERY_RECORDS;
	query->request = *request;
	query->owner = owner;
	query->id = id;
	query->alias.query = query;
	query->began_ms = clock_monotonic_ms();
	query->deadline_ms = query->began_ms + queries->limit_ms;
	if (evtimer_assign(&query->timer, queries->base, on_time, query) == -1) {
		free(query);
		return NULL;
	}
	set_timer(query, queries->limit_ms);
	TAILQ_INSERT_TAIL(&queries->list, query, entry);
	queries->count++;
	return query;
}

static void
query_ask(struct query *query)
{
	static const enum dns_type types[QUERY_KIND_COUNT] = {
		[QUERY_MX] = DNS_MX,
		[QUERY_ADDRESSES] = DNS_A,
		[QUERY_TLSA] = DNS_TLSA,
		[QUERY_TXT] = DNS_TXT,
	};
	bool is_both = query->request.kind == QUERY_ADDRESSES;

	query->part_count = is_both ? 2 : 1;
	part_open(&query->parts[0], query, types[query->request.kind]);
	if (is_both) {
		part_open(&query->parts[1], query, DNS_AAAA);
		part_ask(&query->parts[0]);
		part_ask(&query->parts[1]);
	} else
		part_ask(&query->parts[0]);
}

void
queries_start(struct queries *queries, const struct ipc_query *request, void *owner, uint32_t id)
{
	char name[HOSTNAME_MAX + 2];
	struct query *query;

	if (answer_from_hosts(queries, request, owner, id))
		return;
	if (!name_of(request, name, sizeof(name))) {
		answer_at_once(queries, request, owner, id, "none", ANSWER_NO_NAME,
		    "DNS can have no such name");
		return;
	}
	if (!queries->has_source) {
		answer_at_once(queries, request, owner, id, "none", ANSWER_FAILED, queries->why);
		return;
	}
	query = queries->count >= IPC_QUERIES_MAX ? NULL : query_new(queries, request, owner, id);
	if (query == NULL) {
		answer_at_once(queries, request, owner, id, "none", ANSWER_FAILED,
		    "too many questions at once");
		return;
	}
	strlcpy(query->name, name, sizeof(query->name));
	query_ask(query);
}

void
queries_forget(struct queries *queries, const void *owner)
{
	struct query *query, *next;

	for (query = TAILQ_FIRST(&queries->list); query != NULL; query = next) {
		next = TAILQ_NEXT(query, entry);
		if (query->owner != owner)
			continue;
		query_unlink(query);
		query_free(query);
	}
}

void
queries_fail_all(struct queries *queries, const char *why)
{
	struct query *query;

	while ((query = TAILQ_FIRST(&queries->list)) != NULL)
		query_fail(query, why);
}
