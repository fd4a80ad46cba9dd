/*
 * The journal: segments to which records are appended in batches, each made durable by one write
 * and one sync; and their recovery and reuse.
 *
 * There are two heads: JOURNAL_FIRST takes mail as it comes and all states, JOURNAL_SECOND what is
 * copied forward. What is appended is staged in memory until journal_commit() of that head.
 *
 * Rules:
 * 1. A record counts when it is valid by itself (record.h). Of two about one thing the later batch
 *    holds. A batch of one head is complete before the next of either is begun.
 * 2. A segment may be used again only when no queued message is recorded in it and nothing in it is
 *    needed elsewhere: a state must outlive the record of its message. So a segment lists the
 *    segments that its states are about, and before its reuse those states that still have an
 *    object are appended again.
 *    On a full disk, where that isn't possible, an empty segment's header says instead that all in
 *    it is over.
 * 3. Survivors are copied with their present state, and the copy is durable before the original
 *    goes. That a segment is free is durable before what needed it may go.
 * 4. After a failed write or sync a segment is never written again. The messages of its last batch
 *    are refused, and a record that voids them is made durable in another segment before they are
 *    told; the states of that batch are appended there again. When the rest of it is empty, the
 *    file is removed.
 *    A batch whose messages' own files can't be synced isn't written: they are refused, and its
 *    states go in the next.
 * 5. One empty segment is kept for states, bounces and copies: new mail is refused before it is
 *    used, so that a full disk can always be emptied.
 */
#ifndef QUEUE_JOURNAL_H
#define QUEUE_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue/record.h"
#include "queue/spool.h"

enum journal_head {
	JOURNAL_FIRST,
	JOURNAL_SECOND,
	JOURNAL_HEAD_COUNT,
};

/* Where a record is. offset 0: nowhere. */
struct location {
	uint32_t slot;
	uint32_t offset;
	uint32_t length; /* of the payload */
};

/*
 * What the journal asks and tells its user, the index. During recovery: message() and state(), in
 * the order in which things happened. Later: batch_files() before each commit of the first head
 * makes durable what its records tell of beside the journal, and when it can't the commit fails;
 * batch_done() after it with whether it is durable. Neither may append. survivor() and the moved
 * calls belong to the copying forward.
 */
struct journal_handler {
	/* A message as it was recorded, perhaps once more (a copy: it replaces the older). */
	void (*message)(void *arg, const struct location *, struct message_head *);
	void (*state)(void *arg, const struct state *, const struct location *);
	bool (*batch_files)(void *arg, enum journal_head);
	void (*batch_done)(void *arg, enum journal_head, bool durable);
	/* Whether the message recorded there is still queued; if so, its present payload's head is
	 * written to `head`. */
	bool (*survivor)(
	    void *arg, const struct location *, struct message_head *, struct buf *head);
	/* Its durable copy, whose payload begins with `head`, lent, takes its place. */
	void (*message_moved)(void *arg, uint32_t message_id, const struct location *from,
	    const struct location *to, const uint8_t *head, size_t length);
	/* Whether this STATE_UPDATE is the envelope's latest. */
	bool (*state_is_current)(void *arg, const struct state *, const struct location *);
	/* It stands elsewhere now; nowhere (offset 0) while the disk fails. */
	void (*state_moved)(void *arg, uint64_t envelope_id, const struct location *from,
	    const struct location *to);
	/*
	 * What is still recorded in the segment in `slot` can't be read. For each such message
	 * journal_set_aside() keeps its bytes, and then it is to be dropped from the index; one for
	 * which that returns false stays.
	 */
	void (*unreadable)(void *arg, uint32_t slot);
	void *arg;
};

struct journal_options {
	uint64_t segment_size;
	unsigned free_percent;
};

enum journal_open_result {
	JOURNAL_OPENED,
	JOURNAL_NEWER_VERSION, /* logged */
	JOURNAL_UNREADABLE,    /* logged */
};

struct journal;
/* Opens the journal of `spool` (kept by reference) and recovers it; the pointer is set before the
 * first callback. */
enum journal_open_result journal_open(struct journal **, const struct spool *,
    const struct journal_options *, const struct journal_handler *);
void journal_close(struct journal *);
void journal_set_options(struct journal *, const struct journal_options *);
/* Whether recovery found bytes that it could not read. */
bool journal_was_damaged(const struct journal *);
/* When the last batch that recovery found was written, by the wall clock of then; 0 unknown. */
int64_t journal_last_wall(const struct journal *);
/* Batches tell that time, and not the present one, until this is called with false and all that was
 * put off by failures is in them: what depends on the time between is being changed. */
void journal_keep_wall(struct journal *, bool keep);

enum journal_result {
	JOURNAL_OK,
	JOURNAL_FULL,      /* the disk is full: 452 4.3.1 */
	JOURNAL_TOO_LARGE, /* no segment is that large */
	JOURNAL_BROKEN,    /* the disk fails, or memory is out: 451 4.3.0 */
};
/* Whether new mail may come. */
enum journal_result journal_accepts(const struct journal *);

/*
 * Makes room for a record and returns where its payload goes; journal_end() must follow at once.
 * Commits what is staged when the segment is full. `may_use_reserve`: not for new mail.
 */
enum journal_result journal_begin(struct journal *, enum journal_head, size_t payload_length,
    bool may_use_reserve, uint8_t **payload) __attribute__((warn_unused_result));
void journal_end(struct journal *, enum journal_head, enum record_type, size_t payload_length,
    struct location *);
/* Forgets a record begun (a source that could not be read). */
void journal_cancel(struct journal *, enum journal_head);
/* Appends a state. One that can't be written now is kept in memory until it can. */
void journal_state(struct journal *, enum journal_head, const struct state *, struct location *);
/* An effect of the message just begun is about a message in segment `target`. */
void journal_needs(struct journal *, enum journal_head, uint64_t target);
/* Writes and syncs what is staged; true when it is durable (or nothing was staged). */
bool journal_commit(struct journal *, enum journal_head);
size_t journal_staged(const struct journal *, enum journal_head);

/* A message's record is now (not any more) that of a queued message. */
void journal_hold(struct journal *, const struct location *);
void journal_drop(struct journal *, const struct location *);
/*
 * As journal_drop(), of a record that a copy has replaced. The original is valid by itself, and what
 * ends the message names the copy: so the copy's segment isn't reused before the original's is.
 */
void journal_supersede(struct journal *, const struct location *);
/* Keeps an unreadable record of a queued message in quarantine. False when it can be read, or kept
 * nowhere. */
bool journal_set_aside(struct journal *, const struct location *, uint32_t message_id);
/* The sequence of the segment in `slot`: what states name as target. */
uint64_t journal_sequence(const struct journal *, uint32_t slot);

/* Reads from a committed record's payload. */
bool journal_read(const struct journal *, const struct location *, uint32_t from, void *,
    size_t length) __attribute__((warn_unused_result));
/* A message's head, allocated; NULL when it can't be read (logged). */
uint8_t *journal_read_head(const struct journal *, const struct location *, size_t *length);
/* A state by its location. */
bool journal_read_state(const struct journal *, const struct location *, struct state *)
    __attribute__((warn_unused_result));

/* Once a second: looks at the disk and tries again after failures. */
void journal_tick(struct journal *);
/* Does a part of the work of emptying segments; true when there is more. */
bool journal_reclaim(struct journal *);
/* Whether an empty segment more is wanted, and nothing done about it yet. */
bool journal_is_short(const struct journal *);
/* Does a part of the work of making it, some MiB; true when there is more. A disk that is full or
 * fails is said once in the log, and tried again after a while. */
bool journal_prepare(struct journal *);
/* Segments in use and in all. */
void journal_count(const struct journal *, size_t *used, size_t *all);

#endif
