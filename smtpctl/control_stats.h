/*
 * The counters of all processes: their pages of shared memory, added up.
 */
#ifndef SMTPCTL_CONTROL_STATS_H
#define SMTPCTL_CONTROL_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/ipc_supervisor.h"
#include "common/stats.h"

struct control_stats;

struct control_stats *control_stats_new(void);
void control_stats_free(struct control_stats *);
/* The page of a process, instead of the one known before. `fd` stays the caller's. */
void control_stats_set_page(struct control_stats *, const struct ipc_peer *, int fd);
/* Each counter's sum, and how long the suite has run, in seconds. */
void control_stats_sum(const struct control_stats *, int64_t values[STATS_COUNT], uint64_t *uptime);
/* The payload of a CONTROL_STATS answer: each counter's sum, and how long the suite has run. */
void control_stats_encode(const struct control_stats *, struct buf *);

#endif
