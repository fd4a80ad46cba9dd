/*
 * The counters, as `show stats` and `monitor` print them.
 */
#ifndef SMTPCTL_SHOW_STATS_H
#define SMTPCTL_SHOW_STATS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/stats.h"
#include "smtpctl/output.h"

struct show_stats {
	int64_t values[STATS_COUNT];
	uint64_t uptime; /* seconds */
};

/* The payload of a CONTROL_STATS answer. */
bool show_stats_decode(const void *payload, size_t length, struct show_stats *);
void show_stats(struct output *, const struct show_stats *);

/* One line of monitor: gauges as they are, counters by how much they have grown since `before`. A
 * head comes first and before each 25th `line` (0, 1, …) again. */
#define MONITOR_HEAD_EVERY 25
void show_monitor(struct output *, const struct show_stats *before, const struct show_stats *now,
    unsigned long line);

#endif
