/*
 * A segment's header, its bytes, and the one walk over its records that recovery, the offline check
 * and the fuzzer share.
 *
 * The walk knows three reasons why the next bytes may be no record: the log ends here (zeroes, or
 * what the segment held in an earlier use); a batch was cut off by a crash; or they are damaged. It
 * searches what is left for a later record of this segment: if there is one, the bytes before it
 * are damaged. If there is none but the bytes begin like a record of this segment, they are either
 * a cut batch that nobody was told about, or the damaged last record; both are reported.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/string.h>

#include "common/crc32c.h"
#include "common/log.h"
#include "queue/segment.h"

#define HEADER_SIZE 64
#define HEADER_COPY 2048

static const char magic[8] = "POSTERNJ";

void
segment_header_encode(uint8_t *block, const struct segment_header *header)
{
	static const uint8_t zeroes[HEADER_SIZE];
	struct buf buf;
	uint32_t crc;

	memset(block, 0, SEGMENT_DATA);
	buf_init(&buf, HEADER_SIZE);
	buf_add(&buf, magic, sizeof(magic));
	buf_add_u32(&buf, header->version);
	buf_add_u32(&buf, header->use);
	buf_add_u64(&buf, header->key.sequence);
	buf_add_u64(&buf, header->key.salt);
	buf_add_u64(&buf, header->size);
	buf_add_u64(&buf, header->batch);
	buf_add(&buf, zeroes, HEADER_SIZE - 4 - buf.length);
	crc = buf_ok(&buf) ? crc32c(0, buf.data, buf.length) : 0;
	buf_add_u32(&buf, crc);
	if (buf_ok(&buf)) {
		memcpy(block, buf.data, HEADER_SIZE);
		memcpy(block + HEADER_COPY, buf.data, HEADER_SIZE);
	}
	buf_free(&buf);
}

static enum segment_header_result
decode_one(const uint8_t *at, struct segment_header *header)
{
	struct buf_reader reader;
	uint8_t skip[HEADER_SIZE];

	buf_reader_init(&reader, at, HEADER_SIZE);
	buf_get(&reader, skip, sizeof(magic));
	if (memcmp(skip, magic, sizeof(magic)) != 0)
		return SEGMENT_HEADER_BAD;
	header->version = buf_get_u32(&reader);
	header->use = buf_get_u32(&reader);
	header->key.sequence = buf_get_u64(&reader);
	header->key.salt = buf_get_u64(&reader);
	header->size = buf_get_u64(&reader);
	header->batch = buf_get_u64(&reader);
	buf_get(&reader, skip, reader.left - 4);
	if (buf_get_u32(&reader) != crc32c(0, at, HEADER_SIZE - 4))
		return SEGMENT_HEADER_BAD;
	if (header->version > SEGMENT_VERSION)
		return SEGMENT_HEADER_NEWER;
	if (header->version == 0 || header->use >= SEGMENT_USE_COUNT || header->key.sequence == 0 ||
	    header->size > SEGMENT_SIZE_MAX)
		return SEGMENT_HEADER_BAD;
	return SEGMENT_HEADER_OK;
}

enum segment_header_result
segment_header_decode(const uint8_t *block, struct segment_header *header)
{
	enum segment_header_result result = decode_one(block, header);
	size_t i;

	if (result != SEGMENT_HEADER_BAD)
		return result;
	result = decode_one(block + HEADER_COPY, header);
	if (result != SEGMENT_HEADER_BAD)
		return result == SEGMENT_HEADER_OK ? SEGMENT_HEADER_COPY : result;
	for (i = 0; i < SEGMENT_DATA && block[i] == 0; i++)
		;
	return i == SEGMENT_DATA ? SEGMENT_HEADER_BLANK : SEGMENT_HEADER_BAD;
}

struct segment *
segment_new(const char *name, int fd)
{
	struct segment *segment = calloc(1, sizeof(*segment));

	if (segment == NULL)
		return NULL;
	strlcpy(segment->name, name, sizeof(segment->name));
	segment->fd = fd;
	segment->state = SEGMENT_EMPTY;
	segment->end = SEGMENT_DATA;
	return segment;
}

void
segment_free(struct segment *segment)
{
	if (segment == NULL)
		return;
	if (segment->fd != -1)
		close(segment->fd);
	free(segment->needs);
	free(segment);
}

bool
segment_release(struct segment *segment, uint64_t batch)
{
	uint8_t block[SEGMENT_DATA];

	segment_header_encode(block,
	    &(struct segment_header){
	        SEGMENT_VERSION, SEGMENT_FREE, segment->key, segment->size, batch });
	if (!segment_write(segment, block, sizeof(block), 0) || fdatasync(segment->fd) == -1)
		return false;
	segment->state = SEGMENT_EMPTY;
	segment->use = SEGMENT_FREE;
	segment->end = SEGMENT_DATA;
	segment->live_bytes = 0;
	segment->live_count = 0;
	segment->need_count = 0;
	segment->done = segment->voided = segment->superseded = false;
	return true;
}

bool
segment_finish(struct segment *segment, uint64_t batch)
{
	uint8_t block[SEGMENT_DATA];
	enum segment_use use =
	    segment->use == SEGMENT_FIRST ? SEGMENT_FIRST_DONE : SEGMENT_SECOND_DONE;

	segment_header_encode(block,
	    &(struct segment_header){ SEGMENT_VERSION, use, segment->key, segment->size, batch });
	if (!segment_write(segment, block, sizeof(block), 0) || fdatasync(segment->fd) == -1)
		return false;
	segment->done = true;
	return true;
}

bool
segment_add_need(struct segment *segment, uint64_t sequence)
{
	uint64_t *needs;
	size_t i, capacity;

	if (sequence == segment->key.sequence)
		return true;
	/* The last one found is the likeliest to be wanted again. */
	for (i = segment->need_count; i > 0; i--) {
		if (segment->needs[i - 1] == sequence)
			return true;
	}
	if (segment->need_count == segment->need_capacity) {
		capacity = segment->need_capacity == 0 ? 8 : 2 * segment->need_capacity;
		needs = reallocarray(segment->needs, capacity, sizeof(*needs));
		if (needs == NULL)
			return false;
		segment->needs = needs;
		segment->need_capacity = capacity;
	}
	segment->needs[segment->need_count++] = sequence;
	return true;
}

void
segment_drop_need(struct segment *segment, uint64_t sequence)
{
	for (size_t i = 0; i < segment->need_count; i++) {
		if (segment->needs[i] == sequence) {
			segment->needs[i] = segment->needs[--segment->need_count];
			return;
		}
	}
}

bool
segment_write(struct segment *segment, const void *data, size_t length, uint32_t offset)
{
	const uint8_t *at = data;
	ssize_t written;

	while (length > 0) {
		written = pwrite(segment->fd, at, length, offset);
		if (written <= 0) {
			if (written == -1 && errno == EINTR)
				continue;
			if (written == 0)
				errno = EIO;
			return false;
		}
		at += written;
		offset += (uint32_t)written;
		length -= (size_t)written;
	}
	return true;
}

bool
segment_read(const struct segment *segment, void *data, size_t length, uint32_t offset)
{
	uint8_t *at = data;
	ssize_t count;

	while (length > 0) {
		count = pread(segment->fd, at, length, offset);
		if (count <= 0) {
			if (count == -1 && errno == EINTR)
				continue;
			if (count == 0)
				errno = EIO;
			return false;
		}
		at += count;
		offset += (uint32_t)count;
		length -= (size_t)count;
	}
	return true;
}

void
segment_read_blocks(const struct segment *segment, uint8_t *data, uint32_t length, uint32_t offset)
{
	uint32_t at, step;

	if (segment_read(segment, data, length, offset))
		return;
	for (at = 0; at < length; at += step) {
		step = SEGMENT_DATA - (offset + at) % SEGMENT_DATA;
		if (step > length - at)
			step = length - at;
		if (!segment_read(segment, data + at, step, offset + at)) {
			log_error("spool: segment %s, offset %" PRIu32 ": can't read: %s",
			    segment->name, offset + at, strerror(errno));
			memset(data + at, 0, step);
		}
	}
}

/* Whether a header of this segment stands here whose record fits. */
static bool
header_at(const uint8_t *data, uint32_t length, const struct record_key *key, uint32_t offset,
    struct record *record)
{
	return length - offset >= RECORD_HEADER_SIZE &&
	    record_parse(data + offset, key, offset, record);
}

bool
segment_find(const uint8_t *data, uint32_t length, const struct record_key *key, uint32_t *offset,
    struct record *record)
{
	for (; *offset <= length && length - *offset >= RECORD_HEADER_SIZE;
	     *offset += RECORD_ALIGNMENT) {
		if (header_at(data, length, key, *offset, record))
			return true;
	}
	return false;
}

/* Whether the bytes claim to be a record of this segment though their CRC is wrong. */
static bool
looks_like_record(const uint8_t *at, uint32_t left, const struct record_key *key, uint32_t offset)
{
	struct buf_reader reader;
	uint64_t salt, sequence;
	uint32_t found_offset;

	if (left < RECORD_HEADER_SIZE)
		return false;
	buf_reader_init(&reader, at, RECORD_HEADER_SIZE);
	salt = buf_get_u64(&reader);
	buf_get_u64(&reader);
	buf_get_u32(&reader);
	found_offset = buf_get_u32(&reader);
	sequence = buf_get_u64(&reader);
	return salt == key->salt || (sequence == key->sequence && found_offset == offset);
}

/* The end of the non-zero bytes from `offset` on. */
static uint32_t
end_of_bytes(const uint8_t *data, uint32_t length, uint32_t offset)
{
	while (length > offset && data[length - 1] == 0)
		length--;
	return length;
}

uint32_t
segment_walk(const uint8_t *data, uint32_t length, const struct record_key *key,
    const struct segment_walk *walk)
{
	struct record record, later;
	uint32_t offset = SEGMENT_DATA, next;
	uint64_t size;

	while (offset < length) {
		if (!header_at(data, length, key, offset, &record)) {
			next = offset;
			if (segment_find(data, length, key, &next, &later)) {
				walk->damaged(
				    walk->arg, offset, next - offset, "damaged record header");
				offset = next;
				continue;
			}
			if (looks_like_record(data + offset, length - offset, key, offset)) {
				next = end_of_bytes(data, length, offset);
				walk->damaged(
				    walk->arg, offset, next - offset, "damaged last record header");
			}
			break;
		}
		size = record_size(record.length);
		if (size > length - offset) {
			next = end_of_bytes(data, length, offset);
			walk->damaged(walk->arg, offset, next - offset,
			    "record cut off by the end of the file");
			return length;
		}
		if (record_payload_is_valid(&record, data + offset + RECORD_HEADER_SIZE))
			walk->record(walk->arg, &record, data + offset + RECORD_HEADER_SIZE);
		else {
			next = offset + (uint32_t)size;
			walk->damaged(walk->arg, offset, (uint32_t)size,
			    segment_find(data, length, key, &next, &later)
			        ? "damaged record"
			        : "last record incomplete (cut off before it was acknowledged) or "
			          "damaged");
		}
		offset += (uint32_t)size;
	}
	return offset;
}

bool
segment_guess_key(const uint8_t *data, uint32_t length, struct record_key *key)
{
	return length >= SEGMENT_DATA + RECORD_HEADER_SIZE &&
	    record_guess_key(data + SEGMENT_DATA, SEGMENT_DATA, key);
}
