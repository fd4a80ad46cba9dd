/* The way to the Maildir that this process serves. */
#ifndef MAILBOX_OPEN_H
#define MAILBOX_OPEN_H

/*
 * Opens the directory `path`, O_RDONLY. What is missing of it below `base` is made, mode 0700, and no
 * symbolic link is followed there; with a path that isn't below `base` it must exist. -1 with errno.
 */
int open_directory(const char *base, const char *path);

#endif
