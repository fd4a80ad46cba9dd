/*
 * What smtpctl shows of the TLS results that wait to be reported, and its order to report them now.
 */
#ifndef LOOKUP_TLS_ADMIN_H
#define LOOKUP_TLS_ADMIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/ipc_control.h"
#include "lookup/tls_sender.h"
#include "lookup/tls_sums.h"

/* A listing in progress, given in portions. */
struct tls_listing {
	char domain[HOSTNAME_MAX + 1];    /* "" all */
	char after[TLS_SUMS_KEY_MAX + 1]; /* the last key looked at */
	uint64_t count;
};
/* ACCOUNT_TLS_RESULT_LIST. False with the reason in the result. */
bool tls_admin_list(
    struct tls_sums *, const struct ipc_account *, struct tls_listing *, struct ipc_result *);
/* Looks at the next domains of a day, `items` at most, and gives a line for each of their policies
 * (ipc_control.h). True when there may be more; else the result is set. */
bool tls_admin_portion(struct tls_sums *, struct tls_listing *, size_t items,
    void (*line)(const char *line, void *arg), void *arg, struct ipc_result *);
/* ACCOUNT_TLS_REPORT_SEND; `now` is the wall clock. */
void tls_admin_send(struct tls_sums *, struct tls_sender *, const struct ipc_account *, int64_t now,
    struct ipc_result *);

#endif
