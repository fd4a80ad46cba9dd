/*
 * Starting a program. Signals stay blocked from before fork() until the program itself unblocks
 * them (child_start()), so that none reaches the copy of the supervisor that exists in between,
 * whose handlers would answer it in the supervisor's name.
 */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "smtpd/supervisor_spawn.h"

#define ARGUMENTS_MAX 24

struct command {
	char path[PATH_MAX];
	char numbers[10][16];
	size_t number_count;
	char groups[CHILD_GROUPS_MAX * 11 + 1];
	char *argv[ARGUMENTS_MAX];
	size_t count;
};

static void
add(struct command *command, const char *option)
{
	/* execve() doesn't change its arguments; its type is older than const. */
	command->argv[command->count++] = (char *)(uintptr_t)option;
}

static void
add_number(struct command *command, const char *option, unsigned number)
{
	char *text = command->numbers[command->number_count++];

	snprintf(text, sizeof(command->numbers[0]), "%u", number);
	add(command, option);
	add(command, text);
}

static void
add_groups(struct command *command, const struct spawn *spawn)
{
	size_t length = 0;

	for (size_t i = 0; i < spawn->group_count; i++)
		length += (size_t)snprintf(command->groups + length,
		    sizeof(command->groups) - length, "%s%u", i == 0 ? "" : ",", spawn->groups[i]);
	if (length > 0) {
		add(command, "-G");
		add(command, command->groups);
	}
}

static void
make_command(struct command *command, const struct spawn *spawn)
{
	memset(command, 0, sizeof(*command));
	snprintf(command->path, sizeof(command->path), "%s/%s", spawn->directory,
	    program_name(spawn->program));
	add(command, command->path);
	if (spawn->verbose)
		add(command, "-v");
	add_number(command, "-k", (unsigned)spawn->channel_fd);
	add_number(command, "-l", (unsigned)spawn->log_fd);
	add(command, "-t");
	add(command, spawn->target == LOG_TARGET_SYSLOG ? "syslog" : "stderr");
	add_number(command, "-i", spawn->instance);
	add_number(command, "-n", spawn->descriptors);
	if (spawn->has_user) {
		add_number(command, "-u", spawn->uid);
		add_number(command, "-g", spawn->gid);
		add_groups(command, spawn);
	}
	if (spawn->root != NULL) {
		add(command, "-r");
		add(command, spawn->root);
	}
	if (spawn->queue_fd != -1)
		add_number(command, "-q", (unsigned)spawn->queue_fd);
	if (spawn->for_mbox)
		add(command, "-M");
}

static bool
keep_on_exec(int fd)
{
	return fd == -1 || fcntl(fd, F_SETFD, 0) == 0;
}

static _Noreturn void
become_program(const struct spawn *spawn, struct command *command)
{
	if (keep_on_exec(spawn->channel_fd) && keep_on_exec(spawn->log_fd) &&
	    keep_on_exec(spawn->queue_fd))
		(void)execv(command->path, command->argv);
	log_error("%s: %m", command->path);
	_exit(EX_OSFILE);
}

pid_t
spawn_program(const struct spawn *spawn)
{
	struct command command;
	sigset_t all, before;
	pid_t pid;

	make_command(&command, spawn);
	sigfillset(&all);
	if (sigprocmask(SIG_SETMASK, &all, &before) != 0)
		return -1;
	pid = fork();
	if (pid == 0)
		become_program(spawn, &command);
	if (sigprocmask(SIG_SETMASK, &before, NULL) != 0)
		fatal("sigprocmask");
	return pid;
}
