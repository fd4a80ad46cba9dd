/*
 * Group commit: everything that came in one turn of the event loop is made durable by one write and
 * one sync at its end; then all who wait are told. One message alone waits for nobody.
 */
#ifndef QUEUE_COMMIT_H
#define QUEUE_COMMIT_H

#include "common/reply.h"
#include "queue/queue.h"

void commit_open(struct queue *);
void commit_close(struct queue *);
/* The journal's batch_files and batch_done. */
bool commit_batch_files(void *queue, enum journal_head);
void commit_batch_done(void *queue, enum journal_head, bool durable);

/* A message whose record was just staged. Once its batch is durable it is put into the index and
 * scheduled, then `done` is called with NULL; otherwise with a 4xx, and nothing of it is kept. The
 * descriptors (or -1) and the copy of its record's head are the commit's from here on. */
struct commit_item {
	uint32_t message_id;
	struct location location;
	int fd;
	bool is_large;
	int file; /* is_large: its file, which isn't durable yet */
	uint64_t file_size;
	uint8_t *head; /* allocated */
	size_t head_length;
	uint8_t *facts; /* allocated; for the history. NULL: none */
	size_t facts_length;
	void (*done)(struct queue *, struct commit_item *, const struct reply *refusal);
	void *owner; /* of done(); may be set to NULL when it goes */
	uint32_t request;
	void *detail;
};
void commit_message(struct queue *, const struct commit_item *);
/* Puts a message of the queue's own where journal_begin() said: its record's head, and what lies in the
 * journal of its text. Sets the item's location and head. */
void commit_write(struct queue *, uint8_t *to, const struct buf *head, const void *text,
    size_t length, struct commit_item *);
/* Items of this owner get none. */
void commit_forget_owner(struct queue *, const void *owner);
/* States were staged: they go with the next batch, which comes by then. */
enum commit_when {
	COMMIT_LATER, /* within a second */
	COMMIT_SOON,  /* within 20 ms: what is often lost together is kept short */
	COMMIT_NOW,   /* at the end of this turn */
};
void commit_states(struct queue *, enum commit_when);
/* The file is removed when all that is staged now is durable. */
void commit_remove_large(struct queue *, uint32_t message_id);
/* Begins the deliveries of what became durable since the last call; between two batches. */
void commit_begin_deliveries(struct queue *);
/* Now. True when it is durable. */
bool commit_now(struct queue *);

/* The reply of a message that could not be staged. */
void commit_refusal(enum journal_result, struct reply *);

#endif
