/* A rule names a domain, a host connected to, or neither; "*.example.org" is all below. */
#include <string.h>
#include <strings.h>

#include "deliver/relay_limits.h"

static bool
fits(const char *pattern, const char *name)
{
	size_t length = strlen(name), tail;

	if (strncmp(pattern, "*.", 2) != 0)
		return strcasecmp(pattern, name) == 0;
	tail = strlen(pattern + 1);
	return length > tail && strcasecmp(pattern + 1, name + length - tail) == 0;
}

static void
replace(uint32_t *limit, uint32_t value)
{
	if (value > 0)
		*limit = value;
}

void
limits_for(struct limits *limits, const struct config *config, const char *domain, const char *mx)
{
	memset(limits, 0, sizeof(*limits));
	limits->sessions = config->mta_sessions_per_host;
	limits->messages = config->mta_messages_per_session;
	limits->recipients = config->mta_recipients;
	limits->total_rule = LIMITS_NO_RULE;
	for (size_t i = 0; i < config->mta_limit_count; i++) {
		const struct mta_limit_config *rule = &config->mta_limits[i];

		if ((*rule->domain != '\0' && !fits(rule->domain, domain)) ||
		    (*rule->mx != '\0' && !fits(rule->mx, mx)))
			continue;
		limits->of_domain |= *rule->domain != '\0';
		replace(&limits->sessions, rule->sessions);
		replace(&limits->messages, rule->messages);
		replace(&limits->recipients, rule->recipients);
		replace(&limits->messages_per_minute, rule->messages_per_minute);
		replace(&limits->pause_ms, rule->pause_ms);
		if (rule->family != RELAY_FAMILY_ANY)
			limits->family = rule->family;
		if (rule->sessions_total > 0) {
			limits->sessions_total = rule->sessions_total;
			limits->total_rule = i;
		}
	}
	/* None of them can be nothing at all. */
	if (limits->sessions == 0)
		limits->sessions = 1;
	if (limits->messages == 0)
		limits->messages = 1;
	if (limits->recipients == 0)
		limits->recipients = 1;
}
