/*
 * What came of TLS with other servers, added up by UTC day, domain and kind, until the day is
 * reported (RFC 8460 4.1). It outlives restarts; what came in the last seconds before a crash is
 * lost. What the relay says is a stranger's word: domains and kinds are bounded, and what is above
 * is added to kinds without particulars, or left out.
 */
#ifndef LOOKUP_TLS_SUMS_H
#define LOOKUP_TLS_SUMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/ipc_tls_result.h"

#define TLS_SUMS_DOMAINS_MAX 5000 /* of a day */
#define TLS_SUMS_KINDS_MAX   200  /* of a day and domain, with particulars */
#define TLS_SUMS_DAYS_MAX    7    /* then sums that nobody took are dropped */

struct tls_sums;

/* Never NULL. `directory` is made when it is absent, and opened when it is needed; what can't be
 * opened is tried again later. */
struct tls_sums *tls_sums_new(const char *directory);
/* Writes what it has. NULL is allowed. */
void tls_sums_free(struct tls_sums *);
/* Counts for the day of `now` (wall clock). */
void tls_sums_add(struct tls_sums *, const struct ipc_tls_result *, int64_t now);
/* To be called about once a second: writes what has come, some seconds later and at once. */
void tls_sums_tick(struct tls_sums *, int64_t now);
/* Writes it now. */
void tls_sums_write(struct tls_sums *);

struct tls_sum {
	uint64_t sessions;
	struct ipc_tls_result result;
};
/* Of one day and domain. */
struct tls_day {
	int64_t day; /* since 1970-01-01 */
	char domain[HOSTNAME_MAX + 1];
	char rua[REPORT_RUA_MAX + 1]; /* as the record said last */
	/* Wall clock, of tls_sums_note_try(); 0: it wasn't called. */
	int64_t first_tried;
	int64_t next_try;
	struct tls_sum *sums; /* by policy, and then as they lie */
	size_t count;
};
/* The first one of a day before `before`, behind `after` in their order ("": from the start), which
 * then names it. False when there is none, or nothing can be read now. */
#define TLS_SUMS_KEY_MAX (HOSTNAME_MAX + 16)
bool tls_sums_next(
    struct tls_sums *, int64_t before, char after[TLS_SUMS_KEY_MAX + 1], struct tls_day *);
void tls_day_clear(struct tls_day *);
/* It could not be reported, for the first time at `first` (wall clock), and is to be again at
 * `next`. */
void tls_sums_note_try(struct tls_sums *, const struct tls_day *, int64_t first, int64_t next);
/* It has been reported, or never will be. Gone for good when this returns, or the log says why not,
 * and it comes again. */
void tls_sums_drop(struct tls_sums *, const struct tls_day *);

#endif
