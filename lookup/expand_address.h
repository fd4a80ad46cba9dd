/*
 * An address in work: its rule decides.
 */
#ifndef LOOKUP_EXPAND_ADDRESS_H
#define LOOKUP_EXPAND_ADDRESS_H

#include "lookup/expand_state.h"

/* By the first rule that takes it: to another host; to what the virtual table says; to an account;
 * or to a user of this host. One that leads nowhere is dead. */
void expand_address(struct expansion *, const struct node *);
/* As a user of the action that the queue names: the rules were asked when the mail came. */
void expand_user_of_action(struct expansion *, const struct node *);

#endif
