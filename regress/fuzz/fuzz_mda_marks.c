/* Headers in pieces: whether a message is marked as spam depends on its bytes alone, not on where
 * they were cut. */
#include <stdint.h>
#include <stdlib.h>

#include "deliver/choose.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static bool
is_marked(const uint8_t *data, size_t length, size_t piece)
{
	struct marks marks;

	marks_begin(&marks);
	for (size_t at = 0; at < length; at += piece) {
		if (!marks_feed(&marks, data + at, length - at < piece ? length - at : piece))
			break;
	}
	return marks_end(&marks);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
	if (length < 1)
		return 0;
	if (is_marked(data + 1, length - 1, length) !=
	    is_marked(data + 1, length - 1, (size_t)data[0] % 40 + 1))
		abort();
	return 0;
}
