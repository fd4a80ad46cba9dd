/*
 * One Maildir, opened for a batch of deliveries: its directories as descriptors, locked against
 * another mda, and the steps from tmp/ to new/. Nothing here syncs: the batch does, for all its
 * mailboxes at once.
 */
#ifndef DELIVER_MAILDIR_H
#define DELIVER_MAILDIR_H

#include <sys/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/envelope.h"
#include "common/ipc_directory.h"
#include "common/maildir_name.h"
#include "common/reply.h"
#include "deliver/known.h"
#include "deliver/path.h"

struct maildir {
	char path[PATH_TEXT_MAX + 1];
	int root;
	int tmp; /* holds the lock */
	int new;
	int cur; /* opened only by maildir_find() */
	dev_t device;
	struct known_entry identity;
	bool first_use; /* of this process: parents are to be synced with new/ */
	int parents[PATH_DEPTH_MAX];
	size_t parent_count;
};

/*
 * Opens the mailbox; with `create` makes what is missing of it below `home`, or below
 * `mail_directory` for mailboxes without a home. The home directory itself must exist, belong to
 * this process's user and be writable by nobody else. False with the reason; then `*absent` says
 * whether all that is wrong is that the Maildir isn't there (only without `create`).
 */
bool maildir_open(struct maildir *, const struct ipc_mailbox *, const char *mail_directory,
    bool create, struct known *, bool *absent, struct reply *why);
void maildir_close(struct maildir *);
/* Locks the mailbox until it is closed; waits some seconds for another mda to finish. Opened twice
 * by one process it must be locked only once. */
bool maildir_lock(struct maildir *, struct reply *why);

/* A new empty file in tmp/, under a name that wasn't used before; -1 with the reason. */
int maildir_create(struct maildir *, const char *temporary, struct reply *why);
void maildir_remove_temporary(struct maildir *, const char *temporary);

enum maildir_found {
	MAILDIR_ABSENT,
	MAILDIR_IN_NEW,
	MAILDIR_IN_CUR,
	MAILDIR_UNREADABLE, /* with the reason */
};
/* A file that an earlier try may have delivered: its name starts with `prefix`. */
struct maildir_wanted {
	char prefix[NAME_SIZE];
	enum maildir_found *found;
	char *name; /* 256 bytes, for the whole name */
	struct reply *why;
};
/* Looks for all of them, in one reading of new/ and one of cur/; puts them in order. */
void maildir_find(struct maildir *, struct maildir_wanted *, size_t count);

enum maildir_placed {
	MAILDIR_PLACED,
	MAILDIR_WAS_THERE, /* the same name and size: an earlier try's */
	MAILDIR_FAILED,    /* with the reason */
};
/* Moves tmp/`temporary` to new/`name`, never over another file. */
enum maildir_placed maildir_place(
    struct maildir *, const char *temporary, const char *name, uint64_t size, struct reply *why);
/* Takes back what couldn't be made durable; false when the file is still in new/. */
bool maildir_take_back(struct maildir *, const char *name);

/* Removes files from tmp/ that nobody has changed for 36 hours; at most once a day a mailbox. */
void maildir_tidy(struct maildir *, struct known *);

#endif
