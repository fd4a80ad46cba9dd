/*
 * A binary heap of waiting envelopes by due time, each of which knows its place; a hash of lines by
 * destination and action; and for each line with work a circle of lanes, one a sender, found
 * through a hash by line and sender. Lanes live only while they hold something and are kept for
 * reuse.
 */
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "common/log.h"
#include "queue/retry.h"
#include "queue/scheduler.h"

#define LANES_KEPT 1024

struct lane {
	struct lane *hash_next;
	struct lane *next; /* in the line's circle */
	struct lane *previous;
	struct line *line;
	struct sender *sender; /* NULL: the line's `again` */
	struct entry *first;
	struct entry *last;
};

struct scheduler {
	struct entry **heap; /* [0] unused */
	size_t heap_length;
	size_t heap_capacity;
	struct line **lines;
	size_t line_buckets;
	size_t line_count;
	struct lane **lanes;
	size_t lane_buckets;
	size_t lane_count;
	struct lane *spare;
	size_t spare_count;
	size_t waiting; /* in lanes */
	size_t waiting_relay;
	void (*gone)(struct line *, void *arg);
	void *gone_arg;
};

struct scheduler *
scheduler_new(void)
{
	struct scheduler *scheduler = calloc(1, sizeof(*scheduler));

	if (scheduler == NULL)
		return NULL;
	scheduler->line_buckets = scheduler->lane_buckets = 1024;
	scheduler->lines = calloc(scheduler->line_buckets, sizeof(struct line *));
	scheduler->lanes = calloc(scheduler->lane_buckets, sizeof(struct lane *));
	if (scheduler->lines == NULL || scheduler->lanes == NULL) {
		free(scheduler->lines);
		free(scheduler->lanes);
		free(scheduler);
		return NULL;
	}
	return scheduler;
}

/* What was decided about an envelope; `line` isn't ended. */
static bool
trace_begin(struct log_line *line, const char *event, struct entry *entry)
{
	if (!log_trace_begin(line, LOG_TRACE_SCHEDULER, event))
		return false;
	log_hex64(line, "envelope", entry_id(entry));
	if (entry->line != NULL) {
		log_text(line, "to", entry->line->text);
		log_text(line, "action", entry->line->action);
	}
	return true;
}

static void
free_line(struct scheduler *scheduler, struct line *line)
{
	struct line **at = &scheduler->lines[line->hash & (scheduler->line_buckets - 1)];

	while (*at != line)
		at = &(*at)->next;
	*at = line->next;
	scheduler->line_count--;
	ring_remove(line);
	if (scheduler->gone != NULL)
		scheduler->gone(line, scheduler->gone_arg);
	free(line->mailbox);
	free(line);
}

void
scheduler_free(struct scheduler *scheduler)
{
	struct lane *lane;

	if (scheduler == NULL)
		return;
	for (size_t i = 0; i < scheduler->line_buckets; i++) {
		while (scheduler->lines[i] != NULL)
			free_line(scheduler, scheduler->lines[i]);
	}
	while ((lane = scheduler->spare) != NULL) {
		scheduler->spare = lane->next;
		free(lane);
	}
	free(scheduler->lines);
	free(scheduler->lanes);
	free(scheduler->heap);
	free(scheduler);
}

void
scheduler_on_line_gone(
    struct scheduler *scheduler, void (*gone)(struct line *, void *arg), void *arg)
{
	scheduler->gone = gone;
	scheduler->gone_arg = arg;
}

static uint32_t
hash_bytes(const char *bytes, size_t length)
{
	uint32_t hash = 2166136261U; /* FNV-1a */

	for (size_t i = 0; i < length; i++)
		hash = (hash ^ (unsigned char)bytes[i]) * 16777619U;
	return hash;
}

static void
grow_lines(struct scheduler *scheduler)
{
	size_t old_count = scheduler->line_buckets, bucket;
	struct line **old = scheduler->lines, *line, *next;
	struct line **larger = calloc(2 * old_count, sizeof(struct line *));

	if (larger == NULL)
		return;
	scheduler->lines = larger;
	scheduler->line_buckets = 2 * old_count;
	for (size_t i = 0; i < old_count; i++) {
		for (line = old[i]; line != NULL; line = next) {
			next = line->next;
			bucket = line->hash & (scheduler->line_buckets - 1);
			line->next = larger[bucket];
			larger[bucket] = line;
		}
	}
	free(old);
}

bool
scheduler_attach(struct scheduler *scheduler, struct entry *entry, enum envelope_kind kind,
    const struct address *dest, const char *action)
{
	char text[ADDRESS_TEXT_MAX + 1];

	if (kind == ENVELOPE_RELAY)
		strlcpy(text, dest->domain, sizeof(text));
	else
		index_sender_text(dest, text, sizeof(text));
	return scheduler_attach_text(scheduler, entry, kind, text, action);
}

/* "destination", NUL, "action", NUL: its length; 0 when it is too long. */
#define LINE_KEY_MAX (ADDRESS_TEXT_MAX + 1 + ACTION_NAME_MAX + 1)

static size_t
line_key(char text[LINE_KEY_MAX], const char *destination, const char *action)
{
	size_t length;

	strlcpy(text, destination, ADDRESS_TEXT_MAX + 1);
	length = strlen(text) + 1;
	length += strlcpy(text + length, action, ACTION_NAME_MAX + 1) + 1;
	return length > LINE_KEY_MAX ? 0 : length;
}

static struct line *
find_line(
    const struct scheduler *scheduler, enum envelope_kind kind, const char *text, uint32_t hash)
{
	struct line *line = scheduler->lines[hash & (scheduler->line_buckets - 1)];

	for (; line != NULL; line = line->next) {
		if (line->hash == hash && line->kind == kind && strcmp(line->text, text) == 0 &&
		    strcmp(line->action, text + strlen(text) + 1) == 0)
			break;
	}
	return line;
}

struct line *
scheduler_find_line(struct scheduler *scheduler, enum envelope_kind kind, const char *destination,
    const char *action)
{
	char text[LINE_KEY_MAX];
	size_t length = line_key(text, destination, action);

	return length == 0
	    ? NULL
	    : find_line(scheduler, kind, text, hash_bytes(text, length) ^ (uint32_t)kind);
}

bool
scheduler_attach_text(struct scheduler *scheduler, struct entry *entry, enum envelope_kind kind,
    const char *destination, const char *action)
{
	char text[LINE_KEY_MAX];
	size_t length = line_key(text, destination, action), bucket;
	struct line *line;
	uint32_t hash;

	if (length == 0)
		return false;
	hash = hash_bytes(text, length) ^ (uint32_t)kind;
	line = find_line(scheduler, kind, text, hash);
	if (line == NULL) {
		line = calloc(1, sizeof(*line) + length);
		if (line == NULL)
			return false;
		memcpy(line->text, text, length);
		line->action = line->text + strlen(text) + 1;
		line->hash = hash;
		line->kind = kind;
		line->window = kind == ENVELOPE_RELAY ? RELAY_WINDOW_FIRST : LINE_WINDOW_FIRST;
		if (++scheduler->line_count > scheduler->line_buckets)
			grow_lines(scheduler);
		bucket = hash & (scheduler->line_buckets - 1);
		line->next = scheduler->lines[bucket];
		scheduler->lines[bucket] = line;
	}
	line->references++;
	entry->line = line;
	return true;
}

void
scheduler_detach(struct scheduler *scheduler, struct entry *entry)
{
	scheduler_unset(scheduler, entry);
	if (entry->line != NULL)
		entry->line->references--;
	entry->line = NULL;
}

/* The heap. */

static void
place(struct scheduler *scheduler, size_t at, struct entry *entry)
{
	scheduler->heap[at] = entry;
	entry->heap = (uint32_t)at;
}

static void
sift_up(struct scheduler *scheduler, size_t at, struct entry *entry)
{
	for (; at > 1 && scheduler->heap[at / 2]->due > entry->due; at /= 2)
		place(scheduler, at, scheduler->heap[at / 2]);
	place(scheduler, at, entry);
}

static void
sift_down(struct scheduler *scheduler, size_t at, struct entry *entry)
{
	size_t child;

	for (; (child = 2 * at) <= scheduler->heap_length; at = child) {
		if (child < scheduler->heap_length &&
		    scheduler->heap[child + 1]->due < scheduler->heap[child]->due)
			child++;
		if (scheduler->heap[child]->due >= entry->due)
			break;
		place(scheduler, at, scheduler->heap[child]);
	}
	place(scheduler, at, entry);
}

static void
heap_remove(struct scheduler *scheduler, struct entry *entry)
{
	size_t at = entry->heap;
	struct entry *last = scheduler->heap[scheduler->heap_length--];

	entry->heap = 0;
	if (last == entry)
		return;
	if (last->due < entry->due)
		sift_up(scheduler, at, last);
	else
		sift_down(scheduler, at, last);
}

static void
heap_insert(struct scheduler *scheduler, struct entry *entry, uint32_t due)
{
	struct entry **heap;
	size_t capacity;

	if (scheduler->heap_length + 2 > scheduler->heap_capacity) {
		capacity = scheduler->heap_capacity == 0
		    ? 1024
		    : scheduler->heap_capacity + scheduler->heap_capacity / 2;
		heap = reallocarray(scheduler->heap, capacity, sizeof(struct entry *));
		if (heap == NULL)
			fatalx("out of memory");
		scheduler->heap = heap;
		scheduler->heap_capacity = capacity;
	}
	entry->due = due;
	scheduler->heap_length++;
	sift_up(scheduler, scheduler->heap_length, entry);
}

void
scheduler_watch(struct scheduler *scheduler, struct entry *entry, uint32_t due)
{
	if (entry->heap != 0)
		heap_remove(scheduler, entry);
	heap_insert(scheduler, entry, due);
}

void
scheduler_wait(struct scheduler *scheduler, struct entry *entry, uint32_t due)
{
	struct log_line text;

	scheduler_unset(scheduler, entry);
	heap_insert(scheduler, entry, due);
	entry->state = ENTRY_WAITING;
	if (trace_begin(&text, "scheduler-waits", entry)) {
		log_number(&text, "seconds", (int64_t)due - (int64_t)retry_now());
		log_number(&text, "tries", entry->tries);
		log_end(&text);
	}
}

struct entry *
scheduler_take_due(struct scheduler *scheduler, uint32_t now)
{
	struct entry *entry;
	struct log_line text;

	if (scheduler->heap_length == 0 || scheduler->heap[1]->due > now)
		return NULL;
	entry = scheduler->heap[1];
	heap_remove(scheduler, entry);
	if (trace_begin(&text, "scheduler-due", entry))
		log_end(&text);
	return entry;
}

uint32_t
scheduler_next_due(const struct scheduler *scheduler)
{
	return scheduler->heap_length == 0 ? RETRY_NEVER : scheduler->heap[1]->due;
}

/* Lanes. */

static struct lane **
lane_bucket(const struct scheduler *scheduler, const struct line *line, const struct sender *sender)
{
	uintptr_t hash = ((uintptr_t)line >> 4) * 31 + ((uintptr_t)sender >> 4);

	hash ^= hash >> 17;
	return &scheduler->lanes[hash & (scheduler->lane_buckets - 1)];
}

static void
grow_lanes(struct scheduler *scheduler)
{
	size_t old_count = scheduler->lane_buckets;
	struct lane **old = scheduler->lanes, *lane, *next, **bucket;
	struct lane **larger = calloc(2 * old_count, sizeof(struct lane *));

	if (larger == NULL)
		return;
	scheduler->lanes = larger;
	scheduler->lane_buckets = 2 * old_count;
	for (size_t i = 0; i < old_count; i++) {
		for (lane = old[i]; lane != NULL; lane = next) {
			next = lane->hash_next;
			bucket = lane_bucket(scheduler, lane->line, lane->sender);
			lane->hash_next = *bucket;
			*bucket = lane;
		}
	}
	free(old);
}

static struct lane *
take_lane(struct scheduler *scheduler, struct line *line, struct sender *sender)
{
	struct lane **bucket = lane_bucket(scheduler, line, sender), *lane;

	for (lane = *bucket; lane != NULL; lane = lane->hash_next) {
		if (lane->line == line && lane->sender == sender)
			return lane;
	}
	if (scheduler->spare != NULL) {
		lane = scheduler->spare;
		scheduler->spare = lane->next;
		scheduler->spare_count--;
	} else if ((lane = malloc(sizeof(*lane))) == NULL)
		fatalx("out of memory");
	memset(lane, 0, sizeof(*lane));
	lane->line = line;
	lane->sender = sender;
	if (++scheduler->lane_count > scheduler->lane_buckets) {
		grow_lanes(scheduler);
		bucket = lane_bucket(scheduler, line, sender);
	}
	lane->hash_next = *bucket;
	*bucket = lane;
	if (sender == NULL)
		line->again = lane;
	/* Last in the circle: before the next to be served. */
	if (line->lanes == NULL)
		line->lanes = lane->next = lane->previous = lane;
	else {
		lane->next = line->lanes;
		lane->previous = line->lanes->previous;
		lane->previous->next = lane;
		lane->next->previous = lane;
	}
	return lane;
}

static void
drop_lane(struct scheduler *scheduler, struct lane *lane)
{
	struct lane **at = lane_bucket(scheduler, lane->line, lane->sender);

	while (*at != lane)
		at = &(*at)->hash_next;
	*at = lane->hash_next;
	scheduler->lane_count--;
	if (lane->line->again == lane)
		lane->line->again = NULL;
	if (lane->next == lane)
		lane->line->lanes = NULL;
	else {
		lane->previous->next = lane->next;
		lane->next->previous = lane->previous;
		if (lane->line->lanes == lane)
			lane->line->lanes = lane->next;
	}
	if (scheduler->spare_count < LANES_KEPT) {
		lane->next = scheduler->spare;
		scheduler->spare = lane;
		scheduler->spare_count++;
	} else
		free(lane);
}

/* Half of it may be in the mailbox: it goes there before anything is put behind that. */
static bool
goes_first(const struct entry *entry)
{
	return entry->maybe_delivered && entry->line->kind != ENVELOPE_RELAY &&
	    !envelope_is_pipe(entry->line->kind);
}

void
scheduler_ready(struct scheduler *scheduler, struct entry *entry)
{
	struct lane *lane;
	struct log_line text;

	scheduler_unset(scheduler, entry);
	lane = take_lane(
	    scheduler, entry->line, goes_first(entry) ? NULL : entry_message(entry)->sender);
	entry->state = ENTRY_READY;
	entry->lane = lane;
	entry->next = NULL;
	entry->previous = lane->last;
	if (lane->last != NULL)
		lane->last->next = entry;
	else
		lane->first = entry;
	lane->last = entry;
	entry->line->waiting++;
	scheduler->waiting++;
	if (entry->line->kind == ENVELOPE_RELAY)
		scheduler->waiting_relay++;
	if (trace_begin(&text, "scheduler-ready", entry)) {
		log_number(&text, "waiting", entry->line->waiting);
		log_number(&text, "in_flight", entry->line->in_flight);
		log_number(&text, "window", entry->line->window);
		log_end(&text);
	}
}

static void
leave_lane(struct scheduler *scheduler, struct entry *entry)
{
	struct lane *lane = entry->lane;

	if (entry->previous != NULL)
		entry->previous->next = entry->next;
	else
		lane->first = entry->next;
	if (entry->next != NULL)
		entry->next->previous = entry->previous;
	else
		lane->last = entry->previous;
	entry->next = entry->previous = NULL;
	entry->lane = NULL;
	lane->line->waiting--;
	scheduler->waiting--;
	if (lane->line->kind == ENVELOPE_RELAY)
		scheduler->waiting_relay--;
	if (lane->first == NULL)
		drop_lane(scheduler, lane);
}

void
scheduler_unset(struct scheduler *scheduler, struct entry *entry)
{
	if (entry->heap != 0)
		heap_remove(scheduler, entry);
	if (entry->lane != NULL)
		leave_lane(scheduler, entry);
}

bool
line_may_run(const struct line *line)
{
	return line->waiting > 0 && line->in_flight < line->window;
}

static struct lane *
next_lane(const struct line *line)
{
	return line->again != NULL ? line->again : line->lanes;
}

struct entry *
scheduler_first(const struct line *line)
{
	return line->lanes == NULL ? NULL : next_lane(line)->first;
}

struct entry *
scheduler_take_any(struct scheduler *scheduler, struct line *line)
{
	struct lane *lane = next_lane(line);
	struct entry *entry;

	if (lane == NULL)
		return NULL;
	entry = lane->first;
	if (lane == line->lanes)
		line->lanes = lane->next;
	scheduler_unset(scheduler, entry);
	return entry;
}

struct entry *
scheduler_take(struct scheduler *scheduler, struct line *line)
{
	struct entry *entry;
	struct log_line text;

	if (!line_may_run(line))
		return NULL;
	entry = scheduler_take_any(scheduler, line);
	entry->state = ENTRY_INFLIGHT;
	entry->next_try = retry_now();
	line->in_flight++;
	if (trace_begin(&text, "scheduler-try", entry)) {
		log_number(&text, "waiting", line->waiting);
		log_number(&text, "in_flight", line->in_flight);
		log_number(&text, "window", line->window);
		log_end(&text);
	}
	return entry;
}

void
scheduler_take_along(struct scheduler *scheduler, struct entry *entry)
{
	struct log_line text;

	scheduler_unset(scheduler, entry);
	entry->state = ENTRY_INFLIGHT;
	entry->next_try = retry_now();
	if (trace_begin(&text, "scheduler-try", entry)) {
		log_text(&text, "note", "together with another of its message");
		log_end(&text);
	}
}

void
scheduler_done(struct line *line, enum line_result result)
{
	uint32_t most = line->kind == ENVELOPE_RELAY ? RELAY_WINDOW_MAX : LINE_WINDOW_MAX;
	struct log_line text;

	line->in_flight--;
	switch (result) {
	case LINE_SUCCESS:
		if (line->window < most)
			line->window++;
		break;
	case LINE_FAILURE:
		line->window = line->window > 1 ? line->window / 2 : 1;
		break;
	case LINE_NEUTRAL:
		break;
	}
	if (!log_trace_begin(&text, LOG_TRACE_SCHEDULER, "scheduler-ended"))
		return;
	log_text(&text, "to", line->text);
	log_text(&text, "action", line->action);
	log_text(&text, "result",
	    result == LINE_SUCCESS       ? "success"
	        : result == LINE_FAILURE ? "failure"
	                                 : "neither");
	log_number(&text, "waiting", line->waiting);
	log_number(&text, "in_flight", line->in_flight);
	log_number(&text, "window", line->window);
	log_end(&text);
}

/* Rings. */

void
ring_add(struct ring *ring, struct line *line)
{
	if (line->ring != NULL)
		return;
	line->ring = ring;
	if (ring->head == NULL)
		ring->head = line->ring_next = line->ring_previous = line;
	else {
		line->ring_next = ring->head;
		line->ring_previous = ring->head->ring_previous;
		line->ring_previous->ring_next = line;
		line->ring_next->ring_previous = line;
	}
}

void
ring_remove(struct line *line)
{
	if (line->ring == NULL)
		return;
	if (line->ring_next == line)
		line->ring->head = NULL;
	else {
		line->ring_previous->ring_next = line->ring_next;
		line->ring_next->ring_previous = line->ring_previous;
		if (line->ring->head == line)
			line->ring->head = line->ring_next;
	}
	line->ring = NULL;
	line->ring_next = line->ring_previous = NULL;
}

struct line *
ring_take(struct ring *ring)
{
	struct line *line = ring->head;

	if (line != NULL)
		ring_remove(line);
	return line;
}

bool
scheduler_some_lines(
    struct scheduler *scheduler, size_t *part, bool (*each)(struct line *, void *arg), void *arg)
{
	struct line *line, *next;
	bool enough = false;

	while (*part < scheduler->line_buckets && !enough) {
		for (line = scheduler->lines[(*part)++]; line != NULL; line = next) {
			next = line->next;
			if (!each(line, arg))
				enough = true;
		}
	}
	return *part < scheduler->line_buckets;
}

void
scheduler_each_line(struct scheduler *scheduler, void (*each)(struct line *, void *arg), void *arg)
{
	struct line *line, *next;

	for (size_t i = 0; i < scheduler->line_buckets; i++) {
		for (line = scheduler->lines[i]; line != NULL; line = next) {
			next = line->next;
			each(line, arg);
		}
	}
}

void
scheduler_sweep(struct scheduler *scheduler, int64_t now_ms)
{
	struct line *line, *next;

	for (size_t i = 0; i < scheduler->line_buckets; i++) {
		for (line = scheduler->lines[i]; line != NULL; line = next) {
			next = line->next;
			if (line->in_flight > 0 || line->waiting > 0 ||
			    line->route == ROUTE_ASKED || line->route_ms >= now_ms)
				continue;
			if (line->references == 0)
				free_line(scheduler, line);
			else if (line->mailbox != NULL) {
				/* Its mail waits; what was known of it isn't worth 3 KiB. */
				free(line->mailbox);
				line->mailbox = NULL;
				line->route = ROUTE_UNKNOWN;
			}
		}
	}
}

size_t
scheduler_waiting(const struct scheduler *scheduler)
{
	return scheduler->waiting;
}

size_t
scheduler_waiting_relay(const struct scheduler *scheduler)
{
	return scheduler->waiting_relay;
}
