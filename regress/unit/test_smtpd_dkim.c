/* Files of DKIM keys: which are read, and that changes are whole and closed to others. */
#include <sys/stat.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/log.h"
#include "smtpd/supervisor_dkim.h"

static char top[64];
static char why[400];
static struct dkim_files files;

static int
set_up(void **state)
{
	(void)state;
	strcpy(top, "/tmp/test-dkim-XXXXXX");
	assert_non_null(mkdtemp(top));
	memset(&files, 0, sizeof(files));
	why[0] = '\0';
	return 0;
}

static int
tear_down(void **state)
{
	char command[128];

	(void)state;
	dkim_files_free(&files);
	snprintf(command, sizeof(command), "rm -rf %s", top);
	assert_int_equal(system(command), 0);
	return 0;
}

static const char *
below(const char *name)
{
	static char path[400];

	snprintf(path, sizeof(path), "%s/dkim/%s", top, name);
	return path;
}

static size_t
read_again(void)
{
	dkim_files_free(&files);
	dkim_files_read(&files, top);
	return files.count;
}

static void
write_key(const char *domain, const char *selector, bool is_active)
{
	assert_true(dkim_file_write(
	    top, domain, selector, is_active, (const uint8_t *)"key", 3, why, sizeof(why)));
}

static void
put(const char *name, mode_t mode)
{
	int fd = open(below(name), O_WRONLY | O_CREAT | O_EXCL, 0600);

	assert_int_not_equal(fd, -1);
	assert_int_equal(fchmod(fd, mode), 0);
	assert_int_equal(write(fd, "x", 1), 1);
	close(fd);
}

static unsigned
mode_of(const char *name)
{
	struct stat info;

	assert_int_equal(lstat(below(name), &info), 0);
	return info.st_mode & 07777;
}

static void
without_a_directory_there_are_no_keys(void **state)
{
	(void)state;
	assert_int_equal(read_again(), 0);
}

static void
a_key_that_is_written_is_found_and_closed_to_others(void **state)
{
	mode_t mask = umask(0);

	(void)state;
	write_key("b.example.org", "s2", true);
	write_key("a.test", "s1", false);
	umask(mask);
	assert_int_equal(mode_of(""), 0700);
	assert_int_equal(mode_of("b.example.org.s2.key"), 0600);
	assert_int_equal(mode_of("a.test.s1.off"), 0600);
	assert_int_equal(access(below(".new"), F_OK), -1);
	assert_int_equal(read_again(), 2);
	assert_string_equal(files.files[0].domain, "a.test");
	assert_string_equal(files.files[0].selector, "s1");
	assert_false(files.files[0].is_active);
	assert_string_equal(files.files[1].domain, "b.example.org");
	assert_string_equal(files.files[1].selector, "s2");
	assert_true(files.files[1].is_active);
	assert_int_equal(files.files[1].length, 3);
	assert_memory_equal(files.files[1].text, "key", 3);
	assert_ptr_equal(dkim_files_find(&files, "a.test", "s1"), &files.files[0]);
	assert_null(dkim_files_find(&files, "a.test", "s2"));
}

static void
a_key_is_put_off_and_on_and_removed(void **state)
{
	(void)state;
	write_key("a.test", "s", true);
	assert_int_equal(read_again(), 1);
	assert_true(dkim_file_set_active(top, &files.files[0], false, why, sizeof(why)));
	assert_int_equal(read_again(), 1);
	assert_false(files.files[0].is_active);
	assert_true(dkim_file_set_active(top, &files.files[0], true, why, sizeof(why)));
	assert_int_equal(read_again(), 1);
	assert_true(dkim_file_remove(top, &files.files[0], why, sizeof(why)));
	/* It is gone already. */
	assert_false(dkim_file_remove(top, &files.files[0], why, sizeof(why)));
	assert_non_null(strstr(why, "a.test.s.key"));
	assert_int_equal(read_again(), 0);
}

static void
what_a_crash_has_left_is_no_key_and_in_nobodys_way(void **state)
{
	(void)state;
	write_key("a.test", "s", true);
	put(".new", 0600);
	assert_int_equal(read_again(), 1);
	write_key("a.test", "t", true);
	assert_int_equal(read_again(), 2);
}

static void
what_others_could_read_or_have_put_there_is_left_out(void **state)
{
	(void)state;
	write_key("a.test", "s", true);
	put("a.test.group.key", 0640);
	put("a.test.all.key", 0604);
	put("noselector.key", 0600);
	put("a.test.s.pem", 0600);
	put("A.test.s.key", 0600);
	put("a.test.-s.key", 0600);
	put("a..test.s.key", 0600);
	put(".a.test.s.key", 0600);
	assert_int_equal(mkdir(below("a.test.directory.key"), 0700), 0);
	assert_int_equal(mkfifo(below("a.test.pipe.key"), 0600), 0);
	assert_int_equal(symlink("a.test.s.key", below("a.test.link.key")), 0);
	assert_int_equal(read_again(), 1);
	assert_string_equal(files.files[0].selector, "s");
}

static void
a_directory_that_is_open_or_a_link_is_not_used(void **state)
{
	char elsewhere[80], command[400];

	(void)state;
	write_key("a.test", "s", true);
	assert_int_equal(chmod(below(""), 0755), 0);
	assert_int_equal(read_again(), 0);
	assert_false(
	    dkim_file_write(top, "a.test", "t", true, (const uint8_t *)"key", 3, why, sizeof(why)));
	assert_non_null(strstr(why, "open to others"));
	assert_int_equal(chmod(below(""), 0700), 0);
	assert_int_equal(read_again(), 1);
	snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", top);
	snprintf(command, sizeof(command), "mv %s/dkim %s && ln -s %s %s/dkim", top, elsewhere,
	    elsewhere, top);
	assert_int_equal(system(command), 0);
	assert_int_equal(read_again(), 0);
	assert_false(
	    dkim_file_write(top, "a.test", "t", true, (const uint8_t *)"key", 3, why, sizeof(why)));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(
		    without_a_directory_there_are_no_keys, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    a_key_that_is_written_is_found_and_closed_to_others, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    a_key_is_put_off_and_on_and_removed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    what_a_crash_has_left_is_no_key_and_in_nobodys_way, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    what_others_could_read_or_have_put_there_is_left_out, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
		    a_directory_that_is_open_or_a_link_is_not_used, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
