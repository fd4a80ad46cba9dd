/*
 * The .forward files of users. Only a process of the user's own may read one (his mda: a home can
 * hang, and what is in it is his), and expanding a recipient doesn't wait. So what an expansion would
 * have to know is noted in the recipient's set; the files are asked for through the queue, and then
 * it is expanded anew.
 *
 * An answer that doesn't come in time is that of a file that can't be used: it costs that user, and
 * nobody else, the delay.
 */
#ifndef LOOKUP_FORWARDS_H
#define LOOKUP_FORWARDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/ipc_directory.h"

struct event_base;
struct forwards;
struct forward_set;

#define FORWARD_DEADLINE_MS 5000
#define FORWARD_TOTAL_MS    15000 /* for all of a recipient */

/* What is known of one; `text` as in struct ipc_forward. */
struct forward {
	enum ipc_forward_state state;
	bool is_detailed; /* it is that of the mailbox's detail */
	const char *text;
};

/* Sends DIRECTORY_FORWARD; false when there is nobody to ask. */
typedef bool (*forwards_ask_fn)(uint32_t id, const struct ipc_mailbox *, void *arg);
/* All that this set's owner waited for is known. */
typedef void (*forwards_ready_fn)(void *owner, void *arg);

struct forwards *forwards_new(
    struct event_base *, forwards_ask_fn, forwards_ready_fn, void *arg); /* never NULL */
void forwards_free(struct forwards *);
/* An answer; one that wasn't asked for is ignored. */
void forwards_answer(struct forwards *, uint32_t id, const struct ipc_forward *);
/* The queue is gone: nothing more can be known. */
void forwards_fail_all(struct forwards *, const char *why);

/* Dies when memory is out. */
struct forward_set *forward_set_new(struct forwards *, void *owner);
/* What it waits for is given up. */
void forward_set_free(struct forward_set *);
/* That of the mailbox's owner, for its detail; false when it isn't known yet and was noted. */
bool forward_set_find(struct forward_set *, const struct ipc_mailbox *, struct forward *);
/* Asks for what was noted. True when nobody was there to ask, and so all of it is known; else `ready`
 * will be called. */
bool forward_set_gather(struct forward_set *);

#endif
