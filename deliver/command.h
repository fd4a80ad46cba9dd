/*
 * Running an administrator's command with a message on its standard input.
 *
 * The command is text from an alias table or from an action "mda" and goes to /bin/sh -c; nothing
 * that a peer said is put into it. What the command may want to know of the mail is in its
 * environment, whose values hold no control bytes, or in the shell's arguments.
 */
#ifndef DELIVER_COMMAND_H
#define DELIVER_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/ipc_queue_mda.h"
#include "common/reply.h"
#include "deliver/collect.h"
#include "deliver/template.h"

#define COMMAND_SECONDS    300
#define COMMAND_OUTPUT_MAX 8192
#define COMMAND_LINGER_MS  5000 /* less than a stop waits for deliveries: what is done is heard of */

struct command_result {
	bool started;
	int error;                    /* not started: errno's value */
	bool timed_out;               /* and was killed */
	int status;                   /* as waitpid() gives it */
	enum collect_state collected; /* of a wrapper */
	uint64_t collected_size;
	uint32_t output_length;
	char output[COMMAND_OUTPUT_MAX]; /* the first bytes of standard output and error */
};

/* "NAME=value" strings, NULL-terminated; NULL when memory is out. Freed by the other. */
char **command_environment(const struct ipc_deliver *, const char *delimiters);
/* The shell's arguments for the alias's command or that of the mailbox, or of its wrapper (template.h).
 * NULL with the reason. */
char **command_arguments(const struct ipc_deliver *, const char *delimiters,
    const struct template_mda *, const char **why);
/* Frees either. */
void command_strings_free(char **);
/* The command as the configuration or an alias has it. */
const char *command_words(const struct ipc_deliver *);

/*
 * Runs the shell with these arguments and waits for it, at most `seconds`. For a process that does nothing else
 * and may be killed at any time: it becomes the reaper of all that the command leaves behind, which has
 * COMMAND_LINGER_MS to end and is killed then; at once on SIGTERM, which ends this process. `message`
 * holds the text. With `collect`, what the command hands in is taken.
 */
void command_run(const struct ipc_deliver *, int message, char **arguments, char **environment,
    unsigned seconds, struct collect *collect, struct command_result *);

/* What the result means: sysexits' codes become enhanced status codes, what an administrator or
 * time can put right is temporary. */
void command_reply(const struct command_result *, const char *command, struct reply *);

#endif
