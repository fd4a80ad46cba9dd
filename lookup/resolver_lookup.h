/*
 * Lookups under way: from a client's address to its forward-confirmed name, or to why there is
 * none. Every request is answered once, at the latest when its time limit is over.
 *
 * Who asks DNS, and how, is the caller's: struct dns_source. Requests for an address that is being
 * looked up already wait for the same lookup.
 */
#ifndef LOOKUP_RESOLVER_LOOKUP_H
#define LOOKUP_RESOLVER_LOOKUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/ipc_listener_resolver.h"
#include "lookup/resolver_name.h"
#include "lookup/resolver_question.h"

#define LOOKUPS_MAX 1000  /* addresses looked up at once */
#define WAITERS_MAX 20000 /* requests waiting for them; beyond either, RESOLVE_FAILED at once */

struct event_base;
struct lookups;

/* The answer to a request, for `owner` (a channel). */
typedef void (*lookups_done_fn)(
    void *owner, uint32_t id, const struct ipc_resolved *resolved, void *arg);

struct lookups *lookups_new(struct event_base *, const struct dns_source *, const struct hosts *,
    lookups_done_fn, void *arg);
/* Answers nobody. */
void lookups_free(struct lookups *);
void lookups_set_time(struct lookups *, uint32_t limit_ms);
/* A request; may be answered before this returns. */
void lookups_start(struct lookups *, const struct ipc_resolve *, void *owner, uint32_t id);
/* The owner is gone: its requests won't be answered. */
void lookups_forget(struct lookups *, const void *owner);
/* Answers all that wait with RESOLVE_FAILED. */
void lookups_fail_all(struct lookups *);
/* Other hosts, lent like those given to lookups_new(), for what is looked up from now on. */
void lookups_set_hosts(struct lookups *, const struct hosts *);
size_t lookups_count(const struct lookups *);

#endif
