/* The fields of a header: names without a colon, and never more than there is. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/header.h"
#include "common/memory_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static bool
check(const char *name, const char *value, void *arg)
{
	size_t *left = arg, length = strlen(name) + 1 + strlen(value);

	if (strchr(name, ':') != NULL || strchr(value, '\n') != NULL || length > *left ||
	    length > HEADER_FIELD_MAX)
		abort();
	*left -= length;
	return true;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct address address = { "a", "b" };
	int fd = memory_file_make("message", data, size);
	size_t left = size;

	if (fd == -1)
		return 0;
	header_read(fd, size, check, &left);
	(void)header_is_automatic(data, size);
	(void)header_was_delivered_to(fd, size, &address);
	close(fd);
	return 0;
}
