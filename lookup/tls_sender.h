/*
 * Sends the TLS reports of days that are over (RFC 8460), some hours after midnight: by mail to the
 * queue, which signs it, or to the relay, which posts it. Of the places that a record names the first
 * one that takes it gets it. A day's sums of a domain are dropped when the queue has its report on
 * stable storage, or the domain's server has it; what can't be taken now is tried again, at growing
 * intervals, for a day after a server hasn't taken it (RFC 8460 5.5).
 */
#ifndef LOOKUP_TLS_SENDER_H
#define LOOKUP_TLS_SENDER_H

#include <stdbool.h>
#include <stdint.h>

#include "common/imsg.h"
#include "common/ipc_relay_directory.h"
#include "common/reply.h"
#include "lookup/tls_sums.h"

struct tls_sender;

/* Never NULL; the sums are borrowed. */
struct tls_sender *tls_sender_new(struct tls_sums *);
void tls_sender_free(struct tls_sender *); /* NULL is allowed */
/* The author's address, "": no reports are sent. */
void tls_sender_configure(struct tls_sender *, const char *from);
bool tls_sender_is_wanted(const struct tls_sender *);
/* Reports the sums of a day (since 1970), or with -1 of all days that are over, as soon as can be.
 * False when there are none. */
bool tls_sender_order(struct tls_sender *, int64_t day, int64_t now);
/* The queue's channel, or NULL while there is none; not owned. */
void tls_sender_set_queue(struct tls_sender *, struct channel *);
/* The relay's, likewise. */
void tls_sender_set_relay(struct tls_sender *, struct channel *);
/* To be called about once a second. */
void tls_sender_tick(struct tls_sender *, int64_t now);
/* DIRECTORY_REPORT_DONE. */
void tls_sender_answered(struct tls_sender *, uint32_t id, const struct reply *);
/* RELAY_DIRECTORY_POSTED. */
void tls_sender_posted(struct tls_sender *, uint32_t id, const struct ipc_posted *);

#endif
