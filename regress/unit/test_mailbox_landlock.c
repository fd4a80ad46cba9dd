/* What a mailbox's process can still do with files. */
#include <sys/stat.h>
#include <sys/wait.h>
#include <errno.h>
#include <fcntl.h>
#include <iconv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "mailbox/landlock.h"
#include "mailbox/open.h"

#define SKIPPED 77

/* Each exits with the number of the line that is wrong. */
#define NEED(what)                                \
	do {                                      \
		if (!(what))                      \
			_exit(1 + __LINE__ % 70); \
	} while (0)

static int root;

static int
run_confined(void (*body)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (!landlock_confine(root))
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
	NEED(iconv_open("UTF-8", "ISO-2022-JP") != (iconv_t)-1);
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
all_is_done_in_the_maildir(void **state)
{
	(void)state;
	assert_int_equal(run_confined(work_in_the_maildir), 0);
}

static void
nothing_is_seen_beside_it(void **state)
{
	(void)state;
	assert_int_equal(run_confined(look_elsewhere), 0);
}

static void
the_way_to_it_follows_no_link(void **state)
{
	const char *base = *state;
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "%s/example.test/alice", base);
	fd = open_directory(base, path);
	assert_int_not_equal(fd, -1);
	close(fd);
	snprintf(path, sizeof(path), "%s/linked/alice", base);
	assert_int_equal(open_directory(base, path), -1);
	assert_true(errno == ELOOP || errno == ENOTDIR);
	snprintf(path, sizeof(path), "%s/example.test/../../etc", base);
	assert_int_equal(open_directory(base, path), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(open_directory(base, "/nonexistent/alice"), -1);
	assert_int_equal(errno, ENOENT);
}

static int
setup(void **state)
{
	static char base[] = "/tmp/postern-landlock-XXXXXX";
	char path[128];

	if (mkdtemp(base) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/linked", base);
	if (symlink("/", path) != 0)
		return -1;
	snprintf(path, sizeof(path), "%s/beside", base);
	close(open(path, O_WRONLY | O_CREAT, 0600));
	snprintf(path, sizeof(path), "%s/box", base);
	root = open_directory(base, path);
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
		cmocka_unit_test(the_way_to_it_follows_no_link),
		cmocka_unit_test(all_is_done_in_the_maildir),
		cmocka_unit_test(nothing_is_seen_beside_it),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
