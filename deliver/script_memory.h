/*
 * What a mailbox's script must not do twice: reply to the same sender (RFC 5230 4.2), redirect the same
 * message again (a loop), take a duplicate for new (RFC 7352). Kept in the Maildir's file
 * sieve/remembered, the last MEMORY_MAX of them, under the Maildir's lock. That the file can't be read
 * or written costs no mail: then nothing is remembered, and nobody gets a reply who couldn't be.
 */
#ifndef DELIVER_SCRIPT_MEMORY_H
#define DELIVER_SCRIPT_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MEMORY_MAX  2000
#define MEMORY_HASH 32 /* hexadecimal digits */

struct memory_entry {
	char hash[MEMORY_HASH + 1];
	int64_t until; /* wall clock */
	uint64_t
	    envelope; /* whose delivery it was: when that is tried again, it is no second time */
};

struct script_memory {
	int root; /* of the Maildir; borrowed */
	bool is_loaded;
	bool is_changed;
	size_t count;
	struct memory_entry *entries; /* MEMORY_MAX of them, the oldest first; NULL until needed */
};

void memory_init(struct script_memory *, int root);
void memory_free(struct script_memory *);
/* Whether `kind`, `handle` and `id` together were seen by another envelope and aren't over at `now`. */
bool memory_has(struct script_memory *, const char *kind, const char *handle, const char *id,
    int64_t now, uint64_t envelope);
/* Remembers it, in place of an older one. */
void memory_add(struct script_memory *, const char *kind, const char *handle, const char *id,
    int64_t now, int64_t until, uint64_t envelope);
/* Forgets what that envelope's delivery was: it failed (RFC 7352 3: only what was delivered is known). */
void memory_forget(struct script_memory *, uint64_t envelope);
/* Writes the file when something was added. False (what failed is logged): nothing of that will be
 * remembered. */
bool memory_save(struct script_memory *, const char *path);

#endif
