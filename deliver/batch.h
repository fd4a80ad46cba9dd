/*
 * A batch: all deliveries to Maildirs that are there at one time, made durable together.
 *
 *	write each to tmp/  →  sync the files  →  rename each to new/  →  sync the directories
 *
 * Only then is any of them answered with a success. A message that fails at one step drops out with
 * its own reply and harms no other. One that its owner's script puts into several folders is as many
 * deliveries here, which succeed or fail together.
 */
#ifndef DELIVER_BATCH_H
#define DELIVER_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/ipc_queue_mda.h"
#include "common/maildir_name.h"
#include "common/quota.h"
#include "deliver/known.h"
#include "deliver/maildir.h"
#include "deliver/script.h"
#include "deliver/sync.h"

enum delivery_state {
	DELIVERY_NEW,
	DELIVERY_WRITTEN, /* in tmp/ */
	DELIVERY_PLACED,  /* renamed to new/ by this batch */
	DELIVERY_FOUND,   /* delivered by an earlier try */
	DELIVERY_DONE,    /* durable: the reply is a success */
	DELIVERY_FAILED,  /* the reply says why */
	DELIVERY_PUT_OFF, /* to the next round: there are too many in this one */
};

struct delivery {
	struct ipc_deliver request;
	uint32_t request_id;
	int64_t given_ms;            /* when the request came */
	int message;                 /* descriptor; closed by delivery_free() */
	struct ipc_delivered result; /* what to answer, after batch_deliver() */
	struct maildir_into into;    /* as delivery_choose_folder(), or a script, wants it */
	/* The batch's. */
	struct delivery *primary; /* it is a further place of this one's message */
	enum delivery_state state;
	struct mailbox *mailbox;  /* of this round; NULL when an earlier one was done with it */
	char prefix[NAME_SIZE];   /* of its name */
	enum maildir_found found; /* request.maybe_delivered */
	int file;
	char temporary[NAME_SIZE + 32];
	char name[256];
	uint64_t size;
	bool in_cur; /* placed or found there */
	int error;   /* of the file's sync */
};

/* What stays from batch to batch. */
struct batch_context {
	char host[NAME_HOST_MAX + 1];
	char mail_directory[PATH_TEXT_MAX + 1];
	uint32_t nonce;   /* keeps this process's files in tmp/ apart from another's */
	uint32_t written; /* and from each other */
	struct sync_state sync;
	struct known known;
	struct known distrusted; /* mbox files that couldn't be synced */
	uint8_t *chunk;
	int queue_fd;        /* to see whether the queue is still there; -1: not looked at */
	char delimiters[16]; /* of "+detail" */
	struct script_cache *scripts;
};

/* Dies when memory is out. */
void batch_context_init(struct batch_context *, const char *hostname, const char *mail_directory);
/* After a reload; what was synced stays known. */
void batch_context_set(struct batch_context *, const char *hostname, const char *mail_directory);
void batch_context_set_delimiters(struct batch_context *, const char *delimiters);
void batch_context_free(struct batch_context *);

/* A delivery owns `message`. NULL when memory is out; `message` is then closed. */
struct delivery *delivery_new(const struct ipc_deliver *, uint32_t request_id, int message);
void delivery_free(struct delivery *);
/* Has its result say where it lies: `before` and `path`. */
void delivery_set_place(struct delivery *, const char *before, const char *path);

/* How many deliveries one batch may have with this many descriptors allowed; at least 1. */
size_t batch_limit(size_t descriptors);
/* Delivers all; each delivery's `result` is then its answer. `answer` is called once before the
 * tidying that nobody needs to wait for. */
void batch_deliver(
    struct batch_context *, struct delivery **, size_t count, void (*answer)(void *arg), void *arg);
/* How full a mailbox is; not known when it has no quota or can't be read. */
void batch_usage(struct batch_context *, const struct ipc_mailbox *, struct ipc_usage *);

#endif
