/*
 * Tables, and the check after the last statement. A table may be used before it is defined, so what
 * a use asks of its entries is checked when all are known; the notes kept beside each table say in
 * which line an entry stood.
 */
#include <sys/stat.h>
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "common/address.h"
#include "common/envelope.h"
#include "common/log.h"
#include "common/regular.h"
#include "smtpd/parse_build.h"

#define TABLE_NAME_MAX  64
#define TABLE_KEY_MAX   512
#define TABLE_VALUE_MAX 4096

void
table_begin(struct parse *parse, struct place place)
{
	struct draft *draft = &parse->draft;

	for (size_t i = 0; i < draft->table.entry_count; i++) {
		free(draft->table.entries[i].key);
		free(draft->table.entries[i].value);
	}
	free(draft->table.entries);
	free(draft->table.path);
	free(draft->table.name);
	free(draft->table_note.entries);
	memset(&draft->table, 0, sizeof(draft->table));
	memset(&draft->table_note, 0, sizeof(draft->table_note));
	draft->table_has_list = false;
	draft->table_note.place = place;
}

void
table_add(struct parse *parse, struct place place, char *key, char *value)
{
	struct draft *draft = &parse->draft;
	struct table_config *table = &draft->table;

	if (value != NULL)
		draft->table_note.is_mapping = true;
	else
		draft->table_has_list = true;
	if (draft->table_has_list && draft->table_note.is_mapping)
		problem_error(&parse->problems, place,
		    "\"%.40s\": a table is either a list or a mapping, not both", key);
	else if (*key == '\0' || strlen(key) > TABLE_KEY_MAX)
		problem_error(&parse->problems, place,
		    "\"%.40s\" can't be a table's key: 1 to %d bytes", key, TABLE_KEY_MAX);
	else if (value != NULL && (*value == '\0' || strlen(value) > TABLE_VALUE_MAX))
		problem_error(&parse->problems, place,
		    "the value of \"%.40s\" has not 1 to %d bytes", key, TABLE_VALUE_MAX);
	else {
		table->entries =
		    parse_grow(table->entries, table->entry_count, sizeof(*table->entries));
		draft->table_note.entries =
		    parse_grow(draft->table_note.entries, table->entry_count, sizeof(place));
		draft->table_note.entries[table->entry_count] = place;
		table->entries[table->entry_count].key = key;
		table->entries[table->entry_count].value = value == NULL ? parse_copy("") : value;
		table->entry_count++;
		return;
	}
	free(key);
	free(value);
}

void
table_set_source(struct parse *parse, struct place place, char *source)
{
	struct table_config *table = &parse->draft.table;
	const char *path = source;
	struct stat status;

	if (strncmp(source, "file:", 5) == 0 || *source == '/') {
		table->backend = TABLE_FILE;
		path += *source == '/' ? 0 : 5;
	} else if (strncmp(source, "static:", 7) == 0) { /* OpenSMTPD's other name for it */
		table->backend = TABLE_FILE;
		path += 7;
	} else if (strncmp(source, "db:", 3) == 0) {
		table->backend = TABLE_DB;
		path += 3;
	} else {
		problem_error(&parse->problems, place,
		    "\"%.100s\" is not supported: a table is file:PATH, db:PATH or { ... }",
		    source);
		free(source);
		return;
	}
	if (*path != '/' || strlen(path) > PATH_TEXT_MAX)
		problem_error(&parse->problems, place,
		    "\"%.100s\" is not an absolute path of at most %d bytes", path, PATH_TEXT_MAX);
	/* An administrator may make the file later: the table answers "try again" until then. */
	else if (stat(path, &status) == -1)
		problem_warning(
		    &parse->problems, place, "table's file \"%.200s\": %s", path, strerror(errno));
	table->path = parse_copy(path);
	free(source);
}

static bool
table_name_fits(struct parse *parse, struct place place, const char *name)
{
	const char *at;

	for (at = name; isascii((unsigned char)*at) &&
	     (isalnum((unsigned char)*at) || (*at != '\0' && strchr("_-.:", *at) != NULL));
	     at++)
		;
	if (*at == '\0' && at > name && at - name <= TABLE_NAME_MAX)
		return true;
	problem_error(&parse->problems, place,
	    "\"%.40s\" can't name a table: 1 to %d letters, digits, \"_\", \"-\", \".\" and \":\"",
	    name, TABLE_NAME_MAX);
	return false;
}

char *
table_finish(struct parse *parse, struct place place, char *name)
{
	struct config *config = parse->config;
	struct draft *draft = &parse->draft;
	const struct table_config *other;
	struct table_config *table;

	if (name == NULL) {
		/* Marks that no named table can have keep this apart from those. */
		if (asprintf(&name, "<anonymous:%zu>", ++parse->anonymous_count) == -1)
			fatal("parse: asprintf");
	} else if (!table_name_fits(parse, place, name)) {
		free(name);
		table_begin(parse, place);
		return NULL;
	}
	other = config_find_table(config, name);
	if (other != NULL) {
		struct place first = parse->notes[other - config->tables].place;

		if (first.line == 0)
			problem_error(&parse->problems, place,
			    "table \"%s\" is the accounts database: choose another name", name);
		else
			problem_error(&parse->problems, place,
			    "table \"%s\" was defined in line %u of %.200s already", name,
			    first.line, first.file);
		free(name);
		table_begin(parse, place);
		return NULL;
	}
	config->tables = parse_grow(config->tables, config->table_count, sizeof(*config->tables));
	parse->notes = parse_grow(parse->notes, config->table_count, sizeof(*parse->notes));
	table = &config->tables[config->table_count];
	*table = draft->table;
	table->name = name;
	if (table->path == NULL)
		table->path = parse_copy("");
	if (table->entries == NULL) {
		table->entries = calloc(1, sizeof(*table->entries));
		if (table->entries == NULL)
			fatal("parse: calloc");
	}
	parse->notes[config->table_count] = draft->table_note;
	parse->notes[config->table_count].place = place;
	config->table_count++;
	memset(&draft->table, 0, sizeof(draft->table));
	memset(&draft->table_note, 0, sizeof(draft->table_note));
	table_begin(parse, place);
	return parse_copy(name);
}

void
table_refer(struct parse *parse, struct place place, const char *name, enum table_use use)
{
	struct table_reference *reference;

	if (name == NULL)
		return;
	parse->references =
	    parse_grow(parse->references, parse->reference_count, sizeof(*parse->references));
	reference = &parse->references[parse->reference_count++];
	reference->name = parse_copy(name);
	reference->place = place;
	reference->use = use;
}

/* "192.0.2.1", "192.0.2.0/24", "2001:db8::/32", "[::1]". */
static bool
is_network(const char *key)
{
	unsigned char address[16];
	char text[INET6_ADDRSTRLEN + 4];
	const char *slash = strchr(key, '/'), *at;
	size_t length = slash == NULL ? strlen(key) : (size_t)(slash - key);
	unsigned bits = 0, most;

	if (length >= sizeof(text))
		return false;
	memcpy(text, key, length);
	text[length] = '\0';
	key = text;
	if (*text == '[' && text[length - 1] == ']') {
		text[length - 1] = '\0';
		key++;
	}
	if (inet_pton(AF_INET, key, address) == 1)
		most = 32;
	else if (inet_pton(AF_INET6, key, address) == 1)
		most = 128;
	else
		return false;
	if (slash == NULL)
		return true;
	for (at = slash + 1; isdigit((unsigned char)*at) && at - slash <= 3; at++)
		bits = 10 * bits + (unsigned)(*at - '0');
	return *at == '\0' && at > slash + 1 && bits <= most;
}

/* A domain, in whose place "*" and "?" stand for any bytes or one. */
static bool
is_domain_pattern(const char *key)
{
	char plain[ADDRESS_DOMAIN_MAX + 1], *at;

	if (strlcpy(plain, key, sizeof(plain)) >= sizeof(plain))
		return false;
	for (at = plain; *at != '\0'; at++) {
		if (*at == '*' || *at == '?')
			*at = 'x';
	}
	return address_domain_is_valid(plain, true);
}

static bool
is_mailbox_pattern(const char *key)
{
	const char *at = strrchr(key, '@');
	char text[ADDRESS_LOCAL_MAX * 2 + 16];
	struct address address;
	size_t length;

	if (strcmp(key, "<>") == 0 || strcmp(key, "@") == 0)
		return true;
	if (at != NULL && !is_domain_pattern(at + 1))
		return false;
	length = at == NULL ? strlen(key) : (size_t)(at - key);
	if (length == 0)
		return true;
	if (length >= sizeof(text))
		return false;
	memcpy(text, key, length);
	text[length] = '\0';
	return address_parse(text, ADDRESS_ALLOW_UTF8 | ADDRESS_ALLOW_BARE_LOCAL, &address) ==
	    ADDRESS_OK &&
	    *address.domain == '\0';
}

static bool
is_tag(const char *key)
{
	const char *at;

	for (at = key; isascii((unsigned char)*at) && isgraph((unsigned char)*at); at++)
		;
	return *at == '\0' && at > key && at - key <= ACTION_NAME_MAX;
}

bool
table_key_fits(const char *key, enum table_use use)
{
	unsigned char address[16];

	switch (use) {
	case TABLE_USE_DOMAIN:
		return is_domain_pattern(key);
	case TABLE_USE_RELAY_HOSTS:
		return strcmp(key, "*") == 0 || is_domain_pattern(key);
	case TABLE_USE_SOURCE:
	case TABLE_USE_HELO_SRC:
	case TABLE_USE_HOSTNAMES:
		return inet_pton(AF_INET, key, address) == 1 ||
		    inet_pton(AF_INET6, key, address) == 1;
	case TABLE_USE_NETWORK:
	case TABLE_USE_PROXY:
		return is_network(key);
	case TABLE_USE_ADDRESS:
		return is_mailbox_pattern(key);
	case TABLE_USE_HELO:
	case TABLE_USE_CREDENTIALS:
	case TABLE_USE_SENDERS:
	case TABLE_USE_USERS:
	case TABLE_USE_RELAY_AUTH:
	case TABLE_USE_ALIAS:
	case TABLE_USE_VIRTUAL:
	case TABLE_USE_USERBASE:
		return true;
	case TABLE_USE_TAG:
		return is_tag(key);
	case TABLE_USE_HOSTS: /* the action says why not */
	case TABLE_USE_REGEX: /* check_regex() says why not */
		return true;
	case TABLE_USE_COUNT:
		break;
	}
	return false;
}

/* "UID:GID:/HOME" (OpenSMTPD's userinfo). */
static bool
is_user_value(const char *value)
{
	for (int field = 0; field < 2; field++) {
		if (!isdigit((unsigned char)*value))
			return false;
		value += strspn(value, "0123456789");
		if (*value++ != ':')
			return false;
	}
	return *value == '/';
}

static const char *
use_words(enum table_use use)
{
	static const char *const words[] = {
		[TABLE_USE_ALIAS] = "alias",
		[TABLE_USE_VIRTUAL] = "virtual",
		[TABLE_USE_USERBASE] = "userbase",
		[TABLE_USE_DOMAIN] = "a domain",
		[TABLE_USE_NETWORK] = "an address or network",
		[TABLE_USE_PROXY] = "an address or network",
		[TABLE_USE_ADDRESS] = "a mail address or @domain",
		[TABLE_USE_HELO] = "helo",
		[TABLE_USE_CREDENTIALS] = "auth",
		[TABLE_USE_SENDERS] = "senders",
		[TABLE_USE_USERS] = "a user",
		[TABLE_USE_RELAY_AUTH] = "auth",
		[TABLE_USE_RELAY_HOSTS] = "a domain",
		[TABLE_USE_SOURCE] = "an address",
		[TABLE_USE_HELO_SRC] = "an address",
		[TABLE_USE_HOSTNAMES] = "an address",
		[TABLE_USE_HOSTS] = "host",
		[TABLE_USE_TAG] = "a tag",
		[TABLE_USE_REGEX] = "regex",
	};

	return words[use];
}

static bool
use_wants_mapping(enum table_use use)
{
	return use == TABLE_USE_ALIAS || use == TABLE_USE_VIRTUAL || use == TABLE_USE_USERBASE ||
	    use == TABLE_USE_CREDENTIALS || use == TABLE_USE_SENDERS ||
	    use == TABLE_USE_RELAY_AUTH || use == TABLE_USE_RELAY_HOSTS ||
	    use == TABLE_USE_HELO_SRC || use == TABLE_USE_HOSTNAMES;
}

/* Listeners and the relay are locked in where no file can be read; NULL, or the option. */
static const char *
use_wants_static(enum table_use use)
{
	return use == TABLE_USE_PROXY    ? "proxy-v2"
	    : use == TABLE_USE_SOURCE    ? "src"
	    : use == TABLE_USE_HOSTNAMES ? "hostnames"
	    : use == TABLE_USE_HOSTS     ? "host"
	                                 : NULL;
}

/* A table of regular expressions is nothing else: what stands in one isn't taken apart. */
static void
check_regex(struct parse *parse, const struct table_reference *reference,
    const struct table_config *table, struct table_note *note)
{
	bool is_regex = reference->use == TABLE_USE_REGEX;
	struct regular *regular;
	size_t steps = 0;
	char why[128];

	if (note->is_used && note->is_regex != is_regex)
		problem_error(&parse->problems, reference->place,
		    "table <%.64s> is used both with and without \"regex\"", table->name);
	note->is_regex = is_regex;
	if (!is_regex)
		return;
	if (table->backend != TABLE_STATIC && table->backend != TABLE_FILE)
		problem_error(&parse->problems, reference->place,
		    "<%.64s>: \"regex\" needs a file or a list", table->name);
	else if (note->is_mapping)
		problem_error(&parse->problems, reference->place,
		    "\"regex\" wants a list, and \"%.40s\" is a mapping", table->name);
	else if (table->entry_count > REGULAR_TABLE_MAX)
		problem_error(&parse->problems, reference->place,
		    "table <%.64s> has more than %d regular expressions", table->name,
		    REGULAR_TABLE_MAX);
	else
		for (size_t i = 0; i < table->entry_count; i++) {
			regular = regular_new(table->entries[i].key, why, sizeof(why));
			if (regular == NULL)
				problem_error(&parse->problems, note->entries[i],
				    "\"%.100s\" is no regular expression: %s",
				    table->entries[i].key, why);
			else
				steps += regular_steps(regular);
			regular_free(regular);
		}
	if (steps > REGULAR_TABLE_STEPS_MAX)
		problem_error(&parse->problems, reference->place,
		    "the regular expressions of \"%.64s\" are too large together", table->name);
}

static void
check_static(struct parse *parse, const struct table_reference *reference,
    const struct table_config *table, const struct table_note *note)
{
	if (reference->use == TABLE_USE_HOSTS && note->is_mapping) {
		problem_error(&parse->problems, reference->place,
		    "\"host\" wants a list, and \"%.40s\" is a mapping", table->name);
		return;
	}
	if (use_wants_mapping(reference->use) && !note->is_mapping) {
		problem_error(&parse->problems, reference->place,
		    "\"%s\" wants a mapping { key = value }, and \"%.40s\" is a list",
		    use_words(reference->use),
		    *table->name == '<' ? table->entries[0].key : table->name);
		return;
	}
	for (size_t i = 0; i < table->entry_count; i++) {
		const struct table_entry *entry = &table->entries[i];

		if (!table_key_fits(entry->key, reference->use))
			problem_error(&parse->problems, note->entries[i], "\"%.100s\" is not %s",
			    entry->key, use_words(reference->use));
		else if (reference->use == TABLE_USE_USERBASE && !is_user_value(entry->value))
			problem_error(&parse->problems, note->entries[i],
			    "\"%.100s\" is not UID:GID:/HOME", entry->value);
		else if (reference->use == TABLE_USE_HOSTNAMES &&
		    !address_domain_is_valid(entry->value, true))
			problem_error(&parse->problems, note->entries[i],
			    "\"%.100s\" is not a host name", entry->value);
		else if (reference->use == TABLE_USE_RELAY_AUTH &&
		    strchr(entry->value, ':') == NULL)
			problem_error(&parse->problems, note->entries[i],
			    "the credentials of \"%.100s\" are not user:password", entry->key);
	}
}

static bool
accounts_serve(enum table_use use)
{
	return use == TABLE_USE_DOMAIN || use == TABLE_USE_ADDRESS || use == TABLE_USE_VIRTUAL ||
	    use == TABLE_USE_USERBASE || use == TABLE_USE_CREDENTIALS || use == TABLE_USE_USERS;
}

static void
check_references(struct parse *parse)
{
	const struct config *config = parse->config;

	for (size_t i = 0; i < parse->reference_count; i++) {
		const struct table_reference *reference = &parse->references[i];
		const struct table_config *table = config_find_table(config, reference->name);
		struct table_note *note;

		if (table == NULL) {
			problem_error(&parse->problems, reference->place,
			    "table <%.64s> is not defined", reference->name);
			continue;
		}
		note = &parse->notes[table - config->tables];
		check_regex(parse, reference, table, note);
		note->is_used = true;
		if (table->backend == TABLE_STATIC)
			check_static(parse, reference, table, note);
		else if (use_wants_static(reference->use) != NULL)
			problem_error(&parse->problems, reference->place,
			    "<%.64s>: %s needs a table whose entries stand in the configuration",
			    table->name, use_wants_static(reference->use));
		else if (table->backend == TABLE_ACCOUNTS && reference->use != TABLE_USE_REGEX &&
		    !accounts_serve(reference->use))
			problem_error(&parse->problems, reference->place,
			    "<%s> holds domains and mailboxes: it can't be used as %s", table->name,
			    use_words(reference->use));
	}
	for (size_t i = 0; i < config->table_count; i++) {
		if (!parse->notes[i].is_used && config->tables[i].backend != TABLE_ACCOUNTS)
			problem_warning(&parse->problems, parse->notes[i].place,
			    "table \"%s\" is not used", config->tables[i].name);
	}
}

void
parse_check(struct parse *parse)
{
	const struct config *config = parse->config;
	struct place place;

	listen_local_socket(parse);
	check_references(parse);
	rules_check(parse);
	tls_check(parse);
	relay_check(parse);
	metrics_check(parse);
	wrappers_check(parse);
	paths_check(parse);
	if (config->queue_retry_first > config->queue_retry_max) {
		place = setting_place(parse, "queue retry-first");
		if (place.line == 0)
			place = setting_place(parse, "queue retry-max");
		problem_error(&parse->problems, place,
		    "\"queue retry-first\" %us is later than \"queue retry-max\" %us",
		    config->queue_retry_first, config->queue_retry_max);
	}
	for (size_t i = 0; i < config->bounce_warn_count; i++) {
		if (config->bounce_warn[i] >= config->queue_ttl && parse->bounce_place.line != 0)
			problem_warning(&parse->problems, parse->bounce_place,
			    "\"bounce warn-interval\" %us is not before \"queue ttl\"",
			    config->bounce_warn[i]);
	}
	lexer_warn_unused(parse->lexer);
}
