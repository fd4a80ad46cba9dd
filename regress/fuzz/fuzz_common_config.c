/* Any bytes as an encoded config: refused, or encoded again to the same bytes. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct config *config = config_decode(data, size);
	struct buf buf;

	if (config == NULL)
		return 0;
	buf_init(&buf, size + 1);
	config_encode(&buf, config);
	if (!buf_ok(&buf) || buf.length != size || memcmp(buf.data, data, size) != 0)
		abort();
	(void)config_find_table(config, "t");
	(void)config_find_action(config, "a");
	buf_free(&buf);
	config_free(config);
	return 0;
}
