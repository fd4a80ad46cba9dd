/* How many envelopes wait for another try, how many are held, and how old the oldest message is: for the
 * counters. */
#ifndef QUEUE_CENSUS_H
#define QUEUE_CENSUS_H

#include "queue/queue.h"

/* To be called about once a second. Looks at some of the envelopes; when it has seen all, the gauges
 * are set, and it begins anew. So with very many envelopes they are some seconds late. */
void census_tick(struct queue *);

#endif
