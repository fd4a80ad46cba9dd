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

#include "common/reply.h"

/* Subjects of enhanced codes (RFC 3463 3): 0, other, to 7, policy. */
#define STATS_SUBJECT_COUNT 8
/* Of a duration's buckets each counts those up to its limit and above the one before's; the last has
 * none. */
#define STATS_BUCKET_COUNT 9

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
	STATS_ENVELOPE_DEFERRED, /* tried, and to be tried again */
	STATS_ENVELOPE_HELD,
	STATS_QUEUE_OLDEST, /* seconds since that message was taken; 0 when there is none */
	STATS_IMAP_SESSION, /* logged in or not */
	STATS_POP3_SESSION,
	STATS_SIEVE_SESSION,
	STATS_GAUGE_COUNT,
	/* counters */
	STATS_SMTP_CONNECTED = STATS_GAUGE_COUNT,
	STATS_SMTP_DISCONNECTED,
	STATS_SMTP_TLS, /* handshakes that ended well */
	STATS_SMTP_TLS_FAILED,
	STATS_SMTP_REFUSED, /* by a session limit */
	STATS_SMTP_MESSAGE, /* answered 250 */
	STATS_SMTP_BYTES,   /* of those */
	STATS_SMTP_MESSAGE_REFUSED,
	STATS_SMTP_RCPT_REJECTED,
	/* Replies that refused a sender, recipient or message, by the subject of their enhanced code
	 * (RFC 3463 3): those of 5xx, then those of 4xx. */
	STATS_REJECT_PERMANENT,
	STATS_REJECT_TEMPORARY = STATS_REJECT_PERMANENT + STATS_SUBJECT_COUNT,
	STATS_REJECT_LAST = STATS_REJECT_TEMPORARY + STATS_SUBJECT_COUNT - 1,
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
	/* What DSNs said. */
	STATS_DSN_FAILED,
	STATS_DSN_DELAYED,
	STATS_DSN_DELIVERED,
	STATS_DSN_HELD,
	/* Deliveries here, and to other hosts. */
	STATS_MDA_OK,
	STATS_MDA_TEMPFAIL,
	STATS_MDA_PERMFAIL,
	STATS_MDA_BYTES,
	STATS_MTA_OK,
	STATS_MTA_TEMPFAIL,
	STATS_MTA_PERMFAIL,
	STATS_MTA_BYTES,
	STATS_MTA_TLS, /* of STATS_MTA_OK */
	/* Each is followed by the same of POP3 and ManageSieve. */
	STATS_IMAP_CONNECTED,
	STATS_POP3_CONNECTED,
	STATS_SIEVE_CONNECTED,
	STATS_IMAP_REFUSED, /* by a session limit */
	STATS_POP3_REFUSED,
	STATS_SIEVE_REFUSED,
	STATS_IMAP_TLS,
	STATS_POP3_TLS,
	STATS_SIEVE_TLS,
	STATS_IMAP_TLS_FAILED,
	STATS_POP3_TLS_FAILED,
	STATS_SIEVE_TLS_FAILED,
	STATS_IMAP_RECEIVED, /* bytes from clients that have logged in */
	STATS_POP3_RECEIVED,
	STATS_SIEVE_RECEIVED,
	STATS_IMAP_SENT,
	STATS_POP3_SENT,
	STATS_SIEVE_SENT,
	/* Logins, of each service. */
	STATS_AUTH_SMTP_OK,
	STATS_AUTH_IMAP_OK,
	STATS_AUTH_POP3_OK,
	STATS_AUTH_SIEVE_OK,
	STATS_AUTH_SMTP_FAILED,
	STATS_AUTH_IMAP_FAILED,
	STATS_AUTH_POP3_FAILED,
	STATS_AUTH_SIEVE_FAILED,
	STATS_AUTH_SMTP_DEFERRED, /* could not be checked */
	STATS_AUTH_IMAP_DEFERRED,
	STATS_AUTH_POP3_DEFERRED,
	STATS_AUTH_SIEVE_DEFERRED,
	STATS_HISTORY_EVENT,
	STATS_HISTORY_DROPPED,
	/* How long things took: enum stats_duration. */
	STATS_ACCEPTING, /* from MAIL to the 250 after the message */
	STATS_ACCEPTING_MS = STATS_ACCEPTING + STATS_BUCKET_COUNT,
	STATS_DELIVERING, /* from that 250 to the end of a delivery that succeeded */
	STATS_DELIVERING_MS = STATS_DELIVERING + STATS_BUCKET_COUNT,
	STATS_COUNT,
};

/* Maps the page behind `fd` (closes fd); gauges start at 0. Before that, counting goes nowhere. */
void stats_attach(int fd);
void stats_add(enum stats_key, int64_t);
void stats_set(enum stats_key, int64_t);
/* A reply that refused a sender, recipient or message. */
void stats_count_refusal(const struct reply *);
/* A duration: `first` is STATS_ACCEPTING or STATS_DELIVERING. */
void stats_add_duration(enum stats_key first, int64_t ms);
/* The limit of one of its buckets; the last one's is INT64_MAX. */
int64_t stats_bucket_limit_ms(enum stats_key first, size_t bucket);
/* For the supervisor: a memfd of one page. -1 on error. */
int stats_make_page(void);
/* For control: maps a page read-only; NULL on error. */
const int64_t *stats_map_read(int fd);
/* OpenSMTPD's name where it has one: "smtp.session.inet4", "scheduler.delivery.ok". */
const char *stats_name(enum stats_key);

#endif
