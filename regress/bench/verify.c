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

static void
account(const char *text, size_t length, const struct stat *status)
{
	const char *at = text, *end = text + length;
	struct text_stamp stamp;
	double ctime_ns;

	state.files++;
	state.bytes += length;
	if (!text_read_header(&at, end, &stamp)) {
		state.strange++;
		return;
	}
	if (stamp.run != state.run)
		return;
	if (stamp.id >= state.messages || !text_is_whole(at, end, &stamp)) {
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
