/*
 * For each file: lock, look for what earlier tries delivered, cut off what a crash left half done,
 * append, sync, unlock. A message that fails drops out with its own reply and leaves the file as it
 * was. A sync that fails takes all of this batch back; what an earlier try had appended isn't
 * believed any more after that, since the kernel would now say that it is safe: it is appended again.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "common/quota.h"
#include "deliver/failure.h"
#include "deliver/mbox.h"
#include "deliver/mbox_batch.h"

struct group {
	struct batch_context *context;
	struct delivery **deliveries;
	size_t count;
	struct mbox mbox;
};

static void
fail(struct delivery *delivery, int error, const char *doing)
{
	failure_set(&delivery->result.reply, error, doing, delivery->request.mailbox.path);
	delivery->state = DELIVERY_FAILED;
}

static void
fail_all(struct group *group, const struct reply *why)
{
	for (size_t i = 0; i < group->count; i++) {
		group->deliveries[i]->result.reply = *why;
		group->deliveries[i]->state = DELIVERY_FAILED;
	}
}

/* What was found, and the torn one cut off. */
static void
take_found(
    struct group *group, const struct mbox_wanted *wanted, struct delivery **asked, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		switch (wanted[i].found) {
		case MBOX_ABSENT:
			break;
		case MBOX_WHOLE:
			asked[i]->state = DELIVERY_FOUND;
			break;
		case MBOX_TORN:
			if (!mbox_cut(&group->mbox, wanted[i].offset))
				fail(asked[i], EIO, "cut back");
			break;
		}
	}
}

static void
find(struct group *group)
{
	struct mbox_wanted *wanted = calloc(group->count, sizeof(*wanted));
	struct delivery **asked = calloc(group->count, sizeof(*asked));
	size_t count = 0;
	int error = ENOMEM;

	for (size_t i = 0; i < group->count && wanted != NULL && asked != NULL; i++) {
		if (!group->deliveries[i]->request.maybe_delivered)
			continue;
		wanted[count].request = &group->deliveries[i]->request;
		wanted[count].message = group->deliveries[i]->message;
		asked[count++] = group->deliveries[i];
	}
	if (wanted != NULL && asked != NULL &&
	    (count == 0 || mbox_find(&group->mbox, wanted, count, group->context->chunk))) {
		take_found(group, wanted, asked, count);
	} else {
		if (wanted != NULL && asked != NULL)
			error = errno;
		for (size_t i = 0; i < group->count; i++) {
			if (group->deliveries[i]->request.maybe_delivered)
				fail(group->deliveries[i], error, "read");
		}
	}
	free(wanted);
	free(asked);
}

/* With what is appended, up to the quota. False with the reply set. */
static bool
check_quota(struct group *group, struct delivery *delivery)
{
	const struct ipc_deliver *request = &delivery->request;
	const struct quota quota = { .limits.bytes = request->mailbox.quota_bytes,
		.bytes = group->mbox.size };

	if (request->mailbox.quota_bytes == 0 || !quota_is_exceeded(&quota, request->size))
		return true;
	quota_reply(&quota, request->size, request->mailbox.user, &delivery->result.reply);
	delivery->state = DELIVERY_FAILED;
	return false;
}

/* The next queue's mda looks for what is here, and may have had the lock before: then all would come
 * twice. */
static bool
queue_is_gone(const struct group *group)
{
	struct pollfd queue = { .fd = group->context->queue_fd };

	return poll(&queue, 1, 0) == 1 && (queue.revents & (POLLHUP | POLLERR)) != 0;
}

static void
append(struct group *group)
{
	if (queue_is_gone(group)) {
		for (size_t i = 0; i < group->count; i++) {
			if (group->deliveries[i]->state == DELIVERY_NEW)
				fail(group->deliveries[i], ECANCELED, "append to");
		}
		return;
	}
	for (size_t i = 0; i < group->count; i++) {
		struct delivery *delivery = group->deliveries[i];

		if (delivery->state != DELIVERY_NEW || !check_quota(group, delivery))
			continue;
		if (mbox_append(
		        &group->mbox, &delivery->request, delivery->message, group->context->chunk))
			delivery->state = DELIVERY_PLACED;
		else
			fail(delivery, errno, "append to");
	}
}

static void
finish(struct group *group, int error)
{
	for (size_t i = 0; i < group->count; i++) {
		struct delivery *delivery = group->deliveries[i];

		if (delivery->state != DELIVERY_PLACED && delivery->state != DELIVERY_FOUND)
			continue;
		if (error != 0) {
			fail(delivery, error, "sync");
			continue;
		}
		delivery->result.was_there = delivery->state == DELIVERY_FOUND;
		reply_set(&delivery->result.reply, 250, "2.1.5", "delivered to mailbox");
		delivery_set_place(delivery, "", delivery->request.mailbox.path);
		delivery->state = DELIVERY_DONE;
	}
}

static bool
has_work_to_sync(const struct group *group)
{
	for (size_t i = 0; i < group->count; i++) {
		if (group->deliveries[i]->state == DELIVERY_PLACED ||
		    group->deliveries[i]->state == DELIVERY_FOUND)
			return true;
	}
	return false;
}

static void
deliver(struct group *group)
{
	struct batch_context *context = group->context;
	struct mbox *mbox = &group->mbox;
	uint64_t before;
	int error = 0;

	if (known_find(&context->distrusted, &mbox->identity) == NULL)
		find(group);
	before = mbox->size;
	append(group);
	for (size_t i = 0; i < group->count; i++)
		mbox->is_new = mbox->is_new || group->deliveries[i]->state == DELIVERY_FOUND;
	if (has_work_to_sync(group) && !mbox_sync(mbox)) {
		error = errno;
		(void)mbox_cut(mbox, before);
		known_add(&context->distrusted, &mbox->identity);
	}
	finish(group, error);
}

void
mbox_batch_deliver(struct batch_context *context, struct delivery **deliveries, size_t count)
{
	struct delivery **members = calloc(count, sizeof(*members));
	struct group group = { .context = context, .deliveries = members };
	struct reply why;

	for (size_t i = 0; i < count; i++) {
		const char *path = deliveries[i]->request.mailbox.path;

		if (members == NULL) {
			fail(deliveries[i], ENOMEM, "deliver to");
			continue;
		}
		/* Those that were in an earlier one's group have their answer. */
		if (deliveries[i]->result.reply.code != 0)
			continue;
		group.count = 0;
		for (size_t k = i; k < count; k++) {
			if (strcmp(deliveries[k]->request.mailbox.path, path) == 0)
				members[group.count++] = deliveries[k];
		}
		if (!mbox_open(
		        &group.mbox, &members[0]->request.mailbox, context->mail_directory, &why)) {
			fail_all(&group, &why);
			continue;
		}
		deliver(&group);
		mbox_close(&group.mbox);
	}
	free(members);
}
