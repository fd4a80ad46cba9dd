/*
 * The addresses stand in the configuration itself; their names are asked of the directory, one by
 * one, before the first connection, and again after a while. A name that can't be had is no reason
 * to keep mail back: the usual one is said.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "common/clock.h"
#include "common/log.h"
#include "deliver/relay_addresses.h"
#include "deliver/relay_source.h"

#define NAMES_MS (5 * 60000) /* asked for again after that */

struct source {
	struct sources *all;
	char address[ADDRESS_DOMAIN_MAX + 1];
	char helo[HOSTNAME_MAX + 1];
	uint32_t question; /* 0: none is open */
};

struct sources {
	unsigned holders;
	struct relay_directory *directory;
	char action[ACTION_NAME_MAX + 1];
	bool has_names;
	int64_t names_expire_ms;
	size_t open; /* questions */
	void (*known)(void *arg);
	void *arg;
	size_t next;
	struct addresses addresses;
	struct source sources[ADDRESSES_MAX]; /* one for each */
};

struct sources *
sources_new(const struct config *config, const struct action_config *action,
    struct relay_directory *directory)
{
	const struct table_config *table = config_find_table(config, action->relay_source);
	struct sources *all;
	size_t count;

	if (*action->relay_source == '\0' || table == NULL)
		return NULL;
	all = calloc(1, sizeof(*all));
	if (all == NULL)
		fatal("relay");
	all->holders = 1;
	all->directory = directory;
	all->has_names = *action->relay_helo_table != '\0';
	strlcpy(all->action, action->name, sizeof(all->action));
	for (size_t i = 0; i < table->entry_count; i++) {
		count = all->addresses.count;
		if (!addresses_add_text(&all->addresses, table->entries[i].key, 0) ||
		    all->addresses.count == count)
			continue;
		all->sources[count].all = all;
		strlcpy(all->sources[count].address, table->entries[i].key,
		    sizeof(all->sources[count].address));
	}
	return all;
}

struct sources *
sources_hold(struct sources *all)
{
	all->holders++;
	return all;
}

void
sources_drop(struct sources *all)
{
	if (all == NULL || --all->holders > 0)
		return;
	for (size_t i = 0; i < all->addresses.count; i++)
		if (all->sources[i].question != 0)
			relay_directory_forget(all->directory, all->sources[i].question);
	free(all);
}

static void
on_name(const struct ipc_relay_found *found, void *arg)
{
	struct source *source = arg;
	struct sources *all = source->all;

	source->question = 0;
	if (found->status == RELAY_FOUND && address_domain_is_valid(found->value, false))
		strlcpy(source->helo, found->value, sizeof(source->helo));
	else if (found->status != RELAY_FOUND_BROKEN)
		*source->helo = '\0';
	if (--all->open == 0)
		all->known(all->arg);
}

bool
sources_are_known(struct sources *all, void (*known)(void *arg), void *arg)
{
	int64_t now = clock_monotonic_ms();

	if (!all->has_names || (all->open == 0 && now < all->names_expire_ms) ||
	    all->addresses.count == 0)
		return true;
	if (all->open > 0)
		return false;
	all->known = known;
	all->arg = arg;
	all->names_expire_ms = now + NAMES_MS;
	for (size_t i = 0; i < all->addresses.count; i++) {
		all->open++;
		all->sources[i].question = relay_directory_ask(all->directory, RELAY_LOOKUP_HELO,
		    all->action, all->sources[i].address, on_name, &all->sources[i]);
	}
	return false;
}

bool
sources_have(const struct sources *all, int family)
{
	for (size_t i = 0; i < all->addresses.count; i++)
		if (all->addresses.all[i].address.ss_family == family)
			return true;
	return false;
}

const struct sockaddr *
sources_next(struct sources *all, int family, socklen_t *length, const char **helo)
{
	size_t count = all->addresses.count, at;

	for (size_t i = 0; i < count; i++) {
		at = (all->next + i) % count;
		if (all->addresses.all[at].address.ss_family != family)
			continue;
		all->next = at + 1;
		*length = all->addresses.all[at].length;
		*helo = all->sources[at].helo;
		return (const struct sockaddr *)&all->addresses.all[at].address;
	}
	return NULL;
}
