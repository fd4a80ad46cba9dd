/*
 * Zeroes, really written: blocks that were only reserved are marked as written when they are first
 * used, by the file system's journal. Each sync then costs a journal commit, and if the journal was
 * given up meanwhile (a disk error), ext4's fdatasync() succeeds though the mark is missing and
 * the blocks read as zeroes again. So they are synced before the header says that the segment can
 * be used.
 *
 * Writing goes on in the kernel behind each step; a step waits for what was begun some steps
 * before, so that the sync at the end finds little left to do.
 */
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "queue/segment_make.h"

#define STEP_BYTES   (2 * 1024 * 1024)
#define BEHIND_BYTES (4 * STEP_BYTES) /* being written by the kernel */

bool
segment_make_begin(struct segment_maker *maker, int directory_fd, const char *name, uint32_t size)
{
	int fd, error;

	*maker = (struct segment_maker){ .phase = MAKE_NOTHING, .directory_fd = directory_fd };
	fd = openat(directory_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd == -1)
		return false;
	maker->segment = segment_new(name, fd);
	if (maker->segment == NULL) {
		unlinkat(directory_fd, name, 0);
		close(fd);
		errno = ENOMEM;
		return false;
	}
	maker->segment->size = size;
	maker->phase = MAKE_ZEROES;
	/* All blocks now, so that no append can find the disk full. */
	error = posix_fallocate(fd, 0, size);
	if (error == 0)
		return true;
	errno = error;
	segment_make_cancel(maker);
	return false;
}

static bool
write_zeroes(struct segment_maker *maker)
{
	static const uint8_t zeroes[64 * 1024];
	struct segment *segment = maker->segment;
	uint32_t begin = maker->written, end, length;

	end = segment->size - begin < STEP_BYTES ? segment->size : begin + STEP_BYTES;
	/* A failure that this tells, the sync doesn't tell again. */
	if (begin >= BEHIND_BYTES &&
	    sync_file_range(
	        segment->fd, begin - BEHIND_BYTES, STEP_BYTES, SYNC_FILE_RANGE_WAIT_BEFORE) == -1 &&
	    errno != ENOSYS)
		return false;
	while (maker->written < end) {
		length = end - maker->written;
		if (length > sizeof(zeroes))
			length = sizeof(zeroes);
		if (!segment_write(segment, zeroes, length, maker->written))
			return false;
		maker->written += length;
	}
	/* Only a hint: a failure shows in the sync. */
	(void)sync_file_range(segment->fd, begin, end - begin, SYNC_FILE_RANGE_WRITE);
	return true;
}

static bool
write_header(struct segment_maker *maker, const struct record_key *key, uint64_t batch)
{
	struct segment *segment = maker->segment;
	uint8_t block[SEGMENT_DATA];

	segment->key = *key;
	segment_header_encode(block,
	    &(struct segment_header){
	        SEGMENT_VERSION, SEGMENT_FREE, segment->key, segment->size, batch });
	return segment_write(segment, block, sizeof(block), 0) && fsync(segment->fd) == 0 &&
	    fsync(maker->directory_fd) == 0;
}

bool
segment_make_step(struct segment_maker *maker, const struct record_key *key, uint64_t batch)
{
	bool ok = false;

	switch (maker->phase) {
	case MAKE_ZEROES:
		ok = write_zeroes(maker);
		if (maker->written == maker->segment->size)
			maker->phase = MAKE_SYNC;
		break;
	case MAKE_SYNC:
		ok = fsync(maker->segment->fd) == 0;
		maker->phase = MAKE_HEADER;
		break;
	case MAKE_HEADER:
		ok = write_header(maker, key, batch);
		maker->phase = MAKE_DONE;
		break;
	case MAKE_NOTHING:
	case MAKE_DONE:
		return true;
	}
	if (!ok)
		segment_make_cancel(maker);
	return ok;
}

struct segment *
segment_make_take(struct segment_maker *maker)
{
	struct segment *segment = maker->segment;

	maker->segment = NULL;
	maker->phase = MAKE_NOTHING;
	return segment;
}

void
segment_make_cancel(struct segment_maker *maker)
{
	int error = errno;

	if (maker->phase != MAKE_NOTHING)
		unlinkat(maker->directory_fd, maker->segment->name, 0);
	segment_make_abandon(maker);
	errno = error;
}

void
segment_make_abandon(struct segment_maker *maker)
{
	if (maker->phase != MAKE_NOTHING)
		segment_free(segment_make_take(maker));
}
