/* The counters as Prometheus reads them: its text format, version 0.0.4. */
#ifndef SMTPCTL_CONTROL_METRICS_TEXT_H
#define SMTPCTL_CONTROL_METRICS_TEXT_H

#include <stdint.h>

#include "common/buf.h"
#include "common/stats.h"

#define METRICS_TEXT_MAX (64 * 1024)

/* Appends every metric. How many lines there are doesn't depend on what happened: no label is a
 * client's or a user's word. `uptime`: seconds. */
void control_metrics_format(struct buf *, const int64_t values[STATS_COUNT], uint64_t uptime);

#endif
