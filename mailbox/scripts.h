/*
 * The owner's Sieve scripts, files in the Maildir's directory "sieve": NAME.sieve each, of which the
 * symbolic link "active" names the one that mail is sorted by. A kill or a power cut at any time leaves
 * each script as it was or as it was to be, and what was answered has been synced.
 *
 * Names must be valid by sieve_name_is_valid().
 */
#ifndef MAILBOX_SCRIPTS_H
#define MAILBOX_SCRIPTS_H

#include <stdbool.h>
#include <stddef.h>

#include "mailbox/maildir.h"
#include "mailbox/result.h"

#define SCRIPTS_MAX 32 /* of one Maildir */

/* Each script; in no order. */
enum mail_result scripts_list(
    struct maildir *, void (*each)(const char *name, bool is_active, void *arg), void *arg);
/* Its text, which the caller frees. */
enum mail_result scripts_read(struct maildir *, const char *name, char **text, size_t *length);
/* MAIL_LIMIT when there would be more than SCRIPTS_MAX with it. */
enum mail_result scripts_have_room(struct maildir *, const char *name);
/* Makes it or takes its place. MAIL_LIMIT, MAIL_NO_SPACE. */
enum mail_result scripts_write(struct maildir *, const char *name, const char *text, size_t length);
/* MAIL_CANNOT: it is the active one. */
enum mail_result scripts_delete(struct maildir *, const char *name);
/* The active one stays active. After a crash both names may be there. */
enum mail_result scripts_rename(struct maildir *, const char *from, const char *to);
/* NULL: none is active any more. */
enum mail_result scripts_activate(struct maildir *, const char *name);

#endif
