/*
 * An envelope in each of smtpctl's forms.
 */
#ifndef SMTPCTL_SHOW_QUEUE_H
#define SMTPCTL_SHOW_QUEUE_H

#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/envelope.h"

/* OpenSMTPD's line: 14 fields separated by "|". `now` is the wall clock. */
void show_queue_line(
    struct buf *, const struct transaction *, const struct envelope *, int64_t now);
void show_queue_json(
    struct buf *, const struct transaction *, const struct envelope *, const char *dialogue);
/* A table of `width` columns (at least 80); what went wrong last stands in a second line. */
void show_queue_table_head(struct buf *, size_t width);
void show_queue_table_row(
    struct buf *, const struct transaction *, const struct envelope *, int64_t now, size_t width);
/* "key: value" lines, as OpenSMTPD's envelope files have them; empty values are left out. `dialogue` is the
 * last that failed with another host, or "": a value for each of its lines. */
void show_envelope(
    struct buf *, const struct transaction *, const struct envelope *, const char *dialogue);

#endif
