/*
 * Opening directories that a mailbox's owner can change, without following what the owner, or
 * somebody who broke into one mailbox, may have put in their place.
 */
#ifndef DELIVER_PATH_H
#define DELIVER_PATH_H

#include <sys/types.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/reply.h"

#define PATH_DEPTH_MAX 32

/* The directories on the way, outermost first, as O_PATH descriptors; the last is the target. */
struct path_walk {
	int fds[PATH_DEPTH_MAX];
	size_t count;
};

/* Opens one directory in another, made when it is missing and `create` is set; `how` is O_PATH or
 * O_RDONLY. -1 with errno, ELOOP when it is a symbolic link. */
int path_open_directory(int parent, const char *name, int how, bool create);

/*
 * Walks from `base` (opened as the administrator wrote it, symbolic links and all) down to `path`,
 * which must be `base` or below it. No component below base may be a symbolic link. Missing ones
 * are made, mode 0700, when `create` is set; they are not synced. False with the reason; ENOENT is
 * also left in errno when a component is missing and `create` isn't set. The caller closes the walk
 * when it succeeded.
 */
bool path_walk(
    const char *base, const char *path, bool create, struct path_walk *, struct reply *why);
void path_walk_close(struct path_walk *);
/* `path` is `directory` or below it, by its text. */
bool path_is_below(const char *path, const char *directory);

#endif
