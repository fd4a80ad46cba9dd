/*
 * The channel between a listener and the queue. The queue is the more privileged side.
 *
 *	listener -> queue                  queue -> listener
 *	IDS                                IDS: message ids this listener may use; asked for in
 *	                                   advance, so that no session waits for one
 *	                                   STATE: sent first and whenever it changes: whether mail
 *	                                   is taken, and the reply to MAIL if not (disk full: 452
 *	                                   4.3.1)
 *	SPOOL_FILE (a message id)          SPOOL_FILE with a descriptor to write, or a reply
 *	ENVELOPE, one a recipient
 *	COMMIT (transaction; descriptor:   COMMITTED: all is on stable storage; or REFUSED with a
 *	 a sealed memfd, none when the     reply (4xx), after which nothing of it is kept
 *	 message is in a spool file)
 *	FACTS (struct ipc_facts)           no answer: for the history, of a message that has its
 *	                                   envelopes and whose COMMIT is the next
 *	REFUSED (a history event)          no answer: a recipient or a message that wasn't taken
 *	ABORT (a message id)               no answer; its envelopes and spool file are dropped and
 *	                                   the id is the listener's to use again
 *
 * All frames of a message carry the request's id in `id` (the listener's, from pending_add()), and
 * the message id in `peer`. An id is used up by COMMIT, whatever the answer. Up to 64 messages of
 * one listener may be between their first ENVELOPE and COMMIT; the frames of different messages may
 * mix. A SPOOL_FILE beyond 256 that are not committed or aborted yet is refused. A spool file must be
 * closed before its COMMIT is sent, soon after an ABORT, and never be larger than a message may be:
 * whoever keeps one open, or lets it grow, loses the channel.
 */
#ifndef COMMON_IPC_LISTENER_QUEUE_H
#define COMMON_IPC_LISTENER_QUEUE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/envelope.h"
#include "common/imsg.h"
#include "common/ipc_history.h"
#include "common/reply.h"

enum ipc_listener_queue_type {
	LISTENER_QUEUE_IDS = 1,
	QUEUE_LISTENER_IDS,
	QUEUE_LISTENER_STATE,
	LISTENER_QUEUE_SPOOL_FILE,
	QUEUE_LISTENER_SPOOL_FILE,
	LISTENER_QUEUE_ENVELOPE,  /* payload: struct envelope, its id's lower half set by the
	                             listener */
	LISTENER_QUEUE_COMMIT,    /* payload: struct transaction */
	LISTENER_QUEUE_ABORT,     /* no payload */
	QUEUE_LISTENER_COMMITTED, /* no payload */
	QUEUE_LISTENER_REFUSED,   /* payload: struct reply */
	LISTENER_QUEUE_FACTS,     /* payload: struct ipc_facts */
	LISTENER_QUEUE_REFUSED,   /* payload: struct history_event */
};

/* Messages up to this many bytes come in a memfd, larger ones in a spool file. Above it, copying the
 * bytes into the journal costs more than a file (measured with 1 MB: three times the queue's CPU
 * time). */
#define IPC_MEMFD_MAX (256 * 1024)

/* What the envelopes of a message may be together. The listener refuses the recipient that would
 * lead over it, the queue the message. An envelope counts with its strings and this much more. */
#define IPC_ENVELOPES_MAX   10000
#define IPC_ENVELOPES_BYTES (4 * 1024 * 1024)
#define IPC_ENVELOPE_FIXED  64

#define IPC_IDS_MAX 1024
struct ipc_ids {
	uint32_t count;
	uint32_t ids[IPC_IDS_MAX];
};
/* LISTENER_QUEUE_IDS is an ipc_ids without ids: `count` is how many are wanted. */
void ipc_ids_request_encode(struct buf *, uint32_t count);
bool ipc_ids_request_decode(struct buf_reader *, uint32_t *count);
void ipc_ids_encode(struct buf *, const struct ipc_ids *);
bool ipc_ids_decode(struct buf_reader *, struct ipc_ids *);

/* QUEUE_LISTENER_STATE, QUEUE_LISTENER_SPOOL_FILE without a descriptor, QUEUE_LISTENER_REFUSED: a
 * struct reply; in STATE code 250 means that mail is taken. */

#endif
