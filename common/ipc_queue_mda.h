/*
 * The channel between the queue and an mda. The mda, which runs as the mailbox's owner, is the less
 * trusted side for the queue; the queue is trusted by no more than one message at a time.
 *
 *	queue -> mda                       mda -> queue
 *	DELIVER (descriptor: the message,  DELIVERED: its reply is a success only when the file, its
 *	 read-only)                        name in new/ and the directory are synced
 *	USAGE                              USAGE_DONE
 *	FORWARD                            FORWARD_DONE: the .forward of the owner's home
 *
 * The mda handles all DELIVERs that are there as one batch: writes, syncs, renames, syncs each
 * directory once, then answers all. Answers carry their request's id, in any order. When the
 * channel closes the mda finishes its batch and exits.
 */
#ifndef COMMON_IPC_QUEUE_MDA_H
#define COMMON_IPC_QUEUE_MDA_H

#include <stdbool.h>
#include <stdint.h>

#include <limits.h>

#include "common/buf.h"
#include "common/envelope.h"
#include "common/imsg.h"
#include "common/ipc_directory.h"
#include "common/reply.h"

enum ipc_queue_mda_type {
	QUEUE_MDA_DELIVER = 1,  /* struct ipc_deliver */
	MDA_QUEUE_DELIVERED,    /* struct ipc_delivered */
	QUEUE_MDA_USAGE,        /* struct ipc_mailbox */
	MDA_QUEUE_USAGE_DONE,   /* struct ipc_usage */
	QUEUE_MDA_FORWARD,      /* struct ipc_mailbox */
	MDA_QUEUE_FORWARD_DONE, /* struct ipc_forward */
};

struct ipc_deliver {
	uint64_t envelope_id;
	enum envelope_kind kind; /* ENVELOPE_MAILDIR or a pipe */
	int64_t created_us;      /* of the transaction */
	uint64_t size;           /* of the message */
	bool maybe_delivered; /* an earlier try may have succeeded without our hearing of it: look
	                       * in new/ and cur/ for the file first */
	struct address sender;
	struct address rcpt;
	struct address dest;
	char command[PATH_TEXT_MAX + 1];
	struct ipc_mailbox mailbox;
};
void ipc_deliver_encode(struct buf *, const struct ipc_deliver *);
bool ipc_deliver_decode(struct buf_reader *, struct ipc_deliver *);

struct ipc_delivered {
	uint64_t envelope_id;
	struct reply reply;
	bool was_there;          /* found by maybe_delivered */
	char file[NAME_MAX + 1]; /* the name in new/, for the log */
	struct ipc_usage usage;  /* known when the mailbox has a quota */
};
void ipc_delivered_encode(struct buf *, const struct ipc_delivered *);
bool ipc_delivered_decode(struct buf_reader *, struct ipc_delivered *);

#endif
