/*
 * The journal's records as bytes. Each stands alone: it is valid when its header's CRC, its
 * payload's CRC, its segment's sequence number and its own offset all match, whatever stands before
 * or after it. So what a recycled segment held earlier is never taken for new, and one damaged
 * record costs only itself.
 *
 * A record is RECORD_HEADER_SIZE bytes and a payload, padded with zeroes to RECORD_ALIGNMENT:
 *
 *	segment's salt u64 | CRC of the rest of the header u32 | payload length u32 | payload CRC u32 |
 *	offset u32 | segment's sequence u64 | batch u64 | type u32 | zero u32
 *
 * Batches are numbered over the whole spool and for ever: of two records about one envelope the one
 * of the later batch (in one batch: the later offset) holds.
 */
#ifndef QUEUE_RECORD_H
#define QUEUE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/envelope.h"

#define RECORD_HEADER_SIZE 48
#define RECORD_ALIGNMENT   8

enum record_type {
	RECORD_MESSAGE = 1, /* transaction, envelopes, effects; then the bytes unless in a file */
	RECORD_STATE,       /* what became of one envelope */
	RECORD_VOID,  /* a segment's records from an offset on were refused: they don't count */
	RECORD_BATCH, /* the end of a batch: its first offset, and when it was written */
	RECORD_TYPE_END,
};

/* What makes a segment's records its own. */
struct record_key {
	uint64_t sequence; /* counts up over the whole spool */
	uint64_t salt;
};

struct record {
	enum record_type type;
	uint32_t length; /* of the payload */
	uint32_t payload_crc;
	struct record_key key;
	uint64_t batch;
	uint32_t offset;
};

/* Bytes that a record with this payload takes in a segment. */
size_t record_size(size_t payload_length);
/* Writes the header for a payload at `at` + RECORD_HEADER_SIZE, and the padding behind it; sets
 * record->payload_crc. `at` has record_size(record->length) bytes. */
void record_seal(uint8_t *at, struct record *);
/* Reads a header; false when it isn't one of this segment at this offset. */
bool record_parse(const uint8_t *at, const struct record_key *, uint32_t offset, struct record *);
/* The key that a header claims, for a segment whose own header is lost; false when its CRC is
 * wrong. */
bool record_guess_key(const uint8_t *at, uint32_t offset, struct record_key *);
bool record_payload_is_valid(const struct record *, const uint8_t *payload);

/* A record's `warned`: how many delay warnings were sent; and of an envelope that is held for its
 * user's hourly limit, that it is, and whether the postmaster was told of it. */
#define WARNED_COUNT      0x0000ffffU
#define WARNED_LIMIT      0x00010000U
#define WARNED_LIMIT_TOLD 0x00020000U

/* What became of an envelope. The reasons are for the dump. */
enum state_change {
	STATE_UPDATE, /* deferred, held, released, warned about: the fields below are its new state
	               */
	STATE_DELIVERED,
	STATE_BOUNCED, /* and whoever had to know was told */
	STATE_EXPIRED,
	STATE_REMOVED, /* by an administrator */
	STATE_CHANGE_COUNT,
};

struct state {
	uint64_t envelope_id;
	uint64_t target; /* sequence of the segment that holds the message: this record must be
	                  * kept as long as that one is there */
	enum state_change change;
	/* STATE_UPDATE */
	bool held;
	uint32_t tries;
	uint32_t warned; /* WARNED_* */
	int64_t last_try;
	int64_t next_try;
	int64_t expires;
	struct reply reply;          /* as an envelope's last_reply */
	char host[HOSTNAME_MAX + 1]; /* as its last_host */
};
void state_encode(struct buf *, const struct state *);
bool state_decode(struct buf_reader *, struct state *);
const char *state_change_name(enum state_change);

struct void_range {
	uint64_t sequence;
	uint32_t offset;
};
void void_encode(struct buf *, const struct void_range *);
bool void_decode(struct buf_reader *, struct void_range *);

#define BATCH_END_SIZE 12
struct batch_end {
	uint32_t start;
	int64_t wall; /* 0: not recorded */
};
/* Fills BATCH_END_SIZE bytes. */
void batch_end_encode(uint8_t *, const struct batch_end *);
bool batch_end_decode(struct buf_reader *, struct batch_end *);

/*
 * A message's payload: u32 length of what comes before the bytes (this field included) | u8 flags |
 * transaction | u32 count | count times (u16 length, u32 warned, envelope) | u32 count | effects.
 * Effects are states that hold from the moment this message is there: a DSN and the end of the
 * envelopes that it reports are one record, and so atomic.
 */
#define MESSAGE_FLAG_LARGE 0x01 /* the bytes are in the spool's large/ */

struct message_head {
	uint32_t length; /* where the bytes start in the payload */
	bool is_large;
	struct transaction transaction;
	uint32_t envelope_count;
	struct buf_reader rest; /* at the first envelope */
};
/* Starts a message's payload in an empty buf; envelopes and effects follow, then _finish(). */
void message_encode_start(
    struct buf *, const struct transaction *, bool is_large, uint32_t envelope_count);
void message_encode_envelope(struct buf *, const struct envelope *, uint32_t warned);
void message_encode_effects(struct buf *, const struct state *, size_t count);
void message_encode_finish(struct buf *);
/* Decodes up to the first envelope. `data` holds at least the payload's head. */
bool message_decode(const uint8_t *data, size_t length, struct message_head *);
/* The next envelope; *offset is where it stands in the payload, for message_decode_envelope(). */
bool message_next_envelope(
    struct message_head *, struct envelope *, uint32_t *warned, uint32_t *offset);
/* One envelope by its offset. */
bool message_decode_envelope(
    const uint8_t *data, size_t length, uint32_t offset, struct envelope *, uint32_t *warned);
/* After the last envelope: the number of effects; then each. */
uint32_t message_effect_count(struct message_head *);
bool message_next_effect(struct message_head *, struct state *);

#endif
