/*
 * How a program starts under the supervisor: it gives up everything that it won't need before it
 * reads the first byte that isn't its own. Each step is checked and each failure is the end: a
 * process that could keep more than it should must not run at all.
 */
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <linux/capability.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <bsd/stdlib.h>
#include <bsd/unistd.h>
#include <event2/event.h>

#include "common/child.h"
#include "common/log.h"

/* The command line. */
struct arguments {
	int channel_fd;
	int log_fd;
	int queue_fd;
	enum log_target target;
	bool verbose;
	unsigned instance;
	bool has_user;
	uid_t uid;
	gid_t gid;
	gid_t groups[CHILD_GROUPS_MAX];
	size_t group_count;
	bool for_mbox;
	char *root;
	rlim_t descriptors; /* 0: as they are */
};

static unsigned
number(const char *text, unsigned largest)
{
	const char *why;
	long long value = strtonum(text, 0, largest, &why);

	if (why != NULL)
		fatalx("argument %s is %s", text, why);
	return (unsigned)value;
}

static void
parse_groups(struct arguments *arguments, char *list)
{
	const char *group;

	while ((group = strsep(&list, ",")) != NULL) {
		if (arguments->group_count == CHILD_GROUPS_MAX)
			fatalx("too many groups");
		arguments->groups[arguments->group_count++] = number(group, UINT32_MAX - 1);
	}
}

static void
parse_arguments(struct arguments *arguments, int argc, char **argv)
{
	bool has_uid = false, has_gid = false;
	int option;

	memset(arguments, 0, sizeof(*arguments));
	arguments->channel_fd = arguments->log_fd = arguments->queue_fd = -1;
	while ((option = getopt(argc, argv, "vk:l:t:i:u:g:G:r:n:q:M")) != -1) {
		switch (option) {
		case 'v':
			arguments->verbose = true;
			break;
		case 'k':
			arguments->channel_fd = (int)number(optarg, 1 << 20);
			break;
		case 'l':
			arguments->log_fd = (int)number(optarg, 1 << 20);
			break;
		case 'q':
			arguments->queue_fd = (int)number(optarg, 1 << 20);
			break;
		case 't':
			arguments->target =
			    strcmp(optarg, "syslog") == 0 ? LOG_TARGET_SYSLOG : LOG_TARGET_STDERR;
			break;
		case 'i':
			arguments->instance = number(optarg, 1 << 16);
			break;
		case 'u':
			arguments->uid = number(optarg, UINT32_MAX - 1);
			has_uid = true;
			break;
		case 'g':
			arguments->gid = number(optarg, UINT32_MAX - 1);
			has_gid = true;
			break;
		case 'G':
			parse_groups(arguments, optarg);
			break;
		case 'M':
			arguments->for_mbox = true;
			break;
		case 'r':
			arguments->root = strdup(optarg);
			if (arguments->root == NULL)
				fatal("starting");
			break;
		case 'n':
			arguments->descriptors = number(optarg, 1 << 30);
			break;
		default:
			fatalx("this program is started by smtpd, not by hand");
		}
	}
	if (arguments->channel_fd < 3 || arguments->log_fd < 0 || has_uid != has_gid ||
	    optind != argc)
		fatalx("this program is started by smtpd, not by hand");
	arguments->has_user = has_uid;
}

/* Descriptors 0 to 2 are open, to nothing if need be: no file of ours can ever become one of them.
 */
static void
open_standard_descriptors(void)
{
	int fd;

	for (fd = 0; fd <= 2; fd++)
		if (fcntl(fd, F_GETFD) == -1 && errno == EBADF && open("/dev/null", O_RDWR) != fd)
			fatal("/dev/null");
}

static void
close_others(const struct arguments *arguments)
{
	int keep[3] = { arguments->channel_fd, arguments->log_fd, arguments->queue_fd };
	int fd, last = 2;
	size_t i;

	for (i = 0; i < 3; i++)
		if (keep[i] > last)
			last = keep[i];
	closefrom(last + 1);
	for (fd = 3; fd < last; fd++)
		if (fd != keep[0] && fd != keep[1] && fd != keep[2])
			(void)close(fd); /* most aren't open */
	for (i = 0; i < 3; i++)
		if (keep[i] > 2 && fcntl(keep[i], F_SETFD, FD_CLOEXEC) == -1)
			fatal("descriptor %d", keep[i]);
}

static void
set_limits(rlim_t descriptors)
{
	struct rlimit limit = { .rlim_cur = 0, .rlim_max = 0 };
	rlim_t most;

	if (setrlimit(RLIMIT_CORE, &limit) != 0)
		fatal("setrlimit(RLIMIT_CORE)");
	if (descriptors == 0)
		return;
	if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
		fatal("getrlimit(RLIMIT_NOFILE)");
	most = limit.rlim_max;
	limit.rlim_cur = limit.rlim_max = descriptors;
	if (descriptors > most && setrlimit(RLIMIT_NOFILE, &limit) == 0)
		return;
	/* Not ours to raise (containers, ordinary users): as much as there is. */
	if (descriptors > most)
		limit.rlim_cur = limit.rlim_max = most;
	if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
		fatal("setrlimit(RLIMIT_NOFILE, %llu)", (unsigned long long)limit.rlim_cur);
}

/* No capability can come back by way of exec() or the ambient set; needs to be called as root. */
static void
empty_bounding_set(void)
{
	int capability;

	for (capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
		if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0)
			fatal("dropping capability %d", capability);
}

static void
drop_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct sets[_LINUX_CAPABILITY_U32S_3];

	memset(sets, 0, sizeof(sets));
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0 && errno != EINVAL)
		fatal("clearing ambient capabilities");
	if (syscall(SYS_capset, &header, sets) != 0)
		fatal("dropping capabilities");
}

static void
become_user(const struct arguments *arguments)
{
	const uid_t uid = arguments->uid;
	const gid_t gid = arguments->gid;
	uid_t real_uid, effective_uid, saved_uid;
	gid_t real_gid, effective_gid, saved_gid;
	size_t i;

	for (i = 0; i < arguments->group_count; i++)
		if (arguments->groups[i] == 0)
			fatalx("must not run with root's group");
	if (uid == 0 || gid == 0)
		fatalx("must not run as root");
	if (setgroups(arguments->group_count, arguments->groups) != 0 ||
	    setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0)
		fatal("becoming user %u, group %u", uid, gid);
	if (getresuid(&real_uid, &effective_uid, &saved_uid) != 0 ||
	    getresgid(&real_gid, &effective_gid, &saved_gid) != 0 || real_uid != uid ||
	    effective_uid != uid || saved_uid != uid || real_gid != gid || effective_gid != gid ||
	    saved_gid != gid || getgroups(0, NULL) != (int)arguments->group_count)
		fatalx("did not become user %u, group %u", uid, gid);
	if (setuid(0) == 0 || setgid(0) == 0)
		fatalx("could become root again");
}

static void
ignore_signals(void)
{
	struct sigaction action = { .sa_handler = SIG_IGN };
	sigset_t none;

	/* SIGHUP and SIGINT are the supervisor's, even when sent to all. */
	if (sigaction(SIGPIPE, &action, NULL) != 0 || sigaction(SIGHUP, &action, NULL) != 0 ||
	    sigaction(SIGINT, &action, NULL) != 0)
		fatal("sigaction");
	sigemptyset(&none);
	if (sigprocmask(SIG_SETMASK, &none, NULL) != 0)
		fatal("sigprocmask");
}

void
child_start(struct child *child, const char *name, int argc, char **argv)
{
	struct arguments arguments;

	parse_arguments(&arguments, argc, argv);
	open_standard_descriptors();
	close_others(&arguments);
	tzset(); /* while its file can still be seen */
	log_open(name, arguments.target, arguments.log_fd);
	if (arguments.verbose)
		log_set_level(LOG_LEVEL_DEBUG);
	ignore_signals();
	setproctitle_init(argc, argv, environ);
	if (strcmp(name, "listener") == 0)
		setproctitle("-postern: %s %u", name, arguments.instance);
	else
		setproctitle("-postern: %s", name);

	set_limits(arguments.descriptors);
	if (arguments.has_user && geteuid() == 0)
		empty_bounding_set();
	if (arguments.root != NULL && (chroot(arguments.root) != 0 || chdir("/") != 0))
		fatal("chroot %s", arguments.root);
	free(arguments.root);
	if (arguments.has_user)
		become_user(&arguments);
	drop_capabilities();
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
		fatal("no_new_privs");

	child->name = name;
	child->instance = arguments.instance;
	child->channel_fd = arguments.channel_fd;
	child->queue_fd = arguments.queue_fd;
	child->privileged_start = arguments.has_user;
	child->for_mbox = arguments.for_mbox;
}

struct event_base *
child_event_base(void)
{
	struct event_config *config = event_config_new();
	struct event_base *base;

	/* No process has threads. */
	if (config == NULL || event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK) != 0)
		fatalx("libevent: no configuration");
	base = event_base_new_with_config(config);
	event_config_free(config);
	if (base == NULL || event_base_priority_init(base, 2) != 0)
		fatalx("libevent: no event base");
	return base;
}
