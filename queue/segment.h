/*
 * One file of the journal: SEGMENT_DATA bytes of header, then records one after the other.
 *
 * The header is there twice (at 0 and at 2,048) so that one damaged sector doesn't cost a segment:
 *
 *	"POSTERNJ" | version u32 | use u32 | sequence u64 | size u64 | batch u64 | zero u8[20] |
 *	CRC u32
 *
 * A segment that holds nothing has SEGMENT_FREE there; when it is used again it gets the next
 * sequence number, which none had before, and a new salt, so its old records are no records any
 * more. One that is still being made (segment_make.h) has nothing but zeroes.
 */
#ifndef QUEUE_SEGMENT_H
#define QUEUE_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue/record.h"

/* 2: flags of TLS in transactions, the host beside the last reply. 3: SEGMENT_…_DONE. 4: whether mail
 * came in encrypted. 5: ENVELOPE_USER_FILE, ENVELOPE_FORWARD. Older ones can be read. */
#define SEGMENT_VERSION   5
#define SEGMENT_DATA      4096
#define SEGMENT_SIZE_MIN  (1024 * 1024)
#define SEGMENT_SIZE_MAX  (1024 * 1024 * 1024)
#define SEGMENT_NAME_SIZE 16

enum segment_use {
	SEGMENT_FREE,
	SEGMENT_FIRST,  /* first generation: mail as it comes */
	SEGMENT_SECOND, /* second: survivors copied forward */
	/* The same, and no message that it holds is queued any more by its record here: no state needs
	 * to say so. In a header only; see `done`. */
	SEGMENT_FIRST_DONE,
	SEGMENT_SECOND_DONE,
	SEGMENT_USE_COUNT,
};

enum segment_state {
	SEGMENT_EMPTY,  /* free to be used */
	SEGMENT_OPEN,   /* records are appended */
	SEGMENT_CLOSED, /* full, or of an earlier run */
	SEGMENT_FAILED, /* a write or sync failed: to be emptied and removed, not used again */
};

struct segment {
	char name[SEGMENT_NAME_SIZE];
	int fd;
	enum segment_state state;
	enum segment_use use;
	struct record_key key;
	uint32_t size;
	uint32_t end;        /* where the last record ends */
	uint64_t live_bytes; /* of messages that are still queued and recorded here */
	uint32_t live_count;
	bool done;   /* its header says that nothing in it is queued */
	bool voided; /* a RECORD_VOID is about it */
	bool
	    superseded; /* holds messages that were copied to a later one: see journal_supersede() */
	uint64_t *needs; /* sequences of other segments that states in this one are about */
	size_t need_count;
	size_t need_capacity;
	int64_t closed_ms;      /* monotonic */
	unsigned read_failures; /* of emptying it, in a row */
};

struct segment_header {
	uint32_t version;
	enum segment_use use;
	struct record_key key;
	uint64_t size;
	uint64_t batch; /* the last batch that was written anywhere when this was */
};
/* Fills SEGMENT_DATA bytes. */
void segment_header_encode(uint8_t *, const struct segment_header *);

enum segment_header_result {
	SEGMENT_HEADER_OK,
	SEGMENT_HEADER_COPY, /* the first is damaged, this is from the second */
	SEGMENT_HEADER_NEWER,
	SEGMENT_HEADER_BLANK, /* all zero: it isn't made yet */
	SEGMENT_HEADER_BAD,
};
/* Of SEGMENT_DATA bytes (or fewer, of a cut file: zeroes then). */
enum segment_header_result segment_header_decode(const uint8_t *, struct segment_header *);

struct segment *segment_new(const char *name, int fd);
/* Closes and frees. */
void segment_free(struct segment *);
/* Writes a header that says the segment is free, and syncs it; its records are gone then. */
bool segment_release(struct segment *, uint64_t batch) __attribute__((warn_unused_result));
/* Writes a header that says that none of its messages is queued, and syncs it. */
bool segment_finish(struct segment *, uint64_t batch) __attribute__((warn_unused_result));
/* States in this segment are about messages of that one. False when memory is out. */
bool segment_add_need(struct segment *, uint64_t sequence) __attribute__((warn_unused_result));
void segment_drop_need(struct segment *, uint64_t sequence);

/* Whole writes and reads; false with errno (EIO for an early end). */
bool segment_write(struct segment *, const void *, size_t length, uint32_t offset)
    __attribute__((warn_unused_result));
bool segment_read(const struct segment *, void *, size_t length, uint32_t offset)
    __attribute__((warn_unused_result));

/* Reads what can be read; blocks that fail stay zero (logged), and are found as damage. */
void segment_read_blocks(const struct segment *, uint8_t *data, uint32_t length, uint32_t offset);

/* Finds the first record at or after *offset and moves *offset there; false when there is none. */
bool segment_find(const uint8_t *data, uint32_t length, const struct record_key *, uint32_t *offset,
    struct record *);

/*
 * Walks the records of a whole segment held in memory (`data`, of `length` bytes, header included).
 * `record` is called for each valid one with its payload; `damaged` for each stretch of bytes that
 * is not a record though records follow it or it begins like one. Returns where the last record
 * ends (SEGMENT_DATA when there is none): what lies behind is free.
 */
struct segment_walk {
	void (*record)(void *arg, const struct record *, const uint8_t *payload);
	void (*damaged)(void *arg, uint32_t offset, uint32_t length, const char *why);
	void *arg;
};
uint32_t segment_walk(
    const uint8_t *data, uint32_t length, const struct record_key *, const struct segment_walk *);
/* The key that the first record in it claims: for a segment both of whose headers are damaged. */
bool segment_guess_key(const uint8_t *data, uint32_t length, struct record_key *);

#endif
