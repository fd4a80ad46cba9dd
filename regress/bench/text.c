/*
 * Message texts that cost nearly nothing to send: their lines lie in one block that all messages
 * share, each message taking another stretch of it, and each line's CRC is computed once. A body's
 * checksum folds the CRCs of its lines, so that their order counts. Some lines begin with a dot and
 * lie in the block as they travel, with two.
 */
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/crc32c.h"
#include "regress/bench/text.h"

#define LINE_BYTES   78 /* with CRLF */
#define DOTTED_EVERY 16
#define STARTS       4096 /* lines at which a message's stretch may begin */

static struct {
	char *lines;
	uint32_t *crcs;
	size_t count;
} block;

static uint64_t
next_random(uint64_t *state)
{
	/* splitmix64 */
	uint64_t z = (*state += 0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
	z = (z ^ z >> 27) * 0x94d049bb133111eb;
	return z ^ z >> 31;
}

static uint64_t
fold(uint64_t sum, uint32_t crc)
{
	return (sum ^ crc) * 0x100000001b3;
}

uint64_t
text_sum(uint64_t sum, const char *line, size_t length)
{
	return fold(sum, crc32c(0, line, length));
}

void
text_prepare(size_t largest)
{
	static const char letters[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	uint64_t state = 1, random = 0;
	char *line;
	size_t i, k;
	bool dotted;

	block.count = largest / LINE_BYTES + STARTS;
	block.lines = malloc(block.count * LINE_BYTES);
	block.crcs = malloc(block.count * sizeof(*block.crcs));
	if (block.lines == NULL || block.crcs == NULL) {
		fputs("load: no memory\n", stderr);
		exit(71);
	}
	for (i = 0; i < block.count; i++) {
		line = block.lines + i * LINE_BYTES;
		for (k = 0; k < LINE_BYTES - 2; k++) {
			if (k % 10 == 0)
				random = next_random(&state);
			line[k] = letters[random & 63];
			random >>= 6;
		}
		dotted = i % DOTTED_EVERY == 0;
		if (dotted)
			memcpy(line, "..", 2);
		memcpy(line + LINE_BYTES - 2, "\r\n", 2);
		block.crcs[i] =
		    crc32c(0, line + (dotted ? 1 : 0), LINE_BYTES - 2 - (dotted ? 1 : 0));
	}
}

void
text_make(struct text *text, uint32_t run, uint32_t id, size_t size, uint64_t sent_ns)
{
	size_t lines = size < TEXT_SMALLEST ? 0 : (size - 48) / LINE_BYTES, rest, i, first;
	uint64_t sum = 0;
	int length;

	first = (id * UINT32_C(2654435761) >> 8) % STARTS;
	for (i = first; i < first + lines; i++)
		sum = fold(sum, block.crcs[i]);
	/* The last line is filled up to the size wanted. */
	rest = size > lines * LINE_BYTES ? size - lines * LINE_BYTES : 0;
	length = snprintf(text->tail, sizeof(text->tail), "end %08x %08x ", run, id);
	for (i = (size_t)length; i + 2 < rest; i++)
		text->tail[i] = 'x';
	sum = text_sum(sum, text->tail, i);
	memcpy(text->tail + i, "\r\n.\r\n", 5);
	text->parts[2] = (struct iovec){ text->tail, i + 5 };
	text->parts[1] = (struct iovec){ block.lines + first * LINE_BYTES, lines * LINE_BYTES };
	length = snprintf(text->head, sizeof(text->head),
	    "Date: Sat, 28 Nov 2026 12:00:00 +0000\r\n"
	    "From: Sender <s@client.test>\r\n"
	    "To: undisclosed-recipients:;\r\n"
	    "Subject: message %u of run %08x\r\n"
	    "Message-ID: <%u.%x.%llu@client.test>\r\n"
	    "X-Bench: %08x %u %zu %016llx %llu\r\n\r\n",
	    id, run, id, run, (unsigned long long)sent_ns, run, id, lines + 1,
	    (unsigned long long)sum, (unsigned long long)sent_ns);
	text->parts[0] = (struct iovec){ text->head, (size_t)length };
}

/* Between the two, equally likely in each doubling of size. */
static size_t
between(double least, double most, double share)
{
	return (size_t)(least * pow(most / least, share));
}

size_t
text_mixed_size(uint32_t seed, uint32_t id)
{
	uint64_t state = (uint64_t)seed << 32 | id;
	double share;
	bool large;

	large = next_random(&state) % 50 == 0;
	share = (double)(next_random(&state) >> 11) / (double)(UINT64_C(1) << 53);
	return large ? between(1e6, 10e6, share) : between(2048, 20480, share);
}

/* The next line and what follows it; false at the end. A CR before the LF isn't part of it. */
static bool
next_line(const char **at, const char *end, const char **line, size_t *length)
{
	const char *newline;

	if (*at == end)
		return false;
	newline = memchr(*at, '\n', (size_t)(end - *at));
	*line = *at;
	*length = (size_t)((newline == NULL ? end : newline) - *at);
	*at = newline == NULL ? end : newline + 1;
	if (*length > 0 && (*line)[*length - 1] == '\r')
		--*length;
	return true;
}

bool
text_read_header(const char **at, const char *end, struct text_stamp *stamp)
{
	const char *line;
	size_t length;
	char copy[160];
	bool found = false;

	while (next_line(at, end, &line, &length) && length > 0) {
		if (length >= sizeof(copy) || length < 9 || memcmp(line, "X-Bench: ", 9) != 0)
			continue;
		memcpy(copy, line, length);
		copy[length] = '\0';
		found = sscanf(copy, "X-Bench: %x %u %zu %llx %llu", &stamp->run, &stamp->id,
		            &stamp->lines, &stamp->sum, &stamp->sent_ns) == 5;
	}
	return found;
}

bool
text_is_whole(const char *at, const char *end, const struct text_stamp *stamp)
{
	const char *line = "";
	size_t length = 0, lines = 0;
	unsigned run = 0, id = 0;
	uint64_t sum = 0;
	char copy[32];

	while (next_line(&at, end, &line, &length)) {
		/* No line of the text has two dots of its own. */
		if (length > 1 && line[0] == '.' && line[1] == '.') {
			line++;
			length--;
		}
		sum = text_sum(sum, line, length);
		lines++;
	}
	length = length < sizeof(copy) ? length : sizeof(copy) - 1;
	memcpy(copy, line, length);
	copy[length] = '\0';
	return sscanf(copy, "end %x %x ", &run, &id) == 2 && run == stamp->run && id == stamp->id &&
	    lines == stamp->lines && sum == stamp->sum;
}
