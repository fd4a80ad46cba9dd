/*
 * A batch at work: what its steps share, and the steps in the order in which batch.c takes them.
 */
#ifndef DELIVER_BATCH_STATE_H
#define DELIVER_BATCH_STATE_H

#include "deliver/batch.h"

#define EXTRAS_MAX 8 /* further places of messages, in one round */

_Static_assert(EXTRAS_MAX >= SCRIPT_PLACES_MAX - 1, "any one message fits into a round");

/* A mailbox of this batch, and what all its messages share. */
struct mailbox {
	char path[PATH_TEXT_MAX + 1]; /* as asked for */
	char folder[MAILDIR_FOLDER_MAX + 1];
	struct mailbox *inbox; /* of this folder, or itself: has the lock and the quota */
	struct maildir maildir;
	bool absent; /* a folder that isn't there */
	bool is_new; /* a folder that this batch has made */
	bool open;
	bool script_loaded; /* looked for, at least */
	const struct sieve *script;
	struct script_memory memory;
	struct reply why; /* not open */
	bool quota_loaded;
	struct quota quota;
	uint64_t pending_bytes; /* of this batch, not in `quota` */
	uint64_t pending_messages;
	uint64_t done_bytes;
	uint64_t done_messages;
	bool new_touched;
	bool cur_touched;
	bool folder_touched; /* one of its folders */
	int error;           /* of its directories' sync */
};

struct batch {
	struct batch_context *context;
	struct delivery **deliveries; /* a list of its own: those given, then the extras */
	size_t count;
	size_t given;
	struct mailbox **mailboxes; /* each made when it is met: there are mostly few */
	size_t mailbox_count;
	const struct mailbox *asked_last; /* for its script: others' may be gone since */
	struct sync_item *items;
	struct maildir_wanted *wanted;
};

/* Takes a delivery out of the batch; its reply is set. */
void delivery_fail(struct delivery *);

/* Finds out where each goes: batch_open.c. */
void batch_open(struct batch *);
void batch_find(struct batch *);

/* batch_write.c */
void batch_write(struct batch *);
void batch_sync_files(struct batch *);

/* batch_place.c. A mailbox is shared by many: its directories are synced once. */
void batch_place(struct batch *);
void batch_sync_directories(struct batch *);
/* Every delivery has its answer then. */
void batch_finish(struct batch *);

#endif
