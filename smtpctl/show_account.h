/*
 * What `domain list`, `user list` and `alias list` print, in each of smtpctl's forms.
 */
#ifndef SMTPCTL_SHOW_ACCOUNT_H
#define SMTPCTL_SHOW_ACCOUNT_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buf.h"
#include "common/ipc_control.h"
#include "smtpctl/output.h"

/* The head of the table; nothing in the other forms. */
void show_account_head(struct output *, enum account_verb);
/* One line of the directory's, whose fields are separated by tabs (common/ipc_control.h). It is
 * changed. False when it has too few fields. */
bool show_account_row(struct output *, enum account_verb, char *line);

#endif
