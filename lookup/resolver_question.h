/* How questions are put to DNS, whoever answers them: libunbound (resolver_dns.h), or a test. */
#ifndef LOOKUP_RESOLVER_QUESTION_H
#define LOOKUP_RESOLVER_QUESTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum dns_type {
	DNS_PTR,
	DNS_A,
	DNS_AAAA,
	DNS_CNAME,
	DNS_MX,
	DNS_TLSA,
	DNS_TXT,
	DNS_TYPE_COUNT,
};
/* The number of RFC 1035 3.2.2 and later ones. */
int dns_type_number(enum dns_type);

enum dns_status {
	DNS_ANSWERED, /* with a packet, which may hold no record of the type */
	DNS_NO_NAME,  /* NXDOMAIN, perhaps with a packet */
	DNS_FAILED,
};

struct dns_answer {
	enum dns_status status;
	bool secure;           /* signed and valid, what isn't there included */
	const uint8_t *packet; /* valid during the call */
	size_t length;
	const char *why; /* of DNS_FAILED; never NULL */
};
typedef void (*dns_answered_fn)(void *asker, const struct dns_answer *);

struct dns_source {
	/*
	 * Asks, and calls `answered` once, later or at once. `*question` is set to what forget()
	 * takes, for as long as the answer is awaited. False when it can't ask.
	 */
	bool (*ask)(void *arg, const char *name, enum dns_type, dns_answered_fn answered,
	    void *asker, void **question);
	/* Nobody waits for the answer any more: `answered` must not be called. */
	void (*forget)(void *arg, void *question);
	void *arg;
};

#endif
