/*
 * The directory's state and the parts that work on it:
 *
 *	directory.c          who connects, starting and stopping; recipients, mailboxes and logins
 *	directory_control.c  what control asks for: accounts, listings, explanations
 *	directory_relay.c    what the relay asks for, tells, and has to keep
 */
#ifndef LOOKUP_DIRECTORY_STATE_H
#define LOOKUP_DIRECTORY_STATE_H

#include <sys/queue.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/child_supervisor.h"
#include "common/imsg.h"
#include "lookup/accounts_admin.h"
#include "lookup/expand.h"
#include "lookup/tls_admin.h"

#define LISTENERS_MAX 256

struct event;
struct event_base;

/* A process that asks. */
struct peer {
	struct channel *channel; /* NULL: not connected */
	enum program program;
	bool paused;
	size_t job_count;
};

/* A recipient that waits for its mailbox's usage, or for what a .forward says. */
struct job {
	TAILQ_ENTRY(job) next;
	struct peer *peer; /* NULL: gone */
	uint32_t id;
	uint32_t frame_peer;
	bool is_explanation;
	struct ipc_rcpt rcpt;
	struct forward_set *forwards;
	struct expanded expanded;
};

struct listing {
	TAILQ_ENTRY(listing) next;
	uint32_t id;
	uint32_t frame_peer;
	bool is_tls;
	struct accounts_listing state;
	struct tls_listing tls; /* instead, of TLS results */
};

struct directory {
	struct event_base *base;
	struct child_supervisor supervisor;
	struct accounts *accounts;
	struct site *site;
	struct usage *usage;
	struct forwards *forwards;
	struct auth *auth;
	struct hourly *hourly;
	struct history *history;
	struct policies *policies;
	struct tls_sums *tls_sums;
	struct tls_sender *tls_sender;
	struct event *second;
	struct peer listeners[LISTENERS_MAX];
	struct peer queue;
	struct peer control;
	struct peer relay;
	struct peer access;
	struct buf payload; /* scratch of one frame */
	TAILQ_HEAD(, job) jobs;
	TAILQ_HEAD(, listing) listings;
	size_t listing_count;
	bool privileged;
	struct event *stopping; /* NULL: it isn't told to stop */
};

extern struct directory directory;

/* directory.c */

/* The scratch buffer, empty. */
struct buf *directory_payload(void);
/* What the queue keeps of earlier answers is out of date. */
void directory_forget(void);
/* A new one of this peer's; NULL when it has too many. */
struct job *directory_add_job(struct peer *, const struct imsg *, const struct ipc_rcpt *);
void directory_end_job(struct job *);
/* Ends the job of one that is expanded, once its mailbox has said whether it has room if it has a
 * quota. */
void directory_check_quota(struct job *);
/* What a user over the hourly limit is answered. */
void directory_refuse_hourly(struct reply *);

/* directory_control.c */

void directory_receive_account(struct peer *, const struct imsg *);
void directory_receive_explain(struct peer *, struct imsg *);
void directory_receive_scripts(struct peer *, const struct imsg *);
/* Goes on with an explanation, whose .forward files are known. */
void directory_explain(struct job *);
void directory_end_explanation(struct job *);
void directory_receive_trace(struct peer *, struct imsg *);
extern const struct history_calls directory_history_calls;
/* Gives portions of the listings in turn while the channel takes them. */
void directory_continue_listings(struct channel *, void *arg);
/* Control has gone. */
void directory_end_listings(void);

/* directory_relay.c */

void directory_receive_relay(struct peer *, struct imsg *);

#endif
