/*
 * Passwords: asked for, hashed, forgotten. Nothing but the hash leaves smtpctl.
 */
#ifndef SMTPCTL_PASSWORD_H
#define SMTPCTL_PASSWORD_H

#include <stdbool.h>
#include <stddef.h>

#define PASSWORD_MAX   511 /* bytes; libcrypt's limit */
#define PASSWORD_HASH  384 /* room for a hash; libcrypt's limit */
#define PASSWORD_SCRAM 192 /* room for a verifier */

/* What is kept of a password. */
struct password_hashes {
	char crypt[PASSWORD_HASH];  /* yescrypt */
	char scram[PASSWORD_SCRAM]; /* "iterations,salt,stored key,server key" (RFC 7677) */
};

enum password_result {
	PASSWORD_OK,
	PASSWORD_END,   /* no line (left) on standard input */
	PASSWORD_ERROR, /* said why on stderr */
};

/* Twice with echo off when standard input is a terminal, otherwise one line of it. `password` has
 * room for PASSWORD_MAX bytes and a NUL; wiped unless PASSWORD_OK. */
enum password_result password_read(char *password);
/* One line of descriptor `fd`, without its end, and not a byte more is read. */
enum password_result password_read_line(int fd, char *password);
/* yescrypt, with a new salt. Wipes `password`. */
bool password_hash(char *password, char *hash) __attribute__((warn_unused_result));
/* Both; wipes `password`. */
bool password_hash_all(char *password, struct password_hashes *)
    __attribute__((warn_unused_result));

#endif
