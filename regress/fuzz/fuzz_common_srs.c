/* SRS: what is made leads back to what it was made of, and whatever else comes is refused or leads to an
 * address that can be written. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/srs.h"

#define NOW INT64_C(1795952315)

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct srs_keys keys = { "a key", "another", 4 * 86400 };
	struct address address, made, back;
	size_t used;

	if (address_parse_path((const char *)data, size, ADDRESS_ALLOW_UTF8, &address, &used) !=
	    ADDRESS_OK)
		return 0;
	if (srs_is_address(&address))
		(void)srs_decode(&keys, &address, NOW, &back);
	if (!srs_encode(&keys, &address, "example.org", NOW, &made))
		return 0;
	if (!srs_is_address(&made))
		abort();
	/* A broken SRS1 address is taken for any other. */
	if (srs_decode(&keys, &made, NOW, &back) != SRS_OK && strchr(address.domain, '[') == NULL)
		abort();
	if (strncasecmp(address.local, "SRS", 3) != 0 && !address_equal(&back, &address) &&
	    strchr(address.domain, '[') == NULL)
		abort();
	return 0;
}
