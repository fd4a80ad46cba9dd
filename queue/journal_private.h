/* What the journal's files share: appending (journal.c), failures, recovery, reclaiming and making
 * segments. */
#ifndef QUEUE_JOURNAL_PRIVATE_H
#define QUEUE_JOURNAL_PRIVATE_H

#include "queue/journal.h"
#include "queue/segment.h"
#include "queue/segment_make.h"

#define RECLAIM_STEP_BYTES (2 * 1024 * 1024)

/* A batch being staged: bytes that will stand at `start` of the segment. */
struct head {
	struct segment *segment; /* NULL: the next append takes one */
	uint32_t slot;
	uint8_t *data;
	size_t length;
	size_t capacity;
	uint32_t start;
	uint64_t batch;
	bool has_records;
	uint8_t *begun; /* between journal_begin() and journal_end() */
};

/* A copy made in the step under way. */
struct copy {
	uint32_t message_id;
	struct location from;
	struct location to;
	struct buf head; /* of the copy; not read back, which could fail */
};

/* A segment that is being emptied, from `offset` on. */
struct reclaim {
	bool active;
	uint32_t slot;
	uint32_t offset;
	uint32_t end;
	uint8_t *data; /* the part read last: `length` bytes from `start` on */
	uint32_t start;
	uint32_t length;
	uint32_t capacity;
	struct copy *copies;
	size_t copy_count;
	size_t copy_capacity;
};

/* A state or void that waits for a segment. */
struct carried {
	enum record_type type;
	uint64_t target;
	uint64_t envelope_id; /* STATE_UPDATE; else 0 */
	size_t length;
	uint8_t *payload;
};

/* What is being appended. */
enum journal_phase {
	JOURNAL_SOUND,            /* whatever comes */
	JOURNAL_STAGES_CARRIED,   /* what a failure left over, before anything newer */
	JOURNAL_SALVAGES,         /* right after a failure: a batch for which nobody waits */
	JOURNAL_SALVAGES_STAGING, /* what that failure left over, into that batch */
};

struct journal {
	const struct spool *spool;
	struct journal_options options;
	struct journal_handler handler;
	struct segment **segments; /* by slot; NULL: unused slot */
	size_t segment_count;
	struct head heads[JOURNAL_HEAD_COUNT];
	uint64_t last_sequence;
	uint64_t last_batch;
	int64_t last_wall;        /* of the last batch */
	uint64_t last_wall_batch; /* its number, while recovering */
	bool keep_wall;
	uint32_t last_name;
	bool damaged;
	struct segment_maker maker;
	int64_t make_after_ms;   /* after a failure: no segment is begun before */
	bool no_more;            /* no segment could be made; said */
	bool full;               /* no room for mail beside the reserve */
	bool low;                /* the disk's free share is below the floor */
	int64_t broken_until_ms; /* after a failure: don't try again before */
	struct carried *carried;
	size_t carried_count;
	size_t carried_capacity;
	unsigned failures; /* batches that failed */
	enum journal_phase phase;
	uint64_t disk_size;
	struct reclaim reclaim;
};

/* The head's next append takes another segment. */
void journal_close_segment(struct head *, enum segment_state);

/* journal_failure.c */

bool journal_is_staging_carried(const struct journal *);
bool journal_is_salvaging(const struct journal *);
/* Keeps a copy of a state or void about a segment until it can be appended. `envelope_id`: of a
 * STATE_UPDATE, else 0. */
void journal_carry(struct journal *, enum record_type, const uint8_t *payload, size_t length,
    uint64_t target, uint64_t envelope_id);
/* Stages all that is kept so; false when there is nothing, or that is under way. */
bool journal_stage_carried(struct journal *);
/* The head's batch failed: closes its segment, and writes to another what must be known of it. */
void journal_salvage(struct journal *, enum journal_head);
/* What the batch's messages tell of beside the journal isn't durable, and nothing of it is written
 * yet: only its states are, and the segment is as good as before. */
void journal_withdraw(struct journal *);

/* The rest. */

/* Keeps bytes of a segment in quarantine, under a name that is the same each time. */
bool journal_quarantine(const struct journal *, const struct segment *, uint32_t offset,
    const uint8_t *data, uint32_t length, const char *why);
/* Of new segments; those of another size are removed when they are empty. */
uint32_t journal_segment_size(const struct journal *);
struct segment *journal_find_sequence(const struct journal *, uint64_t sequence);
/* Empty segments, and the slot of the last one. */
size_t journal_count_empty(const struct journal *, uint32_t *slot);
/* Decides whether mail is taken: while there is room for it beside the reserve. */
void journal_look_at_room(struct journal *);
/* Makes an empty segment, at once; false when there is no room for it, or the disk fails. */
bool journal_make_now(struct journal *);
/* Whether something that is said about a segment's records must be kept. */
bool journal_has_object(const struct journal *, uint64_t sequence);
/* Puts a segment into the table. False when memory is out. */
bool journal_add_segment(struct journal *, struct segment *, uint32_t *slot);
/* The segment's records are needed no more: empties it for reuse, or removes its file. */
void journal_retire(struct journal *, uint32_t slot);
enum journal_open_result journal_recover(struct journal *);
/* Appends a copy of a state or void; journal_needs() of it included. */
enum journal_result journal_append_copy(struct journal *, enum journal_head, enum record_type,
    const uint8_t *payload, size_t length, uint64_t target, struct location *);

#endif
