/*
 * Spool files that a listener was given to write. It could keep one open for longer than it may, and
 * fill the disk with what has no name any more, or change what is committed. The queue owns the
 * files, and can tell whether anybody has one open for writing.
 */
#ifndef QUEUE_INTAKE_FILES_H
#define QUEUE_INTAKE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct spool;

/* Whether somebody can write to the file, of which `fd` is a descriptor for reading. False where
 * the file system can't tell. */
bool spool_file_is_written(int fd);

/* Files that are given up and still open for writing. Zeroed: none. */
struct lingering {
	struct lingering_file *first;
	size_t count;
};

/* Removes the name of a large message's file; it lingers while somebody can write to it. */
void lingering_remove_file(struct lingering *, const struct spool *, uint32_t message_id);
/* Lets go of those that are closed. NULL, or what is wrong with one: it is larger than `size_max`,
 * or has been open for too long. */
const char *lingering_look(struct lingering *, uint64_t size_max);
void lingering_free(struct lingering *);

#endif
