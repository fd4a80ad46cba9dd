/*
 * What the relay sees of its servers' TLS, for the reports that their domains ask for by a record
 * at _smtp._tls (RFC 8460). Noting never holds mail up: records are looked up behind its back and
 * kept, what is noted is added up and goes to the directory every few seconds. All of it is bounded;
 * what is too much is not reported.
 */
#ifndef DELIVER_RELAY_TLS_REPORT_H
#define DELIVER_RELAY_TLS_REPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "common/imsg.h"
#include "common/ipc_tls_result.h"

struct event_base;
struct outcome_note;
struct relay_dns;
struct reports;

#define REPORT_DOMAINS_MAX 5000 /* whose records are known */
#define REPORT_ROWS_MAX    5000 /* on their way to the directory, of all domains */

/* Never NULL. Nothing is noted until reports are wanted. */
struct reports *reports_new(struct event_base *, struct relay_dns *);
/* What is noted is lost: reports_flush() before. NULL is allowed. */
void reports_free(struct reports *);
void reports_want(struct reports *, bool);
/* The directory's channel, or NULL while there is none; not owned. */
void reports_set_channel(struct reports *, struct channel *);
/* A session, or what failed before there was one. Of the result rua and sessions don't matter, and
 * `domain` may be as the mail has it. */
void reports_add(struct reports *, const struct ipc_tls_result *);
/* The same, as an observer of hosts and policies (outcome_fn). */
void reports_note(const struct outcome_note *, void *reports);
void reports_flush(struct reports *);
/* Something that was noted waits for its domain's record. */
bool reports_are_waiting(const struct reports *);

/* The rua of a record at _smtp._tls; false when it isn't one (RFC 8460 3). */
bool report_parse_record(const char *text, size_t length, char rua[REPORT_RUA_MAX + 1]);

#endif
