/*
 * What the operating system says about a mailbox, in the words of a reply: which path, what is
 * wrong with it and what an administrator can do. Nothing here is permanent: mail waits until the
 * disk, the directory or the limit is put right, or until its time to live has passed.
 */
#ifndef DELIVER_FAILURE_H
#define DELIVER_FAILURE_H

#include "common/reply.h"

/* `error` is errno's value, `doing` a verb with its object ("write to"), `path` the file. */
void failure_set(struct reply *, int error, const char *doing, const char *path);

#endif
