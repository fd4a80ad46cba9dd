/*
 * smtpd.conf: the one parser of the configuration (parse.y), and its printer.
 *
 * Every problem found is reported, not only the first. A report is one line without a line end,
 * "FILE:LINE: words", the words naming the offending word of the file; every byte of it is
 * printable ASCII, whatever the file held. Warnings begin their words with "warning: " and don't
 * make the config a bad one.
 */
#ifndef SMTPD_PARSE_H
#define SMTPD_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "common/config.h"

/* Called once for each problem; `text` is valid until it returns. */
typedef void (*parse_report_fn)(bool is_error, const char *text, void *arg);

/*
 * Reads the file at `path` and what it includes. NULL when anything in it was an error (reported).
 * The config is the caller's to free with config_free(). Not reentrant: one parse at a time.
 */
struct config *parse_config_file(const char *path, parse_report_fn, void *arg);
/* The same, and all that the files of `pki` and `ca` statements hold is looked at too. */
struct config *parse_config_and_files(const char *path, parse_report_fn, void *arg);
/* The same from memory; `name` stands for the file in reports, and includes are allowed. */
struct config *parse_config_text(
    const char *name, const char *text, size_t length, parse_report_fn, void *arg);
/* A parse_report_fn that writes to the FILE given as `arg`, a line each. */
void parse_report_to_file(bool is_error, const char *text, void *arg);

/* Writes a config as smtpd.conf: all of it, defaults too (`smtpd -n -v`). Parsed again it makes the
 * same config, line numbers apart. */
void parse_print_config(FILE *, const struct config *);

#endif
