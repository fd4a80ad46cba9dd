/*
 * Waiting requests: a hash by id to find them, a heap by deadline to time them out, a list by age
 * to fail them all in order. One timer serves all; it is set for the earliest deadline known when
 * it was set, so that the usual request, which is answered long before, never touches it.
 */
#include <sys/queue.h>
#include <stdbool.h>
#include <stdlib.h>

#include <event2/event.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/pending.h"

struct request {
	TAILQ_ENTRY(request) age;
	struct request *next; /* in its bucket */
	void *owner;
	int64_t deadline;  /* monotonic ms */
	uint64_t sequence; /* never repeats */
	size_t heap_index;
	uint32_t id;
};

struct pending {
	struct event *timer;
	pending_failed_fn failed;
	void *arg;
	TAILQ_HEAD(, request) by_age;
	struct request **buckets; /* a power of two of them, by the id's lowest bits */
	size_t bucket_count;
	struct request **heap;
	size_t heap_capacity;
	size_t count;
	uint64_t sequence;
	uint32_t last_id;
	int64_t timer_set_for; /* 0: not set */
};

#define BUCKETS_FIRST 64

static void on_timer(evutil_socket_t, short, void *);

struct pending *
pending_new(struct event_base *base, pending_failed_fn failed, void *arg)
{
	struct pending *pending = calloc(1, sizeof(*pending));

	if (pending == NULL)
		fatal("pending");
	pending->failed = failed;
	pending->arg = arg;
	TAILQ_INIT(&pending->by_age);
	pending->bucket_count = BUCKETS_FIRST;
	pending->buckets = calloc(pending->bucket_count, sizeof(*pending->buckets));
	pending->timer = evtimer_new(base, on_timer, pending);
	/* Of the high priority: deadlines hold while input is steady. */
	if (pending->buckets == NULL || pending->timer == NULL ||
	    event_priority_set(pending->timer, 0) != 0)
		fatal("pending");
	return pending;
}

void
pending_free(struct pending *pending)
{
	struct request *request;

	if (pending == NULL)
		return;
	while ((request = TAILQ_FIRST(&pending->by_age)) != NULL) {
		TAILQ_REMOVE(&pending->by_age, request, age);
		free(request);
	}
	event_free(pending->timer);
	free(pending->buckets);
	free(pending->heap);
	free(pending);
}

static void
heap_place(struct pending *pending, size_t index, struct request *request)
{
	pending->heap[index] = request;
	request->heap_index = index;
}

static void
heap_sift_up(struct pending *pending, size_t index, struct request *request)
{
	while (index > 0 && pending->heap[(index - 1) / 2]->deadline > request->deadline) {
		heap_place(pending, index, pending->heap[(index - 1) / 2]);
		index = (index - 1) / 2;
	}
	heap_place(pending, index, request);
}

static void
heap_sift_down(struct pending *pending, size_t index, size_t count, struct request *request)
{
	size_t child;

	while ((child = 2 * index + 1) < count) {
		if (child + 1 < count &&
		    pending->heap[child + 1]->deadline < pending->heap[child]->deadline)
			child++;
		if (pending->heap[child]->deadline >= request->deadline)
			break;
		heap_place(pending, index, pending->heap[child]);
		index = child;
	}
	heap_place(pending, index, request);
}

static struct request **
find(struct pending *pending, uint32_t id)
{
	struct request **link = &pending->buckets[id & (pending->bucket_count - 1)];

	while (*link != NULL && (*link)->id != id)
		link = &(*link)->next;
	return link;
}

static void
grow(struct pending *pending)
{
	struct request **heap, **buckets, *request;
	size_t count;

	if (pending->count == pending->heap_capacity) {
		count = pending->heap_capacity == 0 ? BUCKETS_FIRST : pending->heap_capacity * 2;
		heap = reallocarray(pending->heap, count, sizeof(*heap));
		if (heap == NULL)
			fatal("pending");
		pending->heap = heap;
		pending->heap_capacity = count;
	}
	if (pending->count < pending->bucket_count)
		return;
	count = pending->bucket_count * 2;
	buckets = calloc(count, sizeof(struct request *));
	if (buckets == NULL)
		return; /* longer chains do as well */
	TAILQ_FOREACH(request, &pending->by_age, age)
	{
		request->next = buckets[request->id & (count - 1)];
		buckets[request->id & (count - 1)] = request;
	}
	free(pending->buckets);
	pending->buckets = buckets;
	pending->bucket_count = count;
}

static void
set_timer(struct pending *pending, int64_t deadline, int64_t now)
{
	int64_t wait = deadline > now ? deadline - now : 0;
	struct timeval delay = { .tv_sec = wait / 1000, .tv_usec = (wait % 1000) * 1000 };

	pending->timer_set_for = deadline;
	if (event_add(pending->timer, &delay) != 0)
		fatalx("pending: no timer");
}

uint32_t
pending_add(struct pending *pending, void *owner, unsigned deadline_ms)
{
	struct request *request = calloc(1, sizeof(*request));
	int64_t now = clock_monotonic_ms();
	struct request **link;

	if (request == NULL)
		fatal("pending");
	grow(pending);
	do {
		request->id = ++pending->last_id;
	} while (request->id == 0 || *find(pending, request->id) != NULL);
	request->owner = owner;
	request->deadline = now + deadline_ms;
	request->sequence = ++pending->sequence;
	link = &pending->buckets[request->id & (pending->bucket_count - 1)];
	request->next = *link;
	*link = request;
	TAILQ_INSERT_TAIL(&pending->by_age, request, age);
	heap_sift_up(pending, pending->count, request);
	pending->count++;
	if (pending->timer_set_for == 0 || request->deadline < pending->timer_set_for)
		set_timer(pending, request->deadline, now);
	return request->id;
}

static void
remove_request(struct pending *pending, struct request **link)
{
	struct request *request = *link, *last;
	size_t index = request->heap_index;

	*link = request->next;
	TAILQ_REMOVE(&pending->by_age, request, age);
	pending->count--;
	last = pending->heap[pending->count];
	if (last != request) {
		if (last->deadline < request->deadline)
			heap_sift_up(pending, index, last);
		else
			heap_sift_down(pending, index, pending->count, last);
	}
	free(request);
}

void *
pending_get(struct pending *pending, uint32_t id)
{
	struct request *request = *find(pending, id);

	return request == NULL ? NULL : request->owner;
}

void *
pending_take(struct pending *pending, uint32_t id)
{
	struct request **link = find(pending, id);
	void *owner;

	if (*link == NULL)
		return NULL;
	owner = (*link)->owner;
	remove_request(pending, link);
	return owner;
}

void
pending_cancel(struct pending *pending, uint32_t id)
{
	struct request **link = find(pending, id);

	if (*link != NULL)
		remove_request(pending, link);
}

static void
fail(struct pending *pending, struct request *request, const char *why)
{
	void *owner = request->owner;
	uint32_t id = request->id;

	remove_request(pending, find(pending, id));
	pending->failed(owner, id, why, pending->arg);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct pending *pending = arg;
	uint64_t newest = pending->sequence;
	int64_t now = clock_monotonic_ms();

	(void)fd;
	(void)what;
	pending->timer_set_for = 0;
	/* What the callbacks add with a deadline of 0 waits for the next turn. */
	while (pending->count > 0 && pending->heap[0]->deadline <= now &&
	    pending->heap[0]->sequence <= newest)
		fail(pending, pending->heap[0], "no answer in time");
	if (pending->count > 0)
		set_timer(pending, pending->heap[0]->deadline, now);
}

void
pending_fail_all(struct pending *pending, const char *why)
{
	uint64_t newest = pending->sequence;
	struct request *request;

	/* The callbacks may add, take and cancel others. */
	while ((request = TAILQ_FIRST(&pending->by_age)) != NULL && request->sequence <= newest)
		fail(pending, request, why);
}

size_t
pending_count(const struct pending *pending)
{
	return pending->count;
}
