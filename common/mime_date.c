/*
 * Words and numbers in the order that the grammar has them; comments are skipped. Two-digit years and
 * the zones' old names are known.
 */
#include <ctype.h>
#include <string.h>
#include <strings.h>

#include "common/mime_date.h"
#include "common/mime_header.h"

int32_t
mime_days(unsigned year, unsigned month, unsigned day)
{
	/* Counted in years that begin in March, whose leap day is their last. */
	unsigned shifted = month <= 2 ? year - 1 : year;
	unsigned day_of_year = (153 * (month <= 2 ? month + 9 : month - 3) + 2) / 5 + day - 1;

	return (int32_t)(shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 +
	           day_of_year) -
	    719468;
}

static bool
take_number(struct mime_value *value, unsigned *number, unsigned *digits)
{
	mime_value_skip(value);
	*number = *digits = 0;
	while (value->at < value->end && isdigit((unsigned char)*value->at) && *digits < 6) {
		*number = *number * 10 + (unsigned)(*value->at++ - '0');
		(*digits)++;
	}
	return *digits > 0;
}

static bool
take_char(struct mime_value *value, char wanted)
{
	mime_value_skip(value);
	if (value->at == value->end || *value->at != wanted)
		return false;
	value->at++;
	return true;
}

static bool
take_month(struct mime_value *value, unsigned *month)
{
	static const char months[] = "janfebmaraprmayjunjulaugsepoctnovdec";

	mime_value_skip(value);
	if (value->end - value->at < 3)
		return false;
	for (*month = 1; *month <= 12; (*month)++) {
		if (strncasecmp(value->at, months + (*month - 1) * 3, 3) == 0)
			break;
	}
	while (value->at < value->end && isalpha((unsigned char)*value->at))
		value->at++;
	return *month <= 12;
}

/* Minutes east of UTC; an unknown zone counts as UTC (RFC 5322 4.3). */
static int
take_zone(struct mime_value *value)
{
	static const struct {
		const char *name;
		int minutes;
	} zones[] = {
		{ "EDT", -240 },
		{ "EST", -300 },
		{ "CDT", -300 },
		{ "CST", -360 },
		{ "MDT", -360 },
		{ "MST", -420 },
		{ "PDT", -420 },
		{ "PST", -480 },
	};
	unsigned number, digits;
	bool is_west;

	mime_value_skip(value);
	if (value->at == value->end)
		return 0;
	if (*value->at == '+' || *value->at == '-') {
		is_west = *value->at++ == '-';
		if (!take_number(value, &number, &digits) || digits != 4)
			return 0;
		number = number / 100 * 60 + number % 100;
		return is_west ? -(int)number : (int)number;
	}
	for (size_t i = 0; i < sizeof(zones) / sizeof(zones[0]); i++) {
		if (value->end - value->at >= 3 && strncasecmp(value->at, zones[i].name, 3) == 0)
			return zones[i].minutes;
	}
	return 0;
}

bool
mime_date_parse(const char *field, struct mime_date *date)
{
	unsigned day, month, year, hour, minute, second = 0, digits;
	struct mime_value value;

	mime_value_init(&value, field);
	mime_value_skip(&value);
	while (value.at < value.end && isalpha((unsigned char)*value.at))
		value.at++;
	(void)take_char(&value, ',');
	if (!take_number(&value, &day, &digits))
		return false;
	(void)take_char(&value, '-');
	if (!take_month(&value, &month))
		return false;
	(void)take_char(&value, '-');
	if (!take_number(&value, &year, &digits))
		return false;
	if (digits == 2) /* RFC 5322 4.3 */
		year += year < 50 ? 2000 : 1900;
	else if (digits == 3)
		year += 1900;
	if (day == 0 || day > 31 || year < 1900 || year > 9999)
		return false;
	date->days = mime_days(year, month, day);
	date->when = (int64_t)date->days * 86400;
	date->zone = 0;
	if (!take_number(&value, &hour, &digits) || !take_char(&value, ':') ||
	    !take_number(&value, &minute, &digits))
		return true; /* a day without a time */
	if (take_char(&value, ':'))
		(void)take_number(&value, &second, &digits);
	if (hour > 23 || minute > 59 || second > 60)
		return true;
	date->when += (int64_t)hour * 3600 + minute * 60 + second;
	date->zone = take_zone(&value);
	date->when -= (int64_t)date->zone * 60;
	return true;
}
