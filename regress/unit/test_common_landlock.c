/* What a confined process can still do with files, TCP and other processes. */
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <errno.h>
#include <fcntl.h>
#include <iconv.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

#include <linux/landlock.h>
#include <netinet/in.h>

#include <cmocka.h>

#include "common/landlock.h"

#define SKIPPED 77

/* Each exits with the number of the line that is wrong. */
#define NEED(what)                                \
	do {                                      \
		if (!(what))                      \
			_exit(1 + __LINE__ % 70); \
	} while (0)

static int root;

static int
run_confined(unsigned needs, int below, void (*body)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
			_exit(99);
		if (!landlock_confine(needs, below))
			_exit(SKIPPED);
		body();
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == SKIPPED)
		skip();
	return WEXITSTATUS(status);
}

static void
work_in_the_maildir(void)
{
	int fd;

	NEED(mkdirat(root, "new", 0700) == 0 && mkdirat(root, "cur", 0700) == 0);
	fd = openat(root, "new/a", O_WRONLY | O_CREAT | O_EXCL, 0600);
	NEED(fd != -1 && write(fd, "x", 1) == 1 && ftruncate(fd, 0) == 0);
	NEED(linkat(root, "new/a", root, "cur/b", 0) == 0);
	NEED(renameat(root, "new/a", root, "cur/a") == 0);
	NEED(unlinkat(root, "cur/a", 0) == 0 && unlinkat(root, "cur/b", 0) == 0);
	NEED(unlinkat(root, "new", AT_REMOVEDIR) == 0 && unlinkat(root, "cur", AT_REMOVEDIR) == 0);
}

static void
look_elsewhere(void)
{
	NEED(open("/etc/passwd", O_RDONLY) == -1 && errno == EACCES);
	NEED(open("/tmp", O_RDONLY | O_DIRECTORY) == -1 && errno == EACCES);
	NEED(openat(root, "../beside", O_RDONLY) == -1 && errno == EACCES);
	NEED(openat(root, "../made", O_WRONLY | O_CREAT, 0600) == -1 && errno == EACCES);
	NEED(renameat(root, ".", root, "../moved") == -1);
	NEED(execl("/bin/true", "true", (char *)NULL) == -1 && errno == EACCES);
}

static void
look_for_charsets(void)
{
	NEED(iconv_open("UTF-8", "ISO-2022-JP") != (iconv_t)-1);
}

static void
do_without_files(void)
{
	NEED(openat(root, "new", O_RDONLY | O_CREAT, 0600) == -1 && errno == EACCES);
	look_elsewhere();
}

static void
ask_a_device(void)
{
	int fd = open("/dev/null", O_RDONLY);
	struct termios terminal;

	NEED(fd != -1 && tcgetattr(fd, &terminal) == -1 && errno == EACCES);
}

static void
read_only(void)
{
	NEED(open("/etc/passwd", O_RDONLY) != -1);
	NEED(openat(root, "../beside", O_RDONLY) != -1);
	NEED(openat(root, "../beside", O_WRONLY) == -1 && errno == EACCES);
	NEED(openat(root, "../made", O_WRONLY | O_CREAT, 0600) == -1 && errno == EACCES);
	NEED(unlinkat(root, "../beside", 0) == -1 && errno == EACCES);
	NEED(execl("/bin/true", "true", (char *)NULL) == -1 && errno == EACCES);
}

/* To a port where nobody listens: what connect() says. */
static int
connecting(void)
{
	struct sockaddr_in address = { .sin_family = AF_INET,
		.sin_port = htons(1),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd == -1 || connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return 0;
	return errno;
}

static void
connect_refused_by_kernel(void)
{
	NEED(connecting() == EACCES);
}

static void
connect_refused_by_peer(void)
{
	NEED(connecting() == ECONNREFUSED);
}

static void
signal_the_parent(void)
{
	NEED(kill(getppid(), 0) == -1 && errno == EPERM);
	NEED(kill(getpid(), 0) == 0);
}

static long
version(void)
{
	return syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
}

static void
all_is_done_in_the_maildir(void **state)
{
	(void)state;
	assert_int_equal(run_confined(0, root, work_in_the_maildir), 0);
	assert_int_equal(run_confined(LANDLOCK_CHARSETS, root, look_for_charsets), 0);
}

static void
nothing_is_seen_beside_it(void **state)
{
	(void)state;
	assert_int_equal(run_confined(LANDLOCK_CHARSETS, root, look_elsewhere), 0);
}

static void
who_needs_no_files_reaches_none(void **state)
{
	(void)state;
	assert_int_equal(run_confined(0, -1, do_without_files), 0);
}

static void
who_reads_everywhere_writes_in_its_directory_only(void **state)
{
	(void)state;
	assert_int_equal(run_confined(LANDLOCK_READ, root, read_only), 0);
	assert_int_equal(run_confined(LANDLOCK_READ, root, work_in_the_maildir), 0);
}

static void
who_reads_everywhere_works_no_device(void **state)
{
	(void)state;
	if (version() < 5)
		skip();
	assert_int_equal(run_confined(LANDLOCK_READ, root, ask_a_device), 0);
}

static void
who_needs_no_tcp_connects_to_nobody(void **state)
{
	(void)state;
	if (version() < 4)
		skip();
	assert_int_equal(run_confined(0, -1, connect_refused_by_kernel), 0);
	assert_int_equal(run_confined(LANDLOCK_TCP, -1, connect_refused_by_peer), 0);
}

static void
nobody_signals_those_outside(void **state)
{
	(void)state;
	if (version() < 6)
		skip();
	assert_int_equal(run_confined(0, -1, signal_the_parent), 0);
}

static int
setup(void **state)
{
	static char base[] = "/tmp/postern-landlock-XXXXXX";
	char path[128];

	if (mkdtemp(base) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/beside", base);
	close(open(path, O_WRONLY | O_CREAT, 0600));
	snprintf(path, sizeof(path), "%s/box", base);
	if (mkdir(path, 0700) != 0)
		return -1;
	root = open(path, O_RDONLY | O_DIRECTORY);
	*state = base;
	return root == -1 ? -1 : 0;
}

static int
teardown(void **state)
{
	char command[128];

	close(root);
	snprintf(command, sizeof(command), "rm -rf %s", (const char *)*state);
	return system(command);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_is_done_in_the_maildir),
		cmocka_unit_test(nothing_is_seen_beside_it),
		cmocka_unit_test(who_needs_no_files_reaches_none),
		cmocka_unit_test(who_reads_everywhere_writes_in_its_directory_only),
		cmocka_unit_test(who_reads_everywhere_works_no_device),
		cmocka_unit_test(who_needs_no_tcp_connects_to_nobody),
		cmocka_unit_test(nobody_signals_those_outside),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
