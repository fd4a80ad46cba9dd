/* Putting files into a folder, each with a uid of its own; for append, copy and move. */
#ifndef MAILBOX_FOLDER_PLACE_H
#define MAILBOX_FOLDER_PLACE_H

#include "mailbox/folder_state.h"

/* A message on its way into a folder. */
struct placing {
	char base[NAME_SIZE]; /* its new name */
	char info[48];
	char extra[UIDLIST_EXTRA_MAX + 1]; /* for the uidlist: "Gguid" or "" */
	uint32_t uid;
	uint32_t bits;
	uint64_t size;
	uint32_t added;
	uint32_t internal_date; /* 0: the file's */
	uint32_t source;        /* the caller's own */
	bool placed;            /* in cur/ */
};

/* Locks the folder when all that others did is known; MAIL_OK: held. */
enum mail_result place_lock(struct folder *, struct lock *);
/* Names and uids for all, in their order; recorded in the list, synced. Under the lock. */
enum mail_result place_give_uids(struct folder *, struct placing *, size_t count);
void place_disk_name(const struct placing *, char name[512]);
/* Takes those that are placed into the array, in one change. */
void place_take(struct folder *, const struct placing *, size_t count);
/* Removes again those that are placed; for a failure midway. */
void place_undo(struct folder *, struct placing *, size_t count);

#endif
