/*
 * The file `subscriptions`, as Dovecot keeps it: a name a line, on disk's encoding (folder_name.h),
 * since its version 2 after a line "V\t2" and an empty one, with tabs between a name's levels.
 */
#ifndef MAILBOX_SUBSCRIPTIONS_H
#define MAILBOX_SUBSCRIPTIONS_H

#include <stddef.h>

#include "mailbox/maildir.h"

struct subscriptions {
	char **names; /* UTF-8, in the file's order */
	size_t count;
};

/* Lines that are no folder's name are passed over. */
bool subscriptions_parse(const char *text, size_t length, struct subscriptions *);
void subscriptions_free(struct subscriptions *);
/* None when there is no file. */
enum mail_result subscriptions_load(struct maildir *, struct subscriptions *);
enum mail_result subscriptions_set(struct maildir *, const char *name, bool subscribed);

#endif
