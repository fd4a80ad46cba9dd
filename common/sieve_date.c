/*
 * Parts of dates (RFC 5260 4.2).
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "common/sieve_message.h"

enum date_part {
	DATE_YEAR,
	DATE_MONTH,
	DATE_DAY,
	DATE_DATE,
	DATE_JULIAN,
	DATE_HOUR,
	DATE_MINUTE,
	DATE_SECOND,
	DATE_TIME,
	DATE_ISO8601,
	DATE_STD11,
	DATE_ZONE,
	DATE_WEEKDAY,
	DATE_COUNT,
};

static const char *const names[DATE_COUNT] = {
	[DATE_YEAR] = "year",
	[DATE_MONTH] = "month",
	[DATE_DAY] = "day",
	[DATE_DATE] = "date",
	[DATE_JULIAN] = "julian",
	[DATE_HOUR] = "hour",
	[DATE_MINUTE] = "minute",
	[DATE_SECOND] = "second",
	[DATE_TIME] = "time",
	[DATE_ISO8601] = "iso8601",
	[DATE_STD11] = "std11",
	[DATE_ZONE] = "zone",
	[DATE_WEEKDAY] = "weekday",
};

static enum date_part
find_part(const char *name)
{
	unsigned i;

	for (i = 0; i < DATE_COUNT && strcasecmp(names[i], name) != 0; i++)
		;
	return (enum date_part)i;
}

bool
sieve_date_part_is_known(const char *part)
{
	return find_part(part) != DATE_COUNT;
}

bool
sieve_read_zone(const char *text, int *minutes)
{
	int value = 0;

	if ((text[0] != '+' && text[0] != '-') || strlen(text) != 5 ||
	    strspn(text + 1, "0123456789") != 4)
		return false;
	value = ((text[1] - '0') * 10 + text[2] - '0') * 60 + (text[3] - '0') * 10 + text[4] - '0';
	*minutes = text[0] == '-' ? -value : value;
	return true;
}

int
sieve_local_zone(int64_t when)
{
	time_t at = when;
	struct tm tm;

	return localtime_r(&at, &tm) == NULL ? 0 : (int)(tm.tm_gmtoff / 60);
}

void
sieve_date_part(int64_t when, int minutes, const char *part, char *text, size_t size)
{
	static const char days[] = "SunMonTueWedThuFriSat";
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	char zone[8], sign = minutes < 0 ? '-' : '+';
	unsigned east = (unsigned)(minutes < 0 ? -minutes : minutes);
	time_t shifted = when + (int64_t)minutes * 60;
	struct tm tm;
	int year;

	if (gmtime_r(&shifted, &tm) == NULL)
		memset(&tm, 0, sizeof(tm));
	year = tm.tm_year + 1900;
	snprintf(zone, sizeof(zone), "%c%02u%02u", sign, east / 60 % 100, east % 60);
	switch (find_part(part)) {
	case DATE_YEAR:
		snprintf(text, size, "%04d", year);
		return;
	case DATE_MONTH:
		snprintf(text, size, "%02d", tm.tm_mon + 1);
		return;
	case DATE_DAY:
		snprintf(text, size, "%02d", tm.tm_mday);
		return;
	case DATE_DATE:
		snprintf(text, size, "%04d-%02d-%02d", year, tm.tm_mon + 1, tm.tm_mday);
		return;
	case DATE_JULIAN: { /* the modified one: days since 17 November 1858 */
		int64_t seconds = shifted, day = seconds / 86400 - (seconds % 86400 < 0);

		snprintf(text, size, "%" PRId64, day + 40587);
		return;
	}
	case DATE_HOUR:
		snprintf(text, size, "%02d", tm.tm_hour);
		return;
	case DATE_MINUTE:
		snprintf(text, size, "%02d", tm.tm_min);
		return;
	case DATE_SECOND:
		snprintf(text, size, "%02d", tm.tm_sec);
		return;
	case DATE_TIME:
		snprintf(text, size, "%02d:%02d:%02d", tm.tm_hour, tm.tm_min, tm.tm_sec);
		return;
	case DATE_ISO8601:
		snprintf(text, size, "%04d-%02d-%02dT%02d:%02d:%02d%.3s:%s", year, tm.tm_mon + 1,
		    tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, zone, zone + 3);
		return;
	case DATE_STD11:
		snprintf(text, size, "%.3s, %02d %.3s %04d %02d:%02d:%02d %s",
		    days + tm.tm_wday * 3, tm.tm_mday, months + tm.tm_mon * 3, year, tm.tm_hour,
		    tm.tm_min, tm.tm_sec, zone);
		return;
	case DATE_ZONE:
		snprintf(text, size, "%s", zone);
		return;
	case DATE_WEEKDAY:
		snprintf(text, size, "%d", tm.tm_wday);
		return;
	case DATE_COUNT:
		break;
	}
	snprintf(text, size, "%s", "");
}
