/*
 * The shape of the queue: how many envelopes there are for each domain, by how long they have been queued.
 */
#ifndef SMTPCTL_SHOW_SHAPE_H
#define SMTPCTL_SHOW_SHAPE_H

#include <stdbool.h>
#include <stdint.h>

#include "common/envelope.h"
#include "smtpctl/output.h"

struct shape;

/* `senders`: by the senders' domains. Never NULL. */
struct shape *shape_new(bool senders);
void shape_free(struct shape *);
/* Counts an envelope; `now` is the wall clock. */
void shape_count(struct shape *, const struct transaction *, const struct envelope *, int64_t now);
/* All domains, those with most envelopes first: "domain|envelopes|younger than 5 minutes|…", a table, or
 * objects; the sum of all comes first. The last of them are left in output->buf. */
void shape_show(struct shape *, struct output *);

#endif
