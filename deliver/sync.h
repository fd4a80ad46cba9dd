/*
 * Making files and directories durable, many at once.
 *
 * A sync per file costs a journal commit and a disk flush each. On file systems known to write
 * everything that is dirty in one go, two files or more are made durable by one syncfs(), which
 * measured here takes a seventh of the time for 64 files and three flushes instead of 65 for a
 * whole batch. Elsewhere, on kernels whose syncfs() hides errors, and for a while after it had to
 * wait for much foreign data, each file is synced by itself.
 *
 * A sync that failed says nothing about what is on the disk, and a second one would wrongly
 * succeed: the caller gives up the file.
 */
#ifndef DELIVER_SYNC_H
#define DELIVER_SYNC_H

#include <sys/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sync_item {
	int fd; /* opened before what is to be synced was written, so that its errors are seen */
	dev_t device;
	bool directory;
	int *error; /* of the item's owner: set to errno's value on failure, else left alone */
};

struct sync_state {
	bool syncfs_reports_errors; /* all of them: Linux 5.17 and later */
	int64_t per_file_until_ms;  /* syncfs() was slow: not before this time again */
};

void sync_state_init(struct sync_state *);
/* Syncs all items; the first of a device must be the one opened first. */
void sync_all(struct sync_state *, struct sync_item *, size_t count);

#endif
