/*
 * Whether a password is right, by what is stored for it: a hash of crypt(3) ("$y$…", "$6$…",
 * "$2b$…", …), or with its scheme in front as Dovecot writes it ("{SSHA256}…").
 *
 * Nothing here keeps state: any thread may call it.
 */
#ifndef LOOKUP_PASSWORD_H
#define LOOKUP_PASSWORD_H

#include <stdbool.h>

#include "lookup/scram.h"

#define PASSWORD_STORED_MAX 1024

/* What a table's value says: the part up to a colon, behind which Dovecot's passwd-file has other
 * things. False when it is too long, or empty: nobody logs in by it. */
bool password_from_value(const char *value, char stored[PASSWORD_STORED_MAX + 1]);
/* Whether anybody could log in by it: its scheme is one of ours, and it isn't locked ("*", "!"). */
bool password_is_usable(const char *stored);
/* Takes as long as the scheme does (crypt(3): 1 to 500 ms). */
bool password_check(const char *stored, const char *password) __attribute__((warn_unused_result));
/* The verifier in a "{SCRAM-SHA-256}…"; false when it is something else. */
bool password_verifier(const char *stored, struct scram_verifier *);

#endif
