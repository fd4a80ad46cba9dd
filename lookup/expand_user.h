/*
 * A name in work: aliases, .forward, mailbox.
 */
#ifndef LOOKUP_EXPAND_USER_H
#define LOOKUP_EXPAND_USER_H

#include "lookup/expand_state.h"

/* A name of this host, by this action: what its alias leads to; else where its user's .forward leads;
 * else his mailbox. One that is none of these is dead. */
void expand_user(struct expansion *, const struct action *, const struct node *);
/* When all is looked up: users whose .forward leads nowhere, where others get the mail, get theirs into
 * their mailboxes. */
void expand_keep_lost(struct expansion *);
/* An address of a domain of the accounts database: an alias or a user of this name, then of the one
 * without "+detail", then the domain's catch-all. */
void expand_account(struct expansion *, const struct action *, const struct node *);

#endif
