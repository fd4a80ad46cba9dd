/*
 * Requests under way are kept whole until they are answered, for a keeper that takes another's
 * place. A request is sent to two keepers at most: one that kills each keeper that it meets would
 * do so for ever.
 */
#include <stdlib.h>

#include "common/keeper_client.h"
#include "common/log.h"
#include "common/pending.h"

#define TRIES_MAX 2

struct keeper_client {
	struct event_base *base;
	struct channel *channel; /* NULL while it is away */
	struct pending *waiting;
	unsigned limit_ms;
	TAILQ_HEAD(keeper_requests, keeper_request) requests;
};

static void
finish(struct keeper_client *client, struct keeper_request *request)
{
	TAILQ_REMOVE(&client->requests, request, link);
	buf_free(&request->payload);
	request->id = 0;
}

static void
fail(struct keeper_client *client, struct keeper_request *request, const char *why)
{
	finish(client, request);
	request->answered(request, NULL, 0, why);
}

static void
on_failed(void *owner, uint32_t id, const char *why, void *arg)
{
	(void)id;
	fail(arg, owner, why);
}

struct keeper_client *
keeper_client_new(struct event_base *base, unsigned limit_ms)
{
	struct keeper_client *client = calloc(1, sizeof(*client));

	if (client == NULL)
		fatal("keeper client");
	client->base = base;
	client->limit_ms = limit_ms;
	client->waiting = pending_new(base, on_failed, client);
	TAILQ_INIT(&client->requests);
	return client;
}

void
keeper_client_free(struct keeper_client *client)
{
	if (client == NULL)
		return;
	while (!TAILQ_EMPTY(&client->requests))
		keeper_client_cancel(client, TAILQ_FIRST(&client->requests));
	channel_free(client->channel);
	pending_free(client->waiting);
	free(client);
}

static void
answer(struct keeper_client *client, const struct imsg *imsg, const char *why)
{
	struct keeper_request *request = pending_take(client->waiting, imsg->id);

	if (request == NULL)
		return; /* too late */
	if (why != NULL) {
		fail(client, request, why);
		return;
	}
	finish(client, request);
	request->answered(request, imsg->payload, imsg->length, NULL);
}

static void
on_receive(struct channel *channel, struct imsg *imsg, void *arg)
{
	struct ipc_sign_refused refused;
	struct buf_reader reader;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (imsg->type == KEEPER_SIGNED && imsg->length > 0 && imsg->length <= KEEPER_SIGNATURE_MAX)
		answer(arg, imsg, NULL);
	else if (imsg->type == KEEPER_REFUSED && ipc_sign_refused_decode(&reader, &refused))
		answer(arg, imsg, refused.words);
	else
		channel_reject(channel, imsg, "not an answer");
}

static void
on_closed(struct channel *channel, const char *why, void *arg)
{
	struct keeper_client *client = arg;

	log_warning("keeper is away: %s", why);
	channel_free(channel);
	client->channel = NULL;
}

static void
send_request(struct keeper_client *client, struct keeper_request *request)
{
	if (++request->tries <= TRIES_MAX)
		channel_send(client->channel, KEEPER_SIGN, request->id, 0, -1, &request->payload);
}

static struct keeper_request *
find_hopeless(struct keeper_client *client)
{
	struct keeper_request *request;

	TAILQ_FOREACH(request, &client->requests, link)
	{
		if (request->tries > TRIES_MAX)
			return request;
	}
	return NULL;
}

void
keeper_client_set_channel(struct keeper_client *client, int fd)
{
	struct keeper_request *request;

	channel_free(client->channel);
	client->channel = channel_new(client->base, "keeper", fd, on_receive, on_closed, client);
	TAILQ_FOREACH(request, &client->requests, link)
	send_request(client, request);
	/* Who is told may ask anew, or cancel others. */
	while ((request = find_hopeless(client)) != NULL) {
		pending_cancel(client->waiting, request->id);
		fail(client, request, "the keeper has died twice");
	}
}

bool
keeper_client_sign(
    struct keeper_client *client, struct keeper_request *request, const struct ipc_sign *sign)
{
	buf_init(&request->payload, IMSG_PAYLOAD_MAX);
	ipc_sign_encode(&request->payload, sign);
	if (!buf_ok(&request->payload)) {
		buf_free(&request->payload);
		return false;
	}
	request->tries = 0;
	request->id = pending_add(client->waiting, request, client->limit_ms);
	TAILQ_INSERT_TAIL(&client->requests, request, link);
	if (client->channel != NULL)
		send_request(client, request);
	return true;
}

void
keeper_client_cancel(struct keeper_client *client, struct keeper_request *request)
{
	if (request->id == 0)
		return;
	pending_cancel(client->waiting, request->id);
	finish(client, request);
}
