/*
 * How a connection to a host must be secured. What the configuration says decides; what the
 * destination says of itself (DANE, MTA-STS) has its place in policy_for().
 */
#ifndef DELIVER_RELAY_POLICY_H
#define DELIVER_RELAY_POLICY_H

#include <stdbool.h>

#include "common/config.h"

enum relay_scheme {
	SCHEME_SMTP,
	SCHEME_SMTP_TLS,   /* smtp+tls: STARTTLS, or nothing */
	SCHEME_SMTP_NOTLS, /* smtp+notls */
	SCHEME_SMTPS,      /* TLS from the first byte */
	SCHEME_LMTP,
	SCHEME_COUNT,
};

enum security {
	SECURITY_NONE,          /* no TLS, offered or not */
	SECURITY_OPPORTUNISTIC, /* TLS when it is to be had, by whatever certificate */
	SECURITY_ENCRYPTED,     /* TLS or nothing, by whatever certificate */
	SECURITY_VERIFIED,      /* TLS with a good certificate for the host's name */
};

struct policy {
	enum security security;
	bool implicit; /* TLS from the first byte */
};

/* For a host of that scheme, in that action. */
struct policy policy_for(const struct action_config *, enum relay_scheme);

#endif
