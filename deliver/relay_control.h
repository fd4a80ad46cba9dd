/*
 * The channel to control (common/ipc_control.h): what the relay knows, told to smtpctl. Nothing is
 * changed by it.
 */
#ifndef DELIVER_RELAY_CONTROL_H
#define DELIVER_RELAY_CONTROL_H

#include "common/imsg.h"
#include "deliver/relay_explain.h"
#include "deliver/relay_hoststat.h"

struct relay_control;

/* Never NULL. */
struct relay_control *relay_control_new(
    struct event_base *, struct destinations *, struct pool *, struct hoststats *);
void relay_control_free(struct relay_control *);
/* Control's channel, or NULL while there is none; not owned. What the last one asked is forgotten. */
void relay_control_set_channel(struct relay_control *, struct channel *);
/* A frame of control's; false when it breaks the channel's rules. */
bool relay_control_receive(struct relay_control *, struct imsg *)
    __attribute__((warn_unused_result));

#endif
