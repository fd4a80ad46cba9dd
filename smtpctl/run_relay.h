/* The commands about mail to other hosts whose answers come from several processes. */
#ifndef SMTPCTL_RUN_RELAY_H
#define SMTPCTL_RUN_RELAY_H

#include "smtpctl/client.h"
#include "smtpctl/command.h"
#include "smtpctl/output.h"

/* `show hosts`, `show routes`, `show hoststats`: an EX_* status; what went wrong was said. */
int run_hosts(const struct command *, struct client *, struct output *);
/* `explain` likewise: success, wherever the mail would end. */
int run_explain(const struct command *, struct client *, struct output *);

#endif
