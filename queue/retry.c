/* The retry schedule: pure functions of their arguments and the clocks. */
#include "common/clock.h"
#include "queue/retry.h"

#define START 0x10000000

uint32_t
retry_now(void)
{
	return (uint32_t)(clock_monotonic_ms() / 1000 + START);
}

uint32_t
retry_from_wall(int64_t wall, uint32_t limit)
{
	int64_t ahead = wall - clock_wall();

	if (ahead < 0)
		ahead = 0;
	if (ahead > limit)
		ahead = limit;
	return retry_now() + (uint32_t)ahead;
}

int64_t
retry_to_wall(uint32_t when)
{
	int64_t wall = clock_wall() + ((int64_t)when - (int64_t)retry_now());

	return wall < 0 ? 0 : wall;
}

uint32_t
retry_delay(uint32_t tries, uint32_t first, uint32_t max, uint32_t random)
{
	uint64_t delay = first, spread;

	for (uint32_t i = 1; i < tries && delay < max; i++)
		delay += (delay + 1) / 2;
	if (delay > max)
		delay = max;
	spread = delay / 3;
	delay = delay - spread / 2 + (spread == 0 ? 0 : random % (spread + 1));
	return delay == 0 ? 1 : (uint32_t)delay;
}

uint32_t
retry_warnings_due(int64_t age, const uint32_t *intervals, size_t count)
{
	uint32_t due = 0;

	for (size_t i = 0; i < count; i++) {
		if (age >= (int64_t)intervals[i])
			due++;
	}
	return due;
}

uint32_t
retry_next_warning(uint32_t sent, const uint32_t *intervals, size_t count)
{
	uint32_t next = 0, smaller;

	/* The smallest that has more than `sent` others at or below it. */
	for (size_t i = 0; i < count; i++) {
		smaller = 0;
		for (size_t k = 0; k < count; k++) {
			if (intervals[k] < intervals[i] || (intervals[k] == intervals[i] && k < i))
				smaller++;
		}
		if (smaller == sent)
			next = intervals[i];
	}
	return next;
}
