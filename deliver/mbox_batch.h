/*
 * Deliveries to mbox files: all that are there for one file at one time take one lock and one sync.
 */
#ifndef DELIVER_MBOX_BATCH_H
#define DELIVER_MBOX_BATCH_H

#include "deliver/batch.h"

/* Delivers all; each delivery's `result` is then its answer, a success only when it is durable. Waits
 * up to MBOX_WAIT_MS for each file that others have locked. */
void mbox_batch_deliver(struct batch_context *, struct delivery **, size_t count);

#endif
