/*
 * Rules that no mail can reach, which are warned of: each recipient that such a rule is about is
 * decided by an earlier one, or there can be none at all.
 *
 * An earlier rule covers a later one when each of its conditions follows from one of the later's.
 * That is looked for in the words themselves, so that nothing is told that isn't so; what only
 * several rules together cover, or the content of files, isn't seen.
 */
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/log.h"
#include "common/regular.h"
#include "smtpd/parse_build.h"

/* Comparisons of entries, after which no more is looked for: a start mustn't wait. */
#define WORK_MAX 5000000

/* A condition that has a table; `table` "" is any, as of "auth". */
struct wanted {
	const char *table;
	bool regex;
	bool negated;
	enum table_use use;
};

struct search {
	const struct config *config;
	const struct table_config **tables; /* by name */
	unsigned long work;
};

static int
compare_tables(const void *a, const void *b)
{
	return strcmp((*(const struct table_config *const *)a)->name,
	    (*(const struct table_config *const *)b)->name);
}

static int
compare_name(const void *name, const void *table)
{
	return strcmp(name, (*(const struct table_config *const *)table)->name);
}

static const struct table_config *
find_table(const struct search *search, const char *name)
{
	const struct table_config *const *found = bsearch(name, search->tables,
	    search->config->table_count, sizeof(search->tables[0]), compare_name);

	return found == NULL ? NULL : *found;
}

static void
search_begin(struct search *search, const struct config *config)
{
	*search = (struct search){ .config = config };
	search->tables = calloc(config->table_count + 1, sizeof(search->tables[0]));
	if (search->tables == NULL)
		fatal("parse: calloc");
	for (size_t i = 0; i < config->table_count; i++)
		search->tables[i] = &config->tables[i];
	qsort(search->tables, config->table_count, sizeof(search->tables[0]), compare_tables);
}

/* What an address or network begins with. */
static bool
network_read(const char *key, int *family, unsigned char address[16], unsigned *bits)
{
	char text[INET6_ADDRSTRLEN + 4];
	size_t length = strcspn(key, "/");

	if (*key == '[' || length >= sizeof(text))
		return false;
	memcpy(text, key, length);
	text[length] = '\0';
	*family = strchr(text, ':') == NULL ? AF_INET : AF_INET6;
	*bits = key[length] == '/' ? (unsigned)atoi(key + length + 1)
	    : *family == AF_INET   ? 32
	                           : 128;
	return inet_pton(*family, text, address) == 1;
}

static bool
network_covers(const char *wide, const char *narrow)
{
	unsigned char a[16], b[16];
	unsigned bits_a, bits_b;
	int family_a, family_b;

	if (!network_read(wide, &family_a, a, &bits_a) ||
	    !network_read(narrow, &family_b, b, &bits_b) || family_a != family_b ||
	    bits_a > bits_b || bits_b > 128)
		return false;
	for (unsigned bit = 0; bit < bits_a; bit++) {
		if (((a[bit / 8] ^ b[bit / 8]) & (0x80U >> (bit % 8))) != 0)
			return false;
	}
	return true;
}

/* "*.example.org" is all below that; other patterns are equal or nothing. */
static bool
domain_covers(const char *wide, const char *narrow)
{
	size_t length = strlen(narrow), suffix;

	if (strcasecmp(wide, narrow) == 0 || (strcmp(wide, "*") == 0 && *narrow != '['))
		return true;
	if (strncmp(wide, "*.", 2) != 0 || strpbrk(wide + 2, "*?") != NULL ||
	    strpbrk(narrow, "?[") != NULL ||
	    strchr(narrow + (strncmp(narrow, "*.", 2) == 0), '*') != NULL)
		return false;
	suffix = strlen(wide + 1);
	return length > suffix && strcasecmp(narrow + length - suffix, wide + 1) == 0;
}

static bool
address_covers(const char *wide, const char *narrow)
{
	const char *domain = strrchr(narrow, '@');

	if (strcasecmp(wide, narrow) == 0)
		return true;
	/* "@example.org" and its users; a name alone is of any domain. */
	return *wide == '@' && wide[1] != '\0' && domain != NULL && domain[1] != '\0' &&
	    domain_covers(wide + 1, domain + 1);
}

static bool
entry_covers(enum table_use use, const char *wide, const char *narrow)
{
	if (use == TABLE_USE_NETWORK)
		return strcmp(wide, narrow) == 0 || network_covers(wide, narrow);
	if (use == TABLE_USE_DOMAIN || use == TABLE_USE_HELO)
		return domain_covers(wide, narrow);
	if (use == TABLE_USE_ADDRESS)
		return address_covers(wide, narrow);
	return strcasecmp(wide, narrow) == 0;
}

/* Whether what is in `narrow` is always in `wide`. */
static bool
table_covers(struct search *search, enum table_use use, bool regex, const char *wide_name,
    const char *narrow_name)
{
	const struct table_config *wide, *narrow;
	bool found = true;

	if (strcmp(wide_name, narrow_name) == 0)
		return true;
	wide = find_table(search, wide_name);
	narrow = find_table(search, narrow_name);
	if (wide == NULL || narrow == NULL || wide->backend != narrow->backend)
		return false;
	if (wide->backend != TABLE_STATIC)
		return wide->backend != TABLE_ACCOUNTS && strcmp(wide->path, narrow->path) == 0;
	for (size_t i = 0; i < narrow->entry_count && found; i++) {
		found = false;
		for (size_t j = 0; j < wide->entry_count && !found; j++) {
			if (search->work++ > WORK_MAX)
				return false;
			found = regex
			    ? strcmp(wide->entries[j].key, narrow->entries[i].key) == 0
			    : entry_covers(use, wide->entries[j].key, narrow->entries[i].key);
		}
	}
	return found;
}

/* Whether the earlier condition holds wherever the later one does, both being about the same. */
static bool
follows(struct search *search, const struct wanted *earlier, const struct wanted *later)
{
	if (earlier->negated != later->negated)
		return false;
	/* "auth" follows from "auth ann", "!auth ann" from "!auth". */
	if (*earlier->table == '\0' || *later->table == '\0')
		return *(earlier->negated ? later : earlier)->table == '\0';
	if (earlier->regex != later->regex)
		return false;
	return earlier->negated
	    ? table_covers(search, earlier->use, earlier->regex, later->table, earlier->table)
	    : table_covers(search, earlier->use, earlier->regex, earlier->table, later->table);
}

static struct wanted
wanted_from(const struct rule_config *rule)
{
	return (struct wanted){ rule->from_table, rule->from_regex, rule->from_negated,
		rule->from == MATCH_FROM_SOURCE     ? TABLE_USE_NETWORK
		    : rule->from == MATCH_FROM_RDNS ? TABLE_USE_DOMAIN
		                                    : TABLE_USE_USERS };
}

static struct wanted
wanted_for(const struct rule_config *rule)
{
	return (struct wanted){ rule->for_table, rule->for_regex, rule->for_negated,
		rule->for_ == MATCH_FOR_RCPT ? TABLE_USE_ADDRESS : TABLE_USE_DOMAIN };
}

static struct wanted
wanted_auth(const struct rule_config *rule)
{
	return (struct wanted){ rule->auth_table, rule->auth_regex, rule->auth_negated,
		TABLE_USE_USERS };
}

static struct wanted
wanted_rcpt(const struct rule_config *rule)
{
	return (struct wanted){ rule->rcpt_to_table, rule->rcpt_to_regex, rule->rcpt_to_negated,
		TABLE_USE_ADDRESS };
}

static bool
both_follow(struct search *search, struct wanted earlier, struct wanted later)
{
	return follows(search, &earlier, &later);
}

static bool
auth_follows(struct search *search, struct wanted wanted, const struct rule_config *later)
{
	return (later->auth && both_follow(search, wanted, wanted_auth(later))) ||
	    (later->from == MATCH_FROM_AUTH && both_follow(search, wanted, wanted_from(later)));
}

static bool
from_follows(
    struct search *search, const struct rule_config *earlier, const struct rule_config *later)
{
	if (earlier->from == MATCH_FROM_ANY)
		return !earlier->from_negated;
	if (earlier->from == MATCH_FROM_AUTH)
		return auth_follows(search, wanted_from(earlier), later);
	/* Who has no name isn't who has another one. */
	if (earlier->from == MATCH_FROM_RDNS && later->from == MATCH_FROM_RDNS &&
	    *earlier->from_table != '\0' && *later->from_table == '\0')
		return false;
	if (earlier->from == MATCH_FROM_RDNS && later->from == MATCH_FROM_RDNS &&
	    *earlier->from_table == '\0' && *later->from_table != '\0')
		return !earlier->from_negated;
	if (earlier->from == later->from)
		return both_follow(search, wanted_from(earlier), wanted_from(later));
	/* A socket is on this machine. */
	if (earlier->from_negated != later->from_negated)
		return false;
	return earlier->from_negated
	    ? earlier->from == MATCH_FROM_SOCKET && later->from == MATCH_FROM_LOCAL
	    : earlier->from == MATCH_FROM_LOCAL && later->from == MATCH_FROM_SOCKET;
}

static bool
rcpt_follows(struct search *search, struct wanted wanted, const struct rule_config *later)
{
	return (*later->rcpt_to_table != '\0' && both_follow(search, wanted, wanted_rcpt(later))) ||
	    (later->for_ == MATCH_FOR_RCPT && both_follow(search, wanted, wanted_for(later)));
}

/* Whether all addresses of the later rule lie in the domains of the earlier one. */
static bool
addresses_are_within(
    struct search *search, const struct rule_config *earlier, const struct rule_config *later)
{
	const struct table_config *domains = find_table(search, earlier->for_table);
	const struct table_config *addresses = find_table(search, later->for_table);
	bool found = true;

	if (earlier->for_negated || later->for_negated || earlier->for_regex || later->for_regex ||
	    domains == NULL || addresses == NULL || domains->backend != TABLE_STATIC ||
	    addresses->backend != TABLE_STATIC)
		return false;
	for (size_t i = 0; i < addresses->entry_count && found; i++) {
		const char *domain = strrchr(addresses->entries[i].key, '@');

		found = false;
		if (domain == NULL || domain[1] == '\0')
			return false;
		for (size_t j = 0; j < domains->entry_count && !found; j++) {
			if (search->work++ > WORK_MAX)
				return false;
			found = domain_covers(domains->entries[j].key, domain + 1);
		}
	}
	return found;
}

static bool
for_follows(
    struct search *search, const struct rule_config *earlier, const struct rule_config *later)
{
	if (earlier->for_ == MATCH_FOR_ANY)
		return !earlier->for_negated;
	if (earlier->for_ == MATCH_FOR_RCPT)
		return rcpt_follows(search, wanted_for(earlier), later);
	if (earlier->for_ == later->for_)
		return both_follow(search, wanted_for(earlier), wanted_for(later));
	return earlier->for_ == MATCH_FOR_DOMAIN && later->for_ == MATCH_FOR_RCPT &&
	    addresses_are_within(search, earlier, later);
}

/* A condition that may be missing: then it holds. */
static bool
other_follows(struct search *search, struct wanted earlier, struct wanted later)
{
	return *earlier.table == '\0' ||
	    (*later.table != '\0' && both_follow(search, earlier, later));
}

static bool
covers(struct search *search, const struct rule_config *a, const struct rule_config *b)
{
	return (!a->tls || (b->tls && a->tls_negated == b->tls_negated)) &&
	    (!a->auth || auth_follows(search, wanted_auth(a), b)) && from_follows(search, a, b) &&
	    other_follows(search,
	        (struct wanted){ a->tag_table, a->tag_regex, a->tag_negated, TABLE_USE_TAG },
	        (struct wanted){ b->tag_table, b->tag_regex, b->tag_negated, TABLE_USE_TAG }) &&
	    other_follows(search,
	        (struct wanted){ a->helo_table, a->helo_regex, a->helo_negated, TABLE_USE_HELO },
	        (struct wanted){ b->helo_table, b->helo_regex, b->helo_negated, TABLE_USE_HELO }) &&
	    other_follows(search,
	        (struct wanted){ a->mail_from_table, a->mail_from_regex, a->mail_from_negated,
	            TABLE_USE_ADDRESS },
	        (struct wanted){ b->mail_from_table, b->mail_from_regex, b->mail_from_negated,
	            TABLE_USE_ADDRESS }) &&
	    for_follows(search, a, b) &&
	    (*a->rcpt_to_table == '\0' || rcpt_follows(search, wanted_rcpt(a), b));
}

/* Tags come from listeners. */
static bool
has_tag(const struct config *config, const char *entry, bool is_regex)
{
	char why[1];
	struct regular *regular = is_regex ? regular_new(entry, why, sizeof(why)) : NULL;
	bool found = false;

	for (size_t i = 0; i < config->listener_count && !found; i++) {
		const char *tag = config->listeners[i].tag;

		if (*tag != '\0' && !listener_is_access(&config->listeners[i]))
			found = is_regex ? regular != NULL && regular_matches(regular, tag)
			                 : strcasecmp(tag, entry) == 0;
	}
	regular_free(regular);
	return found;
}

/* Why no mail can be what the rule asks for, or NULL. */
static const char *
contradiction(struct search *search, const struct rule_config *rule)
{
	const struct table_config *tags;

	if (rule->from == MATCH_FROM_ANY && rule->from_negated)
		return "\"!from any\" is nobody";
	if (rule->for_ == MATCH_FOR_ANY && rule->for_negated)
		return "\"!for any\" is nobody";
	tags = find_table(search, rule->tag_table);
	if (tags == NULL || rule->tag_negated || tags->backend != TABLE_STATIC)
		return NULL;
	for (size_t i = 0; i < tags->entry_count; i++) {
		search->work += search->config->listener_count;
		if (search->work > WORK_MAX ||
		    has_tag(search->config, tags->entries[i].key, rule->tag_regex))
			return NULL;
	}
	return "no listener has its \"tag\"";
}

void
reach_check(struct parse *parse)
{
	const struct config *config = parse->config;
	struct search search;

	/* What is wrong may be the reason for what would be told here. */
	if (parse->problems.errors > 0)
		return;
	search_begin(&search, config);
	for (size_t i = 0; i < config->rule_count && search.work < WORK_MAX; i++) {
		const struct rule_config *rule = &config->rules[i];
		const char *why = contradiction(&search, rule);

		if (why != NULL) {
			problem_warning(&parse->problems, parse->rule_places[i],
			    "\"match\" is never reached: %s", why);
			continue;
		}
		for (size_t j = 0; j < i && ++search.work < WORK_MAX; j++) {
			if (!covers(&search, &config->rules[j], rule))
				continue;
			problem_warning(&parse->problems, parse->rule_places[i],
			    "\"match\" is never reached: the rule in line %u of %.200s decides "
			    "about all that it is for",
			    parse->rule_places[j].line, parse->rule_places[j].file);
			break;
		}
	}
	free(search.tables);
}
