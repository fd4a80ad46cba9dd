/*
 * As in OpenSMTPD: mail to a domain's MXs is encrypted when they offer it; the action's `tls` asks
 * for a good certificate, `tls no-verify` for encryption, and so do the schemes of smarthosts.
 */
#include "deliver/relay_policy.h"

struct policy
policy_for(const struct action_config *action, enum relay_scheme scheme)
{
	struct policy policy = { .security = SECURITY_OPPORTUNISTIC };

	switch (action->relay_tls) {
	case RELAY_TLS_OPPORTUNISTIC:
	case RELAY_TLS_COUNT:
		break;
	case RELAY_TLS_REQUIRED:
		policy.security = SECURITY_VERIFIED;
		break;
	case RELAY_TLS_REQUIRED_UNVERIFIED:
		policy.security = SECURITY_ENCRYPTED;
		break;
	}
	switch (scheme) {
	case SCHEME_SMTP:
	case SCHEME_COUNT:
		break;
	case SCHEME_SMTPS:
		policy.implicit = true;
		/* FALLTHROUGH */
	case SCHEME_SMTP_TLS:
		/* A smarthost gets credentials: it must be the one that is meant, unless the
		 * action says that it needn't. */
		if (policy.security == SECURITY_OPPORTUNISTIC)
			policy.security = SECURITY_VERIFIED;
		break;
	case SCHEME_SMTP_NOTLS:
		policy.security = SECURITY_NONE;
		break;
	case SCHEME_LMTP:
		if (policy.security == SECURITY_OPPORTUNISTIC)
			policy.security = SECURITY_NONE;
		break;
	}
	return policy;
}
