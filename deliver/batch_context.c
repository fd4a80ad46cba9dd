/*
 * What stays from batch to batch, and the deliveries that a batch is made of.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/stdlib.h>

#include "common/log.h"
#include "deliver/batch_state.h"
#include "deliver/text.h"

void
batch_context_init(struct batch_context *context, const char *hostname, const char *mail_directory)
{
	memset(context, 0, sizeof(*context));
	batch_context_set(context, hostname, mail_directory);
	context->nonce = arc4random();
	context->queue_fd = -1;
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

void
delivery_set_place(struct delivery *delivery, const char *before, const char *path)
{
	char *place = delivery->result.place;
	size_t size = sizeof(delivery->result.place);

	if ((size_t)snprintf(place, size, "%s%s", before, path) >= size)
		*place = '\0';
}

size_t
batch_limit(size_t descriptors)
{
	/* A delivery's message and file; a mailbox of its own, its way kept open; a folder of it. An
	 * extra's file and folder. */
	const size_t each = 2 + 4 + 6 + 4 + 2, reserve = 32 + EXTRAS_MAX * (1 + 4 + 2);

	return descriptors > reserve + each ? (descriptors - reserve) / each : 1;
}

void
delivery_fail(struct delivery *delivery)
{
	if (delivery->state == DELIVERY_WRITTEN || delivery->file != -1)
		maildir_remove_temporary(&delivery->mailbox->maildir, delivery->temporary);
	delivery->state = DELIVERY_FAILED;
}
