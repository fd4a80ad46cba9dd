/*
 * A question waits in `pending` under its id. While there is no directory it fails in the next turn
 * of the loop. What is found may be a password: it is wiped when it has been handed over.
 */
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "common/log.h"
#include "common/pending.h"
#include "deliver/relay_directory.h"

struct question {
	relay_directory_fn done;
	void *arg;
};

struct relay_directory {
	struct pending *pending;
	struct channel *channel;
	unsigned deadline_ms;
	bool is_closing; /* nobody is to be called any more */
};

static void
on_failed(void *owner, uint32_t id, const char *why, void *arg)
{
	const struct relay_directory *directory = arg;
	const struct ipc_relay_found broken = { .status = RELAY_FOUND_BROKEN };
	struct question *question = owner;

	(void)id;
	(void)why;
	if (!directory->is_closing)
		question->done(&broken, question->arg);
	free(question);
}

struct relay_directory *
relay_directory_new(struct event_base *base, unsigned deadline_ms)
{
	struct relay_directory *directory = calloc(1, sizeof(*directory));

	if (directory == NULL)
		fatal("directory");
	directory->pending = pending_new(base, on_failed, directory);
	directory->deadline_ms = deadline_ms;
	return directory;
}

void
relay_directory_free(struct relay_directory *directory)
{
	if (directory == NULL)
		return;
	directory->is_closing = true;
	pending_fail_all(directory->pending, "");
	pending_free(directory->pending);
	free(directory);
}

void
relay_directory_set_channel(struct relay_directory *directory, struct channel *channel)
{
	directory->channel = channel;
	pending_fail_all(directory->pending, "it died");
}

uint32_t
relay_directory_ask(struct relay_directory *directory, enum relay_lookup what, const char *action,
    const char *key, relay_directory_fn done, void *arg)
{
	struct question *question = calloc(1, sizeof(*question));
	struct ipc_relay_lookup lookup = { .what = what };
	struct buf payload;
	uint32_t id;

	if (question == NULL)
		fatal("question");
	question->done = done;
	question->arg = arg;
	id = pending_add(
	    directory->pending, question, directory->channel != NULL ? directory->deadline_ms : 1);
	if (directory->channel == NULL)
		return id;
	strlcpy(lookup.action, action, sizeof(lookup.action));
	strlcpy(lookup.key, key, sizeof(lookup.key));
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_relay_lookup_encode(&payload, &lookup);
	channel_send(directory->channel, RELAY_DIRECTORY_LOOKUP, id, 0, -1, &payload);
	buf_free(&payload);
	return id;
}

void
relay_directory_forget(struct relay_directory *directory, uint32_t id)
{
	free(pending_take(directory->pending, id));
}

bool
relay_directory_receive(struct relay_directory *directory, struct imsg *imsg)
{
	struct ipc_relay_found found;
	struct buf_reader reader;
	struct question *question;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (imsg->type != DIRECTORY_RELAY_FOUND || imsg->fd != -1 ||
	    !ipc_relay_found_decode(&reader, &found))
		return false;
	question = pending_take(directory->pending, imsg->id);
	if (question != NULL)
		question->done(&found, question->arg);
	free(question);
	explicit_bzero(&found, sizeof(found));
	return true;
}
