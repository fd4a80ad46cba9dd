/* Times. Schedules and time limits use the monotonic clock, what is stored or shown the wall clock.
 */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Seconds since 1970 (may jump); and the same in microseconds. */
int64_t clock_wall(void);
int64_t clock_wall_us(void);
/* Milliseconds since some start, never going back. */
int64_t clock_monotonic_ms(void);
/* The same, a tick (some milliseconds) late, for who asks often. */
int64_t clock_coarse_ms(void);
/* Microseconds, for measuring how long something took. */
int64_t clock_monotonic_us(void);
/* "Sat, 28 Nov 2026 18:16:55 +0000" in local time (RFC 5322 3.3); `size` at least 40. */
void clock_format_rfc5322(int64_t wall, char *text, size_t size);

#endif
