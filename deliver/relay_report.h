/*
 * What the relay knows of the hosts that it sends mail to, kept and told for `smtpctl show hosts` and
 * `show routes`.
 */
#ifndef DELIVER_RELAY_REPORT_H
#define DELIVER_RELAY_REPORT_H

#include <sys/socket.h>

#include "common/ipc_explain.h"
#include "deliver/relay_host.h"
#include "deliver/relay_session.h"

/* How it went there so far; of a host that is new, all zero. */
struct host_record {
	uint64_t transactions;
	uint64_t failed;
	int64_t connected; /* wall: last; 0 never */
	int64_t failure;   /* wall: when `reply` came; 0 never */
	struct reply reply;
	char tls[IPC_RELAY_WORDS_MAX + 1]; /* of the last connection */
};
/* A connection there can be used. */
void record_connection(struct host_record *, const struct session *);
/* A transaction has ended; `failure` is NULL unless it was the host's. */
void record_transaction(struct host_record *, const struct failure *);
/* It could not be reached, or did not take what it was given. */
void record_failure(struct host_record *, const struct failure *);

/* A host comes to be, or goes. */
void pool_list_host(struct host *);
void pool_unlist_host(struct host *);

typedef void (*report_fn)(const struct ipc_host *, void *arg);
/* Reports hosts in the order in which they came to be, from behind `cursor` (an id; 0: all) on, at
 * most so many. Returns the next cursor; 0: there are no more. */
uint64_t pool_report(struct pool *, uint64_t cursor, uint32_t most, report_fn, void *arg);
/* Reports those that mail for that domain (as A-labels) by that action goes to at that hop. */
void pool_report_hop(struct pool *, const char *action, const struct hop *, const char *domain,
    report_fn, void *arg);
/* Mail for there would come back. */
bool pool_listens_at(const struct pool *, const struct hop *, const struct sockaddr_storage *);
enum explain_security report_security(const struct policy *, enum policy_fit);
/* "192.0.2.1", "2001:db8::1" */
void report_address(const struct sockaddr_storage *, char *text, size_t size);

#endif
