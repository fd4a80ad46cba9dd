/* Addresses: whatever is taken can be written, read again, and is then the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[ADDRESS_TEXT_MAX + 1], key[ADDRESS_DOMAIN_MAX + 1];
	struct address address, again;
	struct buf_reader reader;
	struct buf buf;
	unsigned allow;
	size_t used;

	if (size == 0)
		return 0;
	allow = data[0] & 7;
	if (address_parse_path((const char *)data + 1, size - 1, allow, &address, &used) !=
	    ADDRESS_OK)
		return 0;
	if (used == 0 || used > size - 1)
		abort();
	address_format(&address, text, sizeof(text));
	if (address_parse(text, allow | ADDRESS_ALLOW_NULL, &again) != ADDRESS_OK)
		abort();
	if (strcmp(address.local, again.local) != 0 || strcmp(address.domain, again.domain) != 0 ||
	    !address_equal(&address, &again))
		abort();
	if (*address.domain != '\0' && !address_domain_key(address.domain, key, sizeof(key)))
		abort();
	buf_init(&buf, 4096);
	address_encode(&buf, &address);
	buf_reader_init(&reader, buf.data, buf.length);
	if (!address_decode(&reader, &again) || !buf_reader_done(&reader))
		abort();
	buf_free(&buf);
	return 0;
}
