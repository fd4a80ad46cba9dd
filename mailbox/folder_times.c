/*
 * Whether anything changed in a folder's directories. By the watch, where there is one: it tells
 * each change of somebody else's. By the directories' times otherwise, and over the time when nobody
 * had the folder open; a time says nothing about what happens within the same tick.
 */
#include <sys/stat.h>
#include <time.h>

#include "common/clock.h"
#include "mailbox/folder_state.h"

#define TICK_NS   20000000 /* file times are no finer than the kernel's tick */
#define WAIT_FROM 1000     /* messages: with less, reading again is cheaper than waiting */

int64_t
folder_directory_ns(int directory)
{
	struct stat st;

	return fstat(directory, &st) == -1 ? 0 : folder_time_ns(&st.st_mtim);
}

bool
folder_times_are_known(struct folder *folder)
{
	const struct folder_content *content = &folder->content;

	return content->new_ns != 0 && content->cur_ns != 0 &&
	    folder_directory_ns(folder->new) == content->new_ns &&
	    folder_directory_ns(folder->cur) == content->cur_ns;
}

static int64_t
age_ns(int64_t time_ns)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return folder_time_ns(&now) - time_ns;
}

bool
folder_is_quiet_since(int64_t time_ns)
{
	return age_ns(time_ns) > TICK_NS;
}

void
folder_note_times(struct folder *folder)
{
	const struct timespec tick = { .tv_nsec = TICK_NS };
	struct folder_content *content = &folder->content;
	int64_t cur_ns = folder_directory_ns(folder->cur),
	        new_ns = folder_directory_ns(folder->new);
	int64_t latest = cur_ns > new_ns ? cur_ns : new_ns;

	if (folder->watch_cur != -1 && !folder_is_quiet_since(latest)) {
		/* Another change now could get the same time. */
		if (content->count < WAIT_FROM) {
			content->cur_ns = content->new_ns = 0;
			return;
		}
		nanosleep(&tick, NULL);
	}
	maildir_watch_read(folder->maildir);
	if (folder->new_changed || folder->cur_changed) {
		content->cur_ns = content->new_ns = 0;
		return;
	}
	content->cur_ns = cur_ns;
	content->new_ns = new_ns;
}

bool
folder_is_changed(struct folder *folder)
{
	if (folder->detached)
		return false;
	if (folder->watch_cur != -1) {
		maildir_watch_read(folder->maildir);
	} else {
		if (folder_directory_ns(folder->new) != folder->content.new_ns)
			folder->new_changed = true;
		if (folder_directory_ns(folder->cur) != folder->content.cur_ns ||
		    (folder->scan_due_ms != 0 && clock_monotonic_ms() > folder->scan_due_ms))
			folder->cur_changed = true;
	}
	return folder->new_changed || folder->cur_changed;
}
