/*
 * Making a segment, in steps: a gigabyte of zeroes isn't written and synced at once while mail
 * waits. A file that was left unfinished, by a crash, is all zeroes; so its header is written last.
 */
#ifndef QUEUE_SEGMENT_MAKE_H
#define QUEUE_SEGMENT_MAKE_H

#include "queue/segment.h"

enum make_phase {
	MAKE_NOTHING,
	MAKE_ZEROES, /* from `written` on */
	MAKE_SYNC,
	MAKE_HEADER,
	MAKE_DONE,
};

struct segment_maker {
	enum make_phase phase;
	int directory_fd;
	struct segment *segment;
	uint32_t written;
};

/* Creates NAME in the directory, of which there must be none, with all of its blocks reserved. False
 * with errno, and nothing is left of it. */
bool segment_make_begin(struct segment_maker *, int directory_fd, const char *name, uint32_t size)
    __attribute__((warn_unused_result));
/*
 * The next step, of at most some MiB. False with errno when the disk fails or is full: the file is
 * removed, and the phase MAKE_NOTHING. In MAKE_DONE the segment is durable, empty, and for
 * segment_make_take(). The header has `key`, with a sequence that was never used, and `batch`.
 */
bool segment_make_step(struct segment_maker *, const struct record_key *key, uint64_t batch)
    __attribute__((warn_unused_result));
struct segment *segment_make_take(struct segment_maker *);
/* Gives it up and removes the file; errno is kept. Nothing in MAKE_NOTHING. */
void segment_make_cancel(struct segment_maker *);
/* At an exit: as a crash would, the file is left for the next start to remove. */
void segment_make_abandon(struct segment_maker *);

#endif
