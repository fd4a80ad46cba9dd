/*
 * The steps of a batch, in their order. The durability contract is this order: a name in new/ never
 * stands for data that isn't on the disk, and no success is told of a name that isn't.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/log.h"
#include "deliver/batch_state.h"
#include "deliver/failure.h"

/* A step that is over, for all of the batch. */
static void
trace_step(const struct batch *batch, const char *step, int64_t *since_us)
{
	struct log_line line;
	size_t failed = 0;
	int64_t now;

	if (!log_trace_begin(&line, LOG_TRACE_MDA, "mda-step"))
		return;
	now = clock_monotonic_us();
	for (size_t i = 0; i < batch->count; i++)
		failed += batch->deliveries[i]->state == DELIVERY_FAILED;
	log_text(&line, "step", step);
	log_number(&line, "deliveries", (int64_t)batch->count);
	log_number(&line, "mailboxes", (int64_t)batch->mailbox_count);
	log_number(&line, "failed", (int64_t)failed);
	log_number(&line, "time_us", now - *since_us);
	log_end(&line);
	*since_us = now;
}

/* What nobody needs to wait for; folders before the mailbox whose lock they have. */
static void
tidy_up(struct batch *batch)
{
	for (size_t i = batch->mailbox_count; i-- > 0;) {
		struct mailbox *mailbox = batch->mailboxes[i];

		if (!mailbox->open)
			continue;
		memory_free(&mailbox->memory);
		if (mailbox->is_new)
			maildir_subscribe(&mailbox->inbox->maildir, mailbox->folder);
		maildir_tidy(&mailbox->maildir, &batch->context->known);
		maildir_close(&mailbox->maildir);
	}
}

static void
run_steps(struct batch *batch)
{
	int64_t since = log_is_traced(LOG_TRACE_MDA) ? clock_monotonic_us() : 0;

	batch_open(batch);
	batch_find(batch);
	batch_write(batch);
	trace_step(batch, "write", &since);
	batch_sync_files(batch);
	trace_step(batch, "sync-files", &since);
	batch_place(batch);
	trace_step(batch, "place", &since);
	batch_sync_directories(batch);
	trace_step(batch, "sync-directories", &since);
	batch_finish(batch);
}

static bool
allocate(struct batch *batch)
{
	size_t most = batch->given + EXTRAS_MAX;

	/* Each delivery has a mailbox, and a folder of it that may be asked for in two ways. */
	batch->mailboxes = calloc(most * 3, sizeof(*batch->mailboxes));
	batch->items = calloc(most * (PATH_DEPTH_MAX + 2 + 4), sizeof(*batch->items));
	batch->wanted = calloc(most, sizeof(*batch->wanted));
	batch->deliveries = calloc(most, sizeof(*batch->deliveries));
	return batch->mailboxes != NULL && batch->items != NULL && batch->wanted != NULL &&
	    batch->deliveries != NULL;
}

/* Delivers those that are new; true when some are put off. `answer` is called when none is. */
static bool
deliver_round(struct batch_context *context, struct delivery **deliveries, size_t count,
    void (*answer)(void *arg), void *arg)
{
	struct batch batch = { .context = context, .count = count, .given = count };
	bool more = false;

	if (allocate(&batch)) {
		memcpy(batch.deliveries, deliveries, count * sizeof(*deliveries));
		run_steps(&batch);
	} else {
		for (size_t i = 0; i < count; i++) {
			if (deliveries[i]->state != DELIVERY_NEW)
				continue;
			failure_set(&deliveries[i]->result.reply, ENOMEM, "deliver to",
			    deliveries[i]->request.mailbox.path);
			deliveries[i]->state = DELIVERY_FAILED;
		}
	}
	for (size_t i = 0; i < count; i++) {
		if (deliveries[i]->state == DELIVERY_PUT_OFF) {
			deliveries[i]->state = DELIVERY_NEW;
			more = true;
		}
	}
	for (size_t i = count; i < batch.count; i++)
		delivery_free(batch.deliveries[i]);
	if (!more)
		answer(arg);
	tidy_up(&batch);
	/* Those that are done come along to the next round. */
	for (size_t i = 0; more && i < count; i++)
		deliveries[i]->mailbox = NULL;
	for (size_t i = 0; i < batch.mailbox_count; i++)
		free(batch.mailboxes[i]);
	free(batch.mailboxes);
	free(batch.items);
	free(batch.wanted);
	free(batch.deliveries);
	return more;
}

void
batch_deliver(struct batch_context *context, struct delivery **deliveries, size_t count,
    void (*answer)(void *arg), void *arg)
{
	while (deliver_round(context, deliveries, count, answer, arg))
		;
}

void
batch_usage(
    struct batch_context *context, const struct ipc_mailbox *request, struct ipc_usage *usage)
{
	const struct quota_limits limits = { request->quota_bytes, request->quota_messages };
	struct maildir maildir;
	struct quota quota;
	struct reply why;
	char unique[16];
	bool absent;

	memset(usage, 0, sizeof(*usage));
	if (!quota_is_limited(&limits) || request->form != MAILBOX_MAILDIR)
		return;
	if (!maildir_open(&maildir, request, context->mail_directory, false, &context->known,
	        &absent, &why)) {
		/* A mailbox that isn't there yet is empty. */
		usage->known = absent;
		return;
	}
	snprintf(unique, sizeof(unique), "%08x", context->nonce);
	if (maildir_lock(&maildir, &why) && quota_load(maildir.root, &limits, unique, &quota) &&
	    (!quota_is_exceeded(&quota, 1) || quota_refresh(maildir.root, unique, &quota))) {
		usage->known = true;
		usage->bytes = quota.bytes;
		usage->messages = quota.messages;
	}
	maildir_close(&maildir);
}
