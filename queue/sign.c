/*
 * A message is hashed at once, since it lies in memory; then each of the author's keys is asked for
 * its signature. One that doesn't come within SIGN_MS leaves the message without any: who waits for
 * a report of a failure is told better by an unsigned one than by none.
 */
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/dkim_keys.h"
#include "common/log.h"
#include "queue/dsn.h"
#include "queue/sign.h"

#define SIGN_MS 5000

struct signer {
	struct keeper_client *keeper;
	struct dkim_keys keys;
};

void
sign_open(struct queue *queue)
{
	queue->signer = calloc(1, sizeof(*queue->signer));
	if (queue->signer == NULL)
		fatalx("out of memory");
	queue->signer->keeper = keeper_client_new(queue->base, SIGN_MS);
}

void
sign_close(struct queue *queue)
{
	keeper_client_free(queue->signer->keeper);
	dkim_keys_clear(&queue->signer->keys);
	free(queue->signer);
	queue->signer = NULL;
}

void
sign_set_keeper(struct queue *queue, int fd)
{
	keeper_client_set_channel(queue->signer->keeper, fd);
}

bool
sign_take_keys(struct queue *queue, int fd)
{
	return dkim_keys_take(&queue->signer->keys, fd);
}

static void
log_unsigned(uint32_t message_id, const struct ipc_dkim_key *key, const char *why)
{
	struct log_line line;

	log_begin(&line, LOG_LEVEL_WARNING, "dkim-failed");
	log_hex32(&line, "message", message_id);
	if (key != NULL) {
		log_text(&line, "domain", key->domain);
		log_text(&line, "selector", key->selector);
	}
	log_text(&line, "reason", why);
	log_text(&line, "result", "unsigned");
	log_end(&line);
}

void
sign_cancel(struct queue *queue, struct signing *signing)
{
	if (signing->signer == NULL)
		return;
	for (size_t i = 0; i < DKIM_SIGNATURES_MAX; i++)
		keeper_client_cancel(queue->signer->keeper, &signing->parts[i].keeper);
	dkim_free(signing->signer);
	signing->signer = NULL;
}

/* All have come, or one won't. `done` may free what the signing lies in. */
static void
finish(struct signing *signing, bool failed)
{
	struct dkim *signer = signing->signer;
	const char *fields = failed ? NULL : dkim_fields(signer);

	if (!failed && fields == NULL)
		log_unsigned(signing->message_id, NULL, "out of memory");
	signing->signer = NULL;
	for (size_t i = 0; i < DKIM_SIGNATURES_MAX; i++)
		keeper_client_cancel(signing->queue->signer->keeper, &signing->parts[i].keeper);
	signing->done(signing->queue, signing, fields);
	dkim_free(signer);
}

static void
on_answered(struct keeper_request *keeper, const uint8_t *signature, size_t length, const char *why)
{
	/* The keeper's part comes first in it. */
	struct signing_part *part = (struct signing_part *)keeper;
	struct signing *signing = part->signing;

	signing->unanswered--;
	if (signature != NULL &&
	    !dkim_take_signature(signing->signer, part->index, signature, length))
		why = "the keeper's signature hasn't the length of its key's";
	if (why != NULL)
		log_unsigned(signing->message_id, dkim_key(signing->signer, part->index), why);
	if (why != NULL || signing->unanswered == 0)
		finish(signing, why != NULL);
}

/* The signer with all that it hashes; NULL when nothing is to be asked for. */
static struct dkim *
hash(const struct dkim_keys *keys, uint32_t message_id, const struct buf *text)
{
	const char *header = (const char *)text->data;
	size_t length = dsn_header_length(text->data, text->length), body = length;
	const struct dkim_who who = { .sender_domain = "" };
	enum dkim_verdict verdict = DKIM_FAILED;
	struct dkim *signer;

	signer = dkim_new(keys, &who, clock_wall());
	if (signer != NULL)
		verdict = dkim_header(signer, header, length);
	if (body + 2 <= text->length && memcmp(text->data + body, "\r\n", 2) == 0)
		body += 2;
	if (verdict == DKIM_SIGNS) {
		dkim_feed(signer, text->data + body, text->length - body);
		if (dkim_end(signer))
			return signer;
	}
	if (verdict != DKIM_NO_KEY)
		log_unsigned(message_id, NULL, "its fields can't be hashed");
	dkim_free(signer);
	return NULL;
}

bool
sign_begin(
    struct queue *queue, struct signing *signing, uint32_t message_id, const struct buf *text)
{
	struct signer *with = queue->signer;
	struct ipc_sign sign;

	if (with->keys.count == 0)
		return false;
	signing->signer = hash(&with->keys, message_id, text);
	if (signing->signer == NULL)
		return false;
	signing->queue = queue;
	signing->message_id = message_id;
	signing->unanswered = 0;
	for (size_t i = 0; i < dkim_count(signing->signer); i++) {
		struct signing_part *part = &signing->parts[i];

		part->keeper.answered = on_answered;
		part->signing = signing;
		part->index = i;
		dkim_request(signing->signer, i, &sign);
		if (!keeper_client_sign(with->keeper, &part->keeper, &sign)) {
			log_unsigned(message_id, NULL, "out of memory");
			sign_cancel(queue, signing);
			return false;
		}
		signing->unanswered++;
	}
	return true;
}
