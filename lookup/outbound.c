/*
 * The relay names an action and never a table, so that it can't read what no relaying action uses:
 * the users' passwords, for one. A domain that isn't in its table is looked for as "*.parent" and
 * "*", as in other tables of domains.
 */
#include <stdio.h>
#include <string.h>

#include <bsd/string.h>

#include "common/log.h"
#include "lookup/outbound.h"

static const char *
table_of(const struct action_config *action, enum relay_lookup what)
{
	switch (what) {
	case RELAY_LOOKUP_CREDENTIALS:
		return action->relay_auth;
	case RELAY_LOOKUP_HOSTS:
		return action->relay_domains;
	case RELAY_LOOKUP_HELO:
		return action->relay_helo_table;
	case RELAY_LOOKUP_COUNT:
		break;
	}
	return "";
}

static enum relay_found
get(struct table *table, const char *key, struct ipc_relay_found *found)
{
	enum relay_found status = RELAY_FOUND_NONE;
	struct buf value;

	buf_init(&value, IPC_RELAY_VALUE_MAX + 1);
	switch (table_get(table, key, &value)) {
	case TABLE_FOUND:
		strlcpy(found->value, (const char *)value.data, sizeof(found->value));
		status = *found->value != '\0' ? RELAY_FOUND : RELAY_FOUND_NONE;
		break;
	case TABLE_NONE:
		break;
	case TABLE_BROKEN:
		status = RELAY_FOUND_BROKEN;
		break;
	}
	if (value.data != NULL)
		explicit_bzero(value.data, value.length);
	buf_free(&value);
	return status;
}

/* The domain itself, then what is written for all below each of its parents, then for all. */
static enum relay_found
get_domain(struct table *table, const char *domain, struct ipc_relay_found *found)
{
	char key[ADDRESS_DOMAIN_MAX + 3];
	enum relay_found status = get(table, domain, found);
	const char *dot = domain;

	while (status == RELAY_FOUND_NONE && (dot = strchr(dot, '.')) != NULL) {
		snprintf(key, sizeof(key), "*%s", dot);
		status = get(table, key, found);
		dot++;
	}
	return status == RELAY_FOUND_NONE ? get(table, "*", found) : status;
}

void
outbound_lookup(const struct config *config, struct tables *tables,
    const struct ipc_relay_lookup *lookup, struct ipc_relay_found *found)
{
	const struct action_config *action = config_find_action(config, lookup->action);
	struct table *table = NULL;

	memset(found, 0, sizeof(*found));
	found->status = RELAY_FOUND_NONE;
	if (action != NULL && action->method == ACTION_RELAY)
		table = tables_find(tables, table_of(action, lookup->what));
	if (table == NULL || table_is_accounts(table))
		return;
	found->status = lookup->what == RELAY_LOOKUP_HOSTS ? get_domain(table, lookup->key, found)
	                                                   : get(table, lookup->key, found);
	if (found->status != RELAY_FOUND)
		*found->value = '\0';
}
