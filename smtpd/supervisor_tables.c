/*
 * Only opening tells: groups, lists of access and the directories on the way have a say. So the
 * process takes directory's user and group for the moment; its own are what it comes back to.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/envelope.h"
#include "common/log.h"
#include "smtpd/supervisor_tables.h"

/* Of a file that isn't there, or is wrong, the parser and directory tell. */
static void
check(const struct table_config *table, const struct account *account,
    void (*report)(bool is_error, const char *text, void *arg), void *arg)
{
	int fd = open(table->path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	const struct passwd *user;
	char text[PATH_TEXT_MAX + 256];

	if (fd != -1)
		close(fd);
	if (fd != -1 || errno != EACCES)
		return;
	user = getpwuid(account->uid);
	snprintf(text, sizeof(text),
	    "warning: table \"%s\": the user %s can't read %s: what needs it is put off",
	    table->name, user == NULL ? "of directory" : user->pw_name, table->path);
	report(false, text, arg);
}

void
tables_check(const struct config *config, const struct accounts *accounts,
    void (*report)(bool is_error, const char *text, void *arg), void *arg)
{
	const struct account *account = &accounts->programs[PROGRAM_DIRECTORY];
	gid_t groups[256];
	int count = 0;

	if (accounts->privileged) {
		count = getgroups((int)(sizeof(groups) / sizeof(groups[0])), groups);
		if (count == -1)
			return;
		if (setgroups(0, NULL) != 0 || setegid(account->gid) != 0 ||
		    seteuid(account->uid) != 0)
			fatal("can't look at tables as user %u", account->uid);
	}
	for (size_t i = 0; i < config->table_count; i++) {
		if (config->tables[i].backend == TABLE_FILE ||
		    config->tables[i].backend == TABLE_DB)
			check(&config->tables[i], account, report, arg);
	}
	if (accounts->privileged &&
	    (seteuid(0) != 0 || setegid(getgid()) != 0 || setgroups((size_t)count, groups) != 0))
		fatal("can't be root again");
}
