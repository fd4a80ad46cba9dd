/*
 * Dovecot's dotlocks: a file NAME.lock that holds "pid:host", never put over another. Held for
 * milliseconds at a time while uids are given out, files renamed or directories scanned, by us and
 * by Dovecot.
 *
 * A lock whose holder is a process of this host that no longer lives is broken at once (and one of
 * this process's own, which it couldn't remove), any other when it hasn't changed for
 * LOCK_STALE_SECONDS. That is Dovecot's rule, too.
 */
#ifndef MAILBOX_LOCK_H
#define MAILBOX_LOCK_H

#include <sys/types.h>
#include <stdbool.h>

#define LOCK_STALE_SECONDS 120
#define LOCK_WAIT_MS       2000 /* how long lock_take() blocks */

struct lock {
	int directory; /* borrowed; -1: not held */
	char name[64];
	dev_t device;
	ino_t inode;
};

/* False with errno: EBUSY when somebody else had it all the time, or why it can't be made. */
bool lock_take(struct lock *, int directory, const char *name, const char *host);
/* Removes it, unless somebody has broken it meanwhile. */
void lock_drop(struct lock *);

#endif
