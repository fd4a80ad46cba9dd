/*
 * The system accounts that the suite runs as. Started as root, each program has one of its own; not
 * started as root, all run as the caller.
 */
#ifndef SMTPD_SUPERVISOR_ACCOUNTS_H
#define SMTPD_SUPERVISOR_ACCOUNTS_H

#include <sys/types.h>
#include <stdbool.h>
#include <stddef.h>

#include "common/ipc_supervisor.h"

#define ACCOUNTS_OWN_MAX 16

struct account {
	uid_t uid;
	gid_t gid;
};

struct accounts {
	bool privileged; /* started as root */
	struct account programs[PROGRAM_COUNT];
	struct account mail;                  /* the mail user: owns mailboxes without an account */
	struct account own[ACCOUNTS_OWN_MAX]; /* all of the suite's that exist */
	size_t own_count;
};

/*
 * Looks the accounts up; `mail_user` is the configured one. False, with the reason in `why`, when
 * one is missing, or when the mail user is one that mail must not be delivered as.
 */
bool accounts_find(struct accounts *, const char *mail_user, char *why, size_t size)
    __attribute__((warn_unused_result));
/* The group of who may make files in /var/mail; 0, with the reason, when there is none to be given. */
gid_t accounts_mail_group(const struct accounts *, char *why, size_t size);
/* Whether an mda may run as uid:gid; not as root, nor as a program of the suite. */
bool accounts_may_deliver(const struct accounts *, uid_t, gid_t, char *why, size_t size)
    __attribute__((warn_unused_result));
/* The supplementary groups of a user of the system: his own in the system's, but not root's nor any
 * of the suite's accounts, and `max` at most. The number of them; none for the mail user and for a
 * number that is no user's. */
size_t accounts_groups(const struct accounts *, uid_t, gid_t, gid_t *groups, size_t max);

#endif
