/* maildirsize, which the mailbox's owner can write: any bytes give a usage or none. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "common/quota.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct maildirsize first, second;

	if (maildirsize_parse((const char *)data, size, &first)) {
		assert(first.bytes <= INT64_MAX && first.messages <= INT64_MAX);
		assert(first.lines > 0 && first.lines <= size);
		assert(maildirsize_parse((const char *)data, size, &second));
		assert(memcmp(&first, &second, sizeof(first)) == 0);
	}
	return 0;
}
