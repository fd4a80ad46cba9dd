/*
 * All jobs: each one DSN in the making.
 *
 * Who owns a job: the list of `struct bounces`, from job_add_member() to job_free(). The others
 * lend it:
 *
 *	entry (BOUNCING) --by id-- member --in-- job --by id-- message
 *	                                         job --owner of-- question (JOB_ASKING: queue.c's
 *	                                                          pending, which answers or fails it)
 *	                                         job --owner of-- commit_item (JOB_COMMITTING: commit.c,
 *	                                                          which calls committed())
 *
 * No pointer leads from an entry or a message to a job, nor back: either side may go first. An entry
 * that goes leaves its job by bounce_forget(). A job is freed only while neither the directory nor
 * commit.c has it.
 */
#ifndef QUEUE_BOUNCE_JOBS_H
#define QUEUE_BOUNCE_JOBS_H

#include "queue/bounce_job.h"

#define COLLECT_MS 100 /* that a job waits for more members */
#define TOLD_COUNT 32  /* senders of whose held mail the postmaster was told last */

struct told {
	char sender[ADDRESS_TEXT_MAX + 1];
	int64_t told_ms;
	bool is_used;
};

struct bounces {
	struct job *first;
	struct job *last;
	struct job **buckets; /* by message */
	size_t bucket_count;
	size_t job_count;
	size_t member_count; /* of all jobs */
	unsigned active;
	struct event *timer;
	struct told told[TOLD_COUNT];
	unsigned told_next;
};

/* "failed", "delayed", … */
const char *dsn_kind_word(enum dsn_kind);
/* The chain, by hash_next, that a message's jobs are in, among others. */
struct job **bounce_bucket(const struct bounces *, uint32_t message_id);
/* Puts it into the job that collects this kind for the entry's message, or a new one. */
void job_add_member(struct queue *, struct entry *, enum dsn_kind, const struct member *);
void job_free(struct queue *, struct job *);
/* The next look at all jobs is in `ms` at the latest. */
void job_wake(struct queue *, int ms);

#endif
