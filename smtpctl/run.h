/*
 * Carries out a command over the control socket.
 */
#ifndef SMTPCTL_RUN_H
#define SMTPCTL_RUN_H

#include "smtpctl/client.h"
#include "smtpctl/command.h"
#include "smtpctl/output.h"
#include "smtpctl/password.h"

/* An EX_* status; what went wrong was said on stderr. The hashes are the password's, for the
 * commands that need one. Not for COMMAND_SPOOL and COMMAND_ENCRYPT, which need no server. */
int run_command(const struct command *, const struct password_hashes *, struct client *,
    const char *socket_path, struct output *);

#endif
