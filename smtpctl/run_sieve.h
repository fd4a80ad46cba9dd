/* The commands about users' Sieve scripts. */
#ifndef SMTPCTL_RUN_SIEVE_H
#define SMTPCTL_RUN_SIEVE_H

#include "smtpctl/client.h"
#include "smtpctl/command.h"
#include "smtpctl/output.h"

/* An EX_* status; what went wrong was said on stderr. */
int run_sieve(const struct command *, struct client *, struct output *);

#endif
