/*
 * The first rule that takes mail for the user's address from this machine, and delivers it into
 * Maildirs, says by its action where the user's is.
 */
#include <string.h>

#include <bsd/string.h>

#include "lookup/login.h"
#include "lookup/mailbox.h"
#include "lookup/rules.h"

bool
login_find_mailbox(struct site *site, const char *user, struct ipc_mailbox *mailbox)
{
	struct ipc_rcpt rcpt = { .client_family = CLIENT_INTERNAL };
	const struct rule *rule = NULL;
	enum rules_result result;
	struct address address;

	memset(mailbox, 0, sizeof(*mailbox));
	memset(&address, 0, sizeof(address));
	if (strchr(user, '@') == NULL) {
		if (strlcpy(address.local, user, sizeof(address.local)) >= sizeof(address.local)) {
			reply_set(&mailbox->reply, 550, "5.1.1", "the user's name is too long");
			return false;
		}
		strlcpy(address.domain, site->config->hostname, sizeof(address.domain));
	} else if (address_parse(user, ADDRESS_ALLOW_UTF8, &address) != ADDRESS_OK) {
		reply_set(&mailbox->reply, 550, "5.1.1", "the user's name is no address");
		return false;
	}
	rcpt.rcpt = address;
	result = rules_match(site, &rcpt, &address, true, &rule);
	if (result == RULES_BROKEN)
		reply_set(&mailbox->reply, 451, "4.3.0", "a table can't be read now");
	else if (result != RULES_ACTION || rule->action == NULL || rule->action->broken ||
	    rule->action->config->method != ACTION_MAILDIR)
		reply_set(&mailbox->reply, 550, "5.1.1",
		    "no rule delivers mail of this user into a Maildir");
	else
		mailbox_find(site, rule->action, &address, mailbox);
	return reply_is_success(&mailbox->reply);
}
