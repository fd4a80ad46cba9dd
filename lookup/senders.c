/*
 * An address is a user's when mail to it would reach that user: so the sender is expanded as a
 * recipient would be, and its mailboxes are compared with the user's own. Aliases, virtual tables,
 * catch-alls and details need no rules of their own for that.
 */
#include <string.h>
#include <strings.h>

#include <bsd/string.h>

#include "lookup/expand.h"
#include "lookup/senders.h"

#define VALUE_MAX (1024UL * 1024)

/* The address in the form in which it is compared, without its detail. */
static bool
normalise(const struct site *site, const struct address *address, struct address *plain)
{
	char domain[TABLE_KEY_MAX], detail[ADDRESS_LOCAL_MAX + 1];

	*plain = *address;
	if (!table_domain_normalise(address->domain, domain, sizeof(domain)) ||
	    strlcpy(plain->domain, domain, sizeof(plain->domain)) >= sizeof(plain->domain))
		return false;
	text_lower(plain->local);
	address_split_detail(plain, site->config->subaddress_delimiters, detail, sizeof(detail));
	return true;
}

static bool
is_same(const struct site *site, const struct address *a, const struct address *b)
{
	struct address plain_a, plain_b;

	return normalise(site, a, &plain_a) && normalise(site, b, &plain_b) &&
	    strcmp(plain_a.domain, plain_b.domain) == 0 &&
	    strcmp(plain_a.local, plain_b.local) == 0;
}

static bool
is_same_domain(const char *a, const char *b)
{
	char key_a[TABLE_KEY_MAX], key_b[TABLE_KEY_MAX];

	return table_domain_normalise(a, key_a, sizeof(key_a)) &&
	    table_domain_normalise(b, key_b, sizeof(key_b)) && strcmp(key_a, key_b) == 0;
}

/* Whether a list of addresses, "@domain" and "@" holds the sender. */
static bool
list_holds(const struct site *site, const char *list, const struct address *sender)
{
	struct target target;

	while (target_next(&list, &target)) {
		switch (target.kind) {
		case TARGET_ADDRESS:
			if (is_same(site, &target.address, sender))
				return true;
			break;
		case TARGET_DOMAIN:
			if (is_same_domain(target.text, sender->domain))
				return true;
			break;
		case TARGET_INVALID:
			if (strcmp(target.text, "@") == 0)
				return true;
			break;
		case TARGET_USER:
		case TARGET_PIPE:
		case TARGET_ERROR:
		case TARGET_FILE:
		case TARGET_INCLUDE:
			break;
		}
	}
	return false;
}

static enum table_result
look_up(struct site *site, const struct ipc_rcpt *rcpt)
{
	struct table *table = tables_find(site->tables, rcpt->senders_table);
	enum table_result result = TABLE_BROKEN;
	struct buf value;

	buf_init(&value, VALUE_MAX);
	if (table != NULL)
		result = table_get(table, rcpt->auth_user, &value);
	if (result == TABLE_FOUND && !list_holds(site, (const char *)value.data, &rcpt->sender))
		result = TABLE_NONE;
	buf_free(&value);
	return result;
}

static void
expand(struct site *site, const struct address *address, struct expanded *expanded)
{
	struct ipc_rcpt question;

	memset(&question, 0, sizeof(question));
	question.client_family = CLIENT_INTERNAL;
	question.rcpt = *address;
	expand_recipient(site, &question, NULL, expanded);
}

/* Whether mail that goes there is the user's, whose name is that of a user of the system. */
static bool
is_mailbox_of(struct site *site, const struct ipc_target *target, const char *user)
{
	const struct action *action = site_find_action(site, target->action);
	struct address dest;

	return target->kind == ENVELOPE_MAILDIR && action != NULL &&
	    site_uses_accounts(site, action, target->dest.domain) == ACCOUNT_NONE &&
	    normalise(site, &target->dest, &dest) && strcasecmp(dest.local, user) == 0;
}

/* Likewise, of a user who is named by the address `own`. */
static bool
leads_to(struct site *site, const struct expanded *sender, const struct address *own)
{
	struct expanded mine;
	bool found = false;

	expand(site, own, &mine);
	for (size_t i = 0; !found && reply_is_success(&mine.reply) && mine.count == 1 &&
	     mine.targets[0].kind == ENVELOPE_MAILDIR && i < sender->count;
	     i++)
		found = sender->targets[i].kind == ENVELOPE_MAILDIR &&
		    mine.targets[0].mailbox != 0 &&
		    sender->targets[i].mailbox == mine.targets[0].mailbox;
	expanded_free(&mine);
	return found;
}

static enum table_result
is_own(struct site *site, const struct ipc_rcpt *rcpt)
{
	struct expanded sender;
	struct address own;
	bool has_address = address_parse(rcpt->auth_user, ADDRESS_ALLOW_UTF8, &own) == ADDRESS_OK;
	enum table_result result = TABLE_NONE;

	if (has_address && is_same(site, &own, &rcpt->sender))
		return TABLE_FOUND;
	expand(site, &rcpt->sender, &sender);
	if (reply_is_temporary(&sender.reply))
		result = TABLE_BROKEN;
	else if (reply_is_success(&sender.reply) && has_address)
		result = leads_to(site, &sender, &own) ? TABLE_FOUND : TABLE_NONE;
	else if (reply_is_success(&sender.reply)) {
		for (size_t i = 0; result == TABLE_NONE && i < sender.count; i++) {
			if (is_mailbox_of(site, &sender.targets[i], rcpt->auth_user))
				result = TABLE_FOUND;
		}
	}
	expanded_free(&sender);
	return result;
}

bool
senders_allow(struct site *site, const struct ipc_rcpt *rcpt, struct reply *reply)
{
	if (address_is_null(&rcpt->sender))
		return true;
	switch (*rcpt->senders_table == '\0' ? is_own(site, rcpt) : look_up(site, rcpt)) {
	case TABLE_FOUND:
		return true;
	case TABLE_NONE:
		reply_set(reply, 550, "5.7.1", "the sender's address is not one of yours");
		return false;
	case TABLE_BROKEN:
		break;
	}
	reply_set(reply, 451, "4.3.0", "the sender can't be checked now, try again later");
	return false;
}
