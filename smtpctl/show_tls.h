/*
 * TLS results that wait to be reported.
 */
#ifndef SMTPCTL_SHOW_TLS_H
#define SMTPCTL_SHOW_TLS_H

#include <stdbool.h>
#include <stddef.h>

#include "smtpctl/output.h"

/* The head of a table; nothing in other formats. */
void show_tls_head(struct output *);
/* The fields of a line of ACCOUNT_TLS_RESULT_LIST; false when they aren't as ipc_control.h says. */
bool show_tls_row(struct output *, const char *const *fields, size_t count);

#endif
