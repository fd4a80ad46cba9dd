/*
 * The command line of smtpctl after its options: which command, with what arguments. Words may be
 * shortened to their shortest unambiguous prefix.
 */
#ifndef SMTPCTL_COMMAND_H
#define SMTPCTL_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/ipc_control.h"
#include "common/ipc_directory.h"

enum command_verb {
	COMMAND_SHOW_QUEUE,
	COMMAND_SHOW_SHAPE,
	COMMAND_SHOW_MESSAGE,
	COMMAND_SHOW_ENVELOPE,
	COMMAND_SHOW_RELAYS,
	COMMAND_SHOW_HOSTS,
	COMMAND_SHOW_HOSTSTATS,
	COMMAND_SHOW_ROUTES,
	COMMAND_SHOW_STATS,
	COMMAND_SHOW_STATUS,
	COMMAND_ACT,        /* schedule, remove, expire, discover, pause and resume envelope */
	COMMAND_PAUSE,      /* pause and resume mda, mta */
	COMMAND_SUPERVISOR, /* reload, stop, log, trace, untrace, pause and resume smtp */
	COMMAND_ACCOUNT,
	COMMAND_DKIM,
	COMMAND_SIEVE,
	COMMAND_EXPLAIN,
	COMMAND_MONITOR,
	COMMAND_TRACE_MESSAGE,
	COMMAND_SPOOL,
	COMMAND_ENCRYPT,
};

/* Of a user's Sieve scripts; the words are the user, the script's name, a file. */
enum script_verb {
	SCRIPT_PUT, /* from the file, or standard input */
	SCRIPT_GET,
	SCRIPT_LIST,
	SCRIPT_ACTIVATE,
	SCRIPT_DEACTIVATE,
	SCRIPT_DELETE,
	SCRIPT_TEST, /* by the message in the file, or standard input */
};

struct command {
	enum command_verb verb;
	char name[24]; /* "show queue" */

	struct ipc_filter filter;      /* SHOW_QUEUE, SHOW_SHAPE, SHOW_MESSAGE, …, ACT */
	bool by_sender;                /* SHOW_SHAPE */
	enum queue_action action;      /* ACT */
	struct ipc_pause pause;        /* PAUSE */
	struct ipc_control supervisor; /* SUPERVISOR */
	enum account_verb account;     /* ACCOUNT */
	struct ipc_dkim dkim;          /* DKIM */
	enum script_verb sieve;        /* SIEVE */
	bool needs_password;           /* ACCOUNT: one is read, and its hash is the second word */
	uint64_t quota_bytes;          /* ACCOUNT_USER_QUOTA */
	uint64_t quota_messages;
	struct ipc_rcpt explain; /* EXPLAIN */
	struct ipc_trace trace;  /* TRACE_MESSAGE */
	uint64_t count;          /* MONITOR: lines; 0 for ever */

	/* What is left of argv: ACCOUNT, SIEVE, SPOOL (at most a directory), ENCRYPT (at most a
	 * text). */
	char *const *words;
	size_t word_count;
};

/* False with the reason, one line, in `error`. `argv` need not end in NULL. */
bool command_parse(struct command *, int argc, char *const argv[], char *error, size_t size);
/* The same for the arguments of a filter alone. `required`: an empty one is an error, which keeps
 * "remove" from meaning "remove all". */
bool command_parse_filter(
    struct ipc_filter *, int argc, char *const argv[], bool required, char *error, size_t size);
/* Every command with its arguments, a line each, for the usage message. */
void command_list(struct buf *);

#endif
