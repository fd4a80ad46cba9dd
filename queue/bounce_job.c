/*
 * Reads what a job tells of, builds the DSN, and encodes the record that makes it durable together
 * with the end of the envelopes that it reports.
 */
#include <sys/types.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/stdlib.h>
#include <bsd/string.h>

#include "common/clock.h"
#include "common/crc32c.h"
#include "common/log.h"
#include "queue/bounce_job.h"
#include "queue/mail.h"
#include "queue/relay_memory.h"

#define HEADERS_MAX (128 * 1024)

void
report_get_postmaster(const struct queue *queue, struct address *postmaster)
{
	if (*queue->config->postmaster != '\0' &&
	    address_parse(queue->config->postmaster, ADDRESS_ALLOW_BARE_LOCAL | ADDRESS_ALLOW_UTF8,
	        postmaster) == ADDRESS_OK)
		return;
	memset(postmaster, 0, sizeof(*postmaster));
	strlcpy(postmaster->local, "postmaster", sizeof(postmaster->local));
	strlcpy(postmaster->domain, queue->config->hostname, sizeof(postmaster->domain));
}

static bool
load_member(void *arg, struct entry *entry, const struct transaction *transaction,
    const struct envelope *envelope)
{
	struct report *report = arg;

	(void)entry;
	report->transaction = *transaction;
	for (size_t i = 0; i < report->job->member_count; i++) {
		if (report->job->members[i].envelope_id != envelope->id)
			continue;
		report->envelopes[i] = *envelope;
		report->found[i] = true;
		if (address_equal(&envelope->rcpt, &report->postmaster))
			report->failed_to_postmaster = true;
	}
	return true;
}

bool
report_load(struct queue *queue, struct job *job, struct report *report)
{
	struct message *message = index_find(queue->index, job->message_id);

	memset(report, 0, sizeof(*report));
	report->job = job;
	if (message == NULL || job->member_count == 0)
		return false;
	report_get_postmaster(queue, &report->postmaster);
	report->envelopes = calloc(job->member_count, sizeof(struct envelope));
	report->found = calloc(job->member_count, sizeof(bool));
	if (report->envelopes == NULL || report->found == NULL)
		fatalx("out of memory");
	return mail_each(queue, message, load_member, report);
}

void
report_unload(struct report *report)
{
	free(report->envelopes);
	free(report->found);
}

/* How the last attempt at a destination of the job's envelopes went, as far as that is kept. */
static const char *
find_dialogue(struct queue *queue, const struct job *job)
{
	const char *dialogue = NULL;

	for (size_t i = 0; i < job->member_count && dialogue == NULL; i++) {
		const struct entry *entry =
		    index_find_entry(queue->index, job->members[i].envelope_id);

		if (entry != NULL && entry->line != NULL)
			dialogue = destination_dialogue(entry->line);
	}
	return dialogue;
}

void
report_build(struct queue *queue, struct report *report, struct buf *text, bool full)
{
	const struct job *job = report->job;
	struct message *message = index_find(queue->index, job->message_id);
	struct dsn_recipient *recipients = calloc(job->member_count, sizeof(*recipients));
	struct dsn_recipient *recipient;
	size_t size = full ? report->transaction.size : HEADERS_MAX;
	uint8_t *returned = malloc(size == 0 ? 1 : size);
	char boundary[40];
	struct dsn dsn = { .kind = job->kind, .hostname = queue->config->hostname };
	ssize_t length;

	if (recipients == NULL || returned == NULL)
		fatalx("out of memory");
	for (size_t i = 0; i < job->member_count; i++) {
		if (!report->found[i])
			continue;
		recipient = &recipients[dsn.recipient_count++];
		recipient->envelope = &report->envelopes[i];
		if (!job_is_notice(job)) {
			recipient->reply = &job->members[i].reply;
			recipient->host = job->members[i].host;
		} else if (report->envelopes[i].last_reply.code != 0) {
			recipient->reply = &report->envelopes[i].last_reply;
			recipient->host = report->envelopes[i].last_host;
		}
	}
	if (job->to_postmaster && job->kind != DSN_HELD)
		dsn.dialogue = find_dialogue(queue, job);
	length = mail_read(queue, message, returned, size);
	snprintf(boundary, sizeof(boundary), "=_%08" PRIx32 "%08" PRIx32 "%08" PRIx32, arc4random(),
	    arc4random(), arc4random());
	dsn.to = &job->to;
	dsn.is_double = job->to_postmaster && job->kind != DSN_HELD;
	dsn.message_id = job->dsn_id;
	dsn.now = clock_wall();
	dsn.boundary = boundary;
	dsn.original = &report->transaction;
	dsn.recipients = recipients;
	dsn.text = returned;
	dsn.text_length = length < 0 ? 0 : (size_t)length;
	dsn.is_full = full;
	dsn_build(text, &dsn);
	free(recipients);
	free(returned);
}

static bool
has_eight_bit(const struct buf *text)
{
	for (size_t i = 0; i < text->length; i++) {
		if (text->data[i] >= 0x80)
			return true;
	}
	return false;
}

void
report_encode_head(
    struct queue *queue, const struct report *report, const struct buf *text, struct buf *head)
{
	const struct job *job = report->job;
	struct transaction transaction;
	struct state *effects = calloc(job->member_count, sizeof(*effects));
	size_t effect_count = 0;

	if (effects == NULL)
		fatalx("out of memory");
	memset(&transaction, 0, sizeof(transaction));
	transaction.message_id = job->dsn_id;
	transaction.created_us = clock_wall_us();
	transaction.client_family = CLIENT_INTERNAL;
	strlcpy(transaction.client, "local", sizeof(transaction.client));
	strlcpy(transaction.helo, queue->config->hostname, sizeof(transaction.helo));
	transaction.smtputf8 = report->transaction.smtputf8;
	/* RFC 8689 5: what is told of a message is protected as it was. */
	transaction.require_tls = report->transaction.require_tls;
	transaction.eight_bit = has_eight_bit(text);
	transaction.is_bounce = true;
	transaction.size = text->length;
	transaction.body_crc32c = crc32c(0, text->data, text->length);
	mail_encode_targets(head, &transaction, false, job->targets, job->target_count, &job->to, 0,
	    queue->config->queue_ttl);
	for (size_t i = 0; i < job->member_count && !job_is_notice(job); i++) {
		struct entry *entry = index_find_entry(queue->index, job->members[i].envelope_id);

		if (entry == NULL)
			continue;
		effects[effect_count] = mail_done_state(queue, entry, job->members[i].change);
		journal_needs(queue->journal, JOURNAL_FIRST, effects[effect_count].target);
		effect_count++;
	}
	message_encode_effects(head, effects, effect_count);
	message_encode_finish(head);
	free(effects);
}
