/*
 * The files of tables belong to directory's work, which reads them under its own account: whether it
 * can is said before the server starts.
 */
#ifndef SMTPD_SUPERVISOR_TABLES_H
#define SMTPD_SUPERVISOR_TABLES_H

#include <stdbool.h>

#include "common/config.h"
#include "smtpd/supervisor_accounts.h"

/* Reports each file: and db: table that directory can't open, as a warning. */
void tables_check(const struct config *, const struct accounts *,
    void (*report)(bool is_error, const char *text, void *arg), void *arg);

#endif
