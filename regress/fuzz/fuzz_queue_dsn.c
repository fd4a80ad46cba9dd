/*
 * DSNs about any mail: the words of clients and servers, and the headers of the message, may be
 * anything that decoding lets pass; the report's own structure stays what it is.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/dsn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BOUNDARY "=_0123456789abcdef01234567"

/* Lines that begin with the boundary's delimiter; no line feed but after a carriage return, in what
 * we wrote ourselves. */
static void
check(const struct buf *buf, size_t returned)
{
	static const char delimiter[] = "\r\n--" BOUNDARY;
	unsigned parts = 0;

	for (size_t i = 0; i + sizeof(delimiter) - 1 <= buf->length; i++) {
		if (memcmp(buf->data + i, delimiter, sizeof(delimiter) - 1) == 0)
			parts++;
	}
	/* Three and the end; the fuzzer may guess the boundary, a client can't. */
	if (parts < 4 && returned == 0)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct transaction transaction;
	struct envelope envelope;
	struct buf_reader reader;
	struct dsn_recipient recipient = { .envelope = &envelope };
	struct dsn dsn = { .kind = DSN_FAILED, .hostname = "mx.example.test" };
	char dialogue[8193];
	struct buf buf;

	if (size < 1)
		return 0;
	buf_reader_init(&reader, data + 1, size - 1);
	if (!transaction_decode(&reader, &transaction) || !envelope_decode(&reader, &envelope))
		return 0;
	if (envelope.last_reply.code != 0)
		recipient.reply = &envelope.last_reply;
	recipient.host = envelope.last_host;
	dsn.kind = data[0] & 3;
	dsn.is_double = (data[0] & 4) != 0;
	dsn.is_full = (data[0] & 8) != 0;
	dsn.to = &transaction.sender;
	dsn.message_id = transaction.message_id;
	dsn.now = 1700000000;
	dsn.boundary = BOUNDARY;
	dsn.original = &transaction;
	dsn.recipients = &recipient;
	dsn.recipient_count = 1;
	if ((data[0] & 16) != 0) {
		snprintf(dialogue, sizeof(dialogue), "%.*s", (int)reader.left,
		    (const char *)reader.data);
		dsn.dialogue = dialogue;
	}
	dsn.text = reader.data;
	dsn.text_length = reader.left;
	buf_init(&buf, 1 << 20);
	dsn_build(&buf, &dsn);
	if (!buf_ok(&buf) || dsn_header_length(dsn.text, dsn.text_length) > dsn.text_length)
		abort();
	check(&buf, dsn.text_length);
	buf_free(&buf);
	return 0;
}
