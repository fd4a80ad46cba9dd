/*
 * Times. The names of days and months are written here and not taken from the locale: what a mail's
 * header says doesn't depend on it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "common/clock.h"

static struct timespec
now(clockid_t which)
{
	struct timespec time = { 0 };

	/* Fails only for a clock that doesn't exist. */
	if (clock_gettime(which, &time) != 0)
		abort();
	return time;
}

int64_t
clock_wall(void)
{
	return now(CLOCK_REALTIME).tv_sec;
}

int64_t
clock_wall_us(void)
{
	struct timespec time = now(CLOCK_REALTIME);

	return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

int64_t
clock_monotonic_ms(void)
{
	struct timespec time = now(CLOCK_MONOTONIC);

	return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

int64_t
clock_coarse_ms(void)
{
	struct timespec time = now(CLOCK_MONOTONIC_COARSE);

	return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

int64_t
clock_monotonic_us(void)
{
	struct timespec time = now(CLOCK_MONOTONIC);

	return (int64_t)time.tv_sec * 1000000 + time.tv_nsec / 1000;
}

/* RFC 5322 3.3 date-time, with the local offset from UTC. */
void
clock_format_rfc5322(int64_t wall, char *text, size_t size)
{
	static const char days[7][4] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char months[12][4] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug",
		"Sep", "Oct", "Nov", "Dec" };
	time_t seconds = (time_t)wall;
	struct tm tm;
	long offset;

	if (localtime_r(&seconds, &tm) == NULL) {
		/* A year that doesn't fit an int. */
		seconds = 0;
		if (gmtime_r(&seconds, &tm) == NULL)
			abort();
	}
	offset = tm.tm_gmtoff / 60;
	snprintf(text, size, "%s, %02d %s %d %02d:%02d:%02d %c%02ld%02ld", days[tm.tm_wday],
	    tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec,
	    offset < 0 ? '-' : '+', labs(offset) / 60, labs(offset) % 60);
}
