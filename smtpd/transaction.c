/*
 * The transaction's lists. A destination is named by its mailbox's number, or, where it has none,
 * by kind, address, action and command; however many recipients lead there, the first one gets the
 * envelope, with its DSN parameters. Targets of a recipient stand at the list's end until the
 * directory has said whether the recipient is taken.
 */
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "common/clock.h"
#include "common/ipc_listener_queue.h"
#include "smtpd/transaction.h"

#define TARGETS_FEW 16 /* are looked through one by one */

struct mail *
mail_new(const struct mail_command *command)
{
	struct mail *mail = calloc(1, sizeof(*mail));

	if (mail == NULL)
		return NULL;
	mail->command = *command;
	mail->begun_ms = clock_monotonic_ms();
	return mail;
}

static uint32_t *
name_bucket(const struct mail *mail, uint32_t hash)
{
	return &mail->buckets[hash & (mail->bucket_count - 1)];
}

static uint32_t *
mailbox_bucket(const struct mail *mail, uint64_t mailbox)
{
	uint64_t mixed = mailbox * 0x9e3779b97f4a7c15ULL; /* 2^64 by the golden ratio */

	return &mail->buckets[mail->bucket_count + ((mixed >> 32) & (mail->bucket_count - 1))];
}

/* Targets enter and leave as on a stack, so that the last one is always the first of its bucket. */
static void
link_target(struct mail *mail, size_t index)
{
	struct target *target = &mail->targets[index];
	uint32_t *bucket = name_bucket(mail, target->hash);

	target->next_by_name = *bucket;
	*bucket = (uint32_t)index + 1;
	if (target->mailbox == 0)
		return;
	bucket = mailbox_bucket(mail, target->mailbox);
	target->next_by_mailbox = *bucket;
	*bucket = (uint32_t)index + 1;
}

static void
unlink_last_target(struct mail *mail)
{
	const struct target *target = &mail->targets[mail->target_count - 1];

	*name_bucket(mail, target->hash) = target->next_by_name;
	if (target->mailbox != 0)
		*mailbox_bucket(mail, target->mailbox) = target->next_by_mailbox;
}

/* Room for one target more in the buckets. */
static bool
grow_buckets(struct mail *mail)
{
	size_t i, count = mail->bucket_count == 0 ? TARGETS_FEW : mail->bucket_count;
	uint32_t *buckets;

	if (mail->target_count < count)
		return true;
	count *= 4;
	buckets = calloc(2 * count, sizeof(*buckets));
	if (buckets == NULL)
		return false;
	free(mail->buckets);
	mail->buckets = buckets;
	mail->bucket_count = count;
	for (i = 0; i < mail->target_count; i++)
		link_target(mail, i);
	return true;
}

static void
drop_targets(struct mail *mail, size_t from)
{
	while (mail->target_count > from) {
		struct target *target = &mail->targets[mail->target_count - 1];

		if (mail->buckets != NULL)
			unlink_last_target(mail);
		free(target->action);
		free(target->command);
		mail->target_count--;
	}
}

void
mail_free(struct mail *mail)
{
	size_t i;

	if (mail == NULL)
		return;
	drop_targets(mail, 0);
	for (i = 0; i < mail->recipient_count; i++)
		free(mail->recipients[i].orcpt);
	free(mail->targets);
	free(mail->buckets);
	free(mail->recipients);
	message_free(mail->message);
	free(mail);
}

/* FNV-1a, without regard to ASCII case. */
static uint32_t
hash_text(uint32_t hash, const char *text)
{
	do {
		hash = (hash ^ (uint32_t)tolower((unsigned char)*text)) * 16777619u;
	} while (*text++ != '\0');
	return hash;
}

/* Makes room for one more at powers of two. */
static bool
grow(void **array, size_t count, size_t size)
{
	void *larger;

	if (count > 0 && (count & (count - 1)) != 0)
		return true;
	larger = reallocarray(*array, count == 0 ? 1 : count * 2, size);
	if (larger == NULL)
		return false;
	*array = larger;
	return true;
}

/* A mailbox that both name by its number is one, whatever name led to it. */
static bool
is_same(const struct target *target, uint32_t hash, const struct ipc_target *other)
{
	if (target->mailbox != 0 && other->mailbox != 0)
		return target->mailbox == other->mailbox;
	return target->hash == hash && target->kind == other->kind &&
	    strcmp(target->action, other->action) == 0 &&
	    strcmp(target->command == NULL ? "" : target->command, other->command) == 0 &&
	    address_equal(&target->dest, &other->dest);
}

static bool
has_target(const struct mail *mail, uint32_t hash, const struct ipc_target *other)
{
	uint32_t at;
	size_t i;

	if (mail->buckets == NULL) {
		for (i = 0; i < mail->target_count; i++) {
			if (is_same(&mail->targets[i], hash, other))
				return true;
		}
		return false;
	}
	for (at = *name_bucket(mail, hash); at != 0; at = mail->targets[at - 1].next_by_name) {
		if (is_same(&mail->targets[at - 1], hash, other))
			return true;
	}
	if (other->mailbox == 0)
		return false;
	for (at = *mailbox_bucket(mail, other->mailbox); at != 0;
	     at = mail->targets[at - 1].next_by_mailbox) {
		if (is_same(&mail->targets[at - 1], hash, other))
			return true;
	}
	return false;
}

static size_t
envelope_bytes(const struct mail *mail, const struct ipc_target *target)
{
	return IPC_ENVELOPE_FIXED + strlen(mail->rcpt.rcpt.local) + strlen(mail->rcpt.rcpt.domain) +
	    strlen(mail->rcpt.orcpt) + strlen(target->dest.local) + strlen(target->dest.domain) +
	    strlen(target->action) + strlen(target->command);
}

static bool
no_memory(struct reply *reply)
{
	reply_set(reply, 451, "4.3.0", "out of memory, try again later");
	return false;
}

/* RFC 5321 4.5.3.1.10: with 452 a client comes again, with this recipient first. One that is too
 * many by itself would be so each time. */
static bool
too_many(const struct mail *mail, struct reply *reply)
{
	if (mail->targets_settled > 0)
		reply_set(reply, 452, "4.5.3",
		    "too many mailboxes for one message, send this recipient another");
	else
		reply_set(reply, 550, "5.5.3", "the recipient leads to too many mailboxes");
	return false;
}

bool
mail_add_target(struct mail *mail, const struct ipc_target *other, struct reply *reply)
{
	size_t bytes = envelope_bytes(mail, other);
	struct target *target;
	uint32_t hash = 2166136261u;

	mail->targets_named++;
	hash = hash_text(hash, other->dest.local);
	hash = hash_text(hash, other->action);
	hash = hash_text(hash, other->command);
	if (has_target(mail, hash, other))
		return true;
	if (mail->target_count >= IPC_ENVELOPES_MAX ||
	    bytes > IPC_ENVELOPES_BYTES - mail->target_bytes)
		return too_many(mail, reply);
	if (!grow_buckets(mail) ||
	    !grow((void **)&mail->targets, mail->target_count, sizeof(*mail->targets)))
		return no_memory(reply);
	target = &mail->targets[mail->target_count];
	memset(target, 0, sizeof(*target));
	target->hash = hash;
	target->recipient = (uint32_t)mail->recipient_count;
	target->kind = other->kind;
	target->mailbox = other->mailbox;
	target->held = other->held;
	target->rule = other->rule;
	target->dest = other->dest;
	target->action = strdup(other->action);
	if (*other->command != '\0')
		target->command = strdup(other->command);
	if (target->action == NULL || (*other->command != '\0' && target->command == NULL)) {
		free(target->action);
		free(target->command);
		return no_memory(reply);
	}
	mail->target_bytes += bytes;
	if (mail->buckets != NULL)
		link_target(mail, mail->target_count);
	mail->target_count++;
	return true;
}

bool
mail_accept_rcpt(struct mail *mail)
{
	struct recipient *recipient;
	char *orcpt = NULL;

	if (*mail->rcpt.orcpt != '\0')
		orcpt = strdup(mail->rcpt.orcpt);
	if ((*mail->rcpt.orcpt != '\0' && orcpt == NULL) ||
	    !grow((void **)&mail->recipients, mail->recipient_count, sizeof(*mail->recipients))) {
		free(orcpt);
		mail_drop_rcpt(mail);
		return false;
	}
	recipient = &mail->recipients[mail->recipient_count++];
	recipient->rcpt = mail->rcpt.rcpt;
	recipient->notify = mail->rcpt.notify;
	recipient->orcpt = orcpt;
	mail->targets_named = 0;
	mail->targets_settled = mail->target_count;
	mail->target_bytes_settled = mail->target_bytes;
	return true;
}

void
mail_drop_rcpt(struct mail *mail)
{
	mail->targets_named = 0;
	mail->target_bytes = mail->target_bytes_settled;
	drop_targets(mail, mail->targets_settled);
}

void
mail_make_envelope(const struct mail *mail, size_t index, struct envelope *envelope)
{
	const struct target *target = &mail->targets[index];
	const struct recipient *recipient = &mail->recipients[target->recipient];

	memset(envelope, 0, sizeof(*envelope));
	envelope->id = envelope_id_make(mail->message_id, (uint32_t)index + 1);
	envelope->kind = target->kind;
	envelope->rcpt = recipient->rcpt;
	envelope->dest = target->dest;
	strlcpy(envelope->action, target->action, sizeof(envelope->action));
	if (target->command != NULL)
		strlcpy(envelope->command, target->command, sizeof(envelope->command));
	if (target->held)
		envelope->state = ENVELOPE_HELD;
	envelope->dsn_notify = recipient->notify;
	if (recipient->orcpt != NULL)
		strlcpy(envelope->dsn_orcpt, recipient->orcpt, sizeof(envelope->dsn_orcpt));
}
