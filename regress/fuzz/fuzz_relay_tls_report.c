/*
 * Records at _smtp._tls (RFC 8460 3): what is taken is a text of printable ASCII that fits, and the
 * same when it is said again.
 */
#include <assert.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include "deliver/relay_tls_report.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char rua[REPORT_RUA_MAX + 1], again[REPORT_RUA_MAX + 1], record[REPORT_RUA_MAX + 40];
	uint8_t *text = malloc(size == 0 ? 1 : size);

	assert(text != NULL);
	memcpy(text, data, size);
	if (report_parse_record((const char *)text, size, rua)) {
		assert(strlen(rua) > 0 && strlen(rua) <= REPORT_RUA_MAX);
		for (const char *at = rua; *at != '\0'; at++)
			assert((*at >= ' ' || *at == '\t') && *at <= '~' && *at != ';');
		snprintf(record, sizeof(record), "v=TLSRPTv1; x=y; rua=%s ;", rua);
		assert(report_parse_record(record, strlen(record), again));
		assert(strcmp(rua, again) == 0);
	}
	free(text);
	return 0;
}
