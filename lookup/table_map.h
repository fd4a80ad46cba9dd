/*
 * A table's content in memory: what a static table in smtpd.conf holds, or a file's. Lookups are a
 * hash's, whatever the number of entries; only keys with wildcards are tried one by one.
 */
#ifndef LOOKUP_TABLE_MAP_H
#define LOOKUP_TABLE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lookup/table_text.h"

struct table_map;

enum table_map_added {
	TABLE_MAP_ADDED,
	TABLE_MAP_DUPLICATE, /* the first one stays */
	TABLE_MAP_FULL,      /* memory, or 2^31 entries, or 1 GiB of text */
};

struct table_map *table_map_new(void); /* NULL: out of memory */
void table_map_free(struct table_map *);
/* Normalises and copies the key, copies the value. */
enum table_map_added table_map_add(struct table_map *, const char *key, const char *value);
/* The same with the key as it is, of any length: for sets of other things. */
enum table_map_added table_map_add_exactly(struct table_map *, const char *key, const char *value);
/* The value of a normalised key, lent; NULL when it isn't there. */
const char *table_map_get(const struct table_map *, const char *key);
/* The value of the entry that was added first, lent; NULL when there is none. */
const char *table_map_first(const struct table_map *);
/* True when a key with wildcards, in its domain or as a whole, matches this domain, or (mailbox)
 * this local@domain. */
bool table_map_match_domain(const struct table_map *, const char *domain);
bool table_map_match_mailbox(const struct table_map *, const char *local, const char *domain);
/* True when one of the networks holds the address (whose bits are all given). */
bool table_map_match_network(const struct table_map *, const struct netaddr *);
size_t table_map_count(const struct table_map *);

#endif
