/*
 * The list of jobs: all in the order in which they began, and by message in a hash table that grows.
 */
#include <stdlib.h>

#include <bsd/stdlib.h>
#include <event2/event.h>

#include "common/clock.h"
#include "common/log.h"
#include "queue/bounce.h"
#include "queue/bounce_jobs.h"
#include "queue/sign.h"

#define BUCKETS     1024 /* at first */
#define JOBS_MAX    4096 /* beyond which, or with so many members, others wait */
#define TOLD_MAX    8192 /* members of all jobs */
#define MEMBERS_MAX 1000 /* of one DSN; more make another */

const char *
dsn_kind_word(enum dsn_kind kind)
{
	switch (kind) {
	case DSN_FAILED:
		return "failed";
	case DSN_DELAYED:
		return "delayed";
	case DSN_RELAYED:
		return "relayed";
	case DSN_HELD:
		return "held";
	case DSN_DELIVERED:
		break;
	}
	return "delivered";
}

static void
timer_event(int fd, short what, void *arg)
{
	(void)fd;
	(void)what;
	bounce_tick(arg);
}

void
bounce_open(struct queue *queue)
{
	queue->bounces = calloc(1, sizeof(*queue->bounces));
	if (queue->bounces == NULL)
		fatalx("out of memory");
	queue->bounces->bucket_count = BUCKETS;
	queue->bounces->buckets = calloc(BUCKETS, sizeof(struct job *));
	queue->bounces->timer = evtimer_new(queue->base, timer_event, queue);
	if (queue->bounces->buckets == NULL || queue->bounces->timer == NULL ||
	    event_priority_set(queue->bounces->timer, 0) == -1)
		fatalx("out of memory");
}

/* Ids are random bits already. */
struct job **
bounce_bucket(const struct bounces *bounces, uint32_t message_id)
{
	return &bounces->buckets[message_id & (bounces->bucket_count - 1)];
}

static void
put_into_bucket(struct bounces *bounces, struct job *job)
{
	struct job **bucket = bounce_bucket(bounces, job->message_id);

	job->hash_next = *bucket;
	*bucket = job;
}

/* Without memory the chains get longer, that is all. */
static void
grow_buckets(struct bounces *bounces)
{
	struct job **larger = calloc(2 * bounces->bucket_count, sizeof(struct job *));

	if (larger == NULL)
		return;
	free(bounces->buckets);
	bounces->buckets = larger;
	bounces->bucket_count *= 2;
	for (struct job *job = bounces->first; job != NULL; job = job->next)
		put_into_bucket(bounces, job);
}

void
job_free(struct queue *queue, struct job *job)
{
	struct bounces *bounces = queue->bounces;
	struct job **at = bounce_bucket(bounces, job->message_id);

	while (*at != job)
		at = &(*at)->hash_next;
	*at = job->hash_next;
	bounces->job_count--;
	bounces->member_count -= job->member_count;
	if (job->previous != NULL)
		job->previous->next = job->next;
	else
		bounces->first = job->next;
	if (job->next != NULL)
		job->next->previous = job->previous;
	else
		bounces->last = job->previous;
	if (job->state != JOB_COLLECTING)
		bounces->active--;
	sign_cancel(queue, &job->signing);
	buf_free(&job->text);
	free(job->members);
	free(job->targets);
	free(job);
}

void
bounce_close(struct queue *queue)
{
	while (queue->bounces->first != NULL)
		job_free(queue, queue->bounces->first);
	event_free(queue->bounces->timer);
	free(queue->bounces->buckets);
	free(queue->bounces);
	queue->bounces = NULL;
}

void
job_wake(struct queue *queue, int ms)
{
	struct timeval after = { ms / 1000, ms % 1000 * 1000 };

	if (!evtimer_pending(queue->bounces->timer, NULL))
		evtimer_add(queue->bounces->timer, &after);
}

static struct job *
job_find(struct queue *queue, uint32_t message_id, enum dsn_kind kind)
{
	struct bounces *bounces = queue->bounces;
	struct job *job;

	for (job = *bounce_bucket(bounces, message_id); job != NULL; job = job->hash_next) {
		if (job->message_id == message_id && job->kind == kind && !job->closed)
			return job;
	}
	job = calloc(1, sizeof(*job));
	if (job == NULL)
		fatalx("out of memory");
	job->message_id = message_id;
	job->kind = kind;
	job->due_ms = clock_monotonic_ms() + COLLECT_MS;
	job->previous = bounces->last;
	if (bounces->last != NULL)
		bounces->last->next = job;
	else
		bounces->first = job;
	bounces->last = job;
	put_into_bucket(bounces, job);
	if (++bounces->job_count > bounces->bucket_count)
		grow_buckets(bounces);
	return job;
}

bool
bounce_is_full(const struct queue *queue)
{
	return queue->bounces->job_count >= JOBS_MAX || queue->bounces->member_count >= TOLD_MAX;
}

void
job_add_member(
    struct queue *queue, struct entry *entry, enum dsn_kind kind, const struct member *member)
{
	struct job *job = job_find(queue, entry_message(entry)->id, kind);
	struct member *members;
	size_t capacity;

	if (job->member_count == job->member_capacity) {
		capacity = job->member_capacity == 0 ? 2 : 2 * job->member_capacity;
		members = reallocarray(job->members, capacity, sizeof(*members));
		if (members == NULL)
			fatalx("out of memory");
		job->members = members;
		job->member_capacity = capacity;
	}
	job->members[job->member_count++] = *member;
	queue->bounces->member_count++;
	if (job->member_count == MEMBERS_MAX)
		job->closed = true;
	job_wake(queue, COLLECT_MS);
}
