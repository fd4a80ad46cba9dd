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
#include "smtpd/transaction.h"

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

static void
drop_targets(struct mail *mail, size_t from)
{
	while (mail->target_count > from) {
		struct target *target = &mail->targets[--mail->target_count];

		free(target->action);
		free(target->command);
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

bool
mail_add_target(struct mail *mail, const struct ipc_target *other)
{
	struct target *target;
	uint32_t hash = 2166136261u;
	size_t i;

	mail->targets_named++;
	hash = hash_text(hash, other->dest.local);
	hash = hash_text(hash, other->action);
	hash = hash_text(hash, other->command);
	for (i = 0; i < mail->target_count; i++) {
		if (is_same(&mail->targets[i], hash, other))
			return true;
	}
	if (!grow((void **)&mail->targets, mail->target_count, sizeof(*mail->targets)))
		return false;
	target = &mail->targets[mail->target_count];
	memset(target, 0, sizeof(*target));
	target->hash = hash;
	target->recipient = (uint32_t)mail->recipient_count;
	target->kind = other->kind;
	target->mailbox = other->mailbox;
	target->dest = other->dest;
	target->action = strdup(other->action);
	if (*other->command != '\0')
		target->command = strdup(other->command);
	if (target->action == NULL || (*other->command != '\0' && target->command == NULL)) {
		free(target->action);
		free(target->command);
		return false;
	}
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
	return true;
}

void
mail_drop_rcpt(struct mail *mail)
{
	mail->targets_named = 0;
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
	envelope->dsn_notify = recipient->notify;
	if (recipient->orcpt != NULL)
		strlcpy(envelope->dsn_orcpt, recipient->orcpt, sizeof(envelope->dsn_orcpt));
}
