/*
 * What became of TLS with a domain's mail servers, for the reports that the domain asks for
 * (RFC 8460): RELAY_DIRECTORY_TLS_RESULT of ipc_relay_directory.h, which isn't answered. The relay
 * adds like ones up for some seconds, the directory for a day.
 */
#ifndef COMMON_IPC_TLS_RESULT_H
#define COMMON_IPC_TLS_RESULT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/envelope.h"

/* RFC 8460 4.4, "policy-type" */
enum report_policy {
	REPORT_POLICY_NONE,
	REPORT_POLICY_TLSA,
	REPORT_POLICY_STS,
	REPORT_POLICY_COUNT,
};
const char *report_policy_name(enum report_policy);

/* RFC 8460 4.3 */
enum report_result {
	REPORT_RESULT_SUCCESS,
	REPORT_RESULT_STARTTLS_NOT_SUPPORTED,
	REPORT_RESULT_CERTIFICATE_HOST_MISMATCH,
	REPORT_RESULT_CERTIFICATE_EXPIRED,
	REPORT_RESULT_CERTIFICATE_NOT_TRUSTED,
	REPORT_RESULT_VALIDATION_FAILURE,
	REPORT_RESULT_TLSA_INVALID,
	REPORT_RESULT_DNSSEC_INVALID,
	REPORT_RESULT_DANE_REQUIRED,
	REPORT_RESULT_STS_POLICY_FETCH_ERROR,
	REPORT_RESULT_STS_POLICY_INVALID,
	REPORT_RESULT_STS_WEBPKI_INVALID,
	REPORT_RESULT_COUNT,
};
/* "success" is none of the RFC's. */
const char *report_result_name(enum report_result);

#define REPORT_RUA_MAX     1000
#define REPORT_STRINGS_MAX 4096
#define REPORT_REASON_MAX  200

struct ipc_tls_result {
	char domain[HOSTNAME_MAX + 1]; /* of the mail: A-labels in lower case */
	char rua[REPORT_RUA_MAX + 1];  /* where its record wants reports: URIs and commas */
	enum report_policy policy;
	char policy_domain[HOSTNAME_MAX + 1];  /* TLSA: the records' base domain */
	char strings[REPORT_STRINGS_MAX + 1];  /* of the policy, each ended by LF */
	char patterns[REPORT_STRINGS_MAX + 1]; /* STS: of its MXs, each ended by LF */
	enum report_result result;
	/* "" all, of a success. */
	char mx[HOSTNAME_MAX + 1];
	char sending[CLIENT_TEXT_MAX + 1];   /* our address */
	char receiving[CLIENT_TEXT_MAX + 1]; /* its */
	char reason[REPORT_REASON_MAX + 1];
	uint32_t sessions;
};
void ipc_tls_result_encode(struct buf *, const struct ipc_tls_result *);
bool ipc_tls_result_decode(struct buf_reader *, struct ipc_tls_result *);

#endif
