/*
 * One slot an inode hash: what meets in a slot replaces what was there.
 */
#include <string.h>

#include "deliver/known.h"

static struct known_entry *
slot(struct known *known, const struct known_entry *entry)
{
	uint64_t hash = ((uint64_t)entry->inode ^ (uint64_t)entry->device) * 0x9e3779b97f4a7c15ULL;

	return &known->entries[hash >> 32 & (KNOWN_COUNT - 1)];
}

struct known_entry *
known_find(struct known *known, const struct known_entry *entry)
{
	struct known_entry *at = slot(known, entry);

	if (at->inode == 0 || at->device != entry->device || at->inode != entry->inode ||
	    at->born_ns != entry->born_ns)
		return NULL;
	return at;
}

void
known_add(struct known *known, const struct known_entry *entry)
{
	*slot(known, entry) = *entry;
}

void
known_forget(struct known *known, const struct known_entry *entry)
{
	struct known_entry *at = known_find(known, entry);

	if (at != NULL)
		memset(at, 0, sizeof(*at));
}
