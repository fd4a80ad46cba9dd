/*
 * Queued mail: what the index and the journal together know of it, and the changes of its state.
 */
#ifndef QUEUE_MAIL_H
#define QUEUE_MAIL_H

#include "queue/queue.h"

/* What is kept of a message from its commit to its first delivery, so that the usual mail is never
 * read back. */
struct first_try {
	int fd; /* its bytes, sealed; -1 for one in a file */
	size_t length;
	uint8_t head[]; /* of its record's payload */
};
struct first_try *first_try_new(int fd, const uint8_t *head, size_t length);
void mail_drop_first_try(struct message *);

/* The journal's callbacks, but for batch_done. */
void mail_handler(struct queue *, struct journal_handler *);

/* After the recovery, before which no entry's times may be used: all that is queued waits for its
 * time, or goes on where it was. */
void mail_recovered(struct queue *);

/* Puts a committed message into the index and its envelopes into their lines. NULL when memory is
 * out (then it is found again at the next start). */
struct message *mail_add(
    struct queue *, const struct location *, const uint8_t *head, size_t head_length);
/* Schedules a message's envelopes after mail_add(). */
void mail_schedule(struct queue *, struct message *);

/* Seconds that it has been queued. */
int64_t mail_age(const struct queue *, const struct message *);

/* Reads an envelope, with its present state, and what it shares with others. False when the journal
 * can't be read (logged). */
bool mail_load(struct queue *, struct entry *, struct transaction *, struct envelope *);
/* All of a message's envelopes that aren't done, in one reading. */
bool mail_each(struct queue *, struct message *,
    bool (*each)(void *arg, struct entry *, const struct transaction *, const struct envelope *),
    void *arg);
/* Those of its envelopes, in one reading. */
bool mail_load_each(struct queue *, struct message *, struct entry *const *, size_t count,
    bool (*each)(void *arg, struct entry *, const struct transaction *, const struct envelope *),
    void *arg);
/* Where its latest STATE_UPDATE is; offset 0: there is none. */
struct location mail_update_location(const struct entry *);
/* Lays the entry's present state over its envelope as the message's record has it. */
void mail_apply_entry(struct queue *, const struct entry *, struct envelope *);
/* A descriptor of the message's bytes to hand out, read-only or sealed; -1 with errno. */
int mail_open(struct queue *, struct message *, bool last_use);
/* The first bytes of the message, at most `size`; the number read, or -1. */
ssize_t mail_read(struct queue *, struct message *, void *, size_t size);

/* The envelope is done with: recorded, and out of the index; the message too with its last one. */
void mail_done(struct queue *, struct entry *, enum state_change);
/* The same without a record: the state is an effect of a message that is durable. */
void mail_forget(struct queue *, struct entry *);
/* What a done state would be, as an effect. */
struct state mail_done_state(struct queue *, struct entry *, enum state_change);
/* Records the entry's present state and the last reply and who said so (NULL: as they were); a
 * success says that it is delivered and its sender not told yet. */
void mail_update(struct queue *, struct entry *, const struct reply *, const char *host);
/* Waits until its next try, its expiry or its next warning, whichever is first. */
void mail_wait(struct queue *, struct entry *);
/* Into its line, to be tried. */
void mail_ready(struct queue *, struct entry *);
/* One that may be ready for long is looked at when it expires or a warning is due. */
void mail_watch(struct queue *, struct entry *);

/* Starts the payload of a mail of the queue's own in an empty buf, with an envelope for each target of
 * one recipient; `ttl` in seconds, `notify` DSN_NOTIFY_*. Effects follow, then message_encode_finish(). */
void mail_encode_targets(struct buf *, const struct transaction *, bool is_large,
    const struct ipc_target *, size_t count, const struct address *rcpt, uint8_t notify,
    int64_t ttl);

#endif
