/*
 * Which alias tables there are, smtpd says: what `smtpd -n -v` prints is read line by line. A table
 * that is a Berkeley DB file NAME.db is made again of the file NAME.
 */
#include <sys/wait.h>
#include <err.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include <bsd/string.h>

#include "common/write.h"
#include "smtpctl/newaliases.h"
#include "smtpctl/privilege.h"
#include "smtpctl/program.h"
#include "smtpctl/temporary.h"

#define TABLES_MAX 64
#define WORD_MAX   4097
#define DB         "db:"

struct table {
	char name[WORD_MAX];
	char path[WORD_MAX];
};

struct tables {
	struct table *tables; /* all that are Berkeley DB files */
	size_t count;
	char *wanted[TABLES_MAX]; /* names, or "db:PATH", of those that actions use for aliases */
	size_t wanted_count;
};

/* The next word at `*at`, without its quotes; false at the line's end. */
static bool
next_word(const char **at, char word[WORD_MAX])
{
	size_t length = 0;
	bool quoted;

	while (**at == ' ' || **at == '\n')
		(*at)++;
	if (**at == '\0')
		return false;
	quoted = **at == '"';
	for (*at += quoted; **at != '\0' && **at != '\n' && **at != (quoted ? '"' : ' '); (*at)++) {
		if (quoted && **at == '\\' && (*at)[1] != '\0')
			(*at)++;
		if (length < WORD_MAX - 1)
			word[length++] = **at;
	}
	*at += quoted && **at == '"';
	word[length] = '\0';
	return true;
}

static void
take_line(struct tables *tables, const char *line)
{
	char word[WORD_MAX], name[WORD_MAX];
	const char *at = line;
	struct table *grown;

	if (!next_word(&at, word) || !next_word(&at, name))
		return;
	if (strcmp(word, "table") == 0 && next_word(&at, word) &&
	    strncmp(word, DB, strlen(DB)) == 0) {
		grown = reallocarray(tables->tables, tables->count + 1, sizeof(*grown));
		if (grown == NULL)
			err(EX_OSERR, NULL);
		tables->tables = grown;
		strlcpy(grown[tables->count].name, name, WORD_MAX);
		strlcpy(grown[tables->count++].path, word + strlen(DB), WORD_MAX);
	}
	if (strncmp(line, "action ", 7) != 0)
		return;
	/* The method and its path may not be taken for an option: the word is printed unquoted. */
	while (*at != '\0') {
		while (*at == ' ')
			at++;
		if (strncmp(at, "alias ", 6) == 0 && tables->wanted_count < TABLES_MAX) {
			at += 6;
			if (next_word(&at, word) &&
			    (tables->wanted[tables->wanted_count] = strdup(word)) != NULL)
				tables->wanted_count++;
		} else if (!next_word(&at, word)) {
			break;
		}
	}
}

static bool
run_child(pid_t child, int *status)
{
	while (waitpid(child, status, 0) == -1)
		if (errno != EINTR)
			return false;
	return true;
}

static void
show(int fd)
{
	char text[4096];
	ssize_t count;
	off_t at = 0;

	for (; (count = pread(fd, text, sizeof(text), at)) > 0; at += count)
		if (!write_all(STDERR_FILENO, text, (size_t)count))
			return;
}

/* An EX_* status. */
static int
read_configuration(struct tables *tables, const char *file)
{
	const char *const with[] = { "smtpd", "-n", "-v", "-f", file, NULL };
	const char *const without[] = { "smtpd", "-n", "-v", NULL };
	size_t size = 0;
	char *line = NULL;
	int ends[2], status;
	int said = temporary_file(NULL);
	FILE *out;
	pid_t child;

	if (said == -1 || pipe(ends) != 0 || (out = fdopen(ends[0], "r")) == NULL ||
	    (child = fork()) == -1)
		err(EX_OSERR, "smtpd");
	if (child == 0) {
		if (dup2(ends[1], STDOUT_FILENO) == -1 || dup2(said, STDERR_FILENO) == -1)
			_exit(EX_OSERR);
		close(ends[0]);
		close(ends[1]);
		_exit(program_exec("smtpd", file == NULL ? without : with));
	}
	close(ends[1]);
	while (getline(&line, &size, out) > 0)
		take_line(tables, line);
	free(line);
	(void)fclose(out);
	status = run_child(child, &status) && WIFEXITED(status) ? WEXITSTATUS(status) : EX_SOFTWARE;
	/* What it warns of is no news here. */
	if (status != EX_OK)
		show(said);
	close(said);
	return status;
}

/* An EX_* status. */
static int
make_again(const char *path)
{
	const char *arguments[] = { "makemap", "-t", "aliases", "-o", path, NULL, NULL };
	char source[WORD_MAX];
	size_t length = strlcpy(source, path, sizeof(source));
	int status;
	pid_t child;

	if (length <= 3 || strcmp(source + length - 3, ".db") != 0) {
		warnx(
		    "%s: the name doesn't end in .db, so of what file it is made isn't known: use "
		    "makemap",
		    path);
		return EX_CONFIG;
	}
	source[length - 3] = '\0';
	arguments[5] = source;
	child = fork();
	if (child == 0)
		_exit(program_exec("mapmaker", arguments));
	if (child == -1 || !run_child(child, &status) || !WIFEXITED(status))
		return EX_OSERR;
	return WEXITSTATUS(status);
}

/* The path of a table that is one of Berkeley DB, or NULL. */
static const char *
path_of(const struct tables *tables, const char *wanted)
{
	size_t length = strlen(wanted);

	if (strncmp(wanted, DB, strlen(DB)) == 0)
		return wanted + strlen(DB);
	for (size_t i = 0; i < tables->count; i++)
		if (*wanted == '<' && strlen(tables->tables[i].name) == length - 2 &&
		    strncmp(wanted + 1, tables->tables[i].name, length - 2) == 0)
			return tables->tables[i].path;
	return NULL;
}

static int
make_all(const struct tables *tables)
{
	int status = EX_OK, its_status;
	size_t made = 0;

	for (size_t i = 0; i < tables->wanted_count; i++) {
		const char *path = path_of(tables, tables->wanted[i]);

		if (path == NULL)
			continue;
		made++;
		its_status = make_again(path);
		if (its_status != EX_OK)
			status = its_status;
	}
	if (made == 0)
		printf("nothing to do: changes of alias files take effect by themselves\n");
	return status;
}

int
newaliases(int argc, char **argv)
{
	struct tables tables = { 0 };
	const char *file = NULL;
	int option, status;

	program_invocation_short_name = (char[]){ "newaliases" };
	privilege_drop();
	while ((option = getopt(argc, argv, "f:")) != -1) {
		if (option != 'f') {
			fprintf(stderr, "usage: newaliases [-f FILE]\n");
			return EX_USAGE;
		}
		file = optarg;
	}
	status = read_configuration(&tables, file);
	if (status == EX_OK)
		status = make_all(&tables);
	for (size_t i = 0; i < tables.wanted_count; i++)
		free(tables.wanted[i]);
	free(tables.tables);
	return status;
}

int
makemap(int argc, char **argv)
{
	program_invocation_short_name = (char[]){ "makemap" };
	privilege_drop();
	(void)argc;
	return program_exec("mapmaker", (const char *const *)(size_t)argv);
}
