/*
 * The policies of MTA-STS (RFC 8461) that the relay has fetched, kept across restarts in a store of
 * their own. What the relay says is a stranger's word: it is bounded in number and in how often it may
 * change, and what is kept is only ever given back to the relay.
 */
#ifndef LOOKUP_POLICIES_H
#define LOOKUP_POLICIES_H

#include <stdint.h>

#include "common/ipc_relay_directory.h"

#define POLICIES_MAX        20000 /* domains */
#define POLICIES_PER_SECOND 50    /* changes, each a sync */

struct policies;

/* Never NULL. `directory` is made when it is absent, and opened when it is needed; what can't be opened is
 * tried again later. */
struct policies *policies_new(const char *directory);
void policies_free(struct policies *);
/* RELAY_FOUND_NONE too when it has run out by `now` (wall clock). */
void policies_get(struct policies *, const char *domain, int64_t now, struct ipc_sts_found *found);
/*
 * The next one behind `after` that is due to be fetched again: a day, or half of its max_age, after it
 * was fetched; those of mode none never are. Looks at a few hundred only, which struct ipc_sts_found
 * tells. Drops those that have run out.
 */
void policies_due(struct policies *, const char *after, int64_t now, struct ipc_sts_found *found);
/* Kept when this returns, or the log says why not. */
void policies_put(struct policies *, const struct ipc_sts_policy *, int64_t now);

#endif
