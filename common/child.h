/*
 * How each program of the suite starts under the supervisor, before it reads a foreign byte:
 *
 *	program [-v] -k CHANNEL_FD -l LOG_FD -t stderr|syslog [-i INSTANCE]
 *	        [-u UID -g GID [-G GID,GID,…]] [-r CHROOT] [-n NOFILE] [-q QUEUE_FD] [-M]
 *
 * child_start() parses these, opens the log, sets the process title, ignores SIGPIPE, SIGHUP and
 * SIGINT, closes every other descriptor (that of -q, which an mda gets, stays open), sets rlimits
 * (NOFILE, CORE 0), enters the chroot, becomes UID:GID with the supplementary groups of -G and no
 * others, checks that it cannot go back, drops all capabilities and sets no_new_privs. Whatever fails ends the process
 * with a message. -u, -g and -r are absent when the suite was not started as root.
 *
 * Then the child makes its event base and opens its channel to the supervisor
 * (child_supervisor.h), where it is told all that it needs and at last to start. When that channel
 * closes the supervisor is gone, and the child finishes at once (exit 0).
 */
#ifndef COMMON_CHILD_H
#define COMMON_CHILD_H

#include <stdbool.h>

#define CHILD_GROUPS_MAX 64 /* supplementary */

struct event_base;

struct child {
	const char *name;  /* "queue" */
	unsigned instance; /* listener: 0, 1, … */
	int channel_fd;
	int queue_fd;          /* an mda's channel to the queue; -1 without -q */
	bool privileged_start; /* -u was given */
	bool for_mbox;         /* -M: an mda for mbox files alone */
};

void child_start(struct child *, const char *name, int argc, char **argv);
/*
 * An event base with two priorities: 0 for everything, 1 for work put off until there is no input.
 * Steady input puts priority 1 off for ever: what others wait for needs a bound of its own, or
 * event_active() at priority 0, which runs after all that is active in this turn.
 */
struct event_base *child_event_base(void);

#endif
