/*
 * As in OpenSMTPD: mail to a domain's MXs is encrypted when they offer it; the action's `tls` asks
 * for a good certificate, `tls no-verify` for encryption, and so do the schemes of smarthosts. Where
 * the configuration asks for nothing, DANE (RFC 7672) and REQUIRETLS (RFC 8689) may.
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

enum tls_need
policy_need(const struct ipc_relay_message *message)
{
	/* RFC 8689 4.1: REQUIRETLS is stronger. 5: a report goes without, rather than nowhere. */
	if (message->require_tls)
		return address_is_null(&message->sender) ? TLS_NEED_USUAL : TLS_NEED_REQUIRED;
	return message->tls_optional ? TLS_NEED_OPTIONAL : TLS_NEED_USUAL;
}

bool
policy_wants_tlsa(const struct policy *policy, enum tls_need need, bool is_known)
{
	if (!is_known || policy->implicit)
		return false;
	switch (need) {
	case TLS_NEED_USUAL:
		return policy->security == SECURITY_OPPORTUNISTIC;
	case TLS_NEED_REQUIRED:
		return policy->security == SECURITY_OPPORTUNISTIC ||
		    policy->security == SECURITY_ENCRYPTED;
	case TLS_NEED_OPTIONAL:
		break;
	}
	return false;
}

bool
policy_with_tlsa(struct policy *policy, enum tls_need need, bool is_known, enum tlsa_kind tlsa)
{
	bool wanted = policy_wants_tlsa(policy, need, is_known);

	if (wanted && tlsa == TLSA_USABLE)
		policy->security = SECURITY_DANE;
	else if (wanted && tlsa == TLSA_UNUSABLE) /* RFC 7672 2.2 */
		policy->security = SECURITY_ENCRYPTED;
	if (need != TLS_NEED_REQUIRED)
		return true;
	/* RFC 8689 4.2.1: the name that the certificate is for must be known, too. */
	if (policy->security == SECURITY_OPPORTUNISTIC || policy->security == SECURITY_ENCRYPTED)
		policy->security = SECURITY_VERIFIED;
	return is_known && policy_is_verified(policy);
}

bool
policy_needs_tls(const struct policy *policy)
{
	switch (policy->security) {
	case SECURITY_NONE:
	case SECURITY_OPPORTUNISTIC:
		return false;
	case SECURITY_ENCRYPTED:
	case SECURITY_VERIFIED:
	case SECURITY_DANE:
		break;
	}
	return true;
}

bool
policy_is_verified(const struct policy *policy)
{
	return policy->security == SECURITY_VERIFIED || policy->security == SECURITY_DANE;
}
