/*
 * The table of commands and the reading of their arguments.
 *
 * A command is one or two words. Each word given is compared with that word of the commands still
 * possible: one that is equal wins, otherwise the one that it begins, if there is only one such.
 */
#include <arpa/inet.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/address.h"
#include "common/log.h"
#include "common/sieve.h"
#include "smtpctl/command.h"
#include "smtpctl/text.h"

#define COMMAND_WORDS 2

enum arguments {
	ARGUMENTS_NONE,
	ARGUMENTS_FILTER,          /* or none: everything */
	ARGUMENTS_REQUIRED_FILTER, /* "all" for everything */
	ARGUMENTS_SHAPE,           /* "senders" or not, and a filter or not */
	ARGUMENTS_ENVELOPE,
	ARGUMENTS_MESSAGE, /* or an envelope */
	ARGUMENTS_FOR,     /* nothing, or "for" and a domain */
	ARGUMENTS_TRACE,
	ARGUMENTS_QUOTA,
	ARGUMENTS_PASSWORD, /* an address, whose password is asked for */
	ARGUMENTS_USER,     /* the same, or no-password */
	ARGUMENTS_EXPLAIN,  /* options */
	ARGUMENTS_DKIM,     /* a domain, a selector, an algorithm */
	ARGUMENTS_SIEVE,    /* a user, a script's name, a file */
	ARGUMENTS_COUNT,
	ARGUMENTS_WORDS, /* from `least` to `most` */
};

struct entry {
	const char *words[COMMAND_WORDS];
	enum command_verb verb;
	enum arguments arguments;
	const char *usage;
	unsigned detail; /* the action, verb or kind that the command stands for */
	size_t least;
	size_t most;
};

#define PAUSED(mda)  ((mda) ? 3 : 1)
#define RESUMED(mda) ((mda) ? 2 : 0)
#define FILTER       "[ID|all] [from ADDRESS|@DOMAIN] [to ADDRESS|@DOMAIN] [older TIME] [state STATE]"

/* clang-format off */
static const struct entry entries[] = {
	{ { "show", "queue" }, COMMAND_SHOW_QUEUE, ARGUMENTS_FILTER, FILTER, 0, 0, 0 },
	{ { "show", "shape" }, COMMAND_SHOW_SHAPE, ARGUMENTS_SHAPE, "[senders] [FILTER]", 0, 0, 0 },
	{ { "show", "message" }, COMMAND_SHOW_MESSAGE, ARGUMENTS_MESSAGE, "ENVELOPE-ID|MESSAGE-ID", 0, 0, 0 },
	{ { "show", "envelope" }, COMMAND_SHOW_ENVELOPE, ARGUMENTS_ENVELOPE, "ENVELOPE-ID", 0, 0, 0 },
	{ { "show", "relays" }, COMMAND_SHOW_RELAYS, ARGUMENTS_FOR, "[for DOMAIN]", 0, 0, 0 },
	{ { "show", "hosts" }, COMMAND_SHOW_HOSTS, ARGUMENTS_NONE, "", 0, 0, 0 },
	{ { "show", "hoststats" }, COMMAND_SHOW_HOSTSTATS, ARGUMENTS_NONE, "", 0, 0, 0 },
	{ { "show", "routes" }, COMMAND_SHOW_ROUTES, ARGUMENTS_NONE, "", 0, 0, 0 },
	{ { "show", "banned" }, COMMAND_ACCOUNT, ARGUMENTS_NONE, "", ACCOUNT_SLOW_LIST, 0, 0 },
	{ { "show", "tls-results" }, COMMAND_ACCOUNT, ARGUMENTS_WORDS, "[DOMAIN]", ACCOUNT_TLS_RESULT_LIST, 0, 1 },
	{ { "show", "stats" }, COMMAND_SHOW_STATS, ARGUMENTS_NONE, "", 0, 0, 0 },
	{ { "show", "status" }, COMMAND_SHOW_STATUS, ARGUMENTS_NONE, "", 0, 0, 0 },
	{ { "schedule" }, COMMAND_ACT, ARGUMENTS_REQUIRED_FILTER, "FILTER", QUEUE_SCHEDULE, 0, 0 },
	{ { "release" }, COMMAND_ACT, ARGUMENTS_REQUIRED_FILTER, "FILTER", QUEUE_UNHOLD, 0, 0 },
	{ { "remove" }, COMMAND_ACT, ARGUMENTS_REQUIRED_FILTER, "FILTER", QUEUE_REMOVE, 0, 0 },
	{ { "expire" }, COMMAND_ACT, ARGUMENTS_REQUIRED_FILTER, "FILTER", QUEUE_EXPIRE, 0, 0 },
	{ { "discover" }, COMMAND_ACT, ARGUMENTS_MESSAGE, "ENVELOPE-ID|MESSAGE-ID", QUEUE_DISCOVER, 0, 0 },
	{ { "pause", "envelope" }, COMMAND_ACT, ARGUMENTS_REQUIRED_FILTER, "FILTER", QUEUE_HOLD, 0, 0 },
	{ { "pause", "mda" }, COMMAND_PAUSE, ARGUMENTS_NONE, "", PAUSED(true), 0, 0 },
	{ { "pause", "mta" }, COMMAND_PAUSE, ARGUMENTS_FOR, "[for DOMAIN]", PAUSED(false), 0, 0 },
	{ { "pause", "smtp" }, COMMAND_SUPERVISOR, ARGUMENTS_NONE, "", CONTROL_PAUSE_SMTP, 0, 0 },
	{ { "resume", "envelope" }, COMMAND_ACT, ARGUMENTS_REQUIRED_FILTER, "FILTER", QUEUE_UNHOLD, 0, 0 },
	{ { "resume", "mda" }, COMMAND_PAUSE, ARGUMENTS_NONE, "", RESUMED(true), 0, 0 },
	{ { "resume", "mta" }, COMMAND_PAUSE, ARGUMENTS_FOR, "[for DOMAIN]", RESUMED(false), 0, 0 },
	{ { "resume", "smtp" }, COMMAND_SUPERVISOR, ARGUMENTS_NONE, "", CONTROL_RESUME_SMTP, 0, 0 },
	{ { "explain" }, COMMAND_EXPLAIN, ARGUMENTS_EXPLAIN,
		"--to ADDRESS [--from ADDRESS] [--ip ADDRESS [--name NAME]] [--helo NAME] [--auth USER] "
		"[--tag TAG] [--tls]", 0, 0, 0 },
	{ { "monitor" }, COMMAND_MONITOR, ARGUMENTS_COUNT, "[COUNT]", 0, 0, 0 },
	{ { "log", "brief" }, COMMAND_SUPERVISOR, ARGUMENTS_NONE, "", CONTROL_LOG_BRIEF, 0, 0 },
	{ { "log", "verbose" }, COMMAND_SUPERVISOR, ARGUMENTS_NONE, "", CONTROL_LOG_VERBOSE, 0, 0 },
	{ { "trace" }, COMMAND_SUPERVISOR, ARGUMENTS_TRACE, "SUBSYSTEM|message ID|MESSAGE-ID|ADDRESS", CONTROL_TRACE, 0, 0 },
	{ { "untrace" }, COMMAND_SUPERVISOR, ARGUMENTS_TRACE, "SUBSYSTEM", CONTROL_UNTRACE, 0, 0 },
	{ { "tls-report", "send" }, COMMAND_ACCOUNT, ARGUMENTS_WORDS, "[DAY]", ACCOUNT_TLS_REPORT_SEND, 0, 1 },
	{ { "reload" }, COMMAND_SUPERVISOR, ARGUMENTS_NONE, "", CONTROL_RELOAD, 0, 0 },
	{ { "stop" }, COMMAND_SUPERVISOR, ARGUMENTS_NONE, "", CONTROL_STOP, 0, 0 },
	{ { "domain", "add" }, COMMAND_ACCOUNT, ARGUMENTS_WORDS, "DOMAIN", ACCOUNT_DOMAIN_ADD, 1, 1 },
	{ { "domain", "del" }, COMMAND_ACCOUNT, ARGUMENTS_WORDS, "DOMAIN", ACCOUNT_DOMAIN_DELETE, 1, 1 },
	{ { "domain", "list" }, COMMAND_ACCOUNT, ARGUMENTS_NONE, "", ACCOUNT_DOMAIN_LIST, 0, 0 },
	{ { "user", "add" }, COMMAND_ACCOUNT, ARGUMENTS_USER, "ADDRESS [no-password]", ACCOUNT_USER_ADD, 0, 0 },
	{ { "user", "del" }, COMMAND_ACCOUNT, ARGUMENTS_WORDS, "ADDRESS", ACCOUNT_USER_DELETE, 1, 1 },
	{ { "user", "passwd" }, COMMAND_ACCOUNT, ARGUMENTS_PASSWORD, "ADDRESS", ACCOUNT_USER_PASSWORD, 0, 0 },
	{ { "user", "list" }, COMMAND_ACCOUNT, ARGUMENTS_WORDS, "[DOMAIN]", ACCOUNT_USER_LIST, 0, 1 },
	{ { "user", "quota" }, COMMAND_ACCOUNT, ARGUMENTS_QUOTA, "ADDRESS none|SIZE [MESSAGES]", ACCOUNT_USER_QUOTA, 0, 0 },
	{ { "alias", "add" }, COMMAND_ACCOUNT, ARGUMENTS_WORDS, "ADDRESS|@DOMAIN TARGET ...", ACCOUNT_ALIAS_ADD, 2, ACCOUNT_WORDS_MAX },
	{ { "alias", "del" }, COMMAND_ACCOUNT, ARGUMENTS_WORDS, "ADDRESS|@DOMAIN [TARGET ...]", ACCOUNT_ALIAS_DELETE, 1, ACCOUNT_WORDS_MAX },
	{ { "alias", "list" }, COMMAND_ACCOUNT, ARGUMENTS_WORDS, "[DOMAIN]", ACCOUNT_ALIAS_LIST, 0, 1 },
	{ { "dkim", "add" }, COMMAND_DKIM, ARGUMENTS_DKIM, "DOMAIN [SELECTOR] [rsa|ed25519]", DKIM_ADD, 1, 3 },
	{ { "dkim", "del" }, COMMAND_DKIM, ARGUMENTS_DKIM, "DOMAIN SELECTOR", DKIM_DELETE, 2, 2 },
	{ { "dkim", "rotate" }, COMMAND_DKIM, ARGUMENTS_DKIM, "DOMAIN", DKIM_ROTATE, 1, 1 },
	{ { "dkim", "activate" }, COMMAND_DKIM, ARGUMENTS_DKIM, "DOMAIN SELECTOR", DKIM_ACTIVATE, 2, 2 },
	{ { "dkim", "list" }, COMMAND_DKIM, ARGUMENTS_DKIM, "[DOMAIN]", DKIM_LIST, 0, 1 },
	{ { "dkim", "show" }, COMMAND_DKIM, ARGUMENTS_DKIM, "DOMAIN [SELECTOR]", DKIM_SHOW, 1, 2 },
	{ { "sieve", "put" }, COMMAND_SIEVE, ARGUMENTS_SIEVE, "USER NAME [FILE]", SCRIPT_PUT, 2, 3 },
	{ { "sieve", "get" }, COMMAND_SIEVE, ARGUMENTS_SIEVE, "USER NAME", SCRIPT_GET, 2, 2 },
	{ { "sieve", "list" }, COMMAND_SIEVE, ARGUMENTS_SIEVE, "USER", SCRIPT_LIST, 1, 1 },
	{ { "sieve", "activate" }, COMMAND_SIEVE, ARGUMENTS_SIEVE, "USER NAME", SCRIPT_ACTIVATE, 2, 2 },
	{ { "sieve", "deactivate" }, COMMAND_SIEVE, ARGUMENTS_SIEVE, "USER", SCRIPT_DEACTIVATE, 1, 1 },
	{ { "sieve", "delete" }, COMMAND_SIEVE, ARGUMENTS_SIEVE, "USER NAME", SCRIPT_DELETE, 2, 2 },
	{ { "sieve", "test" }, COMMAND_SIEVE, ARGUMENTS_SIEVE, "USER NAME [MESSAGE]", SCRIPT_TEST, 2, 3 },
	{ { "spool", "check" }, COMMAND_SPOOL, ARGUMENTS_WORDS, "[DIRECTORY]", 0, 0, 1 },
	{ { "spool", "dump" }, COMMAND_SPOOL, ARGUMENTS_WORDS, "[DIRECTORY]", 0, 0, 1 },
	{ { "encrypt" }, COMMAND_ENCRYPT, ARGUMENTS_WORDS, "[STRING]", 0, 0, 1 },
};
/* clang-format on */
#define ENTRY_COUNT (sizeof(entries) / sizeof(entries[0]))

static void
format_name(const struct entry *entry, char *name, size_t size)
{
	(void)snprintf(name, size, "%s%s%s", entry->words[0], entry->words[1] == NULL ? "" : " ",
	    entry->words[1] == NULL ? "" : entry->words[1]);
}

void
command_list(struct buf *buf)
{
	for (size_t i = 0; i < ENTRY_COUNT; i++) {
		char name[24];

		format_name(&entries[i], name, sizeof(name));
		buf_printf(buf, "\t%s%s%s\n", name, entries[i].usage[0] == '\0' ? "" : " ",
		    entries[i].usage);
	}
	buf_add_text(buf, "\tFILTER is " FILTER "\n");
}

static bool __attribute__((format(printf, 3, 4)))
fail(char *error, size_t size, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	(void)vsnprintf(error, size, format, arguments);
	va_end(arguments);
	return false;
}

/* Adds " (this, that)": the words that may stand there, in the entries from `first` to before `end`. */
static bool
fail_choice(char *error, size_t size, const char *what, const char *given, size_t position,
    size_t first, size_t end, const char *prefix)
{
	const char *before = "", *between = " (";
	size_t length;

	(void)snprintf(error, size, what, given);
	for (size_t i = first; i < end; i++) {
		const char *word = entries[i].words[position];

		if (word == NULL || strcmp(word, before) == 0 ||
		    strncmp(word, prefix, strlen(prefix)) != 0)
			continue;
		length = strlen(error);
		(void)snprintf(error + length, size - length, "%s%s", between, word);
		before = word;
		between = ", ";
	}
	length = strlen(error);
	if (*before != '\0')
		(void)snprintf(error + length, size - length, ")");
	return false;
}

/* What one word of a command means among the entries from `first` to before `end`, which are all
 * those whose words before `position` match: the narrower range of those that have that word. */
static bool
match_word(const char *given, size_t position, size_t *first, size_t *end, char *error, size_t size)
{
	size_t length = strlen(given);
	const char *found = NULL;
	bool ambiguous = false;
	size_t from = *first, to;

	for (size_t i = *first; i < *end; i++) {
		const char *word = entries[i].words[position];

		if (strcmp(word, given) == 0) {
			found = word;
			ambiguous = false;
			from = i;
			break;
		}
		if (length == 0 || strncmp(word, given, length) != 0)
			continue;
		if (found == NULL) {
			found = word;
			from = i;
		} else if (strcmp(found, word) != 0)
			ambiguous = true;
	}
	if (found == NULL && position == 0)
		return fail(error, size, "unknown command: %s; without one, all are listed", given);
	if (found == NULL)
		return fail_choice(
		    error, size, "unknown command: %s", given, position, *first, *end, "");
	if (ambiguous)
		return fail_choice(
		    error, size, "ambiguous command: %s", given, position, *first, *end, given);
	/* Entries with the same word stand together. */
	for (to = from; to < *end && strcmp(entries[to].words[position], found) == 0; to++)
		;
	*first = from;
	*end = to;
	return true;
}

static const struct entry *
find_entry(int argc, char *const argv[], int *used, char *error, size_t size)
{
	size_t first = 0, end = ENTRY_COUNT;

	for (*used = 0; *used < COMMAND_WORDS; ++*used) {
		if (*used > 0 && entries[first].words[*used] == NULL)
			break;
		if (*used == argc) {
			if (*used == 0)
				(void)fail(error, size, "smtpctl: incomplete command");
			else
				(void)fail_choice(error, size, "%s: incomplete command",
				    entries[first].words[0], (size_t)*used, first, end, "");
			return NULL;
		}
		if (!match_word(argv[*used], (size_t)*used, &first, &end, error, size))
			return NULL;
	}
	return &entries[first];
}

static bool
parse_hex(const char *text, uint64_t *id)
{
	size_t length = strlen(text);

	if ((length != 8 && length != 16) || strspn(text, "0123456789abcdefABCDEF") != length)
		return false;
	*id = strtoull(text, NULL, 16);
	return *id != 0 && (length == 8 || *id >> 32 != 0);
}

/* An address, in the form that addresses are shown in; "@domain"; "<>" for the null sender. */
static bool
parse_mailbox(const char *text, char *result, size_t size)
{
	struct address address;
	size_t length;

	if (strcmp(text, "<>") == 0 || strcmp(text, "@") == 0) {
		(void)snprintf(result, size, "<>");
		return true;
	}
	if (text[0] == '@') {
		if (!address_domain_is_valid(text + 1, true))
			return false;
		length = strlen(text);
		if (length >= size)
			return false;
		memcpy(result, text, length + 1);
		return true;
	}
	if (address_parse(text, ADDRESS_ALLOW_UTF8 | ADDRESS_ALLOW_BARE_LOCAL, &address) !=
	    ADDRESS_OK)
		return false;
	address_format(&address, result, size);
	return true;
}

static bool
parse_state(const char *text, struct ipc_filter *filter)
{
	static const char *const names[ENVELOPE_STATE_COUNT] = {
		[ENVELOPE_PENDING] = "pending",
		[ENVELOPE_INFLIGHT] = "inflight",
		[ENVELOPE_HELD] = "held",
	};

	for (int state = 0; state < ENVELOPE_STATE_COUNT; state++)
		if (strcmp(names[state], text) == 0) {
			filter->has_state = true;
			filter->state = (enum envelope_state)state;
			return true;
		}
	return false;
}

/* One condition of a filter: a keyword and its value. */
static bool
parse_condition(
    struct ipc_filter *filter, const char *key, const char *value, char *error, size_t size)
{
	if (strcmp(key, "from") == 0)
		return parse_mailbox(value, filter->from, sizeof(filter->from)) ||
		    fail(error, size, "from: not an address: %s", value);
	if (strcmp(key, "to") == 0)
		return (parse_mailbox(value, filter->to, sizeof(filter->to)) &&
		           strcmp(filter->to, "<>") != 0) ||
		    fail(error, size, "to: not an address: %s", value);
	if (strcmp(key, "older") == 0)
		return (text_parse_duration(value, &filter->older) && filter->older > 0) ||
		    fail(error, size, "older: not a time like 90s, 10m, 2h, 1d: %s", value);
	return parse_state(value, filter) ||
	    fail(error, size, "state: not pending, inflight or held: %s", value);
}

static bool
is_condition(const char *word)
{
	return strcmp(word, "from") == 0 || strcmp(word, "to") == 0 || strcmp(word, "older") == 0 ||
	    strcmp(word, "state") == 0;
}

bool
command_parse_filter(struct ipc_filter *filter, int argc, char *const argv[], bool required,
    char *error, size_t size)
{
	int first = 0;

	memset(filter, 0, sizeof(*filter));
	if (argc == 0)
		return !required ||
		    fail(error, size, "which envelopes? Give an id, a filter, or all");
	if (!is_condition(argv[0])) {
		if (strcmp(argv[0], "all") != 0 && !parse_hex(argv[0], &filter->id))
			return fail(error, size,
			    "not an id of 8 or 16 hex digits, and no filter: %s", argv[0]);
		first = 1;
	}
	for (int i = first; i < argc; i += 2) {
		if (!is_condition(argv[i]))
			return fail(error, size, "no filter: %s (from, to, older, state)", argv[i]);
		if (i + 1 == argc)
			return fail(error, size, "%s: a value is missing", argv[i]);
		for (int earlier = first; earlier < i; earlier += 2)
			if (strcmp(argv[earlier], argv[i]) == 0)
				return fail(error, size, "%s: given twice", argv[i]);
		if (!parse_condition(filter, argv[i], argv[i + 1], error, size))
			return false;
	}
	return true;
}

static bool
parse_trace(const char *text, uint32_t *mask, char *error, size_t size)
{
	const char *name, *between = " (";
	size_t length;

	(void)snprintf(error, size, "no subsystem: %s", text);
	for (size_t i = 0; (name = log_trace_name(i, mask)) != NULL; i++) {
		if (strcmp(name, text) == 0)
			return true;
		length = strlen(error);
		(void)snprintf(error + length, size - length, "%s%s", between, name);
		between = ", ";
	}
	length = strlen(error);
	(void)snprintf(error + length, size - length, "), nor \"message\"");
	return false;
}

/* What "trace message" looks for is the directory's to understand. */
static bool
parse_trace_message(struct command *command, int argc, char *const argv[], char *error, size_t size)
{
	size_t length;

	if (argc != 2)
		return fail(error, size, "message: one id, Message-ID or address");
	length = strlen(argv[1]);
	if (length == 0 || length > TRACE_TEXT_MAX)
		return fail(error, size, "message: not an id, Message-ID or address");
	for (const char *at = argv[1]; *at != '\0'; at++)
		if ((unsigned char)*at < ' ' || *at == 0x7f)
			return fail(error, size, "message: control characters");
	memcpy(command->trace.what, argv[1], length + 1);
	command->verb = COMMAND_TRACE_MESSAGE;
	(void)snprintf(command->name, sizeof(command->name), "trace message");
	return true;
}

static bool
parse_quota(struct command *command, int argc, char *const argv[], char *error, size_t size)
{
	if (argc < 2 || argc > 3)
		return fail(error, size, "an address and none, or a size and a number of messages");
	command->word_count = 1;
	if (strcmp(argv[1], "none") == 0)
		return argc == 2 || fail(error, size, "none takes no number of messages");
	if (!text_parse_size(argv[1], &command->quota_bytes))
		return fail(error, size, "not a size like 500M or 1G: %s", argv[1]);
	if (argc == 3 && !text_parse_number(argv[2], INT64_MAX, &command->quota_messages))
		return fail(error, size, "not a number of messages: %s", argv[2]);
	return true;
}

static bool
parse_words(struct command *command, const struct entry *entry, char *error, size_t size)
{
	size_t total = 0;

	if (command->word_count < entry->least)
		return fail(error, size, "an argument is missing: %s", entry->usage);
	if (command->word_count > entry->most)
		return fail(error, size, "too many arguments: %s", entry->usage);
	if (entry->verb != COMMAND_ACCOUNT)
		return true;
	for (size_t i = 0; i < command->word_count; i++) {
		size_t length = strlen(command->words[i]);

		if (length == 0)
			return fail(error, size, "an empty argument");
		if (length > IPC_ACCOUNT_WORD_MAX)
			return fail(error, size, "an argument is too long");
		total += length;
	}
	return total <= IPC_ACCOUNT_TEXT_MAX || fail(error, size, "too long");
}

static bool
parse_id(struct command *command, const struct entry *entry, int argc, char *const argv[],
    char *error, size_t size)
{
	if (argc != 1)
		return fail(error, size, "one argument: %s", entry->usage);
	if (!parse_hex(argv[0], &command->filter.id))
		return fail(error, size, "not an id of 8 or 16 hex digits: %s", argv[0]);
	if (entry->arguments == ARGUMENTS_ENVELOPE && command->filter.id >> 32 == 0)
		return fail(error, size, "not an envelope's id of 16 hex digits: %s", argv[0]);
	return true;
}

/* "for" and a domain, as it is queued: in lower case, and without a dot at its end. */
static bool
parse_for(struct command *command, int argc, char *const argv[], char *error, size_t size)
{
	char *domain = command->pause.domain;
	size_t length;

	if (argc == 0)
		return true;
	if (argc != 2 || strcmp(argv[0], "for") != 0)
		return fail(error, size, "takes nothing, or for and a domain: %s", argv[0]);
	length = strlen(argv[1]);
	if (length > 1 && argv[1][length - 1] == '.')
		length--;
	if (length >= sizeof(command->pause.domain))
		return fail(error, size, "not a domain: %s", argv[1]);
	for (size_t i = 0; i < length; i++)
		domain[i] = (char)(argv[1][i] >= 'A' && argv[1][i] <= 'Z' ? argv[1][i] + ('a' - 'A')
		                                                          : argv[1][i]);
	domain[length] = '\0';
	if (!address_domain_is_valid(domain, true))
		return fail(error, size, "not a domain: %s", argv[1]);
	(void)snprintf(command->filter.to, sizeof(command->filter.to), "@%s", domain);
	return true;
}

/* A domain may be given as people write it; in DNS it has A-labels. */
static bool
parse_dkim(struct command *command, const struct entry *entry, int argc, char *const argv[],
    char *error, size_t size)
{
	struct ipc_dkim *dkim = &command->dkim;
	char key[ADDRESS_DOMAIN_MAX + 1];

	if (entry->detail == DKIM_ADD && argc > 1 &&
	    (strcmp(argv[argc - 1], "rsa") == 0 || strcmp(argv[argc - 1], "ed25519") == 0)) {
		argc--;
		dkim->has_algorithm = true;
		dkim->algorithm =
		    strcmp(argv[argc], "rsa") == 0 ? DKIM_RSA_SHA256 : DKIM_ED25519_SHA256;
	} else if (argc == 3)
		return fail(error, size, "not an algorithm, rsa or ed25519: %s", argv[2]);
	if (argc > 0) {
		if (!address_domain_key(argv[0], key, sizeof(key)) || !dkim_domain_is_valid(key))
			return fail(error, size, "not a domain: %s", argv[0]);
		(void)snprintf(dkim->domain, sizeof(dkim->domain), "%.*s", DKIM_DOMAIN_MAX, key);
	}
	if (argc > 1) {
		if (!dkim_selector_is_valid(argv[1]))
			return fail(error, size,
			    "not a selector (letters in lower case, digits, hyphens): %s", argv[1]);
		(void)snprintf(dkim->selector, sizeof(dkim->selector), "%s", argv[1]);
	}
	return true;
}

static bool
parse_sieve(int argc, char *const argv[], char *error, size_t size)
{
	if (*argv[0] == '\0' || strlen(argv[0]) > USER_NAME_MAX)
		return fail(error, size, "not a user: %s", argv[0]);
	if (argc > 1 && !sieve_name_is_valid(argv[1]))
		return fail(error, size, "not a script's name: %s", argv[1]);
	return true;
}

/* An address of IPv4 or IPv6. */
static bool
parse_ip(struct ipc_rcpt *rcpt, const char *text)
{
	rcpt->client_family = CLIENT_INET4;
	if (inet_pton(AF_INET, text, rcpt->client_address) == 1)
		return true;
	rcpt->client_family = CLIENT_INET6;
	return inet_pton(AF_INET6, text, rcpt->client_address) == 1;
}

/* Words that a client or a configuration may hold, but for control characters. */
static bool
parse_name(char *to, size_t size, const char *text)
{
	for (const char *at = text; *at != '\0'; at++)
		if ((unsigned char)*at < ' ' || *at == 0x7f)
			return false;
	return *text != '\0' && snprintf(to, size, "%s", text) < (int)size;
}

static bool
parse_address(struct address *address, const char *text)
{
	return address_parse(text, ADDRESS_ALLOW_UTF8 | ADDRESS_ALLOW_BARE_LOCAL, address) ==
	    ADDRESS_OK;
}

enum explain_option {
	EXPLAIN_TO,
	EXPLAIN_FROM,
	EXPLAIN_IP,
	EXPLAIN_NAME,
	EXPLAIN_HELO,
	EXPLAIN_AUTH,
	EXPLAIN_TAG,
	EXPLAIN_TLS,
	EXPLAIN_OPTION_COUNT,
};

static bool
parse_explain_value(struct ipc_rcpt *rcpt, enum explain_option option, const char *value)
{
	switch (option) {
	case EXPLAIN_TO:
		return parse_address(&rcpt->rcpt, value);
	case EXPLAIN_FROM: /* "<>": the null sender */
		return strcmp(value, "<>") == 0 || parse_address(&rcpt->sender, value);
	case EXPLAIN_IP:
		return parse_ip(rcpt, value);
	case EXPLAIN_NAME:
		return strcmp(value, "none") == 0 ||
		    parse_name(rcpt->client_name, sizeof(rcpt->client_name), value);
	case EXPLAIN_HELO:
		return parse_name(rcpt->helo, sizeof(rcpt->helo), value);
	case EXPLAIN_AUTH:
		return parse_name(rcpt->auth_user, sizeof(rcpt->auth_user), value);
	case EXPLAIN_TAG:
		return parse_name(rcpt->tag, sizeof(rcpt->tag), value);
	case EXPLAIN_TLS:
	case EXPLAIN_OPTION_COUNT:
		break;
	}
	return false;
}

/* Each option at most once. */
static bool
parse_explain(struct command *command, int argc, char *const argv[], char *error, size_t size)
{
	static const struct {
		const char *word;
		const char *value;
	} options[EXPLAIN_OPTION_COUNT] = {
		[EXPLAIN_TO] = { "--to", "an address" },
		[EXPLAIN_FROM] = { "--from", "an address" },
		[EXPLAIN_IP] = { "--ip", "an IPv4 or IPv6 address" },
		[EXPLAIN_NAME] = { "--name", "a host's name or none" },
		[EXPLAIN_HELO] = { "--helo", "a name" },
		[EXPLAIN_AUTH] = { "--auth", "a user" },
		[EXPLAIN_TAG] = { "--tag", "a tag" },
		[EXPLAIN_TLS] = { "--tls", NULL },
	};
	struct ipc_rcpt *rcpt = &command->explain;
	bool has[EXPLAIN_OPTION_COUNT] = { false };

	rcpt->client_family = CLIENT_LOCAL;
	for (int i = 0; i < argc; i++) {
		int option = 0;

		while (option < EXPLAIN_OPTION_COUNT && strcmp(argv[i], options[option].word) != 0)
			option++;
		if (option == EXPLAIN_OPTION_COUNT)
			return fail(error, size,
			    "no option: %s (--to, --from, --ip, --name, --helo, --auth, --tag, "
			    "--tls)",
			    argv[i]);
		if (has[option])
			return fail(error, size, "%s: given twice", argv[i]);
		has[option] = true;
		if (option == EXPLAIN_TLS) {
			rcpt->tls = true;
			continue;
		}
		if (++i == argc)
			return fail(error, size, "%s: %s is missing", options[option].word,
			    options[option].value);
		if (!parse_explain_value(rcpt, (enum explain_option)option, argv[i]))
			return fail(error, size, "%s: not %s: %s", options[option].word,
			    options[option].value, argv[i]);
	}
	/* It isn't looked up. */
	rcpt->name_unknown = has[EXPLAIN_IP] && !has[EXPLAIN_NAME];
	if (has[EXPLAIN_NAME] && !has[EXPLAIN_IP])
		return fail(error, size, "--name: of whom? --ip ADDRESS");
	return has[EXPLAIN_TO] || fail(error, size, "for whom? --to ADDRESS");
}

static bool
parse_arguments(struct command *command, const struct entry *entry, int argc, char *const argv[],
    char *error, size_t size)
{
	struct entry one_word = *entry;

	one_word.least = one_word.most = 1;
	command->words = argv;
	command->word_count = (size_t)argc;
	switch (entry->arguments) {
	case ARGUMENTS_NONE:
		return argc == 0 || fail(error, size, "takes no argument: %s", argv[0]);
	case ARGUMENTS_FILTER:
	case ARGUMENTS_REQUIRED_FILTER:
		return command_parse_filter(&command->filter, argc, argv,
		    entry->arguments == ARGUMENTS_REQUIRED_FILTER, error, size);
	case ARGUMENTS_SHAPE:
		command->by_sender = argc > 0 && strcmp(argv[0], "senders") == 0;
		return command_parse_filter(&command->filter, argc - command->by_sender,
		    argv + command->by_sender, false, error, size);
	case ARGUMENTS_ENVELOPE:
	case ARGUMENTS_MESSAGE:
		return parse_id(command, entry, argc, argv, error, size);
	case ARGUMENTS_FOR:
		return parse_for(command, argc, argv, error, size);
	case ARGUMENTS_TRACE:
		if (entry->detail == CONTROL_TRACE && argc > 0 && strcmp(argv[0], "message") == 0)
			return parse_trace_message(command, argc, argv, error, size);
		if (argc != 1)
			return fail(error, size, "one argument: %s", entry->usage);
		return parse_trace(argv[0], &command->supervisor.argument, error, size);
	case ARGUMENTS_QUOTA:
		return parse_quota(command, argc, argv, error, size) &&
		    parse_words(command, &one_word, error, size);
	case ARGUMENTS_USER:
		if (argc == 2 && strcmp(argv[1], "no-password") == 0) {
			command->word_count = 1;
			return parse_words(command, &one_word, error, size);
		}
		__attribute__((fallthrough));
	case ARGUMENTS_PASSWORD:
		command->needs_password = true;
		return parse_words(command, &one_word, error, size);
	case ARGUMENTS_COUNT:
		return argc == 0 ||
		    (argc == 1 && text_parse_number(argv[0], UINT32_MAX, &command->count) &&
		        command->count > 0) ||
		    fail(error, size, "not a number of lines: %s", argv[0]);
	case ARGUMENTS_EXPLAIN:
		return parse_explain(command, argc, argv, error, size);
	case ARGUMENTS_DKIM:
		return parse_words(command, entry, error, size) &&
		    parse_dkim(command, entry, argc, argv, error, size);
	case ARGUMENTS_SIEVE:
		return parse_words(command, entry, error, size) &&
		    parse_sieve(argc, argv, error, size);
	case ARGUMENTS_WORDS:
		return parse_words(command, entry, error, size);
	}
	return false;
}

bool
command_parse(struct command *command, int argc, char *const argv[], char *error, size_t size)
{
	const struct entry *entry;
	char reason[256];
	int used;

	memset(command, 0, sizeof(*command));
	entry = find_entry(argc, argv, &used, error, size);
	if (entry == NULL)
		return false;
	command->verb = entry->verb;
	format_name(entry, command->name, sizeof(command->name));
	switch (entry->verb) {
	case COMMAND_ACT:
		command->action = (enum queue_action)entry->detail;
		break;
	case COMMAND_PAUSE:
		command->pause.paused = (entry->detail & 1) != 0;
		command->pause.mda = (entry->detail & 2) != 0;
		break;
	case COMMAND_SUPERVISOR:
		command->supervisor.verb = (enum control_verb)entry->detail;
		break;
	case COMMAND_ACCOUNT:
		command->account = (enum account_verb)entry->detail;
		break;
	case COMMAND_DKIM:
		command->dkim.verb = (enum dkim_verb)entry->detail;
		break;
	case COMMAND_SIEVE:
		command->sieve = (enum script_verb)entry->detail;
		break;
	case COMMAND_SHOW_QUEUE:
	case COMMAND_SHOW_SHAPE:
	case COMMAND_SHOW_MESSAGE:
	case COMMAND_SHOW_ENVELOPE:
	case COMMAND_SHOW_RELAYS:
	case COMMAND_SHOW_HOSTS:
	case COMMAND_SHOW_HOSTSTATS:
	case COMMAND_SHOW_ROUTES:
	case COMMAND_EXPLAIN:
	case COMMAND_SHOW_STATS:
	case COMMAND_SHOW_STATUS:
	case COMMAND_MONITOR:
	case COMMAND_TRACE_MESSAGE:
	case COMMAND_SPOOL:
	case COMMAND_ENCRYPT:
		break;
	}
	if (parse_arguments(command, entry, argc - used, argv + used, reason, sizeof(reason)))
		return true;
	return fail(error, size, "%s: %s", command->name, reason);
}
