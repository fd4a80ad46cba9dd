/*
 * How many mails each user who has logged in has sent lately, so that a stolen password doesn't
 * make a source of spam. Times are given in, monotonic. It begins anew when the directory does.
 */
#ifndef LOOKUP_HOURLY_H
#define LOOKUP_HOURLY_H

#include <stdbool.h>
#include <stdint.h>

struct hourly;

struct hourly *hourly_new(void); /* never NULL */
void hourly_free(struct hourly *);
/* One more recipient of this user's; false when it is over `limit` an hour. `*first`: it is the
 * first over it for an hour. */
bool hourly_take(struct hourly *, const char *user, uint32_t limit, int64_t now_ms, bool *first);
/* How many more the user may have now; nothing is counted. */
uint32_t hourly_left(const struct hourly *, const char *user, uint32_t limit, int64_t now_ms);

#endif
