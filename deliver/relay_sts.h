/*
 * MTA-STS (RFC 8461): the policy of a domain that mail goes to. It is found by the domain's TXT record,
 * fetched from its web server, and kept by the directory; policies that are kept are fetched again in
 * time by themselves.
 */
#ifndef DELIVER_RELAY_STS_H
#define DELIVER_RELAY_STS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/ipc_relay_directory.h"
#include "deliver/relay_outcome.h"
#include "deliver/relay_sts_policy.h"

struct event_base;
struct https;
struct relay_directory;
struct relay_dns;
struct sts;
struct sts_question;

struct sts_times {
	unsigned wait_ms;    /* that mail waits for DNS and the web server, at most */
	unsigned fetch_ms;   /* that the web server has (RFC 8461 3.3) */
	unsigned failed_ms;  /* after a fetch that failed there is none (RFC 8461 3.3) */
	unsigned same_ms;    /* after one that succeeded, for the same id */
	unsigned refresh_ms; /* after a refresh that failed */
	unsigned first_ms;   /* from the start to the first look for what is due */
	unsigned tick_ms;    /* from one look to the next */
};

#define STS_TIMES_DEFAULT                                                                     \
	{                                                                                     \
		.wait_ms = 5000, .fetch_ms = 60000, .failed_ms = 5 * 60000, .same_ms = 60000, \
		.refresh_ms = 60 * 60000, .first_ms = 1000, .tick_ms = 60000                  \
	}

/*
 * `policy` is borrowed; NULL when the domain has none that is in force. `is_unsure`: it can't be
 * known now whether there is one, for a reason here.
 */
typedef void (*sts_fn)(struct sts_policy *policy, bool is_unsure, void *arg);

/* Never NULL. The times are copied. Nothing is fetched before sts_enable(). */
struct sts *sts_new(struct event_base *, struct relay_dns *, struct relay_directory *,
    struct https *, const struct sts_times *);
/* Nobody is called for what is still open. */
void sts_free(struct sts *);
/* Whether policies are looked for. */
void sts_enable(struct sts *, bool enabled);
bool sts_is_enabled(const struct sts *);
/* Of policies that can't be had. NULL: nobody. */
void sts_observe(struct sts *, outcome_fn, void *arg);
/* The policy of a domain (in lower case, A-labels). `done` is called once, never from here, and in
 * bounded time. */
struct sts_question *sts_ask(struct sts *, const char *domain, sts_fn, void *arg);
/* Nobody is called. Before `done` has been, that is. */
void sts_forget(struct sts_question *);

#endif
