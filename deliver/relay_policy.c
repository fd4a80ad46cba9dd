/*
 * As in OpenSMTPD: mail to a domain's MXs is encrypted when they offer it; the action's `tls` asks
 * for a good certificate, `tls no-verify` for encryption, and so do the schemes of smarthosts. Where
 * the configuration asks for nothing, DANE (RFC 7672), MTA-STS (RFC 8461) and REQUIRETLS (RFC 8689) may.
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

/* Where the configuration leaves TLS open, or wants no less itself. */
static bool
wants_sts(enum security security, enum tls_need need)
{
	switch (need) {
	case TLS_NEED_OPTIONAL: /* RFC 8689 3 */
		return false;
	case TLS_NEED_USUAL:
		return security == SECURITY_OPPORTUNISTIC || security == SECURITY_VERIFIED;
	case TLS_NEED_REQUIRED:
		break;
	}
	return security != SECURITY_NONE;
}

/* False: the policy forbids the host. *is_known becomes true when it names it. */
static bool
apply_sts(struct policy *policy, enum sts_verdict sts, bool *is_known)
{
	switch (sts) {
	case STS_VERDICT_NONE:
		return true;
	case STS_VERDICT_TESTING:
	case STS_VERDICT_TESTING_OTHER:
		policy->is_watched = true;
		policy->is_other = sts == STS_VERDICT_TESTING_OTHER;
		/* Where the configuration verifies, it does so in its own way. */
		policy->is_dns_id = policy->security == SECURITY_OPPORTUNISTIC;
		*is_known |= sts == STS_VERDICT_TESTING;
		break;
	case STS_VERDICT_ENFORCED:
		policy->security = SECURITY_VERIFIED;
		policy->is_dns_id = true;
		*is_known = true;
		break;
	case STS_VERDICT_ENFORCED_OTHER:
		break;
	}
	policy->type = POLICY_TYPE_STS;
	return sts != STS_VERDICT_ENFORCED_OTHER;
}

enum policy_fit
policy_settle(struct policy *policy, enum tls_need need, bool is_known, enum tlsa_kind tlsa,
    enum sts_verdict sts)
{
	bool wants_tlsa = policy_wants_tlsa(policy, need, is_known);
	bool may_sts = wants_sts(policy->security, need);

	if (wants_tlsa && tlsa == TLSA_USABLE) {
		policy->security = SECURITY_DANE;
		policy->type = POLICY_TYPE_TLSA;
	} else if (wants_tlsa && tlsa == TLSA_UNUSABLE) { /* RFC 7672 2.2 */
		policy->security = SECURITY_ENCRYPTED;
		policy->type = POLICY_TYPE_TLSA;
	}
	if (policy->security != SECURITY_DANE && may_sts && !apply_sts(policy, sts, &is_known))
		return POLICY_NOT_NAMED;
	if (need != TLS_NEED_REQUIRED)
		return POLICY_FITS;
	/* RFC 8689 4.2.1: the name that the certificate is for must be known, too, by a signed MX
	 * record or by a policy. */
	if (policy->security == SECURITY_OPPORTUNISTIC || policy->security == SECURITY_ENCRYPTED)
		policy->security = SECURITY_VERIFIED;
	return is_known && policy_is_verified(policy) ? POLICY_FITS : POLICY_NOT_HAD;
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
