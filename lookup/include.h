/*
 * The files of ":include:/path": lists of targets, and whose words they are.
 */
#ifndef LOOKUP_INCLUDE_H
#define LOOKUP_INCLUDE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"

#define INCLUDE_SIZE_MAX (1UL * 1024 * 1024)

#define INCLUDE_OF_ADMIN  0          /* of root; when not `privileged`, of this process's user */
#define INCLUDE_OF_ANYONE UINT32_MAX /* more than one user could have written it */

enum include_result {
	INCLUDE_READ,
	INCLUDE_REFUSED, /* it isn't a list, and won't become one by waiting */
	INCLUDE_BROKEN,  /* it can't be read now */
};

/*
 * Reads the file at the absolute `path` into `text`, terminated, at most `limit` bytes of it. No part
 * of the path may be a symbolic link; it must be a regular file without NULs, which is never waited
 * for. `*owner` is who could have made it what it is, by the owners and modes of the file and of
 * every directory on its way: a user's number, or one of those above. `by` is the same of the words
 * that name it: what isn't the administrator's names only what everybody can read, or its owner. One
 * that changes meanwhile is broken. The reason of a failure is in `*why`.
 */
enum include_result include_read(const char *path, uint32_t by, bool privileged, size_t limit,
    struct buf *text, uint32_t *owner, const char **why);

#endif
