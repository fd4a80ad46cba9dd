/*
 * Smaller extensions: ENABLE (RFC 5161), ID (RFC 2971), QUOTA (RFC 9208), METADATA (RFC 5464),
 * COMPRESS (RFC 4978).
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "mailbox/imap_session_state.h"
#include "mailbox/metadata.h"
#include "mailbox/mime_structure.h"

void
imap_enable(struct imap_session *session)
{
	const struct imap_strings *words = &session->command.words;

	buf_add_text(&session->text, "* ENABLED");
	for (size_t i = 0; i < words->count; i++) {
		const struct imap_string *word = &words->strings[i];

		if (imap_string_is(word, "CONDSTORE")) {
			session->condstore = true;
			buf_add_text(&session->text, " CONDSTORE");
		} else if (imap_string_is(word, "QRESYNC")) {
			session->condstore = session->qresync = true;
			buf_add_text(&session->text, " QRESYNC");
		} else if (imap_string_is(word, "UTF8=ACCEPT")) {
			session->is_utf8 = true;
			buf_add_text(&session->text, " UTF8=ACCEPT");
		} else if (imap_string_is(word, "IMAP4rev2")) {
			session->is_rev2 = session->is_utf8 = true;
			buf_add_text(&session->text, " IMAP4rev2");
		}
	}
	buf_add_text(&session->text, "\r\n");
	imap_answer(session, IMAP_OK, "", "Enabled");
}

void
imap_id(struct imap_session *session)
{
	const struct imap_strings *words = &session->command.words;
	struct log_line line;

	/* What an administrator wants to know of a client that misbehaves. */
	log_begin(&line, LOG_LEVEL_INFO, "imap-client");
	log_hex64(&line, "session", session->id);
	for (size_t i = 0; i + 1 < words->count; i += 2) {
		char value[128];

		if (words->strings[i + 1].data == NULL ||
		    words->strings[i + 1].length >= sizeof(value))
			continue;
		memcpy(value, words->strings[i + 1].data, words->strings[i + 1].length);
		value[words->strings[i + 1].length] = '\0';
		if (imap_string_is(&words->strings[i], "name"))
			log_text(&line, "name", value);
		else if (imap_string_is(&words->strings[i], "version"))
			log_text(&line, "version", value);
	}
	log_end(&line);
	buf_add_text(&session->text, "* ID (\"name\" \"Postern\")\r\n");
	imap_answer(session, IMAP_OK, "", "Pleased to meet you");
}

/* --- QUOTA --- */

static enum mail_result
write_quota(struct imap_session *session)
{
	struct quota quota;
	enum mail_result result = maildir_quota(session->maildir, &quota);
	const char *space = "";

	if (result != MAIL_OK)
		return result;
	buf_add_text(&session->text, "* QUOTA \"\" (");
	if (quota.limits.bytes > 0) { /* RFC 9208 5.1: units of 1,024 bytes */
		buf_printf(&session->text, "STORAGE %llu %llu",
		    (unsigned long long)((quota.bytes + 1023) / 1024),
		    (unsigned long long)(quota.limits.bytes / 1024));
		space = " ";
	}
	if (quota.limits.messages > 0)
		buf_printf(&session->text, "%sMESSAGE %llu %llu", space,
		    (unsigned long long)quota.messages, (unsigned long long)quota.limits.messages);
	buf_add_text(&session->text, ")\r\n");
	return MAIL_OK;
}

void
imap_quota(struct imap_session *session)
{
	char name[FOLDER_NAME_SIZE];

	if (session->command.verb == IMAP_SETQUOTA) {
		imap_answer(session, IMAP_NO, "NOPERM", "The administrator sets quotas");
		return;
	}
	if (session->command.verb == IMAP_GETQUOTAROOT) {
		if (!imap_name_from_client(session, &session->command.mailbox, name))
			return;
		buf_add_text(&session->text, "* QUOTAROOT ");
		imap_write_name(session, name);
		buf_add_text(&session->text, " \"\"\r\n");
	} else if (session->command.quota_root.length > 0) {
		imap_answer(session, IMAP_NO, "NONEXISTENT", "There is one quota root, \"\"");
		return;
	}
	imap_answer_result(session, write_quota(session), "That is the quota");
}

/* --- METADATA --- */

/* An entry's name in lower case; false when it can't be one. */
static bool
entry_name(const struct imap_string *given, char name[METADATA_ENTRY_MAX + 1])
{
	if (given->length > METADATA_ENTRY_MAX)
		return false;
	for (size_t i = 0; i < given->length; i++)
		name[i] = (char)tolower((unsigned char)given->data[i]);
	name[given->length] = '\0';
	return strlen(name) == given->length;
}

/* Whether an entry is asked for by `wanted`, or lies as deep below it as is asked for. */
static bool
is_asked_for(const char *name, const char *wanted, enum imap_depth depth)
{
	size_t length = strlen(wanted);

	if (strncmp(name, wanted, length) != 0)
		return false;
	if (name[length] == '\0')
		return true;
	if (name[length] != '/' || depth == IMAP_DEPTH_0)
		return false;
	return depth == IMAP_DEPTH_INFINITY || strchr(name + length + 1, '/') == NULL;
}

static void
get_metadata(struct imap_session *session, const char *folder)
{
	const struct imap_metadata *command = &session->command.metadata;
	struct metadata metadata = { 0 };
	enum mail_result result = metadata_load(session->maildir, folder, &metadata);
	char wanted[METADATA_ENTRY_MAX + 1], code[64];
	size_t largest = 0;
	bool is_any = false;

	if (result != MAIL_OK) {
		imap_answer_result(session, result, "");
		return;
	}
	for (size_t i = 0; i < metadata.count; i++) {
		const struct metadata_entry *entry = &metadata.entries[i];
		bool is_wanted = false;

		for (size_t j = 0; j < command->count && !is_wanted; j++)
			is_wanted = entry_name(&command->entries[j].name, wanted) &&
			    is_asked_for(entry->name, wanted, command->depth);
		if (!is_wanted)
			continue;
		if (command->has_size_limit && entry->length > command->size_limit) {
			largest = entry->length > largest ? entry->length : largest;
			continue;
		}
		if (!is_any) {
			buf_add_text(&session->text, "* METADATA ");
			if (*folder == '\0')
				buf_add_text(&session->text, "\"\"");
			else
				imap_write_name(session, folder);
			buf_add_text(&session->text, " (");
		} else {
			buf_add_u8(&session->text, ' ');
		}
		is_any = true;
		imap_write_nstring(&session->text, entry->name);
		buf_add_u8(&session->text, ' ');
		imap_write_string(&session->text, entry->value, entry->length);
	}
	if (is_any)
		buf_add_text(&session->text, ")\r\n");
	metadata_free(&metadata);
	snprintf(code, sizeof(code), "METADATA LONGENTRIES %zu", largest); /* RFC 5464 4.2.1 */
	imap_answer(session, IMAP_OK, largest > 0 ? code : "", "Annotations told");
}

static void
set_metadata(struct imap_session *session, const char *folder)
{
	const struct imap_metadata *command = &session->command.metadata;
	enum mail_result result = MAIL_OK;
	char name[METADATA_ENTRY_MAX + 1], code[64];

	for (size_t i = 0; i < command->count && result == MAIL_OK; i++) {
		const struct imap_metadata_entry *entry = &command->entries[i];

		if (entry->value.length > METADATA_VALUE_MAX) { /* RFC 5464 4.3 */
			snprintf(code, sizeof(code), "METADATA MAXSIZE %d", METADATA_VALUE_MAX);
			imap_answer(session, IMAP_NO, code, "An annotation is too large");
			return;
		}
		result = entry_name(&entry->name, name)
		    ? metadata_set(
		          session->maildir, folder, name, entry->value.data, entry->value.length)
		    : MAIL_BAD_NAME;
	}
	if (result == MAIL_LIMIT)
		imap_answer(session, IMAP_NO, "METADATA TOOMANY", "There are too many annotations");
	else
		imap_answer_result(session, result, "Annotations kept");
}

void
imap_metadata(struct imap_session *session)
{
	char name[FOLDER_NAME_SIZE] = "";

	if (session->command.metadata.mailbox.length > 0 &&
	    !imap_name_from_client(session, &session->command.metadata.mailbox, name))
		return;
	if (session->command.verb == IMAP_GETMETADATA)
		get_metadata(session, name);
	else
		set_metadata(session, name);
}

/* --- COMPRESS --- */

void
imap_compress(struct imap_session *session)
{
	if (!imap_string_is(&session->command.compression, "DEFLATE")) {
		imap_answer(session, IMAP_BAD, "", "Only DEFLATE is known");
		return;
	}
	if (connection_is_compressed(session->connection)) {
		imap_answer(session, IMAP_NO, "COMPRESSIONACTIVE", "It is at work already");
		return;
	}
	imap_answer(session, IMAP_OK, "", "Compressed from here on");
	if (session->state != IMAP_ENDING && !connection_compress(session->connection))
		imap_session_stop(session, "Out of memory");
}
