/*
 * Checks of a command or test that is complete. What is made of variables can't be known before a
 * run, and is looked at then.
 */
#include <string.h>
#include <strings.h>

#include "common/folder_name.h"
#include "common/sieve_message.h"
#include "common/sieve_run.h"

#define CONSTANT(string) (!(string)->has_variables)

/* A tag's value that has to be known now; NULL and an error when it has variables. */
static const char *
constant(const struct sieve_node *node, enum sieve_slot slot, const char *what,
    struct sieve_error *error)
{
	const struct sieve_string *string = node->values[slot]->strings;

	if (CONSTANT(string))
		return string->text;
	sieve_fail(error, node->line, "%s can't come from a variable", what);
	return NULL;
}

static bool
check_comparator(const struct sieve *sieve, struct sieve_node *node, struct sieve_error *error)
{
	const char *name;

	if (node->tags[SLOT_COMPARATOR] == TAG_NONE)
		return true;
	name = constant(node, SLOT_COMPARATOR, "a comparator", error);
	if (name == NULL)
		return false;
	if (strcasecmp(name, "i;octet") == 0) {
		node->comparator = COMPARATOR_OCTET;
	} else if (strcasecmp(name, "i;ascii-casemap") == 0) {
		node->comparator = COMPARATOR_CASEMAP;
	} else if (strcasecmp(name, "i;ascii-numeric") == 0) {
		node->comparator = COMPARATOR_NUMERIC;
		if ((sieve->extensions & NEEDS(ASCII_NUMERIC)) == 0) {
			sieve_fail(error, node->line,
			    "\"i;ascii-numeric\" needs require \"comparator-i;ascii-numeric\"");
			return false;
		}
	} else {
		sieve_fail(error, node->line, "unknown comparator \"%.100s\"", name);
		return false;
	}
	return true;
}

static bool
check_keys(
    const struct sieve_node *node, const struct sieve_argument *keys, struct sieve_error *error)
{
	enum sieve_tag kind = (enum sieve_tag)node->tags[SLOT_MATCH];
	const struct sieve_string *key;
	const char *name;
	char why[100];

	if (kind == TAG_COUNT_OF || kind == TAG_VALUE) {
		name = constant(node, SLOT_MATCH, "a relation", error);
		if (name == NULL)
			return false;
		if (sieve_find_relation(name) == RELATION_COUNT) {
			sieve_fail(error, node->line,
			    "relation \"%.50s\" is none of gt, ge, lt, le, eq, ne", name);
			return false;
		}
		return true;
	}
	for (key = keys->strings; kind == TAG_REGEX && key != NULL; key = key->next) {
		if (CONSTANT(key) && !sieve_check_regex(key->text, why, sizeof(why))) {
			sieve_fail(
			    error, node->line, "regular expression \"%.100s\": %s", key->text, why);
			return false;
		}
	}
	if (kind != TAG_CONTAINS && kind != TAG_MATCHES && kind != TAG_REGEX)
		return true;
	/* RFC 4790 9.1: it has no substrings. */
	if (node->comparator == COMPARATOR_NUMERIC) {
		sieve_fail(error, node->line, "\"i;ascii-numeric\" can't look into strings");
		return false;
	}
	return true;
}

static bool
check_field_names(
    const struct sieve_node *node, const struct sieve_argument *names, struct sieve_error *error)
{
	for (const struct sieve_string *name = names->strings; name != NULL; name = name->next) {
		if (CONSTANT(name) && !sieve_field_name_is_valid(name->text)) {
			sieve_fail(
			    error, node->line, "\"%.100s\" is no header field's name", name->text);
			return false;
		}
	}
	return true;
}

/* RFC 5228 5.1: fields that hold no addresses are none of the test's. Others than these may: nobody
 * knows what is in "X-Forwarded-For". */
static bool
check_address_fields(
    const struct sieve_node *node, const struct sieve_argument *names, struct sieve_error *error)
{
	static const char *const others[] = { "Subject", "Comments", "Keywords", "Date",
		"Resent-Date", "Message-ID", "Resent-Message-ID", "In-Reply-To", "References",
		"Received", "MIME-Version", "Content-Type", "Content-Transfer-Encoding",
		"Content-Disposition", "Content-Description", "Content-ID" };
	const struct sieve_string *name;

	for (name = names->strings; name != NULL; name = name->next) {
		for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
			if (CONSTANT(name) && strcasecmp(name->text, others[i]) == 0) {
				sieve_fail(error, node->line,
				    "\"%s\" holds no addresses: use \"header\"", others[i]);
				return false;
			}
		}
	}
	return check_field_names(node, names, error);
}

static bool
check_index(const struct sieve_node *node, struct sieve_error *error)
{
	if (node->verb == VERB_DUPLICATE)
		return true;
	if (node->tags[SLOT_LAST] != TAG_NONE && node->tags[SLOT_INDEX] == TAG_NONE) {
		sieve_fail(error, node->line, "\":last\" without \":index\""); /* RFC 5260 6 */
		return false;
	}
	if (node->tags[SLOT_INDEX] != TAG_NONE && node->values[SLOT_INDEX]->number == 0) {
		sieve_fail(error, node->line, "\":index\" counts from 1");
		return false;
	}
	return true;
}

static bool
check_envelope(const struct sieve_node *node, struct sieve_error *error)
{
	const struct sieve_string *part;

	for (part = node->positions[0]->strings; part != NULL; part = part->next) {
		if (CONSTANT(part) && strcasecmp(part->text, "from") != 0 &&
		    strcasecmp(part->text, "to") != 0) {
			sieve_fail(
			    error, node->line, "\"%.100s\" is no part of the envelope", part->text);
			return false;
		}
	}
	return true;
}

static bool
check_date(
    const struct sieve_node *node, const struct sieve_string *part, struct sieve_error *error)
{
	const char *zone;
	int minutes;

	if (CONSTANT(part) && !sieve_date_part_is_known(part->text)) {
		sieve_fail(error, node->line, "\"%.100s\" is no part of a date", part->text);
		return false;
	}
	if (node->tags[SLOT_ZONE] == TAG_ORIGINALZONE && node->verb == VERB_CURRENTDATE) {
		sieve_fail(error, node->line, "\"currentdate\" has no \":originalzone\"");
		return false;
	}
	if (node->tags[SLOT_ZONE] != TAG_ZONE)
		return true;
	zone = node->values[SLOT_ZONE]->strings->text;
	if (CONSTANT(node->values[SLOT_ZONE]->strings) && !sieve_read_zone(zone, &minutes)) {
		sieve_fail(error, node->line, "zone \"%.50s\" isn't of the form \"+0100\"", zone);
		return false;
	}
	return true;
}

static bool
check_folder(
    const struct sieve_node *node, const struct sieve_string *name, struct sieve_error *error)
{
	char clean[FOLDER_NAME_SIZE];

	if (!CONSTANT(name) || folder_name_clean(name->text, clean))
		return true;
	sieve_fail(error, node->line, "\"%.100s\" can't be a folder%s", name->text,
	    strchr(name->text, '/') == NULL ? "" : ": levels are separated by \".\"");
	return false;
}

static bool
check_text(
    const struct sieve_node *node, const struct sieve_string *text, struct sieve_error *error)
{
	if (text->length <= SIEVE_REASON_MAX)
		return true;
	sieve_fail(error, node->line, "text longer than %d bytes", SIEVE_REASON_MAX);
	return false;
}

static bool
check_redirect(const struct sieve_node *node, struct sieve_error *error)
{
	const struct sieve_string *string = node->positions[0]->strings;
	struct address address;

	if (!CONSTANT(string) || sieve_read_address(string->text, &address))
		return true;
	sieve_fail(error, node->line, "\"%.100s\" is no address", string->text);
	return false;
}

static bool
check_vacation(const struct sieve *sieve, const struct sieve_node *node, struct sieve_error *error)
{
	const struct sieve_string *from;
	struct address address;

	if (node->tags[SLOT_SECONDS] == TAG_SECONDS &&
	    (sieve->extensions & NEEDS(VACATION_SECONDS)) == 0) {
		sieve_fail(error, node->line, "\":seconds\" needs require \"vacation-seconds\"");
		return false;
	}
	if (node->tags[SLOT_FROM] != TAG_NONE) {
		from = node->values[SLOT_FROM]->strings;
		if (CONSTANT(from) && !sieve_read_address(from->text, &address)) {
			sieve_fail(error, node->line, "\"%.100s\" is no address", from->text);
			return false;
		}
	}
	return check_text(node, node->positions[0]->strings, error);
}

/* A variable's name where one is given: in "set", and before flags. */
static bool
check_names(const struct sieve *sieve, const struct sieve_node *node,
    const struct sieve_argument *names, struct sieve_error *error)
{
	if (names == NULL)
		return true;
	if ((sieve->extensions & NEEDS(VARIABLES)) == 0) {
		sieve_fail(error, node->line, "a variable's name needs require \"variables\"");
		return false;
	}
	for (const struct sieve_string *name = names->strings; name != NULL; name = name->next) {
		if (name->has_variables || !sieve_is_identifier(name->text)) {
			sieve_fail(
			    error, node->line, "\"%.100s\" is no variable's name", name->text);
			return false;
		}
	}
	return true;
}

/* Which argument holds the keys of a test that matches. */
static const struct sieve_argument *
keys_of(const struct sieve_node *node)
{
	return node->position_count > 0 ? node->positions[node->position_count - 1] : NULL;
}

bool
sieve_check_node(struct sieve *sieve, struct sieve_node *node, struct sieve_error *error)
{
	const uint32_t matching = 1u << SLOT_MATCH;

	if (!check_comparator(sieve, node, error) || !check_index(node, error))
		return false;
	if ((sieve_verbs[node->verb].slots & matching) != 0 &&
	    !check_keys(node, keys_of(node), error))
		return false;
	switch (node->verb) {
	case VERB_REDIRECT:
		return check_redirect(node, error);
	case VERB_FILEINTO:
		return check_folder(node, node->positions[0]->strings, error);
	case VERB_REJECT:
	case VERB_EREJECT:
		return check_text(node, node->positions[0]->strings, error);
	case VERB_SET:
	case VERB_SETFLAG:
	case VERB_ADDFLAG:
	case VERB_REMOVEFLAG:
	case VERB_HASFLAG:
		return check_names(sieve, node, node->positions[0], error);
	case VERB_VACATION:
		return check_vacation(sieve, node, error);
	case VERB_ADDRESS:
		return check_address_fields(node, node->positions[0], error);
	case VERB_HEADER:
	case VERB_EXISTS:
		return check_field_names(node, node->positions[0], error);
	case VERB_ENVELOPE:
		return check_envelope(node, error);
	case VERB_BODY:
		sieve->needs_body = true;
		return true;
	case VERB_CURRENTDATE:
		return check_date(node, node->positions[0]->strings, error);
	case VERB_DATE:
		return check_field_names(node, node->positions[0], error) &&
		    check_date(node, node->positions[1]->strings, error);
	case VERB_DUPLICATE: /* RFC 7352 has ":seconds" alone */
		if (node->tags[SLOT_SECONDS] != TAG_DAYS)
			return true;
		sieve_fail(error, node->line, "\"duplicate\" has no \":days\"");
		return false;
	case VERB_SIZE:
		if (node->tags[SLOT_OVER] != TAG_NONE)
			return true;
		sieve_fail(error, node->line, "\"size\" needs \":over\" or \":under\"");
		return false;
	case VERB_REQUIRE:
	case VERB_IF:
	case VERB_ELSIF:
	case VERB_ELSE:
	case VERB_STOP:
	case VERB_KEEP:
	case VERB_DISCARD:
	case VERB_ALLOF:
	case VERB_ANYOF:
	case VERB_FALSE:
	case VERB_ERROR:
	case VERB_ENVIRONMENT:
	case VERB_IHAVE:
	case VERB_MAILBOXEXISTS:
	case VERB_NOT:
	case VERB_STRING:
	case VERB_TRUE:
	case VERB_COUNT:
		break;
	}
	return true;
}
