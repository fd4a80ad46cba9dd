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

/* Carries an act out; the number of envelopes that it changed. */
uint64_t control_act(struct queue *, const struct ipc_act *);

#endif
