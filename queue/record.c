/*
 * Record headers are packed and parsed by hand at fixed places; payloads go through struct buf like
 * every other format of the suite. Nothing here does I/O, so that the fuzzer and the offline check
 * run the same code as recovery.
 */
#include <string.h>

#include "common/crc32c.h"
#include "queue/record.h"

/* A state's flags; FLAG_HOST wasn't there in version 1. */
#define FLAG_HELD 0x01
#define FLAG_HOST 0x02

static void
put_u32(uint8_t *at, uint32_t value)
{
	for (unsigned i = 0; i < 4; i++)
		at[i] = (uint8_t)(value >> (8 * i));
}

static void
put_u64(uint8_t *at, uint64_t value)
{
	put_u32(at, (uint32_t)value);
	put_u32(at + 4, (uint32_t)(value >> 32));
}

static uint32_t
get_u32(const uint8_t *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 |
	    (uint32_t)at[3] << 24;
}

static uint64_t
get_u64(const uint8_t *at)
{
	return get_u32(at) | (uint64_t)get_u32(at + 4) << 32;
}

size_t
record_size(size_t payload_length)
{
	size_t size = RECORD_HEADER_SIZE + payload_length;

	return (size + RECORD_ALIGNMENT - 1) / RECORD_ALIGNMENT * RECORD_ALIGNMENT;
}

void
record_seal(uint8_t *at, struct record *record)
{
	size_t end = RECORD_HEADER_SIZE + (size_t)record->length;

	memset(at + end, 0, record_size(record->length) - end);
	record->payload_crc = crc32c(0, at + RECORD_HEADER_SIZE, record->length);
	put_u64(at, record->key.salt);
	put_u32(at + 12, record->length);
	put_u32(at + 16, record->payload_crc);
	put_u32(at + 20, record->offset);
	put_u64(at + 24, record->key.sequence);
	put_u64(at + 32, record->batch);
	put_u32(at + 40, record->type);
	put_u32(at + 44, 0);
	put_u32(at + 8, crc32c(0, at + 12, RECORD_HEADER_SIZE - 12));
}

static bool
header_is_valid(const uint8_t *at)
{
	uint32_t type = get_u32(at + 40);

	return get_u32(at + 8) == crc32c(0, at + 12, RECORD_HEADER_SIZE - 12) &&
	    type >= RECORD_MESSAGE && type < RECORD_TYPE_END;
}

bool
record_parse(
    const uint8_t *at, const struct record_key *key, uint32_t offset, struct record *record)
{
	if (get_u64(at) != key->salt || get_u64(at + 24) != key->sequence ||
	    get_u32(at + 20) != offset || !header_is_valid(at))
		return false;
	record->type = get_u32(at + 40);
	record->length = get_u32(at + 12);
	record->payload_crc = get_u32(at + 16);
	record->key = *key;
	record->batch = get_u64(at + 32);
	record->offset = offset;
	return true;
}

bool
record_guess_key(const uint8_t *at, uint32_t offset, struct record_key *key)
{
	key->salt = get_u64(at);
	key->sequence = get_u64(at + 24);
	return key->sequence != 0 && get_u32(at + 20) == offset && header_is_valid(at);
}

bool
record_payload_is_valid(const struct record *record, const uint8_t *payload)
{
	return crc32c(0, payload, record->length) == record->payload_crc;
}

void
state_encode(struct buf *buf, const struct state *state)
{
	bool has_host = state->reply.code != 0 && *state->host != '\0';

	buf_add_u64(buf, state->envelope_id);
	buf_add_u64(buf, state->target);
	buf_add_u8(buf, state->change);
	if (state->change != STATE_UPDATE)
		return;
	buf_add_u8(buf, (uint8_t)((state->held ? FLAG_HELD : 0) | (has_host ? FLAG_HOST : 0)));
	buf_add_u32(buf, state->tries);
	buf_add_u32(buf, state->warned);
	buf_add_u64(buf, (uint64_t)state->last_try);
	buf_add_u64(buf, (uint64_t)state->next_try);
	buf_add_u64(buf, (uint64_t)state->expires);
	buf_add_u8(buf, state->reply.code != 0);
	if (state->reply.code != 0)
		reply_encode(buf, &state->reply);
	if (has_host)
		buf_add_string(buf, state->host);
}

/* A name that comes out again in DSNs and logs. */
static void
get_host(struct buf_reader *reader, char *host, size_t size)
{
	buf_get_string(reader, host, size);
	for (const char *at = host; *at != '\0'; at++) {
		if ((unsigned char)*at <= ' ' || *at == 0x7f)
			reader->failed = true;
	}
}

bool
state_decode(struct buf_reader *reader, struct state *state)
{
	uint8_t flags;

	memset(state, 0, sizeof(*state));
	state->envelope_id = buf_get_u64(reader);
	state->target = buf_get_u64(reader);
	state->change = buf_get_enum(reader, STATE_CHANGE_COUNT);
	if (reader->failed || state->change != STATE_UPDATE)
		return !reader->failed;
	flags = buf_get_u8(reader);
	state->held = (flags & FLAG_HELD) != 0;
	state->tries = buf_get_u32(reader);
	state->warned = buf_get_u32(reader);
	state->last_try = (int64_t)buf_get_u64(reader);
	state->next_try = (int64_t)buf_get_u64(reader);
	state->expires = (int64_t)buf_get_u64(reader);
	if (buf_get_bool(reader))
		reply_decode(reader, &state->reply);
	if ((flags & FLAG_HOST) != 0)
		get_host(reader, state->host, sizeof(state->host));
	if ((flags & ~(FLAG_HELD | FLAG_HOST)) != 0 || state->last_try < 0 || state->next_try < 0 ||
	    state->expires < 0)
		reader->failed = true;
	return !reader->failed;
}

const char *
state_change_name(enum state_change change)
{
	static const char *const names[] = { "update", "delivered", "bounced", "expired",
		"removed" };

	return change < STATE_CHANGE_COUNT ? names[change] : "?";
}

void
void_encode(struct buf *buf, const struct void_range *range)
{
	buf_add_u64(buf, range->sequence);
	buf_add_u32(buf, range->offset);
}

bool
void_decode(struct buf_reader *reader, struct void_range *range)
{
	range->sequence = buf_get_u64(reader);
	range->offset = buf_get_u32(reader);
	return buf_reader_done(reader);
}

void
batch_end_encode(uint8_t *at, const struct batch_end *end)
{
	put_u32(at, end->start);
	put_u64(at + 4, (uint64_t)end->wall);
}

bool
batch_end_decode(struct buf_reader *reader, struct batch_end *end)
{
	end->start = buf_get_u32(reader);
	end->wall = reader->left == 0 ? 0 : (int64_t)buf_get_u64(reader);
	return buf_reader_done(reader) && end->wall >= 0;
}

void
message_encode_start(
    struct buf *buf, const struct transaction *transaction, bool is_large, uint32_t envelope_count)
{
	buf_add_u32(buf, 0);
	buf_add_u8(buf, is_large ? MESSAGE_FLAG_LARGE : 0);
	transaction_encode(buf, transaction);
	buf_add_u32(buf, envelope_count);
}

void
message_encode_envelope(struct buf *buf, const struct envelope *envelope, uint32_t warned)
{
	size_t start = buf->length, length;

	buf_add_u16(buf, 0);
	buf_add_u32(buf, warned);
	envelope_encode(buf, envelope);
	if (!buf_ok(buf))
		return;
	length = buf->length - start - 2;
	if (length > UINT16_MAX) {
		buf->failed = true;
		return;
	}
	buf->data[start] = (uint8_t)length;
	buf->data[start + 1] = (uint8_t)(length >> 8);
}

void
message_encode_effects(struct buf *buf, const struct state *effects, size_t count)
{
	buf_add_u32(buf, (uint32_t)count);
	for (size_t i = 0; i < count; i++)
		state_encode(buf, &effects[i]);
}

void
message_encode_finish(struct buf *buf)
{
	if (buf_ok(buf))
		put_u32(buf->data, (uint32_t)buf->length);
}

bool
message_decode(const uint8_t *data, size_t length, struct message_head *head)
{
	struct buf_reader reader;
	uint8_t flags;

	buf_reader_init(&reader, data, length);
	head->length = buf_get_u32(&reader);
	if (reader.failed || head->length < 4 || head->length > length)
		return false;
	buf_reader_init(&head->rest, data + 4, head->length - 4);
	flags = buf_get_u8(&head->rest);
	head->is_large = (flags & MESSAGE_FLAG_LARGE) != 0;
	transaction_decode(&head->rest, &head->transaction);
	head->envelope_count = buf_get_u32(&head->rest);
	/* Each takes more than 16 bytes. */
	if (head->rest.failed || (flags & ~MESSAGE_FLAG_LARGE) != 0 ||
	    head->envelope_count > head->rest.left / 16)
		return false;
	return true;
}

static bool
get_envelope(struct buf_reader *reader, struct envelope *envelope, uint32_t *warned)
{
	struct buf_reader own;
	size_t length = buf_get_u16(reader);

	if (reader->failed || length > reader->left)
		return false;
	buf_reader_init(&own, reader->data, length);
	*warned = buf_get_u32(&own);
	if (!envelope_decode(&own, envelope) || !buf_reader_done(&own))
		return false;
	reader->data += length;
	reader->left -= length;
	return true;
}

bool
message_next_envelope(
    struct message_head *head, struct envelope *envelope, uint32_t *warned, uint32_t *offset)
{
	*offset = head->length - (uint32_t)head->rest.left;
	return get_envelope(&head->rest, envelope, warned) &&
	    envelope_id_message(envelope->id) == head->transaction.message_id;
}

bool
message_decode_envelope(const uint8_t *data, size_t length, uint32_t offset,
    struct envelope *envelope, uint32_t *warned)
{
	struct buf_reader reader;

	if (offset > length)
		return false;
	buf_reader_init(&reader, data + offset, length - offset);
	return get_envelope(&reader, envelope, warned);
}

uint32_t
message_effect_count(struct message_head *head)
{
	uint32_t count = buf_get_u32(&head->rest);

	/* Each takes at least 17 bytes. */
	if (head->rest.failed || count > head->rest.left / 17)
		return 0;
	return count;
}

bool
message_next_effect(struct message_head *head, struct state *state)
{
	return state_decode(&head->rest, state);
}
