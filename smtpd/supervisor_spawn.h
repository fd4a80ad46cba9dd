/* Starting one of the suite's programs: fork, exec, and the command line of common/child.h. */
#ifndef SMTPD_SUPERVISOR_SPAWN_H
#define SMTPD_SUPERVISOR_SPAWN_H

#include <sys/types.h>
#include <stdbool.h>

#include "common/child.h"
#include "common/ipc_supervisor.h"
#include "common/log.h"

struct spawn {
	const char *directory; /* of the programs */
	enum program program;
	unsigned instance;
	bool has_user; /* becomes uid:gid */
	uid_t uid;
	gid_t gid;
	gid_t groups[CHILD_GROUPS_MAX]; /* supplementary */
	size_t group_count;
	const char *root;     /* chroot, or NULL */
	unsigned descriptors; /* RLIMIT_NOFILE */
	bool verbose;
	enum log_target target;
	int log_fd;
	int channel_fd; /* the child's ends; the caller closes them */
	int queue_fd;   /* mda, else -1 */
	bool for_mbox;  /* an mda for mbox files alone */
};

/* The child's pid, or -1 with errno set. That the program can't be executed is seen as its exit. */
pid_t spawn_program(const struct spawn *);

#endif
