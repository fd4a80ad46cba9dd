/*
 * How full mailboxes are, for the quota at RCPT. Only a mailbox's own mda can tell; the queue
 * passes the question on. Answers are kept for a few seconds, so that a busy mailbox with room
 * costs one question in ten seconds. A question that nobody answers in time lets the mail through:
 * the quota is looked at again when it is delivered.
 */
#ifndef LOOKUP_USAGE_H
#define LOOKUP_USAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/ipc_directory.h"

struct event_base;
struct usage;

#define USAGE_DEADLINE_MS 3000

enum usage_result {
	USAGE_FITS,
	USAGE_OVER,
	USAGE_ASKED, /* `decided` will be called with `owner` */
};

/* Sends DIRECTORY_USAGE; false when there is nobody to ask. */
typedef bool (*usage_ask_fn)(uint32_t id, const struct ipc_mailbox *, void *arg);
typedef void (*usage_decided_fn)(void *owner, bool fits, void *arg);

struct usage *usage_new(
    struct event_base *, usage_ask_fn, usage_decided_fn, void *arg); /* never NULL */
void usage_free(struct usage *); /* without deciding what waits */
/* Whether `size` more bytes (and one message) fit the mailbox's quota. */
enum usage_result usage_check(
    struct usage *, const struct ipc_mailbox *, uint64_t size, void *owner);
/* The next check of the mailbox asks anew. */
void usage_doubt(struct usage *, const struct ipc_mailbox *);
/* What is known of the mailbox; false when nothing is. */
bool usage_get(struct usage *, const struct ipc_mailbox *, uint64_t *bytes, uint64_t *messages);
/* An answer; one that wasn't asked for is ignored. */
void usage_answer(struct usage *, uint32_t id, const struct ipc_usage *);
/* The queue is gone: all that waits is let through. */
void usage_fail_all(struct usage *, const char *why);
/* Forgets what is old; to be called about once a second. */
void usage_sweep(struct usage *);
/* Forgets all answers (quotas have changed). */
void usage_forget(struct usage *);

#endif
