/*
 * smtpctl: asks the suite's control process to show or change something. See smtpctl(8).
 *
 * Installed setgid to the group of the control socket. The order is what makes that safe: the group
 * is put aside first, arguments and passwords are read without it, it is taken back for connect()
 * alone, and dropped for good before a word of the answer, or another program, is seen.
 */
#include <err.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include <bsd/string.h>

#include "smtpctl/client.h"
#include "smtpctl/command.h"
#include "smtpctl/newaliases.h"
#include "smtpctl/output.h"
#include "smtpctl/password.h"
#include "smtpctl/privilege.h"
#include "smtpctl/post.h"
#include "smtpctl/run.h"
#include "smtpctl/sendmail.h"
#include "smtpctl/spool.h"
#include "smtpctl/text.h"

#define DEFAULT_SOCKET RUNSTATEDIR "/postern/smtpd.sock"

static int
usage(void)
{
	struct buf buf;

	buf_init(&buf, 16384);
	buf_add_text(&buf, "usage: smtpctl [-j] [-s SOCKET] COMMAND [ARGUMENT ...]\n");
	command_list(&buf);
	if (buf_ok(&buf))
		(void)fwrite(buf.data, 1, buf.length, stderr);
	buf_free(&buf);
	return EX_USAGE;
}

static int
hash_and_show(char *password, struct output *output)
{
	char hash[PASSWORD_HASH];

	if (!password_hash(password, hash))
		return EX_SOFTWARE;
	buf_add_text(&output->buf, hash);
	buf_add_text(&output->buf, "\n");
	output_flush(output);
	return 0;
}

/* One hash for the word given or prompted for; for standard input, one a line. */
static int
encrypt_passwords(const struct command *command, struct output *output)
{
	char password[PASSWORD_MAX + 1];
	enum password_result result;
	int status;

	if (command->word_count == 1) {
		size_t length = strlen(command->words[0]);

		if (length > PASSWORD_MAX || length == 0) {
			warnx("a password has 1 to %d bytes", PASSWORD_MAX);
			return EX_DATAERR;
		}
		memcpy(password, command->words[0], length + 1);
		explicit_bzero(command->words[0], length);
		return hash_and_show(password, output);
	}
	for (;;) {
		result = password_read(password);
		if (result != PASSWORD_OK)
			return result == PASSWORD_END ? 0 : EX_DATAERR;
		status = hash_and_show(password, output);
		if (status != 0 || isatty(STDIN_FILENO) == 1)
			return status;
	}
}

static int
read_hashes(struct password_hashes *hashes)
{
	char password[PASSWORD_MAX + 1];

	switch (password_read(password)) {
	case PASSWORD_OK:
		return password_hash_all(password, hashes) ? 0 : EX_SOFTWARE;
	case PASSWORD_END:
		warnx("no password on standard input");
		return EX_DATAERR;
	case PASSWORD_ERROR:
		break;
	}
	return EX_DATAERR;
}

static int
run_online(const struct command *command, const char *socket_path, struct output *output)
{
	struct password_hashes hashes = { "", "" };
	struct client client;
	int status, fd = -1;

	if (command->needs_password && (status = read_hashes(&hashes)) != 0)
		return status;
	privilege_raise();
	status = client_connect(socket_path, &fd);
	privilege_drop();
	if (status == 0) {
		client_init(&client, fd);
		status = run_command(command, &hashes, &client, socket_path, output);
		client_close(&client);
	}
	explicit_bzero(&hashes, sizeof(hashes));
	return status;
}

/* What is asked for by another name than smtpctl. */
static const char *
called_as(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash == NULL ? path : slash + 1;
}

int
main(int argc, char **argv)
{
	static char show[] = "show", queue[] = "queue";
	static char mailq_name[] = "mailq", newaliases_name[] = "newaliases";
	static char smtpctl_name[] = "smtpctl", schedule[] = "schedule", all[] = "all";
	char *mailq[] = { show, queue };
	char *mailq_called[] = { mailq_name, NULL };
	char *newaliases_called[] = { newaliases_name, NULL };
	char *schedule_called[] = { smtpctl_name, schedule, all, NULL };
	const char *socket_path = DEFAULT_SOCKET;
	char error[512], name[POST_NAME_MAX + 1] = "";
	enum sendmail_other other;
	struct command command;
	struct output output;
	bool json = false;
	int option, status;

	if (getenv("NAME") != NULL)
		(void)strlcpy(name, getenv("NAME"), sizeof(name));
	privilege_start();
	if (argc < 1 || argv[0] == NULL)
		return EX_USAGE;
	if (strcmp(called_as(argv[0]), "sendmail") == 0 ||
	    strcmp(called_as(argv[0]), "send-mail") == 0) {
		status = sendmail(argc, argv, name, &other);
		if (status != EX_OK || other == SENDMAIL_NOTHING)
			return status;
		/* The same as by the other's own name. */
		argv = other == SENDMAIL_SCHEDULE ? schedule_called
		    : other == SENDMAIL_MAILQ     ? mailq_called
		                                  : newaliases_called;
		argc = other == SENDMAIL_SCHEDULE ? 3 : 1;
		optind = 1;
	}
	if (strcmp(called_as(argv[0]), "newaliases") == 0)
		return newaliases(argc, argv);
	if (strcmp(called_as(argv[0]), "makemap") == 0)
		return makemap(argc, argv);
	text_use_utf8();
	/* "+": options end at the first word, so that a command's words may begin with "-". */
	while ((option = getopt(argc, argv, "+js:")) != -1)
		switch (option) {
		case 'j':
			json = true;
			break;
		case 's':
			socket_path = optarg;
			break;
		default:
			return usage();
		}
	argc -= optind;
	argv += optind;
	if (argc == 0 && strcmp(called_as(argv[-optind]), "mailq") == 0) {
		argv = mailq;
		argc = 2;
	}
	program_invocation_short_name = (char[]){ "smtpctl" };
	if (argc == 0)
		return usage();
	if (!command_parse(&command, argc, argv, error, sizeof(error))) {
		warnx("%s", error);
		return EX_USAGE;
	}
	output_init(&output, json);
	if (command.verb == COMMAND_SPOOL) {
		privilege_drop();
		status = spool_exec(strcmp(command.name, "spool check") == 0 ? "check" : "dump",
		    command.word_count == 0 ? NULL : command.words[0]);
	} else if (command.verb == COMMAND_ENCRYPT) {
		privilege_drop();
		status = encrypt_passwords(&command, &output);
	} else
		status = run_online(&command, socket_path, &output);
	output_free(&output);
	return status;
}
