/*
 * Mail that sendmail kept while there was no server (smtpctl/offline.h): each file is sent by a
 * process of its own that runs as the file's owner, and removed when that has succeeded. What is in
 * a file is never read here.
 */
#ifndef SMTPD_SUPERVISOR_OFFLINE_H
#define SMTPD_SUPERVISOR_OFFLINE_H

#include <sys/types.h>
#include <stdbool.h>
#include <stddef.h>

struct config;
struct offline;
struct supervisor;

/* Beside the spool. False when it is too long. */
bool offline_path(const struct config *, char *path, size_t size)
    __attribute__((warn_unused_result));
/* Makes the directory, or sees that it is as it must be. False with a reason. */
bool offline_make_directory(const struct supervisor *, char *why, size_t size)
    __attribute__((warn_unused_result));

/* Mail is taken: looks at once what is there, and every ten seconds from then on. NULL after logging
 * why not. */
struct offline *offline_begin(struct supervisor *);
/* Those that run are ended; their files stay. NULL is allowed here and below. */
void offline_end(struct offline *);
/* One of its processes has ended. False when it isn't one. */
bool offline_reaped(struct offline *, pid_t, int status);
/* A process was stopped by a signal: one of these is ended, so that its user holds up nobody. */
void offline_stopped(struct offline *, pid_t);

#endif
