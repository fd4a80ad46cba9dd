/* What the relay asks of its actions' tables. */
#ifndef LOOKUP_OUTBOUND_H
#define LOOKUP_OUTBOUND_H

#include "common/config.h"
#include "common/ipc_relay_directory.h"
#include "lookup/tables.h"

/* Answers from the table that the action names for this, and from no other. */
void outbound_lookup(const struct config *, struct tables *, const struct ipc_relay_lookup *,
    struct ipc_relay_found *);

#endif
