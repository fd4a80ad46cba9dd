/*
 * Dates of messages (RFC 5322 3.3, with the obsolete forms of 4.3).
 */
#ifndef COMMON_MIME_DATE_H
#define COMMON_MIME_DATE_H

#include <stdbool.h>
#include <stdint.h>

struct mime_date {
	int64_t when; /* seconds since 1970, UTC */
	int32_t days; /* since 1970, of the day as it is written, whatever its zone */
	int zone;     /* minutes east of UTC, as written */
};

/* False when the field is no date. */
bool mime_date_parse(const char *field, struct mime_date *);
/* Days from 1 January 1970 to a day of the Gregorian calendar; months and days count from 1. */
int32_t mime_days(unsigned year, unsigned month, unsigned day);

#endif
