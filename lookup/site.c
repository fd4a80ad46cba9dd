/*
 * A site is built once for a configuration, so that answering a recipient finds everything by
 * pointer. Reload builds another and drops this one.
 */
#include <sys/socket.h>
#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/log.h"
#include "lookup/site.h"

#define PASSWD_FILE "/etc/passwd"

static void
add_own(struct site *site, const struct sockaddr *address)
{
	struct netaddr netaddr = { 0 };
	struct netaddr *own;

	if (address == NULL)
		return;
	if (address->sa_family == AF_INET) {
		memcpy(netaddr.address,
		    &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
		netaddr.bits = 32;
	} else if (address->sa_family == AF_INET6) {
		memcpy(netaddr.address,
		    &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, 16);
		netaddr.bits = 128;
	} else
		return;
	netaddr.family = address->sa_family;
	own = reallocarray(site->own, site->own_count + 1, sizeof(*own));
	if (own == NULL)
		fatal("out of memory");
	site->own = own;
	site->own[site->own_count++] = netaddr;
}

static void
find_own_addresses(struct site *site)
{
	struct ifaddrs *list;

	if (getifaddrs(&list) == -1) {
		log_warning(
		    "cannot list this machine's addresses: %s; only loopback counts as local",
		    strerror(errno));
		return;
	}
	for (struct ifaddrs *at = list; at != NULL; at = at->ifa_next)
		add_own(site, at->ifa_addr);
	freeifaddrs(list);
}

static void
find_mail_user(struct site *site)
{
	const struct passwd *passwd;
	const char *name = site->config->mail_user;

	site->mail_user_found = true;
	site->mail_uid = getuid();
	site->mail_gid = getgid();
	if (!site->privileged)
		return;
	passwd = getpwnam(name);
	if (passwd == NULL || passwd->pw_uid == 0) {
		site->mail_user_found = false;
		log_error("user %s, who is to own the mailboxes, %s: mail for them is put off",
		    name, passwd == NULL ? "doesn't exist" : "is root");
		return;
	}
	site->mail_uid = passwd->pw_uid;
	site->mail_gid = passwd->pw_gid;
}

/* The table called `name`; NULL for "". */
static struct table *
find_table(struct site *site, const char *name, bool *broken)
{
	struct table *table;

	if (*name == '\0')
		return NULL;
	table = tables_find(site->tables, name);
	if (table == NULL) {
		log_error("the configuration names a table <%s> that isn't there", name);
		*broken = true;
	}
	return table;
}

static void
resolve_actions(struct site *site)
{
	const struct config *config = site->config;

	site->actions = calloc(config->action_count + 1, sizeof(*site->actions));
	if (site->actions == NULL)
		fatal("out of memory");
	for (size_t i = 0; i < config->action_count; i++) {
		struct action *action = &site->actions[i];

		action->config = &config->actions[i];
		action->virtuals = find_table(site, action->config->virtual_table, &action->broken);
		action->aliases = find_table(site, action->config->alias_table, &action->broken);
		action->userbase =
		    find_table(site, action->config->userbase_table, &action->broken);
		if ((action->virtuals != NULL && table_is_accounts(action->virtuals)) ||
		    (action->userbase != NULL && table_is_accounts(action->userbase)))
			action->accounts = ACTION_ACCOUNTS_ALWAYS;
		else if (action->virtuals == NULL && action->userbase == NULL &&
		    action_is_local(action->config) && action->config->method != ACTION_LMTP)
			action->accounts = ACTION_ACCOUNTS_BY_DOMAIN;
	}
}

static void
resolve_rules(struct site *site)
{
	const struct config *config = site->config;

	site->rules = calloc(config->rule_count + 1, sizeof(*site->rules));
	if (site->rules == NULL)
		fatal("out of memory");
	for (size_t i = 0; i < config->rule_count; i++) {
		struct rule *rule = &site->rules[i];

		rule->config = &config->rules[i];
		rule->from = find_table(site, rule->config->from_table, &rule->broken);
		rule->for_ = find_table(site, rule->config->for_table, &rule->broken);
		rule->tag = find_table(site, rule->config->tag_table, &rule->broken);
		rule->helo = find_table(site, rule->config->helo_table, &rule->broken);
		rule->mail_from = find_table(site, rule->config->mail_from_table, &rule->broken);
		rule->rcpt_to = find_table(site, rule->config->rcpt_to_table, &rule->broken);
		rule->auth = find_table(site, rule->config->auth_table, &rule->broken);
		if (*rule->config->action == '\0')
			continue;
		rule->action = site_find_action(site, rule->config->action);
		if (rule->action == NULL || rule->action->broken)
			rule->broken = true;
	}
}

struct site *
site_new(struct config *config, struct accounts *accounts, bool privileged)
{
	struct site *site = calloc(1, sizeof(*site));

	if (site == NULL)
		fatal("out of memory");
	site->config = config;
	site->accounts = accounts;
	site->privileged = privileged;
	site->tables = tables_new(config, accounts);
	file_state_read(PASSWD_FILE, &site->passwd);
	find_own_addresses(site);
	find_mail_user(site);
	resolve_actions(site);
	resolve_rules(site);
	return site;
}

void
site_free(struct site *site)
{
	if (site == NULL)
		return;
	tables_free(site->tables);
	free(site->actions);
	free(site->rules);
	free(site->own);
	config_free(site->config);
	free(site);
}

bool
site_refresh(struct site *site)
{
	bool changed = tables_refresh(site->tables);
	struct file_state passwd;

	file_state_read(PASSWD_FILE, &passwd);
	if (!file_state_equal(&passwd, &site->passwd)) {
		site->passwd = passwd;
		find_mail_user(site);
		changed = true;
	}
	return changed;
}

const struct action *
site_find_action(const struct site *site, const char *name)
{
	for (size_t i = 0; i < site->config->action_count; i++) {
		if (strcmp(site->actions[i].config->name, name) == 0)
			return &site->actions[i];
	}
	return NULL;
}

enum account_result
site_uses_accounts(struct site *site, const struct action *action, const char *domain)
{
	char key[ADDRESS_DOMAIN_MAX + 1];

	switch (action->accounts) {
	case ACTION_ACCOUNTS_NEVER:
		break;
	case ACTION_ACCOUNTS_ALWAYS:
		return ACCOUNT_FOUND;
	case ACTION_ACCOUNTS_BY_DOMAIN:
		if (*domain != '[' && address_domain_key(domain, key, sizeof(key)))
			return accounts_find_domain(site->accounts, key);
		break;
	}
	return ACCOUNT_NONE;
}

static bool
is_own_address(const struct site *site, const struct netaddr *address)
{
	static const uint8_t loopback6[16] = { [15] = 1 };
	static const uint8_t mapped4[12] = { [10] = 0xff, [11] = 0xff };
	struct netaddr plain = *address;

	if (plain.family == AF_INET6 && memcmp(plain.address, mapped4, sizeof(mapped4)) == 0) {
		memset(plain.address, 0, sizeof(plain.address));
		memcpy(plain.address, address->address + 12, 4);
		plain.family = AF_INET;
	}
	if (plain.family == AF_INET ? plain.address[0] == 127
	                            : memcmp(plain.address, loopback6, sizeof(loopback6)) == 0)
		return true;
	for (size_t i = 0; i < site->own_count; i++) {
		if (site->own[i].family == plain.family &&
		    memcmp(site->own[i].address, plain.address, sizeof(plain.address)) == 0)
			return true;
	}
	return false;
}

static bool
domain_equal(const char *a, const char *b)
{
	char key_a[TABLE_KEY_MAX], key_b[TABLE_KEY_MAX];

	return table_domain_normalise(a, key_a, sizeof(key_a)) &&
	    table_domain_normalise(b, key_b, sizeof(key_b)) && strcmp(key_a, key_b) == 0;
}

bool
site_without_detail(const struct site *site, const struct address *address, struct address *plain)
{
	char detail[ADDRESS_LOCAL_MAX + 1];

	*plain = *address;
	address_split_detail(plain, site->config->subaddress_delimiters, detail, sizeof(detail));
	return strlen(plain->local) != strlen(address->local);
}

bool
site_is_own_host(const struct site *site, const char *domain)
{
	struct netaddr netaddr;

	if (*domain == '\0')
		return false;
	if (*domain == '[')
		return netaddr_parse(domain, &netaddr) && is_own_address(site, &netaddr);
	if (strcasecmp(domain, "localhost") == 0 || domain_equal(domain, site->config->hostname))
		return true;
	for (size_t i = 0; i < site->config->listener_count; i++) {
		const char *name = site->config->listeners[i].hostname;

		if (*name != '\0' && domain_equal(domain, name))
			return true;
	}
	return false;
}

bool
site_is_own_client(const struct site *site, const struct ipc_rcpt *rcpt)
{
	struct netaddr netaddr = { 0 };

	switch ((enum client_family)rcpt->client_family) {
	case CLIENT_LOCAL:
	case CLIENT_INTERNAL:
		return true;
	case CLIENT_INET4:
		netaddr.family = AF_INET;
		memcpy(netaddr.address, rcpt->client_address, 4);
		return is_own_address(site, &netaddr);
	case CLIENT_INET6:
		netaddr.family = AF_INET6;
		memcpy(netaddr.address, rcpt->client_address, 16);
		return is_own_address(site, &netaddr);
	case CLIENT_COUNT:
		break;
	}
	return false;
}
