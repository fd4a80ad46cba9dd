/* The texts of MTA-STS (RFC 8461): the TXT record, the policy, and which hosts a policy names. */
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

#endif
