/*
 * The .forward in a user's home: where he wants his mail to go. This process is the user's, so that
 * it can read nothing that he can't; what the file says is for the directory to judge.
 */
#ifndef DELIVER_FORWARD_H
#define DELIVER_FORWARD_H

#include <stdbool.h>

#include "common/ipc_directory.h"

/*
 * Reads it: with a detail ("+list") the file .forward+list, and .forward when that isn't there.
 * FORWARD_FAILED, with the reason, when the home or the file can be changed by others or
 * belongs to somebody else, when it isn't a regular file, when it is larger than FORWARD_TEXT_MAX,
 * holds a NUL, or can't be read. It is never waited for: a pipe in its place isn't opened.
 */
void forward_read(const char *home, const char *detail, struct ipc_forward *);
/* Whether it could be used, if there is one. False with a temporary reply. */
bool forward_is_usable(const char *home, const char *detail, struct reply *why);

#endif
