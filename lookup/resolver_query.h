/*
 * A relay's questions under way (ipc_relay_resolver.h). Every one is answered once, at the latest
 * when its time limit is over.
 */
#ifndef LOOKUP_RESOLVER_QUERY_H
#define LOOKUP_RESOLVER_QUERY_H

#include <stddef.h>
#include <stdint.h>

#include "common/ipc_relay_resolver.h"
#include "lookup/resolver_name.h"
#include "lookup/resolver_question.h"

/* When addresses of one family are there, those of the other are waited for no longer than this. */
#define QUERY_PATIENCE_MS 5000

struct event_base;
struct queries;

/* The answer to a query, for `owner` (a channel); good until the function returns. */
typedef void (*queries_done_fn)(
    void *owner, uint32_t id, const struct ipc_answer *answer, void *arg);

/* Without a source. */
struct queries *queries_new(struct event_base *, const struct hosts *, queries_done_fn, void *arg);
/* Answers nobody. */
void queries_free(struct queries *);
/* IPC_QUERY_TIME_MS and QUERY_PATIENCE_MS, unless set. */
void queries_set_time(struct queries *, uint32_t limit_ms, uint32_t patience_ms);
/* A query; may be answered before this returns. */
void queries_start(struct queries *, const struct ipc_query *, void *owner, uint32_t id);
/* The owner is gone: its queries won't be answered. */
void queries_forget(struct queries *, const void *owner);
/* Answers all that wait with ANSWER_FAILED. */
void queries_fail_all(struct queries *, const char *why);
/* Other hosts, lent like those given to queries_new(), for what is asked from now on. */
void queries_set_hosts(struct queries *, const struct hosts *);
/* Another source, when nothing waits; NULL: queries fail, and `why` says why. */
void queries_set_source(struct queries *, const struct dns_source *, const char *why);
size_t queries_count(const struct queries *);

#endif
