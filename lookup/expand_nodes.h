/*
 * The nodes of an expansion: addresses, names and lists that are looked at in turn, each once.
 */
#ifndef LOOKUP_EXPAND_NODES_H
#define LOOKUP_EXPAND_NODES_H

#include "lookup/expand_state.h"

/* Begins with the recipient. */
void expand_begin(struct expansion *, const struct address *);
/* True when `key` wasn't seen before in this expansion. */
bool expand_is_new(struct expansion *, const char *key);
/* What two nodes have in common that are the same; `size` at least twice TABLE_KEY_MAX. */
void expand_node_key(const struct node *, char *key, size_t size);
/* Adds a node that the one in work leads to, which takes over what it owns; one too many, or no
 * memory, is noted in the expansion, and false. */
bool expand_append_node(struct expansion *, struct node *);
/* Adds a name or an address that the node in work leads to, unless it was seen. `direct`: its
 * mailbox, whatever aliases and .forward say. A user's own name or address in his .forward isn't
 * added: he keeps a copy. */
void expand_add_node(struct expansion *, enum node_kind, const struct action *, const char *local,
    const char *domain, bool direct);

#endif
