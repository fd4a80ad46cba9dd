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

#define MAILDIR_FOLDER_MAX   200
#define MAILDIR_FLAGS_MAX    32
#define MAILDIR_KEYWORDS_MAX 1023
#define MAILDIR_JUNK         "Junk"

/*
 * Where in its Maildir a message goes, and how. All zero: into INBOX, unseen.
 *
 * A folder is named as on the disk, without the dot that its directory begins with: modified UTF-7,
 * "." between levels. With flags ("FS": letters of Maildir's info, in ASCII's order) a message goes
 * to cur/, as it must; without, to new/.
 */
struct maildir_into {
	char folder[MAILDIR_FOLDER_MAX + 1]; /* "" INBOX */
	bool create; /* made and subscribed when it is missing; else a missing one means INBOX */
	char flags[MAILDIR_FLAGS_MAX + 1];
	char keywords[MAILDIR_KEYWORDS_MAX + 1]; /* "Work $Label1": flags by name, beside those */
};

struct maildir {
	char path[PATH_TEXT_MAX + MAILDIR_FOLDER_MAX + 3];
	int root;
	int tmp; /* holds the lock */
	int new;
	int cur; /* -1 until it is needed */
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
/* Whether a folder can have that name: it stays in its Maildir, and isn't INBOX. */
bool maildir_folder_is_sound(const char *folder);
/*
 * Opens a folder of an open Maildir, which keeps the lock for it; with `create` makes what is
 * missing. False with the reason; `*absent` says that there is no such folder (only without
 * `create`), `*made` that it is new and its owner knows nothing of it.
 */
bool maildir_open_folder(struct maildir *folder, const struct maildir *inbox, const char *name,
    bool create, struct known *, bool *absent, bool *made, struct reply *why);
void maildir_close(struct maildir *);
/* Appends the folder's letters for the keywords to the flags, new ones being given; those that there is no
 * letter for are left out. */
void maildir_set_keywords(const struct maildir *folder, struct maildir_into *);
/* Adds a folder to the file `subscriptions` of the Maildir, as Dovecot and mailbox(8) keep it. That
 * it couldn't is only logged. */
void maildir_subscribe(const struct maildir *inbox, const char *folder);
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
/* Moves tmp/`temporary` to new/`name`, or with `to_cur` to cur/, never over another file. */
enum maildir_placed maildir_place(struct maildir *, const char *temporary, const char *name,
    bool to_cur, uint64_t size, struct reply *why);
/* Takes back what couldn't be made durable; false when the file is still there. */
bool maildir_take_back(struct maildir *, const char *name, bool from_cur);

/* Removes files from tmp/ that nobody has changed for 36 hours; at most once a day a mailbox. */
void maildir_tidy(struct maildir *, struct known *);

#endif
