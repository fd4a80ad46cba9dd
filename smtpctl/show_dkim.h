/*
 * DKIM keys: a list of them, and their records as a zone file has them.
 */
#ifndef SMTPCTL_SHOW_DKIM_H
#define SMTPCTL_SHOW_DKIM_H

#include <stdbool.h>

#include "smtpctl/output.h"

/* The head of a list's table; nothing in the other forms. */
void show_dkim_head(struct output *);
/* A key of the supervisor's (ipc_supervisor.h), as a row of a list or as the record to publish. The
 * line is changed. False when it isn't one. */
bool show_dkim(struct output *, bool as_row, char *line);

#endif
