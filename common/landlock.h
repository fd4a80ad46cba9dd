/*
 * What a process may still do with files, by the kernel's Landlock, once it has what it needs: for the
 * life of the process. In a chroot it is a second lock on the same door; a suite that wasn't started as
 * root, whose programs share a user and the whole tree, has no other.
 *
 * The mda has none: it runs its users' commands, which would inherit it.
 */
#ifndef COMMON_LANDLOCK_H
#define COMMON_LANDLOCK_H

#include <stdbool.h>

#define LANDLOCK_READ     1 /* files everywhere may be read: tables, the system's users */
#define LANDLOCK_CHARSETS 2 /* the C library's tables of charsets may be read */
#define LANDLOCK_TCP      4 /* connects, or binds ports */

/*
 * From here on files can be opened, made and removed below the directory of descriptor `below` only (-1:
 * nowhere), and what `needs` names; nothing can be executed, no process be signalled and no abstract
 * socket be reached that isn't confined by the same call. Descriptors that are open stay as they are. To be
 * called before threads are started, with no_new_privs set. False where the kernel doesn't have it, or
 * not the version by which files may be moved between directories, or where a sanitizer is built in: then
 * nothing is changed. Ends the
 * process when the kernel refuses.
 */
bool landlock_confine(unsigned needs, int below);

#endif
