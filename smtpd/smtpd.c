/*
 * smtpd, the supervisor: reads the configuration, binds the sockets, starts the suite's other
 * programs and watches over them. It runs as root and never reads a byte from the network.
 *
 * Whatever can go wrong for an administrator's reason goes wrong here, before it leaves for the
 * background, with words on stderr. The command then returns when mail is taken, or with a status
 * from sysexits.h that says that it isn't.
 */
#include <sys/socket.h>
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include <bsd/string.h>
#include <bsd/unistd.h>

#include "common/log.h"
#include "smtpd/parse.h"
#include "smtpd/supervisor_offline.h"
#include "smtpd/supervisor_paths.h"
#include "smtpd/supervisor_state.h"
#include "smtpd/supervisor_tables.h"

#define CONFIG_FILE SYSCONFDIR "/postern/smtpd.conf"
/* After an instance that was killed: its processes may hold addresses for a moment longer. */
#define PATIENCE_MS  5000
#define WARNINGS_MAX 100

static struct {
	const char *config_file;
	bool stay_in_front;
	bool only_check;
	bool verbose;
	char *warnings[WARNINGS_MAX]; /* of the configuration */
	size_t warning_count;
	struct pid_file pid_file;
	int report_fd; /* to the command that waits in front; -1 with -d */
	struct supervisor supervisor;
} state = { .config_file = CONFIG_FILE, .report_fd = -1 };

static _Noreturn void
usage(void)
{
	fprintf(stderr, "usage: smtpd [-dnv] [-f file]\n");
	exit(EX_USAGE);
}

static _Noreturn void
give_up(int status, const char *why)
{
	fprintf(stderr, "smtpd: %s\n", why);
	exit(status);
}

static void
parse_options(int argc, char **argv)
{
	int option;

	while ((option = getopt(argc, argv, "df:nv")) != -1) {
		switch (option) {
		case 'd':
			state.stay_in_front = true;
			break;
		case 'f':
			state.config_file = optarg;
			break;
		case 'n':
			state.only_check = true;
			break;
		case 'v':
			state.verbose = true;
			break;
		default:
			usage();
		}
	}
	if (optind != argc)
		usage();
}

/*
 * The file is read again at reload, when this process's directory is another one and the memory of
 * its arguments holds its title.
 */
static void
make_config_file_absolute(void)
{
	static char path[PATH_MAX];
	size_t length = 0;

	if (state.config_file[0] != '/') {
		if (getcwd(path, sizeof(path) - 1) == NULL)
			give_up(EX_OSERR, strerror(errno));
		length = strlcat(path, "/", sizeof(path));
	}
	if (strlcpy(path + length, state.config_file, sizeof(path) - length) >=
	    sizeof(path) - length)
		give_up(EX_USAGE, "the configuration file's path is too long");
	state.config_file = path;
}

/* To whoever starts it; what doesn't keep it from starting also to the log. */
static void
report_problem(bool is_error, const char *text, void *arg)
{
	(void)arg;
	if (is_error || state.only_check || !state.stay_in_front)
		parse_report_to_file(is_error, text, stderr);
	if (is_error || state.warning_count == WARNINGS_MAX)
		return;
	state.warnings[state.warning_count] = strdup(text);
	if (state.warnings[state.warning_count] != NULL)
		state.warning_count++;
}

static _Noreturn void
check_only(const struct config *config)
{
	struct accounts accounts;
	char why[WHY_MAX];

	/* Before the suite is installed there is nobody who would read them. */
	if (accounts_find(&accounts, config->mail_user, why, sizeof(why)))
		tables_check(config, &accounts, report_problem, NULL);
	if (state.verbose) {
		parse_print_config(stdout, config);
		if (fflush(stdout) != 0 || ferror(stdout))
			give_up(EX_IOERR, "can't write");
	}
	fprintf(stderr, "configuration OK\n");
	exit(EX_OK);
}

static void
open_standard_descriptors(void)
{
	int fd;

	for (fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", O_RDWR) != fd)
			exit(EX_OSERR);
	closefrom(3);
}

static void
make_directories(struct supervisor *supervisor)
{
	const struct config *config = supervisor->config;
	const struct accounts *accounts = &supervisor->accounts;
	const struct account *queue = &accounts->programs[PROGRAM_QUEUE];
	const struct account *directory = &accounts->programs[PROGRAM_DIRECTORY];
	char why[WHY_MAX];

	if (snprintf(supervisor->empty, sizeof(supervisor->empty), "%s/empty",
	        config->run_directory) >= (int)sizeof(supervisor->empty))
		give_up(EX_CONFIG, "\"directory run\" is too long");
	if (!paths_make_directory(
	        config->run_directory, geteuid(), getegid(), 0755, false, why, sizeof(why)))
		give_up(EX_CANTCREAT, why);
	if (!pid_file_lock(&state.pid_file, config->run_directory, why, sizeof(why)))
		give_up(EX_UNAVAILABLE, why);
	if (!paths_make_directory(
	        supervisor->empty, geteuid(), getegid(), 0755, false, why, sizeof(why)) ||
	    !paths_make_directory(
	        config->spool_directory, queue->uid, queue->gid, 0700, false, why, sizeof(why)) ||
	    !paths_make_directory(config->state_directory, directory->uid, directory->gid, 0700,
	        false, why, sizeof(why)) ||
	    !paths_make_directory(config->mail_directory, accounts->mail.uid, accounts->mail.gid,
	        0711, true, why, sizeof(why)) ||
	    !offline_make_directory(supervisor, why, sizeof(why)))
		give_up(EX_CANTCREAT, why);
}

static void
open_sockets(struct supervisor *supervisor)
{
	const struct account *control = &supervisor->accounts.programs[PROGRAM_CONTROL];
	bool privileged = supervisor->accounts.privileged;
	char why[WHY_MAX];

	/* We have the directory's lock: what is there is a dead one's. */
	snprintf(supervisor->control_path, sizeof(supervisor->control_path), "%s/" LOCAL_SOCKET,
	    supervisor->config->run_directory);
	(void)unlink(supervisor->control_path);
	if (!listen_set_open(&supervisor->sockets, supervisor->config, NULL,
	        state.pid_file.stale ? PATIENCE_MS : 0, why, sizeof(why)))
		give_up(EX_UNAVAILABLE, why);
	snprintf(supervisor->control_path, sizeof(supervisor->control_path), "%s/smtpd.sock",
	    supervisor->config->run_directory);
	(void)unlink(supervisor->control_path);
	supervisor->control_socket = listen_unix(supervisor->control_path, geteuid(),
	    privileged ? control->gid : getegid(), privileged ? 0660 : 0600, why, sizeof(why));
	if (supervisor->control_socket == -1)
		give_up(EX_CANTCREAT, why);
}

/* To the command in front: its exit status and, for a failure, the words. */
static void
report(int status, const char *words)
{
	char text[WHY_MAX + 1];
	ssize_t length;

	if (state.report_fd == -1)
		return;
	text[0] = (char)status;
	length = (ssize_t)strlcpy(text + 1, words, sizeof(text) - 1) + 1;
	if (write(state.report_fd, text, (size_t)length) != length)
		log_warning("the command that started smtpd is gone");
	close(state.report_fd);
	state.report_fd = -1;
}

static void
on_started(void *arg)
{
	(void)arg;
	report(EX_OK, "");
}

/* The command in front: returns what it is told by the process in the background. */
static _Noreturn void
wait_in_front(int fd)
{
	char text[WHY_MAX + 2];
	size_t have = 0;
	ssize_t length;

	while ((length = read(fd, text + have, sizeof(text) - 1 - have)) != 0) {
		if (length == -1 && errno != EINTR)
			break;
		if (length > 0)
			have += (size_t)length;
	}
	text[have] = '\0';
	if (have == 0)
		give_up(EX_SOFTWARE, "it ended while starting; the log says why");
	if (text[0] != EX_OK)
		give_up(text[0], text + 1);
	exit(EX_OK);
}

static void
go_into_background(void)
{
	int ends[2], null;

	if (pipe2(ends, O_CLOEXEC) != 0)
		give_up(EX_OSERR, strerror(errno));
	fflush(NULL);
	switch (fork()) {
	case -1:
		give_up(EX_OSERR, strerror(errno));
	case 0:
		break;
	default:
		close(ends[1]);
		wait_in_front(ends[0]);
	}
	close(ends[0]);
	state.report_fd = ends[1];
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (setsid() == -1 || null == -1 || dup2(null, 0) == -1 || dup2(null, 1) == -1 ||
	    dup2(null, 2) == -1)
		fatal("going into the background");
	close(null);
}

static void
open_log(struct supervisor *supervisor)
{
	int ours;

	if (state.stay_in_front) {
		supervisor->log_target = LOG_TARGET_STDERR;
		supervisor->log_fd = STDERR_FILENO;
		return;
	}
	supervisor->log_target = LOG_TARGET_SYSLOG;
	supervisor->log_fd = supervisor_connect_syslog();
	if (supervisor->log_fd == -1) {
		fprintf(stderr,
		    "smtpd: warning: no syslog at /dev/log: nothing is logged until "
		    "there is\n");
		supervisor->log_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	}
	ours = fcntl(supervisor->log_fd, F_DUPFD_CLOEXEC, 3);
	if (supervisor->log_fd == -1 || ours == -1)
		give_up(EX_OSERR, strerror(errno));
	log_open("smtpd", LOG_TARGET_SYSLOG, ours);
}

static void
log_warnings(void)
{
	struct log_line line;

	for (size_t i = 0; i < state.warning_count; i++) {
		log_begin(&line, LOG_LEVEL_WARNING, "config-problem");
		log_text(&line, "text", state.warnings[i]);
		log_end(&line);
		free(state.warnings[i]);
	}
	state.warning_count = 0;
}

static void
say_who_we_are(void)
{
	const struct passwd *entry;

	if (geteuid() == 0)
		return;
	entry = getpwuid(geteuid());
	log_info("not started as root: everything runs as user %s",
	    entry != NULL ? entry->pw_name : "without a name");
}

/* An administrator's own directory isn't changed; that it doesn't do is better heard now. */
static void
check_mail_directory(const struct supervisor *supervisor)
{
	const struct account *mail = &supervisor->accounts.mail;
	struct stat info;

	if (stat(supervisor->config->mail_directory, &info) != 0 || info.st_uid == mail->uid ||
	    (info.st_gid == mail->gid && (info.st_mode & S_IWGRP) != 0))
		return;
	log_warning("mail directory %s belongs to user %u: the mail user %s can't make mailboxes "
	            "there; chown it, or name another with \"mail directory\"",
	    supervisor->config->mail_directory, info.st_uid, supervisor->config->mail_user);
}

static int
run(struct supervisor *supervisor)
{
	int status;

	if (chdir("/") != 0)
		fatal("/");
	if (!pid_file_write(&state.pid_file))
		fatal("%s", state.pid_file.path);
	setproctitle("-postern: supervisor");
	say_who_we_are();
	check_mail_directory(supervisor);
	supervisor->started = on_started;
	status = supervisor_run(supervisor);
	(void)unlink(supervisor->control_path);
	close(supervisor->control_socket);
	pid_file_remove(&state.pid_file);
	/* Heard by the command in front if mail was never taken. */
	report(status == EX_OK ? EX_UNAVAILABLE : status, supervisor->why);
	config_free(supervisor->config);
	return status;
}

int
main(int argc, char **argv)
{
	struct supervisor *supervisor = &state.supervisor;
	char why[WHY_MAX];

	open_standard_descriptors();
	setproctitle_init(argc, argv, environ);
	parse_options(argc, argv);
	log_open("smtpd", LOG_TARGET_STDERR, STDERR_FILENO);
	if (state.verbose)
		log_set_level(LOG_LEVEL_DEBUG);
	make_config_file_absolute();
	supervisor->config = (state.only_check ? parse_config_and_files : parse_config_file)(
	    state.config_file, report_problem, NULL);
	if (supervisor->config == NULL)
		return EX_CONFIG;
	if (state.only_check)
		check_only(supervisor->config);

	if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
		give_up(EX_OSERR, strerror(errno));
	(void)umask(077);
	supervisor->config_path = state.config_file;
	supervisor->verbose = state.verbose;
	if (!accounts_find(&supervisor->accounts, supervisor->config->mail_user, why, sizeof(why)))
		give_up(EX_NOUSER, why);
	tables_check(supervisor->config, &supervisor->accounts, report_problem, NULL);
	if (!paths_find_programs(
	        supervisor->programs, sizeof(supervisor->programs), why, sizeof(why)))
		give_up(EX_UNAVAILABLE, why);
	supervisor->tls = tls_set_load(supervisor->config, NULL, false, why, sizeof(why));
	if (supervisor->tls == NULL)
		give_up(EX_CONFIG, why);
	make_directories(supervisor);
	open_sockets(supervisor);
	open_log(supervisor);
	log_warnings();
	if (!state.stay_in_front)
		go_into_background();
	return run(supervisor);
}
