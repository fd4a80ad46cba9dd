/* The names of outcomes (RFC 8460 4.3). */
#include <openssl/x509_vfy.h>

#include "deliver/relay_outcome.h"

const char *
tls_result_name(enum tls_result result)
{
	static const char *const names[] = { "success", "starttls-not-supported",
		"certificate-host-mismatch", "certificate-expired", "certificate-not-trusted",
		"validation-failure", "tlsa-invalid", "dnssec-invalid", "dane-required",
		"sts-policy-fetch-error", "sts-policy-invalid", "sts-webpki-invalid" };

	_Static_assert(
	    sizeof(names) / sizeof(names[0]) == TLS_RESULT_COUNT, "each result has a name");
	return result < TLS_RESULT_COUNT ? names[result] : "validation-failure";
}

enum tls_result
tls_result_of_certificate(long verify_error)
{
	switch (verify_error) {
	case X509_V_OK:
		return TLS_RESULT_SUCCESS;
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		return TLS_RESULT_CERTIFICATE_HOST_MISMATCH;
	case X509_V_ERR_CERT_HAS_EXPIRED:
		return TLS_RESULT_CERTIFICATE_EXPIRED;
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_CERT_UNTRUSTED:
	case X509_V_ERR_CERT_REVOKED:
	case X509_V_ERR_INVALID_CA:
	/* RFC 8460 4.3.1: "validation-failure" is for what no other word covers, and in DANE it is
	 * the TLSA records that say whom to trust. The reason tells that none of them matched. */
	case X509_V_ERR_DANE_NO_MATCH:
		return TLS_RESULT_CERTIFICATE_NOT_TRUSTED;
	default:
		return TLS_RESULT_VALIDATION_FAILURE;
	}
}
