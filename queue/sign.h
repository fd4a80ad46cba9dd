/*
 * DKIM signatures (RFC 6376) of what the queue itself sends: reports to senders, and the directory's
 * TLS reports. The keeper is asked and has a few seconds; the caller goes on when it is told.
 */
#ifndef QUEUE_SIGN_H
#define QUEUE_SIGN_H

#include "common/buf.h"
#include "common/dkim.h"
#include "common/keeper_client.h"
#include "queue/queue.h"

struct signing;

struct signing_part {
	struct keeper_request keeper; /* first: an answer finds the part by it */
	struct signing *signing;
	size_t index;
};

/* In its owner's memory, zero at first; all but `done` is this module's. */
struct signing {
	/* Called once for each sign_begin() that returned true, from the event loop: the
	 * DKIM-Signature fields with their line ends, good until it returns; or NULL, and that has
	 * been logged. */
	void (*done)(struct queue *, struct signing *, const char *fields);
	struct queue *queue;
	struct dkim *signer; /* NULL: not under way */
	uint32_t message_id;
	size_t unanswered;
	struct signing_part parts[DKIM_SIGNATURES_MAX];
};

void sign_open(struct queue *);
void sign_close(struct queue *);
/* The keeper, or its next life; the descriptor is owned from here on. */
void sign_set_keeper(struct queue *, int fd);
/* SUPERVISOR_CHILD_DKIM_KEYS. False when it can't be read. */
bool sign_take_keys(struct queue *, int fd) __attribute__((warn_unused_result));
/*
 * Asks for signatures of a whole message with CRLF line ends, by the keys of its author's domain or
 * of the nearest domain above it that has some. False: there is no such key, or (logged) it can't
 * be signed; `done` isn't called then. The text isn't used any more when this returns.
 */
bool sign_begin(struct queue *, struct signing *, uint32_t message_id, const struct buf *text)
    __attribute__((warn_unused_result));
/* `done` won't be called; harmless when nothing is under way. */
void sign_cancel(struct queue *, struct signing *);

#endif
