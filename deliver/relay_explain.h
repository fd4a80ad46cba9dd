/*
 * Where mail to a domain would go now, and how it would be secured: the route as for mail, and for
 * each of its hosts what DNS says. Nothing is connected to, and no host comes to be or fails by it.
 */
#ifndef DELIVER_RELAY_EXPLAIN_H
#define DELIVER_RELAY_EXPLAIN_H

#include "common/imsg.h"
#include "common/ipc_explain.h"
#include "deliver/relay_destination.h"
#include "deliver/relay_host.h"

/* For all that is asked of DNS; then what there is, is told. Control waits somewhat longer. */
#define EXPLAIN_MS       25000
#define EXPLAIN_JOBS_MAX 16 /* at once */

struct explainer;

/* `answer` sends a frame that answers request `id`. Never NULL. */
struct explainer *explainer_new(struct event_base *, struct destinations *, struct pool *,
    void (*answer)(uint32_t id, uint16_t type, const struct buf *, void *arg), void *arg);
/* Nobody is answered any more. */
void explainer_free(struct explainer *);
/* Answers with an EXPLAIN_ROUTE, EXPLAIN_HOSTs, HOSTs and DONE. False when too many are under way:
 * then nothing was answered. */
bool explainer_begin(struct explainer *, uint32_t id, const struct ipc_explain_relay *,
    unsigned within_ms) __attribute__((warn_unused_result));
/* Who asked has gone. */
void explainer_forget_all(struct explainer *);

#endif
