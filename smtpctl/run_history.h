/* smtpctl trace message */
#ifndef SMTPCTL_RUN_HISTORY_H
#define SMTPCTL_RUN_HISTORY_H

#include "smtpctl/client.h"
#include "smtpctl/command.h"
#include "smtpctl/output.h"

/* An EX_* status; EX_DATAERR when nothing is known. */
int run_trace_message(const struct command *, struct client *, struct output *);

#endif
