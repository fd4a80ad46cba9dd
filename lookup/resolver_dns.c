/*
 * libunbound sends its queries from this process's event loop: no thread, no other process. Its
 * context is made after the chroot and needs no file there: the root's addresses are built in,
 * random numbers come from the kernel, and trust anchors are handed over as text.
 *
 * libunbound can't be told to forget a question of its event interface; so a question whose asker
 * went away stays, without an asker, until its answer comes. QUESTIONS_MAX bounds how many can be
 * in that state.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include <bsd/string.h>
#include <event2/event.h>
#include <unbound-event.h>
#include <unbound.h>

#include "common/log.h"
#include "lookup/resolver_anchor.h"
#include "lookup/resolver_dns.h"

#define QUESTIONS_MAX 6000
#define CLASS_IN      1
#define RCODE_NONE    0
#define RCODE_NO_NAME 3
/* What libunbound says of an answer's security. */
#define IS_BOGUS  1
#define IS_SECURE 2

struct question {
	TAILQ_ENTRY(question) entry;
	struct dns *dns;
	dns_answered_fn answered; /* NULL: forgotten */
	void *asker;
};

struct dns {
	struct ub_ctx *context;
	TAILQ_HEAD(question_list, question) questions;
	size_t count;
};

static bool
set_option(struct ub_ctx *context, const char *option, const char *value)
{
	int error = ub_ctx_set_option(context, option, value);

	if (error == 0)
		return true;
	log_error("libunbound: %s %s: %s", option, value, ub_strerror(error));
	return false;
}

static bool
set_options(struct ub_ctx *context, bool validates, bool forwards)
{
	static const char *const options[][2] = {
		{ "use-syslog:", "no" },
		{ "num-queries-per-thread:", "4096" },
		/* Questions on the way at once; more wait. 1,024 cost 0.7 MiB more. */
		{ "outgoing-range:", "256" },
		{ "msg-cache-size:", "4m" },
		{ "rrset-cache-size:", "8m" },
		{ "edns-buffer-size:", "1232" },
		/* A server that was down is asked again, and soon. */
		{ "infra-host-ttl:", "60" },
		{ "infra-keep-probing:", "yes" },
		/* Without it there is no word why an answer is bogus. */
		{ "val-log-level:", "2" },
		/* RFC 6761 6.2, and the top level domain kept for private use: the site's own names,
		 * of which the root's zone proves that there are none. */
		{ "domain-insecure:", "test." },
		{ "domain-insecure:", "internal." },
	};

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		if (!set_option(context, options[i][0], options[i][1]))
			return false;
	if (!set_option(context, "module-config:", validates ? "validator iterator" : "iterator"))
		return false;
	/* A site's own nameservers may well know the names of its private addresses. */
	return !forwards || set_option(context, "unblock-lan-zones:", "yes");
}

static bool
add_anchor(void *arg, const char *record)
{
	struct ub_ctx *context = arg;
	int error = ub_ctx_add_ta(context, record);

	if (error != 0)
		log_error("trust anchor \"%.200s\": %s", record, ub_strerror(error));
	return error == 0;
}

static void
ignore_answer(void *arg, int rcode, void *packet, int length, int security, char *why_bogus,
    int was_ratelimited)
{
	(void)arg;
	(void)rcode;
	(void)packet;
	(void)length;
	(void)security;
	(void)why_bogus;
	(void)was_ratelimited;
}

/*
 * libunbound looks at its options and anchors with the first question only: one that it answers by
 * itself and at once (RFC 6761 6.3).
 */
static bool
begin(struct ub_ctx *context, bool validates)
{
	int error = ub_resolve_event(context, "localhost.", 1, CLASS_IN, NULL, ignore_answer, NULL);

	if (error == 0)
		return true;
	log_error("libunbound can't start%s: %s",
	    validates ? "; are there DS or DNSKEY records in the file of trust anchors?" : "",
	    ub_strerror(error));
	return false;
}

static bool
set_nameservers(struct ub_ctx *context, const char *nameservers)
{
	char *copy = strdup(nameservers), *at = copy, *word;
	int error = 0;

	if (copy == NULL)
		fatal("nameservers");
	while (error == 0 && (word = strsep(&at, " ")) != NULL) {
		if (*word == '\0')
			continue;
		error = ub_ctx_set_fwd(context, word);
		if (error != 0)
			log_error("nameserver %s: %s", word, ub_strerror(error));
	}
	free(copy);
	/* RFC 6761 6.2: "test." is the site's own; libunbound would say that it holds no name. */
	if (error == 0 && *nameservers != '\0')
		error = ub_ctx_zone_remove(context, "test.");
	return error == 0;
}

struct dns *
dns_new(struct event_base *base, const char *nameservers, const char *anchors)
{
	struct dns *dns = calloc(1, sizeof(*dns));

	if (dns == NULL)
		fatal("dns");
	TAILQ_INIT(&dns->questions);
	dns->context = ub_ctx_create_event(base);
	if (dns->context == NULL)
		log_error("libunbound can't start");
	else {
		/* The order matters: changed zones end the time for options. What it has to say of strangers' answers is not for the log. */
		(void)ub_ctx_debugout(dns->context, NULL);
		if (set_options(dns->context, anchors != NULL, *nameservers != '\0') &&
		    (anchors == NULL || anchors_each(anchors, add_anchor, dns->context)) &&
		    set_nameservers(dns->context, nameservers) &&
		    begin(dns->context, anchors != NULL))
			return dns;
	}
	dns_free(dns);
	return NULL;
}

void
dns_free(struct dns *dns)
{
	struct question *question;

	if (dns == NULL)
		return;
	/* Whatever libunbound may still call finds no asker. */
	TAILQ_FOREACH(question, &dns->questions, entry)
	question->answered = NULL;
	if (dns->context != NULL)
		ub_ctx_delete(dns->context);
	while ((question = TAILQ_FIRST(&dns->questions)) != NULL) {
		TAILQ_REMOVE(&dns->questions, question, entry);
		free(question);
	}
	free(dns);
}

/* The status is in the packet where there is one (RFC 1035 4.1.1). */
static enum dns_status
status_of(int rcode, const uint8_t *packet, int length)
{
	if (rcode == RCODE_NONE && packet != NULL && length >= 12)
		rcode = packet[3] & 0x0f;
	else if (rcode == RCODE_NONE)
		return DNS_FAILED;
	return rcode == RCODE_NONE   ? DNS_ANSWERED
	    : rcode == RCODE_NO_NAME ? DNS_NO_NAME
	                             : DNS_FAILED;
}

/* Why an answer isn't believed; where DNSSEC as a whole can't be had, what to do about it first. */
static const char *
explain_bogus(const char *why, char *text, size_t size)
{
	if (strstr(why, "trust anchor") == NULL)
		return why;
	snprintf(text, size,
	    "the name servers give no DNSSEC keys of the root: have others, or say \"resolver "
	    "trust-anchor none\": %s",
	    why);
	return text;
}

static void
on_answer(void *arg, int rcode, void *packet, int length, int security, char *why_bogus,
    int was_ratelimited)
{
	struct question *question = arg;
	struct question asked = *question;
	struct dns_answer answer = {
		.status = security == IS_BOGUS ? DNS_FAILED : status_of(rcode, packet, length),
		.secure = security == IS_SECURE,
		.why = "",
	};
	char why[512];

	(void)was_ratelimited;
	TAILQ_REMOVE(&question->dns->questions, question, entry);
	question->dns->count--;
	free(question);
	if (asked.answered == NULL)
		return;
	if (answer.status == DNS_FAILED)
		answer.why = why_bogus != NULL ? explain_bogus(why_bogus, why, sizeof(why))
		    : security == IS_BOGUS     ? "its signatures are wrong (DNSSEC)"
		                               : "its name servers fail or don't answer";
	else if (rcode == RCODE_NONE) {
		answer.packet = packet;
		answer.length = (size_t)length;
	}
	asked.answered(asked.asker, &answer);
}

int
dns_type_number(enum dns_type type)
{
	static const int numbers[DNS_TYPE_COUNT] = {
		[DNS_PTR] = 12,
		[DNS_A] = 1,
		[DNS_AAAA] = 28,
		[DNS_CNAME] = 5,
		[DNS_MX] = 15,
		[DNS_TLSA] = 52,
		[DNS_TXT] = 16,
	};

	return numbers[type];
}

static bool
ask(void *arg, const char *name, enum dns_type type, dns_answered_fn answered, void *asker,
    void **slot)
{
	struct dns *dns = arg;
	struct question *question;
	int error;

	if (dns->count >= QUESTIONS_MAX)
		return false;
	question = calloc(1, sizeof(*question));
	if (question == NULL)
		return false;
	question->dns = dns;
	question->answered = answered;
	question->asker = asker;
	TAILQ_INSERT_TAIL(&dns->questions, question, entry);
	dns->count++;
	*slot = question;
	/* May call on_answer() before it returns, and then doesn't fail. */
	error = ub_resolve_event(
	    dns->context, name, dns_type_number(type), CLASS_IN, question, on_answer, NULL);
	if (error == 0)
		return true;
	log_debug("libunbound: %s: %s", name, ub_strerror(error));
	*slot = NULL;
	TAILQ_REMOVE(&dns->questions, question, entry);
	dns->count--;
	free(question);
	return false;
}

static void
forget(void *arg, void *question)
{
	(void)arg;
	((struct question *)question)->answered = NULL;
}

struct dns_source
dns_source_of(struct dns *dns)
{
	return (struct dns_source){ ask, forget, dns };
}
