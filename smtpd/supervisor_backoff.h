/* When a child that died is started again: at once the first time, later the more often it dies. */
#ifndef SMTPD_SUPERVISOR_BACKOFF_H
#define SMTPD_SUPERVISOR_BACKOFF_H

#include <stdint.h>

#define BACKOFF_FIRST_MS 100 /* after the second death in a row */
#define BACKOFF_MAX_MS   10000
#define BACKOFF_LIVED_MS 2000 /* a child that has run so long didn't die of its start */

struct backoff {
	unsigned deaths; /* in a row, each soon after its start */
};

/* A child died after `lived_ms`; how long to wait before the next is started. */
unsigned backoff_next_ms(struct backoff *, int64_t lived_ms);

#endif
