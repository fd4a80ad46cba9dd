/*
 * Fields that aren't known are passed over, those that may stand once count where they stand first, and
 * the rest is taken by the grammar, but for empty lines, which do no harm.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <bsd/string.h>

#include "common/clock.h"
#include "common/log.h"
#include "deliver/relay_sts_policy.h"

#define VERSION     "STSv1"
#define NAME_MAX    32
#define AGE_DIGITS  10
#define RECORD_MAX  4096
#define RECORD_HEAD "v=" VERSION

static bool
is_wsp(char c)
{
	return c == ' ' || c == '\t';
}

/* sts-ext-name: how long it is, 0 when it is none. */
static size_t
name_length(const char *text, size_t length)
{
	size_t count = 0;

	while (count < length &&
	    (isalnum((unsigned char)text[count]) ||
	        (count > 0 && text[count] != '\0' && strchr("_-.", text[count]) != NULL)))
		count++;
	return count <= NAME_MAX ? count : 0;
}

/* The TXT record (RFC 8461 3.1) */

/* A field between delimiters; takes the first id. */
static bool
take_record_field(const char *field, size_t length, char id[IPC_STS_ID_MAX + 1])
{
	size_t name = name_length(field, length);
	const char *value = field + name + 1;

	if (name == 0 || name + 1 >= length || field[name] != '=')
		return false;
	length -= name + 1;
	if (name == 2 && memcmp(field, "id", 2) == 0) {
		for (size_t i = 0; i < length; i++)
			if (!isalnum((unsigned char)value[i]))
				return false;
		if (length > IPC_STS_ID_MAX)
			return false;
		if (*id == '\0')
			memcpy(id, value, length);
		return true;
	}
	for (size_t i = 0; i < length; i++)
		if (value[i] <= ' ' || value[i] > '~' || value[i] == '=')
			return false;
	return true;
}

static size_t
skip_wsp(const char *text, size_t at, size_t length)
{
	while (at < length && is_wsp(text[at]))
		at++;
	return at;
}

static bool
parse_record(const char *text, size_t length, char id[IPC_STS_ID_MAX + 1])
{
	size_t at = skip_wsp(text, strlen(RECORD_HEAD), length), end, next;

	memset(id, 0, IPC_STS_ID_MAX + 1);
	/* Each turn begins at a delimiter. */
	while (at < length) {
		at = skip_wsp(text, at + 1, length);
		for (next = at; next < length && text[next] != ';';)
			next++;
		for (end = next; end > at && is_wsp(text[end - 1]);)
			end--;
		if (at == length)
			break; /* it was the last one */
		if (!take_record_field(text + at, end - at, id))
			return false;
		at = next;
	}
	return *id != '\0';
}

/* Whether it is of this version at all; others don't count. */
static bool
is_record(const struct answer_record *record)
{
	const char *data = (const char *)record->data;
	size_t at = strlen(RECORD_HEAD);

	if (record->length <= at || memcmp(data, RECORD_HEAD, at) != 0)
		return false;
	while (at < record->length && is_wsp(data[at]))
		at++;
	return at < record->length && data[at] == ';';
}

bool
sts_record_id(const struct ipc_answer *answer, char id[IPC_STS_ID_MAX + 1])
{
	const struct answer_record *found = NULL;

	*id = '\0';
	/* One that isn't seen could be a second one. */
	if (answer->status != ANSWER_FOUND || answer->cut)
		return false;
	for (uint32_t i = 0; i < answer->count; i++) {
		if (!is_record(&answer->records[i]))
			continue;
		if (found != NULL)
			return false;
		found = &answer->records[i];
	}
	if (found != NULL && found->length <= RECORD_MAX &&
	    parse_record((const char *)found->data, found->length, id))
		return true;
	*id = '\0';
	return false;
}

/* The policy (RFC 8461 3.2) */

struct parse {
	struct ipc_sts_policy *policy;
	bool has_version;
	bool has_mode;
	bool has_max_age;
	size_t mx_length;
	char *why;
	size_t size;
};

static bool
fail(struct parse *parse, const char *words)
{
	strlcpy(parse->why, words, parse->size);
	return false;
}

static bool
is_value(const char *value, size_t length, const char *what)
{
	return length == strlen(what) && memcmp(value, what, length) == 0;
}

static bool
take_mode(struct parse *parse, const char *value, size_t length)
{
	if (parse->has_mode)
		return true;
	parse->has_mode = true;
	if (is_value(value, length, "enforce"))
		parse->policy->mode = STS_MODE_ENFORCE;
	else if (is_value(value, length, "testing"))
		parse->policy->mode = STS_MODE_TESTING;
	else if (is_value(value, length, "none"))
		parse->policy->mode = STS_MODE_NONE;
	else
		return fail(parse, "its mode isn't enforce, testing or none");
	return true;
}

static bool
take_max_age(struct parse *parse, const char *value, size_t length)
{
	uint64_t seconds = 0;

	if (parse->has_max_age)
		return true;
	parse->has_max_age = true;
	if (length == 0 || length > AGE_DIGITS)
		return fail(parse, "its max_age isn't a number of seconds");
	for (size_t i = 0; i < length; i++) {
		if (!isdigit((unsigned char)value[i]))
			return fail(parse, "its max_age isn't a number of seconds");
		seconds = seconds * 10 + (uint64_t)(value[i] - '0');
	}
	parse->policy->max_age =
	    seconds > IPC_STS_MAX_AGE_MAX ? IPC_STS_MAX_AGE_MAX : (uint32_t)seconds;
	return true;
}

/* RFC 5321 4.1.2: letters, digits and hyphens between dots, in labels of up to 63. */
static bool
is_domain(const char *name, size_t length)
{
	size_t label = 0;

	for (size_t i = 0; i < length; i++) {
		if (name[i] == '.') {
			if (label == 0 || name[i - 1] == '-')
				return false;
			label = 0;
		} else if (isalnum((unsigned char)name[i]) || (name[i] == '-' && label > 0)) {
			if (++label > 63)
				return false;
		} else {
			return false;
		}
	}
	return label > 0 && name[length - 1] != '-' && length <= HOSTNAME_MAX;
}

static bool
take_mx(struct parse *parse, const char *value, size_t length)
{
	size_t skip = length > 2 && memcmp(value, "*.", 2) == 0 ? 2 : 0;

	if (!is_domain(value + skip, length - skip))
		return fail(parse, "one of its mx isn't a host's name or *.DOMAIN");
	if (parse->mx_length + length + 1 > IPC_STS_MX_MAX)
		return fail(parse, "it has more mx than can be kept here");
	for (size_t i = 0; i < length; i++)
		parse->policy->mx[parse->mx_length++] = (char)tolower((unsigned char)value[i]);
	parse->policy->mx[parse->mx_length++] = ' ';
	return true;
}

static bool
take_field(
    struct parse *parse, const char *name, size_t name_size, const char *value, size_t length)
{
	if (is_value(name, name_size, "mx"))
		return take_mx(parse, value, length);
	if (is_value(name, name_size, "mode"))
		return take_mode(parse, value, length);
	if (is_value(name, name_size, "max_age"))
		return take_max_age(parse, value, length);
	if (!is_value(name, name_size, "version") || parse->has_version)
		return true;
	parse->has_version = true;
	return is_value(value, length, VERSION) || fail(parse, "its version isn't " VERSION);
}

static bool
take_line(struct parse *parse, const char *line, size_t length)
{
	size_t name, start;

	while (length > 0 && is_wsp(line[length - 1]))
		length--;
	if (length == 0)
		return true;
	name = name_length(line, length);
	if (name == 0 || name == length || line[name] != ':')
		return fail(parse, "one of its lines isn't a name, a colon and a value");
	for (start = name + 1; start < length && is_wsp(line[start]);)
		start++;
	for (size_t i = start; i < length; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 127)
			return fail(parse, "it holds control characters");
	return take_field(parse, line, name, line + start, length - start);
}

bool
sts_policy_parse(
    struct ipc_sts_policy *policy, const void *text, size_t length, char *why, size_t size)
{
	struct parse parse = { .policy = policy, .why = why, .size = size };
	const char *at = text, *end;
	size_t line;

	policy->mode = STS_MODE_NONE;
	policy->max_age = 0;
	memset(policy->mx, 0, sizeof(policy->mx));
	while (length > 0) {
		end = memchr(at, '\n', length);
		line = end == NULL ? length : (size_t)(end - at);
		if (!take_line(&parse, at, line > 0 && at[line - 1] == '\r' ? line - 1 : line))
			return false;
		line += end != NULL;
		at += line;
		length -= line;
	}
	if (!parse.has_version)
		return fail(&parse, "it has no version");
	if (!parse.has_mode)
		return fail(&parse, "it has no mode");
	if (!parse.has_max_age)
		return fail(&parse, "it has no max_age");
	if (parse.mx_length == 0 && policy->mode != STS_MODE_NONE)
		return fail(&parse, "it has no mx");
	return true;
}

/* RFC 8461 4.1: "*." stands for exactly one label. */
static bool
pattern_fits(const char *pattern, size_t length, const char *host)
{
	if (length > 2 && memcmp(pattern, "*.", 2) == 0) {
		host = strchr(host, '.');
		pattern++;
		length--;
	}
	return host != NULL && strlen(host) == length && strncasecmp(pattern, host, length) == 0;
}

bool
sts_mx_has(const char *mx, const char *host)
{
	size_t length;

	if (*host == '.')
		return false;
	for (; *mx != '\0'; mx += length + (mx[length] != '\0')) {
		length = strcspn(mx, " ");
		if (pattern_fits(mx, length, host))
			return true;
	}
	return false;
}

/* A policy that is held */

struct sts_policy *
sts_policy_new(const struct ipc_sts_policy *from)
{
	size_t length = strlen(from->mx);
	struct sts_policy *policy = calloc(1, sizeof(*policy) + length + 1);

	if (policy == NULL)
		fatal("policy");
	policy->holders = 1;
	strlcpy(policy->domain, from->domain, sizeof(policy->domain));
	strlcpy(policy->id, from->id, sizeof(policy->id));
	policy->mode = from->mode;
	policy->max_age = from->max_age;
	policy->fetched = from->fetched;
	memcpy(policy->mx, from->mx, length + 1);
	return policy;
}

struct sts_policy *
sts_policy_hold(struct sts_policy *policy)
{
	if (policy != NULL)
		policy->holders++;
	return policy;
}

void
sts_policy_drop(struct sts_policy *policy)
{
	if (policy != NULL && --policy->holders == 0)
		free(policy);
}

const char *
sts_mode_name(enum sts_mode mode)
{
	static const char *const names[] = { "none", "testing", "enforce" };

	_Static_assert(sizeof(names) / sizeof(names[0]) == STS_MODE_COUNT, "each mode has a name");
	return mode < STS_MODE_COUNT ? names[mode] : "none";
}

int64_t
sts_policy_time_left(const struct sts_policy *policy)
{
	int64_t left = policy == NULL ? 0 : policy->fetched + policy->max_age - clock_wall();

	return left > 0 ? left : 0;
}
