/*
 * One struct table for each table of the config, and one set of functions (struct table_functions)
 * for each place where content is kept; another place (SQL, LDAP) is another such set.
 *
 * Files are looked at about once a second. One that changed is read only when it looks the same the
 * next time, so that a file being rewritten in place isn't read when half of it is there.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "common/clock.h"
#include "common/log.h"
#include "common/store.h"
#include "lookup/accounts.h"
#include "lookup/table_file.h"
#include "lookup/table_regex.h"
#include "lookup/tables.h"

#define DB_VALUE_MAX (8UL * 1024 * 1024)

struct table_functions {
	enum table_result (*get)(struct table *, const char *key, struct buf *value);
	enum table_result (*match_domain)(struct table *, const char *domain);
	enum table_result (*match_mailbox)(struct table *, const char *local, const char *domain);
	enum table_result (*match_network)(struct table *, const struct netaddr *);
	/* Reads what has changed; NULL: nothing ever does. */
	void (*load)(struct table *);
};

struct table {
	const struct table_config *config;
	const struct table_functions *functions;
	unsigned use;
	struct table_map *map;     /* static, file */
	struct table_regex *regex; /* the same, where it holds regular expressions */
	struct store_map *db;
	struct accounts *accounts;
	struct file_state loaded; /* of the file as last read, well or not */
	struct file_state seen;   /* as last looked at */
};

struct tables {
	struct table *tables;
	size_t count;
};

static enum table_result
found_if(bool found)
{
	return found ? TABLE_FOUND : TABLE_NONE;
}

/* Content in memory. */

static enum table_result
map_get(struct table *table, const char *key, struct buf *value)
{
	const char *text;

	if (table->map == NULL)
		return TABLE_BROKEN;
	text = table_map_get(table->map, key);
	if (text == NULL)
		return TABLE_NONE;
	buf_add(value, text, strlen(text));
	return TABLE_FOUND;
}

static enum table_result
map_match_domain(struct table *table, const char *domain)
{
	return table->map == NULL ? TABLE_BROKEN
	                          : found_if(table_map_match_domain(table->map, domain));
}

static enum table_result
map_match_mailbox(struct table *table, const char *local, const char *domain)
{
	return table->map == NULL ? TABLE_BROKEN
	                          : found_if(table_map_match_mailbox(table->map, local, domain));
}

static enum table_result
map_match_network(struct table *table, const struct netaddr *netaddr)
{
	return table->map == NULL ? TABLE_BROKEN
	                          : found_if(table_map_match_network(table->map, netaddr));
}

/* What couldn't be read is tried again when it has changed once more. */
static void
say_kept(struct table *table, bool has_old)
{
	table->loaded = table->seen;
	if (has_old)
		log_warning("table %s keeps what it had before", table->config->name);
	else
		log_error("table %s can't be used until its file is right: mail that needs it is "
		          "put off",
		    table->config->name);
}

static void
regex_load(struct table *table)
{
	struct table_regex *regex = table_file_load_regex(table->config->path, &table->loaded);

	if (regex == NULL) {
		say_kept(table, table->regex != NULL);
		return;
	}
	log_info("table %s: read %zu regular expressions from %s", table->config->name,
	    table_regex_count(regex), table->config->path);
	table_regex_free(table->regex);
	table->regex = regex;
}

static void
file_load(struct table *table)
{
	struct table_map *map;

	if ((table->use & TABLE_USE_REGEX) != 0) {
		regex_load(table);
		return;
	}
	map = table_file_load(table->config->path, table->use, &table->loaded);
	if (map == NULL)
		say_kept(table, table->map != NULL);
	else {
		log_info("table %s: read %zu entries from %s", table->config->name,
		    table_map_count(map), table->config->path);
		table_map_free(table->map);
		table->map = map;
	}
}

/* db files */

static enum table_result
db_get(struct table *table, const char *key, struct buf *value)
{
	if (table->db == NULL)
		return TABLE_BROKEN;
	switch (store_map_get(table->db, key, value)) {
	case STORE_OK:
		return TABLE_FOUND;
	case STORE_NOT_FOUND:
		return TABLE_NONE;
	case STORE_EXISTS:
	case STORE_ERROR:
		break;
	}
	return TABLE_BROKEN;
}

static void
db_load(struct table *table)
{
	struct store_map *db = store_map_open(table->config->path);

	table->loaded = table->seen;
	if (db == NULL) {
		log_error("table %s %s", table->config->name,
		    table->db != NULL ? "keeps what it had before"
		                      : "can't be used: mail that needs it is put off");
		return;
	}
	store_map_close(table->db);
	table->db = db;
}

/* Patterns can't be searched for in a db file, except the one that matches all. */
static enum table_result
db_match_domain(struct table *table, const char *domain)
{
	enum table_result result;
	struct buf value;

	(void)domain;
	buf_init(&value, DB_VALUE_MAX);
	result = db_get(table, "*", &value);
	buf_free(&value);
	return result;
}

/* Nothing but whole keys. */

static enum table_result
no_pattern(struct table *table, const char *domain)
{
	(void)table;
	(void)domain;
	return TABLE_NONE;
}

static enum table_result
no_mailbox_pattern(struct table *table, const char *local, const char *domain)
{
	(void)table;
	(void)local;
	(void)domain;
	return TABLE_NONE;
}

static enum table_result
network_by_key(struct table *table, const struct netaddr *netaddr)
{
	struct netaddr network = *netaddr;
	enum table_result result = TABLE_NONE;
	struct buf value;
	char key[64], *slash;

	buf_init(&value, DB_VALUE_MAX);
	for (unsigned bits = netaddr->bits + 1; bits-- > 0 && result == TABLE_NONE;) {
		netaddr_mask(&network, bits);
		netaddr_format(&network, key, sizeof(key));
		result = table->functions->get(table, key, &value);
		slash = strchr(key, '/');
		if (result == TABLE_NONE && bits == netaddr->bits && slash != NULL) {
			*slash = '\0';
			result = table->functions->get(table, key, &value);
		}
	}
	buf_free(&value);
	return result;
}

/* The accounts database: its keys are its domains, its users and the addresses of its aliases. */

static enum table_result
from_account(enum account_result result)
{
	switch (result) {
	case ACCOUNT_FOUND:
		return TABLE_FOUND;
	case ACCOUNT_NONE:
		return TABLE_NONE;
	case ACCOUNT_BROKEN:
		break;
	}
	return TABLE_BROKEN;
}

static enum table_result
accounts_get(struct table *table, const char *key, struct buf *value)
{
	struct account_user user;
	enum account_result result;
	const char *at = strrchr(key, '@');
	char local[TABLE_KEY_MAX];

	if (at == NULL)
		return from_account(accounts_find_domain(table->accounts, key));
	strlcpy(local, key, sizeof(local));
	local[at - key] = '\0';
	result = ACCOUNT_NONE;
	if (*local != '\0')
		result = accounts_find_user(table->accounts, at + 1, local, &user);
	explicit_bzero(&user, sizeof(user));
	if (result == ACCOUNT_NONE)
		result = accounts_find_alias(table->accounts, at + 1, local, value);
	buf_clear(value);
	return from_account(result);
}

static enum table_result
no_network(struct table *table, const struct netaddr *netaddr)
{
	(void)table;
	(void)netaddr;
	return TABLE_NONE;
}

static const struct table_functions backends[TABLE_BACKEND_COUNT] = {
	[TABLE_STATIC] = { map_get, map_match_domain, map_match_mailbox, map_match_network, NULL },
	[TABLE_FILE] = { map_get, map_match_domain, map_match_mailbox, map_match_network,
	    file_load },
	[TABLE_DB] = { db_get, db_match_domain, no_mailbox_pattern, network_by_key, db_load },
	[TABLE_ACCOUNTS] = { accounts_get, no_pattern, no_mailbox_pattern, no_network, NULL },
};

static bool
is_regex(const struct rule_config *rule, const char *name)
{
	const struct {
		bool regex;
		const char *table;
	} tables[] = {
		{ rule->from_regex, rule->from_table },
		{ rule->for_regex, rule->for_table },
		{ rule->tag_regex, rule->tag_table },
		{ rule->helo_regex, rule->helo_table },
		{ rule->mail_from_regex, rule->mail_from_table },
		{ rule->rcpt_to_regex, rule->rcpt_to_table },
		{ rule->auth_regex, rule->auth_table },
	};

	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		if (tables[i].regex && strcmp(tables[i].table, name) == 0)
			return true;
	}
	return false;
}

static unsigned
uses_of(const struct config *config, const char *name)
{
	unsigned use = 0;

	for (size_t i = 0; i < config->action_count; i++) {
		const struct action_config *action = &config->actions[i];

		if (strcmp(action->alias_table, name) == 0 ||
		    strcmp(action->virtual_table, name) == 0)
			use |= TABLE_USE_TARGETS;
		if (strcmp(action->userbase_table, name) == 0)
			use |= TABLE_USE_USERBASE;
	}
	for (size_t i = 0; i < config->rule_count; i++) {
		if (is_regex(&config->rules[i], name))
			use |= TABLE_USE_REGEX;
	}
	return use;
}

static void
load_static_regex(struct table *table)
{
	char why[128];

	table->regex = table_regex_new();
	if (table->regex == NULL)
		fatalx("out of memory");
	for (size_t i = 0; i < table->config->entry_count; i++) {
		const char *key = table->config->entries[i].key;

		if (table_regex_add(table->regex, key, why, sizeof(why)))
			continue;
		/* smtpd -n says so too. */
		log_error("table %s: \"%s\" is no regular expression: %s: mail that needs it is "
		          "put off",
		    table->config->name, key, why);
		table_regex_free(table->regex);
		table->regex = NULL;
		return;
	}
}

static void
load_static(struct table *table)
{
	if ((table->use & TABLE_USE_REGEX) != 0) {
		load_static_regex(table);
		return;
	}
	table->map = table_map_new();
	if (table->map == NULL)
		fatalx("out of memory");
	for (size_t i = 0; i < table->config->entry_count; i++) {
		const struct table_entry *entry = &table->config->entries[i];

		if (table_map_add(table->map, entry->key, entry->value) == TABLE_MAP_FULL)
			log_error("table %s: the key \"%s\" is too long: left out",
			    table->config->name, entry->key);
	}
}

struct tables *
tables_new(const struct config *config, struct accounts *accounts)
{
	struct tables *tables = calloc(1, sizeof(*tables));

	if (tables == NULL ||
	    (tables->tables = calloc(config->table_count + 1, sizeof(*tables->tables))) == NULL)
		fatalx("out of memory");
	tables->count = config->table_count;
	for (size_t i = 0; i < tables->count; i++) {
		struct table *table = &tables->tables[i];

		table->config = &config->tables[i];
		table->functions = &backends[table->config->backend];
		table->use = uses_of(config, table->config->name);
		table->accounts = accounts;
		if (table->config->backend == TABLE_STATIC)
			load_static(table);
		else if (table->functions->load != NULL) {
			file_state_read(table->config->path, &table->seen);
			table->functions->load(table);
		}
	}
	return tables;
}

void
tables_free(struct tables *tables)
{
	if (tables == NULL)
		return;
	for (size_t i = 0; i < tables->count; i++) {
		table_map_free(tables->tables[i].map);
		table_regex_free(tables->tables[i].regex);
		store_map_close(tables->tables[i].db);
	}
	free(tables->tables);
	free(tables);
}

bool
tables_refresh(struct tables *tables)
{
	bool changed = false;

	for (size_t i = 0; i < tables->count; i++) {
		struct table *table = &tables->tables[i];
		struct file_state now;

		if (table->functions->load == NULL)
			continue;
		file_state_read(table->config->path, &now);
		if (!file_state_equal(&now, &table->loaded) &&
		    file_state_equal(&now, &table->seen)) {
			table->functions->load(table);
			changed = true;
		}
		table->seen = now;
	}
	return changed;
}

struct table *
tables_find(struct tables *tables, const char *name)
{
	for (size_t i = 0; i < tables->count; i++) {
		if (strcmp(tables->tables[i].config->name, name) == 0)
			return &tables->tables[i];
	}
	return NULL;
}

const char *
table_name(const struct table *table)
{
	return table->config->name;
}

bool
table_is_accounts(const struct table *table)
{
	return table->config->backend == TABLE_ACCOUNTS;
}

/* Every question to a table, under any of its forms, ends here when it is traced. */
static enum table_result
traced(const struct table *table, const char *question, const char *key, enum table_result result,
    int64_t since_us)
{
	struct log_line line;

	if (!log_trace_begin(&line, LOG_TRACE_LOOKUP, "table-looked-up"))
		return result;
	log_text(&line, "table", table->config->name);
	log_text(&line, "for", question);
	log_text(&line, "key", key);
	log_text(&line, "result",
	    result == TABLE_FOUND      ? "found"
	        : result == TABLE_NONE ? "none"
	                               : "temporary-error");
	log_number(&line, "time_us", clock_monotonic_us() - since_us);
	log_end(&line);
	return result;
}

static int64_t
trace_start(void)
{
	return log_is_traced(LOG_TRACE_LOOKUP) ? clock_monotonic_us() : 0;
}

static enum table_result
get_normalised(struct table *table, const char *key, struct buf *value)
{
	enum table_result result;

	buf_clear(value);
	result = table->functions->get(table, key, value);
	if (result != TABLE_FOUND)
		return result;
	buf_add_u8(value, '\0');
	if (!buf_ok(value) ||
	    memchr(value->data, '\0', value->length) != value->data + value->length - 1) {
		log_error("table %s: the value of \"%s\" can't be used", table->config->name, key);
		return TABLE_BROKEN;
	}
	return TABLE_FOUND;
}

enum table_result
table_get(struct table *table, const char *key, struct buf *value)
{
	int64_t since = trace_start();
	char normal[TABLE_KEY_MAX];

	/* A key that is too long for any table is in none. */
	if (!table_key_normalise(key, normal, sizeof(normal)))
		return traced(table, "value", key, TABLE_NONE, since);
	return traced(table, "value", normal, get_normalised(table, normal, value), since);
}

bool
table_get_sample(struct table *table, struct buf *value)
{
	const char *sample = table->map != NULL ? table_map_first(table->map) : NULL;

	buf_clear(value);
	if (sample == NULL)
		return false;
	buf_add(value, sample, strlen(sample) + 1);
	return buf_ok(value);
}

/* Tries whole keys until one is there. */
static enum table_result
has_key(struct table *table, const char *key)
{
	enum table_result result;
	struct buf value;

	buf_init(&value, DB_VALUE_MAX);
	result = table->functions->get(table, key, &value);
	buf_free(&value);
	return result;
}

/* `prefix` and the domain, then `prefix` and "*." and each of the domain's parents. */
static enum table_result
has_domain_key(struct table *table, const char *prefix, const char *domain)
{
	char key[TABLE_KEY_MAX];
	enum table_result result;
	const char *at = domain;

	if (snprintf(key, sizeof(key), "%s%s", prefix, domain) >= (int)sizeof(key))
		return TABLE_NONE;
	result = has_key(table, key);
	while (result == TABLE_NONE && *domain != '[' && (at = strchr(at, '.')) != NULL) {
		at++;
		if (snprintf(key, sizeof(key), "%s*.%s", prefix, at) < (int)sizeof(key))
			result = has_key(table, key);
	}
	return result;
}

enum table_result
table_match_domain(struct table *table, const char *domain)
{
	int64_t since = trace_start();
	char key[TABLE_KEY_MAX];
	struct netaddr literal;
	enum table_result result;

	if (*domain == '\0' || !table_domain_normalise(domain, key, sizeof(key)) ||
	    !pattern_is_plain(key))
		return traced(table, "domain", domain, TABLE_NONE, since);
	result = has_domain_key(table, "", key);
	/* Keys that are addresses are kept in one form, without brackets. */
	if (result == TABLE_NONE && *key == '[' && netaddr_parse(domain, &literal)) {
		netaddr_format(&literal, key, sizeof(key));
		result = has_key(table, key);
	}
	if (result == TABLE_NONE)
		result = table->functions->match_domain(table, key);
	return traced(table, "domain", key, result, since);
}

static enum table_result
match_mailbox_exactly(struct table *table, const char *local, const char *domain)
{
	char prefix[ADDRESS_LOCAL_MAX + 2];
	enum table_result result;

	snprintf(prefix, sizeof(prefix), "%s@", local);
	result = has_domain_key(table, prefix, domain);
	/* A quoted local part may look like an address: it is none. */
	if (result == TABLE_NONE && !table_is_accounts(table) && strchr(local, '@') == NULL)
		result = has_key(table, local);
	if (result == TABLE_NONE)
		result = table->functions->match_mailbox(table, local, domain);
	return result;
}

static enum table_result
match_mailbox(struct table *table, const struct address *address, const char *delimiters)
{
	struct address plain = *address;
	char domain[TABLE_KEY_MAX], detail[ADDRESS_LOCAL_MAX + 1];
	enum table_result result;

	/* OpenSMTPD writes "@". */
	if (address_is_null(address)) {
		result = has_key(table, "<>");
		return result == TABLE_NONE && !table_is_accounts(table) ? has_key(table, "@")
		                                                         : result;
	}
	if (!table_domain_normalise(address->domain, domain, sizeof(domain)))
		return TABLE_NONE;
	text_lower(plain.local);
	result = match_mailbox_exactly(table, plain.local, domain);
	if (result != TABLE_NONE)
		return result;
	address_split_detail(&plain, delimiters, detail, sizeof(detail));
	if (*detail != '\0')
		result = match_mailbox_exactly(table, plain.local, domain);
	if (result == TABLE_NONE)
		result = has_domain_key(table, "@", domain);
	if (result == TABLE_NONE && !table_is_accounts(table))
		result = has_key(table, "@");
	return result;
}

enum table_result
table_match_mailbox(struct table *table, const struct address *address, const char *delimiters)
{
	int64_t since = trace_start();
	enum table_result result = match_mailbox(table, address, delimiters);
	char text[ADDRESS_TEXT_MAX + 1];

	if (!log_is_traced(LOG_TRACE_LOOKUP))
		return result;
	address_format(address, text, sizeof(text));
	return traced(table, "mailbox", address_is_null(address) ? "<>" : text, result, since);
}

enum table_result
table_match_network(struct table *table, const struct netaddr *netaddr)
{
	int64_t since = trace_start();
	enum table_result result = table->functions->match_network(table, netaddr);
	char text[64];

	if (!log_is_traced(LOG_TRACE_LOOKUP))
		return result;
	netaddr_format(netaddr, text, sizeof(text));
	return traced(table, "address", text, result, since);
}

enum table_result
table_match_regex(struct table *table, const char *text)
{
	int64_t since = trace_start();
	enum table_result result =
	    table->regex == NULL ? TABLE_BROKEN : found_if(table_regex_matches(table->regex, text));

	return traced(table, "regex", text, result, since);
}
