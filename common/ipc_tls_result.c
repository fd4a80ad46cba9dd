#include <string.h>

#include "common/ipc_tls_result.h"

const char *
report_policy_name(enum report_policy type)
{
	static const char *const names[REPORT_POLICY_COUNT] = {
		[REPORT_POLICY_NONE] = "no-policy-found",
		[REPORT_POLICY_TLSA] = "tlsa",
		[REPORT_POLICY_STS] = "sts",
	};

	return names[type];
}

const char *
report_result_name(enum report_result type)
{
	static const char *const names[REPORT_RESULT_COUNT] = {
		[REPORT_RESULT_SUCCESS] = "success",
		[REPORT_RESULT_STARTTLS_NOT_SUPPORTED] = "starttls-not-supported",
		[REPORT_RESULT_CERTIFICATE_HOST_MISMATCH] = "certificate-host-mismatch",
		[REPORT_RESULT_CERTIFICATE_EXPIRED] = "certificate-expired",
		[REPORT_RESULT_CERTIFICATE_NOT_TRUSTED] = "certificate-not-trusted",
		[REPORT_RESULT_VALIDATION_FAILURE] = "validation-failure",
		[REPORT_RESULT_TLSA_INVALID] = "tlsa-invalid",
		[REPORT_RESULT_DNSSEC_INVALID] = "dnssec-invalid",
		[REPORT_RESULT_DANE_REQUIRED] = "dane-required",
		[REPORT_RESULT_STS_POLICY_FETCH_ERROR] = "sts-policy-fetch-error",
		[REPORT_RESULT_STS_POLICY_INVALID] = "sts-policy-invalid",
		[REPORT_RESULT_STS_WEBPKI_INVALID] = "sts-webpki-invalid",
	};

	return names[type];
}

void
ipc_tls_result_encode(struct buf *buf, const struct ipc_tls_result *result)
{
	buf_add_string(buf, result->domain);
	buf_add_string(buf, result->rua);
	buf_add_u8(buf, result->policy);
	buf_add_string(buf, result->policy_domain);
	buf_add_string(buf, result->strings);
	buf_add_string(buf, result->patterns);
	buf_add_u8(buf, result->result);
	buf_add_string(buf, result->mx);
	buf_add_string(buf, result->sending);
	buf_add_string(buf, result->receiving);
	buf_add_string(buf, result->reason);
	buf_add_u32(buf, result->sessions);
}

/* Printable ASCII without blanks: nothing that could break a header field, a key or a line of the
 * log. */
static bool
is_word(const char *text)
{
	for (; *text != '\0'; text++)
		if (*text <= ' ' || *text > '~')
			return false;
	return true;
}

bool
ipc_tls_result_decode(struct buf_reader *reader, struct ipc_tls_result *result)
{
	memset(result, 0, sizeof(*result));
	buf_get_string(reader, result->domain, sizeof(result->domain));
	buf_get_string(reader, result->rua, sizeof(result->rua));
	result->policy = buf_get_enum(reader, REPORT_POLICY_COUNT);
	buf_get_string(reader, result->policy_domain, sizeof(result->policy_domain));
	buf_get_string(reader, result->strings, sizeof(result->strings));
	buf_get_string(reader, result->patterns, sizeof(result->patterns));
	result->result = buf_get_enum(reader, REPORT_RESULT_COUNT);
	buf_get_string(reader, result->mx, sizeof(result->mx));
	buf_get_string(reader, result->sending, sizeof(result->sending));
	buf_get_string(reader, result->receiving, sizeof(result->receiving));
	buf_get_string(reader, result->reason, sizeof(result->reason));
	result->sessions = buf_get_u32(reader);
	/* A file's name has the domain in it (RFC 8460 5.1). */
	if (*result->domain == '\0' || *result->domain == '.' || !is_word(result->domain) ||
	    strpbrk(result->domain, "/\\\"!<>()@,;:") != NULL || *result->rua == '\0' ||
	    result->sessions == 0)
		reader->failed = true;
	return buf_reader_done(reader);
}
