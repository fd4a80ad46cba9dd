/*
 * The steps of a batch, in their order. The durability contract is this order: a name in new/ never
 * stands for data that isn't on the disk, and no success is told of a name that isn't.
 *
 * A name that couldn't be made durable is taken out of new/ again: after a failed sync the kernel
 * considers the directory clean, and the next try must not find the file there and believe it safe.
 */
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/stdlib.h>

#include "common/clock.h"
#include "common/log.h"
#include "deliver/batch.h"
#include "deliver/failure.h"
#include "deliver/maildir.h"
#include "deliver/text.h"

#define WRITE_EARLY (256 * 1024) /* bytes of a file whose way to the disk begins at once */
#define EXTRAS_MAX  8            /* further places of messages, in one round */

_Static_assert(EXTRAS_MAX >= SCRIPT_PLACES_MAX - 1, "any one message fits into a round");

/* A mailbox of this batch, and what all its messages share. */
struct mailbox {
	char path[PATH_TEXT_MAX + 1]; /* as asked for */
	char folder[MAILDIR_FOLDER_MAX + 1];
	struct mailbox *inbox; /* of this folder, or itself: has the lock and the quota */
	struct maildir maildir;
	bool absent; /* a folder that isn't there */
	bool is_new; /* a folder that this batch has made */
	bool open;
	bool script_loaded; /* looked for, at least */
	const struct sieve *script;
	struct script_memory memory;
	struct reply why; /* not open */
	bool quota_loaded;
	struct quota quota;
	uint64_t pending_bytes; /* of this batch, not in `quota` */
	uint64_t pending_messages;
	uint64_t done_bytes;
	uint64_t done_messages;
	bool new_touched;
	bool cur_touched;
	bool folder_touched; /* one of its folders */
	int error;           /* of its directories' sync */
};

struct batch {
	struct batch_context *context;
	struct delivery **deliveries; /* a list of its own: those given, then the extras */
	size_t count;
	size_t given;
	struct mailbox **mailboxes; /* each made when it is met: there are mostly few */
	size_t mailbox_count;
	struct sync_item *items;
	struct maildir_wanted *wanted;
};

void
batch_context_init(struct batch_context *context, const char *hostname, const char *mail_directory)
{
	memset(context, 0, sizeof(*context));
	batch_context_set(context, hostname, mail_directory);
	context->nonce = arc4random();
	context->scripts = script_cache_new();
	batch_context_set_delimiters(context, "+");
	sync_state_init(&context->sync);
	context->chunk = malloc(TEXT_CHUNK);
	if (context->chunk == NULL)
		fatal("malloc");
}

void
batch_context_set(struct batch_context *context, const char *hostname, const char *mail_directory)
{
	name_host(hostname, context->host);
	snprintf(context->mail_directory, sizeof(context->mail_directory), "%s", mail_directory);
}

void
batch_context_set_delimiters(struct batch_context *context, const char *delimiters)
{
	snprintf(context->delimiters, sizeof(context->delimiters), "%s", delimiters);
}

void
batch_context_free(struct batch_context *context)
{
	script_cache_free(context->scripts);
	context->scripts = NULL;
	free(context->chunk);
	context->chunk = NULL;
}

struct delivery *
delivery_new(const struct ipc_deliver *request, uint32_t request_id, int message)
{
	struct delivery *delivery = calloc(1, sizeof(*delivery));

	if (delivery == NULL) {
		if (message != -1)
			close(message);
		return NULL;
	}
	delivery->request = *request;
	delivery->request_id = request_id;
	delivery->message = message;
	delivery->file = -1;
	delivery->result.envelope_id = request->envelope_id;
	return delivery;
}

void
delivery_free(struct delivery *delivery)
{
	if (delivery == NULL)
		return;
	if (delivery->message != -1 && delivery->primary == NULL)
		close(delivery->message);
	if (delivery->file != -1)
		close(delivery->file);
	ipc_delivered_free(&delivery->result);
	free(delivery);
}

size_t
batch_limit(size_t descriptors)
{
	/* A delivery's message and file; a mailbox of its own, its way kept open; a folder of it. An
	 * extra's file and folder. */
	const size_t each = 2 + 4 + 6 + 4 + 2, reserve = 32 + EXTRAS_MAX * (1 + 4 + 2);

	return descriptors > reserve + each ? (descriptors - reserve) / each : 1;
}

static void
fail(struct delivery *delivery)
{
	if (delivery->state == DELIVERY_WRITTEN || delivery->file != -1)
		maildir_remove_temporary(&delivery->mailbox->maildir, delivery->temporary);
	delivery->state = DELIVERY_FAILED;
}

static const char *
mailbox_words(const struct ipc_mailbox *mailbox)
{
	return mailbox->user[0] != '\0' ? mailbox->user : mailbox->path;
}

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
	if (!inbox->script_loaded) {
		inbox->script = script_find(batch->context->scripts, &inbox->maildir);
		inbox->script_loaded = true;
		memory_init(&inbox->memory, inbox->maildir.root);
	}
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
	if (!text_write(&text, delivery->file, &request->sender,
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

static void
step_open(struct batch *batch)
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
static void
step_find(struct batch *batch)
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

static void
step_write(struct batch *batch)
{
	for (size_t i = 0; i < batch->count; i++) {
		struct delivery *delivery = batch->deliveries[i];

		if (delivery->state == DELIVERY_NEW && !write_one(batch, delivery))
			fail(delivery);
	}
}

static void
step_sync_files(struct batch *batch)
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
			fail(delivery);
		}
	}
}

static void
step_place(struct batch *batch)
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
				fail(delivery);
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

static void
step_sync_directories(struct batch *batch)
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
	snprintf(result->file, sizeof(result->file), "%s", delivery->name);
	if (mailbox->quota_loaded) {
		result->usage.known = true;
		result->usage.bytes = mailbox->quota.bytes + mailbox->done_bytes;
		result->usage.messages = mailbox->quota.messages + mailbox->done_messages;
	}
	delivery->state = DELIVERY_DONE;
}

static void
step_finish(struct batch *batch)
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
		if (batch->deliveries[i]->state == DELIVERY_FAILED)
			ipc_delivered_free(&batch->deliveries[i]->result);
	}
	for (i = 0; i < batch->mailbox_count; i++) {
		struct mailbox *mailbox = batch->mailboxes[i];

		if (mailbox->script_loaded)
			memory_save(&mailbox->memory, mailbox->maildir.path);
		if (mailbox->quota_loaded && mailbox->done_messages > 0)
			quota_append(
			    mailbox->maildir.root, mailbox->done_bytes, mailbox->done_messages);
	}
}

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

	step_open(batch);
	step_find(batch);
	step_write(batch);
	trace_step(batch, "write", &since);
	step_sync_files(batch);
	trace_step(batch, "sync-files", &since);
	step_place(batch);
	trace_step(batch, "place", &since);
	step_sync_directories(batch);
	trace_step(batch, "sync-directories", &since);
	step_finish(batch);
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
