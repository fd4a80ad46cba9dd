/*
 * What becomes of messages, told to the directory, which keeps it (common/ipc_history.h). Nothing waits
 * for that: while the directory is away, or doesn't read, events are dropped and counted.
 */
#ifndef QUEUE_HISTORY_H
#define QUEUE_HISTORY_H

#include "common/ipc_history.h"
#include "common/ipc_queue_mda.h"
#include "common/ipc_queue_relay.h"
#include "queue/queue.h"

void history_open(struct queue *);
void history_close(struct queue *);
/* Tells what is still to be told. */
void history_flush(struct queue *);
/* Whether there is a history at all. */
bool history_is_on(const struct queue *);

/* A message is durable, with all its envelopes: the head of its record. `facts`: a struct ipc_facts as
 * a listener has sent it, or NULL. */
void history_received(
    struct queue *, const uint8_t *head, size_t length, const uint8_t *facts, size_t facts_length);
/* What a listener refused, as it says; false when it may not say so. */
bool history_refused(struct queue *, const void *payload, size_t length);
/* `transaction` and `envelope`: NULL when they can't be read. `place`: a file's path, or "|" and a
 * command. */
void history_delivered(struct queue *, struct entry *, const struct transaction *,
    const struct envelope *, const struct reply *, const char *user, const char *place,
    int64_t delivery_ms);
void history_relayed(struct queue *, struct entry *, const struct transaction *,
    const struct envelope *, const struct ipc_relay_result *, int64_t delivery_ms);
/* HISTORY_DEFERRED, HISTORY_FAILED, HISTORY_EXPIRED; "" for what of another host isn't known. */
void history_failed(struct queue *, enum history_kind, struct entry *, const struct transaction *,
    const struct envelope *, const struct reply *, const char *host, const char *address,
    const char *tls);
/* A DSN about one of its envelopes, of that kind ("failed"), is durable. */
void history_notified(
    struct queue *, uint64_t envelope_id, uint32_t dsn_id, const char *about, const char *to);
/* A message that a delivery has led to: "forwarded", … */
void history_sent_on(
    struct queue *, uint64_t envelope_id, uint32_t message_id, const char *about, const char *to);
/* HISTORY_HELD, HISTORY_RELEASED, HISTORY_REMOVED, HISTORY_GIVEN_UP, by an administrator. */
void history_acted(struct queue *, enum history_kind, uint64_t envelope_id, uint32_t uid);

#endif
