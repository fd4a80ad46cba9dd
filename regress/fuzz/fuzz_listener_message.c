/*
 * Message text: taken in one piece or in two, byte by byte, it ends at the same place with the same
 * outcome; and where it ends, CRLF.CRLF stands (or .CRLF at the very start).
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "smtpd/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

struct outcome {
	size_t used;
	uint64_t stored;
	struct reply reply;
	bool ended, refused;
};

static void
receive(const struct message_limits *limits, enum message_form form, const char *text,
    size_t length, size_t piece, struct outcome *outcome)
{
	struct message *message = message_new(limits, form);
	size_t count;

	memset(outcome, 0, sizeof(*outcome));
	if (message == NULL)
		abort();
	while (outcome->used < length && !outcome->ended) {
		count = length - outcome->used < piece ? length - outcome->used : piece;
		outcome->used +=
		    message_feed(message, text + outcome->used, count, &outcome->ended);
	}
	if (form == MESSAGE_BDAT)
		message_finish(message);
	outcome->refused = message_is_refused(message, &outcome->reply);
	outcome->stored = message_stored_bytes(message);
	message_free(message);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct message_limits limits = {
		.size = 4096, .text_line = 1000, .header_size = 2048, .received = 3
	};
	uint64_t memory = 0;
	struct outcome whole, pieces;
	enum message_form form;
	const char *text;
	size_t length;

	if (size < 2 || size > 60000)
		return 0;
	limits.line_ends = (data[0] & 1) != 0 ? LINE_ENDS_NORMALISE : LINE_ENDS_STRICT;
	limits.memory = &memory;
	form = (data[0] & 2) != 0 ? MESSAGE_BDAT : MESSAGE_DATA;
	text = (const char *)data + 2;
	length = size - 2;
	receive(&limits, form, text, length, size, &whole);
	receive(&limits, form, text, length, (size_t)data[1] % 7 + 1, &pieces);
	if (memory != 0)
		abort();
	if (whole.used != pieces.used || whole.ended != pieces.ended ||
	    whole.refused != pieces.refused)
		abort();
	/* Of two faults in one stretch, which comes first may depend on where it is cut. */
	if (!whole.refused && whole.stored != pieces.stored)
		abort();
	if (whole.ended &&
	    (form == MESSAGE_BDAT || whole.used < 3 ||
	        memcmp(text + whole.used - 3, ".\r\n", 3) != 0 ||
	        (whole.used > 3 &&
	            (whole.used < 5 || memcmp(text + whole.used - 5, "\r\n", 2) != 0))))
		abort();
	return 0;
}
