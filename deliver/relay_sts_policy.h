/* The texts of MTA-STS (RFC 8461): the TXT record, the policy, and which hosts a policy names; and a
 * policy as it is held. */
#ifndef DELIVER_RELAY_STS_POLICY_H
#define DELIVER_RELAY_STS_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/ipc_relay_directory.h"
#include "common/ipc_relay_resolver.h"

#define STS_TEXT_MAX (64 * 1024) /* RFC 8461 3.3 */

/* The id of the one record of _mta-sts.DOMAIN; false, and "", when there is none that is good. */
bool sts_record_id(const struct ipc_answer *, char id[IPC_STS_ID_MAX + 1]);
/*
 * mode, max_age and mx of a policy's text (RFC 8461 3.2), which may hold any bytes. False when it
 * isn't one, or has more patterns than are kept: `why` says so in words.
 */
bool sts_policy_parse(struct ipc_sts_policy *, const void *text, size_t length, char *why,
    size_t size) __attribute__((warn_unused_result));
/* One of the patterns (of an ipc_sts_policy) is for this host (RFC 8461 4.1). */
bool sts_mx_has(const char *mx, const char *host);

/* A policy as it was fetched. Not changed while it is held. */
struct sts_policy {
	unsigned holders;
	char domain[HOSTNAME_MAX + 1];
	char id[IPC_STS_ID_MAX + 1];
	enum sts_mode mode;
	uint32_t max_age; /* seconds */
	int64_t fetched;  /* wall clock */
	char mx[];        /* patterns, each followed by a blank */
};

/* Held once. Never NULL. */
struct sts_policy *sts_policy_new(const struct ipc_sts_policy *);
struct sts_policy *sts_policy_hold(struct sts_policy *); /* NULL is allowed */
void sts_policy_drop(struct sts_policy *);               /* likewise */
/* "enforce" */
const char *sts_mode_name(enum sts_mode);
/* Seconds that it is still good for; 0 of NULL. */
int64_t sts_policy_time_left(const struct sts_policy *);

#endif
