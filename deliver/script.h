/*
 * The owner's Sieve script (common/sieve.h) and what it says of a message. Scripts lie in the Maildir's
 * folder sieve/ as NAME.sieve; the active one is named by the symbolic link sieve/active, whose text
 * is NAME.sieve and nothing else. Without that link there is none.
 *
 * A script that can't be read or doesn't compile, and a run that fails, are logged, and the message
 * goes where it would without one: a mistake never costs mail.
 */
#ifndef DELIVER_SCRIPT_H
#define DELIVER_SCRIPT_H

#include <stdbool.h>
#include <stddef.h>

#include "common/ipc_queue_mda.h"
#include "common/sieve.h"
#include "deliver/maildir.h"
#include "deliver/script_memory.h"

#define SCRIPT_PLACES_MAX 8 /* folders that one message goes into */

/* Compiled scripts, as long as their files stay the same. */
struct script_cache;
/* Dies when memory is out. */
struct script_cache *script_cache_new(void);
void script_cache_free(struct script_cache *);

/* The Maildir's active script, lent until the next call; NULL: there is none that can be used. */
const struct sieve *script_find(struct script_cache *, const struct maildir *);

/* What becomes of a message. */
struct script_decision {
	struct maildir_into places[SCRIPT_PLACES_MAX]; /* none: nothing is stored */
	size_t place_count;
	bool is_rejected; /* and `reply` says so */
	struct reply reply;
	struct ipc_effects *effects; /* NULL: none; allocated, the caller's */
};

/* Runs the script for a message, whose text is in `message`. `into`: where it goes without one. What
 * isn't to be done twice goes to the memory. */
void script_decide(const struct sieve *, const struct maildir *, struct script_memory *,
    const struct ipc_deliver *, int message, const char *delimiters,
    const struct maildir_into *into, struct script_decision *);

#endif
