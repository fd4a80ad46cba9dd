/* Any bytes as a DNS answer: what comes out are host names, or nothing. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lookup/resolver_answer.h"
#include "lookup/resolver_name.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct ipc_resolve inet4 = { CLIENT_INET4, { 192, 0, 2, 1 } },
	                                inet6 = { CLIENT_INET6, { 0x20, 1, 0xd, 0xb8 } };
	char names[ANSWER_NAMES_MAX][HOSTNAME_MAX + 1];
	size_t count = answer_names(data, size, names);

	if (count > ANSWER_NAMES_MAX)
		abort();
	for (size_t i = 0; i < count; i++) {
		if (!host_name_is_valid(names[i]))
			abort();
	}
	(void)answer_has_address(data, size, &inet4);
	(void)answer_has_address(data, size, &inet6);
	return 0;
}
