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

#endif
