/*
 * A table says which function takes what follows each command's name. A command is parsed in one
 * pass to its end; the first thing that is wrong is what the client is told.
 */
#include <string.h>

#include "mailbox/imap_command.h"
#include "mailbox/imap_command_parts.h"

void *
imap_parse_add(struct imap_text *text, void *array, size_t *count, size_t element_size, size_t max)
{
	if (*count >= max) {
		imap_text_fail(text, "too many of them");
		return NULL;
	}
	array = imap_pool_add(text->pool, array, count, element_size);
	if (array == NULL) {
		text->no_memory = true;
		imap_text_fail(text, "out of memory");
	}
	return array;
}

void
imap_parse_strings_add(
    struct imap_text *text, struct imap_strings *strings, struct imap_string string)
{
	struct imap_string *array;

	if (text->why != NULL)
		return;
	array =
	    imap_parse_add(text, strings->strings, &strings->count, sizeof(*array), IMAP_ITEMS_MAX);
	if (array == NULL) {
		*strings = (struct imap_strings){ 0 };
		return;
	}
	array[strings->count - 1] = string;
	strings->strings = array;
}

static void
parse_nothing(struct imap_text *text, struct imap_command *command)
{
	(void)text;
	(void)command;
}

static void
parse_mailbox(struct imap_text *text, struct imap_command *command)
{
	imap_text_space(text);
	command->mailbox = imap_text_astring(text);
}

/* RFC 2971 3.1: NIL, or a list of names and values. */
static void
parse_id(struct imap_text *text, struct imap_command *command)
{
	imap_text_space(text);
	if (!imap_text_take(text, '(')) {
		if (imap_text_nstring(text).data != NULL)
			imap_text_fail(text, "a list or NIL is missing");
		return;
	}
	if (imap_text_take(text, ')'))
		return;
	do {
		imap_parse_strings_add(text, &command->words, imap_text_string(text));
		imap_text_space(text);
		imap_parse_strings_add(text, &command->words, imap_text_nstring(text));
	} while (text->why == NULL && imap_text_take(text, ' '));
	imap_text_expect(text, ')');
}

static void
parse_login(struct imap_text *text, struct imap_command *command)
{
	imap_text_space(text);
	command->login.user = imap_text_astring(text);
	imap_text_space(text);
	command->login.password = imap_text_astring(text);
}

static void
parse_authenticate(struct imap_text *text, struct imap_command *command)
{
	imap_text_space(text);
	command->authenticate.mechanism = imap_text_atom(text);
	if (!imap_text_take(text, ' '))
		return;
	command->authenticate.has_initial = true;
	command->authenticate.initial = imap_text_astring(text);
	if (imap_string_is(&command->authenticate.initial, "=")) /* RFC 4959 3 */
		command->authenticate.initial.length = 0;
}

static void
parse_enable(struct imap_text *text, struct imap_command *command)
{
	do {
		imap_text_space(text);
		imap_parse_strings_add(text, &command->words, imap_text_atom(text));
	} while (text->why == NULL && !imap_text_is_end(text));
}

static void
parse_rename(struct imap_text *text, struct imap_command *command)
{
	imap_text_space(text);
	command->rename.from = imap_text_astring(text);
	imap_text_space(text);
	command->rename.to = imap_text_astring(text);
}

static void
parse_copy(struct imap_text *text, struct imap_command *command)
{
	imap_text_space(text);
	imap_text_set(text, true, &command->copy.set);
	imap_text_space(text);
	command->copy.mailbox = imap_text_astring(text);
}

/* RFC 4315 2.1: by UID it has a set. */
static void
parse_expunge(struct imap_text *text, struct imap_command *command)
{
	if (!command->uid)
		return;
	imap_text_space(text);
	imap_text_set(text, true, &command->copy.set);
}

static void
parse_store(struct imap_text *text, struct imap_command *command)
{
	struct imap_store *store = &command->store;
	struct imap_string word;

	imap_text_space(text);
	imap_text_set(text, true, &store->set);
	imap_text_space(text);
	if (imap_text_take(text, '(')) { /* RFC 7162 3.1.3 */
		word = imap_text_word(text);
		if (!imap_string_is(&word, "UNCHANGEDSINCE"))
			imap_text_fail(text, "there is no such modifier of STORE");
		imap_text_space(text);
		store->has_unchanged_since = true;
		store->unchanged_since = imap_text_number64(text);
		imap_text_expect(text, ')');
		imap_text_space(text);
	}
	if (imap_text_take(text, '+'))
		store->how = IMAP_STORE_ADD;
	else if (imap_text_take(text, '-'))
		store->how = IMAP_STORE_REMOVE;
	word = imap_text_word(text);
	store->silent = imap_string_is(&word, "FLAGS.SILENT");
	if (!store->silent && !imap_string_is(&word, "FLAGS"))
		imap_text_fail(text, "STORE changes FLAGS only");
	imap_text_space(text);
	imap_text_flags(text, true, &store->flags);
}

static void
parse_quota(struct imap_text *text, struct imap_command *command)
{
	imap_text_space(text);
	command->quota_root = imap_text_astring(text);
	/* SETQUOTA is refused whatever it says: its limits needn't be read. */
	if (command->verb == IMAP_SETQUOTA)
		text->at = text->end;
}

static void
parse_compress(struct imap_text *text, struct imap_command *command)
{
	imap_text_space(text);
	command->compression = imap_text_atom(text);
}

static const struct {
	const char *name;
	void (*parse)(struct imap_text *, struct imap_command *);
	bool has_uid; /* may stand behind "UID" */
} verbs[IMAP_VERB_COUNT] = {
	[IMAP_CAPABILITY] = { "CAPABILITY", parse_nothing, false },
	[IMAP_NOOP] = { "NOOP", parse_nothing, false },
	[IMAP_LOGOUT] = { "LOGOUT", parse_nothing, false },
	[IMAP_ID] = { "ID", parse_id, false },
	[IMAP_STARTTLS] = { "STARTTLS", parse_nothing, false },
	[IMAP_LOGIN] = { "LOGIN", parse_login, false },
	[IMAP_AUTHENTICATE] = { "AUTHENTICATE", parse_authenticate, false },
	[IMAP_ENABLE] = { "ENABLE", parse_enable, false },
	[IMAP_SELECT] = { "SELECT", imap_parse_select, false },
	[IMAP_EXAMINE] = { "EXAMINE", imap_parse_select, false },
	[IMAP_CREATE] = { "CREATE", imap_parse_create, false },
	[IMAP_DELETE] = { "DELETE", parse_mailbox, false },
	[IMAP_RENAME] = { "RENAME", parse_rename, false },
	[IMAP_SUBSCRIBE] = { "SUBSCRIBE", parse_mailbox, false },
	[IMAP_UNSUBSCRIBE] = { "UNSUBSCRIBE", parse_mailbox, false },
	[IMAP_LIST] = { "LIST", imap_parse_list, false },
	[IMAP_LSUB] = { "LSUB", imap_parse_lsub, false },
	[IMAP_NAMESPACE] = { "NAMESPACE", parse_nothing, false },
	[IMAP_STATUS] = { "STATUS", imap_parse_status, false },
	[IMAP_APPEND] = { "APPEND", imap_parse_append, false },
	[IMAP_IDLE] = { "IDLE", parse_nothing, false },
	[IMAP_CHECK] = { "CHECK", parse_nothing, false },
	[IMAP_CLOSE] = { "CLOSE", parse_nothing, false },
	[IMAP_UNSELECT] = { "UNSELECT", parse_nothing, false },
	[IMAP_EXPUNGE] = { "EXPUNGE", parse_expunge, true },
	[IMAP_SEARCH] = { "SEARCH", imap_parse_search, true },
	[IMAP_SORT] = { "SORT", imap_parse_search, true },
	[IMAP_THREAD] = { "THREAD", imap_parse_search, true },
	[IMAP_FETCH] = { "FETCH", imap_parse_fetch, true },
	[IMAP_STORE] = { "STORE", parse_store, true },
	[IMAP_COPY] = { "COPY", parse_copy, true },
	[IMAP_MOVE] = { "MOVE", parse_copy, true },
	[IMAP_REPLACE] = { "REPLACE", imap_parse_append, true },
	[IMAP_GETQUOTA] = { "GETQUOTA", parse_quota, false },
	[IMAP_GETQUOTAROOT] = { "GETQUOTAROOT", parse_mailbox, false },
	[IMAP_SETQUOTA] = { "SETQUOTA", parse_quota, false },
	[IMAP_GETMETADATA] = { "GETMETADATA", imap_parse_metadata, false },
	[IMAP_SETMETADATA] = { "SETMETADATA", imap_parse_metadata, false },
	[IMAP_NOTIFY] = { "NOTIFY", imap_parse_notify, false },
	[IMAP_COMPRESS] = { "COMPRESS", parse_compress, false },
};

const char *
imap_verb_name(enum imap_verb verb)
{
	return verbs[verb].name;
}

/* The command's name; false when there is no such command. */
static bool
parse_verb(struct imap_text *text, struct imap_command *command)
{
	struct imap_string word = imap_text_word(text);

	if (imap_string_is(&word, "UID")) {
		command->uid = true;
		imap_text_space(text);
		word = imap_text_word(text);
	}
	for (unsigned verb = 0; verb < IMAP_VERB_COUNT; verb++) {
		if (imap_string_is(&word, verbs[verb].name) &&
		    (!command->uid || verbs[verb].has_uid)) {
			command->verb = (enum imap_verb)verb;
			return true;
		}
	}
	imap_text_fail(text, "there is no such command");
	return false;
}

static void
parse(struct imap_text *text, struct imap_command *command)
{
	command->tag = imap_text_tag(text);
	if (text->why != NULL) {
		command->tag = (struct imap_string){ "*", 1 };
		return;
	}
	imap_text_space(text);
	if (parse_verb(text, command))
		verbs[command->verb].parse(text, command);
}

static void
take_result(struct imap_command *command, const struct imap_text *text)
{
	command->why = text->why;
	command->no_memory = text->no_memory;
}

void
imap_command_parse(struct imap_command *command, const char *bytes, size_t length)
{
	struct imap_text text;

	memset(command, 0, sizeof(*command));
	imap_text_init(&text, bytes, length, &command->pool);
	parse(&text, command);
	imap_text_end(&text);
	take_result(command, &text);
}

void
imap_command_parse_so_far(struct imap_command *command, const char *bytes, size_t length)
{
	struct imap_text text;

	memset(command, 0, sizeof(*command));
	imap_text_init(&text, bytes, length, &command->pool);
	parse(&text, command);
	if (text.why == NULL && command->verb != IMAP_APPEND && command->verb != IMAP_REPLACE)
		imap_text_fail(&text, "no message is taken here");
	take_result(command, &text);
}

void
imap_command_free(struct imap_command *command)
{
	imap_pool_free(&command->pool);
}
