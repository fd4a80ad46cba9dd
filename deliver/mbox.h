/*
 * One mbox file, locked for a batch of deliveries: opened, looked through for what earlier tries may
 * have appended, appended to, cut back. Nothing here syncs but mbox_sync().
 *
 * Both locks are taken that other programs take: fcntl() first, then the file NAME.lock, as Debian's
 * policy (11.6) says. The file belongs to this process's user, is a regular one with one name, and
 * can be written by nobody else but its group.
 */
#ifndef DELIVER_MBOX_H
#define DELIVER_MBOX_H

#include <sys/types.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/ipc_directory.h"
#include "common/lock.h"
#include "common/reply.h"
#include "deliver/known.h"
#include "deliver/mbox_text.h"

#define MBOX_WAIT_MS 5000 /* for both locks together */

struct mbox {
	const char *path; /* the mailbox's; lent */
	char name[LOCK_NAME_MAX + 1];
	int directory;
	int file;
	struct lock lock; /* held as long as it is open */
	struct known_entry identity;
	bool is_new;   /* its name isn't known to be on the disk */
	uint64_t size; /* up to which it is good */
	bool broken;   /* it couldn't be cut back: nothing more may be appended */
};

/* Opens and locks it, made when it is missing. False with the reason; 4.2.1 when it is locked by
 * others for too long. */
bool mbox_open(
    struct mbox *, const struct ipc_mailbox *, const char *mail_directory, struct reply *why);
void mbox_close(struct mbox *);

enum mbox_found {
	MBOX_ABSENT,
	MBOX_WHOLE, /* a mail reader may have changed its fields since */
	MBOX_TORN,  /* only its begin, at the file's end: mbox_cut() removes it */
};
struct mbox_wanted {
	const struct ipc_deliver *request;
	int message;
	enum mbox_found found;
	uint64_t offset; /* MBOX_TORN: where it begins */
};
/* Looks for all of them by their marks, in one reading of the file (of its last GiB). False with
 * errno. `chunk`: scratch of TEXT_CHUNK bytes. */
bool mbox_find(struct mbox *, struct mbox_wanted *, size_t count, uint8_t *chunk);
/* Appends one message and moves the size; a failure leaves the file as it was, with errno. */
bool mbox_append(struct mbox *, const struct ipc_deliver *, int message, uint8_t *chunk);
/* Cuts the file back to a size that it had; false when it can't be, and is broken. */
bool mbox_cut(struct mbox *, uint64_t size);
/* False with errno. */
bool mbox_sync(struct mbox *);

#endif
