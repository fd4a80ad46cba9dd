/*
 * A TLS report (RFC 8460) of a result with foreign words: the JSON has no byte that could leave a
 * string, whatever they are; and a mailbox that a record names is one of printable ASCII.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "lookup/tls_report.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

/* The quotes that aren't escaped, and no control but the last line end. */
static size_t
count_quotes(const struct buf *json)
{
	size_t count = 0;

	assert(json->length > 0 && json->data[json->length - 1] == '\n');
	for (size_t i = 0; i + 1 < json->length; i++) {
		assert(json->data[i] >= ' ' && json->data[i] != 0x7f);
		if (json->data[i] == '\\')
			i++;
		else
			count += json->data[i] == '"';
	}
	return count;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct tls_sum sum;
	static size_t quotes;
	struct tls_day day = { .day = 20000, .domain = "far.test", .sums = &sum, .count = 1 };
	struct address from = { .local = "tls", .domain = "example.test" }, to;
	struct tls_report report = { .day = &day, .from = &from, .to = &from, .id = "1" };
	char *text = malloc(size + 1);
	struct buf json;
	bool https;

	assert(text != NULL);
	memcpy(text, data, size);
	text[size] = '\0';
	memset(&sum, 0, sizeof(sum));
	sum.result.result = REPORT_RESULT_VALIDATION_FAILURE;
	strlcpy(sum.result.domain, "far.test", sizeof(sum.result.domain));
	buf_init(&json, 1024 * 1024);
	if (quotes == 0) {
		strlcpy(sum.result.reason, "x", sizeof(sum.result.reason));
		tls_report_json(&json, &report);
		quotes = count_quotes(&json);
		buf_clear(&json);
	}
	strlcpy(sum.result.reason, *text == '\0' ? "x" : text, sizeof(sum.result.reason));
	tls_report_json(&json, &report);
	assert(buf_ok(&json) && count_quotes(&json) == quotes);
	if (tls_report_recipient(text, &to, &https))
		for (const char *at = to.local; *at != '\0'; at++)
			assert(*at >= ' ' && *at <= '~');
	buf_free(&json);
	free(text);
	return 0;
}
