/*
 * A job of bounce_jobs.h, one DSN in the making, and the DSN made of it: its text, and the head of its
 * record.
 */
#ifndef QUEUE_BOUNCE_JOB_H
#define QUEUE_BOUNCE_JOB_H

#include "queue/dsn.h"
#include "queue/queue.h"
#include "queue/sign.h"

enum job_state {
	JOB_COLLECTING, /* until due_ms; or put off until then */
	JOB_ASKING,
	JOB_SIGNING, /* the keeper makes the DSN's signature, or doesn't in time */
	JOB_COMMITTING,
};

struct member {
	uint64_t envelope_id;
	enum state_change change;
	uint32_t warnings; /* DSN_DELAYED */
	struct reply reply;
	char host[HOSTNAME_MAX + 1]; /* that said so, or "" */
};

struct job {
	struct question question; /* first: the directory's answer finds the job by it */
	struct job *next;         /* all jobs, in order */
	struct job *previous;
	struct job *hash_next;
	enum job_state state;
	uint32_t message_id;
	enum dsn_kind kind;
	bool to_postmaster;
	bool closed; /* takes no more members */
	int64_t due_ms;
	unsigned failures;
	struct member *members;
	size_t member_count;
	size_t member_capacity;
	struct address to;
	struct ipc_target *targets;
	size_t target_count;
	bool bad_target;      /* one that can't be understood */
	bool too_many;        /* more than TARGETS_MAX */
	unsigned odd_answers; /* about job->to, in a row */
	uint32_t dsn_id;
	struct buf text; /* the DSN, from JOB_SIGNING until it is staged */
	struct signing signing;
};

/* What a job tells of, as it is recorded now. */
struct report {
	struct job *job;
	struct transaction transaction;
	struct envelope *envelopes; /* by member */
	bool *found;
	bool failed_to_postmaster;
	struct address postmaster;
};

/* It tells of what isn't over: its envelopes live on. */
static inline bool
job_is_notice(const struct job *job)
{
	return job->kind == DSN_DELAYED || job->kind == DSN_HELD;
}

/* False when it can't be read, or nothing is left of it; unloaded in any case. */
bool report_load(struct queue *, struct job *, struct report *);
void report_unload(struct report *);
/* Appends the DSN. `full`: with the whole message. */
void report_build(struct queue *, struct report *, struct buf *text, bool full);
/* Appends its record's head: the DSN's transaction, an envelope for each of the job's targets, and
 * the end of the envelopes that it reports, as effects. */
void report_encode_head(
    struct queue *, const struct report *, const struct buf *text, struct buf *head);
/* Whom else to tell. */
void report_get_postmaster(const struct queue *, struct address *);

#endif
