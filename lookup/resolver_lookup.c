/*
 * A lookup asks for the PTR records, then for the addresses of the names that came, one name after
 * another, until one has the client's address. A timer of its own ends it whatever DNS does.
 *
 * DNS may answer while it is being asked (what it knows by heart), so that nothing here touches a
 * lookup after asking: the call may have been its last. At most one question for each name lies on
 * the stack then.
 */
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <sys/queue.h>

#include <bsd/string.h>
#include <event2/event.h>
#include <event2/event_struct.h>

#include "common/clock.h"
#include "common/log.h"
#include "lookup/resolver_answer.h"
#include "lookup/resolver_lookup.h"

enum lookup_state {
	LOOKUP_REVERSE, /* waits for the names of the address */
	LOOKUP_CONFIRM, /* waits for the addresses of names[name] */
};

struct waiter {
	void *owner;
	uint32_t id;
};

struct lookup {
	TAILQ_ENTRY(lookup) entry;
	struct lookups *lookups;
	enum lookup_state state;
	struct ipc_resolve address;
	struct waiter *waiters;
	size_t waiter_count;
	char names[ANSWER_NAMES_MAX][HOSTNAME_MAX + 1];
	size_t name_count;
	size_t name;
	bool had_failure; /* of a name that could have confirmed it */
	void *question;
	int64_t began_ms; /* traced: the lookup, and the question in work */
	int64_t asked_ms;
	struct event timer;
};

struct lookups {
	TAILQ_HEAD(lookup_list, lookup) list;
	struct event_base *base;
	struct dns_source dns;
	const struct hosts *hosts;
	lookups_done_fn done;
	void *arg;
	uint32_t limit_ms;
	size_t count;
	size_t waiter_count;
};

struct lookups *
lookups_new(struct event_base *base, const struct dns_source *dns, const struct hosts *hosts,
    lookups_done_fn done, void *arg)
{
	struct lookups *lookups = calloc(1, sizeof(*lookups));

	if (lookups == NULL)
		fatal("lookups");
	TAILQ_INIT(&lookups->list);
	lookups->base = base;
	lookups->dns = *dns;
	lookups->hosts = hosts;
	lookups->done = done;
	lookups->arg = arg;
	lookups->limit_ms = 5000;
	return lookups;
}

static void
lookup_unlink(struct lookup *lookup)
{
	struct lookups *lookups = lookup->lookups;

	if (lookup->question != NULL)
		lookups->dns.forget(lookups->dns.arg, lookup->question);
	lookup->question = NULL;
	evtimer_del(&lookup->timer);
	TAILQ_REMOVE(&lookups->list, lookup, entry);
	lookups->count--;
	lookups->waiter_count -= lookup->waiter_count;
}

static void
lookup_free(struct lookup *lookup)
{
	free(lookup->waiters);
	free(lookup);
}

void
lookups_free(struct lookups *lookups)
{
	struct lookup *lookup;

	while ((lookup = TAILQ_FIRST(&lookups->list)) != NULL) {
		lookup_unlink(lookup);
		lookup_free(lookup);
	}
	free(lookups);
}

void
lookups_set_time(struct lookups *lookups, uint32_t limit_ms)
{
	lookups->limit_ms = limit_ms;
}

void
lookups_set_hosts(struct lookups *lookups, const struct hosts *hosts)
{
	lookups->hosts = hosts;
}

size_t
lookups_count(const struct lookups *lookups)
{
	return lookups->count;
}

static void
address_text(const struct ipc_resolve *address, char text[INET6_ADDRSTRLEN])
{
	if (inet_ntop(address->family == CLIENT_INET4 ? AF_INET : AF_INET6, address->address, text,
	        INET6_ADDRSTRLEN) == NULL)
		*text = '\0';
}

/* What came of a request, and from where. */
static void
trace_result(const struct ipc_resolve *address, const char *source, enum resolve_status status,
    const char *name, int64_t time_ms)
{
	static const char *const words[] = {
		[RESOLVE_CONFIRMED] = "confirmed",
		[RESOLVE_NONE] = "none",
		[RESOLVE_FAILED] = "failed",
	};
	char text[INET6_ADDRSTRLEN];
	struct log_line line;

	if (!log_trace_begin(&line, LOG_TRACE_LOOKUP, "client-looked-up"))
		return;
	address_text(address, text);
	log_text(&line, "address", text);
	log_text(&line, "source", source);
	log_text(&line, "result", words[status]);
	log_text(&line, "name", name);
	log_number(&line, "time_ms", time_ms);
	log_end(&line);
}

/* One question to DNS and what its answer says; `names` are in the answer, of PTR. */
static void
trace_question(const struct lookup *lookup, const char *result, size_t names)
{
	char text[REVERSE_NAME_MAX], answers[ANSWER_NAMES_MAX * (HOSTNAME_MAX + 1) + 1] = "";
	struct log_line line;

	if (!log_trace_begin(&line, LOG_TRACE_LOOKUP, "dns-looked-up"))
		return;
	if (lookup->state == LOOKUP_REVERSE) {
		reverse_name(&lookup->address, text, sizeof(text));
		log_text(&line, "name", text);
		log_text(&line, "type", "PTR");
	} else {
		log_text(&line, "name", lookup->names[lookup->name]);
		log_text(&line, "type", lookup->address.family == CLIENT_INET4 ? "A" : "AAAA");
	}
	log_text(&line, "result", result);
	for (size_t i = 0; i < names; i++) {
		strlcat(answers, i == 0 ? "" : ",", sizeof(answers));
		strlcat(answers, lookup->names[i], sizeof(answers));
	}
	if (names > 0)
		log_text(&line, "answer", answers);
	log_number(&line, "time_ms", clock_monotonic_ms() - lookup->asked_ms);
	log_end(&line);
}

static const char *
status_word(enum dns_status status)
{
	switch (status) {
	case DNS_ANSWERED:
		return "answered";
	case DNS_NO_NAME:
		return "no-such-name";
	case DNS_FAILED:
		break;
	}
	return "failed";
}

static void
answer(struct lookups *lookups, const struct waiter *waiter, enum resolve_status status,
    const char *name)
{
	struct ipc_resolved resolved = { .status = status };

	strlcpy(resolved.name, name, sizeof(resolved.name));
	lookups->done(waiter->owner, waiter->id, &resolved, lookups->arg);
}

/* Tells all who wait. The lookup is out of the list by then: an answer may bring new requests. */
static void
lookup_finish(struct lookup *lookup, enum resolve_status status, const char *name)
{
	lookup_unlink(lookup);
	if (log_is_traced(LOG_TRACE_LOOKUP))
		trace_result(
		    &lookup->address, "dns", status, name, clock_monotonic_ms() - lookup->began_ms);
	for (size_t i = 0; i < lookup->waiter_count; i++) {
		if (lookup->waiters[i].owner != NULL)
			answer(lookup->lookups, &lookup->waiters[i], status, name);
	}
	lookup_free(lookup);
}

static void
on_time(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	trace_question(arg, "no-answer-in-time", 0);
	lookup_finish(arg, RESOLVE_FAILED, "");
}

static void on_answer(void *, const struct dns_answer *);

static bool
lookup_ask(struct lookup *lookup, const char *name, enum dns_type type)
{
	struct lookups *lookups = lookup->lookups;

	lookup->asked_ms = clock_monotonic_ms();
	return lookups->dns.ask(lookups->dns.arg, name, type, on_answer, lookup, &lookup->question);
}

/* Asks for the next name's addresses; ends the lookup when there is none left. */
static void
lookup_confirm(struct lookup *lookup)
{
	enum dns_type type = lookup->address.family == CLIENT_INET4 ? DNS_A : DNS_AAAA;

	for (; lookup->name < lookup->name_count; lookup->name++) {
		char name[HOSTNAME_MAX + 2];

		/* With the root's dot no search list can come into it. */
		strlcpy(name, lookup->names[lookup->name], sizeof(name));
		strlcat(name, ".", sizeof(name));
		if (lookup_ask(lookup, name, type))
			return;
		lookup->had_failure = true;
	}
	lookup_finish(lookup, lookup->had_failure ? RESOLVE_FAILED : RESOLVE_NONE, "");
}

static void
on_answer(void *asker, const struct dns_answer *reply)
{
	struct lookup *lookup = asker;
	bool confirms;

	lookup->question = NULL;
	switch (lookup->state) {
	case LOOKUP_REVERSE:
		if (reply->status == DNS_ANSWERED)
			lookup->name_count =
			    answer_names(reply->packet, reply->length, lookup->names);
		trace_question(lookup, status_word(reply->status), lookup->name_count);
		if (reply->status == DNS_FAILED)
			lookup->had_failure = true;
		lookup->state = LOOKUP_CONFIRM;
		lookup_confirm(lookup);
		return;
	case LOOKUP_CONFIRM:
		confirms = reply->status == DNS_ANSWERED &&
		    answer_has_address(reply->packet, reply->length, &lookup->address);
		trace_question(lookup,
		    confirms                            ? "has-the-address"
		        : reply->status == DNS_ANSWERED ? "lacks-the-address"
		                                        : status_word(reply->status),
		    0);
		if (confirms) {
			lookup_finish(lookup, RESOLVE_CONFIRMED, lookup->names[lookup->name]);
			return;
		}
		if (reply->status == DNS_FAILED)
			lookup->had_failure = true;
		lookup->name++;
		lookup_confirm(lookup);
		return;
	}
}

static struct lookup *
lookup_find(struct lookups *lookups, const struct ipc_resolve *address)
{
	struct lookup *lookup;

	TAILQ_FOREACH(lookup, &lookups->list, entry)
	{
		if (address_equals(&lookup->address, address))
			return lookup;
	}
	return NULL;
}

static struct lookup *
lookup_new(struct lookups *lookups, const struct ipc_resolve *address)
{
	struct timeval limit = { lookups->limit_ms / 1000,
		(suseconds_t)(lookups->limit_ms % 1000) * 1000 };
	struct lookup *lookup = calloc(1, sizeof(*lookup));

	if (lookup == NULL)
		return NULL;
	lookup->lookups = lookups;
	lookup->state = LOOKUP_REVERSE;
	lookup->address = *address;
	lookup->began_ms = clock_monotonic_ms();
	if (evtimer_assign(&lookup->timer, lookups->base, on_time, lookup) == -1 ||
	    evtimer_add(&lookup->timer, &limit) == -1) {
		free(lookup);
		return NULL;
	}
	TAILQ_INSERT_TAIL(&lookups->list, lookup, entry);
	lookups->count++;
	return lookup;
}

static bool
lookup_add_waiter(struct lookup *lookup, const struct waiter *waiter)
{
	struct waiter *waiters;

	waiters = reallocarray(lookup->waiters, lookup->waiter_count + 1, sizeof(*waiters));
	if (waiters == NULL)
		return false;
	lookup->waiters = waiters;
	waiters[lookup->waiter_count++] = *waiter;
	lookup->lookups->waiter_count++;
	return true;
}

/* There is no room for another. */
static void
refuse(struct lookups *lookups, const struct waiter *waiter, const struct ipc_resolve *address)
{
	trace_result(address, "too-many-lookups", RESOLVE_FAILED, "", 0);
	answer(lookups, waiter, RESOLVE_FAILED, "");
}

void
lookups_start(struct lookups *lookups, const struct ipc_resolve *request, void *owner, uint32_t id)
{
	struct waiter waiter = { owner, id };
	struct ipc_resolve address = *request;
	char name[REVERSE_NAME_MAX];
	struct lookup *lookup;
	const char *known;

	address_unmap(&address);
	known = hosts_find(lookups->hosts, &address);
	if (known != NULL || address_is_loopback(&address)) {
		trace_result(&address, "hosts", known != NULL ? RESOLVE_CONFIRMED : RESOLVE_NONE,
		    known != NULL ? known : "", 0);
		answer(lookups, &waiter, known != NULL ? RESOLVE_CONFIRMED : RESOLVE_NONE,
		    known != NULL ? known : "");
		return;
	}
	lookup = lookup_find(lookups, &address);
	if (lookup != NULL) {
		if (lookups->waiter_count >= WAITERS_MAX || !lookup_add_waiter(lookup, &waiter))
			refuse(lookups, &waiter, &address);
		return;
	}
	lookup = lookups->count >= LOOKUPS_MAX || lookups->waiter_count >= WAITERS_MAX
	    ? NULL
	    : lookup_new(lookups, &address);
	if (lookup == NULL) {
		refuse(lookups, &waiter, &address);
		return;
	}
	if (!lookup_add_waiter(lookup, &waiter)) {
		lookup_unlink(lookup);
		lookup_free(lookup);
		refuse(lookups, &waiter, &address);
		return;
	}
	reverse_name(&address, name, sizeof(name));
	if (!lookup_ask(lookup, name, DNS_PTR))
		lookup_finish(lookup, RESOLVE_FAILED, "");
}

void
lookups_forget(struct lookups *lookups, const void *owner)
{
	struct lookup *lookup;

	TAILQ_FOREACH(lookup, &lookups->list, entry)
	{
		for (size_t i = 0; i < lookup->waiter_count; i++) {
			if (lookup->waiters[i].owner == owner)
				lookup->waiters[i].owner = NULL;
		}
	}
}

void
lookups_fail_all(struct lookups *lookups)
{
	struct lookup *lookup;

	while ((lookup = TAILQ_FIRST(&lookups->list)) != NULL)
		lookup_finish(lookup, RESOLVE_FAILED, "");
}
