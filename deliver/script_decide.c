/*
 * From a message to what its owner's script says of it, in the terms of deliver/maildir.h.
 */
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/clock.h"
#include "common/folder_name.h"
#include "common/log.h"
#include "common/read.h"
#include "deliver/script.h"
#include "deliver/script_text.h"

#define READ_FIRST 16384 /* most headers are shorter */

#define LOOP_SECONDS (24 * 3600)

/* A run, for the script's questions. */
struct looker {
	const struct maildir *maildir;
	struct script_memory *memory;
	const struct ipc_deliver *request;
	int64_t now;
	const char *text; /* of the message, as far as it was read */
	size_t length;
};

static bool
folder_exists(void *arg, const char *name)
{
	const struct looker *looker = arg;
	char path[FOLDER_DISK_MAX + 8];
	struct stat st;

	folder_name_to_disk(name, path);
	strcat(path, "/cur");
	return fstatat(looker->maildir->root, path, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISDIR(st.st_mode);
}

static bool
is_duplicate(void *arg, const char *handle, const char *id, uint32_t seconds, bool last)
{
	struct looker *looker = arg;
	uint64_t envelope = looker->request->envelope_id;
	bool seen = memory_has(looker->memory, "duplicate", handle, id, looker->now, envelope);

	if (!seen || last)
		memory_add(looker->memory, "duplicate", handle, id, looker->now,
		    looker->now + seconds, envelope);
	return seen;
}

static bool
has_header_end(const char *text, size_t length)
{
	return memmem(text, length, "\n\r\n", 3) != NULL || memmem(text, length, "\n\n", 2) != NULL;
}

/* The header, or with `all` as much as tests of the body see; allocated. NULL with errno. */
static char *
read_text(int message, uint64_t size, bool all, size_t *length)
{
	size_t most = all ? SIEVE_TEXT_MAX : SIEVE_HEADER_MAX, want;
	char *text, *larger;
	ssize_t got;

	if (size < most)
		most = (size_t)size;
	want = all || most < READ_FIRST ? most : READ_FIRST;
	text = malloc(want + 1);
	for (*length = 0; text != NULL && *length < most;) {
		got = read_some_at(message, text + *length, want - *length, (off_t)*length);
		if (got <= 0) {
			free(text);
			return NULL;
		}
		*length += (size_t)got;
		if (!all && has_header_end(text, *length))
			break;
		if (*length == want && want < most) {
			want = most;
			larger = realloc(text, want + 1);
			if (larger == NULL)
				free(text);
			text = larger;
		}
	}
	return text;
}

/* Those that aren't the system's. */
static void
set_keywords(struct maildir_into *into, const char *flags)
{
	size_t used = 0;

	while (*flags != '\0') {
		size_t length = strcspn(flags, " ");

		if (*flags != '\\' && used + length + 2 <= sizeof(into->keywords)) {
			if (used > 0)
				into->keywords[used++] = ' ';
			memcpy(into->keywords + used, flags, length);
			used += length;
		}
		flags += length + (flags[length] == ' ');
	}
	into->keywords[used] = '\0';
}

/* Letters of the system flags among them, in ASCII's order. */
static void
set_flags(struct maildir_into *into, const char *flags)
{
	static const struct {
		const char *name;
		char letter;
	} known[] = {
		{ "\\Draft", 'D' },
		{ "\\Flagged", 'F' },
		{ "\\Answered", 'R' },
		{ "\\Seen", 'S' },
		{ "\\Deleted", 'T' },
	};
	size_t used = 0;

	for (size_t i = 0; flags != NULL && i < sizeof(known) / sizeof(known[0]); i++) {
		size_t length = strlen(known[i].name);

		for (const char *at = flags; *at != '\0';) {
			size_t word = strcspn(at, " ");

			if (word == length && strncasecmp(at, known[i].name, length) == 0) {
				into->flags[used++] = known[i].letter;
				break;
			}
			at += word + (at[word] == ' ');
		}
	}
	if (used > 0)
		into->flags[used] = '\0';
}

/* One more place; the same folder only once, with the flags that were said last. False: there are too
 * many. */
static bool
add_place(struct script_decision *decision, const struct maildir_into *into, const char *flags)
{
	struct maildir_into *place = NULL;

	for (size_t i = 0; i < decision->place_count && place == NULL; i++) {
		if (strcmp(decision->places[i].folder, into->folder) == 0)
			place = &decision->places[i];
	}
	if (place == NULL && decision->place_count == SCRIPT_PLACES_MAX)
		return false;
	if (place == NULL) {
		place = &decision->places[decision->place_count++];
		*place = *into;
	} else if (flags == NULL) {
		return true;
	}
	place->create |= into->create;
	memcpy(place->flags, into->flags, sizeof(place->flags));
	set_flags(place, flags);
	if (flags != NULL)
		set_keywords(place, flags);
	return true;
}

static bool
add_folder(struct script_decision *decision, const struct sieve_action *action)
{
	char directory[FOLDER_DISK_MAX + 2];
	struct maildir_into into = { .create = action->create };

	folder_name_to_disk(action->folder, directory);
	/* A name too long for a folder here is one that is missing. */
	if (strlen(directory + 1) <= MAILDIR_FOLDER_MAX)
		memcpy(into.folder, directory + 1, strlen(directory + 1) + 1);
	return add_place(decision, &into, action->flags);
}

/* A reason as one line for the reply, which goes into the report to the sender. */
static void
reject(struct script_decision *decision, const char *text)
{
	char line[REPLY_TEXT_MAX];
	size_t used = 0;

	for (; *text != '\0' && used < sizeof(line) - 1; text++) {
		bool blank = *text == '\n' || *text == '\r' || *text == '\t' || *text == ' ';

		if (blank && (used == 0 || line[used - 1] == ' '))
			continue;
		line[used++] = blank ? ' ' : *text;
	}
	while (used > 0 && line[used - 1] == ' ')
		used--;
	line[used] = '\0';
	decision->is_rejected = true;
	/* RFC 3463: X.7.1 delivery not authorized, message refused. */
	reply_set(&decision->reply, 550, "5.7.1", "%s",
	    used == 0 ? "The recipient's filter refuses this message" : line);
}

static void
log_failed(const struct maildir *maildir, const struct ipc_deliver *request, const char *words)
{
	struct log_line line;

	log_begin(&line, LOG_LEVEL_WARNING, "sieve-failed");
	log_hex64(&line, "envelope", request->envelope_id);
	log_text(&line, "mailbox", maildir->path);
	log_text(&line, "error", words);
	log_end(&line);
}

/* Without memory what would be sent isn't. */
static struct ipc_effects *
effects_of(struct script_decision *decision)
{
	if (decision->effects == NULL)
		decision->effects = calloc(1, sizeof(*decision->effects));
	return decision->effects;
}

/* What tells the message from others: its id, or else its whole header's text. */
static char *
message_key(const struct looker *looker)
{
	char *key = script_field(looker->text, looker->length, "Message-ID", 1000);

	return key != NULL ? key : script_header_key(looker->text, looker->length);
}

/* False when it went to that address already, as it does in a loop, or comes from it. */
static bool
redirect(struct script_decision *decision, struct looker *looker, const struct address *to)
{
	char target[ADDRESS_TEXT_MAX + 1], *key;
	struct ipc_effects *effects;
	bool good;

	if (address_equal(to, &looker->request->rcpt) || address_equal(to, &looker->request->dest))
		return false;
	address_format(to, target, sizeof(target));
	key = message_key(looker);
	good = key != NULL &&
	    !memory_has(looker->memory, "redirect", target, key, looker->now,
	        looker->request->envelope_id) &&
	    (effects = effects_of(decision)) != NULL && effects->redirect_count < IPC_REDIRECTS_MAX;
	if (good) {
		effects->redirects[effects->redirect_count++] = *to;
		memory_add(looker->memory, "redirect", target, key, looker->now,
		    looker->now + LOOP_SECONDS, looker->request->envelope_id);
	}
	free(key);
	return good;
}

static void
copy_text(char *to, size_t size, const char *from)
{
	size_t length = strlen(from);

	if (length >= size) {
		length = size - 1;
		while (length > 0 && ((unsigned char)from[length] & 0xc0) == 0x80)
			length--;
	}
	memcpy(to, from, length);
	to[length] = '\0';
}

/* The thread that the reply belongs to (RFC 5322 3.6.4). */
static void
set_references(struct ipc_effects *effects, const struct looker *looker)
{
	char *id = script_field(looker->text, looker->length, "Message-ID", 500);
	char *before = script_field(looker->text, looker->length, "References", 900);

	if (id != NULL)
		snprintf(effects->reply_references, sizeof(effects->reply_references), "%s%s%s",
		    before == NULL ? "" : before, before == NULL ? "" : " ", id);
	free(id);
	free(before);
}

static void
reply_to_sender(
    struct script_decision *decision, struct looker *looker, const struct sieve_action *action)
{
	const struct address *sender = &looker->request->sender;
	char key[ADDRESS_TEXT_MAX + 1];
	struct ipc_effects *effects;

	address_format(sender, key, sizeof(key));
	for (char *at = key; *at != '\0'; at++)
		*at = *at >= 'A' && *at <= 'Z' ? (char)(*at + 'a' - 'A') : *at;
	if (memory_has(looker->memory, "vacation", action->handle, key, looker->now,
	        looker->request->envelope_id) ||
	    (effects = effects_of(decision)) == NULL)
		return;
	effects->has_reply = true;
	if (action->from != NULL && *action->from != '\0')
		script_author(action->from, &effects->reply_from, effects->reply_name,
		    sizeof(effects->reply_name));
	copy_text(effects->reply_subject, sizeof(effects->reply_subject), action->subject);
	copy_text(effects->reply_text, sizeof(effects->reply_text), action->text);
	effects->reply_is_mime = action->is_mime;
	set_references(effects, looker);
	memory_add(looker->memory, "vacation", action->handle, key, looker->now,
	    looker->now + action->seconds, looker->request->envelope_id);
}

/* False, with words, when it can't be done as the script says. */
static bool
take_actions(const struct sieve_result *result, struct looker *looker,
    const struct maildir_into *into, struct script_decision *decision, const char **words)
{
	for (size_t i = 0; i < result->count; i++) {
		const struct sieve_action *action = &result->actions[i];
		bool fits = true;

		switch (action->kind) {
		case SIEVE_KEEP:
			fits = add_place(decision, into, action->flags);
			break;
		case SIEVE_FILEINTO:
			fits = add_folder(decision, action);
			break;
		case SIEVE_REJECT:
			/* Nobody could be told (RFC 5429 2.1.2). */
			if (address_is_null(&looker->request->sender))
				fits = add_place(decision, into, NULL);
			else
				reject(decision, action->text);
			break;
		case SIEVE_REDIRECT:
			/* What doesn't go on stays here. */
			if (!redirect(decision, looker, &action->to))
				fits = add_place(decision, into, NULL);
			break;
		case SIEVE_VACATION:
			reply_to_sender(decision, looker, action);
			break;
		}
		if (!fits) {
			*words = "too many folders for one message";
			return false;
		}
	}
	return true;
}

void
script_decide(const struct sieve *sieve, const struct maildir *maildir,
    struct script_memory *memory, const struct ipc_deliver *request, int message,
    const char *delimiters, const struct maildir_into *into, struct script_decision *decision)
{
	struct looker looker = {
		.maildir = maildir, .memory = memory, .request = request, .now = clock_wall()
	};
	struct sieve_message about = { .size = request->size,
		.sender = &request->sender,
		.recipient = &request->rcpt,
		.owner = &request->dest,
		.delimiters = delimiters,
		.now = looker.now,
		.mailbox_exists = folder_exists,
		.is_duplicate = is_duplicate,
		.arg = &looker };
	struct sieve_result result;
	const char *words = NULL;
	char *text = NULL;

	memset(decision, 0, sizeof(*decision));
	if (sieve == NULL) {
		(void)add_place(decision, into, NULL);
		return;
	}
	text = read_text(message, request->size, sieve_needs_body(sieve), &about.length);
	if (text == NULL) {
		words = strerror(errno);
	} else {
		about.text = looker.text = text;
		looker.length = about.length;
		sieve_run(sieve, &about, &result);
		if (result.error[0] != '\0')
			log_failed(maildir, request, result.error);
		(void)take_actions(&result, &looker, into, decision, &words);
		sieve_result_free(&result);
		free(text);
	}
	if (words != NULL) {
		log_failed(maildir, request, words);
		/* What won't be sent isn't remembered as sent. */
		memory_forget(memory, request->envelope_id);
		free(decision->effects);
		memset(decision, 0, sizeof(*decision));
		(void)add_place(decision, into, NULL);
	}
}
