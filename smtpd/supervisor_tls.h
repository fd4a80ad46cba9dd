/*
 * Keys and certificates, as the supervisor has them: files read, never looked into. A set is what a
 * config's pki and ca statements name, as it was at one moment.
 */
#ifndef SMTPD_SUPERVISOR_TLS_H
#define SMTPD_SUPERVISOR_TLS_H

#include <sys/stat.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/config.h"

/* By which a change of a file is seen. */
struct file_stamp {
	dev_t device;
	ino_t inode;
	off_t size;
	struct timespec modified, changed;
};

/* A pki. */
struct tls_pair {
	char *name, *certificate, *key; /* name and paths */
	struct file_stamp certificate_stamp, key_stamp;
	int chain; /* the certificate's file in memory; -1 none */
	int both;  /* the key's, and the certificate's behind it */
	uint32_t key_length, certificate_length;
	bool is_new; /* the keeper hasn't taken it yet */
};

/* A ca, or the system's authorities. */
struct tls_authorities {
	char *path;
	struct file_stamp stamp;
	int fd; /* -1: not wanted, or not to be had */
	bool is_new;
};

struct tls_set {
	struct tls_pair *pairs; /* as in the config */
	size_t pair_count;
	struct tls_authorities *authorities; /* the same, and the default ones behind them */
	size_t authorities_count;
};

/* A file of up to `limit` bytes, as memory for free(); `private`: nobody but us may read it. NULL, and
 * why. */
uint8_t *tls_read_file(const char *path, bool private, size_t limit, struct file_stamp *,
    size_t *length, char *why, size_t size);
/*
 * Reads all that the config names; what `old` (or NULL) has of the same files, unchanged, is taken
 * from there. NULL, and why, when something can't be had. With `lenient` that is logged, and what
 * `old` has stays.
 */
struct tls_set *tls_set_load(
    const struct config *, const struct tls_set *old, bool lenient, char *why, size_t size);
void tls_set_free(struct tls_set *);
/* Whether a listener asks for certificates that must be good by the `ca` of that name; "" the system's
 * authorities. */
bool tls_verifies_clients_by(const struct config *, const char *ca);
/* Whether a file of it has changed on the disk, or is gone. */
bool tls_set_has_changed(const struct tls_set *);
const struct tls_pair *tls_set_find(const struct tls_set *, const char *name);
/* Puts a pair of `old` in the place of the one of that index, as if it were the file's content;
 * false when `old` has none of that name. */
bool tls_set_put_back(struct tls_set *, size_t index, const struct tls_set *old);

#endif
