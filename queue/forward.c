/*
 * Forwarded mail is known by its recipient, which isn't where it goes. What others sent is told from
 * what our users did by the login, and by the domain.
 */
#include <string.h>

#include <bsd/string.h>

#include "common/log.h"
#include "common/srs.h"
#include "queue/forward.h"

bool
forward_find(const struct config *config, const struct envelope *envelope, struct address *from)
{
	const struct action_config *action = config_find_action(config, envelope->action);

	*from = envelope->rcpt;
	if (*from->domain == '\0')
		strlcpy(from->domain, config->hostname, sizeof(from->domain));
	return (action == NULL || action->method == ACTION_RELAY) &&
	    !address_equal(from, &envelope->dest);
}

static bool
same_domain(const struct address *one, const struct address *other)
{
	char key_one[ADDRESS_DOMAIN_MAX + 1], key_other[ADDRESS_DOMAIN_MAX + 1];

	return address_domain_key(one->domain, key_one, sizeof(key_one)) &&
	    address_domain_key(other->domain, key_other, sizeof(key_other)) &&
	    strcmp(key_one, key_other) == 0;
}

static bool
is_of_others(const struct transaction *transaction)
{
	switch (transaction->client_family) {
	case CLIENT_INET4:
	case CLIENT_INET6:
		return *transaction->auth_user == '\0';
	case CLIENT_LOCAL:
	case CLIENT_INTERNAL:
	case CLIENT_COUNT:
		break;
	}
	return false;
}

void
forward_sender(const struct config *config, const struct transaction *transaction,
    const struct envelope *envelope, const struct address *from, int64_t now,
    struct address *sender)
{
	const struct action_config *action = config_find_action(config, envelope->action);
	const struct srs_keys keys = { config->srs_key, config->srs_key_backup, config->srs_ttl };
	struct address rewritten;
	struct log_line line;
	char text[ADDRESS_TEXT_MAX + 1];
	bool done;

	*sender = transaction->sender;
	if (action == NULL || !action->relay_srs || !is_of_others(transaction) ||
	    address_is_null(sender) || same_domain(sender, from))
		return;
	done = srs_encode(&keys, sender, from->domain, now, &rewritten);
	log_begin(&line, LOG_LEVEL_INFO, done ? "sender-rewritten" : "sender-not-rewritten");
	log_hex64(&line, "envelope", envelope->id);
	address_format(sender, text, sizeof(text));
	log_text(&line, "from", text);
	if (done) {
		*sender = rewritten;
		address_format(sender, text, sizeof(text));
		log_text(&line, "as", text);
	} else
		log_text(&line, "reason", "the address would be too long");
	log_end(&line);
}
