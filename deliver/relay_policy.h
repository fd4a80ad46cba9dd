/*
 * How a connection to a host must be secured. What the configuration says decides first; where that
 * leaves it open, what the destination says of itself, in DNS (DANE) or by a policy (MTA-STS), and what
 * the message needs.
 */
#ifndef DELIVER_RELAY_POLICY_H
#define DELIVER_RELAY_POLICY_H

#include <stdbool.h>

#include "common/config.h"
#include "common/ipc_queue_relay.h"
#include "deliver/relay_outcome.h"

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
	SECURITY_DANE,          /* TLS with a certificate that the host's TLSA records name */
};

/* What the message needs (RFC 8689). */
enum tls_need {
	TLS_NEED_USUAL,
	TLS_NEED_REQUIRED, /* REQUIRETLS: the right host, and its promise */
	TLS_NEED_OPTIONAL, /* "TLS-Required: No": rather in plain than not at all */
};

/* What DNS has about a host's certificate, validated (RFC 7672 2.2). */
enum tlsa_kind {
	TLSA_NONE,     /* nothing, or nothing that is signed */
	TLSA_UNUSABLE, /* records of kinds that mean nothing for SMTP */
	TLSA_USABLE,
};

/* What the domain's policy of MTA-STS says of a host (RFC 8461 4.1 and 5). */
enum sts_verdict {
	STS_VERDICT_NONE,          /* there is no such policy, or of mode none */
	STS_VERDICT_TESTING,       /* it names the host; mode testing */
	STS_VERDICT_TESTING_OTHER, /* it doesn't */
	STS_VERDICT_ENFORCED,      /* it names the host; mode enforce */
	STS_VERDICT_ENFORCED_OTHER,
};

struct policy {
	enum security security;
	bool implicit;         /* TLS from the first byte */
	bool is_dns_id;        /* the certificate is looked at for a DNS-ID only (RFC 8461 4.2) */
	bool is_watched;       /* how SECURITY_VERIFIED would have ended is wanted (mode testing) */
	bool is_other;         /* of mode testing: the policy doesn't name the host */
	enum policy_type type; /* what decided, besides the configuration */
};

enum policy_fit {
	POLICY_FITS,
	POLICY_NOT_NAMED, /* the domain's policy doesn't name the host, and is enforced */
	POLICY_NOT_HAD,   /* what the message needs can't be had there */
};

/* For a host of that scheme, in that action. */
struct policy policy_for(const struct action_config *, enum relay_scheme);
enum tls_need policy_need(const struct ipc_relay_message *);
/* Whether TLSA records matter. `is_known`: that the mail belongs to this host says the
 * configuration, or a signed MX record. */
bool policy_wants_tlsa(const struct policy *, enum tls_need, bool is_known);
/* The policy with what has come of that, and of the domain's policy. DANE is the stronger one (RFC 8461
 * 2). */
enum policy_fit policy_settle(struct policy *, enum tls_need, bool is_known, enum tlsa_kind,
    enum sts_verdict) __attribute__((warn_unused_result));
/* A host without TLS gets nothing. */
bool policy_needs_tls(const struct policy *);
/* The host's certificate has been found to be its own. */
bool policy_is_verified(const struct policy *);

#endif
