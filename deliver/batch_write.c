/*
 * A batch's second steps: each message within its mailbox's quota to tmp/, then all of it to the
 * disk.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "deliver/batch_state.h"
#include "deliver/failure.h"
#include "deliver/text.h"

#define WRITE_EARLY (256 * 1024) /* bytes of a file whose way to the disk begins at once */

static const char *
mailbox_words(const struct ipc_mailbox *mailbox)
{
	return mailbox->user[0] != '\0' ? mailbox->user : mailbox->path;
}

static bool
load_quota(struct batch *batch, struct delivery *delivery)
{
	const struct ipc_mailbox *request = &delivery->request.mailbox;
	const struct quota_limits limits = { request->quota_bytes, request->quota_messages };
	struct mailbox *mailbox = delivery->mailbox->inbox;
	char unique[16];

	if (!quota_is_limited(&limits) || mailbox->quota_loaded)
		return true;
	snprintf(unique, sizeof(unique), "%08x", batch->context->nonce);
	if (!quota_load(mailbox->maildir.root, &limits, unique, &mailbox->quota)) {
		failure_set(
		    &delivery->result.reply, errno, "count the mail in", mailbox->maildir.path);
		return false;
	}
	mailbox->quota_loaded = true;
	return true;
}

/* Room for the message beside what this batch has already written; for any when `size` is 0. */
static bool
check_quota(struct batch *batch, struct delivery *delivery, uint64_t size)
{
	struct mailbox *mailbox = delivery->mailbox->inbox;
	struct quota quota;
	char unique[16];
	int again;

	if (!mailbox->quota_loaded)
		return true;
	snprintf(unique, sizeof(unique), "%08x", batch->context->nonce);
	for (again = 0;; again++) {
		quota = mailbox->quota;
		quota.bytes += mailbox->pending_bytes;
		quota.messages += mailbox->pending_messages;
		if (!quota_is_exceeded(&quota, size > 0 ? size : 1))
			return true;
		if (again > 0 || !quota.may_be_stale)
			break;
		if (!quota_refresh(mailbox->maildir.root, unique, &mailbox->quota)) {
			failure_set(&delivery->result.reply, errno, "count the mail in",
			    mailbox->maildir.path);
			return false;
		}
	}
	quota_reply(
	    &quota, size, mailbox_words(&delivery->request.mailbox), &delivery->result.reply);
	delivery->result.usage.known = true;
	delivery->result.usage.bytes = mailbox->quota.bytes;
	delivery->result.usage.messages = mailbox->quota.messages;
	return false;
}

/* Trace fields and text, to the file in tmp/. */
static bool
write_file(struct batch *batch, struct delivery *delivery, uint64_t *virtual_size)
{
	const struct ipc_deliver *request = &delivery->request;
	char delivered_to[ADDRESS_TEXT_MAX + 1];
	struct text text;

	address_format(&request->dest, delivered_to, sizeof(delivered_to));
	text_begin(&text, delivery->message, request->size);
	if (!text_write(&text, delivery->file, request->is_wrapped ? NULL : &request->sender,
	        delivered_to[0] != '\0' ? delivered_to : request->mailbox.user,
	        batch->context->chunk))
		return false;
	delivery->size = text.size;
	*virtual_size = text.virtual_size;
	/* Only a hint: a failure shows in the sync itself. */
	if (delivery->size >= WRITE_EARLY)
		(void)sync_file_range(delivery->file, 0, 0, SYNC_FILE_RANGE_WRITE);
	return true;
}

/* One delivery's way to tmp/, or to being found in new/ or cur/. */
static bool
write_one(struct batch *batch, struct delivery *delivery)
{
	const struct ipc_deliver *request = &delivery->request;
	struct reply *why = &delivery->result.reply;
	struct mailbox *mailbox = delivery->mailbox;
	uint64_t virtual_size;

	/* No other process, and no other try of this one, may be writing to the same file. */
	snprintf(delivery->temporary, sizeof(delivery->temporary), "%s%08x.%u", delivery->prefix,
	    batch->context->nonce, ++batch->context->written);
	if (request->maybe_delivered) {
		switch (delivery->found) {
		case MAILDIR_ABSENT:
			break;
		case MAILDIR_IN_CUR:
			delivery->in_cur = true;
			delivery->state = DELIVERY_FOUND;
			return true;
		case MAILDIR_IN_NEW:
			delivery->state = DELIVERY_FOUND;
			return true;
		case MAILDIR_UNREADABLE:
			return false;
		}
	}
	if (!load_quota(batch, delivery) || !check_quota(batch, delivery, 0))
		return false;
	delivery->file = maildir_create(&mailbox->maildir, delivery->temporary, why);
	if (delivery->file == -1)
		return false;
	if (!write_file(batch, delivery, &virtual_size)) {
		failure_set(why, errno, "write a message to", mailbox->maildir.path);
		return false;
	}
	if (!check_quota(batch, delivery, delivery->size))
		return false;
	mailbox->inbox->pending_bytes += delivery->size;
	mailbox->inbox->pending_messages++;
	name_final(
	    delivery->prefix, batch->context->host, delivery->size, virtual_size, delivery->name);
	if (*delivery->into.flags != '\0') {
		delivery->in_cur = true;
		strcat(delivery->name, ":2,");
		strcat(delivery->name, delivery->into.flags);
	}
	delivery->state = DELIVERY_WRITTEN;
	return true;
}

void
batch_write(struct batch *batch)
{
	for (size_t i = 0; i < batch->count; i++) {
		struct delivery *delivery = batch->deliveries[i];

		if (delivery->state == DELIVERY_NEW && !write_one(batch, delivery))
			delivery_fail(delivery);
	}
}

void
batch_sync_files(struct batch *batch)
{
	size_t i, count = 0;

	for (i = 0; i < batch->count; i++) {
		struct delivery *delivery = batch->deliveries[i];

		if (delivery->state != DELIVERY_WRITTEN)
			continue;
		batch->items[count++] = (struct sync_item){ .fd = delivery->file,
			.device = delivery->mailbox->maildir.device,
			.error = &delivery->error };
	}
	sync_all(&batch->context->sync, batch->items, count);
	for (i = 0; i < batch->count; i++) {
		struct delivery *delivery = batch->deliveries[i];

		if (delivery->state == DELIVERY_WRITTEN && delivery->error != 0) {
			failure_set(&delivery->result.reply, delivery->error, "sync a message in",
			    delivery->mailbox->maildir.path);
			delivery_fail(delivery);
		}
	}
}
