/* What the hosts and the policies tell (relay_outcome.h), as reports have it.
 */
#include <stdio.h>
#include <string.h>

#include <bsd/string.h>

#include "deliver/relay_dane.h"
#include "deliver/relay_outcome.h"
#include "deliver/relay_tls_report.h"
#include "deliver/relay_sts.h"

_Static_assert((int)TLS_RESULT_COUNT == (int)REPORT_RESULT_COUNT &&
        (int)TLS_RESULT_DNSSEC_INVALID == (int)REPORT_RESULT_DNSSEC_INVALID &&
        (int)TLS_RESULT_STS_WEBPKI_INVALID == (int)REPORT_RESULT_STS_WEBPKI_INVALID,
    "results of TLS are those of its reports");

/* RFC 6698 2.2; records that don't fit any more are left out. */
static void
add_dane(struct ipc_tls_result *result, const struct dane *dane)
{
	char line[REPORT_STRINGS_MAX + 1];
	size_t length, used = 0;

	if (dane->name_count > 0)
		strlcpy(result->policy_domain, dane->names[0], sizeof(result->policy_domain));
	for (size_t i = 0; i < dane->count; i++) {
		const struct dane_record *record = &dane->records[i];

		if ((size_t)2 * record->length + 16 > sizeof(line))
			continue;
		length = (size_t)snprintf(line, sizeof(line), "%u %u %u ", record->usage,
		    record->selector, record->matching);
		for (size_t j = 0; j < record->length; j++)
			length += (size_t)snprintf(
			    line + length, sizeof(line) - length, "%02X", record->data[j]);
		if (used + length + 1 > REPORT_STRINGS_MAX)
			continue;
		memcpy(result->strings + used, line, length);
		used += length;
		result->strings[used++] = '\n';
	}
	result->strings[used] = '\0';
}

/* RFC 8460 4.5 */
static void
add_sts(struct ipc_tls_result *result, const struct sts_policy *policy)
{
	char *strings = result->strings, age[40];
	const char *mx = policy->mx, *blank;
	const size_t size = sizeof(result->strings);
	size_t length;

	snprintf(strings, size, "version: STSv1\nmode: %s\n", sts_mode_name(policy->mode));
	snprintf(age, sizeof(age), "max_age: %u\n", policy->max_age);
	for (; (blank = strchr(mx, ' ')) != NULL; mx = blank + 1) {
		length = strlen(strings);
		if (length + (size_t)(blank - mx) + 6 + sizeof(age) > size)
			break;
		snprintf(strings + length, size - length, "mx: %.*s\n", (int)(blank - mx), mx);
		length = strlen(result->patterns);
		snprintf(result->patterns + length, sizeof(result->patterns) - length, "%.*s\n",
		    (int)(blank - mx), mx);
	}
	strlcat(strings, age, size);
	strlcpy(result->policy_domain, policy->domain, sizeof(result->policy_domain));
}

void
reports_note(const struct outcome_note *note, void *reports)
{
	static struct ipc_tls_result result;

	memset(&result, 0, sizeof(result));
	result.result = (enum report_result)note->result;
	switch (note->type) {
	case POLICY_TYPE_NONE:
	case POLICY_TYPE_COUNT:
		result.policy = REPORT_POLICY_NONE;
		break;
	case POLICY_TYPE_STS:
		result.policy = REPORT_POLICY_STS;
		if (note->sts != NULL)
			add_sts(&result, note->sts);
		break;
	case POLICY_TYPE_TLSA:
		result.policy = REPORT_POLICY_TLSA;
		if (note->dane != NULL)
			add_dane(&result, note->dane);
		break;
	}
	strlcpy(result.domain, note->domain, sizeof(result.domain));
	strlcpy(result.mx, note->mx, sizeof(result.mx));
	strlcpy(result.sending, note->own_address, sizeof(result.sending));
	strlcpy(result.receiving, note->mx_address, sizeof(result.receiving));
	strlcpy(result.reason, note->reason, sizeof(result.reason));
	reports_add(reports, &result);
}
