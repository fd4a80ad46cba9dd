/*
 * What a domain that isn't ours says of its policy: the TXT record, a web server's answer, in
 * pieces, and the policy in it. What is taken of them can be kept and read again.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "deliver/relay_http.h"
#include "deliver/relay_sts_policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
check_record(const uint8_t *data, size_t size)
{
	static struct ipc_answer answer;
	char id[IPC_STS_ID_MAX + 1];

	answer.status = ANSWER_FOUND;
	answer.count = 1;
	answer.records[0].data = data;
	answer.records[0].length = (uint16_t)size;
	if (sts_record_id(&answer, id) == (*id == '\0'))
		abort();
	if (strspn(id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") !=
	    strlen(id))
		abort();
}

static void
check_policy(const uint8_t *data, size_t size)
{
	static struct ipc_sts_policy policy, again;
	struct buf_reader reader;
	char why[200] = "";
	struct buf buf;

	memset(&policy, 0, sizeof(policy));
	if (!sts_policy_parse(&policy, data, size, why, sizeof(why))) {
		if (*why == '\0')
			abort();
		return;
	}
	strcpy(policy.domain, "example.test");
	strcpy(policy.id, "1");
	buf_init(&buf, 16384);
	ipc_sts_policy_encode(&buf, &policy);
	buf_reader_init(&reader, buf.data, buf.length);
	if (!buf_ok(&buf) || !ipc_sts_policy_decode(&reader, &again) ||
	    strcmp(policy.mx, again.mx) != 0)
		abort();
	if (sts_mx_has(policy.mx, "mx.example.test.") || sts_mx_has(policy.mx, ""))
		abort();
	buf_free(&buf);
}

static void
check_response(const uint8_t *data, size_t size, size_t piece)
{
	static struct http_response response;
	enum http_result result = HTTP_MORE;
	size_t length;

	http_response_init(&response, 512);
	for (size_t at = 0; at < size && result == HTTP_MORE; at += length) {
		length = size - at < piece ? size - at : piece;
		result = http_response_feed(&response, data + at, length);
	}
	if (result == HTTP_MORE)
		result = http_response_end(&response);
	if (result == HTTP_DONE) {
		if (response.code < 200 || response.code > 599 || !buf_ok(&response.content) ||
		    response.content.length > 512 || strlen(response.type) > HTTP_TYPE_MAX)
			abort();
		check_policy(response.content.data, response.content.length);
	}
	http_response_free(&response);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0 || size > UINT16_MAX)
		return 0;
	/* The first byte says what it is, or in what pieces it comes. */
	if (data[0] == 'R')
		check_record(data + 1, size - 1);
	else if (data[0] == 'P')
		check_policy(data + 1, size - 1);
	else
		check_response(data + 1, size - 1, 1 + data[0] % 64U);
	return 0;
}
