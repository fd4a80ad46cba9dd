/*
 * What a folder consists of when it is opened: all that the index says, where the files are as they
 * were when it was written; else what is found on the disk.
 *
 * A client that opens a folder wants to know how many messages it has, and often no more: it waits
 * for new ones. So of a large index only the header is read, and the rest when a message is wanted.
 * If that turns out to be damaged, the files say the same once more; and if they don't, the folder
 * isn't what the client was told, and its session ends.
 */
#include <unistd.h>

#include "mailbox/folder_state.h"

void
folder_forget(struct folder *folder)
{
	struct folder_view *view;

	folder->is_void = true;
	index_content_free(&folder->content);
	for (view = folder->views; view != NULL; view = view->next)
		view->shown = view->told = view->hidden_count = view->next_taken = 0;
}

static enum mail_result
read_disk(struct folder *folder)
{
	folder->new_changed = folder->cur_changed = true;
	return folder_scan(folder, true);
}

enum mail_result
folder_load(struct folder *folder, bool whole)
{
	enum mail_result result;
	bool is_known;

	(void)keywords_refresh(&folder->keywords, folder->directory);
	if (index_begin(folder)) {
		is_known = folder_times_are_known(folder) && uidlist_is_known(folder);
		if (is_known && !whole)
			return MAIL_OK;
		if (index_finish(folder) && is_known)
			return MAIL_OK;
	}
	result = read_disk(folder);
	if (result != MAIL_ABSENT)
		return result;
	/* The index's uids are void. */
	index_content_free(&folder->content);
	return read_disk(folder);
}

bool
folder_is_void(const struct folder *folder)
{
	return folder->is_void;
}

enum mail_result
folder_need(struct folder *folder)
{
	size_t count = folder->content.count;
	enum mail_result result;

	if (folder->index == -1 || index_finish(folder))
		return MAIL_OK;
	result = read_disk(folder);
	if (result == MAIL_OK && folder->content.count == count)
		return MAIL_OK;
	folder_forget(folder);
	folder_detach(folder);
	return MAIL_ABSENT;
}
