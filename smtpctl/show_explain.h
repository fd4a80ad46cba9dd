/*
 * An explanation: in plain English, a fact a line; or as objects.
 */
#ifndef SMTPCTL_SHOW_EXPLAIN_H
#define SMTPCTL_SHOW_EXPLAIN_H

#include <stdbool.h>

#include "common/imsg.h"
#include "common/ipc_control.h"
#include "common/ipc_directory.h"
#include "smtpctl/output.h"

/* Begins with all but `output` zero. */
struct show_explain {
	struct output *output;
	const struct ipc_rcpt *asked; /* to be shown before the first fact */
	bool is_user;                 /* the question is about a user who was named */
	uint32_t steps;               /* of the directory's so far */
	bool is_refused;              /* no rule takes the recipient from that client */
	bool has_queue;               /* a destination's part of the queue's isn't told yet: */
	bool has_line;
	struct ipc_explain_queue queue;
	unsigned no_route; /* the code of the reply that says why there is none; 0: there is */
};

/* An answer to this is to come. */
void show_explain_begin(struct show_explain *, const struct ipc_rcpt *);
/* A frame of the answer; false when it isn't one. */
bool show_explain_frame(struct show_explain *, const struct imsg *);
/* The answer's end: what a client would be answered. */
void show_explain_end(struct show_explain *, const char *reply);

#endif
