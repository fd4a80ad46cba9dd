/*
 * libunbound sends its queries from this process's event loop: no thread, no other process. Its
 * context is made after the chroot and needs no file there: the root's addresses are built in,
 * random numbers come from the kernel, and nothing is validated, so no trust anchor is read.
 *
 * libunbound can't be told to forget a question of its event interface; so a question whose asker
 * went away stays, without an asker, until its answer comes. QUESTIONS_MAX bounds how many can be
 * in that state.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include <bsd/string.h>
#include <event2/event.h>
#include <unbound-event.h>
#include <unbound.h>

#include "common/log.h"
#include "lookup/resolver_dns.h"

#define QUESTIONS_MAX 4000
#define CLASS_IN      1
#define RCODE_NONE    0
#define RCODE_NO_NAME 3

struct question {
	TAILQ_ENTRY(question) entry;
	struct dns *dns;
	struct lookup *lookup; /* NULL: forgotten */
};

struct dns {
	struct ub_ctx *context;
	TAILQ_HEAD(question_list, question) questions;
	size_t count;
};

static bool
set_options(struct ub_ctx *context, bool forwards)
{
	static const char *const options[][2] = {
		{ "module-config:", "iterator" },
		{ "use-syslog:", "no" },
		{ "num-queries-per-thread:", "1024" },
		{ "outgoing-range:", "1024" },
		{ "msg-cache-size:", "4m" },
		{ "rrset-cache-size:", "8m" },
		{ "edns-buffer-size:", "1232" },
	};

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++) {
		int error = ub_ctx_set_option(context, options[i][0], options[i][1]);

		if (error != 0) {
			log_error("libunbound: %s %s: %s", options[i][0], options[i][1],
			    ub_strerror(error));
			return false;
		}
	}
	/* A site's own nameservers may well know the names of its private addresses. */
	return !forwards || ub_ctx_set_option(context, "unblock-lan-zones:", "yes") == 0;
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
dns_new(struct event_base *base, const char *nameservers)
{
	struct dns *dns = calloc(1, sizeof(*dns));

	if (dns == NULL)
		fatal("dns");
	TAILQ_INIT(&dns->questions);
	dns->context = ub_ctx_create_event(base);
	if (dns->context == NULL)
		log_error("libunbound can't start");
	else {
		/* What it has to say of strangers' answers is not for the log. */
		(void)ub_ctx_debugout(dns->context, NULL);
		if (set_options(dns->context, *nameservers != '\0') &&
		    set_nameservers(dns->context, nameservers))
			return dns;
	}
	dns_free(dns);
	return NULL;
}

void
dns_free(struct dns *dns)
{
	struct question *question;

	/* Whatever libunbound may still call finds no asker. */
	TAILQ_FOREACH(question, &dns->questions, entry)
	question->lookup = NULL;
	if (dns->context != NULL)
		ub_ctx_delete(dns->context);
	while ((question = TAILQ_FIRST(&dns->questions)) != NULL) {
		TAILQ_REMOVE(&dns->questions, question, entry);
		free(question);
	}
	free(dns);
}

static void
on_answer(void *arg, int rcode, void *packet, int length, int security, char *why_bogus,
    int was_ratelimited)
{
	struct question *question = arg;
	struct lookup *lookup = question->lookup;

	(void)security;
	(void)why_bogus;
	(void)was_ratelimited;
	TAILQ_REMOVE(&question->dns->questions, question, entry);
	question->dns->count--;
	free(question);
	if (lookup == NULL)
		return;
	if (rcode == RCODE_NONE && packet != NULL && length > 0)
		lookup_answer(lookup, DNS_ANSWERED, packet, (size_t)length);
	else
		lookup_answer(lookup, rcode == RCODE_NO_NAME ? DNS_NO_NAME : DNS_FAILED, NULL, 0);
}

static bool
ask(void *arg, const char *name, enum dns_type type, struct lookup *lookup, void **slot)
{
	static const int types[] = { [DNS_PTR] = 12, [DNS_A] = 1, [DNS_AAAA] = 28 };
	struct dns *dns = arg;
	struct question *question;
	int error;

	if (dns->count >= QUESTIONS_MAX)
		return false;
	question = calloc(1, sizeof(*question));
	if (question == NULL)
		return false;
	question->dns = dns;
	question->lookup = lookup;
	TAILQ_INSERT_TAIL(&dns->questions, question, entry);
	dns->count++;
	*slot = question;
	/* May call on_answer() before it returns, and then doesn't fail. */
	error =
	    ub_resolve_event(dns->context, name, types[type], CLASS_IN, question, on_answer, NULL);
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
	((struct question *)question)->lookup = NULL;
}

struct lookup_dns
dns_interface(struct dns *dns)
{
	return (struct lookup_dns){ ask, forget, dns };
}
