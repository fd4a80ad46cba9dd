/* Directories are made with their owner and mode, and a second instance finds the first's lock. */
#include <sys/stat.h>
#include <sys/wait.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "smtpd/supervisor_paths.h"

static char top[64];
static char why[400];

static int
set_up(void **state)
{
	(void)state;
	strcpy(top, "/tmp/test-paths-XXXXXX");
	assert_non_null(mkdtemp(top));
	why[0] = '\0';
	return 0;
}

static int
tear_down(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", top);
	assert_int_equal(system(command), 0);
	return 0;
}

static const char *
below(const char *name)
{
	static char path[128];

	snprintf(path, sizeof(path), "%s/%s", top, name);
	return path;
}

static bool
make(const char *path, uid_t uid, mode_t mode, bool keep)
{
	return paths_make_directory(path, uid, getegid(), mode, keep, why, sizeof(why));
}

static unsigned
mode_of(const char *path)
{
	struct stat info;

	assert_int_equal(lstat(path, &info), 0);
	return info.st_mode & 07777;
}

static void
a_directory_and_those_above_it_are_made(void **state)
{
	(void)state;
	(void)umask(077);
	assert_true(make(below("a/b/spool"), geteuid(), 0711, false));
	assert_int_equal(mode_of(below("a/b/spool")), 0711);
	assert_int_equal(mode_of(below("a")), 0755);
	assert_int_equal(mode_of(below("a/b")), 0755);
	assert_true(make(below("a/b/spool"), geteuid(), 0711, false));
}

static void
a_mode_that_is_too_wide_is_set_right(void **state)
{
	(void)state;
	assert_int_equal(mkdir(below("spool"), 0700), 0);
	assert_int_equal(chmod(below("spool"), 0777), 0);
	assert_true(make(below("spool"), geteuid(), 0700, false));
	assert_int_equal(mode_of(below("spool")), 0700);
}

static void
another_s_directory_is_refused_or_left_as_it_is(void **state)
{
	(void)state;
	assert_int_equal(mkdir(below("spool"), 0700), 0);
	assert_int_equal(chmod(below("spool"), 0755), 0);
	assert_false(make(below("spool"), geteuid() + 1, 0700, false));
	assert_non_null(strstr(why, "belongs to user"));
	assert_true(make(below("spool"), geteuid() + 1, 0700, true));
	assert_int_equal(mode_of(below("spool")), 0755);
}

static void
a_link_or_a_file_in_its_place_is_refused(void **state)
{
	int fd;

	(void)state;
	assert_int_equal(mkdir(below("real"), 0700), 0);
	assert_int_equal(symlink("real", below("link")), 0);
	assert_false(make(below("link"), geteuid(), 0700, false));
	fd = open(below("file"), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd != -1);
	close(fd);
	assert_false(make(below("file"), geteuid(), 0700, false));
	assert_false(make(below("file/spool"), geteuid(), 0700, false));
	assert_false(make("relative", geteuid(), 0700, false));
}

static void
a_second_instance_is_told_who_the_first_is(void **state)
{
	struct pid_file first = { 0 };
	char pid[32];
	pid_t child;
	int status;

	(void)state;
	assert_true(pid_file_lock(&first, top, why, sizeof(why)));
	assert_false(first.stale);
	assert_true(pid_file_write(&first));
	snprintf(pid, sizeof(pid), "process %d", (int)getpid());
	child = fork();
	assert_true(child != -1);
	if (child == 0) {
		struct pid_file second = { 0 };

		_exit(!pid_file_lock(&second, top, why, sizeof(why)) && strstr(why, pid) != NULL &&
		            strstr(why, top) != NULL
		        ? 0
		        : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	pid_file_remove(&first);
	assert_int_equal(access(below("smtpd.pid"), F_OK), -1);
}

static void
a_killed_instance_leaves_its_lock_free_and_its_trace(void **state)
{
	struct pid_file file = { 0 };

	(void)state;
	assert_true(pid_file_lock(&file, top, why, sizeof(why)));
	assert_true(pid_file_write(&file));
	close(file.fd); /* as its death does */
	assert_true(pid_file_lock(&file, top, why, sizeof(why)));
	assert_true(file.stale);
	pid_file_remove(&file);
	assert_true(pid_file_lock(&file, top, why, sizeof(why)));
	assert_false(file.stale);
	pid_file_remove(&file);
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int
main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(a_directory_and_those_above_it_are_made),
		WITH(a_mode_that_is_too_wide_is_set_right),
		WITH(another_s_directory_is_refused_or_left_as_it_is),
		WITH(a_link_or_a_file_in_its_place_is_refused),
		WITH(a_second_instance_is_told_who_the_first_is),
		WITH(a_killed_instance_leaves_its_lock_free_and_its_trace),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
