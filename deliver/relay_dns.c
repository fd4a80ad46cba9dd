/*
 * A question waits in `pending` under its id. While there is no resolver it fails in the next turn
 * of the loop, like what the last resolver left unanswered.
 */
#include <stdio.h>
#include <stdlib.h>

#include <bsd/string.h>

#include "common/log.h"
#include "common/pending.h"
#include "deliver/relay_dns.h"

struct question {
	struct ipc_query query;
	relay_dns_fn done;
	void *arg;
};

struct relay_dns {
	struct pending *pending;
	struct channel *channel;
	unsigned deadline_ms;
	bool is_closing; /* nobody is to be called any more */
};

static void
answer_failed(const struct question *question, const char *why)
{
	struct ipc_answer answer = { .status = ANSWER_FAILED };

	strlcpy(answer.why, why, sizeof(answer.why));
	question->done(&answer, true, question->arg);
}

static void
on_failed(void *owner, uint32_t id, const char *why, void *arg)
{
	const struct relay_dns *dns = arg;
	struct question *question = owner;
	char words[IPC_ANSWER_WHY_MAX + 1];

	(void)id;
	snprintf(words, sizeof(words), "the resolver did not answer: %s", why);
	if (!dns->is_closing)
		answer_failed(question, words);
	free(question);
}

struct relay_dns *
relay_dns_new(struct event_base *base, unsigned deadline_ms)
{
	struct relay_dns *dns = calloc(1, sizeof(*dns));

	if (dns == NULL)
		fatal("dns");
	dns->pending = pending_new(base, on_failed, dns);
	dns->deadline_ms = deadline_ms;
	return dns;
}

void
relay_dns_free(struct relay_dns *dns)
{
	if (dns == NULL)
		return;
	dns->is_closing = true;
	pending_fail_all(dns->pending, "");
	pending_free(dns->pending);
	free(dns);
}

void
relay_dns_set_channel(struct relay_dns *dns, struct channel *channel)
{
	dns->channel = channel;
	pending_fail_all(dns->pending, "it died");
}

uint32_t
relay_dns_ask(struct relay_dns *dns, enum query_kind kind, const char *name, uint16_t port,
    relay_dns_fn done, void *arg)
{
	struct question *question = calloc(1, sizeof(*question));
	struct buf payload;
	uint32_t id;

	if (question == NULL)
		fatal("question");
	question->query.kind = kind;
	question->query.port = port;
	question->done = done;
	question->arg = arg;
	strlcpy(question->query.name, name, sizeof(question->query.name));
	id = pending_add(dns->pending, question, dns->channel != NULL ? dns->deadline_ms : 1);
	if (dns->channel == NULL)
		return id;
	buf_init(&payload, IMSG_PAYLOAD_MAX);
	ipc_query_encode(&payload, &question->query);
	channel_send(dns->channel, RELAY_RESOLVER_QUERY, id, 0, -1, &payload);
	buf_free(&payload);
	return id;
}

void
relay_dns_forget(struct relay_dns *dns, uint32_t id)
{
	free(pending_take(dns->pending, id));
}

bool
relay_dns_receive(struct relay_dns *dns, struct imsg *imsg)
{
	static struct ipc_answer answer;
	struct buf_reader reader;
	struct question *question;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (imsg->type != RESOLVER_RELAY_ANSWER || imsg->fd != -1 ||
	    !ipc_answer_decode(&reader, &answer))
		return false;
	question = pending_take(dns->pending, imsg->id);
	if (question == NULL)
		return true; /* too late */
	question->done(&answer, false, question->arg);
	free(question);
	return true;
}
