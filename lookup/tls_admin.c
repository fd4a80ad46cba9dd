/*
 * The sums lie by day and domain, so that a listing can go on behind the last key that it has seen,
 * whatever has come or gone meanwhile.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

#include "common/address.h"
#include "lookup/tls_admin.h"

#define DAY       86400
#define DAY_TEXT  24
#define LINE_SIZE 1024

static bool __attribute__((format(printf, 3, 4)))
refuse(struct ipc_result *result, unsigned code, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	result->exit_code = code;
	vsnprintf(result->words, sizeof(result->words), format, arguments);
	va_end(arguments);
	return false;
}

static void
format_day(int64_t day, char text[DAY_TEXT])
{
	time_t seconds = (time_t)(day * DAY);
	struct tm tm;

	if (gmtime_r(&seconds, &tm) == NULL || strftime(text, DAY_TEXT, "%Y-%m-%d", &tm) == 0)
		snprintf(text, DAY_TEXT, "%" PRId64, day);
}

/* Only as format_day() has it. */
static bool
parse_day(const char *text, int64_t *day)
{
	struct tm tm = { 0 };
	const char *end = strptime(text, "%Y-%m-%d", &tm);
	char again[DAY_TEXT];

	if (end == NULL || *end != '\0')
		return false;
	*day = timegm(&tm) / DAY;
	format_day(*day, again);
	return *day >= 0 && strcmp(again, text) == 0;
}

bool
tls_admin_list(struct tls_sums *sums, const struct ipc_account *account,
    struct tls_listing *listing, struct ipc_result *result)
{
	memset(listing, 0, sizeof(*listing));
	memset(result, 0, sizeof(*result));
	if (account->word_count > 1)
		return refuse(result, EX_USAGE, "wrong number of arguments");
	if (account->word_count == 1 &&
	    !address_domain_key(account->words[0], listing->domain, sizeof(listing->domain)))
		return refuse(result, EX_DATAERR, "\"%s\" is not a domain", account->words[0]);
	tls_sums_write(sums);
	return true;
}

/* Of `count` sums, all of one kind of policy. */
static void
give_line(const struct tls_day *day, const struct tls_sum *sums, size_t count,
    void (*line)(const char *line, void *arg), void *arg)
{
	uint64_t by_result[REPORT_RESULT_COUNT] = { 0 }, bad = 0;
	char text[LINE_SIZE], date[DAY_TEXT];
	size_t length;

	for (size_t i = 0; i < count; i++)
		by_result[sums[i].result.result] += sums[i].sessions;
	for (unsigned i = REPORT_RESULT_SUCCESS + 1; i < REPORT_RESULT_COUNT; i++)
		bad += by_result[i];
	format_day(day->day, date);
	length = (size_t)snprintf(text, sizeof(text), "%s\t%s\t%s\t%" PRIu64 "\t%" PRIu64, date,
	    day->domain, report_policy_name(sums->result.policy), by_result[REPORT_RESULT_SUCCESS],
	    bad);
	for (unsigned i = REPORT_RESULT_SUCCESS + 1; i < REPORT_RESULT_COUNT; i++)
		if (by_result[i] > 0 && length < sizeof(text))
			length +=
			    (size_t)snprintf(text + length, sizeof(text) - length, "\t%s\t%" PRIu64,
			        report_result_name((enum report_result)i), by_result[i]);
	line(text, arg);
}

bool
tls_admin_portion(struct tls_sums *sums, struct tls_listing *listing, size_t items,
    void (*line)(const char *line, void *arg), void *arg, struct ipc_result *result)
{
	struct tls_day day;
	size_t count;

	memset(result, 0, sizeof(*result));
	for (; items > 0; items--) {
		if (!tls_sums_next(sums, INT64_MAX, listing->after, &day)) {
			result->count = listing->count;
			return false;
		}
		for (size_t i = 0; i < day.count; i += count) {
			for (count = 1; i + count < day.count &&
			     day.sums[i + count].result.policy == day.sums[i].result.policy;
			     count++)
				;
			if (*listing->domain != '\0' && strcmp(listing->domain, day.domain) != 0)
				continue;
			give_line(&day, day.sums + i, count, line, arg);
			listing->count++;
		}
		tls_day_clear(&day);
	}
	return true;
}

void
tls_admin_send(struct tls_sums *sums, struct tls_sender *sender, const struct ipc_account *account,
    int64_t now, struct ipc_result *result)
{
	int64_t day = -1;

	memset(result, 0, sizeof(*result));
	if (account->word_count > 1)
		(void)refuse(result, EX_USAGE, "wrong number of arguments");
	else if (account->word_count == 1 && !parse_day(account->words[0], &day))
		(void)refuse(
		    result, EX_DATAERR, "\"%s\" is not a day like 2026-01-31", account->words[0]);
	else if (!tls_sender_is_wanted(sender))
		(void)refuse(result, EX_CONFIG, "mta tls-reports-from is not configured");
	else {
		tls_sums_write(sums);
		if (!tls_sender_order(sender, day, now))
			(void)refuse(result, EX_DATAERR, "there is nothing to report");
	}
}
