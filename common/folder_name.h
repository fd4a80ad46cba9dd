/*
 * Names of folders. Above this module they are UTF-8 with "." between the levels: "INBOX",
 * "Archive.2026". On disk, as Dovecot and Courier lay out a Maildir++, INBOX is the Maildir itself
 * and every other folder a directory in it, "." before the name in modified UTF-7 (RFC 3501 5.1.3):
 * ".Archive.2026", ".Entw&APw-rfe".
 */
#ifndef COMMON_FOLDER_NAME_H
#define COMMON_FOLDER_NAME_H

#include <stdbool.h>
#include <stddef.h>

#define FOLDER_SEPARATOR '.'
/* A directory's name without the leading dot; room for UTF-8, which is never longer by more than
 * these, and a terminator. */
#define FOLDER_DISK_MAX  254
#define FOLDER_NAME_SIZE (FOLDER_DISK_MAX * 2 + 1)
#define FOLDER_DEPTH_MAX 32

/*
 * Checks a name that a client gave (UTF-8) and writes it as the folder is called: "inbox" in any
 * case as "INBOX"; a separator at the end (RFC 9051 6.3.4) is dropped. False for what can't be a
 * folder: empty, a level that is empty, "/" or a control in it, bad UTF-8, deeper than
 * FOLDER_DEPTH_MAX, too long for the disk.
 */
bool folder_name_clean(const char *given, char name[FOLDER_NAME_SIZE]);
bool folder_name_is_inbox(const char *name);
/* `name` is below `parent`. */
bool folder_name_is_below(const char *name, const char *parent);

/* The directory in the Maildir: ".Sent", or "." for INBOX; `name` is a clean one. */
void folder_name_to_disk(const char *name, char directory[FOLDER_DISK_MAX + 2]);
/* The name of the folder in directory ".Sent"; false when this isn't a folder's. */
bool folder_name_from_disk(const char *directory, char name[FOLDER_NAME_SIZE]);

/*
 * Between modified UTF-7 and UTF-8, for clients without UTF8=ACCEPT or rev2. Both take what is
 * canonical only (RFC 3501 5.1.3: no base64 of printable ASCII, none shorter than need be, no
 * half surrogates, no NUL), and say false for all else or where `size` isn't enough.
 */
bool folder_name_utf7_to_utf8(const char *from, char *to, size_t size);
bool folder_name_utf8_to_utf7(const char *from, char *to, size_t size);

#endif
