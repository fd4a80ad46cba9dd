/* Replies of other servers: what is taken of them can be sent on to the queue, and none of it is
 * read twice or lost. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "deliver/relay_extensions.h"
#include "deliver/relay_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static void
on_line(unsigned code, const char *text, bool first, void *arg)
{
	if (code < 200 || code > 599 || strlen(text) > REPLY_LINE_MAX)
		abort();
	if (!first)
		extensions_add_line(arg, text);
}

static void
check_reply(const struct reply *reply)
{
	struct buf_reader reader;
	struct reply back;
	struct buf buf;

	buf_init(&buf, 4096);
	reply_encode(&buf, reply);
	buf_reader_init(&reader, buf.data, buf.length);
	if (!buf_ok(&buf) || !reply_decode(&reader, &back) || !buf_reader_done(&reader) ||
	    strcmp(back.text, reply->text) != 0)
		abort();
	buf_free(&buf);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct extensions extensions = { .pipelining = false };
	struct reply_parser parser;
	enum reply_result result;
	/* The first byte says how large the pieces are that the rest comes in. */
	size_t piece = size > 0 ? 1 + data[0] % 64U : 1, at = 1, length, used;

	reply_parser_init(&parser, on_line, &extensions);
	while (at < size) {
		length = size - at < piece ? size - at : piece;
		result = reply_parser_feed(&parser, data + at, length, &used);
		if (used == 0 || used > length || (result == REPLY_MORE && used != length))
			abort();
		if (result == REPLY_BROKEN)
			break;
		if (result == REPLY_COMPLETE)
			check_reply(&parser.reply);
		at += used;
	}
	return 0;
}
