/*
 * A batch's first steps: which mailbox and folder each delivery goes to, which its owner's script may
 * say, and what an earlier try has delivered already.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "deliver/batch_state.h"
#include "deliver/failure.h"

/* An open mailbox of this batch that is the same directory under another path. */
static struct mailbox *
same_mailbox(struct batch *batch, const struct maildir *maildir)
{
	size_t i;

	for (i = 0; i < batch->mailbox_count; i++) {
		struct mailbox *mailbox = batch->mailboxes[i];
		const struct known_entry *identity = &mailbox->maildir.identity;

		if (mailbox->open && mailbox->inbox == mailbox &&
		    identity->device == maildir->identity.device &&
		    identity->inode == maildir->identity.inode)
			return mailbox;
	}
	return NULL;
}

static struct mailbox *
mailbox_new(void)
{
	struct mailbox *mailbox = calloc(1, sizeof(*mailbox));

	if (mailbox == NULL)
		fatal("a mailbox");
	return mailbox;
}

static struct mailbox *
mailbox_of(struct batch *batch, const struct ipc_mailbox *request)
{
	struct mailbox *mailbox, *same;
	bool absent;
	size_t i;

	for (i = 0; i < batch->mailbox_count; i++) {
		mailbox = batch->mailboxes[i];
		if (mailbox->inbox == mailbox && strcmp(mailbox->path, request->path) == 0)
			return mailbox;
	}
	mailbox = mailbox_new();
	snprintf(mailbox->path, sizeof(mailbox->path), "%s", request->path);
	mailbox->inbox = mailbox;
	mailbox->open = maildir_open(&mailbox->maildir, request, batch->context->mail_directory,
	    true, &batch->context->known, &absent, &mailbox->why);
	if (mailbox->open) {
		same = same_mailbox(batch, &mailbox->maildir);
		if (same != NULL) {
			maildir_close(&mailbox->maildir);
			free(mailbox);
			return same;
		}
		if (!maildir_lock(&mailbox->maildir, &mailbox->why)) {
			maildir_close(&mailbox->maildir);
			mailbox->open = false;
		}
	}
	batch->mailboxes[batch->mailbox_count++] = mailbox;
	return mailbox;
}

/* A folder of an open mailbox. */
static struct mailbox *
folder_of(struct batch *batch, struct mailbox *inbox, const struct maildir_into *into)
{
	struct mailbox *folder;

	for (size_t i = 0; i < batch->mailbox_count; i++) {
		folder = batch->mailboxes[i];
		/* One that was not to be made may have to be now. */
		if (folder->inbox == inbox && folder != inbox &&
		    strcmp(folder->folder, into->folder) == 0 && (!folder->absent || !into->create))
			return folder;
	}
	folder = batch->mailboxes[batch->mailbox_count++] = mailbox_new();
	snprintf(folder->folder, sizeof(folder->folder), "%s", into->folder);
	folder->inbox = inbox;
	folder->open = maildir_open_folder(&folder->maildir, &inbox->maildir, into->folder,
	    into->create, &batch->context->known, &folder->absent, &folder->is_new, &folder->why);
	return folder;
}

/* Where the delivery goes, in that mailbox. */
static struct mailbox *
place_of(struct batch *batch, struct mailbox *inbox, const struct maildir_into *into)
{
	struct mailbox *folder;

	if (*into->folder == '\0')
		return inbox;
	folder = folder_of(batch, inbox, into);
	return folder->absent ? inbox : folder;
}

static void
set_place(struct batch *batch, struct delivery *delivery, struct mailbox *inbox,
    const struct maildir_into *into)
{
	delivery->into = *into;
	delivery->mailbox = place_of(batch, inbox, into);
	if (!delivery->mailbox->open) {
		delivery->result.reply = delivery->mailbox->why;
		delivery->state = DELIVERY_FAILED;
	} else if (*into->keywords != '\0') {
		maildir_set_keywords(&delivery->mailbox->maildir, &delivery->into);
	}
}

/* One more delivery of the same message, unless it goes where another of them does already: a folder
 * that is missing is INBOX. False without memory. */
static bool
add_extra(struct batch *batch, struct delivery *delivery, struct mailbox *inbox,
    const struct maildir_into *into)
{
	struct delivery *extra = delivery_new(&delivery->request, 0, -1);

	if (extra == NULL)
		return false;
	memcpy(extra->prefix, delivery->prefix, sizeof(extra->prefix));
	extra->primary = delivery;
	extra->message = delivery->message;
	set_place(batch, extra, inbox, into);
	for (size_t i = 0; i < batch->count; i++) {
		const struct delivery *other = batch->deliveries[i];

		if ((other == delivery || other->primary == delivery) &&
		    other->mailbox == extra->mailbox) {
			delivery_free(extra);
			return true;
		}
	}
	batch->deliveries[batch->count++] = extra;
	return true;
}

/* Finds out where the message goes, which its owner's script may say. */
static void
decide(struct batch *batch, struct delivery *delivery)
{
	struct mailbox *inbox = mailbox_of(batch, &delivery->request.mailbox);
	struct script_decision decision;

	delivery->mailbox = inbox;
	if (!inbox->open) {
		delivery->result.reply = inbox->why;
		delivery->state = DELIVERY_FAILED;
		return;
	}
	if (!inbox->script_loaded)
		memory_init(&inbox->memory, inbox->maildir.root);
	if (!inbox->script_loaded || (inbox->script != NULL && batch->asked_last != inbox)) {
		inbox->script = script_find(batch->context->scripts, &inbox->maildir);
		batch->asked_last = inbox;
	}
	inbox->script_loaded = true;
	script_decide(inbox->script, &inbox->maildir, &inbox->memory, &delivery->request,
	    delivery->message, batch->context->delimiters, &delivery->into, &decision);
	delivery->result.effects = decision.effects;
	if (decision.is_rejected) {
		delivery->result.reply = decision.reply;
		delivery->state = DELIVERY_FAILED;
		return;
	}
	if (decision.place_count == 0) {
		reply_set(&delivery->result.reply, 250, "2.1.5",
		    "not stored, as its owner's script says");
		delivery->state = DELIVERY_DONE;
		return;
	}
	if (batch->count + decision.place_count - 1 > batch->given + EXTRAS_MAX) {
		ipc_delivered_free(&delivery->result);
		delivery->state = DELIVERY_PUT_OFF;
		return;
	}
	set_place(batch, delivery, inbox, &decision.places[0]);
	for (size_t i = 1; i < decision.place_count; i++) {
		if (!add_extra(batch, delivery, inbox, &decision.places[i])) {
			failure_set(&delivery->result.reply, ENOMEM, "deliver to", inbox->path);
			delivery->state = DELIVERY_FAILED;
			return;
		}
	}
}

void
batch_open(struct batch *batch)
{
	for (size_t i = 0; i < batch->given; i++) {
		struct delivery *delivery = batch->deliveries[i];

		if (delivery->state != DELIVERY_NEW)
			continue;
		name_prefix(
		    delivery->request.created_us, delivery->request.envelope_id, delivery->prefix);
		decide(batch, delivery);
	}
}

/* Looks for what earlier tries may have delivered. After a restart that may be much mail for one
 * large mailbox: each is read once for all of it. */
void
batch_find(struct batch *batch)
{
	struct maildir_wanted *wanted = batch->wanted;

	for (size_t i = 0; i < batch->mailbox_count; i++) {
		struct mailbox *mailbox = batch->mailboxes[i];
		size_t count = 0;

		for (size_t k = 0; k < batch->count; k++) {
			struct delivery *delivery = batch->deliveries[k];

			if (delivery->mailbox != mailbox || delivery->state != DELIVERY_NEW ||
			    !delivery->request.maybe_delivered)
				continue;
			memcpy(wanted[count].prefix, delivery->prefix, sizeof(delivery->prefix));
			wanted[count].found = &delivery->found;
			wanted[count].name = delivery->name;
			wanted[count++].why = &delivery->result.reply;
		}
		if (count > 0)
			maildir_find(&mailbox->maildir, wanted, count);
	}
}
