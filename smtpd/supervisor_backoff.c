/* The schedule of restarts. */
#include "smtpd/supervisor_backoff.h"

unsigned
backoff_next_ms(struct backoff *backoff, int64_t lived_ms)
{
	unsigned delay_ms = BACKOFF_FIRST_MS, i;

	if (lived_ms >= BACKOFF_LIVED_MS)
		backoff->deaths = 0;
	backoff->deaths++;
	if (backoff->deaths == 1)
		return 0;
	for (i = 2; i < backoff->deaths && delay_ms < BACKOFF_MAX_MS; i++)
		delay_ms *= 2;
	return delay_ms < BACKOFF_MAX_MS ? delay_ms : BACKOFF_MAX_MS;
}
