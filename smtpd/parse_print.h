/* Parts of parse_print_config(), shared by the files that know the config's parts. */
#ifndef SMTPD_PARSE_PRINT_H
#define SMTPD_PARSE_PRINT_H

#include <stdio.h>

#include "common/config.h"

/* A word in quotes, as the lexer reads it back. */
void print_quoted(FILE *, const char *);
/* Seconds, as duration_from_word() reads them. */
void print_duration(FILE *, uint32_t);
/* Every setting, a line each. */
void settings_print(FILE *, const struct config *);
void mta_limits_print(FILE *, const struct config *);

/* parse_words.c: a rule, the so manieth, as a comment in plain English. */
void parse_print_words(FILE *, const struct config *, const struct rule_config *, size_t number);

#endif
