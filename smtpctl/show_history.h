/* What became of messages, as smtpctl trace message prints it. */
#ifndef SMTPCTL_SHOW_HISTORY_H
#define SMTPCTL_SHOW_HISTORY_H

#include <stdint.h>

#include "common/ipc_history.h"
#include "smtpctl/output.h"

/* The line above a message's events; `id` 0: above what was refused. Not as JSON. */
void show_history_head(struct output *, uint32_t id);
/* An event, in one line. */
void show_history_event(struct output *, const struct history_event *);

#endif
