/*
 * `spool check` and `spool dump`: the queue program looks at a spool that no queue uses.
 */
#ifndef SMTPCTL_SPOOL_H
#define SMTPCTL_SPOOL_H

#include <stdbool.h>
#include <stddef.h>

/* Becomes `queue check|dump DIRECTORY`; the default spool when `directory` is NULL. Returns an EX_*
 * status, having said why, when it can't. */
int spool_exec(const char *what, const char *directory);
/* Where the queue program may be, best first, seen from the folder that smtpctl is in. False when
 * the path would be too long. */
#define SPOOL_PLACES 3
#define SPOOL_PATH   4096
bool spool_place(const char *folder, size_t place, char path[SPOOL_PATH]);

#endif
