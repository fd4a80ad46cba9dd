/* Whose mail somebody reads who has logged in. */
#ifndef LOOKUP_LOGIN_H
#define LOOKUP_LOGIN_H

#include <stdbool.h>

#include "lookup/site.h"

/*
 * The Maildir of a user by the name that the table of credentials has: the one into which the rules
 * put mail to that address; for a name without "@", mail to that name at this host. Aliases aren't
 * followed: they say where mail goes, not whose it is. False with the reply saying why there is none,
 * or none now.
 */
bool login_find_mailbox(struct site *, const char *user, struct ipc_mailbox *)
    __attribute__((warn_unused_result));

#endif
