/*
 * Counters that smtpctl show stats and monitor print. Each process writes its own page of shared
 * memory, which the supervisor made and which outlives the process; `control` maps all of them
 * read-only and adds them up: no message is spent on it. Gauges of a process that starts again
 * begin at 0, its counters go on.
 */
#ifndef COMMON_STATS_H
#define COMMON_STATS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum stats_key {
	/* gauges */
	STATS_SMTP_SESSION,
	STATS_SMTP_SESSION_INET4,
	STATS_SMTP_SESSION_INET6,
	STATS_SMTP_SESSION_LOCAL,
	STATS_QUEUE_ENVELOPE,
	STATS_QUEUE_MESSAGE,
	STATS_QUEUE_SEGMENT,
	STATS_SCHEDULER_INFLIGHT,
	STATS_MDA_RUNNING,
	STATS_MDA_PENDING,
	STATS_MTA_RUNNING, /* messages given to the relay */
	STATS_MTA_PENDING,
	STATS_GAUGE_COUNT,
	/* counters */
	STATS_SMTP_CONNECTED = STATS_GAUGE_COUNT,
	STATS_SMTP_DISCONNECTED,
	STATS_SMTP_TLS, /* handshakes that ended well */
	STATS_SMTP_TLS_FAILED,
	STATS_SMTP_REFUSED, /* by a session limit */
	STATS_SMTP_MESSAGE, /* answered 250 */
	STATS_SMTP_RCPT_REJECTED,
	STATS_QUEUE_ENQUEUED, /* envelopes */
	STATS_QUEUE_DEQUEUED,
	STATS_QUEUE_SYNC,
	STATS_QUEUE_BYTES,
	STATS_DELIVERY_OK,
	STATS_DELIVERY_TEMPFAIL,
	STATS_DELIVERY_PERMFAIL,
	STATS_DELIVERY_LOOP,
	STATS_ENVELOPE_EXPIRED,
	STATS_ENVELOPE_REMOVED,
	STATS_BOUNCE,
	STATS_COUNT,
};

/* Maps the page behind `fd` (closes fd); gauges start at 0. Before that, counting goes nowhere. */
void stats_attach(int fd);
void stats_add(enum stats_key, int64_t);
void stats_set(enum stats_key, int64_t);
/* For the supervisor: a memfd of one page. -1 on error. */
int stats_make_page(void);
/* For control: maps a page read-only; NULL on error. */
const int64_t *stats_map_read(int fd);
/* OpenSMTPD's name where it has one: "smtp.session.inet4", "scheduler.delivery.ok". */
const char *stats_name(enum stats_key);

#endif
