/*
 * A segment of any bytes is walked as recovery does it: never out of bounds, every record as valid
 * as it says, no damage reported where a record stands. Half of the inputs have their first record
 * header's checksums put right, so that the payloads' decoders are reached.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "queue/segment.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct walked {
	const uint8_t *data;
	uint32_t length;
	uint32_t reached;
};

static void
decode(const struct record *record, const uint8_t *payload)
{
	struct message_head head;
	struct envelope envelope;
	struct void_range range;
	struct buf_reader reader;
	struct state state;
	struct batch_end end;
	uint32_t warned, offset, i, count;

	buf_reader_init(&reader, payload, record->length);
	switch (record->type) {
	case RECORD_MESSAGE:
		if (!message_decode(payload, record->length, &head))
			return;
		for (i = 0; i < head.envelope_count; i++) {
			struct envelope again;

			if (!message_next_envelope(&head, &envelope, &warned, &offset))
				return;
			if (!message_decode_envelope(
			        payload, head.length, offset, &again, &warned) ||
			    again.id != envelope.id)
				abort();
		}
		count = message_effect_count(&head);
		for (i = 0; i < count && message_next_effect(&head, &state); i++)
			;
		return;
	case RECORD_STATE:
		(void)state_decode(&reader, &state);
		return;
	case RECORD_VOID:
		(void)void_decode(&reader, &range);
		return;
	case RECORD_BATCH:
		(void)batch_end_decode(&reader, &end);
		return;
	case RECORD_TYPE_END:
		return;
	}
}

static void
on_record(void *arg, const struct record *record, const uint8_t *payload)
{
	struct walked *walked = arg;

	if (record->offset < walked->reached ||
	    payload != walked->data + record->offset + RECORD_HEADER_SIZE ||
	    record->length > walked->length - record->offset - RECORD_HEADER_SIZE)
		abort();
	walked->reached = record->offset + RECORD_HEADER_SIZE + record->length;
	decode(record, payload);
}

static void
on_damage(void *arg, uint32_t offset, uint32_t length, const char *why)
{
	struct walked *walked = arg;

	if (why == NULL || offset < walked->reached || length > walked->length - offset)
		abort();
	walked->reached = offset + length;
}

static void
walk(uint8_t *data, uint32_t length, const struct record_key *key)
{
	struct walked walked = { data, length, SEGMENT_DATA };
	struct segment_walk calls = { on_record, on_damage, &walked };

	if (segment_walk(data, length, key, &calls) > length)
		abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
	static const struct record_key ours = { 3, 0x0123456789abcdef };
	struct segment_header header;
	struct record_key key;
	struct record record;
	uint32_t length;
	uint8_t *data;

	if (size < 2 || size > 65536)
		return 0;
	length = SEGMENT_DATA + (uint32_t)size - 1;
	data = malloc(length + RECORD_HEADER_SIZE + RECORD_ALIGNMENT);
	if (data == NULL)
		return 0;
	if ((input[0] & 1) != 0 && size > SEGMENT_DATA) {
		/* A whole file. */
		length = (uint32_t)size - 1;
		memcpy(data, input + 1, length);
		if (segment_header_decode(data, &header) == SEGMENT_HEADER_OK)
			walk(data, length, &header.key);
		if (segment_guess_key(data, length, &key))
			walk(data, length, &key);
	} else {
		/* The payload of one good record, of any type. */
		memset(data, 0, SEGMENT_DATA);
		memcpy(data + SEGMENT_DATA + RECORD_HEADER_SIZE, input + 1, size - 1);
		record = (struct record){ RECORD_MESSAGE + (input[0] >> 1) % 4, (uint32_t)size - 1,
			0, ours, 1, SEGMENT_DATA };
		length = SEGMENT_DATA + (uint32_t)record_size(size - 1);
		record_seal(data + SEGMENT_DATA, &record);
		walk(data, length, &ours);
	}
	free(data);
	return 0;
}
