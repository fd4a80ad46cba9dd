/* What decodes as a transaction or an envelope encodes to something that decodes to the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "common/envelope.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_transaction(const uint8_t *data, size_t size)
{
	struct transaction first, second;
	struct buf_reader reader;
	struct buf buf;

	buf_reader_init(&reader, data, size);
	if (!transaction_decode(&reader, &first))
		return;
	buf_init(&buf, 65536);
	transaction_encode(&buf, &first);
	buf_reader_init(&reader, buf.data, buf.length);
	if (!buf_ok(&buf) || !transaction_decode(&reader, &second) || !buf_reader_done(&reader) ||
	    memcmp(&first, &second, sizeof(first)) != 0)
		abort();
	buf_free(&buf);
}

static void
check_envelope(const uint8_t *data, size_t size)
{
	struct envelope first, second;
	struct buf_reader reader;
	struct buf buf;

	buf_reader_init(&reader, data, size);
	if (!envelope_decode(&reader, &first))
		return;
	buf_init(&buf, 65536);
	envelope_encode(&buf, &first);
	buf_reader_init(&reader, buf.data, buf.length);
	if (!buf_ok(&buf) || !envelope_decode(&reader, &second) || !buf_reader_done(&reader) ||
	    memcmp(&first, &second, sizeof(first)) != 0)
		abort();
	buf_free(&buf);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	if ((data[0] & 1) != 0)
		check_transaction(data + 1, size - 1);
	else
		check_envelope(data + 1, size - 1);
	return 0;
}
