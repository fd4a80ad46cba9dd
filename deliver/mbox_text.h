/*
 * One message as an mbox file holds it (RFC 4155, with LF line ends and "mboxo" quoting, which is what
 * Debian's programs write and read): a line "From SENDER DATE", the trace fields of final delivery, a
 * field that names the delivery, the text with ">" before each line that begins with "From ", and an
 * empty line. Each try at a delivery makes the same bytes.
 */
#ifndef DELIVER_MBOX_TEXT_H
#define DELIVER_MBOX_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/buf.h"
#include "common/ipc_queue_mda.h"

#define MBOX_MARK "X-Postern-Delivery: "
/* What follows the name: the envelope's id in hex, ".", the time of its transaction. */
#define MBOX_MARK_SIZE 48

/* False ends the text; errno says why. */
typedef bool (*mbox_sink_fn)(const void *data, size_t length, void *arg);

/* "From SENDER DATE" and a line end, the date being that of the transaction, in local time. */
void mbox_from_line(const struct ipc_deliver *, struct buf *);
void mbox_mark(const struct ipc_deliver *, char mark[MBOX_MARK_SIZE]);
/* What is before the text. */
void mbox_head(const struct ipc_deliver *, struct buf *);
/* Gives the sink everything, in pieces. False with errno. `chunk`: scratch of TEXT_CHUNK bytes. */
bool mbox_text(const struct ipc_deliver *, int message, uint8_t *chunk, mbox_sink_fn, void *arg)
    __attribute__((warn_unused_result));

#endif
