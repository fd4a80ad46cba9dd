/*
 * Subscriptions. Written as version 2 always, which Dovecot reads since 2.3; its own lock file is
 * taken for the change, so that both may work on one Maildir.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/buf.h"
#include "common/folder_name.h"
#include "mailbox/folders.h"
#include "common/lock.h"
#include "mailbox/subscriptions.h"

#define SUBSCRIPTIONS_FILE "subscriptions"
#define FILE_MAX           (4 * 1024 * 1024)

void
subscriptions_free(struct subscriptions *subscriptions)
{
	size_t i;

	for (i = 0; i < subscriptions->count; i++)
		free(subscriptions->names[i]);
	free(subscriptions->names);
	memset(subscriptions, 0, sizeof(*subscriptions));
}

static bool
add(struct subscriptions *subscriptions, const char *name)
{
	char **grown;

	if (subscriptions->count % 64 == 0) {
		grown =
		    reallocarray(subscriptions->names, subscriptions->count + 64, sizeof(*grown));
		if (grown == NULL)
			return false;
		subscriptions->names = grown;
	}
	subscriptions->names[subscriptions->count] = strdup(name);
	return subscriptions->names[subscriptions->count++] != NULL;
}

/* In version 2 a tab between levels, and tab, backslash and the like escaped with \001. */
static bool
take_line(const char *at, size_t length, bool tabs, char name[FOLDER_NAME_SIZE])
{
	char disk[FOLDER_DISK_MAX + 2];
	size_t i;

	if (length == 0 || length > FOLDER_DISK_MAX)
		return false;
	disk[0] = '.';
	for (i = 0; i < length; i++)
		disk[i + 1] = tabs && at[i] == '\t' ? FOLDER_SEPARATOR : at[i];
	disk[length + 1] = '\0';
	if (strlen(disk) != length + 1)
		return false;
	if (strcasecmp(disk + 1, "INBOX") == 0) {
		strcpy(name, "INBOX");
		return true;
	}
	return folder_name_from_disk(disk, name);
}

bool
subscriptions_parse(const char *text, size_t length, struct subscriptions *subscriptions)
{
	const char *at = text, *end = text + length, *line_end;
	bool tabs = length >= 4 && memcmp(text, "V\t2\n", 4) == 0;
	char name[FOLDER_NAME_SIZE];

	memset(subscriptions, 0, sizeof(*subscriptions));
	if (tabs)
		at += 4;
	for (; at < end; at = line_end + 1) {
		line_end = memchr(at, '\n', (size_t)(end - at));
		if (line_end == NULL)
			line_end = end;
		if (!take_line(at, (size_t)(line_end - at), tabs, name))
			continue;
		if (subscriptions->count == SUBSCRIPTIONS_MAX || !add(subscriptions, name)) {
			subscriptions_free(subscriptions);
			return false;
		}
	}
	return true;
}

enum mail_result
subscriptions_load(struct maildir *maildir, struct subscriptions *subscriptions)
{
	size_t length;
	char *text = maildir_read_file(maildir->root, SUBSCRIPTIONS_FILE, FILE_MAX, &length);
	bool good;

	memset(subscriptions, 0, sizeof(*subscriptions));
	if (text == NULL)
		return errno == ENOENT ? MAIL_OK
		                       : maildir_failed(maildir, "read", ".", SUBSCRIPTIONS_FILE);
	good = subscriptions_parse(text, length, subscriptions);
	free(text);
	if (!good) {
		errno = EFBIG;
		return maildir_failed(maildir, "read", ".", SUBSCRIPTIONS_FILE);
	}
	return MAIL_OK;
}

static enum mail_result
store(struct maildir *maildir, const struct subscriptions *subscriptions)
{
	enum mail_result result;
	char disk[FOLDER_DISK_MAX + 1];
	struct buf text;
	size_t i, j;

	buf_init(&text, FILE_MAX);
	buf_add_text(&text, "V\t2\n\n");
	for (i = 0; i < subscriptions->count; i++) {
		if (!folder_name_utf8_to_utf7(subscriptions->names[i], disk, sizeof(disk)))
			continue;
		for (j = 0; disk[j] != '\0'; j++) {
			if (disk[j] == FOLDER_SEPARATOR)
				disk[j] = '\t';
		}
		buf_add_text(&text, disk);
		buf_add_u8(&text, '\n');
	}
	result = buf_ok(&text) ? maildir_replace_file(maildir, maildir->root, SUBSCRIPTIONS_FILE,
	                             text.data, text.length)
	                       : MAIL_LIMIT;
	buf_free(&text);
	return result;
}

enum mail_result
subscriptions_set(struct maildir *maildir, const char *name, bool subscribed)
{
	struct subscriptions subscriptions;
	enum mail_result result;
	size_t kept = 0, i;
	struct lock lock;
	bool was = false;

	if (!lock_take(&lock, maildir->root, SUBSCRIPTIONS_FILE ".lock", maildir->lock_host))
		return maildir_failed(maildir, "lock", ".", SUBSCRIPTIONS_FILE);
	result = subscriptions_load(maildir, &subscriptions);
	for (i = 0; i < subscriptions.count; i++) {
		if (strcmp(subscriptions.names[i], name) != 0) {
			subscriptions.names[kept++] = subscriptions.names[i];
		} else if (subscribed && !was) {
			was = true;
			subscriptions.names[kept++] = subscriptions.names[i];
		} else {
			was = true;
			free(subscriptions.names[i]);
		}
	}
	if (result == MAIL_OK && was != subscribed) {
		size_t count = subscriptions.count;

		if (subscribed && count >= SUBSCRIPTIONS_MAX)
			result = MAIL_LIMIT;
		else if (subscribed && !add(&subscriptions, name))
			result = MAIL_FAILED;
		else if (!subscribed)
			subscriptions.count = kept;
		if (result == MAIL_OK)
			result = store(maildir, &subscriptions);
	} else if (result == MAIL_OK) {
		subscriptions.count = kept;
		if (was && !subscribed)
			result = store(maildir, &subscriptions);
	}
	subscriptions_free(&subscriptions);
	lock_drop(&lock);
	return result;
}
