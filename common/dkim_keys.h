/*
 * The keys that sign now, as the supervisor lists them; the private halves are the keeper's.
 */
#ifndef COMMON_DKIM_KEYS_H
#define COMMON_DKIM_KEYS_H

#include <stddef.h>

#include "common/ipc_supervisor.h"

struct dkim_keys {
	struct ipc_dkim_key *keys; /* owned; those of a domain stand together */
	size_t count;
};

/* Takes the file of SUPERVISOR_CHILD_DKIM_KEYS in the place of what there was. False when it can't
 * be read, and then nothing changes. `fd` stays the caller's. */
bool dkim_keys_take(struct dkim_keys *, int fd) __attribute__((warn_unused_result));
void dkim_keys_clear(struct dkim_keys *);
/* The keys of a domain as mail writes it (A-labels or not), or else of the nearest one above it that has
 * any; how many, and the first of them. */
size_t dkim_keys_find(
    const struct dkim_keys *, const char *domain, const struct ipc_dkim_key **first);

#endif
