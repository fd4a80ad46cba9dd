/*
 * Reads Maildirs and accounts for the messages of one run of load.c: each must be there as often as
 * it had recipients, whole, and once in a mailbox. Prints one line of JSON, with how long messages
 * took from MAIL to their name in new/ (the file's ctime, which is as fine as the kernel's tick).
 *
 *	verify RUN MESSAGES RECIPIENTS DIRECTORY...
 *
 * Every new/ and cur/ below the directories is read.
 */
#include <sys/stat.h>
#include <err.h>
#include <fcntl.h>
#include <fts.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "regress/bench/text.h"

static struct {
	uint32_t run;
	uint32_t messages;
	uint32_t recipients;
	uint32_t *copies; /* of each message */
	double *stored_ms;
	size_t stored;
	unsigned long long files, damaged, strange, bytes;
} state;

struct stamp {
	uint32_t run;
	uint32_t id;
	size_t lines;
	unsigned long long sum;
	unsigned long long sent_ns;
};

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

/* Reads the header; false where it has no stamp, then it is none of load.c's messages. */
static bool
read_header(const char **at, const char *end, struct stamp *stamp)
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

static bool
body_is_whole(const char *at, const char *end, const struct stamp *stamp)
{
	const char *line = "";
	size_t length = 0, lines = 0;
	unsigned run = 0, id = 0;
	uint64_t sum = 0;
	char copy[32];

	while (next_line(&at, end, &line, &length)) {
		sum = text_sum(sum, line, length);
		lines++;
	}
	length = length < sizeof(copy) ? length : sizeof(copy) - 1;
	memcpy(copy, line, length);
	copy[length] = '\0';
	return sscanf(copy, "end %x %x ", &run, &id) == 2 && run == stamp->run && id == stamp->id &&
	    lines == stamp->lines && sum == stamp->sum;
}

static void
account(const char *text, size_t length, const struct stat *status)
{
	const char *at = text, *end = text + length;
	struct stamp stamp;
	double ctime_ns;

	state.files++;
	state.bytes += length;
	if (!read_header(&at, end, &stamp)) {
		state.strange++;
		return;
	}
	if (stamp.run != state.run)
		return;
	if (stamp.id >= state.messages || !body_is_whole(at, end, &stamp)) {
		state.damaged++;
		return;
	}
	state.copies[stamp.id]++;
	ctime_ns = (double)status->st_ctim.tv_sec * 1e9 + (double)status->st_ctim.tv_nsec;
	if (state.stored < (size_t)state.messages * state.recipients)
		state.stored_ms[state.stored++] = (ctime_ns - (double)stamp.sent_ns) / 1e6;
}

static void
read_file(const char *path)
{
	static char *text;
	static size_t room;
	struct stat status;
	size_t have = 0;
	ssize_t n;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd == -1 || fstat(fd, &status) == -1)
		err(1, "%s", path);
	if (room < (size_t)status.st_size + 1) {
		room = (size_t)status.st_size + 1;
		text = realloc(text, room);
		if (text == NULL)
			err(1, NULL);
	}
	while ((n = read(fd, text + have, room - have)) > 0)
		have += (size_t)n;
	if (n == -1)
		err(1, "%s", path);
	close(fd);
	account(text, have, &status);
}

static bool
in_mailbox(const FTSENT *entry)
{
	const char *folder = entry->fts_parent->fts_name;

	return entry->fts_level > 0 && (strcmp(folder, "new") == 0 || strcmp(folder, "cur") == 0);
}

static int
compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double
percentile(double share)
{
	if (state.stored == 0)
		return 0;
	return state.stored_ms[(size_t)(share * (double)(state.stored - 1))];
}

int
main(int argc, char *argv[])
{
	unsigned long long present = 0, whole = 0, duplicates = 0;
	FTSENT *entry;
	FTS *tree;
	uint32_t i;

	if (argc < 5)
		errx(64, "verify RUN MESSAGES RECIPIENTS DIRECTORY...");
	state.run = (uint32_t)strtoul(argv[1], NULL, 10);
	state.messages = (uint32_t)strtoul(argv[2], NULL, 10);
	state.recipients = (uint32_t)strtoul(argv[3], NULL, 10);
	state.copies = calloc((size_t)state.messages + 1, sizeof(*state.copies));
	state.stored_ms =
	    calloc((size_t)state.messages * state.recipients + 1, sizeof(*state.stored_ms));
	tree = fts_open(argv + 4, FTS_PHYSICAL | FTS_NOSTAT | FTS_NOCHDIR, NULL);
	if (state.copies == NULL || state.stored_ms == NULL || tree == NULL)
		err(1, NULL);
	while ((entry = fts_read(tree)) != NULL)
		if ((entry->fts_info == FTS_F || entry->fts_info == FTS_NSOK) && in_mailbox(entry))
			read_file(entry->fts_path);
	for (i = 0; i < state.messages; i++) {
		present += state.copies[i] > 0;
		whole += state.copies[i] >= state.recipients;
		if (state.copies[i] > state.recipients)
			duplicates += state.copies[i] - state.recipients;
	}
	qsort(state.stored_ms, state.stored, sizeof(*state.stored_ms), compare);
	printf("{\"files\": %llu, \"bytes\": %llu, \"present\": %llu, \"whole\": %llu, "
	       "\"duplicates\": %llu, \"damaged\": %llu, \"other\": %llu, "
	       "\"stored_ms\": {\"p50\": %.3f, \"p99\": %.3f, \"max\": %.3f}}\n",
	    state.files, state.bytes, present, whole, duplicates, state.damaged, state.strange,
	    percentile(0.50), percentile(0.99), percentile(1));
	fts_close(tree);
	return 0;
}
