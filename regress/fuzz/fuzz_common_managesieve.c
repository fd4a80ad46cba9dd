/*
 * Lines of ManageSieve: the same is told whatever pieces they come in, no token reaches beyond what was
 * sent, and a string that is written again is read as it was.
 *
 * The first byte chooses whose lines they are.
 */
#include <stdlib.h>
#include <string.h>

#include "common/managesieve.h"

#define LIMIT 256

int LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static uint64_t
mix(uint64_t sum, uint64_t value)
{
	return (sum ^ value) * 0x100000001b3ULL;
}

static void
check_again(enum managesieve_side side, const char *bytes, size_t length)
{
	struct managesieve_reader reader;
	struct buf buf;
	size_t used;

	buf_init(&buf, 4 * LIMIT);
	managesieve_add_string(&buf, side, bytes, length);
	buf_add_text(&buf, "\r\n");
	managesieve_init(&reader, side, LIMIT);
	if (!buf_ok(&buf) ||
	    managesieve_take(&reader, (const char *)buf.data, buf.length, &used) !=
	        MANAGESIEVE_LINE ||
	    used != buf.length || reader.why != NULL || reader.count != 1 ||
	    !reader.tokens[0].is_string || reader.tokens[0].length != length ||
	    memcmp(managesieve_text(&reader, 0), bytes, length) != 0)
		abort();
	managesieve_free(&reader);
	buf_free(&buf);
}

static uint64_t
check_line(const struct managesieve_reader *reader, uint64_t sum)
{
	size_t total = 0;

	if (reader->why != NULL)
		return mix(sum, reader->is_too_large ? 1 : 2);
	if (reader->count > MANAGESIEVE_TOKENS_MAX)
		abort();
	for (size_t i = 0; i < reader->count; i++) {
		const char *text = managesieve_text(reader, i);
		size_t length = reader->tokens[i].length;

		total += length;
		if (text[length] != '\0' ||
		    (!reader->tokens[i].is_string && strlen(text) != length))
			abort();
		for (size_t at = 0; at < length; at++)
			sum = mix(sum, (unsigned char)text[at]);
		sum = mix(sum, length);
		if (reader->tokens[i].is_string)
			check_again(reader->side, text, length);
	}
	if (total > LIMIT)
		abort();
	return sum;
}

static uint64_t
run(enum managesieve_side side, const char *bytes, size_t size, size_t step)
{
	struct managesieve_reader reader;
	enum managesieve_event event = MANAGESIEVE_MORE;
	size_t at = 0, used;
	uint64_t sum = 0;

	managesieve_init(&reader, side, LIMIT);
	while (at < size && event != MANAGESIEVE_END) {
		size_t count = size - at < step ? size - at : step;

		event = managesieve_take(&reader, bytes + at, count, &used);
		if (used > count || (event == MANAGESIEVE_MORE && used != count))
			abort();
		at += used;
		if (event == MANAGESIEVE_LINE) {
			sum = mix(check_line(&reader, sum), at);
			managesieve_next(&reader);
		} else if (event == MANAGESIEVE_END)
			sum = mix(sum, 3);
	}
	managesieve_free(&reader);
	return sum;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	enum managesieve_side side;
	const char *bytes = (const char *)data + 1;

	if (size == 0)
		return 0;
	side = (data[0] & 1) != 0 ? MANAGESIEVE_CLIENT : MANAGESIEVE_SERVER;
	if (run(side, bytes, size - 1, SIZE_MAX) != run(side, bytes, size - 1, 1))
		abort();
	return 0;
}
