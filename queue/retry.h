/*
 * When to try again. The scheduler counts in seconds of the monotonic clock, so that a clock that
 * is set doesn't make all mail due or expired at once; what is stored and shown is wall time.
 */
#ifndef QUEUE_RETRY_H
#define QUEUE_RETRY_H

#include <stddef.h>
#include <stdint.h>

#define RETRY_NEVER UINT32_MAX

/* Now, in the scheduler's seconds (large enough that times before now have room). */
uint32_t retry_now(void);
/* A wall time in the scheduler's seconds, at most `limit` seconds from now and not in the past; and
 * back. */
uint32_t retry_from_wall(int64_t wall, uint32_t limit);
int64_t retry_to_wall(uint32_t when);

/*
 * Seconds to wait after try number `tries` (1: the first) has failed: `first` after the first,
 * 1.5 times more after each, at most `max`; a sixth more or less of it by `random` (uniform 32
 * bits), so that mail deferred together isn't tried together for ever. Never 0.
 */
uint32_t retry_delay(uint32_t tries, uint32_t first, uint32_t max, uint32_t random);

/* How many of the warn intervals (seconds, any order) have passed at `age`. */
uint32_t retry_warnings_due(int64_t age, const uint32_t *intervals, size_t count);
/* Seconds from age 0 to the next warning after `sent` of them; 0: none left. */
uint32_t retry_next_warning(uint32_t sent, const uint32_t *intervals, size_t count);

#endif
