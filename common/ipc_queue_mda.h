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

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

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
	enum envelope_kind kind; /* not ENVELOPE_RELAY */
	int64_t created_us;      /* of the transaction */
	uint64_t size;           /* of the message */
	bool maybe_delivered; /* an earlier try may have succeeded without our hearing of it: look
	                       * in new/ and cur/ for the file first */
	struct address sender;
	struct address rcpt;
	struct address dest;
	char command[PATH_TEXT_MAX + 1];
	struct ipc_mailbox mailbox;
	/* Not sent: the mda has got the text from a wrapper, Return-Path and Delivered-To are in it. */
	bool is_wrapped;
};
void ipc_deliver_encode(struct buf *, const struct ipc_deliver *);
bool ipc_deliver_decode(struct buf_reader *, struct ipc_deliver *);

/*
 * What the owner's script wants sent, beside what was stored: the same message to other addresses, and
 * a reply to its sender. The queue makes that durable before it drops the envelope, and writes the
 * reply's header itself; texts are UTF-8, what is odd in them the queue leaves out.
 */
#define IPC_REDIRECTS_MAX        4
#define IPC_REPLY_NAME_MAX       200
#define IPC_REPLY_SUBJECT_MAX    1000
#define IPC_REPLY_REFERENCES_MAX 1500
#define IPC_REPLY_TEXT_MAX       8192
struct ipc_effects {
	bool
	    by_forward; /* of ENVELOPE_FORWARD: it isn't stored, there is a .forward; nothing else */
	size_t redirect_count;
	struct address redirects[IPC_REDIRECTS_MAX];
	bool has_reply;
	struct address reply_from;               /* null: the mailbox's own address */
	char reply_name[IPC_REPLY_NAME_MAX + 1]; /* of its author, or "" */
	char reply_subject[IPC_REPLY_SUBJECT_MAX + 1];
	char reply_references[IPC_REPLY_REFERENCES_MAX + 1]; /* the last is the message's own id */
	bool reply_is_mime; /* the text begins with the header of a MIME entity */
	char reply_text[IPC_REPLY_TEXT_MAX + 1]; /* line ends LF */
};

#define IPC_PLACE_MAX 511
struct ipc_delivered {
	uint64_t envelope_id;
	struct reply reply;
	bool was_there;          /* found by maybe_delivered */
	char file[NAME_MAX + 5]; /* "new/" or "cur/" and its name, for the log */
	/* Where it lies, for the log: the path of the Maildir's folder or of the mbox file, or "|" and
	 * the command that has it. "" when it is nowhere, or the path longer. */
	char place[IPC_PLACE_MAX + 1];
	struct ipc_usage usage;      /* known when the mailbox has a quota */
	struct ipc_effects *effects; /* NULL: none; only with a success. Allocated */
};
void ipc_delivered_encode(struct buf *, const struct ipc_delivered *);
/* To be freed by ipc_delivered_free() when it is true. */
bool ipc_delivered_decode(struct buf_reader *, struct ipc_delivered *);
void ipc_delivered_free(struct ipc_delivered *);

#endif
