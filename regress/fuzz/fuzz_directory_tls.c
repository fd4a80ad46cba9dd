/*
 * A TLS report (RFC 8460) of a result with foreign words: the JSON has no byte that could leave a
 * string, whatever they are; and what a record names is of printable ASCII.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "lookup/tls_report.h"
#include "lookup/tls_rua.h"

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

/* What a request's head or a header is made of can't leave its place. */
static void
check_places(const char *rua)
{
	char text[TLS_RUA_TEXT_MAX + 1];
	struct buf_reader reader;
	struct ipc_post again;
	struct tls_rua to;
	struct buf frame;

	while (tls_rua_next(&rua, &to)) {
		tls_rua_format(&to, text);
		for (const char *at = text; *at != '\0'; at++)
			assert(*at >= ' ' && *at <= '~');
		if (to.kind == TLS_RUA_MAILTO)
			continue;
		buf_init(&frame, IMSG_PAYLOAD_MAX);
		ipc_post_encode(&frame, &to.post);
		buf_reader_init(&reader, frame.data, frame.length);
		assert(buf_ok(&frame) && ipc_post_decode(&reader, &again));
		buf_free(&frame);
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct tls_sum sum;
	static size_t quotes;
	struct tls_day day = { .day = 20000, .domain = "far.test", .sums = &sum, .count = 1 };
	struct address from = { .local = "tls", .domain = "example.test" };
	struct tls_report report = { .day = &day, .from = &from, .to = &from, .id = "1" };
	char *text = malloc(size + 1);
	struct buf json;

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
	check_places(text);
	buf_free(&json);
	free(text);
	return 0;
}
