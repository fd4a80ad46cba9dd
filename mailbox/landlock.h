/* What this process may still do with files, once it has what it needs. */
#ifndef MAILBOX_LANDLOCK_H
#define MAILBOX_LANDLOCK_H

#include <stdbool.h>

/*
 * From here on files can be opened, made and removed below `root` only, and the C library's tables of
 * charsets read; TCP is out of reach. False where the kernel doesn't have it, or not the version by
 * which files may be moved between directories: then nothing is changed.
 */
bool landlock_confine(int root);

#endif
