/*
 * Recovery: every segment is read whole and its valid records are listed; then they are replayed in
 * the order of their batches. What isn't readable is copied to quarantine, and the rest goes on.
 * All segments found are closed: appending begins in a fresh one, whose tail is known.
 *
 * A queue may hold millions of envelopes. So the list has no more of a record than where it is, and
 * the replay, which meets records mostly in the order in which they lie, reads many at once.
 */
#include <sys/stat.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "queue/journal_private.h"

#define WINDOW_SIZE (64 * 1024)

struct item {
	uint64_t batch;
	uint32_t slot;
	uint32_t offset;
};

/* The part of a segment that the replay has read last. */
struct window {
	uint32_t slot;
	uint32_t offset;
	size_t length; /* 0: nothing was read */
	uint8_t data[WINDOW_SIZE];
};

struct recovery {
	struct journal *journal;
	uint32_t slot; /* being walked */
	uint8_t *data; /* all of that segment */
	size_t data_capacity;
	struct window window;
	struct item *items;
	size_t item_count;
	size_t item_capacity;
	struct void_range *voids;
	size_t void_count;
	unsigned damaged;
};

static void
add_item(struct recovery *recovery, const struct record *record)
{
	size_t capacity;
	struct item *items;

	if (recovery->item_count == recovery->item_capacity) {
		capacity = recovery->item_capacity == 0 ? 1024 : 2 * recovery->item_capacity;
		items = reallocarray(recovery->items, capacity, sizeof(*items));
		if (items == NULL)
			fatalx("out of memory");
		recovery->items = items;
		recovery->item_capacity = capacity;
	}
	recovery->items[recovery->item_count++] =
	    (struct item){ record->batch, recovery->slot, record->offset };
}

static void
add_void(struct recovery *recovery, const struct void_range *range)
{
	struct void_range *voids =
	    reallocarray(recovery->voids, recovery->void_count + 1, sizeof(*voids));

	if (voids == NULL)
		fatalx("out of memory");
	recovery->voids = voids;
	voids[recovery->void_count++] = *range;
}

static void
need(struct recovery *recovery, uint64_t target)
{
	if (!segment_add_need(recovery->journal->segments[recovery->slot], target))
		fatalx("out of memory");
}

bool
journal_quarantine(const struct journal *journal, const struct segment *segment, uint32_t offset,
    const uint8_t *data, uint32_t length, const char *why)
{
	char name[SPOOL_NAME_MAX], text[128];

	snprintf(name, sizeof(name), "%s-%016" PRIx64 "-%08" PRIx32, segment->name,
	    segment->key.sequence, offset);
	snprintf(
	    text, sizeof(text), "segment %s, offset %" PRIu32 ": %s", segment->name, offset, why);
	return spool_quarantine_bytes(journal->spool, name, data, length, text);
}

static void
walk_damaged(void *arg, uint32_t offset, uint32_t length, const char *why)
{
	struct recovery *recovery = arg;

	(void)journal_quarantine(recovery->journal, recovery->journal->segments[recovery->slot],
	    offset, recovery->data + offset, length, why);
	recovery->damaged++;
}

/* Whether all of a message's head can be decoded; what its effects need is noted. */
static bool
walk_message(struct recovery *recovery, const struct record *record, const uint8_t *payload)
{
	struct message_head head;
	struct envelope envelope;
	struct state state;
	uint32_t i, count, unused;

	if (!message_decode(payload, record->length, &head))
		return false;
	for (i = 0; i < head.envelope_count; i++) {
		if (!message_next_envelope(&head, &envelope, &unused, &unused))
			return false;
	}
	count = message_effect_count(&head);
	for (i = 0; i < count; i++) {
		if (!message_next_effect(&head, &state))
			return false;
		need(recovery, state.target);
	}
	return true;
}

static void
walk_record(void *arg, const struct record *record, const uint8_t *payload)
{
	struct recovery *recovery = arg;
	struct void_range range;
	struct buf_reader reader;
	struct state state;
	struct batch_end end;
	bool decoded = false;

	if (record->batch > recovery->journal->last_batch)
		recovery->journal->last_batch = record->batch;
	buf_reader_init(&reader, payload, record->length);
	switch (record->type) {
	case RECORD_MESSAGE:
		decoded = walk_message(recovery, record, payload);
		if (decoded)
			add_item(recovery, record);
		break;
	case RECORD_STATE:
		decoded = state_decode(&reader, &state) && buf_reader_done(&reader);
		if (decoded) {
			need(recovery, state.target);
			add_item(recovery, record);
		}
		break;
	case RECORD_VOID:
		decoded = void_decode(&reader, &range);
		if (decoded) {
			need(recovery, range.sequence);
			add_void(recovery, &range);
		}
		break;
	case RECORD_BATCH:
		decoded = batch_end_decode(&reader, &end);
		if (decoded && record->batch >= recovery->journal->last_wall_batch) {
			recovery->journal->last_wall_batch = record->batch;
			recovery->journal->last_wall = end.wall;
		}
		break;
	case RECORD_TYPE_END:
		break;
	}
	if (!decoded)
		walk_damaged(recovery, record->offset, (uint32_t)record_size(record->length),
		    "a record that can't be decoded");
}

/* Learns the segment's key from its header, or from its first record. */
static enum journal_open_result
identify(struct recovery *recovery, struct segment *segment, const uint8_t *data, uint32_t length,
    bool *usable)
{
	struct journal *journal = recovery->journal;
	struct segment_header header;

	*usable = true;
	switch (segment_header_decode(data, &header)) {
	case SEGMENT_HEADER_NEWER:
		log_error("spool: segment %s has format version %" PRIu32 ", this queue knows "
		          "none above %d: start the version of Postern that wrote it",
		    segment->name, header.version, SEGMENT_VERSION);
		return JOURNAL_NEWER_VERSION;
	case SEGMENT_HEADER_COPY:
		log_warning("spool: segment %s: its first header is damaged, the second is used",
		    segment->name);
		/* FALLTHROUGH */
	case SEGMENT_HEADER_OK:
		segment->key = header.key;
		segment->use = header.use;
		segment->done =
		    header.use == SEGMENT_FIRST_DONE || header.use == SEGMENT_SECOND_DONE;
		if (segment->done)
			segment->use =
			    header.use == SEGMENT_FIRST_DONE ? SEGMENT_FIRST : SEGMENT_SECOND;
		if (header.batch > journal->last_batch)
			journal->last_batch = header.batch;
		break;
	case SEGMENT_HEADER_BLANK:
	case SEGMENT_HEADER_BAD:
		if (segment_guess_key(data, length, &segment->key)) {
			log_error("spool: segment %s: both of its headers are damaged; its "
			          "records are read all the same",
			    segment->name);
			segment->use = SEGMENT_FIRST;
			recovery->damaged++;
		} else
			*usable = false;
		break;
	}
	if (segment->key.sequence > journal->last_sequence)
		journal->last_sequence = segment->key.sequence;
	segment->state = segment->use == SEGMENT_FREE ? SEGMENT_EMPTY : SEGMENT_CLOSED;
	return JOURNAL_OPENED;
}

/* One that a crash left unfinished. */
static bool
is_unmade(const uint8_t *data, uint32_t length)
{
	uint32_t i;

	for (i = 0; i < length && data[i] == 0; i++)
		;
	return i == length;
}

/* What isn't a segment, or not any more. */
static void
put_aside(struct recovery *recovery, const char *name, const uint8_t *data, uint32_t length)
{
	const struct spool *spool = recovery->journal->spool;

	if (!is_unmade(data, length)) {
		spool_quarantine_file(
		    spool, spool->segments_fd, name, "not a segment, or damaged beyond reading");
		recovery->damaged++;
	} else if (unlinkat(spool->segments_fd, name, 0) == -1)
		log_warning("spool: can't remove segment %s, which was never finished: %s", name,
		    strerror(errno));
}

/* One buffer for all segments: pages that are new for each cost more than the reading. */
static uint8_t *
room_for(struct recovery *recovery, size_t size)
{
	if (size > recovery->data_capacity) {
		free(recovery->data);
		recovery->data = malloc(size);
		if (recovery->data == NULL)
			fatalx("out of memory");
		recovery->data_capacity = size;
	}
	return recovery->data;
}

static enum journal_open_result
recover_segment(struct recovery *recovery, struct segment *segment, uint32_t length)
{
	struct journal *journal = recovery->journal;
	struct segment_walk walk = { walk_record, walk_damaged, recovery };
	enum journal_open_result result;
	bool usable;
	uint8_t *data = room_for(recovery, length < SEGMENT_DATA ? SEGMENT_DATA : length);

	if (length < SEGMENT_DATA)
		memset(data + length, 0, SEGMENT_DATA - length);
	segment_read_blocks(segment, data, length, 0);
	result = identify(recovery, segment, data, length, &usable);
	if (result != JOURNAL_OPENED || !usable) {
		if (result == JOURNAL_OPENED)
			put_aside(recovery, segment->name, data, length);
		segment_free(segment);
		return result;
	}
	segment->size = length;
	if (!journal_add_segment(journal, segment, &recovery->slot))
		fatalx("out of memory");
	if (segment->state == SEGMENT_CLOSED)
		segment->end = segment_walk(data, length, &segment->key, &walk);
	return JOURNAL_OPENED;
}

/*
 * Opens one of our own regular files. *result is NULL for what can't be one (logged). One that is
 * but can't be read now, or could be changed by others, stops the start: without it mail would seem
 * done, and with it what belongs to that mail would be removed.
 */
static enum journal_open_result
open_segment(struct recovery *recovery, const char *name, struct segment **result, uint32_t *length)
{
	int directory_fd = recovery->journal->spool->segments_fd, fd;
	struct stat status;

	*result = NULL;
	if (strlen(name) != 8 || strspn(name, "0123456789") != 8) {
		log_warning("spool: segments/%s isn't ours and is left alone", name);
		return JOURNAL_OPENED;
	}
	if (fstatat(directory_fd, name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
	    !S_ISREG(status.st_mode)) {
		log_error("spool: segments/%s is not a regular file and is left alone", name);
		recovery->damaged++;
		return JOURNAL_OPENED;
	}
	fd = openat(directory_fd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	if (fd == -1 || fstat(fd, &status) == -1) {
		log_error("spool: segments/%s can't be opened: %s; the queue doesn't start without "
		          "the mail in it",
		    name, strerror(errno));
		if (fd != -1)
			close(fd);
		return JOURNAL_UNREADABLE;
	}
	if (!S_ISREG(status.st_mode) || status.st_uid != geteuid() || status.st_nlink != 1 ||
	    status.st_size > SEGMENT_SIZE_MAX) {
		log_error(
		    "spool: segments/%s is not a file of the queue's own (uid %u, %ju links, %jd "
		    "bytes); the queue doesn't start without the mail in it: give it back with "
		    "chown, replace a file with further hard links by a copy, or move what isn't "
		    "of this spool out of it",
		    name, status.st_uid, (uintmax_t)status.st_nlink, (intmax_t)status.st_size);
		close(fd);
		return JOURNAL_UNREADABLE;
	}
	*result = segment_new(name, fd);
	if (*result == NULL)
		fatalx("out of memory");
	*length = (uint32_t)status.st_size;
	return JOURNAL_OPENED;
}

static enum journal_open_result
scan_entry(struct recovery *recovery, const char *name)
{
	struct journal *journal = recovery->journal;
	enum journal_open_result result;
	struct segment *segment;
	uint32_t length, number;

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return JOURNAL_OPENED;
	result = open_segment(recovery, name, &segment, &length);
	if (segment == NULL)
		return result;
	number = (uint32_t)strtoul(name, NULL, 10);
	if (number > journal->last_name)
		journal->last_name = number;
	return recover_segment(recovery, segment, length);
}

static enum journal_open_result
scan(struct recovery *recovery)
{
	enum journal_open_result result = JOURNAL_OPENED;
	struct dirent *entry;
	DIR *directory;
	int fd;

	fd = openat(recovery->journal->spool->fd, "segments",
	    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	directory = fd == -1 ? NULL : fdopendir(fd);
	if (directory == NULL) {
		log_error("spool: can't read segments: %s", strerror(errno));
		if (fd != -1)
			close(fd);
		return JOURNAL_UNREADABLE;
	}
	do {
		errno = 0;
		entry = readdir(directory);
		if (entry != NULL)
			result = scan_entry(recovery, entry->d_name);
		else if (errno != 0) {
			log_error("spool: can't read segments: %s", strerror(errno));
			result = JOURNAL_UNREADABLE;
		}
	} while (entry != NULL && result == JOURNAL_OPENED);
	closedir(directory);
	return result;
}

static int
compare_items(const void *a, const void *b)
{
	const struct item *left = a, *right = b;

	if (left->batch != right->batch)
		return left->batch < right->batch ? -1 : 1;
	if (left->offset != right->offset)
		return left->offset < right->offset ? -1 : 1;
	return 0;
}

static bool
is_void(const struct recovery *recovery, const struct item *item)
{
	uint64_t sequence = recovery->journal->segments[item->slot]->key.sequence;

	for (size_t i = 0; i < recovery->void_count; i++) {
		if (recovery->voids[i].sequence == sequence &&
		    item->offset >= recovery->voids[i].offset)
			return true;
	}
	return false;
}

/* `length` bytes of a segment, at most WINDOW_SIZE, lent until the next call; NULL when they can't be
 * read. */
static const uint8_t *
look_at(struct recovery *recovery, uint32_t slot, uint32_t offset, size_t length)
{
	const struct segment *segment = recovery->journal->segments[slot];
	struct window *window = &recovery->window;
	size_t ahead = segment->size - offset;

	if (window->length == 0 || window->slot != slot || offset < window->offset ||
	    offset - window->offset + length > window->length) {
		window->length = 0;
		if (ahead > WINDOW_SIZE)
			ahead = WINDOW_SIZE;
		/* What lies behind may be unreadable while this isn't. */
		if (length > ahead ||
		    (!segment_read(segment, window->data, ahead, offset) &&
		        !segment_read(segment, window->data, ahead = length, offset)))
			return NULL;
		window->slot = slot;
		window->offset = offset;
		window->length = ahead;
	}
	return window->data + (offset - window->offset);
}

/* The head of a message's record, lent, or read into *allocated when it is large. */
static const uint8_t *
look_at_head(
    struct recovery *recovery, const struct location *location, size_t *length, uint8_t **allocated)
{
	uint32_t offset = location->offset + RECORD_HEADER_SIZE;
	const uint8_t *data = look_at(recovery, location->slot, offset, 4);
	struct buf_reader reader;

	*allocated = NULL;
	if (data == NULL)
		return NULL;
	buf_reader_init(&reader, data, 4);
	*length = buf_get_u32(&reader);
	if (*length <= WINDOW_SIZE)
		return look_at(recovery, location->slot, offset, *length);
	*allocated = journal_read_head(recovery->journal, location, length);
	return *allocated;
}

/* Its segment's header says that it is over. */
static void
end_message(const struct journal *journal, const struct location *location, const uint8_t *data,
    size_t length)
{
	static const struct location nowhere;
	struct state state = { .change = STATE_DELIVERED,
		.target = journal_sequence(journal, location->slot) };
	struct message_head head;
	struct envelope envelope;
	uint32_t unused;

	if (!message_decode(data, length, &head))
		return;
	while (head.envelope_count-- > 0 &&
	    message_next_envelope(&head, &envelope, &unused, &unused)) {
		state.envelope_id = envelope.id;
		journal->handler.state(journal->handler.arg, &state, &nowhere);
	}
}

static bool
replay_message(struct recovery *recovery, const struct location *location)
{
	const struct journal_handler *handler = &recovery->journal->handler;
	static const struct location nowhere;
	struct message_head head;
	struct state state;
	size_t length;
	uint8_t *allocated;
	const uint8_t *data = look_at_head(recovery, location, &length, &allocated);
	bool good = data != NULL && message_decode(data, length, &head);

	if (good) {
		/* The handler reads all envelopes, so that the effects are next. */
		handler->message(handler->arg, location, &head);
		for (uint32_t count = message_effect_count(&head);
		     count > 0 && message_next_effect(&head, &state); count--)
			handler->state(handler->arg, &state, &nowhere);
		if (recovery->journal->segments[location->slot]->done)
			end_message(recovery->journal, location, data, length);
	}
	free(allocated);
	return good;
}

static bool
replay_state(struct recovery *recovery, const struct location *location)
{
	const struct journal_handler *handler = &recovery->journal->handler;
	struct buf_reader reader;
	struct state state;
	const uint8_t *data;

	if (location->length > WINDOW_SIZE)
		return false;
	data = look_at(
	    recovery, location->slot, location->offset + RECORD_HEADER_SIZE, location->length);
	if (data == NULL)
		return false;
	buf_reader_init(&reader, data, location->length);
	if (!state_decode(&reader, &state) || !buf_reader_done(&reader))
		return false;
	handler->state(handler->arg, &state, location);
	return true;
}

static bool
replay_item(struct recovery *recovery, const struct item *item)
{
	const struct record_key *key = &recovery->journal->segments[item->slot]->key;
	const uint8_t *header = look_at(recovery, item->slot, item->offset, RECORD_HEADER_SIZE);
	struct location location;
	struct record record;

	if (header == NULL || !record_parse(header, key, item->offset, &record))
		return false;
	location = (struct location){ item->slot, item->offset, record.length };
	return record.type == RECORD_MESSAGE ? replay_message(recovery, &location)
	                                     : replay_state(recovery, &location);
}

static void
replay(struct recovery *recovery)
{
	if (recovery->item_count > 0)
		qsort(recovery->items, recovery->item_count, sizeof(struct item), compare_items);
	for (size_t i = 0; i < recovery->item_count; i++) {
		const struct item *item = &recovery->items[i];

		if (!is_void(recovery, item) && !replay_item(recovery, item))
			recovery->damaged++;
	}
}

/* What was refused doesn't count, also when its segment is emptied. */
static void
cut_voids(struct recovery *recovery)
{
	for (size_t i = 0; i < recovery->void_count; i++) {
		struct segment *segment =
		    journal_find_sequence(recovery->journal, recovery->voids[i].sequence);

		if (segment != NULL)
			segment->voided = true;
		if (segment != NULL && recovery->voids[i].offset >= SEGMENT_DATA &&
		    segment->end > recovery->voids[i].offset)
			segment->end = recovery->voids[i].offset;
		else if (segment != NULL && recovery->voids[i].offset < SEGMENT_DATA)
			segment->end = SEGMENT_DATA;
	}
}

/* Free segments of another size than new ones are of no use. */
static void
remove_odd(struct journal *journal)
{
	for (size_t i = 0; i < journal->segment_count; i++) {
		struct segment *segment = journal->segments[i];

		if (segment->state != SEGMENT_EMPTY ||
		    segment->size == journal_segment_size(journal))
			continue;
		if (unlinkat(journal->spool->segments_fd, segment->name, 0) == -1)
			log_warning(
			    "spool: can't remove segment %s: %s", segment->name, strerror(errno));
		segment_free(segment);
		journal->segments[i] = NULL;
	}
}

/* A segment needs only what is still there. */
static void
prune_needs(struct journal *journal)
{
	for (size_t i = 0; i < journal->segment_count; i++) {
		struct segment *segment = journal->segments[i];

		for (size_t k = segment == NULL ? 0 : segment->need_count; k > 0; k--) {
			if (!journal_has_object(journal, segment->needs[k - 1]))
				segment_drop_need(segment, segment->needs[k - 1]);
		}
	}
}

enum journal_open_result
journal_recover(struct journal *journal)
{
	struct recovery *recovery = calloc(1, sizeof(*recovery));
	enum journal_open_result result;

	if (recovery == NULL)
		fatalx("out of memory");
	recovery->journal = journal;
	result = scan(recovery);
	free(recovery->data);
	if (result == JOURNAL_OPENED) {
		cut_voids(recovery);
		prune_needs(journal);
		replay(recovery);
		journal->damaged = recovery->damaged > 0;
		remove_odd(journal);
	}
	free(recovery->items);
	free(recovery->voids);
	free(recovery);
	return result;
}
