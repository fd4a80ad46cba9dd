/*
 * The DKIM keys on the disk: one file a key in DIRECTORY/dkim, which is root's alone,
 * DOMAIN.SELECTOR.key for one that signs and DOMAIN.SELECTOR.off for one that doesn't. Like those of
 * TLS they are read here and never looked into.
 */
#ifndef SMTPD_SUPERVISOR_DKIM_H
#define SMTPD_SUPERVISOR_DKIM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/ipc_supervisor.h"

#define DKIM_FILE_MAX (16 * 1024)

struct dkim_file {
	char domain[DKIM_DOMAIN_MAX + 1];
	char selector[DKIM_SELECTOR_MAX + 1];
	bool is_active;
	uint8_t *text; /* the private key; owned */
	size_t length;
	/* What the keeper says of it. */
	bool is_good;
	struct ipc_key_taken taken;
};

struct dkim_files {
	struct dkim_file *files; /* by domain and selector */
	size_t count;
};

/* Reads them all, from below the state directory; what can't be used is logged and left out. */
void dkim_files_read(struct dkim_files *, const char *state_directory);
void dkim_files_free(struct dkim_files *);
struct dkim_file *dkim_files_find(
    const struct dkim_files *, const char *domain, const char *selector);
/* The first that signs for the domain by the algorithm; NULL: none. */
struct dkim_file *dkim_files_active(
    const struct dkim_files *, const char *domain, enum dkim_algorithm);

/* Each is durable when it returns true; otherwise `why` says what failed. */
bool dkim_file_write(const char *state_directory, const char *domain, const char *selector,
    bool is_active, const uint8_t *text, size_t length, char *why, size_t size)
    __attribute__((warn_unused_result));
bool dkim_file_set_active(const char *state_directory, const struct dkim_file *, bool is_active,
    char *why, size_t size) __attribute__((warn_unused_result));
bool dkim_file_remove(const char *state_directory, const struct dkim_file *, char *why, size_t size)
    __attribute__((warn_unused_result));

#endif
