/*
 * The hosts that mail is sent to, in each of smtpctl's forms.
 */
#ifndef SMTPCTL_SHOW_HOSTS_H
#define SMTPCTL_SHOW_HOSTS_H

#include "common/ipc_explain.h"
#include "smtpctl/output.h"

/* The head of a table; nothing in the other forms. */
void show_hosts_head(struct output *);
/* "ADDRESS NAME refcount=N nconn=N lastconn=TIME|-" and more, a line for each address; a row of a
 * table, and what went wrong last in a second line; or an object. `now` is the wall clock. */
void show_hosts_row(struct output *, const struct ipc_host *, int64_t now);
/* "ID. SOURCE <-> HOST NDQK nconn=N nerror=N penalty=N timeout=TIME|-" and more; or an object. */
void show_routes_row(struct output *, const struct ipc_host *);
/* "domain|seconds since 1970|status"; or a row of a table; or an object. */
void show_hoststats_row(struct output *, const struct ipc_hoststat *, int64_t now);
/* An object of JSON, without a line's end. */
void show_host_object(struct buf *, const struct ipc_host *);
/* "new", "connected", …; "opportunistic", "dane", … */
const char *host_state_word(enum host_state);
const char *security_word(enum explain_security);

#endif
