/*
 * A file is opened by a path descriptor first, so that nothing that isn't a plain file, closed to
 * others and with one name, is ever opened. One that can't be used gets a name that begins with a
 * dot: it stays for an administrator to look at, and isn't looked at again.
 *
 * Root's own files are sent by a process under the listener's user, over a connection that root
 * made: so the listener is told who sent it, and no byte of the file is read with root's rights.
 */
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

#include <bsd/string.h>
#include <bsd/unistd.h>
#include <event2/event.h>

#include "common/clock.h"
#include "smtpd/supervisor_offline.h"
#include "smtpd/supervisor_paths.h"
#include "smtpd/supervisor_state.h"

/* Between two looks: more each time, from a second after the start, when something may not be ready
 * yet; up to so much, or where the server didn't take mail. */
#define SCAN_SECONDS   10
#define DELAY_SECONDS  60
#define NAMES_MAX      10000 /* looked at in one go; the others are found by the next */
#define JOBS_MAX       4
#define JOB_SECONDS    900                   /* a user may slow his process down, and others wait */
#define BYTES_MAX      (257LL * 1024 * 1024) /* more than sendmail keeps */
#define UNFINISHED_AGE 3600 /* seconds after which what sendmail began to write is given up */
#define UNFINISHED     ".new-"

struct job {
	pid_t pid; /* 0: none */
	char name[NAME_MAX + 1];
	dev_t device;
	ino_t inode;
	uid_t uid;
	int64_t begun_ms;
};

struct entry {
	char *name; /* NULL once it was begun */
	uid_t uid;
};

struct offline {
	struct supervisor *supervisor;
	int directory;
	struct event *timer;
	unsigned wait;   /* seconds between the last two looks */
	bool is_delayed; /* since the last, the server has put one off */
	struct entry *entries;
	size_t count;
	struct job jobs[JOBS_MAX];
};

bool
offline_path(const struct config *config, char *path, size_t size)
{
	size_t length = strlen(config->spool_directory);

	while (length > 1 && config->spool_directory[length - 1] == '/')
		length--;
	return snprintf(path, size, "%.*s-offline", (int)length, config->spool_directory) <
	    (int)size;
}

bool
offline_make_directory(const struct supervisor *supervisor, char *why, size_t size)
{
	const struct accounts *accounts = &supervisor->accounts;
	gid_t gid = accounts->privileged ? accounts->programs[PROGRAM_CONTROL].gid : getegid();
	char path[PATH_MAX];
	bool good;
	int fd;

	if (!offline_path(supervisor->config, path, sizeof(path))) {
		snprintf(why, size, "\"directory spool\" is too long");
		return false;
	}
	if (!paths_make_directory(path, geteuid(), gid, 01770, false, why, size))
		return false;
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	good = fd != -1 && fchown(fd, (uid_t)-1, gid) == 0 && fchmod(fd, 01770) == 0;
	if (!good)
		snprintf(why, size, "%s: %s", path, strerror(errno));
	if (fd != -1)
		close(fd);
	return good;
}

static void
log_file(enum log_level level, const char *event, const char *name, const char *reason)
{
	struct log_line line;

	log_begin(&line, level, event);
	log_text(&line, "file", name);
	if (reason != NULL)
		log_text(&line, "reason", reason);
	log_end(&line);
}

/* Nobody looks at it again but an administrator. */
static void
put_aside(struct offline *offline, const char *name, const char *reason)
{
	char aside[NAME_MAX + 1];

	log_file(LOG_LEVEL_ERROR, "offline-skipped", name, reason);
	if (snprintf(aside, sizeof(aside), ".skipped-%s", name) >= (int)sizeof(aside) ||
	    renameat(offline->directory, name, offline->directory, aside) != 0)
		log_error("offline file %.100s: can't rename it: %m", name);
}

/* Why a file can't be sent, or NULL. */
static const char *
find_fault(const struct stat *info)
{
	if (!S_ISREG(info->st_mode))
		return "not a plain file";
	if (info->st_nlink != 1)
		return "has another name somewhere";
	if ((info->st_mode & (S_IRWXG | S_IRWXO)) != 0)
		return "not closed to others";
	if (info->st_size > BYTES_MAX)
		return "too large";
	if (info->st_uid == (uid_t)-1 || (geteuid() != 0 && info->st_uid != geteuid()))
		return "another user's";
	return NULL;
}

/* Opens it for reading, or -1 after dealing with it. */
static int
open_file(struct offline *offline, const char *name, struct stat *info)
{
	int path = openat(offline->directory, name, O_PATH | O_NOFOLLOW | O_CLOEXEC), fd;
	const char *fault;
	char again[32];

	if (path == -1)
		return -1; /* gone meanwhile */
	if (fstat(path, info) != 0) {
		close(path);
		return -1;
	}
	fault = find_fault(info);
	if (fault != NULL) {
		close(path);
		put_aside(offline, name, fault);
		return -1;
	}
	snprintf(again, sizeof(again), "/proc/self/fd/%d", path);
	fd = open(again, O_RDONLY | O_NOCTTY | O_CLOEXEC);
	if (fd == -1)
		log_error("offline file %.100s: %m", name);
	close(path);
	return fd;
}

static int
connect_to_listener(const struct supervisor *supervisor)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd == -1 ||
	    snprintf(address.sun_path, sizeof(address.sun_path), "%s/" LOCAL_SOCKET,
	        supervisor->config->run_directory) >= (int)sizeof(address.sun_path) ||
	    connect(fd, (struct sockaddr *)&address, sizeof(address)) != 0)
		return -1;
	return fd;
}

/* In the child: as the user whom the listener is to know of. */
static int
connect_as(const struct supervisor *supervisor, uid_t uid, gid_t gid)
{
	bool changes = supervisor->accounts.privileged && uid != 0;
	int fd;

	if (changes && (setegid(gid) != 0 || seteuid(uid) != 0))
		_exit(EX_OSERR);
	fd = connect_to_listener(supervisor);
	if (changes && (seteuid(0) != 0 || setegid(0) != 0))
		_exit(EX_OSERR);
	return fd;
}

/* It becomes the user by itself: were it begun as him, he could get at its descriptors, the log
 * among them, before it can see to that. */
static _Noreturn void
become_enqueue(
    const struct supervisor *supervisor, const char *name, int file, uid_t uid, gid_t gid)
{
	const struct account *other = &supervisor->accounts.programs[PROGRAM_LISTENER];
	char path[PATH_MAX + 16], words[NAME_MAX + 1], uid_word[16], gid_word[16];
	char *arguments[] = { (char[]){ "enqueue" }, (char[]){ "-t" }, NULL, words, NULL, gid_word,
		NULL };
	char *environment[] = { NULL };
	struct rlimit none = { 0, 0 };
	bool privileged = supervisor->accounts.privileged;
	int log, connection;

	arguments[2] = supervisor->log_target == LOG_TARGET_SYSLOG ? (char[]){ "syslog" }
	                                                           : (char[]){ "stderr" };
	snprintf(path, sizeof(path), "%s/enqueue", supervisor->programs);
	strlcpy(words, name, sizeof(words));
	connection = connect_as(supervisor, uid, gid);
	if (privileged) {
		snprintf(uid_word, sizeof(uid_word), "%u", uid != 0 ? uid : other->uid);
		snprintf(gid_word, sizeof(gid_word), "%u", uid != 0 ? gid : other->gid);
		arguments[4] = uid_word;
	}
	/* Out of each other's way, then where they are to be. */
	log = fcntl(supervisor->log_fd, F_DUPFD, 16);
	file = fcntl(file, F_DUPFD, 16);
	connection = connection == -1 ? -1 : fcntl(connection, F_DUPFD, 16);
	if (connection == -1)
		_exit(EX_TEMPFAIL);
	if (log == -1 || file == -1 || dup2(file, 0) == -1 || dup2(connection, 1) == -1 ||
	    dup2(log, 3) == -1 || setrlimit(RLIMIT_CORE, &none) != 0 ||
	    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		_exit(EX_OSERR);
	closefrom(4);
	(void)execve(path, arguments, environment);
	_exit(EX_OSFILE);
}

/* As which group the owner's process runs. */
static gid_t
group_of(const struct stat *info)
{
	const struct passwd *user = getpwuid(info->st_uid);

	return user != NULL ? user->pw_gid : info->st_gid;
}

static void
start_job(struct offline *offline, struct job *job, const char *name)
{
	struct stat info;
	sigset_t all, before;
	gid_t gid;
	int fd = open_file(offline, name, &info);

	if (fd == -1)
		return;
	gid = group_of(&info);
	sigfillset(&all);
	/* As in spawn_program(): no signal may reach the copy of the supervisor. */
	if (sigprocmask(SIG_SETMASK, &all, &before) != 0)
		fatal("sigprocmask");
	job->pid = fork();
	if (job->pid == 0)
		become_enqueue(offline->supervisor, name, fd, info.st_uid, gid);
	if (sigprocmask(SIG_SETMASK, &before, NULL) != 0)
		fatal("sigprocmask");
	close(fd);
	if (job->pid == -1) {
		log_error("can't start a process for offline file %.100s: %m", name);
		job->pid = 0;
		return;
	}
	strlcpy(job->name, name, sizeof(job->name));
	job->device = info.st_dev;
	job->inode = info.st_ino;
	job->uid = info.st_uid;
	job->begun_ms = clock_monotonic_ms();
}

static void
forget_entries(struct offline *offline)
{
	while (offline->count > 0)
		free(offline->entries[--offline->count].name);
	free(offline->entries);
	offline->entries = NULL;
}

static bool
is_at_work(const struct offline *offline, uid_t uid)
{
	for (size_t i = 0; i < JOBS_MAX; i++)
		if (offline->jobs[i].pid != 0 && offline->jobs[i].uid == uid)
			return true;
	return false;
}

/* The next that can be begun; the caller frees it. One process for a user, so that none can hold up
 * the others. */
static char *
next_name(struct offline *offline)
{
	struct entry *entry;
	char *name;

	for (size_t i = 0; i < offline->count; i++) {
		entry = &offline->entries[i];
		if (entry->name == NULL || is_at_work(offline, entry->uid))
			continue;
		name = entry->name;
		entry->name = NULL;
		return name;
	}
	return NULL;
}

static void
start_jobs(struct offline *offline)
{
	char *name;

	for (size_t i = 0; i < JOBS_MAX; i++) {
		while (offline->jobs[i].pid == 0 && (name = next_name(offline)) != NULL) {
			start_job(offline, &offline->jobs[i], name);
			free(name);
		}
	}
}

/* What a sendmail that was killed has left: nobody was told that it is kept. */
static void
remove_unfinished(struct offline *offline, const char *name)
{
	struct stat info;

	if (fstatat(offline->directory, name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
	    time(NULL) - info.st_ctim.tv_sec > UNFINISHED_AGE)
		(void)unlinkat(offline->directory, name, 0);
}

static int
compare_entries(const void *a, const void *b)
{
	return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

static bool
add_entry(struct offline *offline, const char *name)
{
	struct entry *entry = &offline->entries[offline->count];
	struct stat info;

	if (fstatat(offline->directory, name, &info, AT_SYMLINK_NOFOLLOW) != 0)
		return true; /* gone meanwhile */
	entry->name = strdup(name);
	entry->uid = info.st_uid;
	offline->count += entry->name != NULL;
	return entry->name != NULL;
}

/* Names begin with the time: the oldest are first. */
static void
read_entries(struct offline *offline)
{
	int fd = openat(offline->directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *dir = fd == -1 ? NULL : fdopendir(fd);
	struct dirent *entry;

	if (dir == NULL) {
		log_error("can't read the offline directory: %m");
		if (fd != -1)
			close(fd);
		return;
	}
	offline->entries = calloc(NAMES_MAX, sizeof(*offline->entries));
	while (offline->entries != NULL && offline->count < NAMES_MAX &&
	    (entry = readdir(dir)) != NULL) {
		if (strncmp(entry->d_name, UNFINISHED, strlen(UNFINISHED)) == 0)
			remove_unfinished(offline, entry->d_name);
		if (entry->d_name[0] != '.' && !add_entry(offline, entry->d_name))
			break;
	}
	closedir(dir);
	if (offline->count > 0)
		qsort(offline->entries, offline->count, sizeof(*offline->entries), compare_entries);
}

static void
end_old_jobs(struct offline *offline)
{
	int64_t now = clock_monotonic_ms();

	for (size_t i = 0; i < JOBS_MAX; i++)
		if (offline->jobs[i].pid != 0 &&
		    now - offline->jobs[i].begun_ms > JOB_SECONDS * INT64_C(1000))
			(void)kill(offline->jobs[i].pid, SIGKILL);
}

static void
on_timer(evutil_socket_t fd, short what, void *arg)
{
	struct offline *offline = arg;
	struct timeval wait = { 0 };

	(void)fd;
	(void)what;
	offline->wait = 2 * offline->wait + 1;
	if (offline->wait > (offline->is_delayed ? DELAY_SECONDS : SCAN_SECONDS))
		offline->wait = offline->is_delayed ? DELAY_SECONDS : SCAN_SECONDS;
	wait.tv_sec = offline->wait;
	if (event_add(offline->timer, &wait) != 0)
		fatalx("no timer");
	end_old_jobs(offline);
	if (offline->supervisor->state != SUPERVISOR_RUNNING)
		return;
	offline->is_delayed = false;
	forget_entries(offline);
	read_entries(offline);
	start_jobs(offline);
}

struct offline *
offline_begin(struct supervisor *supervisor)
{
	struct offline *offline = calloc(1, sizeof(*offline));
	char path[PATH_MAX];

	if (offline == NULL)
		return NULL;
	offline->supervisor = supervisor;
	offline->directory = offline_path(supervisor->config, path, sizeof(path))
	    ? open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
	    : -1;
	offline->timer = evtimer_new(supervisor->base, on_timer, offline);
	if (offline->timer == NULL)
		fatalx("no timer");
	if (offline->directory == -1) {
		log_error("%s: %m: mail that was kept there isn't sent", path);
		offline_end(offline);
		return NULL;
	}
	on_timer(-1, 0, offline);
	return offline;
}

void
offline_end(struct offline *offline)
{
	if (offline == NULL)
		return;
	for (size_t i = 0; i < JOBS_MAX; i++)
		if (offline->jobs[i].pid != 0)
			(void)kill(offline->jobs[i].pid, SIGKILL);
	event_free(offline->timer);
	forget_entries(offline);
	if (offline->directory != -1)
		close(offline->directory);
	free(offline);
}

/* It may be sent again after a power cut, before which this wasn't on disk: once more is better than
 * not at all. */
static void
remove_sent(struct offline *offline, const struct job *job)
{
	struct stat info;

	if (fstatat(offline->directory, job->name, &info, AT_SYMLINK_NOFOLLOW) != 0 ||
	    info.st_dev != job->device || info.st_ino != job->inode)
		log_file(LOG_LEVEL_ERROR, "offline-skipped", job->name, "another file by now");
	else if (unlinkat(offline->directory, job->name, 0) != 0)
		log_error("offline file %.100s: can't remove it: %m", job->name);
}

/* To be tried again, unless it has been for as long as mail may wait. */
static void
put_off(struct offline *offline, const char *name)
{
	struct stat info;

	offline->is_delayed = true;
	if (fstatat(offline->directory, name, &info, AT_SYMLINK_NOFOLLOW) == 0 &&
	    time(NULL) - info.st_mtim.tv_sec > (time_t)offline->supervisor->config->queue_ttl)
		put_aside(offline, name, "it could not be sent for as long as mail may wait");
}

static struct job *
find_job(struct offline *offline, pid_t pid)
{
	for (size_t i = 0; offline != NULL && i < JOBS_MAX; i++)
		if (offline->jobs[i].pid == pid)
			return &offline->jobs[i];
	return NULL;
}

void
offline_stopped(struct offline *offline, pid_t pid)
{
	if (find_job(offline, pid) != NULL)
		(void)kill(pid, SIGKILL);
}

bool
offline_reaped(struct offline *offline, pid_t pid, int status)
{
	struct job *job = find_job(offline, pid);
	struct log_line line;

	if (job == NULL)
		return false;
	job->pid = 0;
	log_begin(&line, status == 0 ? LOG_LEVEL_INFO : LOG_LEVEL_WARNING,
	    status == 0 ? "offline-sent" : "offline-not-sent");
	log_text(&line, "file", job->name);
	log_number(&line, "uid", job->uid);
	if (status != 0)
		log_exit_status(&line, status);
	log_end(&line);
	if (status == 0)
		remove_sent(offline, job);
	else if (WIFSIGNALED(status) || WEXITSTATUS(status) == EX_TEMPFAIL ||
	    WEXITSTATUS(status) == EX_OSERR || WEXITSTATUS(status) == EX_OSFILE)
		put_off(offline, job->name);
	else
		put_aside(offline, job->name, "it can't be sent, nor returned to its owner");
	if (offline->supervisor->state == SUPERVISOR_RUNNING)
		start_jobs(offline);
	return true;
}
