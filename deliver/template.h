/*
 * The command of an action "mda", with its %{...}.
 *
 * Values come from peers. None of them is ever part of the text that a shell reads: each becomes an
 * argument of the shell, and the text refers to it, quoted as the place where it stands needs it:
 *
 *	lda -d %{dest.user} "%{sender}"   ->   sh -c 'lda -d "${1}" "${2}"' sh alice sender@x
 *
 * In a wrapper's command "%{mda}" is what hands the message in, two words.
 *
 * Beside that, what could mean something to a program that takes such an argument apart once more
 * becomes ":", unless ":raw" says otherwise.
 */
#ifndef DELIVER_TEMPLATE_H
#define DELIVER_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>

#include "common/buf.h"
#include "common/ipc_queue_mda.h"

#define TEMPLATE_ARGUMENTS_MAX 64

struct template_command {
	struct buf script;
	char *arguments[TEMPLATE_ARGUMENTS_MAX + 1]; /* NULL-terminated */
	size_t count;
};

/* What "%{mda}" stands for. */
struct template_mda {
	const char *program;
	const char *argument;
};

/*
 * Expands `mailbox.command` of the request; `mda` may be NULL. False, with the reason in `*why`, when a
 * %{...} is wrong or doesn't fit its value. Freed by the other in either case.
 */
bool template_expand(const struct ipc_deliver *, const char *delimiters,
    const struct template_mda *, struct template_command *, const char **why);
void template_free(struct template_command *);
/* The directory of the request's user, "" when it isn't known: the home, or where the mailbox of a user
 * of the accounts database is. */
void template_home(const struct ipc_deliver *, char home[PATH_TEXT_MAX + 1]);

#endif
