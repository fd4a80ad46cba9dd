/*
 * The destinations of mail to other hosts, in each of smtpctl's forms.
 */
#ifndef SMTPCTL_SHOW_RELAYS_H
#define SMTPCTL_SHOW_RELAYS_H

#include "common/ipc_control.h"
#include "smtpctl/output.h"

/* Before the first row. */
void show_relays_head(struct output *);
/* Eleven fields separated by "|"; or a row of a table, and what went wrong last in a second line;
 * or an object. `now` is the wall clock. */
void show_relays_row(struct output *, const struct ipc_destination *, int64_t now);

#endif
