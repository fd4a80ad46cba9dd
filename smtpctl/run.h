/*
 * Carries out a command over the control socket.
 */
#ifndef SMTPCTL_RUN_H
#define SMTPCTL_RUN_H

#include "smtpctl/client.h"
#include "smtpctl/command.h"
#include "smtpctl/output.h"

/* An EX_* status; what went wrong was said on stderr. `hash` is the password's, for the commands
 * that need one. Not for COMMAND_SPOOL and COMMAND_ENCRYPT, which need no server. */
int run_command(const struct command *, const char *hash, struct client *, struct output *);

#endif
