/*
 * A job for each delivery with effects: the directory is asked where each address leads, one after
 * the other; then the messages are staged, and when they are durable the delivery has ended. Whatever
 * fails for now ends the delivery with a temporary failure, and it is tried again whole: the mda finds
 * the files that are there. An address that can't be is told to the sender as the delivery's failure,
 * after the others have got the message.
 *
 * A job and its entry find each other by id, and the entry is in flight as long as the job is there.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bsd/string.h>

#include "common/clock.h"
#include "common/crc32c.h"
#include "common/log.h"
#include "queue/commit.h"
#include "queue/delivery.h"
#include "queue/follow.h"
#include "queue/history.h"
#include "queue/intake.h"
#include "queue/mail.h"
#include "queue/pipe.h"
#include "queue/reply_text.h"
#include "queue/sign.h"

#define JOBS_MAX    256 /* at once; for more there is a later time */
#define TARGETS_MAX 100 /* of one message */
#define ASK_MS      30000
#define REPLY_TTL   86400
#define REPLY_SIZE  65536

enum follow_state {
	FOLLOW_ASKING_REDIRECT, /* where redirects[asked] leads */
	FOLLOW_ASKING_REPLY,    /* where the reply goes */
	FOLLOW_SIGNING,         /* the reply */
	FOLLOW_COMMITTING,
};

struct destinations {
	struct ipc_target *targets; /* TARGETS_MAX of them, NULL until needed */
	struct address *rcpts;      /* of each: the address that it was asked for */
	size_t count;
};

struct job {
	struct question question; /* first: the directory's answer finds the job by it */
	struct job *next;
	enum follow_state state;
	uint64_t envelope_id;
	struct ipc_delivered result;
	char user[USER_NAME_MAX + 1];
	int64_t started_ms;
	struct transaction transaction; /* of the message */
	struct envelope envelope;
	size_t asked;
	struct address asked_for;
	bool bad_target;
	struct destinations redirects;
	struct destinations reply;
	struct reply refusal; /* of an address that can't be; code 0: none */
	uint32_t reply_id;
	struct buf text; /* of the reply */
	struct signing signing;
	unsigned uncommitted; /* messages staged */
	struct reply failure; /* of one of them; code 0: none */
};

/* No part of struct queue: nobody else looks at them. */
static struct job *jobs;
static size_t job_count;

static void
free_job(struct queue *queue, struct job *job)
{
	struct job **at = &jobs;

	while (*at != job)
		at = &(*at)->next;
	*at = job->next;
	job_count--;
	sign_cancel(queue, &job->signing);
	buf_free(&job->text);
	free(job->redirects.targets);
	free(job->redirects.rcpts);
	free(job->reply.targets);
	free(job->reply.rcpts);
	ipc_delivered_free(&job->result);
	free(job);
}

/* The delivery has ended: as the mda said, or with this reply. */
static void
end(struct queue *queue, struct job *job, const struct reply *reply)
{
	struct entry *entry = index_find_entry(queue->index, job->envelope_id);
	bool is_here = entry != NULL && entry->state == ENTRY_INFLIGHT;

	if (reply != NULL)
		job->result.reply = *reply;
	if (is_here)
		delivery_ended(queue, entry, &job->result, job->user, job->started_ms);
	if (is_here && reply != NULL && reply_is_temporary(reply)) {
		/* The files are there when it is tried again. */
		entry = index_find_entry(queue->index, job->envelope_id);
		if (entry != NULL)
			entry->maybe_delivered = true;
	}
	free_job(queue, job);
}

static void
end_words(struct queue *queue, struct job *job, const char *words)
{
	struct reply reply;

	reply_set(&reply, 451, "4.3.0", "%s", words);
	end(queue, job, &reply);
}

/* Committing. */

static void
log_sent(struct queue *queue, const struct job *job, const char *event, uint32_t message_id,
    const struct address *to)
{
	char text[ADDRESS_TEXT_MAX + 1];
	struct log_line line;

	log_begin(&line, LOG_LEVEL_INFO, event);
	log_hex32(&line, "message", envelope_id_message(job->envelope_id));
	log_hex64(&line, "envelope", job->envelope_id);
	log_hex32(&line, "as", message_id);
	log_text(&line, "user", job->user);
	address_format(to, text, sizeof(text));
	log_text(&line, "to", text);
	log_end(&line);
	history_sent_on(queue, job->envelope_id, message_id, event, text);
}

static void
all_committed(struct queue *queue, struct job *job)
{
	if (job->failure.code != 0)
		end(queue, job, &job->failure);
	else if (job->refusal.code != 0)
		end(queue, job, &job->refusal);
	else
		end(queue, job, NULL);
}

static void
committed(struct queue *queue, struct commit_item *item, const struct reply *refusal)
{
	struct job *job = item->owner;

	if (refusal == NULL)
		pipe_is_known(queue, item->message_id);
	if (job == NULL)
		return;
	if (refusal != NULL)
		job->failure = *refusal;
	else if (item->message_id == job->reply_id)
		log_sent(queue, job, "replied", item->message_id, &job->transaction.sender);
	else
		for (size_t i = 0; i < job->redirects.count; i++)
			log_sent(
			    queue, job, "redirected", item->message_id, &job->redirects.rcpts[i]);
	if (--job->uncommitted == 0)
		all_committed(queue, job);
}

/* Stages a message; `text` NULL: its bytes are in `file`. False with the job's failure set; then the
 * file is the caller's still. */
static bool
stage(struct queue *queue, struct job *job, const struct buf *head, const uint8_t *text,
    size_t length, int file, uint64_t file_size, uint32_t message_id)
{
	struct commit_item item = { .fd = -1,
		.file = file,
		.is_large = file != -1,
		.file_size = file_size,
		.message_id = message_id,
		.done = committed,
		.owner = job };
	enum journal_result result;
	uint8_t *to;

	if (!buf_ok(head))
		fatalx("out of memory");
	result = journal_begin(queue->journal, JOURNAL_FIRST, head->length + length, true, &to);
	if (result != JOURNAL_OK) {
		commit_refusal(result, &job->failure);
		return false;
	}
	commit_write(queue, to, head, text, length, &item);
	job->uncommitted++;
	commit_message(queue, &item);
	return true;
}

/* The same bytes under the new message's name. -1 with errno. */
static int
link_large(struct queue *queue, const struct message *message, uint32_t message_id)
{
	char from[16], to[16];
	int fd;

	snprintf(from, sizeof(from), "%08" PRIx32, message->id);
	snprintf(to, sizeof(to), "%08" PRIx32, message_id);
	if (linkat(queue->spool.large_fd, from, queue->spool.large_fd, to, 0) == -1)
		return -1;
	fd = spool_large_open(&queue->spool, message_id);
	if (fd == -1)
		(void)spool_large_remove(&queue->spool, message_id);
	return fd;
}

static void
stage_redirects(struct queue *queue, struct job *job, struct message *message)
{
	struct transaction transaction = job->transaction;
	size_t length = message->is_large ? 0 : (size_t)transaction.size;
	uint8_t *text = malloc(length == 0 ? 1 : length);
	struct buf head;
	int file = -1;

	if (text == NULL)
		fatalx("out of memory");
	transaction.message_id = intake_new_id(queue);
	transaction.created_us = clock_wall_us();
	/* Nobody asked for reports of it (RFC 3461 5.2.7). Where it came from says whether it is mail of
	 * others, whose sender is rewritten when it is forwarded. */
	transaction.dsn_return = DSN_RETURN_UNSET;
	transaction.dsn_envid[0] = '\0';
	buf_init(&head, 1024 * 1024);
	/* Led away from its recipient, as by an alias (forward.h). */
	mail_encode_targets(&head, &transaction, message->is_large, job->redirects.targets,
	    job->redirects.count, &job->envelope.rcpt,
	    (job->envelope.dsn_notify & DSN_NOTIFY_NEVER) != 0 ? DSN_NOTIFY_NEVER : 0,
	    queue->config->queue_ttl);
	message_encode_effects(&head, NULL, 0);
	message_encode_finish(&head);
	if (message->is_large)
		file = link_large(queue, message, transaction.message_id);
	if (message->is_large && file == -1 && errno == ENOSPC) {
		commit_refusal(JOURNAL_FULL, &job->failure);
	} else if (message->is_large ? file == -1
	                             : mail_read(queue, message, text, length) != (ssize_t)length) {
		reply_set(&job->failure, 451, "4.3.0", "The message can't be read to send it on");
	} else if (!stage(queue, job, &head, text, length, file, transaction.size,
	               transaction.message_id) &&
	    file != -1) {
		close(file);
		(void)spool_large_remove(&queue->spool, transaction.message_id);
	}
	buf_free(&head);
	free(text);
}

static void
stage_reply(struct queue *queue, struct job *job, const char *signature)
{
	struct transaction transaction = { .message_id = job->reply_id,
		.created_us = clock_wall_us(),
		.client_family = CLIENT_INTERNAL };
	struct buf head, text;

	strlcpy(transaction.client, "local", sizeof(transaction.client));
	strlcpy(transaction.helo, queue->config->hostname, sizeof(transaction.helo));
	buf_init(&head, 1024 * 1024);
	buf_init(&text, (size_t)2 * REPLY_SIZE);
	buf_add_text(&text, signature);
	buf_add(&text, job->text.data, job->text.length);
	if (!buf_ok(&text))
		fatalx("out of memory");
	transaction.size = text.length;
	transaction.body_crc32c = crc32c(0, text.data, text.length);
	for (size_t i = 0; i < text.length && !transaction.eight_bit; i++)
		transaction.eight_bit = text.data[i] >= 0x80;
	/* An address that isn't ASCII came with it, and stands in the header. */
	transaction.smtputf8 = transaction.eight_bit && job->transaction.smtputf8;
	/* RFC 3834 3.3: nobody is told when it can't be delivered. */
	mail_encode_targets(&head, &transaction, false, job->reply.targets, job->reply.count,
	    &job->transaction.sender, DSN_NOTIFY_NEVER, REPLY_TTL);
	message_encode_effects(&head, NULL, 0);
	message_encode_finish(&head);
	(void)stage(queue, job, &head, text.data, text.length, -1, 0, job->reply_id);
	buf_free(&head);
	buf_free(&text);
}

/* Everything is known: all goes into one batch. */
static void
stage_all(struct queue *queue, struct job *job, const char *signature)
{
	struct message *message = index_find(queue->index, envelope_id_message(job->envelope_id));

	if (message == NULL) {
		end_words(queue, job, "The message is gone");
		return;
	}
	job->state = FOLLOW_COMMITTING;
	/* Its own part: a batch may be committed meanwhile, and the job must outlive that. */
	job->uncommitted = 1;
	if (job->redirects.count > 0)
		stage_redirects(queue, job, message);
	if (job->reply.count > 0 && job->failure.code == 0)
		stage_reply(queue, job, signature);
	if (--job->uncommitted == 0)
		all_committed(queue, job);
}

static void
text_signed(struct queue *queue, struct signing *signing, const char *fields)
{
	stage_all(queue, (struct job *)((char *)signing - offsetof(struct job, signing)),
	    fields == NULL ? "" : fields);
}

/* The reply is its owner's: his own address, or another one of the same domain. */
static const struct address *
author_of(const struct job *job)
{
	const struct address *given = &job->result.effects->reply_from;
	char wanted[ADDRESS_DOMAIN_MAX + 1], own[ADDRESS_DOMAIN_MAX + 1];

	if (!address_is_null(given) && address_domain_key(given->domain, wanted, sizeof(wanted)) &&
	    ((address_domain_key(job->envelope.rcpt.domain, own, sizeof(own)) &&
	         strcmp(wanted, own) == 0) ||
	        (address_domain_key(job->envelope.dest.domain, own, sizeof(own)) &&
	            strcmp(wanted, own) == 0)))
		return given;
	return *job->envelope.dest.domain != '\0' ? &job->envelope.dest : &job->envelope.rcpt;
}

static void
build_reply(struct queue *queue, struct job *job)
{
	struct reply_text reply = { .effects = job->result.effects,
		.from = author_of(job),
		.to = &job->transaction.sender,
		.hostname = queue->config->hostname,
		.now = clock_wall() };

	job->reply_id = reply.message_id = intake_new_id(queue);
	reply_text_build(&job->text, &reply);
	if (!buf_ok(&job->text)) {
		end_words(queue, job, "The reply can't be made");
		return;
	}
	job->state = FOLLOW_SIGNING;
	job->signing.done = text_signed;
	if (!sign_begin(queue, &job->signing, job->reply_id, &job->text))
		stage_all(queue, job, "");
}

/* Where to. */

static void
ask(struct queue *queue, struct job *job)
{
	const struct ipc_effects *effects = job->result.effects;
	struct ipc_rcpt rcpt = { .client_family = CLIENT_INTERNAL };

	job->bad_target = false;
	if (effects->by_forward && job->asked == 0) {
		job->state = FOLLOW_ASKING_REDIRECT;
		job->asked_for = job->envelope.dest;
		rcpt.sender = job->transaction.sender;
		strlcpy(rcpt.user_action, job->envelope.action, sizeof(rcpt.user_action));
	} else if (job->asked < effects->redirect_count) {
		job->state = FOLLOW_ASKING_REDIRECT;
		job->asked_for = effects->redirects[job->asked];
		rcpt.sender = job->transaction.sender;
	} else if (effects->has_reply && !address_is_null(&job->transaction.sender)) {
		job->state = FOLLOW_ASKING_REPLY;
		job->asked_for = job->transaction.sender;
	} else {
		stage_all(queue, job, "");
		return;
	}
	strlcpy(rcpt.client_name, queue->config->hostname, sizeof(rcpt.client_name));
	strlcpy(rcpt.helo, queue->config->hostname, sizeof(rcpt.helo));
	rcpt.rcpt = job->asked_for;
	buf_clear(&queue->payload);
	ipc_rcpt_encode(&queue->payload, &rcpt);
	queue_ask_directory(queue, &job->question, DIRECTORY_RCPT, ASK_MS);
}

static bool
is_known(const struct destinations *to, const struct ipc_target *target)
{
	for (size_t i = 0; i < to->count; i++) {
		const struct ipc_target *one = &to->targets[i];

		if (one->kind == target->kind && address_equal(&one->dest, &target->dest) &&
		    strcmp(one->action, target->action) == 0 &&
		    strcmp(one->command, target->command) == 0)
			return true;
	}
	return false;
}

/* One more destination of the address that was asked for. */
static void
take_target(struct job *job, struct destinations *to, struct buf_reader *reader)
{
	struct ipc_target target;

	if (!ipc_target_decode(reader, &target) || !buf_reader_done(reader) ||
	    to->count == TARGETS_MAX) {
		job->bad_target = true;
		return;
	}
	if (to->targets == NULL) {
		to->targets = calloc(TARGETS_MAX, sizeof(*to->targets));
		to->rcpts = calloc(TARGETS_MAX, sizeof(*to->rcpts));
		if (to->targets == NULL || to->rcpts == NULL)
			fatalx("out of memory");
	}
	if (is_known(to, &target))
		return;
	to->rcpts[to->count] = job->asked_for;
	to->targets[to->count++] = target;
}

/* The address can't be: its sender hears of a redirection that failed, and of no reply. */
static void
refuse(struct job *job, const struct reply *reply)
{
	char address[ADDRESS_TEXT_MAX + 1];

	if (job->state != FOLLOW_ASKING_REDIRECT)
		return;
	address_format(&job->asked_for, address, sizeof(address));
	reply_set(&job->refusal, 550, "5.1.1", "Redirected to %.200s, which is refused: %u %s",
	    address, reply->code, reply->text);
}

static void
answered(struct queue *queue, struct question *question, struct imsg *imsg)
{
	struct job *job = (struct job *)question;
	struct destinations *to =
	    job->state == FOLLOW_ASKING_REDIRECT ? &job->redirects : &job->reply;
	struct buf_reader reader;
	struct reply reply;

	buf_reader_init(&reader, imsg->payload, imsg->length);
	if (imsg->type == DIRECTORY_TARGET) {
		take_target(job, to, &reader);
		return;
	}
	if (!reply_decode(&reader, &reply) || !buf_reader_done(&reader)) {
		end_words(queue, job, "The directory's answer can't be understood");
		return;
	}
	if (reply_is_temporary(&reply)) {
		end(queue, job, &reply);
		return;
	}
	if (job->bad_target)
		reply_set(&reply, 550, "5.4.6", "it leads to too many mailboxes");
	if (!reply_is_success(&reply))
		refuse(job, &reply);
	if (job->state == FOLLOW_ASKING_REDIRECT) {
		job->asked++;
		ask(queue, job);
	} else if (job->reply.count > 0) {
		build_reply(queue, job);
	} else {
		stage_all(queue, job, "");
	}
}

static void
ask_failed(struct queue *queue, struct question *question, const char *why)
{
	end_words(queue, (struct job *)question, why);
}

void
follow_begin(struct queue *queue, struct entry *entry, struct ipc_delivered *result,
    const char *user, int64_t started_ms)
{
	struct job *job = calloc(1, sizeof(*job));

	if (job == NULL)
		fatalx("out of memory");
	job->next = jobs;
	jobs = job;
	job_count++;
	job->envelope_id = entry_id(entry);
	job->result = *result;
	result->effects = NULL;
	strlcpy(job->user, user, sizeof(job->user));
	job->started_ms = started_ms;
	job->question.answer = answered;
	job->question.failed = ask_failed;
	buf_init(&job->text, REPLY_SIZE);
	if (job_count > JOBS_MAX)
		end_words(queue, job, "Too many scripts send mail at once, trying again later");
	else if (!mail_load(queue, entry, &job->transaction, &job->envelope))
		end_words(queue, job, "The message's record can't be read");
	else if (job->result.effects->by_forward && job->envelope.kind != ENVELOPE_FORWARD)
		end_words(queue, job, "The user's process answers what it wasn't asked");
	else
		ask(queue, job);
}

void
follow_close(struct queue *queue)
{
	while (jobs != NULL) {
		commit_forget_owner(queue, jobs);
		free_job(queue, jobs);
	}
}
