/*
 * What is queued, in memory: where each message is recorded and how each of its envelopes stands.
 * Addresses, reasons and the bytes stay in the journal; an envelope costs less than 256 bytes.
 */
#ifndef QUEUE_INDEX_H
#define QUEUE_INDEX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/envelope.h"
#include "queue/journal.h"

struct line;
struct lane;

/*
 * The states of an envelope, and where its entry stands in them:
 *
 *	state      line  lane  heap  comes from, and goes to
 *	NEW        yes   -     -     a commit or recovery; at once to WAITING, READY, HELD or BOUNCING
 *	WAITING    yes   -     yes   until `due`: then READY, or to be warned about or expired
 *	READY      yes   yes   maybe to be taken; in the heap when it may stay so for long (mail_watch)
 *	INFLIGHT   yes   -     -     an mda or the relay has it: to DONE, WAITING, READY, BOUNCING, or
 *	                             what `after` says
 *	HELD       yes   -     -     until an administrator releases or removes it
 *	BOUNCING   yes   -     maybe a report of bounce.c's has it, or it waits in the heap for one; to
 *	                             DONE when that is durable, or HELD when nobody can be told
 *	DONE       -     -     -     only until its message's last envelope is
 */
enum entry_state {
	ENTRY_NEW,
	ENTRY_WAITING,  /* until it is due */
	ENTRY_READY,    /* in its line */
	ENTRY_INFLIGHT, /* being delivered */
	ENTRY_HELD,
	ENTRY_BOUNCING, /* its sender is being told; gone when that is durable */
	ENTRY_DONE,
};

enum entry_after {
	AFTER_NOTHING,
	AFTER_HOLD,
	AFTER_REMOVE,
	AFTER_EXPIRE,
};

/* Held for its user's hourly limit, and whether the postmaster knows. */
enum entry_limit {
	LIMIT_NOT, /* it is held, if it is, by an administrator */
	LIMIT_UNTOLD,
	LIMIT_TOLD, /* or it was told that its sender's mail is held */
};

struct entry {
	struct line *line;
	struct lane *lane; /* ENTRY_READY */
	struct entry *next;
	struct entry *previous;
	uint32_t index;  /* in message->entries */
	uint32_t number; /* lower half of its id */
	uint32_t offset; /* in the message's record */
	uint32_t heap;   /* ENTRY_WAITING: its place, from 1 */
	uint32_t due;    /* when the scheduler looks at it again (retry.h) */
	/* Seconds of retry.h's clock; while recovery reads records, and only then, wall times, which
	 * mail_recovered() turns into those. */
	uint32_t next_try;
	uint32_t expires;
	uint32_t last_try; /* wall; 0 never */
	uint32_t tries;
	uint32_t update_slot; /* its latest STATE_UPDATE; offset 0: none */
	uint32_t update_offset;
	uint16_t update_length;
	uint8_t warned;
	uint8_t limit;      /* enum entry_limit */
	uint8_t state;      /* enum entry_state */
	uint8_t kind;       /* enum envelope_kind */
	uint8_t notify;     /* DSN_NOTIFY_* */
	uint8_t broken_off; /* deliveries whose mda died */
	bool maybe_delivered;
	bool command_checked; /* of pipes: see pipe.h */
	uint8_t after; /* enum entry_after: what an administrator wants done when its delivery
	                * in hand fails */
};

struct sender {
	struct sender *next;
	uint32_t references;
	uint32_t hash;
	char text[]; /* local@domain, the domain in lower case; "" the null sender */
};

struct first_try; /* intake.h: what is kept of a message until its first delivery */

struct message {
	struct message *next; /* in the hash */
	struct sender *sender;
	struct first_try *first;
	struct location location;
	uint32_t place; /* in the order */
	uint32_t id;
	uint32_t created; /* wall */
	uint32_t count;
	uint32_t left; /* not done */
	bool is_large;
	bool is_bounce;
	struct entry entries[];
};

struct index;
struct index *index_new(void);
void index_free(struct index *);
/* Makes a message with `count` envelopes, all zero, and puts it in; NULL when memory is out. */
struct message *index_add(struct index *, const struct transaction *, const struct location *,
    bool is_large, uint32_t count);
/* Takes it out and frees it. */
void index_remove(struct index *, struct message *);
struct message *index_find(const struct index *, uint32_t id);
struct entry *index_find_entry(const struct index *, uint64_t envelope_id);
size_t index_messages(const struct index *);

struct message *entry_message(struct entry *);
uint64_t entry_id(struct entry *);

/* Envelopes are numbered as they come, and no number is given twice: that of the message's first.
 */
uint64_t index_number(const struct index *, const struct message *);
/* The number that the next one gets. */
uint64_t index_end(const struct index *);
/* The first message whose last envelope's number is at least `number`, in the order in which they
 * came; NULL at the end. */
struct message *index_from(const struct index *, uint64_t number);
/* The next in that order. */
struct message *index_next(const struct index *, const struct message *);

/* The text that a sender is kept as. */
void index_sender_text(const struct address *, char *text, size_t size);

#endif
