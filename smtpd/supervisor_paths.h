/*
 * Directories, the lock against a second instance, and where the other programs are.
 */
#ifndef SMTPD_SUPERVISOR_PATHS_H
#define SMTPD_SUPERVISOR_PATHS_H

#include <sys/types.h>
#include <stdbool.h>
#include <stddef.h>

/*
 * Makes `path` (and what is missing above it, mode 0755) with that owner and mode. A directory that
 * is there already must have that owner; its mode is set. With `keep` it is left as it is, whosever
 * it is. False with the reason in `why`.
 */
bool paths_make_directory(const char *path, uid_t, gid_t, mode_t, bool keep, char *why, size_t size)
    __attribute__((warn_unused_result));

/* Where `listener` and its kin are: beside smtpd, or in ../libexec/postern, or LIBEXECDIR. */
bool paths_find_programs(char *directory, size_t size, char *why, size_t why_size)
    __attribute__((warn_unused_result));

struct pid_file {
	int fd;
	char path[512];
	bool stale; /* the last instance didn't end in order */
};

/* Locks DIRECTORY/smtpd.pid; false when another instance has it, or with what else is wrong. */
bool pid_file_lock(struct pid_file *, const char *directory, char *why, size_t size)
    __attribute__((warn_unused_result));
/* Writes this process's id; after going into the background. */
bool pid_file_write(struct pid_file *) __attribute__((warn_unused_result));
void pid_file_remove(struct pid_file *);

#endif
