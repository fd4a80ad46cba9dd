/*
 * A batch's last steps: renames, the directories' sync, and what each delivery is answered.
 *
 * A name that couldn't be made durable is taken out of new/ again: after a failed sync the kernel
 * considers the directory clean, and the next try must not find the file there and believe it safe.
 */
#include <sys/stat.h>
#include <stdio.h>

#include "common/log.h"
#include "deliver/batch_state.h"
#include "deliver/failure.h"

void
batch_place(struct batch *batch)
{
	size_t i;

	for (i = 0; i < batch->count; i++) {
		struct delivery *delivery = batch->deliveries[i];
		struct mailbox *mailbox = delivery->mailbox;

		if (delivery->state == DELIVERY_WRITTEN) {
			switch (
			    maildir_place(&mailbox->maildir, delivery->temporary, delivery->name,
			        delivery->in_cur, delivery->size, &delivery->result.reply)) {
			case MAILDIR_PLACED:
				delivery->state = DELIVERY_PLACED;
				break;
			case MAILDIR_WAS_THERE:
				maildir_remove_temporary(&mailbox->maildir, delivery->temporary);
				delivery->state = DELIVERY_FOUND;
				break;
			case MAILDIR_FAILED:
				delivery_fail(delivery);
				break;
			}
		}
		if (delivery->state == DELIVERY_PLACED || delivery->state == DELIVERY_FOUND) {
			if (delivery->in_cur)
				mailbox->cur_touched = true;
			else
				mailbox->new_touched = true;
			mailbox->inbox->folder_touched |= mailbox->inbox != mailbox;
		}
	}
}

static dev_t
device_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? st.st_dev : 0;
}

static void
add_directory(struct batch *batch, size_t *count, int fd, struct mailbox *mailbox)
{
	batch->items[(*count)++] = (struct sync_item){
		.fd = fd, .device = device_of(fd), .directory = true, .error = &mailbox->error
	};
}

static bool
is_touched(const struct mailbox *mailbox)
{
	return mailbox->new_touched || mailbox->cur_touched || mailbox->folder_touched;
}

void
batch_sync_directories(struct batch *batch)
{
	size_t i, parent, count = 0;

	for (i = 0; i < batch->mailbox_count; i++) {
		struct mailbox *mailbox = batch->mailboxes[i];
		struct maildir *maildir = &mailbox->maildir;

		if (mailbox->new_touched)
			add_directory(batch, &count, maildir->new, mailbox);
		if (mailbox->cur_touched)
			add_directory(batch, &count, maildir->cur, mailbox);
		if (!is_touched(mailbox))
			continue;
		for (parent = 0; parent < maildir->parent_count; parent++)
			add_directory(batch, &count, maildir->parents[parent], mailbox);
	}
	sync_all(&batch->context->sync, batch->items, count);
	for (i = 0; i < batch->mailbox_count; i++) {
		struct mailbox *mailbox = batch->mailboxes[i];

		if (mailbox->error != 0)
			known_forget(&batch->context->known, &mailbox->maildir.identity);
		else if (is_touched(mailbox) && mailbox->maildir.first_use)
			known_add(&batch->context->known, &mailbox->maildir.identity);
	}
}

/* Of the sync of the directories that a mailbox's name hangs on. */
static int
sync_error(const struct mailbox *mailbox)
{
	return mailbox->error != 0 ? mailbox->error : mailbox->inbox->error;
}

static void
take_back(struct delivery *delivery)
{
	struct mailbox *mailbox = delivery->mailbox;

	if (!maildir_take_back(&mailbox->maildir, delivery->name, delivery->in_cur))
		log_error(
		    "%s/%s/%s may be lost at a power cut and can't be removed: check the disk",
		    mailbox->maildir.path, delivery->in_cur ? "cur" : "new", delivery->name);
}

static void
not_durable(struct delivery *delivery)
{
	struct mailbox *mailbox = delivery->mailbox;

	failure_set(&delivery->result.reply, sync_error(mailbox), "sync directories of",
	    mailbox->maildir.path);
	/* One found there may be an earlier try's that was not durable either. */
	if (delivery->state == DELIVERY_PLACED ||
	    (delivery->state == DELIVERY_FOUND && !delivery->in_cur))
		take_back(delivery);
	delivery->state = DELIVERY_FAILED;
}

static bool
is_there(const struct delivery *delivery)
{
	return delivery->state == DELIVERY_PLACED || delivery->state == DELIVERY_FOUND;
}

/* Of a message that goes to several places and failed at one, nothing stays: it will come to all of
 * them when it is tried again. The primary has the reply of the first that failed. */
static void
fail_together(struct batch *batch)
{
	for (size_t i = batch->given; i < batch->count; i++) {
		struct delivery *extra = batch->deliveries[i], *primary = extra->primary;

		if (extra->state != DELIVERY_FAILED || primary->state == DELIVERY_FAILED)
			continue;
		primary->result.reply = extra->result.reply;
		if (primary->state == DELIVERY_PLACED)
			take_back(primary);
		primary->state = DELIVERY_FAILED;
	}
	for (size_t i = batch->given; i < batch->count; i++) {
		struct delivery *extra = batch->deliveries[i];

		if (extra->primary->state != DELIVERY_FAILED)
			continue;
		if (extra->state == DELIVERY_PLACED)
			take_back(extra);
		extra->state = DELIVERY_FAILED;
	}
}

static void
success(struct delivery *delivery)
{
	struct mailbox *mailbox = delivery->mailbox->inbox;
	struct ipc_delivered *result = &delivery->result;

	result->was_there = delivery->state == DELIVERY_FOUND;
	if (!result->was_there) {
		mailbox->done_bytes += delivery->size;
		mailbox->done_messages++;
	}
	reply_set(&result->reply, 250, "2.1.5", "delivered to mailbox");
	snprintf(result->file, sizeof(result->file), "%s/%s", delivery->in_cur ? "cur" : "new",
	    delivery->name);
	delivery_set_place(delivery, "", delivery->mailbox->maildir.path);
	if (mailbox->quota_loaded) {
		result->usage.known = true;
		result->usage.bytes = mailbox->quota.bytes + mailbox->done_bytes;
		result->usage.messages = mailbox->quota.messages + mailbox->done_messages;
	}
	delivery->state = DELIVERY_DONE;
}

/* Whom a reply can't be remembered for would get one for each of his messages: rather none. */
static void
drop_replies(struct batch *batch, const struct mailbox *inbox)
{
	for (size_t i = 0; i < batch->given; i++) {
		struct delivery *delivery = batch->deliveries[i];

		if (delivery->result.effects == NULL || delivery->mailbox == NULL ||
		    delivery->mailbox->inbox != inbox)
			continue;
		delivery->result.effects->has_reply = false;
		if (delivery->result.effects->redirect_count == 0)
			ipc_delivered_free(&delivery->result);
	}
}

void
batch_finish(struct batch *batch)
{
	size_t i;

	for (i = 0; i < batch->count; i++) {
		struct delivery *delivery = batch->deliveries[i];

		if (is_there(delivery) && sync_error(delivery->mailbox) != 0)
			not_durable(delivery);
	}
	fail_together(batch);
	for (i = 0; i < batch->count; i++) {
		if (is_there(batch->deliveries[i]))
			success(batch->deliveries[i]);
	}
	for (i = 0; i < batch->given; i++) {
		struct delivery *delivery = batch->deliveries[i];

		if (delivery->state != DELIVERY_FAILED)
			continue;
		ipc_delivered_free(&delivery->result);
		if (delivery->mailbox != NULL && delivery->mailbox->inbox->script_loaded)
			memory_forget(
			    &delivery->mailbox->inbox->memory, delivery->request.envelope_id);
	}
	for (i = 0; i < batch->mailbox_count; i++) {
		struct mailbox *mailbox = batch->mailboxes[i];

		if (mailbox->script_loaded && !memory_save(&mailbox->memory, mailbox->maildir.path))
			drop_replies(batch, mailbox);
		if (mailbox->quota_loaded && mailbox->done_messages > 0)
			quota_append(
			    mailbox->maildir.root, mailbox->done_bytes, mailbox->done_messages);
	}
}
