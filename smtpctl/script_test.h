/* `smtpctl sieve test`: what a script would do with a message. */
#ifndef SMTPCTL_SCRIPT_TEST_H
#define SMTPCTL_SCRIPT_TEST_H

#include <stddef.h>

#include "smtpctl/output.h"

/*
 * Runs the script and shows what it would do; nothing is done. The message is one for `user`, from who
 * its Return-Path names. What strangers wrote is read without root's rights, which are gone afterwards.
 * An EX_* status; what went wrong was said on stderr.
 */
int script_test(const char *user, const char *script, size_t script_length, const char *message,
    size_t message_length, struct output *);

#endif
