/*
 * The ends of an expansion: what the listener makes an envelope of.
 */
#ifndef LOOKUP_EXPAND_TARGET_H
#define LOOKUP_EXPAND_TARGET_H

#include "lookup/expand_state.h"

/* Adds one, by the rule of the node in work; `command` "" for none. One too many, or no memory, is
 * noted in the expansion, and NULL. It stays until the next is added. */
struct ipc_target *expand_add_target(struct expansion *, enum envelope_kind, const struct action *,
    const struct address *dest, const char *command);
/* True when nothing with this key was added before. */
bool expand_is_new_target(struct expansion *, const char *key);
/* Another host, for this address. */
void expand_add_relay(struct expansion *, const struct action *, const struct node *);
/* A user whose mail another server keeps, one for each name that it knows. */
void expand_add_lmtp(struct expansion *, const struct action *, const struct address *user);
/* The number that stands for a mailbox: so many bits that two never meet. Not 0. */
uint64_t expand_mailbox_number(const struct ipc_mailbox *);
/* The address that was met last before the node in work, or is it. Valid until a node is added. */
const struct address *expand_last_address(const struct expansion *);

#endif
