/*
 * What is remembered of each destination that mail is relayed to: whether it could be reached, what
 * it said last, and how the last dialogue that failed went. One that can't be reached puts its
 * whole line off, so that it is tried by one message at a time and ever more seldom, however many
 * wait for it.
 */
#ifndef QUEUE_RELAY_MEMORY_H
#define QUEUE_RELAY_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/config.h"
#include "common/ipc_queue_relay.h"
#include "queue/scheduler.h"

struct destination {
	struct destination *older; /* among those with a dialogue */
	struct destination *newer;
	uint32_t failures;  /* in a row */
	uint32_t until;     /* retry.h: nothing is tried before; 0: it isn't put off */
	int64_t failed;     /* wall: last */
	struct reply reply; /* of the last failure; code 0: none */
	char *host;         /* that said so, or "" */
	char *dialogue;     /* of the last failure, or NULL */
	size_t dialogue_length;
};

/* The dialogues kept, of all destinations together at most this much; older ones make room. */
#define DIALOGUES_MAX (4 * 1024 * 1024)
struct dialogues {
	struct destination *oldest;
	struct destination *newest;
	size_t bytes;
};

/* A failure as a recipient got it: the last is shown for the whole line. */
void destination_note(struct line *, const struct ipc_relay_result *);
/* Keeps a copy. */
void destination_keep_dialogue(struct dialogues *, struct line *, const char *);
/*
 * A task that began when so many `failures` were known could not reach it: the line is put off,
 * longer each time, and then gets a window of one. Of tasks that were under way together only the
 * first counts. True when it is put off by this.
 */
bool destination_failed(struct line *, enum relay_fault, uint32_t failures, const struct config *);
/* In a row. */
uint32_t destination_failures(const struct line *);
/* It was reached: true when it was put off. */
bool destination_reached(struct line *);
/* Whatever was, it may be tried now. */
void destination_retry(struct line *);
bool destination_is_put_off(const struct line *);
/* When it may be tried again; 0 when it isn't put off. */
uint32_t destination_until(const struct line *);
/* What it said last, or NULL. */
const struct reply *destination_reply(const struct line *, const char **host);
/* The last dialogue that failed, or NULL. */
const char *destination_dialogue(const struct line *);
/* The line goes. */
void destination_forget(struct dialogues *, struct line *);

#endif
