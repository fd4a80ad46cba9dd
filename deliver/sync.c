/*
 * Items are grouped by device. For a group of two or more on ext4, XFS or btrfs, syncfs() on the
 * descriptor that was opened first covers all: the kernel reports write-back errors of the file
 * system since that descriptor was opened. In per-file mode, writing is started for all files
 * before the first is waited for, so that one journal commit can carry several.
 */
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <unistd.h>

#include "common/clock.h"
#include "deliver/sync.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

#define SLOW_MS       2000 /* a syncfs() that takes longer waited for others' data */
#define SLOW_PAUSE_MS 60000

void
sync_state_init(struct sync_state *state)
{
	struct utsname name;
	unsigned major, minor;

	state->syncfs_reports_errors = uname(&name) == 0 &&
	    sscanf(name.release, "%u.%u", &major, &minor) == 2 &&
	    (major > 5 || (major == 5 && minor >= 17));
	state->per_file_until_ms = 0;
}

static bool
writes_all_at_once(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) == -1)
		return false;
	return fs.f_type == EXT4_SUPER_MAGIC || fs.f_type == XFS_SUPER_MAGIC ||
	    fs.f_type == BTRFS_SUPER_MAGIC;
}

static void
sync_each(struct sync_item *items, size_t count, dev_t device)
{
	size_t i;

	for (i = 0; i < count; i++) {
		/* Only a hint: a failure shows in the sync itself. */
		if (items[i].device == device && !items[i].directory)
			(void)sync_file_range(items[i].fd, 0, 0, SYNC_FILE_RANGE_WRITE);
	}
	for (i = 0; i < count; i++) {
		if (items[i].device != device)
			continue;
		if ((items[i].directory ? fsync(items[i].fd) : fdatasync(items[i].fd)) == -1)
			*items[i].error = errno;
	}
}

static void
sync_device(struct sync_state *state, struct sync_item *items, size_t count, size_t first)
{
	dev_t device = items[first].device;
	int64_t start;
	size_t i, members = 0;
	int error;

	for (i = first; i < count; i++)
		members += items[i].device == device;
	start = clock_monotonic_ms();
	if (members < 2 || !state->syncfs_reports_errors || start < state->per_file_until_ms ||
	    !writes_all_at_once(items[first].fd)) {
		sync_each(items, count, device);
		return;
	}
	error = syncfs(items[first].fd) == -1 ? errno : 0;
	/* Where the journal was given up meanwhile, ext4's syncfs() may find nothing left to write
	 * and say so; its fsync() doesn't. Files need no such check: their rename fails then. */
	if (error == 0 && items[first].directory && fsync(items[first].fd) == -1)
		error = errno;
	for (i = first; i < count; i++) {
		if (error != 0 && items[i].device == device)
			*items[i].error = error;
	}
	if (clock_monotonic_ms() - start > SLOW_MS)
		state->per_file_until_ms = clock_monotonic_ms() + SLOW_PAUSE_MS;
}

void
sync_all(struct sync_state *state, struct sync_item *items, size_t count)
{
	size_t i, earlier;

	for (i = 0; i < count; i++) {
		for (earlier = 0; earlier < i; earlier++) {
			if (items[earlier].device == items[i].device)
				break;
		}
		if (earlier == i)
			sync_device(state, items, count, i);
	}
}
