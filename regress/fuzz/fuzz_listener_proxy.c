/* PROXY headers: what is taken begins with the signature and is no longer than what came. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/proxy.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct proxy_source source;
	size_t used;

	switch (proxy_parse(data, size, &source, &used)) {
	case PROXY_OK:
		if (used < 16 || used > size || memcmp(data, "\r\n\r\n\0\r\nQUIT\n", 12) != 0)
			abort();
		if (source.given && source.family != CLIENT_INET4 && source.family != CLIENT_INET6)
			abort();
		break;
	case PROXY_MORE:
		if (size >= PROXY_HEADER_MAX)
			abort();
		break;
	case PROXY_BAD:
		if (source.given)
			abort();
		break;
	}
	return 0;
}
