/*
 * Dot locks, as Dovecot makes them: a file NAME.lock that holds "pid:host", never put over another. Held for
 * milliseconds at a time while uids are given out, files renamed or directories scanned, by us and
 * by Dovecot; and while mail is put into an mbox file, where every program knows such locks.
 *
 * A lock whose holder is a process of this host that no longer lives is broken at once (and one of
 * this process's own, which it couldn't remove), any other when it hasn't changed for
 * LOCK_STALE_SECONDS. That is Dovecot's rule, too.
 */
#ifndef COMMON_LOCK_H
#define COMMON_LOCK_H

#include <sys/types.h>
#include <stdbool.h>

#define LOCK_NAME_MAX      200
#define LOCK_STALE_SECONDS 120
#define LOCK_WAIT_MS       2000 /* how long lock_take() blocks */

struct lock {
	int directory; /* borrowed; -1: not held */
	char name[LOCK_NAME_MAX + 1];
	dev_t device;
	ino_t inode;
};

/* False with errno: EBUSY when somebody else had it all the time, or why it can't be made. */
bool lock_take(struct lock *, int directory, const char *name, const char *host);
/* The same, with an age and a wait of the caller's; ENAMETOOLONG for a name longer than the limit. */
bool lock_take_within(struct lock *, int directory, const char *name, const char *host,
    unsigned stale_seconds, unsigned wait_ms);
/* Removes it, unless somebody has broken it meanwhile. */
void lock_drop(struct lock *);

#endif
