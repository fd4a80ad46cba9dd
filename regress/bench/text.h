/*
 * The messages that load.c sends, and that verify.c and sink.c know again. Each has a header line
 *
 *	X-Bench: RUN ID LINES SUM SENT
 *
 * run, number, lines of the body, checksum over them, nanoseconds since 1970 when it was begun; its
 * body ends with a line that names run and number again. So a message that is cut, damaged or mixed
 * with another is noticed.
 */
#ifndef BENCH_TEXT_H
#define BENCH_TEXT_H

#include <sys/uio.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEXT_LARGEST  16000000 /* bytes of a body */
#define TEXT_SMALLEST 256
#define TEXT_HEAD     512
#define TEXT_TAIL     160

struct text {
	char head[TEXT_HEAD];
	char tail[TEXT_TAIL];
	struct iovec parts[3]; /* head, lines of a block that all messages share, tail */
};

/* Makes the shared block, long enough for bodies of `largest` bytes. */
void text_prepare(size_t largest);

/* Message `id` of a run as it is on the wire, its body of `size` bytes, with the final dot. */
void text_make(struct text *, uint32_t run, uint32_t id, size_t size, uint64_t sent_ns);

/* Bytes of message `id` in the mix: 98 of 100 have 2 to 20 KiB, 2 have 1 to 10 MB. */
size_t text_mixed_size(uint32_t seed, uint32_t id);

/* The checksum of a body's lines so far, followed by this one (no line end, no dot stuffing). */
uint64_t text_sum(uint64_t sum, const char *line, size_t length);

/* What a message says of itself. */
struct text_stamp {
	uint32_t run;
	uint32_t id;
	size_t lines;
	unsigned long long sum;
	unsigned long long sent_ns;
};

/* Reads the header, up to its empty line; false where it has no stamp, then it is none of load.c's
 * messages. Lines may end in CRLF or LF. */
bool text_read_header(const char **at, const char *end, struct text_stamp *);
/* The rest is the body that the stamp is of; lines that begin with a dot have one (as stored) or two
 * (as they travel). */
bool text_is_whole(const char *at, const char *end, const struct text_stamp *);

#endif
