/* How many envelopes wait for another try, and how many are held: for the counters. */
#ifndef QUEUE_CENSUS_H
#define QUEUE_CENSUS_H

#include "queue/queue.h"

/* To be called about once a second. Looks at some of the envelopes; when it has seen all, the gauges
 * are set, and it begins anew. So with very many envelopes they are some seconds late. */
void census_tick(struct queue *);

#endif
