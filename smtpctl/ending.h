/*
 * Waits for the server's end after it was asked to stop: what comes next, a new start or a look at
 * the spool, needs its locks. The server is known by the file smtpd.pid beside its control socket,
 * which it removes last.
 */
#ifndef SMTPCTL_ENDING_H
#define SMTPCTL_ENDING_H

#include <sys/types.h>
#include <stdbool.h>

struct ending {
	char *path; /* of smtpd.pid; NULL: there is none that can be read */
	dev_t device;
	ino_t inode;
	pid_t pid;
};

/* To be said before the server is asked. */
void ending_begin(struct ending *, const char *socket_path);
/* False when the server is still there after `wait_ms`; frees. */
bool ending_wait(struct ending *, unsigned wait_ms) __attribute__((warn_unused_result));

#endif
