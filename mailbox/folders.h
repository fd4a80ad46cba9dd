/*
 * The folders of a Maildir: list, create, delete, rename, subscribe, special uses.
 * Names are clean ones (folder_name_clean()) in UTF-8.
 *
 * Subscriptions are kept in Dovecot's file `subscriptions` (its version 2, or 1 as found); a folder
 * needn't exist to be subscribed (RFC 9051 6.3.7). A special use (RFC 6154) is kept as the folder's
 * annotation /private/specialuse; a use that no folder has been given goes to the folder of the
 * usual name ("Sent", "Drafts", "Trash", "Junk", "Archive").
 */
#ifndef MAILBOX_FOLDERS_H
#define MAILBOX_FOLDERS_H

#include <stdbool.h>
#include <stddef.h>

#include "mailbox/maildir.h"

#define FOLDERS_MAX       10000 /* in a Maildir */
#define SUBSCRIPTIONS_MAX 20000

enum folder_use {
	FOLDER_ALL = 1 << 0,
	FOLDER_ARCHIVE = 1 << 1,
	FOLDER_DRAFTS = 1 << 2,
	FOLDER_FLAGGED = 1 << 3,
	FOLDER_JUNK = 1 << 4,
	FOLDER_SENT = 1 << 5,
	FOLDER_TRASH = 1 << 6,
};
/* "\Sent" for the one bit set in `use`; and back, 0 for an unknown one. */
const char *folder_use_text(unsigned use);
unsigned folder_use_parse(const char *text);

struct folders_entry {
	char *name;
	unsigned use;      /* enum folder_use */
	bool exists;       /* false: only folders below it do, or it is only subscribed */
	bool has_children; /* that exist */
	bool subscribed;
};
struct folders_list {
	struct folders_entry *entries; /* sorted by name, INBOX first */
	size_t count;
};
/* All folders, those implied by folders below them, and all that is subscribed. */
enum mail_result folders_list(struct maildir *, struct folders_list *);
void folders_list_free(struct folders_list *);

enum mail_result folders_exist(struct maildir *, const char *name); /* MAIL_OK, MAIL_ABSENT */
/* Makes the folder, durably; `use` is 0 or one use. What is above it needn't exist. */
enum mail_result folders_create(struct maildir *, const char *name, unsigned use);
/*
 * Removes the folder with its mail; folders below it stay (RFC 9051 6.3.5). MAIL_CANNOT for INBOX.
 * The folder vanishes in one step: it is renamed away first, and what a kill leaves of that is
 * removed by the next deletion.
 */
enum mail_result folders_delete(struct maildir *, const char *name);
/*
 * Renames a folder and those below it; of INBOX, the messages are moved to a new folder and those
 * below stay (RFC 9051 6.3.6). Subscriptions keep their names (ibid.). MAIL_EXISTS when there is
 * one of the new name or of a child's. Open folders go along: folder_name() changes.
 */
enum mail_result folders_rename(struct maildir *, const char *from, const char *to);

enum mail_result folders_subscribe(struct maildir *, const char *name, bool subscribed);

#endif
