/*
 * What came of TLS with a domain's mail servers, and of its policy: told to an observer as it
 * happens, for reports to that domain (RFC 8460). Told are
 *
 *   - the first message of each domain that a connection takes up, with TLS_RESULT_SUCCESS, or with
 *     what was wrong and didn't matter (no TLS and none promised, MTA-STS in mode "testing");
 *   - a host that can't be had for a domain because of TLS or a policy, once for each domain whose mail
 *     waited for it;
 *   - a policy that could not be fetched or understood (`mx` is "" then).
 *
 * A host that isn't reached at all, or doesn't want the mail, is no outcome.
 */
#ifndef DELIVER_RELAY_OUTCOME_H
#define DELIVER_RELAY_OUTCOME_H

#include "common/ipc_relay_directory.h"

/* RFC 8460 4.4: policy-type */
enum policy_type {
	POLICY_TYPE_NONE, /* no-policy-found */
	POLICY_TYPE_STS,
	POLICY_TYPE_TLSA,
	POLICY_TYPE_COUNT,
};

/* RFC 8460 4.3, in its order */
enum tls_result {
	TLS_RESULT_SUCCESS,
	TLS_RESULT_STARTTLS_NOT_SUPPORTED,
	TLS_RESULT_CERTIFICATE_HOST_MISMATCH,
	TLS_RESULT_CERTIFICATE_EXPIRED,
	TLS_RESULT_CERTIFICATE_NOT_TRUSTED,
	TLS_RESULT_VALIDATION_FAILURE,
	TLS_RESULT_TLSA_INVALID,
	TLS_RESULT_DNSSEC_INVALID,
	TLS_RESULT_DANE_REQUIRED,
	TLS_RESULT_STS_POLICY_FETCH_ERROR,
	TLS_RESULT_STS_POLICY_INVALID,
	TLS_RESULT_STS_WEBPKI_INVALID,
	TLS_RESULT_COUNT,
};

struct dane;
struct sts_policy; /* deliver/relay_sts.h */

struct outcome_note {
	const char *domain; /* the recipients', in A-labels */
	enum policy_type type;
	enum tls_result result;
	const struct sts_policy *sts; /* of POLICY_TYPE_STS; NULL: none could be had */
	const struct dane *dane;      /* of POLICY_TYPE_TLSA; NULL: none could be had */
	const char *mx;               /* the server's name; "" */
	const char *mx_address;       /* as text; "" */
	const char *own_address;      /* as text; "" */
	const char *reason;           /* in words; "" with TLS_RESULT_SUCCESS */
};

/* All of it is borrowed until the function returns, which calls nothing of the relay's. */
typedef void (*outcome_fn)(const struct outcome_note *, void *arg);

/* "certificate-expired" */
const char *tls_result_name(enum tls_result);
/* Of a verification that failed, OpenSSL's X509_V_ERR_… (long); TLS_RESULT_SUCCESS of X509_V_OK. */
enum tls_result tls_result_of_certificate(long verify_error);

#endif
