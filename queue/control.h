/*
 * What `control` asks for smtpctl: listings in portions, acts on any number of envelopes at once,
 * a message's text, pauses.
 */
#ifndef QUEUE_CONTROL_H
#define QUEUE_CONTROL_H

#include "common/ipc_control.h"
#include "queue/queue.h"

/* A frame from control. */
void control_receive(struct queue *, struct channel *, struct imsg *);

/* An ipc_filter made ready for comparing. */
struct filter {
	struct ipc_filter given;
	bool from_domain; /* "@domain" */
	bool to_domain;
	bool impossible; /* an address that can't be one */
	char from[ADDRESS_TEXT_MAX + 1];
	char to_text[ADDRESS_TEXT_MAX + 1];
	struct address to;
	int64_t now;
};
void filter_prepare(struct filter *, const struct ipc_filter *);
/* By what memory knows; then by an envelope. */
bool filter_message(const struct filter *, const struct message *);
bool filter_entry(const struct filter *, struct entry *);
bool filter_needs_envelope(const struct filter *);
bool filter_envelope(const struct filter *, const struct envelope *);
/* The messages that can match, in order: the first whose envelopes reach `number`, or NULL. */
struct message *filter_from(const struct filter *, const struct index *, uint64_t number);
/* The next after one that is still there, or NULL. */
struct message *filter_next(const struct filter *, const struct index *, const struct message *);

/* Sends a portion of the lines to other hosts, from the filter's cursor on; the next cursor, 0 at
 * the end. */
uint64_t control_destinations(
    struct queue *, struct channel *, const struct imsg *, const struct ipc_filter *);

/* What mail to another host waits for, and how much of it there is: a portion of the answer. False
 * when the request can't be read. */
bool control_explain(struct queue *, struct channel *, const struct imsg *, uint64_t *next)
    __attribute__((warn_unused_result));

/* The answer to a request of control's; `fd` -1: none. */
struct control_request {
	struct channel *channel; /* NULL: whoever asked is gone */
	uint32_t id;
	uint32_t peer;
};
void control_send_done(struct queue *, const struct control_request *, int fd, int exit_code,
    uint64_t count, const char *words);

/* An act on any number of envelopes: control_act.c. */
struct act {
	struct ipc_act wanted;
	struct filter filter;
	uint64_t next;    /* number of the envelope with which it goes on */
	uint64_t end;     /* of the first that isn't meant any more */
	uint64_t changed; /* envelopes so far */
};
void act_begin(struct queue *, struct act *, const struct ipc_act *);
/* Acts on the next portion, a bounded number of envelopes within some milliseconds; false when it
 * was the last. Between two calls anything may happen to the queue. */
bool act_continue(struct queue *, struct act *);

/*
 * Acts under way: control_acts.c. Each goes on by itself, in turn with others, and its one answer is
 * sent when all that it changed is durable, or at a stop of the queue with what was done by then.
 * Whoever asked may be gone: it is carried out all the same.
 */
void control_acts_open(struct queue *);
void control_acts_begin(struct queue *, const struct control_request *, const struct ipc_act *);
void control_acts_forget(struct queue *, const struct channel *);
void control_acts_stop(struct queue *);
void control_acts_close(struct queue *);

#endif
