/* The way to a Maildir: no symbolic link is followed on it. */
#include <sys/stat.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "mailbox/open.h"

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
	static char base[] = "/tmp/postern-open-XXXXXX";
	char path[128];

	if (mkdtemp(base) == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/linked", base);
	if (symlink("/", path) != 0)
		return -1;
	*state = base;
	return 0;
}

static int
teardown(void **state)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", (const char *)*state);
	return system(command);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_way_to_it_follows_no_link),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
