/*
 * Settings: statements of one word that set one member of the config. One table says each one's
 * name, kind and range; smtpd.conf.5 has the same list.
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <bsd/string.h>

#include "common/address.h"
#include "common/envelope.h"
#include "common/ipc_listener_queue.h"
#include "common/log.h"
#include "smtpd/parse_build.h"
#include "smtpd/parse_print.h"

#define KIB        UINT64_C(1024)
#define MIB        (1024 * KIB)
#define GIB        (1024 * MIB)
#define DAY        86400
#define LIMIT_NAME "smtp limit "

enum setting_kind {
	SETTING_NUMBER,
	SETTING_SIZE,
	SETTING_SIZE_64,
	SETTING_DURATION,
	SETTING_PERCENT,
	SETTING_LINE_ENDS,
	SETTING_DELIMITERS,
	SETTING_DOMAIN,
	SETTING_ADDRESS,
	SETTING_USER,
	SETTING_PATH,
	SETTING_NAMESERVER,
	SETTING_ANCHOR,
	SETTING_SECRET,
};

struct setting {
	const char *name;
	enum setting_kind kind;
	size_t offset;
	uint64_t least; /* of a string: its longest */
	uint64_t most;
};

#define AT(member) offsetof(struct config, member)

static const struct setting settings[] = {
	{ "smtp hostname", SETTING_DOMAIN, AT(hostname), 0, HOSTNAME_MAX },
	{ "smtp max-message-size", SETTING_SIZE_64, AT(max_message_size), KIB, 1024 * GIB },
	{ "smtp sub-addr-delim", SETTING_DELIMITERS, AT(subaddress_delimiters), 0, 8 },
	{ "smtp line-ends", SETTING_LINE_ENDS, AT(line_ends), 0, 0 },
	{ "smtp limit sessions", SETTING_NUMBER, AT(limits.sessions), 1, 1000000 },
	{ "smtp limit sessions-per-address", SETTING_NUMBER, AT(limits.sessions_per_address), 1,
	    1000000 },
	{ "smtp limit sessions-per-network", SETTING_NUMBER, AT(limits.sessions_per_network), 1,
	    1000000 },
	{ "smtp limit max-mails", SETTING_NUMBER, AT(limits.transactions), 1, UINT32_MAX },
	{ "smtp limit max-rcpt", SETTING_NUMBER, AT(limits.recipients), 1, 100000 },
	/* A message can't go to more in all. */
	{ "smtp limit targets", SETTING_NUMBER, AT(limits.targets), 1, IPC_ENVELOPES_MAX },
	{ "smtp limit max-errors", SETTING_NUMBER, AT(limits.errors), 1, UINT32_MAX },
	{ "smtp limit unknown-users", SETTING_NUMBER, AT(limits.unknown_users), 0, UINT32_MAX },
	{ "smtp limit noops", SETTING_NUMBER, AT(limits.noops), 1, UINT32_MAX },
	/* RFC 5321 4.5.3.1.4 and 4.5.3.1.6: less must not be refused. */
	{ "smtp limit command-line", SETTING_SIZE, AT(limits.command_line), 512, 64 * KIB },
	{ "smtp limit text-line", SETTING_SIZE, AT(limits.text_line), 1000, GIB },
	{ "smtp limit header-size", SETTING_SIZE, AT(limits.header_size), KIB, GIB },
	{ "smtp limit received", SETTING_NUMBER, AT(limits.received), 1, 10000 },
	{ "smtp limit idle-time", SETTING_DURATION, AT(limits.idle_time), 1, DAY },
	{ "smtp limit session-time", SETTING_DURATION, AT(limits.session_time), 1, 30 * DAY },
	{ "smtp limit resolver-time-ms", SETTING_NUMBER, AT(limits.resolver_time_ms), 10, 60000 },
	/* RFC 5321 4.5.3.2.3: the client waits five minutes. */
	{ "smtp limit handshake-time", SETTING_DURATION, AT(limits.handshake_time), 1, 600 },
	{ "smtp limit lookup-time", SETTING_DURATION, AT(limits.lookup_time), 1, 240 },
	{ "smtp limit user-mails-per-hour", SETTING_NUMBER, AT(user_mails_per_hour), 0, 1000000 },
	{ "smtp limit auth-failures", SETTING_NUMBER, AT(auth_failures), 1, UINT32_MAX },
	{ "queue ttl", SETTING_DURATION, AT(queue_ttl), 1, 365 * DAY },
	{ "queue retry-first", SETTING_DURATION, AT(queue_retry_first), 1, 30 * DAY },
	{ "queue retry-max", SETTING_DURATION, AT(queue_retry_max), 1, 30 * DAY },
	{ "queue free-space", SETTING_PERCENT, AT(queue_free_percent), 0, 90 },
	{ "queue segment-size", SETTING_SIZE_64, AT(queue_segment_size), 4 * MIB, GIB },
	{ "mda limit sessions", SETTING_NUMBER, AT(mda_sessions), 1, 1024 },
	{ "mda limit processes", SETTING_NUMBER, AT(mda_processes), 1, 10000 },
	{ "mta sessions", SETTING_NUMBER, AT(mta_sessions), 1, 4000 },
	{ "mta sessions-per-host", SETTING_NUMBER, AT(mta_sessions_per_host), 1, 4000 },
	{ "mta messages-per-session", SETTING_NUMBER, AT(mta_messages_per_session), 1, 1000000 },
	{ "mta recipients", SETTING_NUMBER, AT(mta_recipients), 1, 1000 },
	{ "mta connect-time", SETTING_DURATION, AT(mta_connect_time), 1, 300 },
	{ "mta idle-time", SETTING_DURATION, AT(mta_idle_time), 1, 300 },
	{ "mta tls-reports-from", SETTING_ADDRESS, AT(tls_reports_from), 0, ADDRESS_TEXT_MAX },
	{ "srs key", SETTING_SECRET, AT(srs_key), 0, 255 },
	{ "srs key backup", SETTING_SECRET, AT(srs_key_backup), 0, 255 },
	/* A timestamp comes again after 1024 days. */
	{ "srs ttl", SETTING_DURATION, AT(srs_ttl), 1, 365 * DAY },
	{ "history keep", SETTING_DURATION, AT(history_keep), 3600, 3650 * DAY },
	{ "history max-size", SETTING_SIZE_64, AT(history_max_size), MIB, 1024 * GIB },
	{ "postmaster", SETTING_ADDRESS, AT(postmaster), 0, ADDRESS_TEXT_MAX },
	{ "directory spool", SETTING_PATH, AT(spool_directory), 0, PATH_TEXT_MAX / 2 },
	{ "directory state", SETTING_PATH, AT(state_directory), 0, PATH_TEXT_MAX / 2 },
	/* With the name of a socket it must fit into a struct sockaddr_un. */
	{ "directory run", SETTING_PATH, AT(run_directory), 0, 90 },
	{ "mail user", SETTING_USER, AT(mail_user), 0, 32 },
	{ "mail directory", SETTING_PATH, AT(mail_directory), 0, PATH_TEXT_MAX / 2 },
	{ "resolver nameserver", SETTING_NAMESERVER, AT(nameserver), 0, 60 },
	{ "resolver trust-anchor", SETTING_ANCHOR, AT(trust_anchor), 0, PATH_TEXT_MAX / 2 },
	{ "ca default cert", SETTING_PATH, AT(default_ca), 0, PATH_TEXT_MAX / 2 },
};
_Static_assert(PARSE_COUNT(settings) <= PARSE_SETTING_MAX, "each setting has a place");

/* The digits at `*word`, which is moved behind them; false without a digit or out of range. */
static bool
digits(const char **word, uint64_t *value)
{
	const char *at = *word;

	*value = 0;
	for (; *at >= '0' && *at <= '9'; at++) {
		if (__builtin_mul_overflow(*value, 10, value) ||
		    __builtin_add_overflow(*value, (uint64_t)(*at - '0'), value))
			return false;
	}
	if (at == *word)
		return false;
	*word = at;
	return true;
}

static bool
number_from_word(const char *word, uint64_t *value)
{
	return digits(&word, value) && *word == '\0';
}

static bool
percent_from_word(const char *word, uint64_t *value)
{
	return digits(&word, value) && (*word == '\0' || strcmp(word, "%") == 0);
}

static bool
tenths_from_word(const char **word, uint64_t *tenths)
{
	const char *at = *word;

	return digits(word, tenths) && *word == at + 1;
}

/* "35M", "1.5G", "500B" (scan_scaled(3) of BSD). */
static bool
size_from_word(const char *word, uint64_t *value)
{
	static const char units[] = "KMGT";
	bool is_fraction = false;
	uint64_t tenths = 0;
	const char *unit;
	unsigned shift;

	if (!digits(&word, value))
		return false;
	if (*word == '.') {
		word++;
		if (!tenths_from_word(&word, &tenths))
			return false;
		is_fraction = true;
	}
	if (*word == '\0' || (toupper((unsigned char)*word) == 'B' && word[1] == '\0'))
		return !is_fraction;
	unit = strchr(units, toupper((unsigned char)*word));
	if (unit == NULL || word[1] != '\0')
		return false;
	shift = 10 * (unsigned)(unit - units + 1);
	if (*value > (UINT64_MAX >> shift) - 1)
		return false;
	*value = (*value << shift) + (tenths << shift) / 10;
	return true;
}

bool
duration_from_word(const char *word, uint64_t *seconds)
{
	uint64_t count, part, unit, smaller_than = UINT64_MAX;

	*seconds = 0;
	do {
		if (!digits(&word, &count))
			return false;
		switch (*word) {
		case 's':
		case '\0':
			unit = 1;
			break;
		case 'm':
			unit = 60;
			break;
		case 'h':
			unit = 3600;
			break;
		case 'd':
			unit = DAY;
			break;
		case 'w':
			unit = 7 * DAY;
			break;
		default:
			return false;
		}
		/* "30m1h" and "1h1h" are slips rather than sums; "1h30" has no unit. */
		if (unit >= smaller_than || (*word == '\0' && smaller_than != UINT64_MAX))
			return false;
		smaller_than = unit;
		if (*word != '\0')
			word++;
		if (__builtin_mul_overflow(count, unit, &part) ||
		    __builtin_add_overflow(*seconds, part, seconds))
			return false;
	} while (*word != '\0');
	return true;
}

static void *
member(struct config *config, const struct setting *setting)
{
	return (char *)config + setting->offset;
}

/* What a value of this kind looks like, for errors. */
static const char *
kind_words(enum setting_kind kind)
{
	switch (kind) {
	case SETTING_NUMBER:
		return "a number";
	case SETTING_SIZE:
	case SETTING_SIZE_64:
		return "a size like 100K or 35M";
	case SETTING_DURATION:
		return "a duration like 10s, 1h30m or 4d";
	case SETTING_PERCENT:
		return "a percentage like 5%";
	case SETTING_LINE_ENDS:
		return "\"strict\" or \"normalise\"";
	case SETTING_DELIMITERS:
		return "one to eight punctuation characters";
	case SETTING_DOMAIN:
		return "a domain name";
	case SETTING_ADDRESS:
		return "an address like postmaster@example.org";
	case SETTING_USER:
		return "a user's name";
	case SETTING_PATH:
		return "an absolute path without \"..\" that is short enough";
	case SETTING_ANCHOR:
		return "an absolute path, or \"none\"";
	case SETTING_SECRET:
		return "a secret of 1 to 255 bytes without control characters";
	case SETTING_NAMESERVER:
		return "an address like 192.0.2.1 or 192.0.2.1@53";
	}
	return "";
}

static bool
is_delimiters(const char *value, size_t longest)
{
	const char *at;

	for (at = value; *at != '\0'; at++) {
		if (!isascii((unsigned char)*at) || !ispunct((unsigned char)*at) || *at == '@')
			return false;
	}
	return at > value && (size_t)(at - value) <= longest;
}

static bool
is_secret(const char *value, size_t longest)
{
	const char *at;

	for (at = value; *at != '\0'; at++) {
		if (iscntrl((unsigned char)*at))
			return false;
	}
	return at > value && (size_t)(at - value) <= longest;
}

static bool
is_path(const char *value, size_t longest)
{
	size_t length = strlen(value);
	const char *at;

	for (at = value; *at != '\0'; at++) {
		if (iscntrl((unsigned char)*at))
			return false;
	}
	return *value == '/' && length <= longest && strstr(value, "/../") == NULL &&
	    (length < 3 || strcmp(value + length - 3, "/..") != 0);
}

static bool
is_user(const char *value, size_t longest)
{
	const char *at;

	for (at = value; *at != '\0'; at++) {
		if (!isascii((unsigned char)*at) ||
		    (!isalnum((unsigned char)*at) && strchr("_.-", *at) == NULL))
			return false;
	}
	return at > value && (size_t)(at - value) <= longest && *value != '-';
}

static bool
is_nameserver(const char *value, size_t longest)
{
	unsigned char address[16];
	char text[64];
	const char *port = strchr(value, '@');
	uint64_t number = 53;

	if (strlcpy(text, value, sizeof(text)) > longest)
		return false;
	if (port != NULL) {
		text[port - value] = '\0';
		if (!number_from_word(port + 1, &number))
			return false;
	}
	return number > 0 && number < 65536 &&
	    (inet_pton(AF_INET, text, address) == 1 || inet_pton(AF_INET6, text, address) == 1);
}

/* Strings: true when `value` is one of the kind. */
static bool
string_fits(const struct setting *setting, const char *value)
{
	struct address address;

	switch (setting->kind) {
	case SETTING_DELIMITERS:
		return is_delimiters(value, setting->most);
	case SETTING_DOMAIN:
		return address_domain_is_valid(value, true) && *value != '[';
	case SETTING_ADDRESS:
		return address_parse(value, ADDRESS_ALLOW_UTF8, &address) == ADDRESS_OK;
	case SETTING_USER:
		return is_user(value, setting->most);
	case SETTING_PATH:
		return is_path(value, setting->most);
	case SETTING_ANCHOR:
		return strcmp(value, TRUST_ANCHOR_NONE) == 0 || is_path(value, setting->most);
	case SETTING_NAMESERVER:
		return is_nameserver(value, setting->most);
	case SETTING_SECRET:
		return is_secret(value, setting->most);
	case SETTING_NUMBER:
	case SETTING_SIZE:
	case SETTING_SIZE_64:
	case SETTING_DURATION:
	case SETTING_PERCENT:
	case SETTING_LINE_ENDS:
		break;
	}
	return false;
}

/* Sets what `value` says, taking it over; NULL, or why it can't be. */
static const char *
apply(struct config *config, const struct setting *setting, char *value)
{
	uint64_t number = 0;
	bool understood = false;

	switch (setting->kind) {
	case SETTING_NUMBER:
		understood = number_from_word(value, &number);
		break;
	case SETTING_SIZE:
	case SETTING_SIZE_64:
		understood = size_from_word(value, &number);
		break;
	case SETTING_DURATION:
		understood = duration_from_word(value, &number);
		break;
	case SETTING_PERCENT:
		understood = percent_from_word(value, &number);
		break;
	case SETTING_LINE_ENDS:
		understood = strcmp(value, "strict") == 0 || strcmp(value, "normalise") == 0;
		if (understood)
			config->line_ends = *value == 's' ? LINE_ENDS_STRICT : LINE_ENDS_NORMALISE;
		free(value);
		return understood ? NULL : kind_words(setting->kind);
	case SETTING_DELIMITERS:
	case SETTING_DOMAIN:
	case SETTING_ADDRESS:
	case SETTING_USER:
	case SETTING_PATH:
	case SETTING_NAMESERVER:
	case SETTING_ANCHOR:
	case SETTING_SECRET:
		if (!string_fits(setting, value)) {
			free(value);
			return kind_words(setting->kind);
		}
		free(*(char **)member(config, setting));
		*(char **)member(config, setting) = value;
		return NULL;
	}
	free(value);
	if (!understood)
		return kind_words(setting->kind);
	if (number < setting->least || number > setting->most)
		return "";
	if (setting->kind == SETTING_SIZE_64)
		*(uint64_t *)member(config, setting) = number;
	else
		*(uint32_t *)member(config, setting) = (uint32_t)number;
	return NULL;
}

static void
format_duration(uint64_t value, char *text, size_t size)
{
	static const struct {
		unsigned seconds;
		char letter;
	} units[] = { { DAY, 'd' }, { 3600, 'h' }, { 60, 'm' }, { 1, 's' } };
	size_t i = 0;

	while (value == 0 ? i < 3 : value % units[i].seconds != 0)
		i++;
	snprintf(text, size, "%ju%c", (uintmax_t)(value / units[i].seconds), units[i].letter);
}

void
print_duration(FILE *file, uint32_t seconds)
{
	char text[32];

	format_duration(seconds, text, sizeof(text));
	fputs(text, file);
}

static void
format_number(const struct setting *setting, uint64_t value, char *text, size_t size)
{
	static const char units[] = " KMGT";
	size_t unit = 0;

	switch (setting->kind) {
	case SETTING_SIZE:
	case SETTING_SIZE_64:
		for (; value > 0 && value % 1024 == 0 && unit < 4; unit++)
			value /= 1024;
		snprintf(text, size, unit == 0 ? "%ju" : "%ju%c", (uintmax_t)value, units[unit]);
		return;
	case SETTING_DURATION:
		format_duration(value, text, size);
		return;
	case SETTING_PERCENT:
		snprintf(text, size, "%ju%%", (uintmax_t)value);
		return;
	case SETTING_NUMBER:
	case SETTING_LINE_ENDS:
	case SETTING_DELIMITERS:
	case SETTING_DOMAIN:
	case SETTING_ADDRESS:
	case SETTING_USER:
	case SETTING_PATH:
	case SETTING_NAMESERVER:
	case SETTING_ANCHOR:
	case SETTING_SECRET:
		break;
	}
	snprintf(text, size, "%ju", (uintmax_t)value);
}

static const struct setting *
setting_find(const char *name)
{
	for (size_t i = 0; i < PARSE_COUNT(settings); i++) {
		if (strcmp(settings[i].name, name) == 0)
			return &settings[i];
	}
	return NULL;
}

struct place
setting_place(const struct parse *parse, const char *name)
{
	return parse->settings[setting_find(name) - settings];
}

/* A secret isn't for the log. */
static const char *
shown_value(const struct setting *setting, const char *value)
{
	return setting->kind == SETTING_SECRET ? "..." : value;
}

void
setting_set(struct parse *parse, struct place place, const char *name, char *value)
{
	char word[41], least[32], most[32];
	const struct setting *setting = setting_find(name);
	struct place *first;
	const char *why;

	if (setting == NULL) {
		problem_error(&parse->problems, place, "unknown limit \"%.40s\"", name);
		free(value);
		return;
	}
	first = &parse->settings[setting - settings];
	if (first->line != 0) {
		problem_error(&parse->problems, place,
		    "\"%s\" is set a second time, to \"%.40s\"; first in line %u of %.200s", name,
		    shown_value(setting, value), first->line, first->file);
		free(value);
		return;
	}
	*first = place;
	strlcpy(word, shown_value(setting, value), sizeof(word));
	why = apply(parse->config, setting, value);
	if (why == NULL)
		return;
	if (*why != '\0') {
		problem_error(
		    &parse->problems, place, "\"%s\" wants %s, not \"%s\"", name, why, word);
		return;
	}
	format_number(setting, setting->least, least, sizeof(least));
	format_number(setting, setting->most, most, sizeof(most));
	problem_error(&parse->problems, place, "\"%s\" is from %s to %s, not \"%s\"", name, least,
	    most, word);
}

void
limits_add(struct parse *parse, struct place place, char *word)
{
	struct draft *draft = &parse->draft;
	char full[64];

	if (draft->limit_name != NULL) {
		snprintf(full, sizeof(full), LIMIT_NAME "%s", draft->limit_name);
		setting_set(parse, draft->place, full, word);
		draft->limit_may_hold = strcmp(draft->limit_name, "user-mails-per-hour") == 0;
		free(draft->limit_name);
		draft->limit_name = NULL;
		return;
	}
	if (draft->limit_may_hold && strcmp(word, "hold") == 0) {
		parse->config->user_mails_hold = true;
		draft->limit_may_hold = false;
		free(word);
		return;
	}
	draft->place = place;
	draft->limit_name = word;
	draft->limit_may_hold = false;
}

void
limits_finish(struct parse *parse)
{
	const struct draft *draft = &parse->draft;

	if (draft->limit_name != NULL)
		problem_error(&parse->problems, draft->place,
		    "unexpected end of line after \"%.40s\": a limit's name and its value are "
		    "wanted",
		    draft->limit_name);
	draft_clear(parse);
}

/* "mta KEYWORD VALUE", or "mta no KEYWORD". */
void
setting_set_mta(
    struct parse *parse, struct place place, char *word, struct place value_place, char *value)
{
	char name[64];

	if (strcmp(word, "no") != 0) {
		strlcpy(name, "mta ", sizeof(name));
		strlcat(name, word, sizeof(name));
		setting_set(parse, place, name, value);
	} else if (strcmp(value, "mta-sts") == 0) {
		parse->config->mta_no_sts = true;
		free(value);
	} else if (strcmp(value, "line-limit") == 0) {
		parse->config->mta_no_line_limit = true;
		free(value);
	} else if (strcmp(value, "private-networks") == 0) {
		parse->config->mta_no_private_networks = true;
		free(value);
	} else {
		problem_error(&parse->problems, value_place,
		    "\"mta no\" wants \"mta-sts\", \"line-limit\" or \"private-networks\", not "
		    "\"%.40s\"",
		    value);
		free(value);
	}
	free(word);
}

void
setting_set_history(
    struct parse *parse, struct place place, char *word, struct place value_place, char *value)
{
	char name[64];

	if (value != NULL && (strcmp(word, "keep") == 0 || strcmp(word, "max-size") == 0)) {
		snprintf(name, sizeof(name), "history %s", word);
		setting_set(parse, value_place, name, value);
	} else if (value == NULL && strcmp(word, "off") == 0) {
		parse->config->history_off = true;
	} else {
		problem_error(&parse->problems, place,
		    "\"history\" wants \"off\", \"keep\" and a duration, or \"max-size\" and a "
		    "size, "
		    "not \"%.40s\"",
		    word);
		free(value);
	}
	free(word);
}

void
settings_print(FILE *file, const struct config *config)
{
	char text[32];

	for (size_t i = 0; i < PARSE_COUNT(settings); i++) {
		const struct setting *setting = &settings[i];
		const void *value = (const char *)config + setting->offset;

		switch (setting->kind) {
		case SETTING_DELIMITERS:
		case SETTING_DOMAIN:
		case SETTING_ADDRESS:
		case SETTING_USER:
		case SETTING_PATH:
		case SETTING_NAMESERVER:
		case SETTING_ANCHOR:
		case SETTING_SECRET:
			/* "" is what can't be said, and means the default. */
			if (**(char *const *)value == '\0')
				continue;
			fprintf(file, "%s ", setting->name);
			print_quoted(file, *(char *const *)value);
			break;
		case SETTING_LINE_ENDS:
			fprintf(file, "%s %s", setting->name,
			    config->line_ends == LINE_ENDS_STRICT ? "strict" : "normalise");
			break;
		case SETTING_SIZE_64:
			format_number(setting, *(const uint64_t *)value, text, sizeof(text));
			fprintf(file, "%s %s", setting->name, text);
			break;
		case SETTING_NUMBER:
		case SETTING_SIZE:
		case SETTING_DURATION:
		case SETTING_PERCENT:
			format_number(setting, *(const uint32_t *)value, text, sizeof(text));
			fprintf(file, "%s %s", setting->name, text);
			if (setting->offset == AT(user_mails_per_hour) && config->user_mails_hold)
				fputs(" hold", file);
			break;
		}
		fputc('\n', file);
	}
	if (config->history_off)
		fputs("history off\n", file);
	if (config->mta_no_sts)
		fputs("mta no mta-sts\n", file);
	if (config->mta_no_line_limit)
		fputs("mta no line-limit\n", file);
	if (config->mta_no_private_networks)
		fputs("mta no private-networks\n", file);
}
