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
	relay_policy_fn policy_done; /* instead */
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
	static const struct ipc_sts_found no_policy = { .status = RELAY_FOUND_BROKEN };
	struct question *question = owner;

	(void)id;
	(void)why;
	if (!directory->is_closing && question->policy_done != NULL)
		question->policy_done(&no_policy, true, question->arg);
	else if (!directory->is_closing)
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

/* Its id; what it asks is sent by the caller, when there is a directory. */
static uint32_t
add_question(struct relay_directory *directory, relay_directory_fn done,
    relay_policy_fn policy_done, void *arg)
{
	struct question *question = calloc(1, sizeof(*question));

	if (question == NULL)
		fatal("question");
	question->done = done;
	question->policy_done = policy_done;
	question->arg = arg;
	return pending_add(
	    directory->pending, question, directory->channel != NULL ? directory->deadline_ms : 1);
}

uint32_t
relay_directory_ask(struct relay_directory *directory, enum relay_lookup what, const char *action,
    const char *key, relay_directory_fn done, void *arg)
{
	struct ipc_relay_lookup lookup = { .what = what };
	uint32_t id = add_question(directory, done, NULL, arg);
	struct buf payload;

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

uint32_t
relay_directory_ask_policy(
    struct relay_directory *directory, const char *name, bool due, relay_policy_fn done, void *arg)
{
	uint32_t id = add_question(directory, NULL, done, arg);
	struct ipc_sts_domain domain;
	struct buf payload;

	if (directory->channel == NULL)
		return id;
	strlcpy(domain.domain, name, sizeof(domain.domain));
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_sts_domain_encode(&payload, &domain);
	channel_send(directory->channel,
	    due ? RELAY_DIRECTORY_POLICY_DUE : RELAY_DIRECTORY_POLICY_GET, id, 0, -1, &payload);
	buf_free(&payload);
	return id;
}

bool
relay_directory_keep_policy(struct relay_directory *directory, const struct ipc_sts_policy *policy)
{
	struct buf payload;

	if (directory->channel == NULL)
		return false;
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_sts_policy_encode(&payload, policy);
	channel_send(directory->channel, RELAY_DIRECTORY_POLICY_PUT, 0, 0, -1, &payload);
	buf_free(&payload);
	return true;
}

void
relay_directory_forget(struct relay_directory *directory, uint32_t id)
{
	free(pending_take(directory->pending, id));
}

static bool
receive_policy(struct relay_directory *directory, const struct imsg *imsg)
{
	static struct ipc_sts_found found;
	struct buf_reader reader;
	struct question *question;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_sts_found_decode(&reader, &found))
		return false;
	question = pending_get(directory->pending, imsg->id);
	if (question == NULL)
		return true;
	if (question->policy_done == NULL)
		return false;
	(void)pending_take(directory->pending, imsg->id);
	question->policy_done(&found, false, question->arg);
	free(question);
	return true;
}

static bool
receive_found(struct relay_directory *directory, const struct imsg *imsg)
{
	struct ipc_relay_found found;
	struct buf_reader reader;
	struct question *question;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (!ipc_relay_found_decode(&reader, &found))
		return false;
	question = pending_get(directory->pending, imsg->id);
	if (question != NULL && question->done == NULL)
		return false;
	(void)pending_take(directory->pending, imsg->id);
	if (question != NULL)
		question->done(&found, question->arg);
	free(question);
	explicit_bzero(&found, sizeof(found));
	return true;
}

bool
relay_directory_receive(struct relay_directory *directory, struct imsg *imsg)
{
	if (imsg->fd != -1)
		return false;
	if (imsg->type == DIRECTORY_RELAY_POLICY)
		return receive_policy(directory, imsg);
	return imsg->type == DIRECTORY_RELAY_FOUND && receive_found(directory, imsg);
}
