/*
 * What smtpctl asks to be changed or listed in the accounts database. Who may do so was decided by
 * `control`; what makes sense is decided here.
 */
#ifndef LOOKUP_ACCOUNTS_ADMIN_H
#define LOOKUP_ACCOUNTS_ADMIN_H

#include <stdbool.h>

#include "common/ipc_control.h"
#include "lookup/site.h"

bool accounts_admin_is_list(enum account_verb);
/* Makes one change, logs it with the caller's uid, and says how it went: durable when the exit code
 * is 0. Not for lists. True when something was changed. */
bool accounts_admin_change(struct site *, const struct ipc_account *, struct ipc_result *);

/* A listing in progress, given in portions. */
struct accounts_listing {
	enum account_kind kind;
	char domain[ADDRESS_DOMAIN_MAX + 1];
	char after[ADDRESS_DOMAIN_MAX + ADDRESS_LOCAL_MAX + 3]; /* the last key given */
	uint64_t count;
};
/* False with the reason in the result. */
bool accounts_admin_list(
    struct site *, const struct ipc_account *, struct accounts_listing *, struct ipc_result *);
/* Gives the next items' lines (fields separated by tabs), at most `items` items. True when there
 * may be more; else the result is set. An alias with many targets takes several lines. */
typedef void (*accounts_line_fn)(const char *line, void *arg);
bool accounts_admin_portion(struct site *, struct accounts_listing *, size_t items,
    accounts_line_fn, void *arg, struct ipc_result *);

#endif
