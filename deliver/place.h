/*
 * The way to a mailbox: where it is trusted from, and what its directories must be like.
 */
#ifndef DELIVER_PLACE_H
#define DELIVER_PLACE_H

#include <sys/types.h>
#include <stdbool.h>

#include "common/ipc_directory.h"
#include "deliver/path.h"

/* The directory belongs to this process's user, and nobody in `forbidden` can write there; false
 * with the reason. */
bool place_check_owner(int fd, const char *path, mode_t forbidden, struct reply *why);
/* The directory that the last component of an absolute path is in. */
void place_above(const char *path, char above[PATH_TEXT_MAX + 1]);
/*
 * Walks to the directory `path` of the mailbox, as path_walk() does: from the owner's home when it
 * is below that, which must exist, belong to this process's user and be writable by nobody else;
 * from `mail_directory` when it is below that; else from `base`. With `create` the owner's .forward must
 * be usable, where it counts. False with the reason; ENOENT in
 * errno when all that is wrong is that it isn't there (only without `create`).
 */
bool place_walk(const struct ipc_mailbox *, const char *path, const char *mail_directory,
    const char *base, bool create, struct path_walk *, struct reply *why);

#endif
