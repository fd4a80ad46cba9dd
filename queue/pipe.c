/* One question for an envelope in this process's life, or two. The client's words are those that the
 * listener recorded: they may lead to another command, but to none that no alias has. Where a script has
 * sent the mail on, its recipient doesn't lead there: then it counts where mail of this machine's own for
 * the address goes at which the command was met. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "common/log.h"
#include "queue/delivery.h"
#include "queue/pipe.h"

#define ASK_MS 30000

struct pipe_question {
	struct question question;
	uint64_t envelope_id;
	struct ipc_target wanted;
	bool has_other; /* `other` isn't asked for yet */
	struct address other;
	struct address sender;
	bool found;
	bool unsure; /* the .forward that leads to it may be one that can't be used now */
};

static void
fail(struct queue *queue, struct pipe_question *asked, const struct reply *reply)
{
	struct entry *entry = index_find_entry(queue->index, asked->envelope_id);

	free(asked);
	if (entry != NULL && entry->state == ENTRY_NEW)
		delivery_failed(queue, entry, reply, "");
}

static void
ask(struct queue *queue, struct pipe_question *asked, const struct ipc_rcpt *rcpt)
{
	buf_clear(&queue->payload);
	ipc_rcpt_encode(&queue->payload, rcpt);
	queue_ask_directory(queue, &asked->question, DIRECTORY_RCPT, ASK_MS);
}

static void
ask_for_other(struct queue *queue, struct pipe_question *asked)
{
	struct ipc_rcpt rcpt = { .client_family = CLIENT_INTERNAL };

	asked->has_other = asked->unsure = false;
	strlcpy(rcpt.client_name, queue->config->hostname, sizeof(rcpt.client_name));
	strlcpy(rcpt.helo, queue->config->hostname, sizeof(rcpt.helo));
	rcpt.sender = asked->sender;
	rcpt.rcpt = asked->other;
	ask(queue, asked, &rcpt);
}

static void
answered(struct queue *queue, struct question *question, struct imsg *imsg)
{
	struct pipe_question *asked = (struct pipe_question *)question;
	struct ipc_target target;
	struct buf_reader reader;
	struct reply reply;
	struct entry *entry;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (imsg->type == DIRECTORY_TARGET) {
		if (ipc_target_decode(&reader, &target) && target.kind == asked->wanted.kind &&
		    strcmp(target.command, asked->wanted.command) == 0 &&
		    strcmp(target.action, asked->wanted.action) == 0 &&
		    address_equal(&target.dest, &asked->wanted.dest))
			asked->found = true;
		else if (asked->wanted.kind != ENVELOPE_PIPE && target.failing)
			asked->unsure = true;
		return;
	}
	if (!reply_decode(&reader, &reply) || reply_is_temporary(&reply) ||
	    (!asked->found && asked->unsure)) {
		reply_set(&reply, 451, "4.3.0", "The alias can't be looked up now");
		fail(queue, asked, &reply);
		return;
	}
	if ((!reply_is_success(&reply) || !asked->found) && asked->has_other) {
		asked->found = false;
		ask_for_other(queue, asked);
		return;
	}
	if (!reply_is_success(&reply) || !asked->found) {
		reply_set(&reply, 550, "5.7.1", "No alias and no .forward leads to this %s",
		    envelope_is_pipe(asked->wanted.kind) ? "command" : "file");
		fail(queue, asked, &reply);
		return;
	}
	entry = index_find_entry(queue->index, asked->envelope_id);
	free(asked);
	if (entry == NULL)
		return;
	entry->command_checked = true;
	if (entry->state == ENTRY_NEW) {
		scheduler_ready(queue->scheduler, entry);
		delivery_line_ready(queue, entry->line);
	}
}

static void
failed(struct queue *queue, struct question *question, const char *why)
{
	struct reply reply;

	(void)why;
	reply_set(&reply, 451, "4.3.0", "The alias can't be looked up now");
	fail(queue, (struct pipe_question *)question, &reply);
}

static bool
client_address(const struct transaction *transaction, uint8_t address[16])
{
	static const char prefix[] = "IPv6:";
	const char *text = transaction->client;

	switch (transaction->client_family) {
	case CLIENT_INET4:
		return inet_pton(AF_INET, text, address) == 1;
	case CLIENT_INET6:
		if (strncmp(text, prefix, sizeof(prefix) - 1) == 0)
			text += sizeof(prefix) - 1;
		return inet_pton(AF_INET6, text, address) == 1;
	case CLIENT_LOCAL:
	case CLIENT_INTERNAL:
	case CLIENT_COUNT:
		break;
	}
	return true;
}

bool
pipe_may_run(struct queue *queue, struct entry *entry, const struct transaction *transaction,
    const struct envelope *envelope)
{
	struct pipe_question *asked;
	struct ipc_rcpt rcpt;

	/* Of the queue's own mail the directory has just said where it goes. */
	if (entry->command_checked || transaction->is_bounce)
		return true;
	asked = calloc(1, sizeof(*asked));
	if (asked == NULL)
		fatalx("out of memory");
	asked->question.answer = answered;
	asked->question.failed = failed;
	asked->envelope_id = envelope->id;
	asked->wanted.kind = envelope->kind;
	asked->wanted.dest = envelope->dest;
	strlcpy(asked->wanted.action, envelope->action, sizeof(asked->wanted.action));
	strlcpy(asked->wanted.command, envelope->command, sizeof(asked->wanted.command));
	asked->has_other = !address_equal(&envelope->rcpt, &envelope->dest);
	asked->other = envelope->dest;
	asked->sender = transaction->sender;
	memset(&rcpt, 0, sizeof(rcpt));
	rcpt.client_family = (uint8_t)transaction->client_family;
	if (!client_address(transaction, rcpt.client_address))
		rcpt.client_family = CLIENT_LOCAL;
	strlcpy(rcpt.client_name, transaction->client_name, sizeof(rcpt.client_name));
	rcpt.tls = transaction->tls;
	strlcpy(rcpt.helo, transaction->helo, sizeof(rcpt.helo));
	strlcpy(rcpt.tag, transaction->tag, sizeof(rcpt.tag));
	strlcpy(rcpt.auth_user, transaction->auth_user, sizeof(rcpt.auth_user));
	rcpt.sender = transaction->sender;
	rcpt.rcpt = envelope->rcpt;
	entry->state = ENTRY_NEW;
	ask(queue, asked, &rcpt);
	return false;
}

void
pipe_is_known(struct queue *queue, uint32_t message_id)
{
	struct message *message = index_find(queue->index, message_id);

	for (uint32_t i = 0; message != NULL && i < message->count; i++)
		message->entries[i].command_checked = true;
}
