/* Questions to the resolver, each answered once and in time, or forgotten by who asked. */
#ifndef DELIVER_RELAY_DNS_H
#define DELIVER_RELAY_DNS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/imsg.h"
#include "common/ipc_relay_resolver.h"

struct event_base;
struct relay_dns;

/* `answer` is good until the function returns. When there was none in time, or the resolver is
 * away, it is one of ANSWER_FAILED that says so, and `ours` is true. */
typedef void (*relay_dns_fn)(const struct ipc_answer *answer, bool ours, void *arg);

struct relay_dns *relay_dns_new(struct event_base *, unsigned deadline_ms);
/* Nobody is called for what is still open. */
void relay_dns_free(struct relay_dns *);
/* The resolver's channel, or NULL while there is none; not owned. What waited on the last one is
 * answered that it failed. */
void relay_dns_set_channel(struct relay_dns *, struct channel *);
/* Returns the question's id. Never calls back from here. */
uint32_t relay_dns_ask(
    struct relay_dns *, enum query_kind, const char *name, uint16_t port, relay_dns_fn, void *arg);
void relay_dns_forget(struct relay_dns *, uint32_t id);
/* A frame of the resolver's; false when it breaks the channel's rules. */
bool relay_dns_receive(struct relay_dns *, struct imsg *) __attribute__((warn_unused_result));

#endif
