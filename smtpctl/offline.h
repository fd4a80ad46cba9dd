/*
 * Mail that is kept while there is no server: a file for each message, in a directory that belongs
 * to root and in which the group of smtpctl alone may make files. A file belongs to who sent the
 * mail and is closed to all others, so that nobody reads or replaces another's.
 *
 * A file is lines of a word and its value, an empty line, and the text as it was read. It is written
 * under a name that begins with a dot, synced, and renamed; the server looks at no others
 * (smtpd/supervisor_offline.c) and has each sent by a process that runs as its owner (enqueue.c).
 */
#ifndef SMTPCTL_OFFLINE_H
#define SMTPCTL_OFFLINE_H

#include <stdbool.h>
#include <stddef.h>

#include "smtpctl/post.h"

#define OFFLINE_ENVELOPE_MAX (8 * 1024 * 1024) /* bytes before the text */

/* What a user may have there. */
#define OFFLINE_FILES_MAX 1000
#define OFFLINE_BYTES_MAX (256LL * 1024 * 1024)

/* Makes a file of the message, from which offline_store() can be given it: a descriptor, or -1 with
 * a reason. */
int offline_write(const struct post *, char *why, size_t size) __attribute__((warn_unused_result));
/*
 * Keeps what standard input has, a file, in the directory: the part that needs smtpctl's group. An
 * EX_* status, 0 when it is on stable storage; what went wrong was said on stderr.
 */
int offline_store(const char *directory);

/* What stands before the text: fills the message but for its descriptor. False with a reason. */
bool offline_parse(struct post *, const char *bytes, size_t length, char *why, size_t size)
    __attribute__((warn_unused_result));
/* Takes a file over into the message, up to its header. */
bool offline_read(struct post *, int fd, char *why, size_t size)
    __attribute__((warn_unused_result));

#endif
