/* How much a host is sent at once: the config's mta settings, and its rules for this destination. */
#ifndef DELIVER_RELAY_LIMITS_H
#define DELIVER_RELAY_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/config.h"

#define LIMITS_NO_RULE SIZE_MAX

struct limits {
	uint32_t sessions;
	uint32_t messages;
	uint32_t recipients;
	uint32_t messages_per_minute; /* 0: any */
	uint32_t pause_ms;
	uint32_t sessions_total; /* of the rule below */
	size_t total_rule;       /* in the config's mta_limits; LIMITS_NO_RULE: none */
	enum relay_family family;
	bool of_domain; /* a rule for the domain has a part in it */
};

/* Of the rules that fit, later ones replace what earlier ones say. */
void limits_for(struct limits *, const struct config *, const char *domain, const char *mx);

#endif
