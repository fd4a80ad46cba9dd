/*
 * Lookups under way: from a client's address to its forward-confirmed name, or to why there is
 * none. Every request is answered once, at the latest when its time limit is over.
 *
 * Who asks DNS, and how, is the caller's: struct lookup_dns. Requests for an address that is being
 * looked up already wait for the same lookup.
 */
#ifndef LOOKUP_RESOLVER_LOOKUP_H
#define LOOKUP_RESOLVER_LOOKUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/ipc_listener_resolver.h"
#include "lookup/resolver_name.h"

#define LOOKUPS_MAX 1000  /* addresses looked up at once */
#define WAITERS_MAX 20000 /* requests waiting for them; beyond either, RESOLVE_FAILED at once */

struct event_base;
struct lookup;
struct lookups;

enum dns_status {
	DNS_ANSWERED, /* with a packet, which may hold no record of the type */
	DNS_NO_NAME,  /* NXDOMAIN */
	DNS_FAILED,
};

enum dns_type {
	DNS_PTR,
	DNS_A,
	DNS_AAAA,
};

struct lookup_dns {
	/*
	 * Asks, and calls lookup_answer() later or at once. `*question` is set to what forget()
	 * takes, for as long as the answer is awaited. False when it can't ask.
	 */
	bool (*ask)(void *arg, const char *name, enum dns_type, struct lookup *, void **question);
	/* Nobody waits for the answer any more: lookup_answer() must not be called. */
	void (*forget)(void *arg, void *question);
	void *arg;
};

/* The answer to a request, for `owner` (a channel). */
typedef void (*lookups_done_fn)(
    void *owner, uint32_t id, const struct ipc_resolved *resolved, void *arg);

struct lookups *lookups_new(struct event_base *, const struct lookup_dns *, const struct hosts *,
    lookups_done_fn, void *arg);
/* Answers nobody. */
void lookups_free(struct lookups *);
void lookups_set_time(struct lookups *, uint32_t limit_ms);
/* A request; may be answered before this returns. */
void lookups_start(struct lookups *, const struct ipc_resolve *, void *owner, uint32_t id);
/* DNS's answer; the packet is valid during the call. */
void lookup_answer(struct lookup *, enum dns_status, const uint8_t *packet, size_t length);
/* The owner is gone: its requests won't be answered. */
void lookups_forget(struct lookups *, const void *owner);
/* Answers all that wait with RESOLVE_FAILED. */
void lookups_fail_all(struct lookups *);
/* Other hosts, lent like those given to lookups_new(), for what is looked up from now on. */
void lookups_set_hosts(struct lookups *, const struct hosts *);
size_t lookups_count(const struct lookups *);

#endif
