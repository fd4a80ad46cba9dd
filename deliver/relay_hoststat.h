/* How mail to each domain fared last, for `smtpctl show hoststats`: for some hours, and so many
 * domains. */
#ifndef DELIVER_RELAY_HOSTSTAT_H
#define DELIVER_RELAY_HOSTSTAT_H

#include "common/ipc_explain.h"
#include "common/ipc_queue_relay.h"

#define HOSTSTAT_SECONDS (4 * 60 * 60)
#define HOSTSTAT_MAX     10000 /* domains; the one heard of longest ago makes room */

struct hoststats;

/* Never NULL. */
struct hoststats *hoststats_new(void);
void hoststats_free(struct hoststats *);
/* A recipient in that domain has its result. */
void hoststats_note(struct hoststats *, const char *domain, const struct ipc_relay_result *);
/* Tells of at most so many domains from behind `cursor` (0: all) on, those heard of longest ago
 * first. Returns the next cursor; 0: there are no more. */
uint64_t hoststats_report(struct hoststats *, uint64_t cursor, uint32_t most,
    void (*each)(const struct ipc_hoststat *, void *arg), void *arg);

#endif
